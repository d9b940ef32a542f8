"""Canvases of a few real digits at several sizes, with their boxes, masks and classes, padded to one number of objects.

Every object is a digit enlarged by linear interpolation. It is placed where it covers the others least, and left out
where that is too much. Decoys are digits whose quarters have changed places: they are drawn, and are no objects.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.typing import Array

__all__ = ["INK", "SIDE", "SLOTS", "CanvasConfig", "Canvases", "compose"]

SIDE = 64
"""Pixels of a canvas."""
SLOTS, DECOY_SLOTS = 5, 4
"""Room for objects and for decoys."""
INK = 0.3
"""Pixels of an enlarged digit above it belong to the object; its box is the smallest that holds them."""
PLACES = 12
"""Random places from which that of an object is chosen."""
COVERED = 0.05
"""Share of the smaller of two objects that both may have in common."""


class CanvasConfig(NamedTuple):
    """What a canvas holds; numbers, so that all kinds of canvases share a program.

    fewest, most: how many objects are tried, at most SLOTS, unless the canvas is empty.
    smallest, largest: sides of the digits in pixels; all are as likely on a logarithmic scale.
    empty: share of the canvases without objects.
    decoys: scrambled digits tried on every canvas, at most DECOY_SLOTS.
    """

    fewest: int = 2
    most: int = 5
    smallest: float = 10.0
    largest: float = 40.0
    empty: float = 0.0
    decoys: int = 0


class Canvases(NamedTuple):
    """Pictures and what is on them.

    images: [B, S, S] in [0, 1].
    boxes: [B, M, 4] as (x0, y0, x1, y1), around the ink.
    labels: int [B, M].
    sizes: [B, M], sides of the digits' frames.
    masks: bool [B, M, S, S], the ink.
    where: bool [B, M], which objects exist; the others have a box of zeros and no ink.
    """

    images: Array
    boxes: Array
    labels: Array
    sizes: Array
    masks: Array
    where: Array


@functools.partial(jax.jit, static_argnames="count")
def compose(key: Array, digits: Array, labels: Array, *, config: CanvasConfig, count: int) -> Canvases:
    """Random canvases.

    Args:
      key: PRNG key.
      digits: [N, H, W] in [0, 1], what may be shown.
      labels: int [N].
      config: what a canvas holds.
      count: B, static.
    """
    total = SLOTS + DECOY_SLOTS
    # One draw for everything: every further one would be compiled anew.
    drawn = jax.random.uniform(key, (count, total * (2 * PLACES + 2) + 2))
    return jax.vmap(functools.partial(_one, digits=digits, labels=labels, config=config))(drawn)


def _one(drawn: Array, digits: Array, labels: Array, config: CanvasConfig) -> Canvases:
    total = SLOTS + DECOY_SLOTS
    wanted = config.fewest + jnp.floor(drawn[0] * (config.most - config.fewest + 1))
    wanted = jnp.where(drawn[1] < config.empty, 0, wanted)
    places, spread, chance = jnp.split(drawn[2:], [total * 2 * PLACES, total * (2 * PLACES + 1)])
    at = jnp.arange(total)
    tried = jnp.where(at < SLOTS, at < wanted, at - SLOTS < config.decoys)
    rows = jnp.minimum(jnp.floor(chance * digits.shape[0]), digits.shape[0] - 1).astype(jnp.int32)
    sizes = config.smallest * (config.largest / config.smallest) ** spread
    frames, exists = _places(places.reshape(total, PLACES, 2) * (SIDE - sizes[:, None, None]), sizes, tried)
    shown = digits[rows]
    scrambled = jnp.roll(shown, (shown.shape[1] // 2, shown.shape[2] // 2), axis=(1, 2))
    ink = jax.vmap(_enlarged)(jnp.where((at < SLOTS)[:, None, None], shown, scrambled), frames)
    ink = jnp.where(exists[:, None, None], ink, 0.0)
    masks = ink[:SLOTS] > INK
    found = jnp.any(masks, axis=(1, 2))
    boxes = jnp.where(found[:, None], jax.vmap(_box)(masks), 0.0)
    return Canvases(jnp.max(ink, axis=0), boxes, labels[rows[:SLOTS]], sizes[:SLOTS], masks, found)


def _places(corners: Array, sizes: Array, tried: Array) -> tuple[Array, Array]:
    """A frame (x0, y0, side) for every object, chosen one after the other, and whether it found room."""
    total = sizes.shape[0]

    def place(carry: tuple[Array, Array], at: Array) -> tuple[tuple[Array, Array], None]:
        frames, exists = carry
        options, size = corners[at], sizes[at]
        low = jnp.maximum(options[:, None], frames[:, :2])
        high = jnp.minimum(options[:, None] + size, frames[:, :2] + frames[:, 2:])
        shared = jnp.prod(jnp.maximum(high - low, 0.0), axis=-1) / jnp.minimum(size, frames[:, 2]) ** 2
        covered = jnp.max(jnp.where(exists, shared, 0.0), axis=1)
        best = jnp.argmin(covered)
        frame = jnp.append(options[best], size)
        room = tried[at] & (covered[best] <= COVERED)
        return (frames.at[at].set(frame), exists.at[at].set(room)), None

    start = jnp.ones((total, 3)), jnp.zeros(total, bool)
    return jax.lax.scan(place, start, jnp.arange(total))[0]


def _enlarged(digit: Array, frame: Array) -> Array:
    """The digit in its frame on an empty canvas, by linear interpolation."""

    def weights(low: Array, count: int) -> Array:
        middle = jnp.arange(SIDE) + 0.5
        at = jnp.clip((middle - low) / frame[2] * count - 0.5, 0, count - 1)
        near = jnp.maximum(1 - jnp.abs(at[:, None] - jnp.arange(count)), 0.0)
        return jnp.where(((middle > low) & (middle < low + frame[2]))[:, None], near, 0.0)

    return weights(frame[1], digit.shape[0]) @ digit @ weights(frame[0], digit.shape[1]).T


def _box(mask: Array) -> Array:
    """The smallest box of whole pixels that holds the mask."""
    sides = []
    for axis in (0, 1):
        line = jnp.any(mask, axis=axis)
        sides += [jnp.argmax(line), line.shape[0] - jnp.argmax(line[::-1])]
    return jnp.array([sides[0], sides[2], sides[1], sides[3]], float)
