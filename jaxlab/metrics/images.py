"""How close a restored image or signal is to the original, in decibels."""

import math

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, masked_mean, normalize
from jaxlab.typing import Array, ArrayLike

__all__ = ["psnr", "si_sdr"]

PER_DECADE = 10.0 / math.log(10.0)  # decibels of a natural logarithm


def _pair(a: ArrayLike, name_a: str, b: ArrayLike, name_b: str, limit: float) -> tuple[Array, Array]:
    """Both arrays [B, ...] in float32 or wider."""
    a, b = checks.floating(a, name_a), checks.floating(b, name_b)
    checks.same_shape(a, name_a, b, name_b)
    if a.ndim < 2 or 0 in a.shape[1:]:
        raise ValueError(f"{name_a} must have shape [B, ...] with something in every example, got {list(a.shape)}")
    checks.positive(limit, "limit")
    dtype = accumulation_dtype(a, b)
    return a.astype(dtype), b.astype(dtype)


def psnr(
    a: ArrayLike, b: ArrayLike, *, data_range: ArrayLike = 1.0, where: ArrayLike | None = None, limit: float = 100.0
) -> Array:
    r"""Peak signal-to-noise ratio of pairs of images in decibels (larger is more alike).

    .. math:: 10 \log_{10} \frac{R^2}{\tfrac1D \|a - b\|^2}

    Args:
      a: float [B, ...], images or signals.
      b: float [B, ...].
      data_range: R > 0, largest minus smallest possible value: 1 for [0, 1], 2 for [-1, 1].
      where: bool, over the first axes of a ([B] for whole images, [B, H, W] for pixels), True where it counts; what
        does not may be anything and gets no gradient.
      limit: decibels beyond which images count as equal, so that the result is finite.
    Returns:
      float32 (wider if an input is) [B], at most ``limit``; 0 for an image of which nothing counts. The gradient beyond
      the limit is 0.
    Raises:
      ValueError: shapes differ, an image is empty, where has another shape, or data_range or limit <= 0.
      TypeError: a or b is not floating point, or where is not boolean.

    >>> print(psnr(jnp.zeros((2, 4)), jnp.array([[0.1] * 4, [0.0] * 4])))
    [ 20. 100.]

    Reference: standard.
    """
    a, b = _pair(a, "a", b, "b", limit)
    checks.positive(data_range, "data_range")
    axes = tuple(range(1, a.ndim))
    counts = jnp.ones(a.shape, bool)
    if where is not None:
        mask = checks.rank(where, "where", range(1, a.ndim + 1), layout="[B] or [B, ...]")
        checks.mask(mask, "where", a.shape[: mask.ndim])
        counts = jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim)), a.shape)
        # Inputs are cleaned: the square of what does not count may overflow, and its gradient with it.
        a, b = jnp.where(counts, a, 0.0), jnp.where(counts, b, 0.0)
    error, floor = masked_mean(((a - b) / data_range) ** 2, counts, axis=axes), 10.0 ** (-limit / 10.0)
    value = jnp.where(error <= floor, limit, -PER_DECADE * jnp.log(jnp.maximum(error, floor)))
    return jnp.where(jnp.any(counts, axis=axes), value, 0.0)


def si_sdr(estimate: ArrayLike, reference: ArrayLike, *, limit: float = 100.0) -> Array:
    r"""Scale-invariant signal-to-distortion ratio in decibels (larger is better).

    .. math:: 10 \log_{10} \frac{\|a r\|^2}{\|a r - e\|^2}, \qquad a = \frac{\langle e, r \rangle}{\|r\|^2}

    It depends on the angle between the two alone, 10 log10 cot^2. Subtract means first where an offset is not to count.

    Args:
      estimate: float [B, ...], e.
      reference: float [B, ...], r.
      limit: decibels at which the result is clipped, on both sides.
    Returns:
      float32 (wider if an input is) [B] in [-limit, limit]: ``limit`` for estimate = k reference, k != 0, and -limit
      for a right angle or where either is zero. The gradient beyond the limits is 0.
    Raises:
      ValueError: shapes differ, a signal is empty, or limit <= 0.
      TypeError: an array is not floating point.

    >>> print(si_sdr(jnp.array([[1.0, 1.0], [3.0, 0.0]]), jnp.array([[1.0, 0.0], [1.0, 0.0]])))
    [  0. 100.]

    Reference: Le Roux et al., "SDR - half-baked or well done?" (2019), standard; as used by Richter et al., "Speech
    Enhancement and Dereverberation with Diffusion-based Generative Models" (2023).
    """
    estimate, reference = _pair(estimate, "estimate", reference, "reference", limit)
    e, r = (normalize(v.reshape(v.shape[0], -1), eps=0.0) for v in (estimate, reference))
    cosine = jnp.sum(e * r, axis=1)
    along, across = cosine**2, jnp.sum((e - cosine[:, None] * r) ** 2, axis=1)
    silent = jnp.all(e == 0, axis=1)
    floor = 10.0 ** (-limit / 10.0)
    value = PER_DECADE * (jnp.log(jnp.maximum(along, floor)) - jnp.log(jnp.maximum(across, floor)))
    return jnp.where(silent | (along <= floor), -limit, jnp.where(across <= floor, limit, value))
