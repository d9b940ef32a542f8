"""Numbers as vectors of waves: times, guidance scales, positions, coordinates."""

import math

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["embed_label", "fourier_features", "sinusoidal_embedding"]


def sinusoidal_embedding(t: ArrayLike, *, dim: int, max_period: float = 1e4, interleaved: bool = False) -> Array:
    r"""Sines, then cosines, of a number at wavelengths from 2 pi to 2 pi times ``max_period``.

    .. math:: \big[\sin(\omega_i t)\big]_i \,\|\, \big[\cos(\omega_i t)\big]_i, \qquad
              \omega_i = P^{-i / (d / 2)}, \quad i = 0, \dots, \tfrac d2 - 1

    Args:
      t: float or int [...], times or positions. Waves tell apart numbers that differ by about 1: multiply times in
        [0, 1] by 1000.
      dim: d, even and >= 2, static.
      max_period: P > 1, static.
      interleaved: static; every sine is followed by its cosine. The embedding of places in OPEN takes ``2 pi`` times
        coordinates in [0, 1] so, axis by axis in the order y, x, z: ``coords[..., jnp.array([1, 0, 2])]``.
    Returns:
      float32 or wider [..., dim], of length sqrt(dim / 2) whatever t is.
    Raises:
      ValueError: dim is odd or < 2, or max_period <= 1.
      TypeError: t is boolean or not real.

    >>> print(sinusoidal_embedding(jnp.array([0.0]), dim=4))
    [[0. 0. 1. 1.]]

    Reference: Vaswani et al., "Attention Is All You Need" (2017), standard; the order is that of Song et al.,
    "Score-Based Generative Modeling through Stochastic Differential Equations" (2021). Interleaved as in Hou et al.,
    "OPEN: Object-wise Position Embedding for Multi-view 3D Object Detection" (2024), checked against the authors' code.
    """
    checks.divisible(checks.size(dim, "dim", 2), "dim", 2)
    if not max_period > 1:
        raise ValueError(f"max_period must be > 1, got {max_period!r}")
    t = jnp.asarray(t)
    t = t if jnp.issubdtype(t.dtype, jnp.integer) else checks.floating(t, "t")
    half = dim // 2
    wide = t.astype(accumulation_dtype(t))
    angles = wide[..., None] * jnp.exp(jnp.arange(half, dtype=wide.dtype) * (-math.log(max_period) / half))
    waves = [jnp.sin(angles), jnp.cos(angles)]
    if interleaved:
        return jnp.stack(waves, axis=-1).reshape(*angles.shape[:-1], dim)
    return jnp.concatenate(waves, axis=-1)


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


def embed_label(
    x: ArrayLike, labels: ArrayLike, *, num_classes: int, scale: ArrayLike = 1.0, replace: bool = False
) -> Array:
    r"""Writes labels into the inputs, for layers that are to judge whether the two belong together.

    .. math:: [\,s\, e_y \,\|\, x\,] \quad\text{or}\quad [\,s\, e_y \,\|\, x_{C:}\,]

    Args:
      x: float [..., D].
      labels: int [...], in [0, num_classes); outside gives NaN in the label's entries.
      num_classes: C, static.
      scale: s, what the label's entry is set to; a float or an array that broadcasts to [...].
      replace: static. True puts the label over the first C entries, which pictures with an empty border can spare;
        False puts it in front.
    Returns:
      The dtype of x, [..., C + D], or [..., D] if replace.
    Raises:
      ValueError: shapes do not agree, num_classes < 1, or replace with fewer than C entries.
      TypeError: x is not floating point, or labels are not integers.

    >>> print(embed_label(jnp.array([[5.0, 6.0, 7.0]]), jnp.array([1]), num_classes=2, replace=True))
    [[0. 1. 7.]]

    Reference: Hinton, "The Forward-Forward Algorithm: Some Preliminary Investigations" (2022), standard; both forms are
    in the code of Momeni et al., "Backpropagation-free Training of Deep Physical Neural Networks" (2023), checked.
    """
    x, y = checks.floating(x, "x"), checks.integer(labels, "labels")
    classes = checks.size(num_classes, "num_classes")
    if x.ndim < 1 or x.shape[:-1] != y.shape:
        raise ValueError(f"labels must have shape {list(x.shape[:-1])} to match x, got {list(y.shape)}")
    if replace and x.shape[-1] < classes:
        raise ValueError(f"x must have at least {classes} entries to be replaced, got {x.shape[-1]}")
    known = ((y >= 0) & (y < classes))[..., None]
    code = jnp.where(known, jax.nn.one_hot(y, classes, dtype=x.dtype), jnp.nan)
    code = code * jnp.asarray(scale, x.dtype)[..., None]
    return jnp.concatenate([code, x[..., classes:] if replace else x], axis=-1)
