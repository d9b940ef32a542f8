"""How the examples of a class lie in feature space."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, segment_mean
from jaxlab.typing import Array, ArrayLike

__all__ = ["feature_diversity"]


def feature_diversity(
    features: ArrayLike, labels: ArrayLike, *, num_classes: int, where: ArrayLike | None = None
) -> Array:
    r"""Standard deviation of features within a class, averaged over dimensions and classes (larger is more diverse).

    .. math:: \frac1K \sum_k \frac1D \sum_d \sqrt{\operatorname{Var}_{i: y_i = k}(f_{id})}

    Args:
      features: float [N, D].
      labels: int [N]; rows with a label outside [0, num_classes) are left out.
      num_classes: K, static.
      where: bool [N], True for the rows that count.
    Returns:
      float32 (wider if features are) scalar >= 0: divisor N, classes without rows left out, 0 if there are none. 1 for
      independent features of variance 1.
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: features are not floating point, labels not integers, or where not boolean.

    >>> features = jnp.array([[0.0], [2.0], [5.0], [5.0]])
    >>> print(feature_diversity(features, jnp.array([0, 0, 1, 1]), num_classes=2))
    0.5

    Reference: the diversity of Fan et al., "Scaling Laws of Synthetic Images for Model Training ... for Now" (2023),
    recalled.
    """
    features = checks.rank(checks.floating(features, "features"), "features", 2, layout="[N, D]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.batch_match(features, "features", labels, "labels")
    num_classes = checks.size(num_classes, "num_classes")
    mask = checks.mask(where, "where", labels.shape)
    counts = (labels >= 0) & (labels < num_classes)
    counts = counts if mask is None else counts & mask
    index = jnp.clip(labels, 0, num_classes - 1)
    wide = jnp.where(counts[:, None], features.astype(accumulation_dtype(features)), 0.0)
    mean, _ = segment_mean(wide, index, num_classes, where=counts)
    variance, size = segment_mean((wide - mean[index]) ** 2, index, num_classes, where=counts)
    spread = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
    present = size > 0
    return jnp.sum(jnp.mean(spread, axis=1) * present) / jnp.maximum(jnp.sum(present), 1)
