"""Networks of blocks that denoise a label, trained apart from each other or as a whole, and layers with goodness."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.networks import mlp
from experiments.training import cosine_adam, fit
from jaxlab import analytic, diffusion, losses, metrics, nn
from jaxlab.numerics import normalize
from jaxlab.typing import Array, PyTree

__all__ = [
    "Row",
    "Seed",
    "backprop",
    "cross_entropy",
    "dt_gradients",
    "forward_forward",
    "linear",
    "make_blocks",
    "measured",
    "noprop_ct",
    "noprop_dt",
    "noprop_fm",
    "noprop_learned",
    "of_unit_power",
    "train",
    "whole_loss",
    "wrong_labels",
]

TIME_DIM = 16


class Seed(NamedTuple):
    """What one seed works on."""

    key: Array
    x: Array  # [N, D] training rows
    y: Array  # [N]
    test_x: Array  # [M, D]
    test_y: Array  # [M]


Row = tuple[dict[str, Array], dict[str, Array]]
cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels


def train(config: Any, loss_fn: Callable[..., Array], params: PyTree, seed: Seed, key: Array) -> PyTree:
    """Minimises ``loss_fn(params, x, y, key)``, the mean over a batch."""

    def step(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        return loss_fn(params, batch["x"], batch["y"], key), None

    optimizer = cosine_adam(config.learning_rate, config.train_steps)
    data, size = {"x": seed.x, "y": seed.y}, min(config.batch_size, len(seed.y))
    return fit(step, params, None, optimizer, data, key, num_steps=config.train_steps, batch_size=size).params


def measured(predictions: Array, seed: Seed) -> dict[str, Array]:
    """Accuracy on the test rows, of labels or logits."""
    return {"accuracy": metrics.accuracy(predictions, seed.test_y)}


# Blocks


def make_blocks(config: Any, num_classes: int, inputs: int, key: Array) -> PyTree:
    """The stacked parameters of all blocks."""
    sizes = {"inputs": inputs, "embedding": num_classes, "width": config.width, "num_classes": num_classes}
    return jax.vmap(lambda key: nn.noprop_block_init(key, **sizes))(jax.random.split(key, config.blocks))


def chain(blocks: PyTree, embed: Array, x: Array, key: Array) -> Array:
    """The last state [B, E] of the inference steps, from noise."""
    num_blocks = blocks["head"]["bias"].shape[0]
    steps = diffusion.noprop_step_coefficients(*diffusion.noprop_schedule(num_blocks))
    keys = jax.random.split(key, num_blocks + 1)

    def step(z: Array, inputs: tuple[PyTree, diffusion.NoPropSteps, Array]) -> tuple[Array, None]:
        block, (output, skip, variance), own = inputs
        guess = jax.nn.softmax(nn.noprop_block(block, x, z)) @ embed
        return output * guess + skip * z + jnp.sqrt(variance) * jax.random.normal(own, z.shape), None

    start = jax.random.normal(keys[0], (len(x), embed.shape[1]))
    return jax.lax.scan(step, start, (blocks, steps, keys[1:]))[0]


class Noise(NamedTuple):
    """What sets the blocks apart, [T] each: share of signal in their state, gain of its ratio, and a key."""

    share: Array
    gain: Array
    key: Array


def block_noise(num_blocks: int, key: Array) -> Noise:
    """Of every block."""
    _, alpha_bar = diffusion.noprop_schedule(num_blocks)
    return Noise(alpha_bar[:-1], jnp.diff(alpha_bar / (1.0 - alpha_bar)), jax.random.split(key, num_blocks))


def dt_loss(config: Any, block: PyTree, noise: Noise, embed: Array, x: Array, y: Array) -> Array:
    """The mean loss of one block, from its own noisy labels."""
    u = embed[y]
    z = jnp.sqrt(noise.share) * u + jnp.sqrt(1.0 - noise.share) * jax.random.normal(noise.key, u.shape)
    guess = jax.nn.softmax(nn.noprop_block(block, x, z)) @ embed
    return jnp.mean(losses.noprop_dt(guess, u, noise.gain, num_blocks=config.blocks, eta=config.eta))


def dt_losses(config: Any, blocks: PyTree, embed: Array, x: Array, y: Array, key: Array) -> Array:
    """The mean loss of every block [T], all at once."""
    noise = block_noise(config.blocks, key)
    return jax.vmap(lambda block, own: dt_loss(config, block, own, embed, x, y))(blocks, noise)


def dt_gradients(config: Any, blocks: PyTree, x: Array, y: Array, key: Array) -> PyTree:
    """The gradients of all blocks, one after the other: nothing of a block is kept for the next."""
    embed, noise = jnp.eye(blocks["head"]["bias"].shape[-1]), block_noise(blocks["head"]["bias"].shape[0], key)
    slope = jax.grad(lambda block, own: dt_loss(config, block, own, embed, x, y))
    return jax.lax.map(lambda both: slope(*both), (blocks, noise))


def noprop_dt(config: Any, num_classes: int, seed: Seed) -> Row:
    """Every block on its own, towards one-hot embeddings."""
    init_key, fit_key, _, test_key = jax.random.split(seed.key, 4)
    embed = jnp.eye(num_classes)

    def loss(blocks: PyTree, x: Array, y: Array, key: Array) -> Array:
        return jnp.mean(dt_losses(config, blocks, embed, x, y, key))

    start = make_blocks(config, num_classes, seed.x.shape[1], init_key)
    blocks = train(config, loss, start, seed, fit_key)
    z = chain(blocks, embed, seed.test_x, test_key)
    return measured(analytic.prototype_logits(z, embed), seed), {}


def noprop_learned(config: Any, num_classes: int, seed: Seed) -> Row:
    """The same with embeddings that are learned, held apart by the last layer's cross entropy."""
    init_key, embed_key, fit_key, test_key = jax.random.split(seed.key, 4)
    alpha_bar = diffusion.noprop_schedule(config.blocks).alpha_bar

    def loss(params: PyTree, x: Array, y: Array, key: Array) -> Array:
        noise_key, last_key = jax.random.split(key)
        embed = params["embed"]
        u = embed[y]
        last = jnp.sqrt(alpha_bar[-1]) * u + jnp.sqrt(1.0 - alpha_bar[-1]) * jax.random.normal(last_key, u.shape)
        anchor = cross_entropy(last @ params["head"], y)
        prior = losses.gaussian_kl(jnp.sqrt(alpha_bar[0]) * u, jnp.log1p(-alpha_bar[:1]))
        return jnp.mean(dt_losses(config, params["blocks"], embed, x, y, noise_key)) + jnp.mean(anchor + prior)

    embed = jnp.eye(num_classes) + 0.1 * jax.random.normal(embed_key, (num_classes, num_classes))
    blocks = make_blocks(config, num_classes, seed.x.shape[1], init_key)
    params = train(config, loss, {"blocks": blocks, "embed": embed, "head": jnp.eye(num_classes)}, seed, fit_key)
    z = chain(params["blocks"], params["embed"], seed.test_x, test_key)
    return measured(z @ params["head"], seed), {}


