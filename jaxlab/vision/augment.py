"""Transformed copies of images, side by side on an axis of their own."""

from collections.abc import Sequence

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["color_permutations", "rotations"]

_ORDERS = {
    3: ((0, 1, 2), (1, 2, 0), (2, 0, 1)),
    6: ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)),
}


def rotations(x: ArrayLike, *, quarter_turns: Sequence[int] = (0, 1, 2, 3)) -> Array:
    r"""Images turned by multiples of 90 degrees, counterclockwise.

    ``rotations(x).reshape(-1, H, W, C)`` is a flat batch in which the copies of an image follow each other.

    Args:
      x: [..., H, W, C].
      quarter_turns: static, of the M copies; 0 is the image as it is. (0, 2) suits images that are not square.
    Returns:
      [..., M, H, W, C], the dtype of x.
    Raises:
      ValueError: x has fewer than three axes, quarter_turns is empty, or it is odd anywhere and H differs from W.

    >>> print(rotations(jnp.arange(4).reshape(2, 2, 1))[:, :, :, 0].reshape(4, 4))
    [[0 1 2 3]
     [1 3 0 2]
     [3 2 1 0]
     [2 0 3 1]]

    Reference: as in Lee et al., "Self-supervised Label Augmentation via Input Transformations" (2020), standard.
    """
    images = _images(x)
    turns = tuple(quarter_turns)
    height, width = images.shape[-3:-1]
    if not turns:
        raise ValueError("quarter_turns must name at least one turn")
    if height != width and any(turn % 2 for turn in turns):
        raise ValueError(f"x must be square for quarter turns, got {list(images.shape)}: use quarter_turns=(0, 2)")
    return jnp.stack([jnp.rot90(images, turn, axes=(-3, -2)) for turn in turns], axis=-4)


def color_permutations(x: ArrayLike, *, kind: int = 6) -> Array:
    r"""Images with their three colours in other orders.

    Args:
      x: [..., H, W, 3].
      kind: static; 6 for all orders RGB, RBG, GRB, GBR, BRG, BGR, or 3 for the cyclic ones RGB, GBR, BRG.
    Returns:
      [..., kind, H, W, 3], the dtype of x.
    Raises:
      ValueError: x has not three colours on its last axis, or kind is neither 3 nor 6.

    >>> print(color_permutations(jnp.arange(3).reshape(1, 1, 3), kind=3)[:, 0, 0])
    [[0 1 2]
     [1 2 0]
     [2 0 1]]

    Reference: Lee et al., "Self-supervised Label Augmentation via Input Transformations" (2020). Checked against the
    authors' code.
    """
    images = _images(x)
    checks.one_of(kind, "kind", tuple(_ORDERS))
    if images.shape[-1] != 3:
        raise ValueError(f"x must have shape [..., H, W, 3], got {list(images.shape)}")
    return jnp.stack([images[..., jnp.array(order)] for order in _ORDERS[kind]], axis=-4)


def _images(x: ArrayLike) -> Array:
    images = jnp.asarray(x)
    if images.ndim < 3:
        raise ValueError(f"x must have shape [..., H, W, C], got {list(images.shape)}")
    return images
