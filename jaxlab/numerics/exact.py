"""Sums of two floats: twice the digits of float32 from float32 arithmetic alone, on any device."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["round_to_grid", "two_sum"]


def two_sum(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """The rounded sum and its exact rounding error: a + b = total + error.

    Args:
      a: float array.
      b: float array of the same dtype, broadcastable to a.
    Returns:
      (total, error) in that dtype.
    Raises:
      TypeError: an argument is not floating point, or the dtypes differ.

    >>> total, error = two_sum(jnp.float32(1.0), jnp.float32(1e-9))
    >>> print(total, error)
    1.0 1e-09

    Reference: Knuth, "The Art of Computer Programming" vol. 2 (1969). Standard; overflow gives NaN in the error.
    """
    a, b = checks.floating(a, "a"), checks.floating(b, "b")
    if a.dtype != b.dtype:
        raise TypeError(f"a and b must have one dtype, got {a.dtype.name} and {b.dtype.name}")
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def round_to_grid(x: ArrayLike, *, bits: int, axis: int | tuple[int, ...]) -> tuple[Array, Array]:
    r"""The leading ``bits`` of every entry as an integer, on a grid that the entries along ``axis`` share.

    .. math:: x = s\,n + r, \quad s = 2^e,\ |n| \le 2^{bits},\ |r| \le s / 2, \quad \text{both terms exact}

    Products of such integers are exact in float32 as long as their sums stay below :math:`2^{24}`, whatever the order.

    Args:
      x: float array.
      bits: how many leading bits to keep, 1 to 23, static.
      axis: axes along which one scale is shared.
    Returns:
      (n, s): integers as floats in the shape of x, and the power of two s (size 1 along axis); the rest is x - n * s.
    Raises:
      TypeError: x is not floating point.
      ValueError: bits outside [1, 23].

    >>> n, s = round_to_grid(jnp.array([1.0, 0.30]), bits=3, axis=0)
    >>> print(n, s)
    [4. 1.] [0.25]

    Reference: Ozaki et al., "Error-free transformations of matrix multiplication" (2012), with rounding to a power of
    two instead of a floating-point trick. Recalled.
    """
    x = checks.floating(x, "x")
    checks.in_range(bits, "bits", 1, 23)
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True, initial=0.0)
    # frexp gives largest = m 2^e with m in [1/2, 1): dividing by 2^(e - bits) gives at most 2^bits. ldexp is exact,
    # exp2 is not; exponents below -100 would make the scale itself denormal.
    _, exponent = jnp.frexp(largest)
    scale = jnp.ldexp(jnp.ones_like(largest), jnp.maximum(exponent - bits, -100))
    return jnp.round(x / scale), scale
