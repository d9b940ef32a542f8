"""Accuracy and means of accuracies."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["accuracy", "harmonic_mean"]


def _in_top_k(logits: Array, labels: Array, k: int) -> Array:
    num_classes = logits.shape[-1]
    index = jnp.arange(num_classes)
    inside = (labels >= 0) & (labels < num_classes)
    own = jnp.take_along_axis(logits, jnp.where(inside, labels, 0)[..., None], axis=-1)
    # Counting the classes in front needs no sort; a tie goes to the lower index, as in argmax.
    in_front = (logits > own) | ((logits == own) & (index < labels[..., None]))
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
