"""Whether a new model can query the index of an old one.

``M[i, j]`` is the retrieval accuracy of queries from model i in an index of model j, the oldest model first. Below the
diagonal a model searches the indices of its predecessors, on the diagonal its own.
"""

from collections.abc import Sequence

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import cosine_similarity
from jaxlab.metrics.continual import lower_triangle
from jaxlab.numerics import masked_mean, normalize, segment_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["average_accuracy_lower", "average_compatibility", "compatibility_matrix"]


def _models(features: Sequence[ArrayLike], name: str) -> list[Array]:
    """One float array [N, D] per model, all of one length."""
    arrays = [checks.rank(checks.floating(one, name), name, 2, layout="[N, D] for every model") for one in features]
    if not arrays:
        raise ValueError(f"{name} must hold the features of at least one model, got none")
    for one in arrays[1:]:
        checks.batch_match(arrays[0], f"{name}[0]", one, f"each later array of {name}")
    return arrays


def compatibility_matrix(
    queries: Sequence[ArrayLike],
    labels: ArrayLike,
    galleries: Sequence[ArrayLike],
    gallery_labels: ArrayLike,
    *,
    num_classes: int,
    where: ArrayLike | None = None,
    gallery_where: ArrayLike | None = None,
) -> Array:
    r"""Accuracy of every model's queries in every model's index of class templates (larger is better).

    .. math:: M_{ij} = \frac{1}{N} \sum_n \Big[\, y_n = \arg\max_c \cos\big(\phi_i(x_n),\, t^{(j)}_c\big) \Big],
              \quad t^{(j)}_c = \overline{\operatorname{mean}_{y_m = c}\, \bar\phi_j(x_m)}

    where a bar is normalisation to unit length. Models of different widths are compared after padding the narrower
    features with zeros, so a wider new model is read in its first coordinates by an older index.

    Args:
      queries: T arrays float [N, D_t] (or one [T, N, D]), the same N queries in the features of each model, oldest
        first.
      labels: int [N]; a label without a template counts as an error.
      galleries: T arrays float [M, D_t], the features of the index by the same models.
      gallery_labels: int [M]; rows outside [0, num_classes) are left out.
      num_classes: C, static.
      where: bool [N], True where a query counts.
      gallery_where: bool [M], True where the index holds the row.
    Returns:
      float32 [T, T]; 0 where no query counts. Of equal cosines the lower class is taken. A class without rows in the
      index has no template and is never found.
    Raises:
      ValueError: shapes do not agree, there is no model, or queries and galleries differ in number or in a width.
      TypeError: features are not floating point, labels are not integers, or masks not boolean.

    >>> old, new = jnp.eye(2), jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])  # the new model swaps both axes
    >>> print(compatibility_matrix([old, new], jnp.arange(2), [old, new], jnp.arange(2), num_classes=2))
    [[1. 0.]
     [0. 1.]]

    Reference: Biondi et al., "Stationary Representations: Optimally Approximating Compatibility and Implications for
    Improved Model Replacements" (2024); checked against the authors' code.
    """
    query, gallery = _models(queries, "queries"), _models(galleries, "galleries")
    widths = [[one.shape[1] for one in features] for features in (query, gallery)]
    if widths[0] != widths[1]:
        raise ValueError(f"queries and galleries must agree in width, model by model, got {widths[0]} and {widths[1]}")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.batch_match(query[0], "queries[0]", labels, "labels")
    ids = checks.rank(checks.integer(gallery_labels, "gallery_labels"), "gallery_labels", 1, layout="[M]")
    checks.batch_match(gallery[0], "galleries[0]", ids, "gallery_labels")
    mask, held = checks.mask(where, "where", labels.shape), checks.mask(gallery_where, "gallery_where", ids.shape)
    dtype, width = accumulation_dtype(*query, *gallery), max(widths[0])

    def padded(x: Array, counts: Array | None) -> Array:
        clean = x.astype(dtype) if counts is None else jnp.where(counts[:, None], x.astype(dtype), 0.0)
        return jnp.pad(clean, ((0, 0), (0, width - x.shape[1])))

    def found(x: Array, index: Array) -> Array:
        mean, count = segment_mean(normalize(index), ids, num_classes, where=held)
        nearest = jnp.argmax(jnp.where(count > 0, cosine_similarity(x, mean), -jnp.inf), axis=1)
        right = (nearest == labels) & jnp.any(count > 0)
        return masked_mean(right.astype(jnp.float32), mask)

    indices = [padded(one, None) for one in gallery]
    return jnp.stack([jnp.stack([found(padded(one, mask), index) for index in indices]) for one in query])


def average_compatibility(matrix: ArrayLike) -> Array:
    r"""Share of pairs in which the new model queries the old index better than the old model did (larger is better).

    .. math:: AC = \frac{2}{T (T - 1)} \sum_{i > j} [\, M_{ij} > M_{jj} \,]

    The inequality is strict: a model that is its predecessor once more is not compatible.

    Args:
      matrix: float [..., T, T], see ``compatibility_matrix``; entries above the diagonal are not read.
    Returns:
      float32 (wider if matrix is) [...] in [0, 1]; 0 for T = 1, where there is no pair. NaN is not above anything.
    Raises:
      ValueError: matrix is not square, or empty.
      TypeError: matrix is not floating point.

    >>> matrix = jnp.array([[0.5, 0.0, 0.0], [0.75, 0.75, 0.0], [0.5, 0.875, 0.875]])
    >>> print(f"{average_compatibility(matrix):.3f}")
    0.667

    Reference: Biondi et al., "Stationary Representations: Optimally Approximating Compatibility and Implications for
    Improved Model Replacements" (2024); checked against the authors' code, which calls a single model compatible.
    """
    values, _ = lower_triangle(matrix, "matrix")
    models = values.shape[-1]
    above = values > jnp.diagonal(values, axis1=-2, axis2=-1)[..., None, :]
    pairs = above & jnp.tri(models, k=-1, dtype=bool)
    return jnp.sum(pairs, axis=(-2, -1)).astype(values.dtype) / max(models * (models - 1) / 2, 1)


def average_accuracy_lower(matrix: ArrayLike) -> Array:
    r"""Mean retrieval accuracy of every model in its own index and in all older ones (larger is better).

    .. math:: AA = \frac{2}{T (T + 1)} \sum_{i \ge j} M_{ij}

    Args:
      matrix: float [..., T, T], see ``compatibility_matrix``; entries above the diagonal are not read.
    Returns:
      float32 (wider if matrix is) [...]; for T = 1 the only entry.
    Raises:
      ValueError: matrix is not square, or empty.
      TypeError: matrix is not floating point.

    >>> print(average_accuracy_lower(jnp.array([[0.5, 0.0], [0.25, 0.75]])))
    0.5

    Reference: Biondi et al., "Stationary Representations: Optimally Approximating Compatibility and Implications for
    Improved Model Replacements" (2024); checked against the authors' code, which leaves out entries that are 0.
    """
    values, lower = lower_triangle(matrix, "matrix")
    return jnp.mean(values, axis=(-2, -1), where=lower)
