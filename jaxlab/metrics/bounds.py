"""Guarantees: what no perturbation within a radius can change."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["cbc_certified_radius"]


def _growth(gain: Array, loss: Array, constant: Array) -> Array:
    """By how much (minus 1) detections may grow and shrink before gain / u - loss * u + constant falls to 0.

    Zero where the margin (its value at u = 1) is not positive, infinite where it never falls to 0. Written for u - 1,
    so that a small margin gives a small radius instead of rounding.
    """
    margin = gain - loss + constant
    slope = 2 * loss - constant
    # The discriminant; its root has gradient NaN at 0, where the branches below do not need it.
    square = constant**2 + 4 * gain * loss
    root = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    steep = slope > 0
    by_margin = 2 * margin / jnp.where(steep, slope + root, 1.0)
    bounded = loss > 0
    by_root = (root - slope) / jnp.where(bounded, 2 * loss, 1.0)
    growth = jnp.where(steep, by_margin, jnp.where(bounded, by_root, jnp.inf))
    return jnp.where(margin > 0, growth, 0.0)


def cbc_certified_radius(
    detections: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    labels: ArrayLike,
    *,
    bandwidth: ArrayLike,
    where: ArrayLike | None = None,
) -> Array:
    r"""Euclidean radius within which a decision by components stays right (per example; larger is better).

    .. math:: \rho = h \min_{c \ne y} \log u_c, \qquad A^+_c / u_c - A^-_c u_c + b_c = 0

    with :math:`a_k = (r^+_{ky} - r^-_{ky}) - (r^+_{kc} - r^-_{kc})`,
    :math:`A^\pm_c = \sum_k \max(0, \pm a_k)\, d_k` and :math:`b_c = \sum_k r^-_{ky} - r^-_{kc}`. By the triangle
    inequality a perturbation of length :math:`h \log u` moves every detection :math:`d_k = e^{-\|x - w_k\| / h}` by a
    factor in [1 / u, u], and the equation says when the worst such move makes both classes equal.

    Args:
      detections: float [..., K], of ``nn.rbf_detections`` with power 1.
      positive: float [K, C], from ``nn.component_reasoning``, C >= 2.
      negative: float [K, C]; zeros for a radial basis function network.
      labels: int [...]; a class outside [0, C) gives NaN for that example.
      bandwidth: h > 0 of the detections, a float or an array [K], of which the smallest counts.
      where: bool [...], True where an example counts; the others give 0.
    Returns:
      float32 (wider if an input is) [...]: 0 where another class is at least as probable, infinity (with gradient 0)
      where no perturbation helps another class.
    Raises:
      ValueError: shapes do not agree, C < 2, or a static bandwidth <= 0.
      TypeError: labels are not integers, or another input not floating point.

    >>> reasoning = jnp.eye(2), jnp.zeros((2, 2))  # class c is there if prototype c is
    >>> print(cbc_certified_radius(jnp.exp(jnp.array([-1.0, -3.0])), *reasoning, jnp.array(0), bandwidth=1.0))
    1.0

    Reference: Saralajew et al., "A Robust Prototype-Based Network with Interpretable RBF Classifier Foundations"
    (2025); inferred from the triangle inequality, in the form of the paper's theorem as recalled.
    """
    seen, labels = checks.floating(detections, "detections"), checks.integer(labels, "labels")
    positive = checks.rank(checks.floating(positive, "positive"), "positive", 2, layout="[K, C]")
    negative = checks.floating(negative, "negative")
    checks.same_shape(positive, "positive", negative, "negative")
    width, num_classes = positive.shape
    if num_classes < 2:
        raise ValueError(f"positive must have at least 2 classes, got {list(positive.shape)}")
    if seen.shape != (*labels.shape, width):
        raise ValueError(f"detections must have shape {[*labels.shape, width]}, got {list(seen.shape)}")
    checks.positive(bandwidth, "bandwidth")
    if jnp.ndim(bandwidth) > 0 and jnp.shape(bandwidth) != (width,):
        raise ValueError(f"bandwidth must be a number or have shape {[width]}, got {list(jnp.shape(bandwidth))}")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(seen, positive, negative)
    seen = jnp.where(counts[..., None], seen.astype(dtype), 0.0)
    known = (labels >= 0) & (labels < num_classes)
    own = jnp.where(known, labels, 0)

    weight, base = (positive - negative).astype(dtype), jnp.sum(negative.astype(dtype), axis=0)
    difference = weight.T[own][..., None, :] - weight.T  # [..., C, K]
    with jax.default_matmul_precision("highest"):
        gain = jnp.einsum("...ck,...k->...c", jnp.maximum(difference, 0.0), seen)
        loss = jnp.einsum("...ck,...k->...c", jnp.maximum(-difference, 0.0), seen)
    growth = _growth(gain, loss, base[own][..., None] - base)
    rival = jnp.arange(num_classes) != own[..., None]
    growth = jnp.min(jnp.where(rival, growth, jnp.inf), axis=-1)
    finite = growth < jnp.inf
    length = jnp.min(jnp.asarray(bandwidth, dtype)) * jnp.log1p(jnp.where(finite, growth, 0.0))
    radius = jnp.where(finite, length, jnp.inf)
    return jnp.where(counts, jnp.where(known, radius, jnp.nan), 0.0)
