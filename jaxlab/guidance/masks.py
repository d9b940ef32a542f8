"""Where an edit may act: masks from maps of attention, and their soft edges."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["attention_mask", "soften_mask"]


def attention_mask(attention: ArrayLike, *, window: int = 11, over: Sequence[int] = (-2, -1)) -> Array:
    r"""The region that a map points at: where it is, averaged over a window, above its mean.

    .. math:: m_p = \Big[\tfrac{1}{w^2} \sum_{q \in W(p)} a_q > \bar a\Big]

    What lies outside the map counts as 0, so that the borders are held back. Unions of several maps are ``|``.

    Args:
      attention: float [..., H, W], not negative: attention of the edited words, averaged over heads and layers, or
        any other map of where two predictions differ.
      window: side w of the window, odd, static; 1 compares the map itself.
      over: the axes over which the mean goes: one threshold per image by default; (-3, -2, -1) is one per video
        [..., T, H, W].
    Returns:
      bool [..., H, W]; all False where the map is constant.
    Raises:
      ValueError: fewer than two axes, an even window, or no such axis.
      TypeError: attention is not floating point.

    >>> print(attention_mask(jnp.array([[0.0, 0.0, 9.0, 0.0, 0.0]]), window=3).astype(int))
    [[0 0 0 0 0]]
    >>> print(attention_mask(jnp.zeros((4, 4)).at[1, 1].set(1.0), window=3).astype(int))
    [[1 1 1 0]
     [1 1 1 0]
     [1 1 1 0]
     [0 0 0 0]]

    Reference: Li et al., "FlowDirector: Training-Free Flow Steering for Precise Text-to-Video Editing" (2025), checked
    against the authors' code (the mean is that of the map before it is averaged over windows).
    """
    attention = checks.floating(attention, "attention")
    if attention.ndim < 2:
        raise ValueError(f"attention must have shape [..., H, W], got {list(attention.shape)}")
    checks.at_least(window, "window", 1)
    if window % 2 == 0:
        raise ValueError(f"window must be odd, got {window}")
    if any(not -attention.ndim <= axis < attention.ndim for axis in over):
        raise ValueError(f"over must name axes of attention, got {tuple(over)} for shape {list(attention.shape)}")
    wide = attention.astype(accumulation_dtype(attention))
    # By the largest value, so that a constant map is 1 everywhere, without rounding.
    largest = jnp.max(wide, axis=tuple(over), keepdims=True, initial=0.0)
    wide = wide / jnp.where(largest > 0, largest, 1.0)
    half, pooled = window // 2, wide
    for axis in (-2, -1):
        size = pooled.shape[axis]
        pad = [(0, 0)] * pooled.ndim
        pad[axis] = (half, half)
        padded = jnp.pad(pooled, pad)
        shifted = [jax.lax.slice_in_dim(padded, i, i + size, axis=pooled.ndim + axis) for i in range(window)]
        pooled = functools.reduce(jnp.add, shifted)
    return pooled / window**2 > jnp.mean(wide, axis=tuple(over), keepdims=True)


def soften_mask(mask: ArrayLike, *, decay: ArrayLike = 0.1) -> Array:
    r"""A mask whose outside falls off with the distance to it.

    .. math:: s_p = e^{-\lambda\, d(p)}, \qquad d(p) = \min_{q \in m} \|p - q\|_2

    Distances are exact, in pixels, by one pass along the rows and one along the columns.

    Args:
      mask: bool [..., H, W].
      decay: lambda >= 0, a float or an array that broadcasts to [..., H, W]; 0 is 1 wherever the mask has a pixel.
    Returns:
      float32 [..., H, W]: 1 on the mask; an empty mask gives 0 everywhere.
    Raises:
      ValueError: fewer than two axes, or a static decay below 0.
      TypeError: mask is not boolean.

    >>> print(soften_mask(jnp.array([[True, False, False]]), decay=jnp.log(2.0)))
    [[1.   0.5  0.25]]

    Reference: Li et al., "FlowDirector: Training-Free Flow Steering for Precise Text-to-Video Editing" (2025), checked
    against the authors' code and ``scipy.ndimage.distance_transform_edt``.
    """
    mask = jnp.asarray(mask)
    if mask.dtype != jnp.bool_:
        raise TypeError(f"mask must be boolean, got {mask.dtype.name}")
    if mask.ndim < 2:
        raise ValueError(f"mask must have shape [..., H, W], got {list(mask.shape)}")
    checks.at_least(decay, "decay", 0.0)
    height, width = mask.shape[-2:]
    apart = lambda n: jnp.square(jnp.arange(n)[:, None] - jnp.arange(n)).astype(jnp.float32)  # noqa: E731
    # The squared distance to the mask within the row, then the least sum over the rows.
    in_row = jnp.min(jnp.where(mask[..., None, :], apart(width), jnp.inf), axis=-1)
    squares = jnp.min(apart(height)[:, :, None] + in_row[..., None, :, :], axis=-2)
    found = jnp.isfinite(squares)
    distance = jnp.sqrt(jnp.where(found, squares, 0.0))
    return jnp.where(found, jnp.exp(-jnp.asarray(decay, jnp.float32) * distance), 0.0)
