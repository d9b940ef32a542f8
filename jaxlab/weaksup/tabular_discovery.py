"""Novel classes in tables: clusters beside known centroids, and spaces in which to look for them."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.analytic import KMeansResult, kmeans_init
from jaxlab.analytic.clustering import lloyd
from jaxlab.kernels import minimum_spanning_tree, pairwise_sq_dists
from jaxlab.metrics import silhouette
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "ClassCount",
    "estimate_num_classes",
    "mst_bandwidth",
    "ncd_kmeans",
    "pbn_loss",
    "spectral_embedding",
]


class ClassCount(NamedTuple):
    """How many classes rows seem to hold.

    num_classes: int32 scalar.
    assignment: int32 [N], the clusters that there are for this number.
    scores: [max - min + 1], the score of every number tried.
    """

    num_classes: Array
    assignment: Array
    scores: Array


def ncd_kmeans(
    key: Array,
    x: ArrayLike,
    known_centroids: ArrayLike | None = None,
    *,
    num_new: int,
    num_restarts: int = 10,
    num_iters: int = 1000,
    seeding_power: float = 1.0,
    where: ArrayLike | None = None,
) -> KMeansResult:
    r"""Clusters of unlabelled rows, each start seeded far from the known classes as well as from itself.

    .. math:: P(\text{next} = x_n) \propto \min_{c\, \in\, \text{known}\, \cup\, \text{chosen}} \|x_n - c\|^p, \qquad
              \min_{\text{starts}} \sum_n \min_{c\, \in\, \text{new}} \|x_n - c\|

    Known centroids matter for the seeds alone: Lloyd's iterations then move the new centroids over rows that all belong
    to them. Of the starts the one with the smallest sum of distances (not of squares) is kept.

    Args:
      key: typed PRNG key.
      x: float [N, D], rows of novel classes.
      known_centroids: float [K, D], the means of the classes with labels; None gives k-means, its first seed uniform.
      num_new: clusters to find, static.
      num_restarts: starts, static; one after the other.
      num_iters: at most so many iterations of each, static; it stops where no assignment changes.
      seeding_power: p >= 0, static; 1 is the authors', 2 that of k-means++.
      where: bool [N], True where a row counts.
    Returns:
      KMeansResult with the num_new centroids; ``inertia`` is the sum of distances.
    Raises:
      ValueError: shapes do not agree, or a size is out of range.
      TypeError: x or known_centroids is not floating point, or where is not boolean.

    >>> x = jnp.array([[5.0], [6.0], [50.0], [51.0]])
    >>> result = ncd_kmeans(jax.random.key(0), x, jnp.zeros((1, 1)), num_new=2)
    >>> print(sorted(result.centroids[:, 0].tolist()), result.inertia)
    [5.5, 50.5] 2.0

    Reference: Troisemaine et al., "A Practical Approach to Novel Class Discovery in Tabular Data" (2024). Checked
    against the authors' code; an empty cluster keeps its place there, too.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    checks.size(num_restarts, "num_restarts")
    checks.size(num_iters, "num_iters")
    mask = checks.mask(where, "where", x.shape[:1])
    kept = jnp.ones(x.shape[0], bool) if mask is None else mask
    rows = jnp.where(kept[:, None], x.astype(accumulation_dtype(x)), 0.0)

    center = masked_mean(rows, kept[:, None], axis=0)

    def run(start: Array) -> KMeansResult:
        seeds = kmeans_init(start, rows, k=num_new, seeding_power=seeding_power, fixed=known_centroids, where=kept)
        found = lloyd(rows, seeds, kept, num_iters=num_iters, reseed=False, center=center)
        squares = jnp.sum(jnp.square(rows - found.centroids[found.assignment]), axis=1)
        return found._replace(inertia=jnp.sum(jnp.where(kept, jnp.sqrt(squares), 0.0)))

    results = jax.lax.map(run, jax.random.split(key, num_restarts))
    best = jnp.argmin(results.inertia)
    return jax.tree.map(lambda leaf: leaf[best], results)


