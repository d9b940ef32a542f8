"""The rows of ``generator_training``: a flow on patches that is trained with an aid, and images of twice the size.

A row takes the numbers of the question (``config``), the networks, a key, and what every seed sees, and gives metrics
and curves.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.assets import conv_flows, denoiser, patch_flows
from experiments.assets.conv_flows import ConvFlowConfig
from experiments.assets.denoiser import ClassifierConfig
from experiments.assets.patch_flows import PatchConfig
from experiments.training import fit
from jaxlab import diffusion, guidance, losses, metrics, nn
from jaxlab.typing import Array, PyTree

__all__ = [
    "CHECKPOINTS",
    "Nets",
    "Noised",
    "Setting",
    "draw_images",
    "draw_large",
    "draw_sequences",
    "enlarged",
    "measure_large",
    "quarters",
    "real_large",
    "train_patches",
    "velocity_loss",
]

CHECKPOINTS = 4
FLOW = diffusion.linear_flow()

Measures = tuple[dict[str, Array], dict[str, Array]]


class Nets(NamedTuple):
    """The configurations of the networks."""

    flow: PatchConfig
    conv: ConvFlowConfig
    judge: ClassifierConfig
    quarters: ClassifierConfig


class Setting(NamedTuple):
    """What every seed sees."""

    x: Array  # [N, side^2] in [-1, 1]
    y: Array  # [N]
    train: Array  # bool [N]
    targets: Any  # [encoders, N, tokens, target]; what no selected row needs is None
    conv: PyTree
    judge: PyTree
    quarters: PyTree
    real: Array  # [N, D] features of the judge


# Training on patches


class Noised(NamedTuple):
    """Sequences of images at their noise levels, and what to predict."""

    rows: Array  # [B, L], numbers of the images
    labels: Array  # [B]
    t: Array  # [B, L]
    x: Array  # [B, L, side^2]
    noise: Array
    clean: Array


def draw_sequences(key: Array, config: Any, setting: Setting, *, batch: int, length: int, train: bool) -> Noised:
    """The same images for the same key, whether they come as sequences or one by one."""
    row_key, time_key, noise_key = jax.random.split(key, 3)
    where = setting.train if train else ~setting.train
    index, labels = diffusion.same_class_batch(row_key, setting.y, config.length, batch=batch, where=where)
    index, labels = index.reshape(-1, length), jnp.repeat(labels, config.length // length)
    clean = setting.x[index]
    t = diffusion.sorted_times(time_key, *index.shape)
    noise = jax.random.normal(noise_key, clean.shape)
    return Noised(index, labels, t, (1.0 - t[..., None]) * clean + t[..., None] * noise, noise, clean)


def velocity_loss(nets: Nets, params: PyTree, given: Noised) -> tuple[Array, Array]:
    """The loss of one batch, and the projected tokens [B, L, tokens, target]."""
    out = patch_flows.patch_flow(nets.flow, params, given.x, given.t, given.labels)
    flat = (a.reshape(-1, a.shape[-1]) for a in (out.velocity, given.clean, given.noise))
    return jnp.mean(diffusion.flow_matching(*flat)), out.aligned


def draw_images(config: Any, nets: Nets, params: PyTree, key: Array, *, history: bool) -> tuple[Array, Array]:
    """(images [samples, side^2], their classes); with a history the network's memory goes from step to step."""
    labels = jnp.arange(config.samples) % nets.flow.num_classes
    keys = jax.random.split(key, config.samples)
    start = FLOW.prior_sample(keys, (nets.flow.side**2,))
    ts = diffusion.time_grid(config.sample_steps, low=0.0)

    def velocity(x: Array, t: Array, state: Array | None) -> tuple[Array, Array | None]:
        out = patch_flows.patch_flow(nets.flow, params, x[:, None], t[:, None], labels, state)
        return out.velocity[:, 0], out.memory if history else None

    state = patch_flows.memory(nets.flow, config.samples) if history else None
    return diffusion.ar_flow_sample(keys, start, ts, velocity_fn=velocity, state=state).x, labels


