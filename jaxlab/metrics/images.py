"""How close a restored image or signal is to the original: in decibels, and in its structure."""

import math

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, masked_mean, normalize
from jaxlab.typing import Array, ArrayLike

__all__ = ["psnr", "si_sdr", "ssim"]

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


def ssim(
    a: ArrayLike,
    b: ArrayLike,
    *,
    window: int = 11,
    sigma: float = 1.5,
    stride: int = 1,
    padding: int | None = None,
    data_range: ArrayLike = 1.0,
    reduce: bool = True,
) -> Array:
    r"""Structural similarity of pairs of images (larger is more alike; 1 for equal ones).

    .. math:: \frac{2 \mu_a \mu_b + C_1}{\mu_a^2 + \mu_b^2 + C_1} \cdot \frac{2 \sigma_{ab} + C_2}
                   {\sigma_a^2 + \sigma_b^2 + C_2}, \quad C_1 = (0.01 R)^2, \; C_2 = (0.03 R)^2

    Means, variances and the covariance are taken in a Gaussian window around every place, and in every channel.

    Args:
      a: float [..., H, W, C].
      b: float [..., H, W, C].
      window: side of the window, static; an even one is centred half a pixel late, at window // 2.
      sigma: its width, static, > 0.
      stride: its step, static.
      padding: zeros around the images, static; None takes (window - 1) // 2, which keeps their size at stride 1.
      data_range: R > 0, largest minus smallest possible value.
      reduce: True takes the mean over places and channels, static; False gives the map.
    Returns:
      float32 or wider [...], or [..., H', W', C] with H' = (H + 2 padding - window) // stride + 1; in [-1, 1] to
      rounding. Differences of squares cost a variance about 1e-7 of the squared values.
    Raises:
      ValueError: shapes do not agree, a size is out of range, or the window is larger than the padded image.
      TypeError: a or b is not floating point, or a size is not a static integer.

    >>> x = jnp.linspace(0.0, 1.0, 64).reshape(8, 8, 1)
    >>> print(f"{ssim(x, x, window=4):.4f} {ssim(x, 1.0 - x, window=4):.4f}")
    1.0000 -0.2907

    Reference: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity" (2004). Standard;
    zeros around the image and variances as differences, as in the code of Xie et al., "S3IM: Stochastic Structural
    SIMilarity and Its Unreasonable Effectiveness for Neural Fields" (2023).
    """
    a, b = checks.floating(a, "a"), checks.floating(b, "b")
    checks.same_shape(a, "a", b, "b")
    if a.ndim < 3 or 0 in a.shape[-3:]:
        raise ValueError(f"a must have shape [..., H, W, C] with something in it, got {list(a.shape)}")
    checks.size(window, "window")
    checks.size(stride, "stride")
    checks.positive(sigma, "sigma")
    checks.positive(data_range, "data_range")
    border = (window - 1) // 2 if padding is None else checks.size(padding, "padding", 0)
    if min(a.shape[-3:-1]) + 2 * border < window:
        raise ValueError(f"window must fit into the padded image, got {window} and images {list(a.shape)}")
    dtype = accumulation_dtype(a, b)
    edges = [(0, 0)] * (a.ndim - 3) + [(border, border)] * 2 + [(0, 0)]
    a, b = (jnp.pad(x.astype(dtype), edges) for x in (a, b))
    away = [(place - window // 2) ** 2 / (2.0 * sigma**2) for place in range(window)]
    weights = [math.exp(-x) for x in away]
    weights = [weight / sum(weights) for weight in weights]

    def local_mean(x: Array) -> Array:
        for axis in (x.ndim - 3, x.ndim - 2):
            places = (x.shape[axis] - window) // stride + 1

            def shifted(at: int, x: Array = x, axis: int = axis, places: int = places) -> Array:
                return jax.lax.slice_in_dim(x, at, at + stride * (places - 1) + 1, stride, axis)

            x = sum((weight * shifted(at) for at, weight in enumerate(weights)), jnp.zeros((), x.dtype))
        return x

    mean_a, mean_b, square_a, square_b, product = local_mean(jnp.stack([a, b, a * a, b * b, a * b]))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    spread = square_a - mean_a**2 + square_b - mean_b**2
    covariance = product - mean_a * mean_b
    similarity = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similarity = similarity / ((mean_a**2 + mean_b**2 + c1) * (spread + c2))
    return jnp.mean(similarity, axis=(-3, -2, -1)) if reduce else similarity
