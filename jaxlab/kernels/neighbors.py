"""Exact nearest neighbours, and the votes of their labels."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels.distances import cosine_similarity, pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["knn", "knn_vote"]


def knn(
    queries: ArrayLike,
    database: ArrayLike,
    *,
    k: int,
    metric: str = "cosine",
    exclude_self: bool = False,
    where: ArrayLike | None = None,
    block: int = 1024,
) -> tuple[Array, Array]:
    r"""The k nearest rows of a database for every query, exactly, a block of queries at a time.

    .. math:: s_{qm} \in \{\cos(x_q, y_m),\; -\|x_q - y_m\|^2,\; \langle x_q, y_m \rangle\},
              \quad i_q = \operatorname{top}_k \, s_q

    Args:
      queries: float [Q, D].
      database: float [M, D].
      k: number of neighbours, static, 1 <= k <= M (M - 1 where a query leaves itself out).
      metric: "cosine", "euclidean" (minus the SQUARED distance) or "dot", static.
      exclude_self: query i is row i of the database and not its own neighbour; needs Q = M.
      where: bool [M], True where a row of the database may be found.
      block: queries whose scores exist at the same time: block x M numbers, static.
    Returns:
      (scores float32 or wider [Q, k], larger = nearer and falling along k; index int32 [Q, k]). Equal scores go to the
      lower index. Where fewer than k rows may be found, the rest have score -inf and an index that means nothing.
    Raises:
      ValueError: widths differ, k is out of range, an unknown metric, or exclude_self with Q != M.
      TypeError: queries or database are not floating point, or where is not boolean.

    >>> database = jnp.array([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    >>> scores, index = knn(jnp.array([[0.0, 2.0]]), database, k=2, metric="euclidean")
    >>> print(scores, index)
    [[-1. -5.]] [[1 0]]

    Reference: standard.
    """
    queries = checks.rank(checks.floating(queries, "queries"), "queries", 2, layout="[Q, D]")
    database = checks.rank(checks.floating(database, "database"), "database", 2, layout="[M, D]")
    checks.one_of(metric, "metric", ("cosine", "euclidean", "dot"))
    if queries.shape[1] != database.shape[1]:
        raise ValueError(
            f"database must have rows of width {queries.shape[1]} as queries do, got {list(database.shape)}"
        )
    rows = database.shape[0]
    if exclude_self and queries.shape[0] != rows:
        raise ValueError(f"exclude_self needs queries and database of one length, got {queries.shape[0]} and {rows}")
    most = rows - bool(exclude_self)
    if checks.size(k, "k") > most:
        raise ValueError(f"k must be at most {most}, the rows that may be found, got {k}")
    checks.size(block, "block")
    mask = checks.mask(where, "where", (rows,))
    dtype = accumulation_dtype(queries, database)
    database = database.astype(dtype)
    if mask is not None:
        database = jnp.where(mask[:, None], database, 0.0)

    def nearest(start: Array, some: Array) -> tuple[Array, Array]:
        if metric == "cosine":
            scores = cosine_similarity(some, database)
        elif metric == "euclidean":
            scores = -pairwise_sq_dists(some, database)
        else:
            scores = jnp.matmul(some, database.T, precision="highest")
        if mask is not None:
            scores = jnp.where(mask, scores, -jnp.inf)
        if exclude_self:
            own = start + jnp.arange(some.shape[0])
            scores = jnp.where(own[:, None] == jnp.arange(rows), -jnp.inf, scores)
        return jax.lax.top_k(scores, k)

    count = queries.shape[0]
    queries = queries.astype(dtype)
    whole = count // block * block
    parts = []
    if whole:
        blocks = queries[:whole].reshape(-1, block, queries.shape[1])
        found = jax.lax.map(lambda part: nearest(*part), (jnp.arange(0, whole, block), blocks))
        parts.append(jax.tree.map(lambda a: a.reshape(whole, k), found))
    if whole < count or not count:
        parts.append(nearest(jnp.asarray(whole), queries[whole:]))
    scores, index = (jnp.concatenate([part[i] for part in parts]) for i in range(2))
    return scores, index.astype(jnp.int32)


def knn_vote(
    index: ArrayLike,
    labels: ArrayLike,
    num_classes: int,
    *,
    weights: ArrayLike | None = None,
) -> Array:
    r"""How many (or how heavy) votes the neighbours of each query give to each class.

    .. math:: v_{qc} = \sum_j w_{qj} \, [\, y_{i_{qj}} = c \,]

    Args:
      index: int [Q, k] into labels, as ``knn`` gives it.
      labels: int [M]; a label outside [0, num_classes) has no vote.
      num_classes: static, >= 1.
      weights: float [Q, k], such as a function of the scores; None counts. 0 for a neighbour that was not found.
    Returns:
      float32 or wider [Q, num_classes]; the argmax is the prediction, a tie going to the lower class.
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: index or labels are not integers, or weights are not floating point.

    >>> print(knn_vote(jnp.array([[0, 1, 2]]), jnp.array([1, 0, 1]), 3))
    [[1. 2. 0.]]

    Reference: standard.
    """
    index = checks.rank(checks.integer(index, "index"), "index", 2, layout="[Q, k]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[M]")
    checks.size(num_classes, "num_classes")
    if weights is None:
        heavy = jnp.ones(index.shape, jnp.float32)
    else:
        heavy = checks.floating(weights, "weights")
        checks.same_shape(heavy, "weights", index, "index")
        heavy = heavy.astype(accumulation_dtype(heavy))
    voted = labels[index]
    # A sum over k for each class at a time: the one-hot array [Q, k, C] never exists as a whole under jit.
    return jnp.sum(jnp.where(voted[..., None] == jnp.arange(num_classes), heavy[..., None], 0.0), axis=1)
