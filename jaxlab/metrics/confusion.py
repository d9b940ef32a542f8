"""Counts of predicted against true classes, and what is read off them.

A confusion is what came with two classes, ``Confusion(tp, fp, fn, tn)``, or a table [C, C] of ``confusion_matrix``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "Confusion",
    "accuracy_from_confusion",
    "balanced_accuracy",
    "cohen_kappa",
    "confusion_matrix",
    "f_beta",
    "g_mean",
    "matthews",
    "mean_iou",
    "soft_confusion",
]


class Confusion(NamedTuple):
    """How much of two classes went where: true and false positives, false and true negatives, all [...]."""

    tp: Array
    fp: Array
    fn: Array
    tn: Array


def confusion_matrix(
    predictions: ArrayLike, labels: ArrayLike, *, num_classes: int, where: ArrayLike | None = None
) -> Array:
    r"""How often each class was predicted as each.

    .. math:: n_{ct} = |\{ i : y_i = c,\, \hat y_i = t \}|

    Counts add: those of batches, images or devices are summed before anything is read off them.

    Args:
      predictions: int [...], in [0, num_classes).
      labels: int [...]; an example whose label or prediction is no class (255 for "ignore") is not counted.
      num_classes: C, static.
      where: bool [...], True where an example counts.
    Returns:
      int32 [C, C], true classes along the first axis.
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: predictions or labels are not integers, or where is not boolean.

    >>> print(confusion_matrix(jnp.array([0, 1, 1]), jnp.array([0, 0, 1]), num_classes=2))
    [[1 1]
     [0 1]]

    Reference: standard.
    """
    predictions, labels = checks.integer(predictions, "predictions"), checks.integer(labels, "labels")
    checks.same_shape(predictions, "predictions", labels, "labels")
    checks.size(num_classes, "num_classes")
    mask = checks.mask(where, "where", labels.shape)
    known = (labels >= 0) & (labels < num_classes) & (predictions >= 0) & (predictions < num_classes)
    counts = known if mask is None else known & mask
    cell = jnp.where(counts, labels * num_classes + predictions, num_classes**2)
    table = jnp.zeros(num_classes**2, jnp.int32).at[cell.reshape(-1)].add(1, mode="drop")
    return table.reshape(num_classes, num_classes)


def mean_iou(confusion: ArrayLike, *, class_where: ArrayLike | None = None) -> Array:
    r"""Mean intersection over union of the classes (larger is better).

    .. math:: \frac1C \sum_c \frac{n_{cc}}{\sum_t n_{ct} + \sum_t n_{tc} - n_{cc}}

    Args:
      confusion: int or float [..., C, C] of ``confusion_matrix``, or a sum of such.
      class_where: bool [C], True for the classes in the mean, such as all but the background.
    Returns:
      float32 or wider [...] in [0, 1], over the classes that were predicted or present; 0 if none was.
    Raises:
      ValueError: confusion is not square, or class_where has another shape.
      TypeError: class_where is not boolean.

    >>> print(mean_iou(jnp.array([[2, 1], [1, 0]])))
    0.25

    Reference: standard.
    """
    table = jnp.asarray(confusion)
    if table.ndim < 2 or table.shape[-1] != table.shape[-2]:
        raise ValueError(f"confusion must have shape [..., C, C], got {list(table.shape)}")
    classes = checks.mask(class_where, "class_where", table.shape[-1:])
    table = table.astype(accumulation_dtype(table))
    hits = jnp.diagonal(table, axis1=-2, axis2=-1)
    union = jnp.sum(table, axis=-1) + jnp.sum(table, axis=-2) - hits
    seen = union > 0 if classes is None else (union > 0) & classes
    ratio = jnp.where(seen, hits / jnp.where(seen, union, 1.0), 0.0)
    return jnp.sum(ratio, axis=-1) / jnp.maximum(jnp.sum(seen, axis=-1), 1)


def soft_confusion(
    probs: ArrayLike, targets: ArrayLike, *, where: ArrayLike | None = None, axis_name: str | None = None
) -> Confusion:
    r"""Counts of two classes from probabilities, so that they have a gradient (couples the batch).

    .. math:: TP = \sum_i t_i p_i, \quad FP = \sum_i (1 - t_i) p_i, \quad FN = \sum_i t_i (1 - p_i),
              \quad TN = \sum_i (1 - t_i) (1 - p_i)

    With probabilities of 0 and 1 they are the usual counts. They add: sum them over batches, not what is read off them.

    Args:
      probs: float [..., N], of the positive class, in [0, 1].
      targets: float, int or bool [..., N], in [0, 1].
      where: bool [..., N], True where an example counts.
      axis_name: the mapped axis over which examples are split; the counts are those of all its members.
    Returns:
      Confusion of float32 or wider [...]; the four add to the number of examples.
    Raises:
      ValueError: shapes do not agree, or probs is a scalar.
      TypeError: probs are not floating point, or where is not boolean.

    >>> counts = soft_confusion(jnp.array([0.75, 0.5, 0.25]), jnp.array([1, 0, 1]))
    >>> [float(count) for count in counts]
    [1.0, 0.5, 1.0, 0.5]

    Reference: Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions" (2024), checked
    against the authors' code.
    """
    p = checks.floating(probs, "probs")
    t = jnp.asarray(targets)
    checks.same_shape(p, "probs", t, "targets")
    if p.ndim == 0:
        raise ValueError("probs must have shape [..., N], got a scalar")
    mask = checks.mask(where, "where", p.shape)
    dtype = accumulation_dtype(p, t)
    p, t = p.astype(dtype), t.astype(dtype)
    if mask is not None:
        p, t = jnp.where(mask, p, 0.0), jnp.where(mask, t, 0.0)
    tp, fp, fn = jnp.sum(t * p, axis=-1), jnp.sum((1 - t) * p, axis=-1), jnp.sum(t * (1 - p), axis=-1)
    negatives = (1 - t) * (1 - p)
    tn = jnp.sum(negatives if mask is None else jnp.where(mask, negatives, 0.0), axis=-1)
    counts = Confusion(tp, fp, fn, tn)
    return counts if axis_name is None else jax.lax.psum(counts, axis_name)


def _table(confusion: Confusion | ArrayLike) -> Array:
    """Float [..., C, C], true classes along the last axis but one; the positive class of two is the last."""
    if isinstance(confusion, Confusion):
        tp, fp, fn, tn = jnp.broadcast_arrays(*confusion)
        table = jnp.stack([jnp.stack([tn, fp], axis=-1), jnp.stack([fn, tp], axis=-1)], axis=-2)
    else:
        table = jnp.asarray(confusion)
    if table.ndim < 2 or table.shape[-1] != table.shape[-2] or table.shape[-1] == 0:
        raise ValueError(f"confusion must be a Confusion or have shape [..., C, C], got {list(table.shape)}")
    return table.astype(accumulation_dtype(table))


def _ratio(above: Array, below: Array) -> Array:
    """The quotient, 0 (with gradient 0) where nothing is below."""
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1.0), 0.0)


def _recalls(table: Array) -> tuple[Array, Array]:
    """The share [..., C] of every class that was recognised, and which classes are there."""
    truth = jnp.sum(table, axis=-1)
    return _ratio(jnp.diagonal(table, axis1=-2, axis2=-1), truth), truth > 0


def accuracy_from_confusion(confusion: Confusion | ArrayLike) -> Array:
    r"""Share of the examples that were recognised (larger is better).

    .. math:: \frac{\sum_c n_{cc}}{\sum_{ct} n_{ct}}

    Args:
      confusion: Confusion of [...], or int or float [..., C, C] of ``confusion_matrix``.
    Returns:
      float32 or wider [...] in [0, 1]; 0 where nothing was counted.
    Raises:
      ValueError: confusion is neither.

    >>> print(accuracy_from_confusion(jnp.array([[2, 1], [1, 0]])))
    0.5

    Reference: standard.
    """
    table = _table(confusion)
    return _ratio(jnp.trace(table, axis1=-2, axis2=-1), jnp.sum(table, axis=(-2, -1)))


def f_beta(confusion: Confusion | ArrayLike, *, beta: ArrayLike = 1.0) -> Array:
    r"""Weighted harmonic mean of precision and recall (larger is better).

    .. math:: F_\beta = \frac{(1 + \beta^2)\, TP}{(1 + \beta^2)\, TP + \beta^2 FN + FP}

    Args:
      confusion: Confusion of [...]; or int or float [..., C, C] of ``confusion_matrix``, for a value of each class
        against the rest (their mean is macro-F).
      beta: >= 0, how much more recall counts than precision.
    Returns:
      float32 or wider [...], or [..., C], in [0, 1]; 0 where the class was neither there nor predicted.
    Raises:
      ValueError: confusion is neither, or a static beta < 0.

    >>> print(f_beta(jnp.array([[3, 1], [1, 3]])))
    [0.75 0.75]

    Reference: standard.
    """
    checks.at_least(beta, "beta", 0.0)
    table = _table(confusion)
    hits = jnp.diagonal(table, axis1=-2, axis2=-1)
    missed, false = jnp.sum(table, axis=-1) - hits, jnp.sum(table, axis=-2) - hits
    square = jnp.square(jnp.asarray(beta, table.dtype))
    values = _ratio((1 + square) * hits, (1 + square) * hits + square * missed + false)
    return values[..., 1] if isinstance(confusion, Confusion) else values


def balanced_accuracy(confusion: Confusion | ArrayLike) -> Array:
    r"""Mean over classes of the share that was recognised (larger is better).

    .. math:: \frac1C \sum_c \frac{n_{cc}}{\sum_t n_{ct}}

    Args:
      confusion: Confusion of [...], or int or float [..., C, C] of ``confusion_matrix``.
    Returns:
      float32 or wider [...] in [0, 1], the mean over the classes that are there; 0 if none is.
    Raises:
      ValueError: confusion is neither.

    >>> print(balanced_accuracy(Confusion(tp=jnp.array(1.0), fp=2.0, fn=1.0, tn=6.0)))
    0.625

    Reference: standard.
    """
    recalls, there = _recalls(_table(confusion))
    return jnp.sum(recalls, axis=-1) / jnp.maximum(jnp.sum(there, axis=-1), 1)


def g_mean(confusion: Confusion | ArrayLike, *, root: bool = True) -> Array:
    r"""Geometric mean over classes of the share that was recognised (larger is better).

    .. math:: \Big( \prod_c \frac{n_{cc}}{\sum_t n_{ct}} \Big)^{1/C}

    Args:
      confusion: Confusion of [...], or int or float [..., C, C] of ``confusion_matrix``.
      root: False leaves the root out: the product, whose gradient is bounded at 0.
    Returns:
      float32 or wider [...] in [0, 1], over the classes that are there; 0 if one of them was never recognised (with
      gradient 0 where the root is taken), or if none is there.
    Raises:
      ValueError: confusion is neither.

    >>> print(g_mean(jnp.array([[8, 2], [4, 1]])))
    0.4

    Reference: standard; as a loss without the root, as in the code of Han, Moniz and Chawla, "AnyLoss: Transforming
    Classification Metrics into Loss Functions" (2024), checked.
    """
    recalls, there = _recalls(_table(confusion))
    product = jnp.prod(jnp.where(there, recalls, 1.0), axis=-1)
    number = jnp.sum(there, axis=-1)
    if root:
        some = product > 0
        power = jnp.where(some, product, 1.0) ** (1.0 / jnp.maximum(number, 1).astype(product.dtype))
        product = jnp.where(some, power, 0.0)
    return jnp.where(number > 0, product, 0.0)


def matthews(confusion: Confusion | ArrayLike) -> Array:
    r"""Matthews correlation of predicted and true classes (larger is better, 0 is chance).

    .. math:: R = \frac{\sum_c n_{cc} / N - \sum_c p_c q_c}{\sqrt{(1 - \sum_c p_c^2)(1 - \sum_c q_c^2)}}

    where p and q are the shares of the true and of the predicted classes. With two classes it is their correlation.

    Args:
      confusion: Confusion of [...], or int or float [..., C, C] of ``confusion_matrix``.
    Returns:
      float32 or wider [...] in [-1, 1]; 0 (with gradient 0) where there is or was predicted one class only.
    Raises:
      ValueError: confusion is neither.

    >>> print(matthews(jnp.array([[3, 1], [1, 3]])))
    0.5

    Reference: standard (for several classes Gorodkin, "Comparing two K-category assignments by a K-category correlation
    coefficient" (2004)).
    """
    agreement, chance, truth, predicted = _shares(_table(confusion))
    mixed, told = 1 - jnp.sum(truth**2, axis=-1), 1 - jnp.sum(predicted**2, axis=-1)
    # Shares are rounded: that of one class alone may differ from 1.
    some = (mixed > 1e-6) & (told > 1e-6)
    spread = mixed * told
    return jnp.where(some, (agreement - chance) / jnp.sqrt(jnp.where(some, spread, 1.0)), 0.0)


def cohen_kappa(confusion: Confusion | ArrayLike) -> Array:
    r"""Agreement of predicted and true classes beyond chance (larger is better, 0 is chance).

    .. math:: \kappa = \frac{\sum_c n_{cc} / N - \sum_c p_c q_c}{1 - \sum_c p_c q_c}

    where p and q are the shares of the true and of the predicted classes.

    Args:
      confusion: Confusion of [...], or int or float [..., C, C] of ``confusion_matrix``.
    Returns:
      float32 or wider [...], at most 1; 0 (with gradient 0) where all examples are and were predicted as one class.
    Raises:
      ValueError: confusion is neither.

    >>> print(cohen_kappa(jnp.array([[3, 1], [1, 3]])))
    0.5

    Reference: standard.
    """
    agreement, chance, _, _ = _shares(_table(confusion))
    some = chance < 1 - 1e-6
    return jnp.where(some, (agreement - chance) / jnp.where(some, 1 - chance, 1.0), 0.0)


def _shares(table: Array) -> tuple[Array, Array, Array, Array]:
    """Observed agreement, agreement by chance, shares of the true and of the predicted classes."""
    total = jnp.sum(table, axis=(-2, -1), keepdims=True)
    shares = _ratio(table, total)
    truth, predicted = jnp.sum(shares, axis=-1), jnp.sum(shares, axis=-2)
    return jnp.trace(shares, axis1=-2, axis2=-1), jnp.sum(truth * predicted, axis=-1), truth, predicted
