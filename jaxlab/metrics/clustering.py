"""Agreement of clusters with classes, and how far clusters lie apart."""

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "adjusted_rand_index",
    "clustering_accuracy",
    "match_clusters",
    "normalized_mutual_info",
    "silhouette",
]


def _counts(
    labels: ArrayLike, clusters: ArrayLike, num_clusters: int, where: ArrayLike | None
) -> tuple[Array, Array, Array, Array]:
    """Labels, clusters, which rows count, and int32 [K, K]: rows of every label (first axis) in every cluster."""
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    clusters = checks.rank(checks.integer(clusters, "clusters"), "clusters", 1, layout="[N]")
    checks.same_shape(labels, "labels", clusters, "clusters")
    checks.size(num_clusters, "num_clusters")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    inside = counts & (labels >= 0) & (labels < num_clusters) & (clusters >= 0) & (clusters < num_clusters)
    pair = jnp.where(inside, labels * num_clusters + clusters, num_clusters**2)
    table = jnp.zeros(num_clusters**2, jnp.int32).at[pair].add(1, mode="drop")
    return labels, clusters, counts, table.reshape(num_clusters, num_clusters)


def match_clusters(
    labels: ArrayLike, clusters: ArrayLike, *, num_clusters: int, where: ArrayLike | None = None
) -> Array:
    r"""The class that every cluster stands for: the one-to-one matching that explains most rows.

    .. math:: \pi^* = \arg\max_{\pi \text{ permutation}} \sum_n [\, y_n = \pi(a_n) \,]

    Args:
      labels: int [N], in [0, num_clusters).
      clusters: int [N], in [0, num_clusters). Rows where either lies outside say nothing about the matching.
      num_clusters: K, at least the number of clusters and the number of classes, static.
      where: bool [N], True where a row counts.
    Returns:
      int32 [K], the class of cluster a at index a, a permutation. ``match_clusters(...)[clusters]`` are predicted
      labels, of which any part may be judged (old classes, new classes).
    Raises:
      ValueError: shapes do not agree, or num_clusters < 1.
      TypeError: labels or clusters are not integers, or where is not boolean.

    >>> print(match_clusters(jnp.array([0, 0, 1, 2]), jnp.array([2, 2, 0, 1]), num_clusters=3))
    [1 2 0]

    Reference: the Hungarian method of ``optax.assignment``; standard.
    """
    *_, table = _counts(labels, clusters, num_clusters, where)
    rows, columns = optax.assignment.hungarian_algorithm(-table.astype(jnp.float32))
    return jnp.zeros(num_clusters, jnp.int32).at[columns].set(rows.astype(jnp.int32))


def clustering_accuracy(
    labels: ArrayLike, clusters: ArrayLike, *, num_clusters: int, where: ArrayLike | None = None
) -> Array:
    r"""Share of the rows whose cluster stands for their class, under the best one-to-one matching (larger is better).

    .. math:: \max_{\pi \text{ permutation}} \frac{1}{N} \sum_n [\, y_n = \pi(a_n) \,]

    Args:
      labels: int [N]; a row outside [0, num_clusters) counts as an error.
      clusters: int [N]; likewise.
      num_clusters: K, at least the number of clusters and the number of classes, static.
      where: bool [N], True where a row counts.
    Returns:
      float32 scalar in [0, 1]; 0 if no row counts. Works under ``jit`` and ``vmap``.
    Raises:
      ValueError: shapes do not agree, or num_clusters < 1.
      TypeError: labels or clusters are not integers, or where is not boolean.

    >>> print(clustering_accuracy(jnp.array([0, 0, 1, 1]), jnp.array([1, 1, 0, 1]), num_clusters=2))
    0.75

    Reference: standard.
    """
    _, _, counts, table = _counts(labels, clusters, num_clusters, where)
    rows, columns = optax.assignment.hungarian_algorithm(-table.astype(jnp.float32))
    right = jnp.sum(table[rows, columns])
    return right.astype(jnp.float32) / jnp.maximum(jnp.sum(counts), 1)


def _shares(
    labels: ArrayLike, clusters: ArrayLike, num_clusters: int, where: ArrayLike | None
) -> tuple[Array, Array, Array, Array]:
    """Joint distribution of label and cluster [K, K], its two marginals, and the number of rows."""
    *_, table = _counts(labels, clusters, num_clusters, where)
    total = jnp.sum(table).astype(jnp.float32)
    joint = table.astype(jnp.float32) / jnp.maximum(total, 1.0)
    return joint, jnp.sum(joint, axis=1), jnp.sum(joint, axis=0), total


def normalized_mutual_info(
    labels: ArrayLike, clusters: ArrayLike, *, num_clusters: int, where: ArrayLike | None = None
) -> Array:
    r"""Mutual information of class and cluster over the mean of their entropies (larger is better).

    .. math:: \frac{2\, I(y; a)}{H(y) + H(a)}

    Args:
      labels: int [N], in [0, num_clusters); rows where label or cluster lies outside are left out.
      clusters: int [N], in [0, num_clusters).
      num_clusters: K, at least the number of clusters and the number of classes, static.
      where: bool [N], True where a row counts.
    Returns:
      float32 scalar in [0, 1]. 1 where there is one class and one cluster (or no row at all), as in scikit-learn; 0
      where only one of the two tells rows apart.
    Raises:
      ValueError: shapes do not agree, or num_clusters < 1.
      TypeError: labels or clusters are not integers, or where is not boolean.

    >>> labels, clusters = jnp.array([0, 0, 1, 1]), jnp.array([1, 1, 0, 0])
    >>> print(normalized_mutual_info(labels, clusters, num_clusters=2))
    1.0

    Reference: standard; the arithmetic mean of the entropies, scikit-learn's default.
    """
    joint, by_label, by_cluster, _ = _shares(labels, clusters, num_clusters, where)
    both, label, cluster = (jnp.sum(jax.scipy.special.entr(p)) for p in (joint, by_label, by_cluster))
    entropies = label + cluster
    # H(y) + H(a) - H(y, a) is a difference: rounding may leave it just outside [0, (H(y) + H(a)) / 2].
    share = 2.0 * (entropies - both) / jnp.where(entropies > 0, entropies, 1.0)
    return jnp.where(entropies > 0, jnp.clip(share, 0.0, 1.0), 1.0)