def mst_bandwidth(sq_dists: ArrayLike, *, min_dist: ArrayLike = 0.5, where: ArrayLike | None = None) -> Array:
    r"""The bandwidth at which a Gaussian kernel still joins all rows, read off their minimum spanning tree.

    .. math:: \sigma = \sqrt{-m / \log \mu}, \quad m \text{ the largest squared edge of the tree}

    The kernel :math:`e^{-d^2 / 2 \sigma^2}` is then :math:`\sqrt\mu` on the longest edge (not :math:`\mu`), and larger
    on all others of the tree. One outlier is enough to make it wide.

    Args:
      sq_dists: float [N, N], squared distances.
      min_dist: mu in (0, 1); a float or a scalar array.
      where: bool [N], True where a row counts.
    Returns:
      float32 or wider scalar > 0; 1 where all rows coincide, as any bandwidth then gives the same kernel.
    Raises:
      ValueError: sq_dists are not square, where is not [N], or a static min_dist is outside (0, 1).
      TypeError: sq_dists are not floating point, or where is not boolean.

    >>> bandwidth = mst_bandwidth(jnp.array([[0.0, 4.0], [4.0, 0.0]]), min_dist=0.5)
    >>> print(f"{jnp.exp(-4.0 / (2 * bandwidth**2)):.4f}")
    0.7071

    Reference: Troisemaine et al., "A Practical Approach to Novel Class Discovery in Tabular Data" (2024). Checked
    against the authors' code, whose comment promises mu for the longest edge.
    """
    if checks.is_static(min_dist) and not 0 < min_dist < 1:
        raise ValueError(f"min_dist must lie in (0, 1), got {min_dist!r}")
    longest = jnp.max(minimum_spanning_tree(sq_dists, where=where).length)
    squared = -jnp.where(longest > 0, longest, 1.0) / jnp.log(jnp.asarray(min_dist, longest.dtype))
    return jnp.where(longest > 0, jnp.sqrt(squared), 1.0)


