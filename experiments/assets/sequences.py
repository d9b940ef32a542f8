"""Images as sequences of grey levels, and an autoregressive model of them under a class, trained once.

``grey_levels`` makes the tokens, ``pixel_asset`` the model, ``aligned_asset`` trains it further on pairs of conditions
(alignment, a preference, or the likelihood again). The model is a masked autoencoder: one pass gives the logits of
every token given those before it, which makes training cheap; ``draw`` asks it once per token and condition.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.asset import asset
from experiments.training import fit
from jaxlab import diffusion, guidance, losses, text
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "AlignConfig",
    "PixelConfig",
    "aligned_asset",
    "as_images",
    "draw",
    "grey_levels",
    "pixel_asset",
    "pixel_logits",
]


@dataclasses.dataclass(frozen=True)
class PixelConfig:
    """What decides the weights of the model, together with the data."""

    name: ClassVar[str] = "pixel_model"
    version: ClassVar[int] = 1

    length: int = 64
    """Tokens of an image."""
    levels: int = 4
    """Grey levels, the vocabulary."""
    classes: int = 10
    """Conditions; one more stands for none."""
    hidden: int = 256
    """Width of the two hidden layers."""
    num_steps: int = 400
    """Steps of Adam; beyond some 20 rounds of so few images the likelihood of others falls."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 2e-3
    """At the start; it falls to zero as a cosine."""
    drop_rate: float = 0.1
    """How often the class is replaced by none."""
    seed: int = 0
    """Of the initial weights and the batches."""


@dataclasses.dataclass(frozen=True)
class AlignConfig:
    """How a trained model is trained further: one round over the data."""

    name: ClassVar[str] = "aligned_pixel_model"
    version: ClassVar[int] = 1

    base: PixelConfig
    """The model to start from, and the frozen reference."""
    kind: str = "cca"
    """cca, dpo, or likelihood (the loss of the first training again)."""
    beta: float = 0.1
    """Sharpness of the first two."""
    scale: float = 1.0
    """Weight of the negatives of cca. The published 50 to 1000 are for 1000 classes; at the optimum an image gains the
    log of p(class | image) / (scale p(class)), so with ten classes 1000 would take likelihood from every image."""
    batch_size: int = 16
    """Images a step."""
    learning_rate: float = 3e-4
    """Of Adam."""
    seed: int = 1
    """Of the batches."""


def grey_levels(x: ArrayLike, levels: int) -> np.ndarray:
    """Images [N, ...] as tokens int32 [N, T]: the range of the data in equal parts."""
    array = np.asarray(x, np.float32)
    rows = array.reshape(len(array), -1)
    share = (rows - rows.min()) / (rows.max() - rows.min())
    return np.minimum((share * levels).astype(np.int32), levels - 1)


def as_images(tokens: Array, levels: int) -> Array:
    """Tokens as numbers in [-1, 1], as the denoiser and the classifiers have their images."""
    return 2.0 * tokens.astype(jnp.float32) / (levels - 1) - 1.0


