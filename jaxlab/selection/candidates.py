"""The best of several candidates: of what was generated, or of what to start from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks, metrics
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["Best", "best_of_candidates", "knn_transfer_cost"]


class Best(NamedTuple):
    """The candidate of every source, and whether it is to be kept."""

    candidate: Array  # int32 [N]
    keep: Array  # bool [N]


def best_of_candidates(scores: ArrayLike, *, thresholds: ArrayLike, weights: ArrayLike) -> Best:
    r"""Of the candidates that pass every threshold the one with the largest weighted score.

    .. math:: m^* = \arg\max_{m:\, s_{m,k} \ge \tau_k \forall k} \sum_k w_k s_{m,k}

    Args:
      scores: float [N, M, S], S marks (larger is better) for each of M candidates of N sources; a NaN fails.
      thresholds: float [S] (or one for all); -inf passes everything but NaN.
      weights: float [S] (or one for all).
    Returns:
      Best: where none passes, keep is False and the candidate is the best by weighted score (0 if all are NaN). Ties go
      to the lower index.
    Raises:
      ValueError: scores are not [N, M, S] with M, S >= 1, or thresholds or weights do not match.
      TypeError: scores are not floating point.

    >>> scores = jnp.array([[[0.9, 0.2], [0.7, 0.6]], [[0.1, 0.9], [0.2, 0.1]]])
    >>> print(*best_of_candidates(scores, thresholds=0.5, weights=jnp.array([1.0, 1.0])))
    [1 0] [ True False]

    Reference: the two-stage filter of Wu et al., "InsViE-1M" (2025), inferred from its description.
    """
    scores = checks.rank(checks.floating(scores, "scores"), "scores", 3, layout="[N, M, S]")
    if 0 in scores.shape[1:]:
        raise ValueError(f"scores must have shape [N, M, S] with M, S >= 1, got {list(scores.shape)}")
    wide = scores.astype(accumulation_dtype(scores))
    bounds, factors = (
        _per_score(value, name, wide) for value, name in ((thresholds, "thresholds"), (weights, "weights"))
    )
    known = ~jnp.any(jnp.isnan(wide), axis=-1)
    # A mark of weight 0 does not count, even if it is infinite.
    weighted = jnp.where(known[..., None] & (factors != 0), wide, 0.0) * factors
    total = jnp.where(known, jnp.sum(weighted, axis=-1), -jnp.inf)
    passes = known & jnp.all(jnp.where(known[..., None], wide, 0.0) >= bounds, axis=-1)
    keep = jnp.any(passes, axis=1)
    index = jnp.argmax(jnp.where(passes | ~keep[:, None], total, -jnp.inf), axis=1)
    # A candidate that passes with a total of -inf still comes before one that does not pass.
    first = jnp.argmax(passes, axis=1)
    index = jnp.where(keep & ~jnp.take_along_axis(passes, index[:, None], axis=1)[:, 0], first, index)
    return Best(index.astype(jnp.int32), keep)


def _per_score(value: ArrayLike, name: str, scores: Array) -> Array:
    array = jnp.asarray(value, scores.dtype)
    if array.shape not in ((), scores.shape[-1:]):
        raise ValueError(f"{name} must be a number or have shape [{scores.shape[-1]}], got {list(array.shape)}")
    return array


def knn_transfer_cost(
    train_features: ArrayLike,
    train_labels: ArrayLike,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    k: int = 5,
    metric: str = "euclidean",
    train_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""How badly the features of each possible source already tell the classes of a new task apart (smaller is better).

    .. math:: c_s = 1 - \mathrm{kNN\,accuracy}(f_s(x_{train}), y_{train}, f_s(x), y)

    The source to fine-tune from is the argmin. Give a part of the new task's training rows to vote and another part to
    be judged: test rows must not choose.

    Args:
      train_features: float [S, M, D], the rows that vote as each of S sources sees them.
      train_labels: int [M].
      features: float [S, N, D], the rows that are judged.
      labels: int [N].
      num_classes: C, static.
      k: neighbours that vote, static.
      metric: as in ``metrics.knn_accuracy``.
      train_where: bool [M], True where a voting row counts.
      where: bool [N], True where a judged row counts.
    Returns:
      float32 [S] in [0, 1].
    Raises:
      ValueError: shapes do not agree, or k is out of range.
      TypeError: features are not floating point, or labels are not integers.

    >>> y = jnp.array([0, 0, 1, 1])
    >>> sources = jnp.array([[[0.0], [1.0], [8.0], [9.0]], [[0.0], [8.0], [1.0], [9.0]]])
    >>> print(knn_transfer_cost(sources, y, sources + 0.1, y, num_classes=2, k=3))
    [0.  0.5]

    Reference: Bornschein et al., "NEVIS'22: A Stream of 100 Tasks Sampled from 30 Years of Computer Vision Research"
    (2023). Checked against the authors' code.
    """
    train_features = checks.floating(train_features, "train_features")
    checks.rank(train_features, "train_features", 3, layout="[S, M, D]")
    features = checks.rank(checks.floating(features, "features"), "features", 3, layout="[S, N, D]")
    checks.batch_match(train_features, "train_features", features, "features")

    def cost(train: Array, judged: Array) -> Array:
        right = metrics.knn_accuracy(
            train,
            train_labels,
            judged,
            labels,
            num_classes=num_classes,
            k=k,
            metric=metric,
            train_where=train_where,
            where=where,
        )
        return 1.0 - right

    return jax.vmap(cost)(train_features, features)
