"""Numbers as vectors of waves: times, guidance scales, positions, coordinates."""

import math

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["fourier_features", "sinusoidal_embedding"]


def sinusoidal_embedding(t: ArrayLike, *, dim: int, max_period: float = 1e4) -> Array:
    r"""Sines, then cosines, of a number at wavelengths from 2 pi to 2 pi times ``max_period``.

    .. math:: \big[\sin(\omega_i t)\big]_i \,\|\, \big[\cos(\omega_i t)\big]_i, \qquad
              \omega_i = P^{-i / (d / 2)}, \quad i = 0, \dots, \tfrac d2 - 1

    Args:
      t: float or int [...], times or positions. Waves tell apart numbers that differ by about 1: multiply times in
        [0, 1] by 1000.
      dim: d, even and >= 2, static.
      max_period: P > 1, static.
    Returns:
      float32 or wider [..., dim], of length sqrt(dim / 2) whatever t is.
    Raises:
      ValueError: dim is odd or < 2, or max_period <= 1.
      TypeError: t is boolean or not real.

    >>> print(sinusoidal_embedding(jnp.array([0.0]), dim=4))
    [[0. 0. 1. 1.]]

    Reference: Vaswani et al., "Attention Is All You Need" (2017), standard; the order is that of Song et al.,
    "Score-Based Generative Modeling through Stochastic Differential Equations" (2021).
    """
    checks.divisible(checks.size(dim, "dim", 2), "dim", 2)
    if not max_period > 1:
        raise ValueError(f"max_period must be > 1, got {max_period!r}")
    t = jnp.asarray(t)
    t = t if jnp.issubdtype(t.dtype, jnp.integer) else checks.floating(t, "t")
    half = dim // 2
    wide = t.astype(accumulation_dtype(t))
    angles = wide[..., None] * jnp.exp(jnp.arange(half, dtype=wide.dtype) * (-math.log(max_period) / half))
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)


def fourier_features(x: ArrayLike, frequencies: ArrayLike) -> Array:
    r"""Cosines, then sines, of projections of x.

    .. math:: \big[\cos(2 \pi\, x B)\big] \,\|\, \big[\sin(2 \pi\, x B)\big]

    The inner product of two such vectors depends on the difference of their x alone: a stationary kernel, Gaussian
    where B is.

    Args:
      x: float [..., D]; or [...], numbers, where ``frequencies`` are [F].
      frequencies: B, float [D, F] or [F], drawn once from a normal distribution whose width says how fine the
        differences are that count.
    Returns:
      float32 or wider [..., 2 F], of length sqrt(F) whatever x is.
    Raises:
      ValueError: frequencies are not [D, F] or [F], or do not fit x.
      TypeError: an array is not floating point.

    >>> print(fourier_features(jnp.array([0.0, 0.5]), jnp.array([1.0])).round(3) + 0.0)
    [[ 1.  0.]
     [-1.  0.]]

    Reference: Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains"
    (2020), standard; the embedding of the guidance scale in Meng et al., "On Distillation of Guided Diffusion Models"
    (2022), recalled.
    """
    x = checks.floating(x, "x")
    frequencies = checks.rank(
        checks.floating(frequencies, "frequencies"), "frequencies", (1, 2), layout="[F] or [D, F]"
    )
    dtype = accumulation_dtype(x, frequencies)
    rows, basis = x.astype(dtype), frequencies.astype(dtype)
    if basis.ndim == 1:
        turns = rows[..., None] * basis
    elif rows.ndim == 0 or rows.shape[-1] != basis.shape[0]:
        raise ValueError(f"x must have shape [..., {basis.shape[0]}] as frequencies say, got {list(x.shape)}")
    else:
        turns = jnp.matmul(rows, basis, precision="highest")
    angles = 2.0 * jnp.pi * turns
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=-1)