@functools.cache
def _masks(config: PixelConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each layer may see: a hidden unit of degree k sees tokens up to k, the logits of token i degrees below i."""
    token = np.repeat(np.arange(config.length), config.levels)
    degree = np.arange(config.hidden) % max(config.length - 1, 1)
    inside = (token[:, None] <= degree, degree[:, None] <= degree, degree[:, None] < token)
    first, second, last = (mask.astype(np.float32) for mask in inside)
    return first, second, last


def _init(config: PixelConfig, key: Array) -> PyTree:
    width, hidden = config.length * config.levels, config.hidden
    # Half of a masked matrix is zero, and of the one-hot input one number in ``levels`` is 1.
    sizes = {
        "first": (width, hidden, config.length / 2),
        "second": (hidden, hidden, hidden / 2),
        "last": (hidden, width, 10 * hidden / 2),
        "class_first": (config.classes + 1, hidden, 10),
        "class_second": (config.classes + 1, hidden, 10),
    }
    keys = jax.random.split(key, len(sizes))
    params = {
        name: jax.random.normal(k, (a, b)) * np.sqrt(2 / fan)
        for k, (name, (a, b, fan)) in zip(keys, sizes.items(), strict=True)
    }
    return params | {"bias": jnp.zeros((config.classes + 1, width))}


def pixel_logits(config: PixelConfig, params: PyTree, tokens: Array, labels: Array) -> Array:
    """Logits [B, T, levels] of every token given those before it; tokens int [B, T], labels int [B]."""
    first, second, last = _masks(config)
    one_hot = jax.nn.one_hot(tokens, config.levels).reshape(tokens.shape[0], -1)
    hidden = jax.nn.silu(one_hot @ (params["first"] * first) + params["class_first"][labels])
    hidden += jax.nn.silu(hidden @ (params["second"] * second) + params["class_second"][labels])
    logits = hidden @ (params["last"] * last) + params["bias"][labels]
    return logits.reshape(*tokens.shape, config.levels)


def _log_prob(config: PixelConfig, params: PyTree, tokens: Array, labels: Array) -> Array:
    return losses.sequence_log_prob(pixel_logits(config, params, tokens, labels), tokens)


def _train(config: PixelConfig, tokens: np.ndarray, labels: np.ndarray) -> PyTree:
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        given, _ = diffusion.condition_dropout(key, batch["labels"], config.classes, rate=config.drop_rate)
        return -jnp.mean(_log_prob(config, params, batch["tokens"], given)) / config.length, state

    optimizer = optax.adamw(optax.cosine_decay_schedule(config.learning_rate, config.num_steps), weight_decay=0.01)
    data = {"tokens": tokens, "labels": labels}
    size = min(config.batch_size, len(tokens))
    start = _init(config, init_key)
    return fit(loss_fn, start, None, optimizer, data, fit_key, num_steps=config.num_steps, batch_size=size).params


def _align(config: AlignConfig, reference: PyTree, tokens: np.ndarray, labels: np.ndarray) -> PyTree:
    base = config.base

    def loss_fn(params: PyTree, state: PyTree, batch: dict[str, Any], key: Array) -> tuple[Array, PyTree]:
        x, own = batch["tokens"], batch["labels"]
        # Some lose both conditions together: that keeps the unconditional model.
        (pos, neg), _ = diffusion.condition_dropout(
            key, (own, guidance.roll_labels(own)), (base.classes, base.classes), rate=base.drop_rate
        )
        if config.kind == "likelihood":
            return -jnp.mean(_log_prob(base, params, x, pos)) / base.length, state
        gaps = [_log_prob(base, p, x, c) for c in (pos, neg) for p in (params, state)]
        if config.kind == "dpo":
            return jnp.mean(losses.dpo(*gaps, beta=config.beta)), state
        each = losses.cca(*gaps, beta=config.beta, scale=config.scale, negative_is_positive=pos == neg)
        return jnp.mean(each) / max(config.scale, 1.0), state

    data = {"tokens": tokens, "labels": labels}
    size = min(config.batch_size, len(tokens))
    optimizer, key = optax.adam(config.learning_rate), jax.random.key(config.seed)
    num_steps = len(tokens) // size
    return fit(loss_fn, reference, reference, optimizer, data, key, num_steps=num_steps, batch_size=size).params


def _like(config: PixelConfig) -> PyTree:
    return jax.eval_shape(lambda: _init(config, jax.random.key(0)))


def pixel_asset(config: PixelConfig, tokens: np.ndarray, labels: np.ndarray, *, root: Any, digest: str) -> PyTree:
    """The parameters of the model of tokens int [N, T] under labels int [N], once per configuration and data."""
    return asset(
        config,
        lambda config: _train(config, tokens, labels),
        root,
        data_digest=digest,
        like=lambda: _like(config),
    )


def aligned_asset(
    config: AlignConfig, reference: PyTree, tokens: np.ndarray, labels: np.ndarray, *, root: Any, digest: str
) -> PyTree:
    """The parameters after the second training; ``reference`` are those of ``pixel_asset(config.base, ...)``."""
    return asset(
        config,
        lambda config: _align(config, reference, tokens, labels),
        root,
        data_digest=digest,
        like=lambda: _like(config.base),
    )


def draw(config: PixelConfig, params: PyTree, labels: Array, key: Array, *, scale: float | None = None) -> Array:
    """Images as tokens int32 [B, T] under labels [B]; ``scale`` guides them, at a second call per token."""
    null = jnp.full_like(labels, config.classes)

    def step(tokens: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
        place, key = inputs
        logits = pixel_logits(config, params, tokens, labels)[:, place]
        if scale is not None:
            without = pixel_logits(config, params, tokens, null)[:, place]
            logits = guidance.combine(logits, without, scale=scale)
        return tokens.at[:, place].set(text.sample_logits(key, logits)), None

    start = jnp.zeros((labels.shape[0], config.length), jnp.int32)
    places = (jnp.arange(config.length), jax.random.split(key, config.length))
    return jax.lax.scan(step, start, places)[0]
