"""Generators of digits that are adapted to a few examples, to a direction, to one example or to a classifier.

Every maker takes a ``Task`` (what every seed sees) and a key, and gives the images before and after as a ``Made``.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.assets import decoders, denoiser
from experiments.assets.decoders import DecoderConfig
from experiments.assets.denoiser import PROCESS, ClassifierConfig, DenoiserConfig
from experiments.training import fit
from jaxlab import diffusion, guidance, losses, nn, numerics, optim, vision, zeroshot
from jaxlab.typing import Array, PyTree

__all__ = [
    "Made",
    "Networks",
    "Setting",
    "Task",
    "direct",
    "few_shot",
    "held_out",
    "one_shot",
    "token",
    "turned",
]


class Networks(NamedTuple):
    """The configurations of the networks."""

    denoiser: DenoiserConfig
    decoder: DecoderConfig
    eye: ClassifierConfig  # what the methods see by
    judge: ClassifierConfig  # what they are judged by


class Setting(NamedTuple):
    """What every seed sees: the trained networks and the data."""

    denoiser: PyTree
    decoder: PyTree
    eye: PyTree
    judge: PyTree
    x: Array  # [N, dim] in [-1, 1]
    y: Array  # [N]


class Task(NamedTuple):
    """What a maker works with; ``config`` is that of the question."""

    config: Any
    nets: Networks
    setting: Setting

    def see(self, x: Array) -> Array:
        """Features of the network that the methods may look through: [B, dim] -> [B, D]."""
        return denoiser.classifier(self.nets.eye).features(self.setting.eye, x)

    def decode(self, params: PyTree, latents: Array) -> Array:
        """Images of a decoder [B, latent] -> [B, dim]; the encoder stays in the setting."""
        return decoders.decode(self.nets.decoder, {"decoder": params}, latents)


class Made(NamedTuple):
    """Images [B, dim] of the source and of the adapted generator from the same noise, and what else is to be told."""

    source: Array
    adapted: Array
    examples: Array  # [K, dim], what the adaptation has seen of its target
    more: dict[str, Array]


# Ten examples: a denoiser is fine-tuned.


def draw(task: Task, params: PyTree, key: Array, labels: Array) -> Array:
    """Images [B, dim] of a denoiser under the given classes, by DDIM."""
    keys = jax.random.split(key, labels.shape[0])
    return diffusion.sample(
        keys,
        PROCESS.prior_sample(keys, (task.nets.denoiser.dim,)),
        denoiser.even_times(task.config.steps),
        cond_fn=denoiser.model(task.nets.denoiser, params, labels, kind="x0"),
        step=diffusion.ddim(PROCESS, kind="x0"),
    ).x


def turned(x: Array, *, back: bool = False) -> Array:
    """Images [B, dim] turned by a right angle: the domain that the denoiser is adapted to."""
    side = round(x.shape[1] ** 0.5)
    return jnp.rot90(x.reshape(-1, side, side), -1 if back else 1, axes=(1, 2)).reshape(x.shape)


def held_out(x: Array) -> Array:
    """The images that are nobody's examples: every second one."""
    return x[1::2]


def few_shot(task: Task, key: Array, *, relation: float = 0.0, detail: float = 0.0) -> Made:
    """Fine-tunes the denoiser, without classes, on a few turned digits.

    ``relation`` weighs the relations among the images as such, ``detail`` those among their high frequencies and the
    error of the high frequencies themselves.
    """
    config, net = task.config, task.nets.denoiser
    rows_key, fit_key, noise_key = jax.random.split(key, 3)
    pool = task.setting.x[::2]
    rows = jax.random.choice(rows_key, pool.shape[0], (config.shots,), replace=False)
    side = round(net.dim**0.5)
    examples = turned(pool[rows])
    none = denoiser.null(net, config.shots)
    source = task.setting.denoiser

    def detailed(x: Array) -> Array:
        return vision.high_frequency(x.reshape(-1, side, side, 1)).reshape(x.shape[0], -1)

    def loss_fn(params: PyTree, state: PyTree, batch: dict[str, Array], key: Array) -> tuple[Array, PyTree]:
        seen = {}

        def model(x: Array, t: Array) -> Array:
            predict = denoiser.model(net, params, none, kind="rotation")(x, t)
            both = (predict, denoiser.model(net, state, none, kind="rotation")(x, t))
            seen["x0"] = [diffusion.convert(p, x, t, process=PROCESS, kind_in="rotation", kind_out="x0") for p in both]
            return predict

        x0 = batch["x"]
        loss = diffusion.denoising_loss(model, x0, key, process=PROCESS, kind="rotation", weighting="uniform").mean()
        own, old = seen["x0"]
        if relation:
            loss += relation * losses.relation_kl(own, old).mean()
        if detail:
            loss += detail * losses.relation_kl(detailed(own), detailed(old)).mean()
            loss += 0.25 * detail * jnp.mean((detailed(own) - detailed(x0)) ** 2)
        return loss, state

    adapted = fit(
        loss_fn,
        source,
        source,
        optax.adam(config.few_rate),
        {"x": examples},
        fit_key,
        num_steps=config.few_steps,
        batch_size=config.shots,
    ).params
    labels = denoiser.null(net, config.samples)
    before, after = (draw(task, params, noise_key, labels) for params in (source, adapted))
    return Made(before, after, examples, {})


