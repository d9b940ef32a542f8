"""How good a representation is for a task, without training on it, and how alike two representations are."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import double_center, knn, knn_vote
from jaxlab.metrics.accuracy import accuracy
from jaxlab.numerics.norms import accumulation_dtype, masked_mean
from jaxlab.typing import Array, ArrayLike

__all__ = ["knn_accuracy", "linear_cka"]


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


def linear_cka(x: ArrayLike, y: ArrayLike, *, where: ArrayLike | None = None, unbiased: bool = False) -> Array:
    r"""Linear centred kernel alignment of two representations of the same examples (1 where they are alike).

    .. math:: \frac{\|Y_c^\top X_c\|_F^2}{\|X_c^\top X_c\|_F \, \|Y_c^\top Y_c\|_F}

    with the columns of both centred. It does not change under rotations and a common scale of either. For fewer
    examples than features it is close to 1 for anything: ``unbiased`` removes that, by U-centred Gram matrices.

    Args:
      x: float [N, P].
      y: float [N, Q].
      where: bool [N], True where an example counts.
      unbiased: static; the debiased form, which may be negative and needs four examples.
    Returns:
      float32 or wider scalar in [0, 1] ([-1, 1] if unbiased); 0 where one of them does not vary.
    Raises:
      ValueError: shapes do not agree.
      TypeError: x or y is not floating point, or where is not boolean.

    >>> x = jnp.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    >>> print(linear_cka(x, 3.0 * x).round(4))
    1.0

    Reference: Kornblith et al., "Similarity of Neural Network Representations Revisited" (2019), with which the grid of
    "A Model Zoo on Phase Transitions in Neural Networks" (2025) is measured; checked against the latter's code. The
    unbiased form is that of Nguyen et al., "Do Wide and Deep Networks Learn the Same Things?" (2021), recalled.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, P]")
    y = checks.rank(checks.floating(y, "y"), "y", 2, layout="[N, Q]")
    checks.batch_match(x, "x", y, "y")
    mask = checks.mask(where, "where", x.shape[:1])
    counts = jnp.ones(x.shape[0], bool) if mask is None else mask
    dtype = accumulation_dtype(x, y)

    def centered(z: Array) -> Array:
        z = jnp.where(counts[:, None], z.astype(dtype), 0.0)
        rest = jnp.where(counts[:, None], z - masked_mean(z, counts[:, None], axis=0), 0.0)
        # The scale drops out, so it is taken out before anything is squared twice. What the rounding of the mean leaves
        # of constant columns is nothing.
        largest, whole = (jax.lax.stop_gradient(jnp.max(jnp.abs(part), initial=0.0)) for part in (rest, z))
        varies = largest > 4 * jnp.finfo(dtype).eps * whole
        return jnp.where(varies, rest / jnp.where(varies, largest, 1.0), 0.0)

    a, b = centered(x), centered(y)
    if unbiased:
        others = ~jnp.eye(x.shape[0], dtype=bool)
        grams = [jnp.where(others, jnp.matmul(z, z.T, precision="highest"), 0.0) for z in (a, b)]
        grams = [double_center(gram, unbiased=True, where=counts) for gram in grams]
        products = [jnp.sum(g * h) for g, h in ((grams[0], grams[1]), (grams[0], grams[0]), (grams[1], grams[1]))]
    elif x.shape[0] < max(x.shape[1], y.shape[1]):
        grams = [jnp.matmul(z, z.T, precision="highest") for z in (a, b)]
        products = [jnp.sum(g * h) for g, h in ((grams[0], grams[1]), (grams[0], grams[0]), (grams[1], grams[1]))]
    else:
        products = [jnp.sum(jnp.matmul(u.T, v, precision="highest") ** 2) for u, v in ((b, a), (a, a), (b, b))]
    between, first, second = products
    norm = first * second
    some = norm > 0
    return jnp.where(some, between / jnp.sqrt(jnp.where(some, norm, 1.0)), 0.0)
