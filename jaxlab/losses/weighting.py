"""Losses in which classes or entries weigh differently."""

import math

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.losses.labelled import labelled
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "bias_loss",
    "bias_minimum",
    "bias_weights",
    "class_balanced_weights",
    "gradient_harmonized_weights",
    "weighted_binary_cross_entropy",
]


def weighted_binary_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, *, pos_weight: ArrayLike = 1.0, where: ArrayLike | None = None
) -> Array:
    r"""Binary cross entropy whose positive part weighs ``pos_weight`` (one value per entry; larger is worse).

    .. math:: \ell = -w\, t \log \sigma(z) - (1 - t) \log \sigma(-z)

    For several labels per example, hide the classes that are not asked for by ``where``: they then add nothing, while
    a logit and a target filled with 0 would add log 2 each.

    Args:
      logits: float [...].
      targets: float, int or bool, the shape of logits, in [0, 1].
      pos_weight: w > 0, a float or an array that broadcasts to logits, such as [C].
      where: bool, the shape of logits, True where an entry counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are), the shape of logits; finite for finite logits.
    Raises:
      ValueError: shapes do not agree, or a static pos_weight <= 0.
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(weighted_binary_cross_entropy(jnp.zeros(2), jnp.array([1, 0]), pos_weight=3.0).round(3))
    [2.079 0.693]

    Reference: standard.
    """
    logits = checks.floating(logits, "logits")
    targets = jnp.asarray(targets)
    checks.same_shape(logits, "logits", targets, "targets")
    checks.positive(pos_weight, "pos_weight")
    mask = checks.mask(where, "where", logits.shape)
    dtype = accumulation_dtype(logits)
    z, t = logits.astype(dtype), targets.astype(dtype)
    if mask is not None:
        z, t = jnp.where(mask, z, 0.0), jnp.where(mask, t, 0.0)
    # The two parts are each the cross entropy of a certain target.
    positive = optax.losses.sigmoid_binary_cross_entropy(z, jnp.ones_like(z))
    negative = optax.losses.sigmoid_binary_cross_entropy(z, jnp.zeros_like(z))
    loss = jnp.asarray(pos_weight, dtype) * t * positive + (1 - t) * negative
    return loss if mask is None else jnp.where(mask, loss, 0.0)


def class_balanced_weights(counts: ArrayLike, *, beta: ArrayLike = 0.9999, kind: str = "effective") -> Array:
    r"""Weights of classes, larger for the rarer ones, with mean 1 over the classes that have examples.

    .. math:: w_k \propto 1 / E_k, \qquad E_k = \frac{1 - \beta^{n_k}}{1 - \beta} \;\text{("effective")}
              \quad\text{or}\quad E_k = n_k \;\text{("inverse")}

    The effective number of examples grows like n at first and stops at 1 / (1 - beta): beta 0 weighs all classes alike,
    beta near 1 by their size. The weight of an example is that of its class: ``weights[labels]``.

    Args:
      counts: int or float [..., K], n >= 0, examples per class.
      beta: in [0, 1), a float or a scalar array; read by "effective" alone.
      kind: "effective" or "inverse", static.
    Returns:
      float32 or wider [..., K]; 0 for a class without examples.
    Raises:
      ValueError: counts are a scalar or have no class, an unknown kind, or a static beta outside [0, 1).
      TypeError: counts are not numbers.

    >>> print(*(f"{weight:.2f}" for weight in class_balanced_weights(jnp.array([30, 10, 0]), kind="inverse")))
    0.50 1.50 0.00

    Reference: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples" (2019), with weights that sum to
    the number of classes. Standard.
    """
    counts = jnp.asarray(counts)
    if counts.dtype == jnp.bool_ or not jnp.issubdtype(counts.dtype, jnp.number):
        raise TypeError(f"counts must hold numbers, got {counts.dtype}")
    if counts.ndim < 1 or counts.shape[-1] < 1:
        raise ValueError(f"counts must have shape [..., K] with K >= 1, got {list(counts.shape)}")
    checks.one_of(kind, "kind", ("effective", "inverse"))
    fixed = float(beta) if checks.is_static(beta) else None
    if fixed is not None and not 0 <= fixed < 1:
        raise ValueError(f"beta must lie in [0, 1), got {beta!r}")
    dtype = accumulation_dtype(counts)
    some = counts > 0
    sizes = jnp.where(some, counts, 1).astype(dtype)
    if kind == "effective":
        # 1 - beta^n without the digits that a beta near 1 would lose.
        exact = None if fixed is None else math.log(fixed) if fixed else -math.inf
        log_beta = jnp.log(jnp.asarray(beta, dtype)) if exact is None else jnp.asarray(exact, dtype)
        sizes = -jnp.expm1(sizes * log_beta)
    weights = jnp.where(some, 1.0 / sizes, 0.0)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    number = jnp.sum(some, axis=-1, keepdims=True)
    return weights * number / jnp.where(total > 0, total, 1.0)