def backprop(config: Any, num_classes: int, seed: Seed) -> Row:
    """The same blocks in their chain, all trained by the error at its end."""
    init_key, fit_key, test_key = jax.random.split(seed.key, 3)

    def loss(params: PyTree, x: Array, y: Array, key: Array) -> Array:
        return whole_loss(params, x, y, key)

    blocks = make_blocks(config, num_classes, seed.x.shape[1], init_key)
    params = train(config, loss, {"blocks": blocks, "head": 5.0 * jnp.eye(num_classes)}, seed, fit_key)
    z = chain(params["blocks"], jnp.eye(num_classes), seed.test_x, test_key)
    return measured(z @ params["head"], seed), {}


def whole_loss(params: PyTree, x: Array, y: Array, key: Array) -> Array:
    """Cross entropy at the end of the chain."""
    z = chain(params["blocks"], jnp.eye(params["head"].shape[0]), x, key)
    return jnp.mean(cross_entropy(z @ params["head"], y))


# One block for all times


def with_time(x: Array, t: Array) -> Array:
    """The inputs [B, D] beside an embedding of their times [B]."""
    return jnp.concatenate([x, nn.sinusoidal_embedding(1000.0 * t, dim=TIME_DIM)], axis=-1)


def make_timed(config: Any, num_classes: int, inputs: int, key: Array) -> PyTree:
    """Parameters of a block that sees the time."""
    sizes = {"inputs": inputs + TIME_DIM, "embedding": num_classes, "num_classes": num_classes}
    return nn.noprop_block_init(key, width=config.timed_width, **sizes)


