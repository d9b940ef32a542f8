"""Canvases of three by three real digits with the class of every inked pixel, and a network that labels pixels."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.asset import asset
from experiments.assets.classifiers import train_classifier
from experiments.networks import Network, mlp
from jaxlab.typing import Array, PyTree

__all__ = [
    "CELL",
    "INK",
    "SIDE",
    "Grids",
    "PixelConfig",
    "Pool",
    "compose",
    "patches",
    "pixel_asset",
    "pixel_network",
    "pool",
]

ACROSS, CELL = 3, 8
SIDE = ACROSS * CELL
PATCH = 11
"""Side of what the network sees around a pixel."""
INK = 0.3
"""Pixels above it belong to the digit; the others are background."""
EMPTY = 0.2
"""Share of the cells without a digit."""
AGAIN = 0.2
"""Share of the other cells that show the class in question as well."""


class Pool(NamedTuple):
    """Digits [N, 8, 8] in [0, 1], and for every class the numbers of its rows, repeated to one length."""

    images: Array
    rows: Array  # int [C, M]


class Grids(NamedTuple):
    """Images [B, SIDE, SIDE], and the class of every pixel, int [B, SIDE, SIDE], -1 where it is background."""

    images: Array
    labels: Array


def pool(images: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Pool:
    """The digits that canvases may show; every class needs a row."""
    groups = [rows[labels[rows] == c] for c in range(labels.max() + 1)]
    longest = max(map(len, groups))
    return Pool(jnp.asarray(images), jnp.asarray(np.stack([np.resize(group, longest) for group in groups])))


def compose(key: Array, digits: Pool, classes: Array, *, count: int, must_show: Array | None = None) -> Grids:
    """Random canvases of the classes allowed.

    Args:
      key: PRNG key.
      digits: what may be shown.
      classes: bool [C], the classes that may be shown.
      count: canvases, static.
      must_show: int, a class that one cell of each shows, and others by chance; None asks for nothing.
    """
    class_key, row_key, empty_key, place_key = jax.random.split(key, 4)
    cells = (count, ACROSS**2)
    shown = jax.random.categorical(class_key, jnp.where(classes, 0.0, -jnp.inf), shape=cells)
    empty = jax.random.bernoulli(empty_key, EMPTY, cells)
    if must_show is not None:
        place_key, more_key = jax.random.split(place_key)
        own = jax.random.randint(place_key, (count, 1), 0, ACROSS**2) == jnp.arange(ACROSS**2)
        own |= jax.random.bernoulli(more_key, AGAIN, cells)
        shown, empty = jnp.where(own, must_show, shown), empty & ~own
    row = digits.rows[shown, jax.random.randint(row_key, cells, 0, digits.rows.shape[1])]
    tiles = jnp.where(empty[..., None, None], 0.0, digits.images[row])
    labels = jnp.where(tiles > INK, shown[..., None, None], -1)
    return Grids(*(_join(part) for part in (tiles, labels)))


def _join(tiles: Array) -> Array:
    grid = tiles.reshape(-1, ACROSS, ACROSS, CELL, CELL)
    return grid.swapaxes(2, 3).reshape(-1, SIDE, SIDE)


@dataclasses.dataclass(frozen=True)
class PixelConfig:
    """A network that labels the pixels of canvases; with the data it decides the asset."""

    name: ClassVar[str] = "pixel_network"
    version: ClassVar[int] = 2
    hidden: tuple[int, ...] = (192, 64)
    """Widths; the last is that of the features."""
    canvases: int = 1500
    """Canvases to learn from."""
    pixels: int = 40
    """Pixels of each canvas, half of them ink."""
    steps: int = 3000
    """Steps of Adam, 256 pixels each."""
    seed: int = 0
    base: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    """Classes to learn; the others are never shown."""


def patches(images: Array) -> Array:
    """What lies around every pixel: [B, H, W] -> [B, H, W, PATCH * PATCH]."""
    _, height, width = images.shape
    wide = jnp.pad(images, ((0, 0), (PATCH // 2,) * 2, (PATCH // 2,) * 2))
    shifted = [wide[:, i : i + height, j : j + width] for i in range(PATCH) for j in range(PATCH)]
    return jnp.stack(shifted, axis=-1)


def pixel_network(hidden: tuple[int, ...], num_classes: int) -> Network:
    """A network on patches: its ``features``, and ``logits`` of the classes with the background last."""
    return mlp((PATCH**2, *hidden, num_classes + 1))


def pixel_asset(config: PixelConfig, digits: Pool, root: Any, *, digest: str) -> PyTree:
    """The parameters, from disk if they have been trained before."""
    return asset(config, functools.partial(_train, digits), root, data_digest=digest)


def _train(digits: Pool, config: PixelConfig) -> PyTree:
    num_classes = digits.rows.shape[0]
    draw_key, pixel_key, key = jax.random.split(jax.random.key(config.seed), 3)
    shown = jnp.isin(jnp.arange(num_classes), jnp.array(config.base))
    grids = compose(draw_key, digits, shown, count=config.canvases)

    def chosen(inputs: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        image, labels, key = inputs
        # The largest random numbers among ink and among background are the pixels to take.
        drawn, ink = jax.random.uniform(key, labels.shape).reshape(-1), (labels >= 0).reshape(-1)
        half = config.pixels // 2
        at = jnp.concatenate([jax.lax.top_k(jnp.where(side, drawn, -1.0), half)[1] for side in (ink, ~ink)])
        around = patches(image[None]).reshape(-1, PATCH**2)
        named = jnp.where(labels < 0, num_classes, labels).reshape(-1)
        return around[at], named[at]

    x, y = jax.lax.map(chosen, (*grids, jax.random.split(pixel_key, config.canvases)))
    return train_classifier(
        pixel_network(config.hidden, num_classes),
        x.reshape(-1, PATCH**2),
        y.reshape(-1),
        key,
        num_classes=num_classes + 1,
        num_steps=config.steps,
        batch_size=256,
        class_where=jnp.append(shown, True),
    )