# A direction in an embedding space, no example: a decoder is moved.

# Standard deviation of the noise on adapted images in training. At the start nothing has changed, and a change of zero
# has no direction: the code of StyleGAN-NADA adds 1e-6 there, which in float32 leaves the first steps to rounding.
# Noise, not a constant: that would send all images one way, perhaps the wrong one, and second moments cannot tell a way
# from its opposite.
NUDGE = 1e-3


def direct(task: Task, key: Array, *, moment: bool, keep: bool = False) -> Made:
    """Moves the decoder's images of one class towards another.

    ``moment`` matches the moments of a set of directions instead of one direction; ``keep`` adds the penalties that
    hold weights and relations.
    """
    config, setting = task.config, task.setting
    classes_key, text_key, fit_key, latent_key = jax.random.split(key, 4)
    start, goal = jax.random.choice(classes_key, task.nets.eye.dims[-1], (2,), replace=False)
    old, new = (_text(task, label) for label in (start, goal))
    variations = zeroshot.semantic_variations(new, text_key, num_iters=config.text_steps)
    wanted = new - old
    several = numerics.normalize(jnp.concatenate([new[None], variations]) - old)
    latents = _latents_of(task, start)
    source = setting.decoder["decoder"]
    watched = latents(latent_key, config.samples)
    embed = lambda params, w, noise=0.0: numerics.normalize(task.see(task.decode(params, w) + noise))  # noqa: E731
    fisher = optim.fisher_diagonal(lambda params, w: -embed(params, w) @ old, source, watched[:64])

    def loss_fn(params: PyTree, w: Array, noise: Array) -> Array:
        before, after = embed(source, w), embed(params, w, noise)
        if moment:
            # Means instead of sums: there are more images than directions.
            changes, weight = numerics.normalize(after - before), config.moment_weight
            loss = losses.directional_moment(changes, several, weight=weight, normalize_counts=True)
        else:
            loss = losses.clip_directional(after - before, wanted).mean()
        if keep:
            loss += config.ewc_weight * losses.ewc_penalty(params, source, fisher)
            loss += config.relation_weight * losses.relation_kl(after, before, mode="dot").mean()
        return loss

    optimizer = optax.adam(config.direct_rate)

    def step(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], None]:
        params, opt_state = carry
        latent_key, noise_key = jax.random.split(key)
        noise = NUDGE * jax.random.normal(noise_key, (config.direct_batch, setting.x.shape[1]))
        gradient = jax.grad(loss_fn)(params, latents(latent_key, config.direct_batch), noise)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    keys = jax.random.split(fit_key, config.direct_steps)
    (adapted, _), _ = jax.lax.scan(step, (source, optimizer.init(source)), keys)
    change = jnp.mean(embed(adapted, watched) - embed(source, watched), axis=0)
    arrived = jnp.argmax(denoiser.judge(task.nets.judge, setting.judge, task.decode(adapted, watched)).logits, axis=1)
    more = {"cosine": 1.0 - losses.clip_directional(change, wanted), "arrived": jnp.mean(arrived == goal)}
    first = jnp.argsort(setting.y != goal, stable=True)[:10]
    return Made(task.decode(source, watched), task.decode(adapted, watched), setting.x[first], more)


