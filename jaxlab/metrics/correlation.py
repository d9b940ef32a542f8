"""Agreement of two lists of numbers."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["pearson"]


def pearson(a: ArrayLike, b: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Pearson's correlation coefficient (larger means a closer rising line).

    .. math:: r = \frac{\sum_i (a_i - \bar a)(b_i - \bar b)}{\sqrt{\sum_i (a_i - \bar a)^2 \sum_i (b_i - \bar b)^2}}

    Args:
      a: float [...].
      b: float, same shape.
      where: bool, same shape, True where a pair counts.
    Returns:
      float32 or wider scalar in [-1, 1] over all axes; 0 where one of the lists does not vary.
    Raises:
      ValueError: shapes do not agree.
      TypeError: a or b is not floating point, or where is not boolean.

    >>> print(pearson(jnp.array([1.0, 2.0, 3.0]), jnp.array([2.0, 4.0, 6.0])).round(4))
    1.0

    Reference: standard.
    """
    a, b = checks.floating(a, "a"), checks.floating(b, "b")
    checks.same_shape(a, "a", b, "b")
    mask = checks.mask(where, "where", a.shape)
    counts = jnp.ones(a.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(a, b)

    def unit(x: Array) -> Array:
        x = jnp.where(counts, x.astype(dtype), 0.0)
        away = jnp.where(counts, x - masked_mean(x, counts), 0.0)
        largest = jnp.max(jnp.abs(away), initial=0.0)
        # What is left of equal numbers after their mean is taken off is rounding.
        varies = largest > 10 * jnp.finfo(dtype).eps * jnp.max(jnp.abs(x), initial=0.0)
        scaled = jnp.where(varies, away / jnp.where(varies, largest, 1.0), 0.0)
        squares = jnp.sum(scaled**2)
        return scaled / jnp.sqrt(jnp.where(squares > 0, squares, 1.0))

    return jnp.clip(jnp.sum(unit(a) * unit(b)), -1.0, 1.0)
