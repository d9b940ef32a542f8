"""Accuracy, means of accuracies, and how much they differ between classes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean, segment_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "ClassErrors",
    "accuracy",
    "accuracy_disparity",
    "class_errors_linear_gmm",
    "false_false_true",
    "harmonic_mean",
]


class ClassErrors(NamedTuple):
    """Error rates of the two classes of a binary problem."""

    positive: Array
    negative: Array


def _in_top_k(logits: Array, labels: Array, k: int) -> Array:
    num_classes = logits.shape[-1]
    index = jnp.arange(num_classes)
    inside = (labels >= 0) & (labels < num_classes)
    own = jnp.take_along_axis(logits, jnp.where(inside, labels, 0)[..., None], axis=-1)
    # Counting the classes in front needs no sort; a tie goes to the lower index, as in argmax. The label itself is
    # never in front: compiled, its logit may be computed twice, and differ by rounding.
    in_front = (logits > own) | ((logits == own) & (index < labels[..., None]))
    in_front &= index != labels[..., None]
    return inside & (jnp.sum(in_front, axis=-1) < k) & ~jnp.any(jnp.isnan(logits), axis=-1)


def accuracy(
    logits_or_predictions: ArrayLike, labels: ArrayLike, *, k: int = 1, where: ArrayLike | None = None
) -> Array:
    r"""Fraction of examples whose label is among the k classes with the largest logits (larger is better).

    .. math:: \frac{1}{N} \sum_n [\, y_n \in \mathrm{top}_k(z_n) \,]

    Args:
      logits_or_predictions: float [..., C] logits (or probabilities), or int [...] predicted labels (only k = 1).
      labels: int [...]; a label that is not a class counts as an error: leave such examples out by ``where``.
      k: static, 1 <= k <= C.
      where: bool [...], True where an example counts.
    Returns:
      float32 scalar over all axes (use ``vmap`` for one value per row); 0 if no example counts. Equal logits rank
      by index, the lower first. An example with a NaN logit counts as an error.
    Raises:
      ValueError: shapes do not agree, or k is not in [1, C] (predictions: not 1).
      TypeError: labels are not integers, or the first argument is neither float nor int.

    >>> logits = jnp.array([[0.1, 0.7, 0.2], [0.5, 0.4, 0.1]])
    >>> print(accuracy(logits, jnp.array([1, 1])), accuracy(logits, jnp.array([1, 1]), k=2))
    0.5 1.0

    Reference: standard.
    """
    labels = checks.integer(labels, "labels")
    outputs = jnp.asarray(logits_or_predictions)
    mask = checks.mask(where, "where", labels.shape)
    if jnp.issubdtype(outputs.dtype, jnp.floating):
        if outputs.ndim != labels.ndim + 1 or outputs.shape[:-1] != labels.shape:
            raise ValueError(
                f"logits_or_predictions must have shape {[*labels.shape, 'C']} (logits) to match labels, "
                f"got {list(outputs.shape)}"
            )
        if k not in range(1, outputs.shape[-1] + 1):
            raise ValueError(f"k must be an integer in [1, {outputs.shape[-1]}], the number of classes, got {k!r}")
        right = _in_top_k(outputs, labels, k)
    elif jnp.issubdtype(outputs.dtype, jnp.integer):
        checks.same_shape(outputs, "logits_or_predictions", labels, "labels")
        if k != 1:
            raise ValueError(f"k must be 1 for predicted labels, got {k!r}: give logits for more")
        right = outputs == labels
    else:
        raise TypeError(f"logits_or_predictions must hold floats or integers, got {outputs.dtype.name}")
    return masked_mean(right.astype(jnp.float32), mask)


def false_false_true(
    logits0: ArrayLike, logits1: ArrayLike, average: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Share of examples that both networks get wrong and their average gets right (larger is better).

    .. math:: \frac{1}{N} \sum_n [\, y_n \ne \arg\max z^0_n,\; y_n \ne \arg\max z^1_n,\; y_n = \arg\max \bar z_n \,]

    Args:
      logits0: float [..., C] of the one network.
      logits1: float [..., C] of the other.
      average: float [..., C], of the averaged weights, or of the averaged logits.
      labels: int [...]; a label that is not a class is wrong everywhere.
      where: bool [...], True where an example counts.
    Returns:
      float32 scalar in [0, 1]; 0 for networks that are the same, or if no example counts. An example with a NaN logit
      counts as wrong.
    Raises:
      ValueError: shapes do not agree.
      TypeError: logits are not floating point, labels not integers, or where not boolean.

    >>> logits0, logits1 = jnp.array([[2.0, 1.5, -9.0]]), jnp.array([[-9.0, 1.5, 2.0]])
    >>> print(false_false_true(logits0, logits1, (logits0 + logits1) / 2, jnp.array([1])))
    1.0

    Reference: Lin et al., "Spurious Feature Diversification Improves Out-of-distribution Generalization" (2024).
    Recalled.
    """
    labels = checks.integer(labels, "labels")
    mask = checks.mask(where, "where", labels.shape)
    right = []
    for name, value in (("logits0", logits0), ("logits1", logits1), ("average", average)):
        logits = checks.floating(value, name)
        if logits.ndim != labels.ndim + 1 or logits.shape[:-1] != labels.shape:
            raise ValueError(f"{name} must have shape {[*labels.shape, 'C']} to match labels, got {list(logits.shape)}")
        right.append(_in_top_k(logits, labels, 1))
    return masked_mean((~right[0] & ~right[1] & right[2]).astype(jnp.float32), mask)