def _text(task: Task, label: Array) -> Array:
    """What stands for the embedding of a class's name: the mean direction of its images."""
    mine = (task.setting.y == label)[:, None]
    return numerics.normalize(numerics.masked_mean(numerics.normalize(task.see(task.setting.x)), mine, axis=0))


def _latents_of(task: Task, label: Array) -> Callable[[Array, int], Array]:
    """``fn(key, count)``: latents of images of a class, as the encoder would draw them."""
    mean, log_var = decoders.encode(task.nets.decoder, task.setting.decoder, task.setting.x)
    odds = jnp.where(task.setting.y == label, 0.0, -jnp.inf)

    def latents(key: Array, count: int) -> Array:
        row_key, noise_key = jax.random.split(key)
        rows = jax.random.categorical(row_key, odds, shape=(count,))
        return mean[rows] + jnp.exp(0.5 * log_var[rows]) * jax.random.normal(noise_key, (count, mean.shape[1]))

    return latents


# One example: a latent adaptor, or the decoder itself, against a discriminator.


def ink(x: Array) -> Array:
    """The share of an image that is drawn: [B, dim] -> [B]."""
    return jnp.mean(0.5 * (x + 1.0), axis=-1)


def one_shot(task: Task, key: Array, *, adaptor: bool, psi: float = 1.0, stop: bool = False) -> Made:
    """Adapts the decoder to one image with much ink, against a linear discriminator on frozen features.

    ``adaptor`` trains an affine map of the latents alone, otherwise all of the decoder moves. ``psi`` truncates the
    latents in training; ``stop`` ends it once enough images have much ink.
    """
    config, setting, size = task.config, task.setting, task.nets.decoder.latent
    row_key, loop_key, latent_key = jax.random.split(key, 3)
    drawn = ink(setting.x)
    odds = jnp.where(drawn >= jnp.quantile(drawn, 0.95), 0.0, -jnp.inf)
    example = setting.x[jax.random.categorical(row_key, odds)]
    source = setting.decoder["decoder"]
    start = {"scale": jnp.ones(size), "bias": jnp.zeros(size)} if adaptor else source
    latents = jax.random.normal(latent_key, (config.samples, size))
    level = jnp.quantile(drawn, 0.8)

    def generate(params: PyTree, w: Array) -> Array:
        return task.decode(source, nn.affine_adaptor(params, w)) if adaptor else task.decode(params, w)

    def rate(images: Array) -> Array:
        return jnp.mean(ink(images) >= level)

    def logits(head: PyTree, key: Array, x: Array) -> Array:
        return task.see(_augment(key, x)) @ head["weight"] + head["bias"]

    head = {"weight": jnp.zeros(task.nets.eye.dims[-2]), "bias": jnp.zeros(())}
    players = optax.adam(config.one_rate, b1=0.5)

    def step(carry: tuple[PyTree, ...], key: Array) -> tuple[tuple[PyTree, ...], Array]:
        params, head, params_state, head_state = carry
        w_key, real_key, fake_key, again_key = jax.random.split(key, 4)
        w = guidance.truncate(jax.random.normal(w_key, (config.one_batch, size)), jnp.zeros(size), psi=psi)
        real = jnp.tile(example, (config.one_batch, 1))

        def tell(head: PyTree) -> Array:
            seen = logits(head, real_key, real), logits(head, fake_key, generate(params, w))
            return losses.gan_discriminator(*seen).mean()

        def fool(params: PyTree) -> Array:
            return losses.gan_generator(logits(head, again_key, generate(params, w))).mean()

        updates, head_state = players.update(jax.grad(tell)(head), head_state)
        head = optax.apply_updates(head, updates)
        updates, params_state = players.update(jax.grad(fool)(params), params_state)
        moving = rate(generate(params, latents)) < config.attribute if stop else jnp.array(True)
        params = jax.tree.map(lambda p, u: jnp.where(moving, p + u, p), params, updates)
        return (params, head, params_state, head_state), moving

    carry = (start, head, players.init(start), players.init(head))
    (adapted, *_), moving = jax.lax.scan(step, carry, jax.random.split(loop_key, config.one_steps))
    before, after = task.decode(source, latents), generate(adapted, latents)
    more = {
        "attribute": rate(after),
        "attribute_gain": rate(after) - rate(before),
        "adaptation_steps": jnp.sum(moving).astype(jnp.float32),
    }
    return Made(before, after, example[None], more)


