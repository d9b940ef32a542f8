"""k-means: seeding by distance, Lloyd's iterations in one compiled loop, restarts."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize, segment_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["KMeansResult", "kmeans", "kmeans_init"]


class KMeansResult(NamedTuple):
    """A clustering.

    centroids: [F + k, D], first the F fixed ones, then the k that were found.
    assignment: int32 [N], the nearest centroid of every row; that of a masked row means nothing.
    inertia: the sum of squared distances of the rows that count to their centroids.
    num_iters: int32, Lloyd iterations done.
    converged: bool, whether the last iteration changed no assignment.
    """

    centroids: Array
    assignment: Array
    inertia: Array
    num_iters: Array
    converged: Array


def _checked(x: ArrayLike, fixed: ArrayLike | None, where: ArrayLike | None, metric: str) -> tuple[Array, Array, Array]:
    """Rows, fixed centroids [F, D] and mask [N]; unit rows for "cosine"."""
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    checks.one_of(metric, "metric", ("euclidean", "cosine"))
    mask = checks.mask(where, "where", x.shape[:1])
    kept = jnp.ones(x.shape[:1], bool) if mask is None else mask
    rows = jnp.where(kept[:, None], x, 0).astype(accumulation_dtype(x))
    if fixed is None:
        still = jnp.zeros((0, x.shape[1]), rows.dtype)
    else:
        still = checks.rank(checks.floating(fixed, "fixed"), "fixed", 2, layout="[F, D]").astype(rows.dtype)
        if still.shape[1] != x.shape[1]:
            raise ValueError(f"fixed must have rows of width {x.shape[1]} as x does, got {list(still.shape)}")
    if metric == "cosine":
        rows, still = normalize(rows), normalize(still)
    return rows, still, kept


def _sq_dists(x: Array, centroid: Array) -> Array:
    """Squared distances to one centroid, by differences: exact where two rows coincide."""
    return jnp.sum(jnp.square(x - centroid), axis=-1)


def _seed(key: Array, x: Array, fixed: Array, kept: Array, k: int, power: float, candidates: int) -> Array:
    """k rows of x, each drawn with probability ~ distance^power to what was chosen before it."""

    def nearest_to(centroids: Array) -> Array:
        distances = jax.lax.map(lambda c: _sq_dists(x, c), centroids)
        return jnp.min(distances, axis=0, initial=jnp.inf)

    def step(state: tuple[Array, Array], inputs: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        nearest, _ = state
        step_key, first = inputs
        blank = first & (fixed.shape[0] == 0)
        weight = jnp.where(blank, 1.0, jnp.where(jnp.isinf(nearest), 1.0, nearest) ** (power / 2))
        weight = jnp.where(kept, weight, 0.0)
        # Where every row coincides with a centroid all are as good, and all that count may be drawn.
        weight = jnp.where(jnp.sum(weight) > 0, weight, kept.astype(weight.dtype))
        total = jnp.cumsum(weight)
        drawn = jax.random.uniform(step_key, (candidates,), total.dtype) * total[-1]
        index = jnp.minimum(jnp.searchsorted(total, drawn, side="right"), x.shape[0] - 1)
        options = jnp.minimum(nearest, jax.lax.map(lambda i: _sq_dists(x, x[i]), index))
        best = jnp.argmin(jnp.sum(jnp.where(kept, options, 0.0), axis=1))
        return (options[best], index[best]), x[index[best]]

    start = nearest_to(fixed) if fixed.shape[0] else jnp.full(x.shape[:1], jnp.inf, x.dtype)
    keys = jax.random.split(key, k)
    _, chosen = jax.lax.scan(step, (start, jnp.int32(0)), (keys, jnp.arange(k) == 0))
    return chosen


def kmeans_init(
    key: Array,
    x: ArrayLike,
    *,
    k: int,
    seeding_power: float = 2.0,
    num_candidates: int = 1,
    metric: str = "euclidean",
    fixed: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    r"""Rows of x to start k-means from, each drawn far from the ones before it (k-means++).

    .. math:: P(\text{next} = x_n) \propto \min_{c\, \in\, \text{fixed}\, \cup\, \text{chosen}} \|x_n - c\|^{p}

    Args:
      key: typed PRNG key.
      x: float [N, D].
      k: rows to choose, static, 1 <= k <= N.
      seeding_power: p >= 0, static; 2 is k-means++, 1 that of tabular novel class discovery, 0 draws uniformly.
      num_candidates: rows drawn at every step, of which the one that leaves the smallest sum of squared distances is
        kept, static; 1 is the plain form, 2 + log k the greedy one of scikit-learn.
      metric: "euclidean", or "cosine" (on unit rows), static.
      fixed: float [F, D], centroids that exist already; None means none, and a first row drawn uniformly.
      where: bool [N], True where a row may be chosen.
    Returns:
      float32 or wider [k, D]. Where fewer than k different rows exist, some are chosen twice.
    Raises:
      ValueError: shapes do not agree, k is out of range, an unknown metric, or a negative power.
      TypeError: x or fixed is not floating point, or where is not boolean.

    >>> x = jnp.array([[0.0], [0.0], [9.0]])
    >>> print(kmeans_init(jax.random.key(0), x, k=1, fixed=jnp.zeros((1, 1))))
    [[9.]]

    Reference: Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding" (2007). Standard.
    """
    rows, still, kept = _checked(x, fixed, where, metric)
    _check_k(k, rows.shape[0])
    checks.at_least(seeding_power, "seeding_power", 0.0)
    checks.size(num_candidates, "num_candidates")
    return _seed(key, rows, still, kept, k, float(seeding_power), num_candidates)


def _check_k(k: int, rows: int) -> None:
    if checks.size(k, "k") > rows:
        raise ValueError(f"k must be at most {rows}, the number of rows of x, got {k}")


def lloyd(
    x: Array,
    init: Array,
    kept: Array,
    *,
    num_iters: int,
    fixed: Array | None = None,
    alive: Array | None = None,
    reseed: bool = True,
    center: Array | float = 0.0,
    metric: str = "euclidean",
) -> KMeansResult:
    """Lloyd's iterations from centroids ``init`` [k, D], the ``fixed`` ones [F, D] before them, over the rows kept.

    ``alive`` bool [k] says which of the centroids exist, so that any number of them is one program. An empty cluster
    moves to the row farthest from its centroid, or stays in place where ``reseed`` is False. Rows and centroids are
    compared relative to ``center``: near the mean of the rows a common offset costs no precision there.
    """
    fixed = jnp.zeros((0, x.shape[1]), x.dtype) if fixed is None else fixed
    frozen, num = fixed.shape[0], fixed.shape[0] + init.shape[0]
    near = x - center
    squares = jnp.sum(jnp.square(near), axis=1)

    def assign(centroids: Array) -> tuple[Array, Array]:
        """The nearest centroid of every row, and the squared distance to it less the row's own square."""
        places = centroids - center
        nearness = jnp.matmul(near, places.T, precision="highest") - 0.5 * jnp.sum(jnp.square(places), axis=1)
        if alive is not None:
            nearness = jnp.where(jnp.concatenate([jnp.ones(frozen, bool), alive]), nearness, -jnp.inf)
        # One pass for the value and its place; twice as fast as argmax on a CPU.
        best, index = jax.lax.top_k(nearness, 1)
        return index[:, 0].astype(jnp.int32), -2.0 * best[:, 0]

    def update(centroids: Array, index: Array, excess: Array) -> Array:
        means, count = segment_mean(x, index, num, where=kept)
        empty = (count == 0) & (jnp.arange(num) >= frozen)

        def reseeded(means: Array) -> Array:
            # The r-th empty cluster takes the r-th farthest row.
            spread = jnp.where(kept, squares + excess, -jnp.inf)
            _, far = jax.lax.top_k(spread, num)
            rank = jnp.cumsum(empty) - 1
            return jnp.where(empty[:, None], x[far[jnp.maximum(rank, 0)]], means)

        if reseed:
            means = jax.lax.cond(jnp.any(empty), reseeded, lambda means: means, means)
        else:
            means = jnp.where(empty[:, None], centroids, means)
        if metric == "cosine":
            means = normalize(means)
        return jnp.where((jnp.arange(num) < frozen)[:, None], centroids, means)

    def step(state: tuple[Array, Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array, Array]:
        centroids, index, excess, count, _ = state
        centroids = update(centroids, index, excess)
        moved, excess = assign(centroids)
        return centroids, moved, excess, count + 1, jnp.all((moved == index) | ~kept)

    def running(state: tuple[Array, Array, Array, Array, Array]) -> Array:
        return (state[3] < num_iters) & ~state[4]

    start = jnp.concatenate([fixed, init])
    state = (start, *assign(start), jnp.int32(0), jnp.asarray(False))
    centroids, index, _, count, converged = jax.lax.while_loop(running, step, state)
    inertia = jnp.sum(jnp.where(kept, jnp.sum(jnp.square(x - centroids[index]), axis=1), 0.0))
    return KMeansResult(centroids, index, inertia, count, converged)


def kmeans(
    key: Array,
    x: ArrayLike,
    *,
    k: int,
    num_iters: int = 100,
    num_restarts: int = 1,
    init: str | ArrayLike = "kmeans++",
    seeding_power: float = 2.0,
    metric: str = "euclidean",
    fixed: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> KMeansResult:
    r"""Clusters of rows around k centroids, the best of several starts.

    .. math:: \min_{c, a} \sum_n \|x_n - c_{a_n}\|^2

    Rows are centred before they are compared, so a common offset of the data costs no precision. A cluster that runs
    empty moves to the row that is farthest from its centroid.

    Args:
      key: typed PRNG key for the seeding.
      x: float [N, D].
      k: clusters to find, static; with ``fixed``, k more. F + k <= N.
      num_iters: at most so many Lloyd iterations, static; it stops earlier where no assignment changes.
      num_restarts: starts, of which the smallest inertia wins, static; one after the other.
      init: "kmeans++" (the greedy form, 2 + log k candidates), "random" (rows drawn uniformly) or centroids
        [k, D] to start from (then num_restarts must be 1).
      seeding_power: static, see ``kmeans_init``.
      metric: "euclidean", or "cosine": unit rows and unit centroids (spherical k-means), static.
      fixed: float [F, D], centroids that rows may join but that do not move.
      where: bool [N], True where a row counts; the others pull no centroid.
    Returns:
      KMeansResult, float32 or wider, the centroids of the fixed first. ``converged`` is False where num_iters came
      first.
    Raises:
      ValueError: shapes do not agree, k is out of range, an unknown metric or init, or restarts of given centroids.
      TypeError: x, init or fixed is not floating point, or where is not boolean.

    >>> result = kmeans(jax.random.key(0), jnp.array([[0.0], [1.0], [8.0], [9.0]]), k=2)
    >>> print(sorted(result.centroids[:, 0].tolist()), result.inertia, result.converged)
    [0.5, 8.5] 1.0 True

    Reference: Lloyd, "Least Squares Quantization in PCM" (1982); seeding of Arthur and Vassilvitskii (2007). Standard.
    """
    rows, still, kept = _checked(x, fixed, where, metric)
    _check_k(k, rows.shape[0] - still.shape[0])
    checks.size(num_iters, "num_iters")
    checks.size(num_restarts, "num_restarts")
    checks.at_least(seeding_power, "seeding_power", 0.0)
    if isinstance(init, str):
        checks.one_of(init, "init", ("kmeans++", "random"))
        given = None
    else:
        given = checks.floating(init, "init").astype(rows.dtype)
        if given.shape != (k, rows.shape[1]):
            raise ValueError(f"init must have shape {[k, rows.shape[1]]}, got {list(given.shape)}")
        if num_restarts != 1:
            raise ValueError(f"num_restarts must be 1 where init gives the centroids, got {num_restarts}")
        given = normalize(given) if metric == "cosine" else given
    center = jnp.zeros(rows.shape[1], rows.dtype)
    if metric == "euclidean":
        center = jnp.sum(jnp.where(kept[:, None], rows, 0.0), axis=0) / jnp.maximum(jnp.sum(kept), 1)
    rows, still = rows - center, still - center
    uniform = isinstance(init, str) and init == "random"
    power, candidates = (0.0, 1) if uniform else (float(seeding_power), 2 + int(math.log(k)))

    def run(start_key: Array) -> KMeansResult:
        start = _seed(start_key, rows, still, kept, k, power, candidates) if given is None else given - center
        return lloyd(rows, start, kept, num_iters=num_iters, fixed=still, metric=metric)

    if num_restarts == 1:
        best = run(key)
    else:
        results = jax.lax.map(run, jax.random.split(key, num_restarts))
        best = jax.tree.map(lambda leaf: leaf[jnp.argmin(results.inertia)], results)
    return best._replace(centroids=best.centroids + center)
