"""Whether probabilities mean what they say."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["expected_calibration_error"]


def expected_calibration_error(
    probs: ArrayLike, labels: ArrayLike, *, num_bins: int = 15, where: ArrayLike | None = None
) -> Array:
    r"""Gap between how sure a model is and how often it is right (smaller is better).

    .. math:: \sum_b \frac1N \Big| \sum_{n \in b} \big([\hat y_n = y_n] - \hat p_n\big) \Big|, \quad
              \hat p_n = \max_k p_{nk}, \; \hat y_n = \arg\max_k p_{nk}

    The bins share (0, 1] equally; a confidence on an edge belongs to the lower bin. The error depends on their number,
    and small samples make it larger than it is: compare models on the same rows only.

    Args:
      probs: float [..., K], distributions over the last axis.
      labels: int [...]; a label that is not a class counts as an error: leave such examples out by ``where``.
      num_bins: static, >= 1.
      where: bool [...], True where an example counts.
    Returns:
      float32 (wider if probs are) scalar in [0, 1] over all axes; 0 if no example counts, NaN where one holds NaN.
    Raises:
      ValueError: shapes do not agree, K is 0, or num_bins < 1.
      TypeError: probs are not floating point, labels not integers, or where is not boolean.

    >>> probs = jnp.array([[0.8, 0.2], [0.8, 0.2], [0.4, 0.6]])
    >>> print(expected_calibration_error(probs, jnp.array([0, 1, 1])).round(4))
    0.3333

    Reference: Guo et al., "On Calibration of Modern Neural Networks" (2017). Standard.
    """
    probs, labels = checks.floating(probs, "probs"), checks.integer(labels, "labels")
    if probs.shape[:-1] != labels.shape or not probs.ndim or not probs.shape[-1]:
        raise ValueError(f"probs must have shape {[*labels.shape, 'K']} to match labels, got {list(probs.shape)}")
    num_bins = checks.size(num_bins, "num_bins")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    probs = jnp.where(counts[..., None], probs.astype(accumulation_dtype(probs)), 1.0)
    confidence = jnp.max(probs, axis=-1)
    gap = jnp.where(counts, (jnp.argmax(probs, axis=-1) == labels) - confidence, 0.0)
    index = jnp.clip(jnp.ceil(confidence * num_bins).astype(jnp.int32) - 1, 0, num_bins - 1)
    per_bin = jnp.zeros(num_bins, gap.dtype).at[index.reshape(-1)].add(gap.reshape(-1))
    return jnp.sum(jnp.abs(per_bin)) / jnp.maximum(jnp.sum(counts), 1)