def _augment(key: Array, x: Array) -> Array:
    """Images moved by up to a pixel (over the edge), with some noise: one example alone is soon known by heart."""
    shift_key, noise_key = jax.random.split(key)
    side = round(x.shape[1] ** 0.5)
    shifts = jax.random.randint(shift_key, (x.shape[0], 2), -1, 2)
    moved = jax.vmap(lambda image, by: jnp.roll(image.reshape(side, side), by, (0, 1)).ravel())(x, shifts)
    return moved + 0.1 * jax.random.normal(noise_key, x.shape)


# A classifier, no example: the class embedding of a denoiser is optimised.


def token(task: Task, key: Array, *, through: str) -> Made:
    """Finds an embedding for every class, from the mean of all of them, by what a classifier says of the images.

    ``through`` is the part of the sampler that the gradient passes: "last", "all", or "none" (no optimisation).
    """
    config, setting = task.config, task.setting
    num_classes = task.nets.denoiser.sizes[0]
    train_key, test_key = jax.random.split(key)
    table = setting.denoiser["tables"]["condition0"]["embedding"][:num_classes]
    ambiguous = jnp.mean(table, axis=0)
    rate = config.token_rate * jnp.sqrt(jnp.mean((table - ambiguous) ** 2))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=1e-2))
    ts = denoiser.even_times(config.steps)
    eye, judge = (denoiser.classifier(part) for part in (task.nets.eye, task.nets.judge))

    def noise(key: Array, count: int) -> tuple[Array, Array]:
        keys = jax.random.split(key, count)
        return keys, PROCESS.prior_sample(keys, (task.nets.denoiser.dim,))

    def find(label: Array) -> tuple[Array, Array]:
        keys, x_init = noise(jax.random.fold_in(train_key, label), config.token_batch)

        def loss_fn(embedding: Array) -> Array:
            if through == "last":
                x = guidance.last_step_grad_sample(functools.partial(_embedded, task), embedding, keys, x_init, ts)
            else:
                x = _embedded(task, embedding, keys, x_init, ts)
            logits, labels = eye.logits(setting.eye, jnp.clip(x, -1.0, 1.0)), jnp.full(x.shape[0], label)
            return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        if through == "none":
            return ambiguous, jnp.zeros(())
        found = guidance.optimize_condition(loss_fn, ambiguous, optimizer=optimizer, num_steps=config.token_steps)
        return found.condition, found.num_steps.astype(jnp.float32)

    keys, x_init = noise(test_key, max(1, config.samples // num_classes))

    def of_class(label: Array) -> tuple[Array, ...]:
        embedding, steps = find(label)
        before, after = (_embedded(task, e, keys, x_init, ts) for e in (ambiguous, embedding))
        return before, after, jnp.argmax(judge.logits(setting.judge, after), axis=1) == label, steps

    before, after, hits, steps = jax.vmap(of_class)(jnp.arange(num_classes))
    more = {"accuracy": jnp.mean(hits), "optimizer_steps": jnp.mean(steps)}
    before, after = (images.reshape(-1, images.shape[-1]) for images in (before, after))
    return Made(before, after, jnp.zeros((0, before.shape[1])), more)


def _embedded(task: Task, embedding: Array, keys: Array, x: Array, ts: Array) -> Array:
    """Images of the denoiser with another embedding in the place of a class, guided away from none."""
    config, params = task.nets.denoiser, task.setting.denoiser
    table = params["tables"]["condition0"]["embedding"]
    changed = {**params, "tables": {"condition0": {"embedding": table.at[0].set(embedding)}}}
    labels = jnp.zeros(x.shape[0], jnp.int32)
    return diffusion.sample(
        keys,
        x,
        ts,
        cond_fn=denoiser.model(config, changed, labels, kind="x0"),
        uncond_fn=denoiser.model(config, params, labels + config.sizes[0], kind="x0"),
        rule=guidance.cfg(task.config.token_scale),
        step=diffusion.ddim(PROCESS, kind="x0"),
    ).x