def harmonic_mean(values: ArrayLike, *, axis: int = -1) -> Array:
    r"""Harmonic mean: high only if every value is high (larger is better).

    .. math:: h = n \Big/ \sum_{i=1}^n \frac{1}{v_i}

    Args:
      values: float [..., n] along ``axis``, >= 0; a negative one gives NaN.
      axis: the axis that is reduced.
    Returns:
      float32 (wider if values are), values reduced over axis; 0 if one value is 0.
    Raises:
      ValueError: no value along axis.
      TypeError: values are not floating point.

    >>> print(harmonic_mean(jnp.array([[0.5, 1.0], [0.0, 1.0]])))
    [0.6666667 0.       ]

    Reference: standard.
    """
    values = checks.floating(values, "values")
    if values.ndim == 0 or values.shape[axis] == 0:
        raise ValueError(f"values must hold at least one entry along axis {axis}, got {list(values.shape)}")
    wide = values.astype(accumulation_dtype(values))
    # n v / sum(v / v_i) with v the smallest value: nothing overflows, and h and its gradient are finite at zero.
    smallest = jnp.min(wide, axis=axis, keepdims=True)
    ratios = jnp.where(wide > 0, smallest / jnp.where(wide > 0, wide, 1.0), 1.0)
    mean = jnp.squeeze(smallest, axis) / jnp.mean(ratios, axis=axis)
    return jnp.where(jnp.squeeze(smallest, axis) >= 0, mean, jnp.nan)


def accuracy_disparity(
    predictions: ArrayLike, labels: ArrayLike, *, num_classes: int, where: ArrayLike | None = None
) -> Array:
    r"""Accuracy of the best class less that of the worst (smaller is better).

    .. math:: \max_k a_k - \min_k a_k, \qquad a_k = \frac{1}{n_k} \sum_{n: y_n = k} [\hat y_n = k]

    Args:
      predictions: int [N], predicted labels.
      labels: int [N]; examples with a label outside [0, num_classes) are left out.
      num_classes: K, static.
      where: bool [N], True where an example counts.
    Returns:
      float32 scalar in [0, 1] over the classes that have examples; 0 for fewer than two of them.
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: predictions or labels are not integers, or where is not boolean.

    >>> print(accuracy_disparity(jnp.array([0, 0, 0, 1]), jnp.array([0, 0, 1, 1]), num_classes=2))
    0.5

    Reference: Hu et al., "Understanding the Impact of Adversarial Robustness on Accuracy Disparity" (2023), whose two
    classes are here any number. Standard.
    """
    guess = checks.rank(checks.integer(predictions, "predictions"), "predictions", 1, layout="[N]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.same_shape(guess, "predictions", labels, "labels")
    num_classes = checks.size(num_classes, "num_classes")
    mask = checks.mask(where, "where", labels.shape)
    counts = (labels >= 0) & (labels < num_classes)
    counts = counts if mask is None else counts & mask
    right = (guess == labels).astype(jnp.float32)
    of_class, size = segment_mean(right, jnp.clip(labels, 0, num_classes - 1), num_classes, where=counts)
    some = size > 0
    gap = jnp.max(of_class, where=some, initial=0.0) - jnp.min(of_class, where=some, initial=1.0)
    return jnp.maximum(gap, 0.0)


def class_errors_linear_gmm(
    weight: ArrayLike,
    bias: ArrayLike,
    mu: ArrayLike,
    *,
    sigma: ArrayLike = 1.0,
    eps: ArrayLike = 0.0,
    norm: str = "l2",
) -> ClassErrors:
    r"""Errors of a linear classifier on two Gaussian classes, under the worst attack of a radius (smaller is better).

    .. math:: \mathrm{err}_y = \Phi\left(\frac{\epsilon \|w\|_q - (w^\top \mu + y b)}{\sigma \|w\|_2}\right),
              \qquad x \mid y \sim \mathcal N(y \mu, \sigma^2 I), \quad \tfrac1p + \tfrac1q = 1

    Args:
      weight: float [D], w; not 0.
      bias: float scalar, b; infinite where one class is always predicted.
      mu: float [D], the mean of class y = 1; that of y = -1 is its negative.
      sigma: standard deviation > 0.
      eps: radius of the attack >= 0; 0 for the plain errors.
      norm: "l2" or "linf", p of the attack, static.
    Returns:
      ClassErrors in float32 or wider, each in [0, 1].
    Raises:
      ValueError: shapes do not agree, an unknown norm, a static sigma <= 0 or eps < 0.
      TypeError: weight or mu is not floating point.

    >>> errors = class_errors_linear_gmm(jnp.array([1.0]), -0.804719, jnp.array([1.0]))
    >>> print(f"{errors.positive:.4f} {errors.negative:.4f}")
    0.4226 0.0356

    Reference: Hu et al., "Understanding the Impact of Adversarial Robustness on Accuracy Disparity" (2023). Inferred
    from the model.
    """
    weight = checks.rank(checks.floating(weight, "weight"), "weight", 1, layout="[D]")
    mu = checks.floating(mu, "mu")
    checks.same_shape(weight, "weight", mu, "mu")
    checks.positive(sigma, "sigma")
    checks.at_least(eps, "eps", 0.0)
    checks.one_of(norm, "norm", ("l2", "linf"))
    dtype = accumulation_dtype(weight, mu)
    wide, bias = weight.astype(dtype), jnp.asarray(bias, dtype)
    length = jnp.sqrt(jnp.sum(wide**2))
    dual = jnp.sum(jnp.abs(wide)) if norm == "linf" else length
    reach = jnp.asarray(eps, dtype) * dual - jnp.sum(wide * mu.astype(dtype))
    spread = jnp.asarray(sigma, dtype) * length
    return ClassErrors(*(jax.scipy.stats.norm.cdf((reach - side * bias) / spread) for side in (1.0, -1.0)))
