"""Roots, and numbers brought to a range."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["bisect", "min_max"]


def bisect(fn: Callable[[Array], Array], low: ArrayLike, high: ArrayLike, *, num_iters: int = 60) -> Array:
    r"""Where an increasing function crosses zero, by halving an interval a fixed number of times.

    .. math:: f(x) = 0, \qquad |x - x^*| \le 2^{-n} (h - l)

    Args:
      fn: elementwise and increasing in its argument, [...] -> [...]; negate a decreasing one.
      low: float [...], where the search begins.
      high: float, broadcasts with low.
      num_iters: static, >= 1; beyond 30 float32 gains nothing more.
    Returns:
      float32 or wider [...], the middle of the last interval; ``high`` where fn is negative throughout, ``low`` where
      it is positive. No gradient passes: differentiate the equation instead.
    Raises:
      ValueError: low and high do not broadcast, or num_iters < 1.
      TypeError: low or high is not floating point.

    >>> print(bisect(lambda x: x**2 - 2.0, jnp.array(0.0), jnp.array(2.0)).round(4))
    1.4142

    Reference: standard.
    """
    left, right = checks.floating(low, "low"), checks.floating(high, "high")
    checks.size(num_iters, "num_iters")
    dtype = accumulation_dtype(left, right)
    try:
        left, right = jnp.broadcast_arrays(left.astype(dtype), right.astype(dtype))
    except ValueError as error:
        raise ValueError(f"low and high must broadcast, got {list(left.shape)} and {list(right.shape)}") from error

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        left, right = ends
        middle = left + 0.5 * (right - left)
        below = fn(middle) < 0
        return jnp.where(below, middle, left), jnp.where(below, right, middle)

    left, right = jax.lax.fori_loop(0, num_iters, halve, jax.lax.stop_gradient((left, right)))
    return jax.lax.stop_gradient(left + 0.5 * (right - left))


def min_max(x: ArrayLike, *, axis: int | None = None, where: ArrayLike | None = None) -> Array:
    r"""Numbers moved and scaled to [0, 1].

    .. math:: \tilde x = (x - \min x) / (\max x - \min x)

    Args:
      x: float [...].
      axis: along which minimum and maximum are taken; None takes them over everything.
      where: bool, broadcastable to x, True where a number counts; the others, and NaN, give 0.
    Returns:
      float32 (wider if x is), shaped like x. Numbers that are all the same stay as they are.
    Raises:
      ValueError: where does not broadcast.
      TypeError: x is not floating point, or where is not boolean.

    >>> print(min_max(jnp.array([1.0, 2.0, 5.0])))
    [0.   0.25 1.  ]

    Reference: as He et al., "Robustifying and Boosting Training-Free Neural Architecture Search" (2024) make metrics
    comparable. Checked against the authors' code.
    """
    x = checks.floating(x, "x")
    counts = checks.broadcast_mask(where, "where", x.shape) & ~jnp.isnan(x)
    wide = jnp.where(counts, x.astype(accumulation_dtype(x)), 0.0)
    low = jnp.min(wide, axis=axis, keepdims=True, where=counts, initial=jnp.inf)
    high = jnp.max(wide, axis=axis, keepdims=True, where=counts, initial=-jnp.inf)
    varies = high > low
    scaled = jnp.where(varies, (wide - jnp.where(varies, low, 0.0)) / jnp.where(varies, high - low, 1.0), wide)
    return jnp.where(counts, scaled, 0.0)