def noprop_ct(config: Any, num_classes: int, seed: Seed) -> Row:
    """Continuous time, and a schedule that is learned too."""
    init_key, noise_key, fit_key, test_key = jax.random.split(seed.key, 4)

    def noisy(params: PyTree, u: Array, t: Array, key: Array) -> tuple[Array, diffusion.NoPropNoise]:
        noise = diffusion.noprop_noise(params["noise"], t)
        share = noise.alpha_bar[:, None]
        return jnp.sqrt(share) * u + jnp.sqrt(1.0 - share) * jax.random.normal(key, u.shape), noise

    def loss(params: PyTree, x: Array, y: Array, key: Array) -> Array:
        time_key, middle_key, last_key = jax.random.split(key, 3)
        u, t = jax.nn.one_hot(y, num_classes), jax.random.uniform(time_key, y.shape)
        z, noise = noisy(params, u, t, middle_key)
        guess = jax.nn.softmax(nn.noprop_block(params["block"], with_time(x, t), z))
        fitted = losses.noprop_dt(guess, u, noise.snr_slope, num_blocks=1, eta=config.timed_eta)
        last, _ = noisy(params, u, jnp.ones_like(t), last_key)
        share = diffusion.noprop_noise(params["noise"], jnp.zeros(1)).alpha_bar
        prior = losses.gaussian_kl(jnp.sqrt(share) * u, jnp.log1p(-share))
        return jnp.mean(fitted + cross_entropy(last @ params["head"], y) + prior)

    params = {"block": make_timed(config, num_classes, seed.x.shape[1], init_key)}
    params |= {"noise": diffusion.noprop_noise_init(noise_key), "head": jnp.eye(num_classes)}
    params = train(config, loss, params, seed, fit_key)

    times = jnp.linspace(0.0, 1.0, config.timed_steps + 1)
    alpha_bar = diffusion.noprop_noise(params["noise"], times).alpha_bar
    steps = diffusion.noprop_step_coefficients(jnp.append(alpha_bar[:-1] / alpha_bar[1:], alpha_bar[-1]), alpha_bar)
    keys = jax.random.split(test_key, config.timed_steps + 1)
    z = jax.random.normal(keys[0], (len(seed.test_y), num_classes))

    def step(z: Array, inputs: tuple[Array, diffusion.NoPropSteps, Array]) -> tuple[Array, None]:
        t, (output, skip, variance), own = inputs
        guess = jax.nn.softmax(nn.noprop_block(params["block"], with_time(seed.test_x, jnp.full(len(z), t)), z))
        return output * guess + skip * z + jnp.sqrt(variance) * jax.random.normal(own, z.shape), None

    z, _ = jax.lax.scan(step, z, (times[:-1], steps, keys[1:]))
    curve = diffusion.noprop_noise(params["noise"], jnp.linspace(0.0, 1.0, 21)).alpha_bar
    return measured(z @ params["head"], seed), {"learned_schedule": curve}


