"""Spectrograms for diffusion: amplitudes compressed so that quiet parts are not lost beside loud ones."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["spec_compress", "spec_decompress"]


def _scaled(x: Array, power: ArrayLike, factor: ArrayLike) -> Array:
    """factor |x|^power with the phase of x, 0 and without gradient at 0."""
    silent = x == 0
    # The whole of x is replaced, not only its modulus: the gradient of |x| at 0 is NaN.
    safe = jnp.where(silent, jnp.ones_like(x), x)
    return jnp.where(silent, jnp.zeros_like(x), safe * (factor * jnp.abs(safe) ** (power - 1.0)).astype(x.dtype))


def _checked(x: ArrayLike, name: str, factor: ArrayLike, exponent: ArrayLike) -> Array:
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must be complex, as of jax.scipy.signal.stft, got {x.dtype.name}{list(x.shape)}")
    checks.positive(factor, "factor")
    checks.positive(exponent, "exponent")
    return x


def spec_compress(x: ArrayLike, *, factor: ArrayLike = 0.15, exponent: ArrayLike = 0.5) -> Array:
    r"""Compresses the amplitude of a complex spectrogram and keeps its phase.

    .. math:: c = \beta\, |x|^{a}\, e^{i \angle x}

    Args:
      x: complex [...].
      factor: beta > 0.
      exponent: a > 0; below 1 it raises what is quiet.
    Returns:
      Complex [...] in the dtype of x; 0 where x is, with gradient 0 there. Its real and imaginary parts are the two
      channels that a network sees.
    Raises:
      ValueError: factor or exponent <= 0.
      TypeError: x is not complex.

    >>> print(spec_compress(jnp.array([0.0, 4.0j]), factor=0.5))
    [0.+0.j 0.+1.j]

    Reference: Richter et al., "Speech Enhancement and Dereverberation with Diffusion-based Generative Models" (2023),
    checked against the authors' code.
    """
    x = _checked(x, "x", factor, exponent)
    return _scaled(x, exponent, factor)


def spec_decompress(c: ArrayLike, *, factor: ArrayLike = 0.15, exponent: ArrayLike = 0.5) -> Array:
    r"""The inverse of ``spec_compress``.

    .. math:: x = (|c| / \beta)^{1/a}\, e^{i \angle c}

    Args:
      c: complex [...].
      factor: beta > 0, that of the compression.
      exponent: a > 0, that of the compression.
    Returns:
      Complex [...] in the dtype of c.
    Raises:
      ValueError: factor or exponent <= 0.
      TypeError: c is not complex.

    >>> print(spec_decompress(spec_compress(jnp.array([0.0, 4.0j]))))
    [0.+0.j 0.+4.j]

    Reference: Richter et al. (2023), as in ``spec_compress``; checked.
    """
    c = _checked(c, "c", factor, exponent)
    return _scaled(c / jnp.asarray(factor).astype(c.dtype), 1.0 / exponent, 1.0)
