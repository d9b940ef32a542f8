"""Labelling all unlabelled examples together: soft clusters anchored at a few labels, smooth over neighbours."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import entr

from jaxlab import checks
from jaxlab.kernels import knn, pairwise_sq_dists
from jaxlab.numerics import segment_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "TransductiveClusters",
    "knn_affinity",
    "laplacian_assignments",
    "laplacian_energy",
    "transductive_clustering",
]


class TransductiveClusters(NamedTuple):
    """Soft assignments of the queries [Q, C], and the prototypes [C, D] behind them."""

    assignments: Array
    prototypes: Array


def knn_affinity(
    x: ArrayLike, *, k: int, metric: str = "euclidean", symmetric: bool = True, where: ArrayLike | None = None
) -> Array:
    r"""Which rows are neighbours, as a matrix of affinities.

    .. math:: w_{pq} = \tfrac12 \big( [q \in N_k(p)] + [p \in N_k(q)] \big), \qquad w_{pp} = 0

    Args:
      x: float [N, D].
      k: neighbours of a row, itself not counted, static, 1 <= k < N. Published code that counts the row itself has
        one more.
      metric: of ``kernels.knn``, static.
      symmetric: static; False leaves w_pq = [q in N_k(p)].
      where: bool [N], True where a row counts; the others are nobody's neighbours and have none.
    Returns:
      float32 [N, N]; without symmetry a row sums to k, or to the number of rows it can reach.
    Raises:
      ValueError: x is not [N, D], k is out of range, or an unknown metric.
      TypeError: x is not floating point, or where is not boolean.

    >>> print(knn_affinity(jnp.array([[0.0], [1.0], [5.0]]), k=1))
    [[0.  1.  0. ]
     [1.  0.  0.5]
     [0.  0.5 0. ]]

    Reference: Ziko et al., "Transductive Few-Shot Learning: Clustering is All You Need?" (2021); checked against the
    authors' code for its predecessor LaplacianShot, which does not symmetrise.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    scores, index = knn(x, x, k=k, metric=metric, exclude_self=True, where=where)
    counts = jnp.ones(x.shape[0], bool) if where is None else jnp.asarray(where)
    found = (scores > -jnp.inf) & counts[:, None]
    rows = jnp.broadcast_to(jnp.arange(x.shape[0])[:, None], index.shape)
    affinity = jnp.zeros((x.shape[0],) * 2).at[rows, index].add(found.astype(jnp.float32))
    return 0.5 * (affinity + affinity.T) if symmetric else affinity


def _problem(unary: ArrayLike, affinity: ArrayLike, strength: ArrayLike) -> tuple[Array, Array]:
    unary = checks.rank(checks.floating(unary, "unary"), "unary", 2, layout="[N, C]")
    affinity = checks.floating(affinity, "affinity")
    if affinity.shape != (unary.shape[0],) * 2:
        raise ValueError(f"affinity must have shape {[unary.shape[0]] * 2}, got {list(affinity.shape)}")
    checks.at_least(strength, "strength", 0.0)
    dtype = accumulation_dtype(unary, affinity)
    return unary.astype(dtype), affinity.astype(dtype)


def laplacian_energy(
    assignments: ArrayLike, unary: ArrayLike, affinity: ArrayLike, *, strength: ArrayLike = 1.0
) -> Array:
    r"""What ``laplacian_assignments`` makes smaller.

    .. math:: E(S) = \sum_p \langle s_p, a_p + \log s_p \rangle - \tfrac{\lambda}{2} \sum_{p, q} w_{pq} \langle s_p,
              s_q \rangle

    Up to terms of the degrees the second sum is that of :math:`w_{pq} \|s_p - s_q\|^2`, which asks neighbours to agree.
    Published code prints it without the 1/2, for which its own update promises nothing.

    Args:
      assignments: float [N, C], distributions s.
      unary: float [N, C], costs a such as squared distances; +inf where a class does not exist.
      affinity: float [N, N], w.
      strength: lambda >= 0.
    Returns:
      float32 or wider scalar.
    Raises:
      ValueError: shapes do not agree, or a static strength < 0.
      TypeError: an input is not floating point.

    >>> same, apart = jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.eye(2)
    >>> edge, flat = 1.0 - jnp.eye(2), jnp.zeros((2, 2))
    >>> print(laplacian_energy(same, flat, edge), laplacian_energy(apart, flat, edge))
    -1.0 0.0

    Reference: Ziko et al., "Transductive Few-Shot Learning: Clustering is All You Need?" (2021); the factor 1/2 is the
    one for which the update of the authors' code (checked) is a bound optimiser, inferred.
    """
    unary, affinity = _problem(unary, affinity, strength)
    s = checks.floating(assignments, "assignments")
    checks.same_shape(s, "assignments", unary, "unary")
    s = s.astype(unary.dtype)
    # Where s is 0 its cost may be infinite and the slope of its entropy is: neither may reach a gradient.
    chosen = s > 0
    costs = jnp.where(chosen, s * jnp.where(chosen, unary, 0.0), 0.0) - entr(jnp.where(chosen, s, 1.0))
    agreement = jnp.sum(s * jnp.matmul(affinity, s, precision="highest"))
    return jnp.sum(costs) - 0.5 * jnp.asarray(strength, s.dtype) * agreement


