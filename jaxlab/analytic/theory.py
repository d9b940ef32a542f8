"""Optima of idealised learning problems in closed form."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import bisect, normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "DeepLinearCollapse",
    "LinearRule",
    "balanced_logit_average",
    "deep_linear_collapse_solution",
    "robust_linear_gmm",
]


class LinearRule(NamedTuple):
    """A linear classifier of two classes: the first where ``x @ weight + bias`` is above 0."""

    weight: Array  # [D]
    bias: Array


class DeepLinearCollapse(NamedTuple):
    """The collapsed optimum of linear layers on free features, one number per class; float32 or wider [K]."""

    singular_values: Array  # of every layer; the length of the classifier's row of that class
    feature_norms: Array  # the length of the class mean, with which every feature of the class coincides
    logits_diag: Array  # the logit of the class on its own mean; those of the other classes are 0


def deep_linear_collapse_solution(
    class_counts: ArrayLike, *, depth: int, weight_decay: ArrayLike, feature_decay: ArrayLike
) -> DeepLinearCollapse:
    r"""Where M linear layers and free features end under squared error and decay, for classes of any size.

    .. math:: s_k^{2M} = N \lambda_H x_k^M, \qquad
              \frac{M x^{M-1}}{(x^M + 1)^2} = \frac{M N (N \lambda_W^M \lambda_H)^{1/M}}{n_k}

    It is the global minimum of ``losses.unconstrained_feature_mse``: features are their class means, means are
    orthogonal and aligned with the classifier. x is the larger root, and 0 where there is none or where it loses to 0
    (possible for M >= 2): such a class is given up, with weights and features of zero. For M = 1 that is so where
    :math:`n_k \le N^2 \lambda_W \lambda_H`, and else :math:`s_k^2 = \sqrt{n_k \lambda_H / \lambda_W} - N \lambda_H`.

    Args:
      class_counts: int or float [K], n_k >= 0, examples per class; no layer is narrower than K.
      depth: M >= 1, static.
      weight_decay: lambda_W > 0, the same for every layer; a number or a scalar array.
      feature_decay: lambda_H > 0.
    Returns:
      DeepLinearCollapse. No gradient passes. All counts 0 give zeros. Integer counts give float32.
    Raises:
      ValueError: class_counts is not [K], depth < 1, or a static decay is not positive.
      TypeError: class_counts hold no numbers, or depth is not an integer.

    >>> solution = deep_linear_collapse_solution(jnp.array([20, 10, 5]), depth=1, weight_decay=5e-3, feature_decay=1e-3)
    >>> print(*(f"{s:.4f}" for s in solution.singular_values))
    1.4018 1.1744 0.9823

    Reference: Dang et al., "Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced Data" (2023). Checked:
    it is the minimum that L-BFGS finds.
    """
    counts = checks.rank(class_counts, "class_counts", 1, layout="[K]")
    if not (jnp.issubdtype(counts.dtype, jnp.floating) or jnp.issubdtype(counts.dtype, jnp.integer)):
        raise TypeError(f"class_counts must hold numbers, got {counts.dtype.name}{list(counts.shape)}")
    depth = checks.size(depth, "depth")
    decays = (checks.positive(weight_decay, "weight_decay"), checks.positive(feature_decay, "feature_decay"))
    dtype = accumulation_dtype(counts, *(jnp.asarray(decay) for decay in decays if hasattr(decay, "dtype")))
    counts = jax.lax.stop_gradient(counts.astype(dtype))
    on_weights, on_features = (jax.lax.stop_gradient(jnp.asarray(decay, dtype)) for decay in decays)
    total = jnp.sum(counts)
    floor = total * on_features
    # Twice N times the loss of a class is n / (1 + x^M) + price x.
    price = depth * total * on_weights * floor ** (1.0 / depth)

    def slope(x: Array) -> Array:
        return price - counts * depth * x ** (depth - 1) / (x**depth + 1.0) ** 2

    turn = ((depth - 1.0) / (depth + 1.0)) ** (1.0 / depth)  # beyond it the slope increases
    safe = jnp.where(price > 0, price, 1.0)
    high = jnp.maximum(turn, (depth * counts / safe) ** (1.0 / (depth + 1.0)))
    x = bisect(slope, jnp.full_like(counts, turn), high)
    wins = (counts / (1.0 + x**depth) + price * x < counts) & (price > 0)
    power = jnp.where(wins, floor * x**depth, 0.0)  # s^(2 M)
    whole = jnp.where(wins, power + floor, 1.0)
    singular = jnp.where(wins, jnp.where(wins, power, 1.0) ** (0.5 / depth), 0.0)
    return DeepLinearCollapse(singular, jnp.sqrt(power) / whole, power / whole)


def balanced_logit_average(
    logits0: ArrayLike, logits1: ArrayLike, *, temperature0: ArrayLike = 1.0, temperature1: ArrayLike = 1.0
) -> Array:
    r"""The mean of two networks' logits, each divided by its own temperature first.

    .. math:: \bar z = \tfrac12 (z_0 / \tau_0 + z_1 / \tau_1)

    A network that is too sure of itself outvotes the other: where c grows, the decisions of the mean of :math:`z_0` and
    :math:`c z_1` become those of :math:`z_1`. Temperatures that calibrate both give each its voice back. For linear
    networks the mean of logits is the network of the mean weights.

    Args:
      logits0: float [..., K] of the one network.
      logits1: float, the same shape, of the other.
      temperature0: > 0, divides logits0; a float or an array that broadcasts.
      temperature1: > 0, divides logits1.
    Returns:
      float32 or wider [..., K].
    Raises:
      ValueError: shapes differ, or a static temperature <= 0.
      TypeError: logits are not floating point.

    >>> print(balanced_logit_average(jnp.array([1.0, 0.0]), jnp.array([0.0, 8.0]), temperature1=8.0))
    [0.5 0.5]

    Reference: Lin et al., "Spurious Feature Diversification Improves Out-of-distribution Generalization" (2024).
    Recalled: the paper balances weights by label smoothing and mixup, and this is the same step on logits.
    """
    logits0, logits1 = checks.floating(logits0, "logits0"), checks.floating(logits1, "logits1")
    checks.same_shape(logits0, "logits0", logits1, "logits1")
    checks.positive(temperature0, "temperature0")
    checks.positive(temperature1, "temperature1")
    dtype = accumulation_dtype(logits0, logits1)
    return 0.5 * (logits0.astype(dtype) / temperature0 + logits1.astype(dtype) / temperature1)


def robust_linear_gmm(
    mu: ArrayLike, *, ratio: ArrayLike, eps: ArrayLike, sigma: ArrayLike = 1.0, norm: str = "l2"
) -> LinearRule:
    r"""The linear classifier of two Gaussian classes with the least error under the worst attack of a radius.

    .. math:: w = \arg\max_{\|w\|_2 = 1} w^\top \mu - \epsilon \|w\|_q,
              \qquad b = -\frac{\sigma^2 \log R}{2 M}, \quad M = w^\top \mu - \epsilon \|w\|_q

    for :math:`x \mid y \sim \mathcal N(y \mu, \sigma^2 I)`. Against "l2" the direction is that of mu: only the
    threshold moves, away from the rare class. Against "linf" it is mu soft-thresholded by eps, so both classes lose.
    ``metrics.class_errors_linear_gmm`` gives the errors.

    Args:
      mu: float [D], the mean of class y = 1; that of y = -1 is its negative.
      ratio: R = P(y = -1) / P(y = 1) > 0.
      eps: radius of the attack >= 0; 0 gives the classifier of least error, the linear discriminant.
      sigma: standard deviation > 0 of both classes.
      norm: "l2" or "linf", p of the attack, static.
    Returns:
      LinearRule(weight, bias) in float32 or wider: class 1 where the score is above 0, weight of unit length. Where no
      margin is left (M <= 0) the frequent class is predicted everywhere: bias is -inf for R >= 1, else inf.
    Raises:
      ValueError: mu is not [D], an unknown norm, a static ratio or sigma <= 0, or eps < 0.
      TypeError: mu is not floating point.

    >>> print(robust_linear_gmm(jnp.array([1.0]), ratio=5.0, eps=0.3).bias.round(4))
    -1.1496

    Reference: Hu et al., "Understanding the Impact of Adversarial Robustness on Accuracy Disparity" (2023).
    Inferred from the model.
    """
    mu = checks.rank(checks.floating(mu, "mu"), "mu", 1, layout="[D]")
    checks.one_of(norm, "norm", ("l2", "linf"))
    for name, value in (("ratio", ratio), ("sigma", sigma)):
        checks.positive(value, name)
    checks.at_least(eps, "eps", 0.0)
    dtype = accumulation_dtype(mu)
    center, eps, sigma = mu.astype(dtype), jnp.asarray(eps, dtype), jnp.asarray(sigma, dtype)
    if norm == "linf":
        size = jnp.abs(center)
        left = jnp.maximum(size - eps, 0.0)
        # Where the attack is larger than every mean, the largest alone loses least.
        largest = (jnp.arange(size.shape[0]) == jnp.argmax(size)).astype(dtype)
        weight = normalize(jnp.sign(center) * jnp.where(jnp.any(left > 0), left, largest))
        dual = jnp.sum(jnp.abs(weight))
    else:
        weight = normalize(center)
        dual = jnp.ones((), dtype)
    margin = jnp.sum(weight * center) - eps * dual
    some = margin > 0
    log_ratio = jnp.log(jnp.asarray(ratio, dtype))
    bias = -(sigma**2) * log_ratio / jnp.where(some, 2.0 * margin, 1.0)
    return LinearRule(weight, jnp.where(some, bias, jnp.where(log_ratio >= 0, -jnp.inf, jnp.inf)))
