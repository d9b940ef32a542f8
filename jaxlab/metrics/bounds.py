"""Guarantees: what no perturbation within a radius can change, and what the true error is not above."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import bisect
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = ["binary_kl", "cbc_certified_radius", "kl_inverse", "mcallester_bound", "occam_bound", "seeger_bound"]


def _growth(gain: Array, loss: Array, constant: Array) -> Array:
    """By how much (minus 1) detections may grow and shrink before gain / u - loss * u + constant falls to 0.

    Zero where the margin (its value at u = 1) is not positive, infinite where it never falls to 0. Written for u - 1,
    so that a small margin gives a small radius instead of rounding.
    """
    margin = gain - loss + constant
    slope = 2 * loss - constant
    # The discriminant; its root has gradient NaN at 0, where the branches below do not need it.
    square = constant**2 + 4 * gain * loss
    root = safe_sqrt(square)
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


def binary_kl(q: ArrayLike, p: ArrayLike) -> Array:
    r"""Divergence of two coins, in nats (0 where they are the same).

    .. math:: \mathrm{kl}(q \| p) = q \log \frac qp + (1 - q) \log \frac{1 - q}{1 - p}

    Args:
      q: float [...] in [0, 1], the observed rate.
      p: float, broadcasts with q, in [0, 1], the true rate.
    Returns:
      float32 or wider [...] >= 0; infinite where p rules out what q has seen.
    Raises:
      ValueError: shapes do not broadcast.
      TypeError: q or p is not floating point.

    >>> print(binary_kl(jnp.array(0.0), jnp.array(0.5)).round(4))
    0.6931

    Reference: standard.
    """
    q, p = checks.floating(q, "q"), checks.floating(p, "p")
    dtype = accumulation_dtype(q, p)
    try:
        q, p = jnp.broadcast_arrays(q.astype(dtype), p.astype(dtype))
    except ValueError as error:
        raise ValueError(f"q and p must broadcast, got {list(q.shape)} and {list(p.shape)}") from error

    def part(a: Array, b: Array) -> Array:
        some = a > 0
        possible = b > 0
        term = jnp.where(some, a, 1.0) * (jnp.log(jnp.where(some, a, 1.0)) - jnp.log(jnp.where(possible, b, 1.0)))
        return jnp.where(some, jnp.where(possible, term, jnp.inf), 0.0)

    return jnp.maximum(part(q, p) + part(1.0 - q, 1.0 - p), 0.0)


def kl_inverse(q: ArrayLike, bound: ArrayLike) -> Array:
    r"""The largest true rate whose divergence from the observed one keeps within a bound.

    .. math:: \mathrm{kl}^{-1}(q, c) = \sup \{p : \mathrm{kl}(q \| p) \le c\}

    Args:
      q: float [...] in [0, 1], the observed rate.
      bound: c >= 0, float, broadcasts with q.
    Returns:
      float32 or wider [...] in [q, 1]; q for a bound of 0. No gradient.
    Raises:
      ValueError: shapes do not broadcast.
      TypeError: q or bound is not floating point.

    >>> print(kl_inverse(jnp.array(0.0), jnp.array(1.0)).round(4))  # 1 - exp(-1)
    0.6321

    Reference: standard.
    """
    q, bound = checks.floating(q, "q"), checks.floating(bound, "bound")
    dtype = accumulation_dtype(q, bound)
    try:
        q, bound = jnp.broadcast_arrays(q.astype(dtype), bound.astype(dtype))
    except ValueError as error:
        raise ValueError(f"q and bound must broadcast, got {list(q.shape)} and {list(bound.shape)}") from error
    found = bisect(lambda p: binary_kl(q, p) - bound, q, jnp.ones_like(q))
    known = jnp.where(jnp.isnan(bound), jnp.nan, jax.lax.stop_gradient(q))
    return jnp.where(bound > 0, found, known)


def _sizes(error: ArrayLike, kl: ArrayLike, num_examples: ArrayLike, delta: ArrayLike) -> tuple[Array, ...]:
    error, kl = checks.floating(error, "error"), checks.floating(kl, "kl")
    checks.at_least(num_examples, "num_examples", 1)
    checks.in_range(delta, "delta", 0.0, 1.0)
    checks.positive(delta, "delta")
    dtype = accumulation_dtype(error, kl)
    return error.astype(dtype), kl.astype(dtype), jnp.asarray(num_examples, dtype), jnp.asarray(delta, dtype)


def mcallester_bound(error: ArrayLike, kl: ArrayLike, num_examples: ArrayLike, *, delta: ArrayLike = 0.05) -> Array:
    r"""McAllester's PAC-Bayes bound on the true error (smaller is better).

    .. math:: R \le \hat R + \sqrt{\frac{\mathrm{KL} + \log(n / \delta) + 2}{2 n - 1}}

    Args:
      error: float [...], the mean training error, a loss in [0, 1]; of a posterior, its mean.
      kl: float, broadcasts with error, >= 0, of the posterior and the prior in nats; for one hypothesis minus its log
        prior. The prior must not have seen the examples.
      num_examples: n, a number or an array.
      delta: in (0, 1], the probability that the bound may fail with.
    Returns:
      float32 or wider [...]; above 1 it says nothing.
    Raises:
      ValueError: a static num_examples < 1 or delta outside (0, 1].
      TypeError: error or kl is not floating point.

    >>> print(mcallester_bound(jnp.array(0.1), jnp.array(20.0), 10_000).round(4))
    0.1414

    Reference: McAllester, "PAC-Bayesian Stochastic Model Selection" (2003); used for prompts by Akinwande et al.,
    "Understanding prompt engineering may not require rethinking generalization" (2024). Recalled.
    """
    error, kl, num, delta = _sizes(error, kl, num_examples, delta)
    return error + safe_sqrt((kl + jnp.log(num / delta) + 2.0) / (2.0 * num - 1.0))


def seeger_bound(error: ArrayLike, kl: ArrayLike, num_examples: ArrayLike, *, delta: ArrayLike = 0.05) -> Array:
    r"""The PAC-Bayes-kl bound on the true error, the tightest of the family (smaller is better).

    .. math:: R \le \mathrm{kl}^{-1}\Big(\hat R,\ \frac{\mathrm{KL} + \log(2 \sqrt n / \delta)}{n}\Big)

    Args:
      error: float [...], the mean training error in [0, 1].
      kl: float, broadcasts with error, >= 0, as in ``mcallester_bound``.
      num_examples: n, a number or an array.
      delta: in (0, 1].
    Returns:
      float32 or wider [...] in [0, 1]. No gradient.
    Raises:
      ValueError: as ``mcallester_bound``.
      TypeError: error or kl is not floating point.

    >>> print(seeger_bound(jnp.array(0.1), jnp.array(20.0), 10_000).round(4))
    0.1241

    Reference: Maurer, "A Note on the PAC Bayesian Theorem" (2004), after Seeger. Recalled.
    """
    error, kl, num, delta = _sizes(error, kl, num_examples, delta)
    return kl_inverse(error, (kl + jnp.log(2.0 * jnp.sqrt(num) / delta)) / num)


def occam_bound(error: ArrayLike, kl: ArrayLike, num_examples: ArrayLike, *, delta: ArrayLike = 0.05) -> Array:
    r"""The bound for one hypothesis out of countably many, by their prior probabilities (smaller is better).

    .. math:: R \le \hat R + \sqrt{\frac{-\log P(h) + \log(1 / \delta)}{2 n}}

    Args:
      error: float [...], the training error in [0, 1].
      kl: float, broadcasts with error: minus the log prior probability of the hypothesis, in nats.
      num_examples: n, a number or an array.
      delta: in (0, 1].
    Returns:
      float32 or wider [...]; above 1 it says nothing.
    Raises:
      ValueError: as ``mcallester_bound``.
      TypeError: error or kl is not floating point.

    >>> print(occam_bound(jnp.array(0.1), jnp.array(20.0), 10_000).round(4))
    0.1339

    Reference: Langford, "Tutorial on Practical Prediction Theory for Classification" (2005). Standard.
    """
    error, kl, num, delta = _sizes(error, kl, num_examples, delta)
    return error + safe_sqrt((kl - jnp.log(delta)) / (2.0 * num))
