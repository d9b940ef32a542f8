"""Counts of predicted against true classes, and what is read off them."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["confusion_matrix", "mean_iou"]


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