def spectral_embedding(
    x: ArrayLike, *, num_components: int, min_dist: ArrayLike = 0.5, where: ArrayLike | None = None
) -> Array:
    r"""Coordinates of rows in the eigenvectors of their graph, in which groups that hang together lie together.

    .. math:: L = I - D^{-1/2} A D^{-1/2}, \quad A_{ij} = [i \ne j]\, e^{-\|x_i - x_j\|^2 / 2 \sigma^2},
              \quad D = \operatorname{diag}(A 1)

    with sigma of ``mst_bandwidth``; the columns are the eigenvectors of the smallest eigenvalues but the first. It
    holds a few N x N matrices (N = 5000: 100 MB each) and takes time N^3.

    Args:
      x: float [N, D].
      num_components: columns, static, <= N - 1. For k clusters k is usual; with rows of known classes, their number
        more.
      min_dist: see ``mst_bandwidth``.
      where: bool [N], True where a row counts; the others get zeros, as do columns beyond the rows that count.
    Returns:
      float32 or wider [N, num_components], columns of unit length, the largest entry of each positive. Where
      eigenvalues coincide, the columns are some basis of their space.
    Raises:
      ValueError: x is not [N, D], num_components is out of range, or a static min_dist is outside (0, 1).
      TypeError: x is not floating point, or where is not boolean.

    >>> x = jnp.array([[0.0], [0.1], [5.0], [5.1]])
    >>> print(jnp.sign(spectral_embedding(x, num_components=1)[:, 0]))
    [ 1.  1. -1. -1.]

    Reference: Troisemaine et al., "A Practical Approach to Novel Class Discovery in Tabular Data" (2024), its spectral
    clustering without the k-means. Checked against the authors' code.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    if checks.size(num_components, "num_components") >= x.shape[0]:
        raise ValueError(f"num_components must be at most N - 1 = {x.shape[0] - 1}, got {num_components}")
    mask = checks.mask(where, "where", x.shape[:1])
    kept = jnp.ones(x.shape[0], bool) if mask is None else mask
    rows = jnp.where(kept[:, None], x.astype(accumulation_dtype(x)), 0.0)
    sq_dists = pairwise_sq_dists(rows)
    bandwidth = mst_bandwidth(sq_dists, min_dist=min_dist, where=kept)
    own = jnp.eye(x.shape[0], dtype=bool)
    edges = kept[:, None] & kept[None, :] & ~own
    affinity = jnp.where(edges, jnp.exp(-sq_dists / (2.0 * bandwidth**2)), 0.0)
    degree = jnp.sum(affinity, axis=1)
    scale = jnp.sqrt(jnp.where(degree > 0, degree, 1.0))
    # Eigenvalues of a Laplacian end at 2: rows that do not count come after all others.
    diagonal = jnp.where(kept, 1.0, 3.0)
    laplacian = jnp.where(own, diagonal, -affinity / (scale[:, None] * scale[None, :]))
    columns = jnp.linalg.eigh(laplacian)[1][:, 1 : num_components + 1]
    beyond = jnp.arange(1, num_components + 1) >= jnp.sum(kept)
    columns = jnp.where(kept[:, None] & ~beyond, columns, 0.0)
    # A threshold instead of the maximum: of entries equal but for rounding the first decides.
    size = jnp.abs(columns)
    first = jnp.argmax(size >= 0.99 * jnp.max(size, axis=0), axis=0)
    negative = jnp.take_along_axis(columns, first[None], axis=0) < 0
    return jnp.where(negative, -columns, columns)


def pbn_loss(
    reconstruction: ArrayLike,
    x: ArrayLike,
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike,
    known: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Objective of a space for novel classes: known ones are told apart, all rows can be restored (one number).

    .. math:: w\, \frac{1}{|K|} \sum_{n \in K} -\log p_{y_n}(x_n) + (1 - w)\, \frac1N \sum_n \|\hat x_n - x_n\|^2

    Classification alone forgets what known classes do not need; restoring rows keeps what novel ones may.

    Args:
      reconstruction: float [B, D], rows as the decoder restores them.
      x: float [B, D].
      logits: float [B, K] of the known classes.
      labels: int [B], in [0, K) where known; outside gives NaN.
      weight: w in [0, 1], of the classification; a float or a scalar array.
      known: bool [B], True where the row has a label (that of the others is not looked at); None means everywhere.
      where: bool [B], True where a row counts.
      axis_name: the mapped axis over which the batch is split; counts and sums are then those of the whole batch.
    Returns:
      float32 or wider scalar; a part without rows is 0.
    Raises:
      ValueError: shapes do not agree, or a static weight outside [0, 1].
      TypeError: an argument has the wrong kind of number.

    >>> x, logits = jnp.zeros((2, 3)), jnp.zeros((2, 2))
    >>> labels, known = jnp.array([0, -1]), jnp.array([True, False])
    >>> print(f"{pbn_loss(x + 1.0, x, logits, labels, weight=0.5, known=known):.4f}")
    1.8466

    Reference: Troisemaine et al., "A Practical Approach to Novel Class Discovery in Tabular Data" (2024). Checked
    against the authors' code.
    """
    reconstruction = checks.rank(checks.floating(reconstruction, "reconstruction"), "reconstruction", 2)
    x, logits = checks.floating(x, "x"), checks.rank(checks.floating(logits, "logits"), "logits", 2, layout="[B, K]")
    checks.same_shape(reconstruction, "reconstruction", x, "x")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[B]")
    checks.batch_match(x, "x", labels, "labels")
    checks.batch_match(logits, "logits", labels, "labels")
    checks.in_range(weight, "weight", 0.0, 1.0)
    kept = checks.mask(where, "where", labels.shape)
    kept = jnp.ones(labels.shape, bool) if kept is None else kept
    labelled = checks.mask(known, "known", labels.shape)
    labelled = kept if labelled is None else labelled & kept
    dtype = accumulation_dtype(reconstruction, x, logits)
    difference = jnp.where(kept[:, None], reconstruction.astype(dtype) - x.astype(dtype), 0.0)
    inside = (labels >= 0) & (labels < logits.shape[1])
    clean = jnp.where(labelled[:, None], logits.astype(dtype), 0.0)
    entropy = optax.losses.softmax_cross_entropy_with_integer_labels(clean, jnp.where(inside & labelled, labels, 0))
    entropy = jnp.where(labelled, jnp.where(inside, entropy, jnp.nan), 0.0)
    sums = (jnp.sum(entropy), jnp.sum(labelled), jnp.sum(jnp.square(difference)), jnp.sum(kept))
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    share = jnp.asarray(weight, dtype)
    return share * sums[0] / jnp.maximum(sums[1], 1) + (1.0 - share) * sums[2] / jnp.maximum(sums[3], 1)