def bias_minimum(
    minimum: ArrayLike, features: ArrayLike, *, where: ArrayLike | None = None, axis_name: str | None = None
) -> Array:
    r"""The smallest variance of features seen so far, for ``bias_weights`` (couples the batch).

    .. math:: m \leftarrow \min\big(m, \min_n v_n\big)

    Args:
      minimum: a float scalar, m so far; start from ``jnp.inf``.
      features: float [B, ...], two numbers or more per example.
      where: bool [B], True where an example counts.
      axis_name: the mapped axis over which the batch is split too.
    Returns:
      float32 (wider if features are) scalar; m itself where no example counts. No gradient passes.
    Raises:
      ValueError: shapes do not agree, or an example has fewer than two numbers.
      TypeError: features are not floating point, or where is not boolean.

    >>> print(bias_minimum(jnp.inf, jnp.array([[0.0, 2.0], [1.0, 1.5]])))
    0.125

    Reference: as ``bias_weights``.
    """
    _, low, _ = _variances(features, where, axis_name)
    return jnp.minimum(jnp.asarray(minimum, low.dtype), low)


def bias_weights(
    features: ArrayLike,
    *,
    alpha: ArrayLike = 0.3,
    beta: ArrayLike = 0.3,
    minimum: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Weights of examples, larger where the features of an example vary more (couples the batch).

    .. math:: w_n = e^{\beta \hat v_n} - 1 + \alpha, \qquad
              \hat v_n = \frac{v_n - m}{\max_j v_j - \min_j v_j}

    v is the unbiased variance over all entries of an example's features, m the minimum over the batch, or over all
    batches so far: the spread below is always the batch's, so that vhat may then exceed 1.

    Args:
      features: float [B, ...], two numbers or more per example, such as the maps of the last convolution.
      alpha: the smallest weight, >= 0.
      beta: how fast weights grow; 0 gives alpha to all.
      minimum: a float scalar, m of ``bias_minimum`` (this batch is added to it); None takes the batch alone.
      where: bool [B], True where an example counts; the others get 0.
      axis_name: the mapped axis over which the batch is split too.
    Returns:
      float32 (wider if features are) [B]; alpha where all variances are equal, such as for a single example. No
      gradient passes.
    Raises:
      ValueError: shapes do not agree, an example has fewer than two numbers, or a static alpha < 0.
      TypeError: features are not floating point, or where is not boolean.

    >>> [f"{weight:.3f}" for weight in bias_weights(jnp.array([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]))]
    ['0.300', '0.419', '0.650']

    Reference: Abrahamyan et al., "Bias Loss for Mobile Neural Networks" (2021). Checked against two public copies of
    the authors' module; the paper's text, recalled, subtracts alpha where the code adds it and subtracts 1.
    """
    checks.at_least(alpha, "alpha", 0.0)
    variances, low, high = _variances(features, where, axis_name)
    bottom = low if minimum is None else jnp.minimum(jnp.asarray(minimum, low.dtype), low)
    some = high > low
    relative = jnp.where(some, (variances - bottom) / jnp.where(some, high - low, 1.0), 0.0)
    weights = jnp.expm1(jnp.asarray(beta, low.dtype) * relative) + jnp.asarray(alpha, low.dtype)
    return weights if where is None else jnp.where(jnp.asarray(where), weights, 0.0)


def bias_loss(
    logits: ArrayLike,
    labels: ArrayLike,
    features: ArrayLike,
    *,
    alpha: ArrayLike = 0.3,
    beta: ArrayLike = 0.3,
    minimum: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Cross entropy that counts most for examples with features of high variance (couples the batch).

    .. math:: \ell_n = w_n \, \big(\!-\log \mathrm{softmax}(z_n)_{y_n}\big), \quad w_n \text{ of bias\_weights}

    An example that excites few features, a blank image for one, hardly counts.

    Args:
      logits: float [B, K].
      labels: int [B], in [0, K); outside gives NaN for that example.
      features: float [B, ...], two numbers or more per example; they pass no gradient.
      alpha: the smallest weight, >= 0.
      beta: how fast weights grow; 0 gives alpha times the cross entropy.
      minimum: a float scalar, as in ``bias_weights``.
      where: bool [B], True where an example counts; the others give 0 and no gradient.
      axis_name: the mapped axis over which the batch is split too.
    Returns:
      float32 (wider if logits or features are) [B], >= 0 for beta >= 0.
    Raises:
      ValueError: shapes do not agree, an example has fewer than two numbers, or a static alpha < 0.
      TypeError: logits or features are not floating point, labels not integers, or where is not boolean.

    >>> logits, labels = jnp.zeros((2, 2)), jnp.array([0, 1])
    >>> found = bias_loss(logits, labels, jnp.array([[0.0, 0.0], [0.0, 1.0]]))
    >>> [f"{loss:.3f}" for loss in found]  # .3 and .65 times log 2
    ['0.208', '0.450']

    Reference: as ``bias_weights``.
    """
    logits = checks.rank(checks.floating(logits, "logits"), "logits", 2, layout="[B, K]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    checks.batch_match(logits, "logits", labels, "labels")
    checks.batch_match(jnp.asarray(features), "features", labels, "labels")
    rows = labelled(logits, labels, where, fewest=1)
    weights = bias_weights(features, alpha=alpha, beta=beta, minimum=minimum, where=where, axis_name=axis_name)
    return rows.losses(weights * optax.losses.softmax_cross_entropy_with_integer_labels(rows.logits, rows.labels))


def _variances(features: ArrayLike, where: ArrayLike | None, axis_name: str | None) -> tuple[Array, Array, Array]:
    """Variances of examples, and the smallest and largest of those that count (inf and -inf if none does)."""
    features = checks.floating(features, "features")
    if features.ndim < 2 or math.prod(features.shape[1:]) < 2:
        raise ValueError(f"features must have shape [B, ...], two numbers an example, got {list(features.shape)}")
    mask = checks.mask(where, "where", features.shape[:1])
    counts = jnp.ones(features.shape[:1], bool) if mask is None else mask
    rows = jax.lax.stop_gradient(
        features.reshape(len(features), math.prod(features.shape[1:])).astype(accumulation_dtype(features))
    )
    variances = jnp.var(jnp.where(counts[:, None], rows, 0.0), axis=1, ddof=1)
    low = jnp.min(variances, where=counts, initial=jnp.inf)
    high = jnp.max(variances, where=counts, initial=-jnp.inf)
    if axis_name is not None:
        low, high = jax.lax.pmin(low, axis_name), jax.lax.pmax(high, axis_name)
    return variances, low, high


def gradient_harmonized_weights(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    bins: int = 10,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Weights against the crowd: what many entries of a batch pull alike counts less each (couples the batch).

    .. math:: w_i = \frac{N}{M\, |\{j : \lfloor B g_j \rfloor = \lfloor B g_i \rfloor\}|},
              \qquad g = |\sigma(z) - t|

    N entries, M of the B bins not empty. The weights of a bin add up to N / M and all of them to N, so the weighted
    binary cross entropy divided by N is of the size of its mean. No gradient.

    Args:
      logits: z, float [...].
      targets: t, float, int or bool, the shape of logits, in [0, 1].
      bins: B, static.
      where: bool, the shape of logits, True where an entry counts; the others have weight 0.
      axis_name: the mapped axis over which the batch is split; the counts are those of all its members.
    Returns:
      float32 or wider, the shape of logits.
    Raises:
      ValueError: shapes do not agree, or bins < 1.
      TypeError: logits are not floating point, or where not boolean.

    >>> print(gradient_harmonized_weights(jnp.array([-9.0, -9.0, -9.0, -9.0]), jnp.array([0, 0, 0, 1])))
    [0.6666667 0.6666667 0.6666667 2.       ]

    Reference: Li et al., "Gradient Harmonized Single-stage Detector" (2019), checked against mmdetection, without its
    average of the counts over steps.
    """
    number = checks.size(bins, "bins")
    logits, targets = checks.floating(logits, "logits"), jnp.asarray(targets)
    checks.same_shape(logits, "logits", targets, "targets")
    mask = checks.mask(where, "where", logits.shape)
    counts = jnp.ones(logits.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(logits)
    pull = jnp.abs(jax.nn.sigmoid(jnp.where(counts, logits.astype(dtype), 0.0)) - targets.astype(dtype))
    place = jnp.clip(jnp.floor(jax.lax.stop_gradient(pull) * number), 0, number - 1).astype(jnp.int32)
    crowd = jnp.zeros(number, jnp.int32).at[place].add(counts.astype(jnp.int32))
    if axis_name is not None:
        crowd = jax.lax.psum(crowd, axis_name)
    share = jnp.sum(crowd).astype(dtype) / jnp.maximum(jnp.sum(crowd > 0), 1)
    return jnp.where(counts, share / jnp.maximum(crowd, 1)[place], 0.0)
