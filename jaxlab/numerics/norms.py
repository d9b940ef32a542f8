"""Norms and means with safe gradients."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = ["accumulation_dtype", "masked_mean", "normalize", "safe_sqrt", "segment_mean"]


def accumulation_dtype(*arrays: Array) -> jnp.dtype:
    """The dtype in which sums over these arrays are kept: float32, or wider where an array is."""
    return jnp.result_type(jnp.float32, *(a.dtype for a in arrays if jnp.issubdtype(a.dtype, jnp.floating)))


def state_dtype(dtype: DTypeLike | None, *like: Array) -> jnp.dtype:
    """The dtype of a state: what was asked, else float32 or the width of ``like``; never narrower than float32."""
    if dtype is None:
        return jnp.result_type(jnp.float32, *(a.dtype for a in like))
    if not jnp.issubdtype(dtype, jnp.floating) or jnp.finfo(dtype).bits < 32:
        raise TypeError(f"dtype must be float32 or float64 (sums in bfloat16 lose counts), got {jnp.dtype(dtype).name}")
    result = jax.dtypes.canonicalize_dtype(dtype)
    if result != jnp.dtype(dtype):
        raise TypeError(
            f"dtype is {jnp.dtype(dtype).name} but 64-bit is off: jax.config.update('jax_enable_x64', True)"
        )
    return result


def safe_sqrt(x: Array) -> Array:
    """The square root of what is above 0, and 0 with gradient 0 below (the root's own gradient at 0 is infinite).

    The inner ``where`` keeps 0 away from the root: a gradient of infinity times 0 would be NaN. NaN stays NaN.
    """
    some = ~(x <= 0)
    return jnp.where(some, jnp.sqrt(jnp.where(some, x, 1.0)), 0.0)


def normalize(x: ArrayLike, *, axis: int = -1, eps: float = 1e-12) -> Array:
    r"""Unit vectors along an axis, with gradient zero at a zero vector.

    .. math:: x / \max(\|x\|_2, \varepsilon)

    Vectors are first scaled by a power of two near their largest entry, so entries of 1e30 or 1e-30 neither overflow
    nor vanish.

    Args:
      x: float [..., D] along ``axis``.
      axis: the axis that becomes unit length.
      eps: lengths at or below eps give the zero vector.
    Returns:
      The dtype and shape of x; zero vectors stay zero, vectors that hold NaN or infinity become NaN.
    Raises:
      TypeError: x is not floating point.

    >>> print(normalize(jnp.array([3.0, 4.0])))
    [0.6 0.8]

    Reference: standard; the double-where form keeps the gradient finite at zero.
    """
    x = checks.floating(x, "x")
    wide = x.astype(accumulation_dtype(x))
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(wide), axis=axis, keepdims=True, initial=0.0))
    _, exponent = jnp.frexp(largest)
    limit = jnp.finfo(wide.dtype).maxexp - 2  # beyond it the scale or its inverse would be denormal, which is flushed
    exponent = jnp.clip(exponent, -limit, limit)
    scale = jnp.ldexp(jnp.ones_like(largest), exponent)
    # A product: of two quotients in a row the compiler for GPUs makes one by scale * length, which can overflow.
    scaled = wide * jnp.ldexp(jnp.ones_like(largest), -exponent)
    squares = jnp.sum(scaled**2, axis=axis, keepdims=True)
    length = jnp.sqrt(jnp.where(squares > 0, squares, 1.0))
    # Compared so that a NaN is not taken for a zero vector.
    vanishing = (squares == 0) | (length * scale <= eps)
    return jnp.where(vanishing, 0.0, scaled / length).astype(x.dtype)


def masked_mean(x: ArrayLike, where: ArrayLike | None = None, *, axis: int | tuple[int, ...] | None = None) -> Array:
    """Mean over the entries marked True; 0 where none is.

    Args:
      x: float array; entries marked False may be anything, NaN included.
      where: bool, broadcastable to x; None counts everything.
      axis: axes to reduce; None reduces all.
    Returns:
      float32 (wider if x is), x reduced over axis.
    Raises:
      TypeError: x is not floating point, or where is not boolean.
      ValueError: where does not broadcast to the shape of x.

    >>> print(masked_mean(jnp.array([1.0, 2.0, jnp.nan]), jnp.array([True, True, False])))
    1.5

    Reference: standard.
    """
    x = checks.floating(x, "x")
    wide = x.astype(accumulation_dtype(x))
    mask = checks.broadcast_mask(where, "where", x.shape)
    total = jnp.sum(jnp.where(mask, wide, 0.0), axis=axis)
    count = jnp.sum(mask, axis=axis)
    return total / jnp.maximum(count, 1)


def segment_mean(
    x: ArrayLike, segment_ids: ArrayLike, num_segments: int, *, where: ArrayLike | None = None
) -> tuple[Array, Array]:
    """Means and counts per group; an empty group has mean 0 and count 0.

    Args:
      x: float [N, ...].
      segment_ids: int [N]; rows outside [0, num_segments) are ignored.
      num_segments: number of groups, static, >= 1.
      where: bool [N], True where a row counts.
    Returns:
      (mean [num_segments, ...] in float32 or wider, count int32 [num_segments]).
    Raises:
      TypeError: x is not floating point or segment_ids are not integers.
      ValueError: leading axes disagree or num_segments < 1.

    >>> mean, count = segment_mean(jnp.array([1.0, 3.0, 5.0]), jnp.array([0, 0, 2]), 3)
    >>> print(mean, count)
    [2. 0. 5.] [2 0 1]

    Reference: standard.
    """
    x, ids = checks.floating(x, "x"), checks.integer(segment_ids, "segment_ids")
    checks.rank(ids, "segment_ids", 1, layout="[N]")
    if x.ndim < 1:
        raise ValueError("x must have shape [N, ...], got a scalar")
    checks.batch_match(x, "x", ids, "segment_ids")
    checks.size(num_segments, "num_segments")
    mask = checks.mask(where, "where", ids.shape)
    valid = (ids >= 0) & (ids < num_segments)
    valid = valid if mask is None else valid & mask
    wide = x.astype(accumulation_dtype(x))
    rows = jnp.where(valid.reshape(valid.shape + (1,) * (x.ndim - 1)), wide, 0.0)
    safe_ids = jnp.where(valid, ids, num_segments)
    total = jax.ops.segment_sum(rows, safe_ids, num_segments + 1)[:num_segments]
    count = jax.ops.segment_sum(valid.astype(jnp.int32), safe_ids, num_segments + 1)[:num_segments]
    return total / jnp.maximum(count, 1).reshape(count.shape + (1,) * (x.ndim - 1)), count