def estimate_num_classes(
    key: Array,
    x: ArrayLike,
    *,
    max_classes: int,
    min_classes: int = 2,
    num_restarts: int = 10,
    num_iters: int = 100,
    where: ArrayLike | None = None,
) -> ClassCount:
    r"""How many classes rows without labels hold: the number of clusters that lie farthest apart.

    .. math:: \hat k = \arg\max_k\, \text{silhouette}(x, \text{k-means}_k(x))

    Look at rows of novel classes alone, in the space in which they are to be clustered.

    Args:
      key: typed PRNG key.
      x: float [N, D].
      max_classes: the largest number tried, static, <= N.
      min_classes: the smallest, static, >= 2.
      num_restarts: starts of every k-means, static.
      num_iters: iterations of each at most, static.
      where: bool [N], True where a row counts.
    Returns:
      ClassCount; of equal scores the smaller number.
    Raises:
      ValueError: x is not [N, D], or max_classes is below min_classes.
      TypeError: x is not floating point, or where is not boolean.

    >>> x = jnp.array([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2], [9.0], [9.1], [9.2]])
    >>> print(estimate_num_classes(jax.random.key(0), x, max_classes=4).num_classes)
    3

    Reference: Troisemaine et al., "A Practical Approach to Novel Class Discovery in Tabular Data" (2024). Checked
    against the authors' code, which averages the score over three runs of ten starts each.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    checks.size(num_restarts, "num_restarts")
    checks.size(num_iters, "num_iters")
    if checks.size(max_classes, "max_classes", 2) < checks.size(min_classes, "min_classes", 2):
        raise ValueError(f"max_classes must be at least min_classes = {min_classes}, got {max_classes}")

    mask = checks.mask(where, "where", x.shape[:1])
    kept = jnp.ones(x.shape[0], bool) if mask is None else mask
    rows = jnp.where(kept[:, None], x.astype(accumulation_dtype(x)), 0.0)
    keys = jax.random.split(key, num_restarts)
    candidates = 2 + int(math.log(max_classes))
    # Seeds are drawn one after the other, so the first k of many are the seeds of k clusters.
    draw = functools.partial(kmeans_init, x=rows, k=max_classes, num_candidates=candidates, where=kept)
    seeds = jax.lax.map(draw, keys)

    center = masked_mean(rows, kept[:, None], axis=0)

    def clusters(k: Array) -> tuple[Array, Array]:
        alive = jnp.arange(max_classes) < k

        def run(start: Array) -> KMeansResult:
            return lloyd(rows, start, kept, num_iters=num_iters, alive=alive, reseed=False, center=center)

        results = jax.lax.map(run, seeds)
        assignment = results.assignment[jnp.argmin(results.inertia)]
        return assignment, silhouette(rows, assignment, num_clusters=max_classes, where=kept)

    assignments, scores = jax.lax.map(clusters, jnp.arange(min_classes, max_classes + 1))
    best = jnp.argmax(scores).astype(jnp.int32)
    return ClassCount(min_classes + best, assignments[best], scores)
