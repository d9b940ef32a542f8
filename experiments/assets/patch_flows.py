"""A small flow network on patches with hybrid attention, and the frozen encoders whose features it may be held to.

The network takes a sequence of noisy images and gives a velocity for each; a sequence of one is an ordinary flow. It
can also be called image by image, its memory handed on.
"""

import dataclasses
import itertools
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.asset import asset
from experiments.assets.denoiser import TIMES, time_features
from experiments.networks import conv2d
from experiments.training import fit
from jaxlab import nn
from jaxlab.typing import Array, PyTree

__all__ = [
    "EncoderConfig",
    "Flowed",
    "PatchConfig",
    "encode",
    "encoder_asset",
    "init_patch_flow",
    "memory",
    "patch_flow",
    "patches",
    "unpatch",
]

GATE = 16.0  # divides the logarithm of the decay, as published


@dataclasses.dataclass(frozen=True)
class PatchConfig:
    """The shape of a patch flow."""

    side: int = 8
    """Of the images, in pixels; a multiple of 4."""
    num_classes: int = 10
    """Conditions."""
    width: int = 64
    """Of a token."""
    heads: int = 4
    """Of attention."""
    depth: int = 3
    """Blocks."""
    aligned: int = 1
    """After which block tokens are held to the encoder's."""
    target: int = 16
    """Width of the encoder's tokens."""

    @property
    def tokens(self) -> int:
        """Patches of 4 x 4 in an image."""
        return (self.side // 4) ** 2


class Flowed(NamedTuple):
    """What the network makes of sequences of images."""

    velocity: Array  # [B, L, side^2]
    aligned: Array  # [B, L, tokens, target], projected tokens of an inner block
    memory: Array  # [depth, B, heads, d, d]


def patches(images: Array) -> Array:
    """Rows [..., side^2] as tokens [..., (side / 4)^2, 16]."""
    *lead, size = images.shape
    side = round(size**0.5)
    grid = images.reshape(*lead, side // 4, 4, side // 4, 4)
    return jnp.swapaxes(grid, -3, -2).reshape(*lead, -1, 16)


def unpatch(tokens: Array) -> Array:
    """The inverse of ``patches``."""
    *lead, count, _ = tokens.shape
    grid = round(count**0.5)
    return jnp.swapaxes(tokens.reshape(*lead, grid, grid, 4, 4), -3, -2).reshape(*lead, -1)


def rms(x: Array) -> Array:
    """x over its root mean square along the last axis."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def _shapes(config: PatchConfig) -> dict[str, Any]:
    """Every array of the network, and the standard deviation it starts with."""
    w, depth = config.width, config.depth

    def dense(inputs: int, outputs: int, *stacked: int, scale: float = 1.0) -> dict[str, tuple[tuple[int, ...], float]]:
        kernel = ((*stacked, inputs, outputs), scale * inputs**-0.5)
        return {"kernel": kernel, "bias": ((*stacked, outputs), 0.0)}

    return {
        "embed": dense(16, w),
        "place": ((config.tokens, w), 0.02),
        "time": dense(TIMES, w),
        "label": ((config.num_classes, w), 1.0),
        "blocks": {
            "modulation": dense(w, 6 * w, depth, scale=0.0),
            "qkv": dense(w, 3 * w, depth),
            "decay": dense(w, config.heads, depth),
            "gate": dense(w, w, depth),
            "out": dense(w, w, depth),
            "up": dense(w, 2 * w, depth),
            "down": dense(2 * w, w, depth),
        },
        "last": dense(w, 16, scale=0.0),
        # The projector is there in every row, so that all have as many parameters.
        "project0": dense(w, 2 * w),
        "project1": dense(2 * w, 2 * w),
        "project2": dense(2 * w, config.target),
    }


def init_patch_flow(config: PatchConfig, key: Array) -> PyTree:
    """Initial parameters; the blocks are stacked, so that one of them is compiled for all."""
    leaves, tree = jax.tree.flatten(_shapes(config), is_leaf=lambda leaf: isinstance(leaf, tuple))
    sizes = [math.prod(shape) for shape, _ in leaves]
    drawn = jnp.split(jax.random.normal(key, (sum(sizes),)), list(itertools.accumulate(sizes))[:-1])
    started = [scale * part.reshape(shape) for part, (shape, scale) in zip(drawn, leaves, strict=True)]
    return jax.tree.unflatten(tree, started)


def _dense(params: PyTree, x: Array) -> Array:
    return x @ params["kernel"] + params["bias"]


def _norm(x: Array) -> Array:
    return jax.nn.standardize(x, axis=-1, epsilon=1e-6)


def _block(config: PatchConfig, params: PyTree, h: Array, context: Array, state: Array | None) -> tuple[Array, Array]:
    """Hybrid attention with a gated output, then two dense layers; both modulated by time and class (adaLN-Zero).

    h: [B, L, T, width], context: [B, L, 1, width], state: [B, heads, d, d] or None.
    """
    modulation = jnp.split(_dense(params["modulation"], jax.nn.silu(context)), 6, axis=-1)
    shift, scale, keep, shift2, scale2, keep2 = modulation
    a = _norm(h) * (1.0 + scale) + shift

    def split(x: Array) -> Array:  # [B, L, T, heads * d] -> [B, heads, L, T, d]
        return jnp.moveaxis(x.reshape(*x.shape[:-1], config.heads, -1), -2, 1)

    q, k, v = (rms(split(part)) for part in jnp.split(_dense(params["qkv"], a), 3, axis=-1))
    decay = jnp.moveaxis(jax.nn.log_sigmoid(_dense(params["decay"], a + context)) / GATE, -1, 1)
    read, state = nn.hybrid_chunk_attention(q, k, v, decay, state)
    read = jnp.moveaxis(rms(read), 1, -2).reshape(h.shape)
    h = h + keep * _dense(params["out"], jax.nn.silu(_dense(params["gate"], a)) * read)
    b = _norm(h) * (1.0 + scale2) + shift2
    return h + keep2 * _dense(params["down"], jax.nn.silu(_dense(params["up"], b))), state


def patch_flow(
    config: PatchConfig, params: PyTree, x: Array, t: Array, labels: Array, state: Array | None = None
) -> Flowed:
    """The network on sequences of noisy images.

    Args:
      config: its shape.
      params: its parameters.
      x: float [B, L, side^2].
      t: float [B, L].
      labels: int [B], one class for a sequence.
      state: the memory of the images before, see ``memory``; None is empty.
    Returns:
      Flowed.
    """
    times = _dense(params["time"], time_features(t.reshape(-1))).reshape(*t.shape, -1)
    context = (times + params["label"][labels][:, None])[:, :, None]
    start = memory(config, x.shape[0]) if state is None else state

    def block(h: Array, inputs: tuple[PyTree, Array]) -> tuple[Array, tuple[Array, Array]]:
        h, after = _block(config, inputs[0], h, context, inputs[1])
        return h, (h, after)

    h = _dense(params["embed"], patches(x)) + params["place"]
    h, (inner, after) = jax.lax.scan(block, h, (params["blocks"], start))
    aligned = jax.nn.silu(_dense(params["project0"], inner[config.aligned - 1]))
    aligned = _dense(params["project2"], jax.nn.silu(_dense(params["project1"], aligned)))
    return Flowed(unpatch(_dense(params["last"], _norm(h))), aligned, after)


def memory(config: PatchConfig, batch: int) -> Array:
    """An empty memory for ``batch`` sequences."""
    part = config.width // config.heads
    return jnp.zeros((config.depth, batch, config.heads, part, part))


# Encoders


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """What decides the weights of an encoder of clean images, together with the data."""

    name: ClassVar[str] = "patch_encoder"
    version: ClassVar[int] = 1

    kind: str = "supervised"
    """What it learns: "supervised" tells the classes apart, "autoencoder" gives the image back from noise added."""
    side: int = 8
    """Of the images; the two convolutions halve them twice, so a token is a patch of 4 x 4."""
    num_classes: int = 10
    """Of the head that is thrown away."""
    channels: int = 32
    """After the first convolution."""
    target: int = 16
    """Width of a token."""
    noise: float = 0.5
    """Standard deviation of the noise that the autoencoder removes."""
    num_steps: int = 1500
    """Steps of Adam, batches of 128."""
    seed: int = 5
    """Of the initial weights, the batches and the noise."""


def _encoder_init(config: EncoderConfig, key: Array) -> PyTree:
    keys = jax.random.split(key, 3)
    inner = (config.side // 4) ** 2 * config.target
    outer = config.num_classes if config.kind == "supervised" else config.side**2
    normal = jax.nn.initializers.lecun_normal()
    return {
        "first": {"kernel": normal(keys[0], (3, 3, 1, config.channels)), "bias": jnp.zeros(config.channels)},
        "second": {"kernel": normal(keys[1], (3, 3, config.channels, config.target)), "bias": jnp.zeros(config.target)},
        "head": {"kernel": normal(keys[2], (inner, outer)), "bias": jnp.zeros(outer)},
    }


def encode(config: EncoderConfig, params: PyTree, x: Array) -> Array:
    """Rows x [N, side^2] to tokens [N, (side / 4)^2, target], one per patch."""
    h = x.reshape(-1, config.side, config.side, 1)
    h = jax.nn.relu(conv2d(params["first"]["kernel"], h, stride=2) + params["first"]["bias"])
    h = conv2d(params["second"]["kernel"], h, stride=2) + params["second"]["bias"]
    return h.reshape(h.shape[0], -1, config.target)


def _train_encoder(config: EncoderConfig, x: Array, labels: Array) -> PyTree:
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        images, supervised = batch["x"], config.kind == "supervised"
        noisy = images if supervised else images + config.noise * jax.random.normal(key, images.shape)
        tokens = encode(config, params, noisy)
        out = jax.nn.relu(tokens).reshape(len(images), -1) @ params["head"]["kernel"] + params["head"]["bias"]
        if supervised:
            return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(out, batch["y"])), None
        return jnp.mean((out - images) ** 2), None

    return fit(
        loss_fn,
        _encoder_init(config, init_key),
        None,
        optax.adam(2e-3),
        {"x": x, "y": labels},
        fit_key,
        num_steps=config.num_steps,
        batch_size=min(128, x.shape[0]),
    ).params


def encoder_asset(config: EncoderConfig, x: Array, labels: Array, *, root: Any, digest: str) -> PyTree:
    """The parameters of an encoder of rows x [N, side^2], once per configuration and data."""
    return asset(
        config,
        lambda config: _train_encoder(config, x, labels),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(lambda: _encoder_init(config, jax.random.key(0))),
    )
