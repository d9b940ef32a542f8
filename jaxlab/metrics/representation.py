"""How good a representation is for a task, without training on it."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import knn, knn_vote
from jaxlab.metrics.accuracy import accuracy
from jaxlab.typing import Array, ArrayLike

__all__ = ["knn_accuracy"]


def knn_accuracy(
    train_features: ArrayLike,
    train_labels: ArrayLike,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    k: int = 5,
    metric: str = "cosine",
    train_where: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""Accuracy of a vote among the nearest training rows (larger is better).

    .. math:: \frac1N \sum_n \Big[\, y_n = \arg\max_c \sum_{j \in \operatorname{kNN}(x_n)} [\, y_j = c \,] \Big]

    Args:
      train_features: float [M, D].
      train_labels: int [M]; one outside [0, num_classes) has no vote.
      features: float [N, D].
      labels: int [N].
      num_classes: C, static.
      k: neighbours that vote, with equal weights; static, 1 <= k <= M.
      metric: "cosine", "euclidean" or "dot", static.
      train_where: bool [M], True where a training row may be found; where fewer than k may, those vote.
      where: bool [N], True where an example counts.
    Returns:
      float32 scalar; 0 if nothing counts. A tie of votes goes to the lower class.
    Raises:
      ValueError: shapes do not agree, or k is out of range.
      TypeError: features are not floating point, or labels are not integers.

    >>> x, y = jnp.array([[0.0], [1.0], [9.0]]), jnp.array([0, 0, 1])
    >>> print(knn_accuracy(x, y, jnp.array([[0.4], [7.0]]), jnp.array([0, 1]), num_classes=2, k=1, metric="euclidean"))
    1.0

    Reference: the probe of Bornschein et al., "NEVIS'22: A Stream of 100 Tasks Sampled from 30 Years of Computer Vision
    Research" (2023), k = 5 and Euclidean there; checked against the authors' code.
    """
    features, labels = checks.floating(features, "features"), checks.integer(labels, "labels")
    checks.batch_match(features, "features", labels, "labels")
    train_labels = checks.integer(train_labels, "train_labels")
    checks.batch_match(jnp.asarray(train_features), "train_features", train_labels, "train_labels")
    mask = checks.mask(where, "where", labels.shape)
    rows = features if mask is None else jnp.where(mask[:, None], features, 0.0)
    scores, index = knn(rows, train_features, k=k, metric=metric, where=train_where)
    votes = knn_vote(index, train_labels, num_classes, weights=(scores > -jnp.inf).astype(jnp.float32))
    return accuracy(votes, labels, where=mask)