def noprop_fm(config: Any, num_classes: int, seed: Seed) -> Row:
    """A velocity from noise to the embedding; the nearest embedding at its end is the prediction."""
    init_key, fit_key, test_key = jax.random.split(seed.key, 3)

    def loss(params: PyTree, x: Array, y: Array, key: Array) -> Array:
        time_key, noise_key = jax.random.split(key)
        u, t = jax.nn.one_hot(y, num_classes), jax.random.uniform(time_key, y.shape)
        noise = jax.random.normal(noise_key, u.shape)
        z = t[:, None] * u + (1.0 - t[:, None]) * noise
        # The flow of the library starts at data: here it starts at the noise.
        return jnp.mean(diffusion.flow_matching(nn.noprop_block(params, with_time(x, t), z), noise, u))

    params = train(config, loss, make_timed(config, num_classes, seed.x.shape[1], init_key), seed, fit_key)
    z, size = jax.random.normal(test_key, (len(seed.test_y), num_classes)), 1.0 / config.timed_steps

    def step(z: Array, t: Array) -> tuple[Array, None]:
        return z + size * nn.noprop_block(params, with_time(seed.test_x, jnp.full(len(z), t)), z), None

    z, _ = jax.lax.scan(step, z, size * jnp.arange(config.timed_steps))
    return measured(analytic.prototype_logits(z, jnp.eye(num_classes)), seed), {}


# Goodness


def wrong_labels(key: Array, y: Array, num_classes: int) -> Array:
    """Another label for each."""
    return (y + jax.random.randint(key, y.shape, 1, num_classes)) % num_classes


def of_unit_power(x: Array) -> Array:
    """Rows whose mean square is 1."""
    return normalize(x) * x.shape[-1] ** 0.5


def ff_goodness(layers: list[dict[str, Array]], x: Array) -> list[Array]:
    """The goodness [B] of every layer; no layer sees the gradient of another."""
    found, h = [], x
    for layer in layers:
        h = jax.nn.relu(jax.lax.stop_gradient(of_unit_power(h)) @ layer["kernel"] + layer["bias"])
        found.append(jnp.mean(h**2, axis=-1))
    return found


def forward_forward(config: Any, num_classes: int, seed: Seed) -> Row:
    """Layers that tell right from wrong labels in their input, each by its own goodness."""
    *init_keys, fit_key = jax.random.split(seed.key, config.goodness_layers + 1)
    width = config.goodness_width
    sizes = [seed.x.shape[1] + num_classes, *(width,) * config.goodness_layers]
    start = [
        {"kernel": jax.random.normal(key, (sizes[i], width)) * (2.0 / sizes[i]) ** 0.5, "bias": jnp.zeros(width)}
        for i, key in enumerate(init_keys)
    ]
    written = functools.partial(nn.embed_label, num_classes=num_classes, scale=1.0)

    def loss(layers: PyTree, x: Array, y: Array, key: Array) -> Array:
        wrong = wrong_labels(key, y, num_classes)
        pairs = zip(ff_goodness(layers, written(x, y)), ff_goodness(layers, written(x, wrong)), strict=True)
        return sum(jnp.mean(losses.forward_forward(*pair)) for pair in pairs)  # type: ignore[return-value]

    layers = train(config, loss, start, seed, fit_key)

    def goodness(x: Array, y: Array) -> Array:
        # The first layer sees the label itself and says little.
        return jnp.sum(jnp.stack(ff_goodness(layers, written(x, y))[1:]), axis=0)

    return measured(nn.label_sweep_predict(goodness, seed.test_x, num_classes=num_classes), seed), {}


def linear(config: Any, num_classes: int, seed: Seed) -> Row:
    """Softmax regression."""
    init_key, fit_key = jax.random.split(seed.key)
    network = mlp((seed.x.shape[1], num_classes))

    def loss(params: PyTree, x: Array, y: Array, key: Array) -> Array:
        return jnp.mean(cross_entropy(network.logits(params, x), y))

    params = train(config, loss, network.init(init_key), seed, fit_key)
    return measured(network.logits(params, seed.test_x), seed), {}