def train_patches(
    config: Any, nets: Nets, history: bool, key: Array, target: Array, weight: Array, setting: Setting
) -> Measures:
    """A row on patches: trained in four parts, measured after each.

    ``target`` names the encoder, and ``weight`` is that of the alignment to it. Both are numbers, so that rows which
    differ in them alone are one program.
    """
    length = config.length if history else 1
    init_key, fit_key, eval_key, image_key = jax.random.split(key, 4)
    kept = draw_sequences(eval_key, config, setting, batch=64, length=length, train=False)

    def loss_fn(params: PyTree, state: PyTree, batch: Any, key: Array) -> tuple[Array, PyTree]:
        averaged, seen, tokens, weight = state
        given = draw_sequences(key, config, seen, batch=config.sequences, length=length, train=True)
        loss, aligned = velocity_loss(nets, params, given)
        pair = (a.reshape(-1, *a.shape[-2:]) for a in (aligned, tokens[given.rows]))
        alignment = jnp.mean(losses.feature_alignment(*pair)) - 1.0
        averaged = optax.incremental_update(jax.lax.stop_gradient(params), averaged, 1.0 - config.average)
        return loss + weight * alignment, (averaged, seen, tokens, weight)

    optimizer = optax.adam(config.learning_rate)
    params = patch_flows.init_patch_flow(nets.flow, init_key)

    def part(carry: tuple[PyTree, ...], key: Array) -> tuple[tuple[PyTree, ...], dict[str, Array]]:
        params, averaged, opt_state = carry
        done = fit(
            loss_fn,
            params,
            (averaged, setting, setting.targets[target], weight),
            optimizer,
            {"step": jnp.arange(1)},
            key,
            num_steps=config.steps // CHECKPOINTS,
            batch_size=1,
            opt_state=opt_state,
        )
        averaged = done.state[0]
        images, labels = draw_images(config, nets, averaged, image_key, history=history)
        seen = denoiser.judge(nets.judge, setting.judge, images)
        measured = {
            "validation_loss": velocity_loss(nets, averaged, kept)[0],
            "frechet": metrics.frechet_distance(seen.features, setting.real),
            "accuracy": metrics.accuracy(seen.logits, labels),
            "images": images[: nets.flow.num_classes],
        }
        return (done.params, averaged, done.opt_state), measured

    _, curves = jax.lax.scan(part, (params, params, optimizer.init(params)), jax.random.split(fit_key, CHECKPOINTS))
    last = {name: values[-1] for name, values in curves.items() if name != "images"}
    early = {"frechet_early": curves["frechet"][-2]}
    return last | early, {f"{name}_by_step": values for name, values in curves.items()}


# Twice the size


def quarters(images: Array) -> Array:
    """[N, 2s, 2s] to [N, 4, s^2]."""
    count, size, _ = images.shape
    half = size // 2
    return images.reshape(count, 2, half, 2, half).swapaxes(2, 3).reshape(count, 4, half * half)


def enlarged(rows: Array, side: int) -> Array:
    """Rows [N, side^2] as images [N, 2 side, 2 side], interpolated."""
    return jax.image.resize(rows.reshape(-1, side, side), (rows.shape[0], 2 * side, 2 * side), "bilinear")


def measure_large(nets: Nets, setting: Setting, images: Array) -> Measures:
    """The distance from the data once an image is small, and of larger ones how often they are four digits."""
    count, size, _ = images.shape
    times = size // nets.flow.side
    small = images.reshape(count, nets.flow.side, times, nets.flow.side, times).mean(axis=(2, 4)).reshape(count, -1)
    seen = denoiser.judge(nets.judge, setting.judge, small)
    labels = jnp.arange(count) % nets.flow.num_classes
    measured = {
        "frechet_large": metrics.frechet_distance(seen.features, setting.real),
        "accuracy": metrics.accuracy(seen.logits, labels),
    }
    if times == 2:
        parts = quarters(images).reshape(count * 4, -1)
        probs = jax.nn.softmax(denoiser.classifier(nets.quarters).logits(setting.quarters, parts))
        is_digit = jnp.max(probs[:, :-1], axis=1).reshape(count, 4) > 0.9
        measured["multi_digit"] = jnp.mean(jnp.all(is_digit, axis=1))
    return measured, {"images_large": images[: nets.flow.num_classes]}


def real_large(config: Any, nets: Nets, key: Array, setting: Setting) -> Measures:
    """What the measures say of real images, enlarged."""
    rows = jax.random.permutation(key, setting.x.shape[0])[: config.large_samples]
    measured, curves = measure_large(nets, setting, enlarged(setting.x[rows], nets.flow.side))
    return {name: value for name, value in measured.items() if name != "accuracy"}, curves


def draw_large(
    config: Any,
    nets: Nets,
    key: Array,
    setting: Setting,
    *,
    times: int = 2,
    factor: float = 1,
    disperse: bool = False,
    damped: bool = False,
) -> Measures:
    """Guided samples of the convolutional flow, ``times`` as large as in training, with its middle changed at first.

    A dispersed kernel sees twice as far with its taps side by side, so it goes with a factor of 1.
    """
    labels = jnp.arange(config.large_samples) % nets.flow.num_classes
    side = times * nets.conv.side
    tau = round(config.changed * config.large_steps)
    spread = nn.dispersion_matrix() if disperse else None

    def changed(t: Array) -> Array:
        step = jnp.round((1.0 - t[0]) * config.large_steps).astype(jnp.int32)
        return nn.progressive_dilation(step, factor=2, tau=tau) > 1

    network = functools.partial(conv_flows.conv_flow, nets.conv, setting.conv)
    other = functools.partial(network, factor=factor, spread=spread, changed=changed)

    def with_base(x: Array, t: Array) -> tuple[Array, Array]:
        return other(None)(x, t), network(None)(x, t)

    keys = jax.random.split(key, config.large_samples)
    result = diffusion.sample(
        keys,
        FLOW.prior_sample(keys, (side, side)),
        diffusion.time_grid(config.large_steps, low=0.0),
        cond_fn=other(labels),
        uncond_fn=with_base if damped else other(None),
        rule=guidance.noise_damped(config.scale) if damped else guidance.cfg(config.scale),
        step=diffusion.euler(FLOW, kind="v"),
        uncond_cost=2 if damped else 1,
    )
    return measure_large(nets, setting, result.x)