def adjusted_rand_index(
    labels: ArrayLike, clusters: ArrayLike, *, num_clusters: int, where: ArrayLike | None = None
) -> Array:
    r"""Pairs of rows that are together in class and cluster, less what chance would give (larger is better).

    .. math:: \frac{S_{ya} - S_y S_a}{\tfrac12 (S_y + S_a) - S_y S_a}

    S being the share of the pairs of rows that agree in class (y), in cluster (a), in both.

    Args:
      labels: int [N], in [0, num_clusters); rows where label or cluster lies outside are left out.
      clusters: int [N], in [0, num_clusters).
      num_clusters: K, at least the number of clusters and the number of classes, static.
      where: bool [N], True where a row counts.
    Returns:
      float32 scalar in [-1/2, 1]: 1 for the same partition, 0 on average for random clusters of the same sizes. 1 with
      fewer than two rows, and where both put all rows together or all apart.
    Raises:
      ValueError: shapes do not agree, or num_clusters < 1.
      TypeError: labels or clusters are not integers, or where is not boolean.

    >>> labels, clusters = jnp.array([0, 0, 1, 1]), jnp.array([0, 0, 1, 2])
    >>> print(f"{adjusted_rand_index(labels, clusters, num_clusters=3):.4f}")
    0.5714

    Reference: Hubert and Arabie, "Comparing Partitions" (1985). Standard.
    """
    joint, by_label, by_cluster, total = _shares(labels, clusters, num_clusters, where)
    # As shares and not as counts: the pairs of some thousand rows are more than float32 can tell apart.
    together = lambda p: jnp.sum(p * (p * total - 1.0)) / jnp.maximum(total - 1.0, 1.0)  # noqa: E731
    both, label, cluster = together(joint), together(by_label), together(by_cluster)
    chance = label * cluster
    room = 0.5 * (label + cluster) - chance
    same = (room <= 1e-7) | (total < 2)
    return jnp.where(same, 1.0, (both - chance) / jnp.where(same, 1.0, room))


def silhouette(
    x: ArrayLike, clusters: ArrayLike, *, num_clusters: int, where: ArrayLike | None = None, block: int = 64
) -> Array:
    r"""How much nearer rows lie to their own cluster than to the next one, on average (larger is better).

    .. math:: \frac1N \sum_n \frac{b_n - a_n}{\max(a_n, b_n)}

    a being the mean distance to the other rows of the own cluster, b the smallest mean distance to the rows of another
    one. It needs no labels, so it can choose the number of clusters.

    Args:
      x: float [N, D].
      clusters: int [N]; rows outside [0, num_clusters) are left out.
      num_clusters: K, static; clusters without rows are no clusters.
      where: bool [N], True where a row counts.
      block: rows whose N distances are in memory at a time, static.
    Returns:
      float32 (wider if x is) scalar in [-1, 1]. A row that is alone in its cluster counts 0; so does every row where
      there is one cluster only (scikit-learn refuses that).
    Raises:
      ValueError: shapes do not agree, num_clusters < 1, or block < 1.
      TypeError: x is not floating point, clusters are not integers, or where is not boolean.

    >>> x = jnp.array([[0.0], [1.0], [9.0], [10.0]])
    >>> print(f"{silhouette(x, jnp.array([0, 0, 1, 1]), num_clusters=2):.4f}")
    0.8885

    Reference: Rousseeuw, "Silhouettes" (1987). Standard.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    clusters = checks.rank(checks.integer(clusters, "clusters"), "clusters", 1, layout="[N]")
    checks.batch_match(x, "x", clusters, "clusters")
    num_clusters = checks.size(num_clusters, "num_clusters")
    checks.size(block, "block")
    mask = checks.mask(where, "where", clusters.shape)
    kept = (clusters >= 0) & (clusters < num_clusters)
    kept = kept if mask is None else kept & mask
    rows = jnp.where(kept[:, None], x.astype(accumulation_dtype(x)), 0.0)
    members = ((clusters[:, None] == jnp.arange(num_clusters)) & kept[:, None]).astype(rows.dtype)
    size = jnp.sum(members, axis=0)

    def one(inputs: tuple[Array, Array]) -> Array:
        row, member = inputs
        squares = jnp.sum(jnp.square(rows - row), axis=1)  # by differences: exactly 0 to itself
        distance = safe_sqrt(squares)
        total = jnp.matmul(distance, members, precision="highest")
        own, others = jnp.sum(member * size), (member == 0) & (size > 0)
        within = jnp.sum(member * total) / jnp.maximum(own - 1.0, 1.0)
        between = jnp.min(total / jnp.maximum(size, 1.0), where=others, initial=jnp.inf)
        larger = jnp.maximum(within, between)
        fine = (own > 1) & jnp.any(others) & (larger > 0)
        return jnp.where(fine, (jnp.where(fine, between, 0.0) - within) / jnp.where(fine, larger, 1.0), 0.0)

    values = jax.lax.map(one, (rows, members), batch_size=block)
    return jnp.sum(jnp.where(kept, values, 0.0)) / jnp.maximum(jnp.sum(kept), 1)