def laplacian_assignments(
    unary: ArrayLike,
    affinity: ArrayLike,
    *,
    strength: ArrayLike = 1.0,
    num_iters: int = 20,
    tol: ArrayLike = 1e-6,
    labels: ArrayLike | None = None,
) -> Array:
    r"""Soft assignments that follow their costs and their neighbours: Laplacian-regularised clustering.

    .. math:: s_p \leftarrow \operatorname{softmax}_c\big(-a_{pc} + \lambda \textstyle\sum_q w_{pq} s_{qc}\big)

    from s = softmax(-a), all rows at once. Every update minimises a bound on ``laplacian_energy`` that touches it where
    it stands, so the energy never rises, if the affinity is symmetric and positive semi-definite (adding to its
    diagonal makes it so); with nearest neighbours it falls in practice.

    Args:
      unary: float [N, C], costs a; +inf where a class does not exist.
      affinity: float [N, N], w >= 0, such as ``knn_affinity``.
      strength: lambda >= 0; 0 gives softmax(-a).
      num_iters: at most so many updates, static, >= 0.
      tol: it stops once the energy changes by less than tol times its size.
      labels: int [N], the class of a labelled row, which stays at it; rows outside [0, C), such as -1, are free.
    Returns:
      float32 or wider [N, C], distributions.
    Raises:
      ValueError: shapes do not agree, num_iters < 0, or a static strength or tol < 0.
      TypeError: unary or affinity is not floating point, or labels are not integers.

    >>> unary = jnp.array([[0.0, 9.0], [1.0, 1.0], [9.0, 0.0]])  # the middle row cannot decide
    >>> pair = jnp.zeros((3, 3)).at[0, 1].set(1.0).at[1, 0].set(1.0)  # its neighbour can
    >>> print(laplacian_assignments(unary, pair, strength=2.0)[1, 0] > 0.85)
    True

    Reference: Ziko et al., "Transductive Few-Shot Learning: Clustering is All You Need?" (2021). The update is checked
    against the authors' code for its predecessor LaplacianShot.
    """
    a, w = _problem(unary, affinity, strength)
    checks.size(num_iters, "num_iters", 0)
    checks.at_least(tol, "tol", 0.0)
    num_classes = a.shape[1]
    held = jnp.zeros(a.shape[0], bool)
    truth = jnp.zeros_like(a)
    if labels is not None:
        known = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
        checks.batch_match(known, "labels", a, "unary")
        held = (known >= 0) & (known < num_classes)
        truth = jax.nn.one_hot(known, num_classes, dtype=a.dtype)

    def anchored(s: Array) -> Array:
        return jnp.where(held[:, None], truth, s)

    def energy(s: Array) -> Array:
        return laplacian_energy(s, a, w, strength=strength)

    def update(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        s, before, _, count = state
        pull = jnp.asarray(strength, a.dtype) * jnp.matmul(w, s, precision="highest")
        s = anchored(jax.nn.softmax(pull - a, axis=-1))
        after = energy(s)
        return s, after, jnp.abs(after - before) <= tol * jnp.abs(before), count + 1

    def running(state: tuple[Array, Array, Array, Array]) -> Array:
        return (state[3] < num_iters) & ~state[2]

    start = anchored(jax.nn.softmax(-a, axis=-1))
    state = (start, energy(start), jnp.asarray(False), jnp.int32(0))
    return jax.lax.while_loop(running, update, state)[0]


def transductive_clustering(
    support: ArrayLike,
    labels: ArrayLike,
    queries: ArrayLike,
    *,
    num_classes: int,
    strength: ArrayLike = 0.0,
    k: int = 2,
    scale: ArrayLike = 1.0,
    hard: bool = False,
    keep_support: bool = True,
    num_outer: int = 20,
    num_inner: int = 20,
    where: ArrayLike | None = None,
) -> TransductiveClusters:
    r"""Few-shot classification of all queries at once, by clusters that start at the class means.

    .. math:: a_{pc} = \beta \|x_p - m_c\|^2,
              \qquad m_c \leftarrow \frac{\sum_{i:\, y_i = c} x_i + \sum_p s_{pc}\, x_p}{n_c + \sum_p s_{pc}}

    alternated with ``laplacian_assignments`` on the queries' neighbours. With strength 0 and ``hard`` it is k-means
    whose labelled rows stay where they are. The paper's features have unit length after the mean of the base classes
    (or of the episode) was taken off.

    Args:
      support: float [S, D], labelled rows.
      labels: int [S]; rows outside [0, num_classes) are ignored.
      queries: float [Q, D].
      num_classes: C, static.
      strength: lambda >= 0, how much neighbours count; 0 leaves k unused.
      k: neighbours of a query, itself not counted, static; at most Q - 1 are taken.
      scale: beta > 0, multiplies the squared distances: how sure an assignment is.
      hard: static; True assigns each query wholly to its best class.
      keep_support: static; False lets the labels decide where clusters start, and no more (plain k-means).
      num_outer: rounds of both steps, static, >= 0.
      num_inner: updates of the assignments in a round, static.
      where: bool [Q], True where a query counts; the others pull nothing.
    Returns:
      TransductiveClusters; the argmax of an assignment is the prediction. A class without labelled rows gets no query,
      and a prototype that means nothing.
    Raises:
      ValueError: shapes do not agree, sizes are out of range, a static strength < 0 or scale <= 0.
      TypeError: support or queries are not floating point, labels are not integers, or where is not boolean.

    >>> support, queries = jnp.array([[0.0], [1.0]]), jnp.array([[0.1], [0.2], [2.0], [2.1], [1.9]])
    >>> result = transductive_clustering(support, jnp.array([0, 1]), queries, num_classes=2, hard=True)
    >>> print([f"{place:.2f}" for place in result.prototypes[:, 0]])
    ['0.10', '1.75']

    Reference: Ziko et al., "Transductive Few-Shot Learning: Clustering is All You Need?" (2021). The alternation is
    recalled; the assignments are checked (see there).
    """
    support, queries, labels = _episode(support, queries, labels)
    checks.size(num_classes, "num_classes")
    checks.positive(scale, "scale")
    checks.at_least(strength, "strength", 0.0)
    checks.size(num_outer, "num_outer", 0)
    checks.size(k, "k")
    mask = checks.mask(where, "where", queries.shape[:1])
    counts = jnp.ones(queries.shape[0], bool) if mask is None else mask
    queries = jnp.where(counts[:, None], queries, 0.0)
    start, shots = segment_mean(support, labels, num_classes)
    exists, weight = shots > 0, shots.astype(start.dtype) * keep_support
    smooth = not (checks.is_static(strength) and strength == 0) and queries.shape[0] > 1
    affinity = (
        knn_affinity(queries, k=min(k, queries.shape[0] - 1), where=mask).astype(queries.dtype)
        if smooth
        else jnp.zeros((queries.shape[0],) * 2, queries.dtype)
    )

    def assign(prototypes: Array) -> Array:
        unary = jnp.where(exists, jnp.asarray(scale, queries.dtype) * pairwise_sq_dists(queries, prototypes), jnp.inf)
        soft = laplacian_assignments(unary, affinity, strength=strength, num_iters=num_inner if smooth else 0)
        soft = jax.nn.one_hot(jnp.argmax(soft, axis=-1), num_classes, dtype=soft.dtype) if hard else soft
        return jnp.where(exists, soft, 0.0)

    def round_(_: Array, prototypes: Array) -> Array:
        soft = jnp.where(counts[:, None], assign(prototypes), 0.0)
        total = weight[:, None] * start + jnp.matmul(soft.T, queries, precision="highest")
        size = (weight + jnp.sum(soft, axis=0))[:, None]
        return jnp.where(size > 0, total / jnp.where(size > 0, size, 1.0), prototypes)

    prototypes = jax.lax.fori_loop(0, num_outer, round_, start)
    return TransductiveClusters(assign(prototypes), prototypes)


def _episode(support: ArrayLike, queries: ArrayLike, labels: ArrayLike) -> tuple[Array, Array, Array]:
    support = checks.rank(checks.floating(support, "support"), "support", 2, layout="[S, D]")
    queries = checks.rank(checks.floating(queries, "queries"), "queries", 2, layout="[Q, D]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[S]")
    checks.batch_match(support, "support", labels, "labels")
    if support.shape[1] != queries.shape[1]:
        raise ValueError(f"queries must have rows of width {support.shape[1]} as support, got {list(queries.shape)}")
    dtype = accumulation_dtype(support, queries)
    return support.astype(dtype), queries.astype(dtype), labels
