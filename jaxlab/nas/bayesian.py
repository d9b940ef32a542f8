"""RoBoT: Bayesian optimisation of a weighted sum of training-free scores, then greedy use of the best one.

The three steps in a loop over the budget, and then the rest by rank::

    state = robot_init(num_metrics, budget=budget, key=key)
    state, weights, index = robot_propose(state, metrics)
    state = robot_update(state, weights, index, value_of(index))
    ...
    picked = robot_exploit(state, metrics, num_picks=budget)
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks, kernels, numerics
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "GaussianProcess",
    "RobotState",
    "gaussian_process",
    "robot_exploit",
    "robot_init",
    "robot_propose",
    "robot_update",
]

LENGTH_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class GaussianProcess(NamedTuple):
    """What a Gaussian process expects at query points: ``mean`` [Q] and standard deviation ``std`` [Q].

    ``log_likelihood`` [] is that of the values it was given.
    """

    mean: Array
    std: Array
    log_likelihood: Array


def gaussian_process(
    points: ArrayLike,
    values: ArrayLike,
    query: ArrayLike,
    *,
    length_scale: ArrayLike,
    noise: ArrayLike = 1e-6,
    where: ArrayLike | None = None,
) -> GaussianProcess:
    r"""Posterior of a zero-mean Gaussian process of variance 1 with the Matern-5/2 kernel (couples the batch).

    .. math:: k(r) = \Big(1 + \sqrt5 \tfrac rl + \tfrac53 \tfrac{r^2}{l^2}\Big) e^{-\sqrt5\, r / l}, \quad
              \mu = k_*^\top (K + \sigma^2 I)^{-1} y, \quad s^2 = 1 - k_*^\top (K + \sigma^2 I)^{-1} k_*

    For a search: the deviations of many queries and the likelihood of the values. ``kernels.gp_posterior`` takes the
    Gram matrices of any kernel and gives the whole covariance of the queries, without a likelihood.

    Args:
      points: float [N, D].
      values: float [N].
      query: float [Q, D].
      length_scale: l > 0.
      noise: variance > 0 of a value.
      where: bool [N], True where a point counts; without any it is the prior.
    Returns:
      GaussianProcess in float32 or wider.
    Raises:
      ValueError: shapes do not agree, or a static number is out of range.
      TypeError: an array is not floating point, or where is not boolean.

    >>> found = gaussian_process(jnp.array([[0.0]]), jnp.array([2.0]), jnp.array([[0.0], [9.0]]), length_scale=1.0)
    >>> print(found.mean.round(2), found.std.round(2))
    [2. 0.] [0. 1.]

    Reference: standard.
    """
    points = checks.rank(checks.floating(points, "points"), "points", 2, layout="[N, D]")
    values = checks.rank(checks.floating(values, "values"), "values", 1, layout="[N]")
    query = checks.rank(checks.floating(query, "query"), "query", 2, layout="[Q, D]")
    checks.batch_match(points, "points", values, "values")
    if query.shape[1] != points.shape[1]:
        raise ValueError(f"query must have {points.shape[1]} columns as points do, got {list(query.shape)}")
    checks.positive(length_scale, "length_scale")
    checks.positive(noise, "noise")
    mask = checks.mask(where, "where", values.shape)
    counts = jnp.ones(values.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(points, values, query)
    points, y = jnp.where(counts[:, None], points.astype(dtype), 0.0), jnp.where(counts, values.astype(dtype), 0.0)
    both = counts[:, None] & counts
    # A row that does not count is a value of 0 that is independent of everything.
    gram = jnp.where(both, _matern(points, points, length_scale), 0.0) + jnp.diag(jnp.where(counts, noise, 1.0))
    cross = jnp.where(counts, _matern(query.astype(dtype), points, length_scale), 0.0)
    lower = jnp.linalg.cholesky(gram)
    # Its inverse, which is small, times the many queries: a triangular solve of as many columns takes far longer.
    inverse = jax.scipy.linalg.solve_triangular(lower, jnp.eye(y.shape[0], dtype=dtype), lower=True)
    whitened = jnp.matmul(inverse, y, precision="highest")
    explained = jnp.matmul(inverse, cross.T, precision="highest")
    mean = jnp.matmul(whitened, explained, precision="highest")
    variance = 1.0 - jnp.sum(explained**2, axis=0)
    std = safe_sqrt(variance)
    normal = jnp.sum(jnp.where(counts, jnp.log(jnp.diagonal(lower)) + 0.5 * jnp.log(2 * jnp.pi), 0.0))
    return GaussianProcess(mean, std, -0.5 * jnp.sum(whitened**2) - normal)


def _matern(x: Array, y: Array, length_scale: ArrayLike) -> Array:
    squares = 5.0 * kernels.pairwise_sq_dists(x, y) / jnp.asarray(length_scale, x.dtype) ** 2
    away = safe_sqrt(squares)
    return (1.0 + away + squares / 3.0) * jnp.exp(-away)


class RobotState(NamedTuple):
    """What RoBoT has tried: a fixed budget of entries, of which the first ``num_tried`` hold something.

    Attributes:
      weights: float [T, M], in [-1, 1].
      indices: int [T], the architecture that each weighting picked.
      values: float [T], what it was worth.
      num_tried: int [].
      key: PRNG key of the next proposal.
    """

    weights: Array
    indices: Array
    values: Array
    num_tried: Array
    key: Array


def robot_init(num_metrics: int, *, budget: int, key: Array) -> RobotState:
    """An empty state with room for ``budget`` proposals.

    Args:
      num_metrics: M, static, >= 1.
      budget: T, static, >= 1.
      key: PRNG key.
    Returns:
      RobotState.
    Raises:
      ValueError: a size is below 1.

    >>> robot_init(3, budget=5, key=jax.random.key(0)).weights.shape
    (5, 3)

    Reference: He et al., as in ``robot_propose``.
    """
    size, entries = checks.size(num_metrics, "num_metrics"), checks.size(budget, "budget")
    empty = jnp.zeros(entries, jnp.int32)
    return RobotState(jnp.zeros((entries, size)), empty, jnp.zeros(entries), jnp.zeros((), jnp.int32), key)


def _scores(metrics: Array, weights: Array) -> Array:
    """The weighted sum [N] of the metrics [M, N], each brought to [0, 1]; NaN entries add nothing."""
    known = jnp.isfinite(metrics)
    scaled = numerics.min_max(jnp.where(known, metrics, 0.0), axis=1, where=known)
    return jnp.matmul(weights, jnp.where(known, scaled, 0.0), precision="highest")


def robot_propose(
    state: RobotState, metrics: ArrayLike, *, num_candidates: int = 10_000, kappa: ArrayLike = 2.576
) -> tuple[RobotState, Array, Array]:
    r"""The weights to try next, and the architecture that they rank first.

    .. math:: w = \arg\max_{w \in [-1, 1]^M} \mu(w) + \kappa\, s(w), \quad i = \arg\max_i \sum_j w_j \tilde m_j(i)

    with a Gaussian process over the weights tried so far (their values standardised, the length scale by maximum
    likelihood) and :math:`\tilde m` the metrics brought to [0, 1]. The maximum is taken over random weights and the
    best ones so far.

    Args:
      state: of ``robot_init`` or ``robot_update``.
      metrics: float [M, N], of N architectures, larger or smaller is better; a constant one stays as it is, NaN and
        infinite entries add nothing.
      num_candidates: random weights, static, >= 1.
      kappa: >= 0, the reward of the unknown.
    Returns:
      (state with a new key, weights float [M], index int []).
    Raises:
      ValueError: metrics are not [M, N] with the M of the state, or a number is out of range.
      TypeError: metrics are not floating point.

    >>> state = robot_init(2, budget=4, key=jax.random.key(0))
    >>> _, weights, index = robot_propose(state, jnp.array([[0.0, 1.0], [0.0, 1.0]]), num_candidates=8)
    >>> bool((index == 1) == (weights.sum() > 0))
    True

    Reference: He et al., "Robustifying and Boosting Training-Free Neural Architecture Search" (2024), checked against
    the authors' code, which calls the package bayesian-optimization: kernel, kappa and the lack of random first points
    are those; the maximiser and the grid of length scales are inferred.
    """
    metrics = checks.rank(checks.floating(metrics, "metrics"), "metrics", 2, layout="[M, N]")
    budget, number = state.weights.shape
    if metrics.shape[0] != number or metrics.shape[1] < 1:
        raise ValueError(f"metrics must have shape [{number}, N] with N >= 1, got {list(metrics.shape)}")
    checks.size(num_candidates, "num_candidates")
    checks.at_least(kappa, "kappa", 0.0)
    key, draw = jax.random.split(state.key)
    tried = jnp.arange(budget) < state.num_tried
    values = _standardised(state.values, tried)
    dtype = state.weights.dtype
    random = jax.random.uniform(draw, (num_candidates, number), dtype, -1.0, 1.0)
    best = state.weights[jnp.argmax(jnp.where(tried, values, -jnp.inf))]
    candidates = jnp.concatenate([random, jnp.where(state.num_tried > 0, best, random[0])[None]])

    posterior = functools.partial(gaussian_process, state.weights, values, where=tried)
    scales = jnp.array(LENGTH_SCALES, dtype)
    likelihood = jax.lax.map(lambda scale: posterior(state.weights[:1], length_scale=scale).log_likelihood, scales)
    found = posterior(candidates, length_scale=scales[jnp.argmax(likelihood)])
    bound = found.mean + kappa * found.std
    weights = candidates[jnp.argmax(bound)]
    index = jnp.argmax(_scores(metrics.astype(accumulation_dtype(metrics)), weights)).astype(jnp.int32)
    return state._replace(key=key), weights, index


def _standardised(values: Array, where: Array) -> Array:
    """Mean 0 and standard deviation 1 over what counts; equal values give 0."""
    mean = numerics.masked_mean(values, where)
    away = jnp.where(where, values - mean, 0.0)
    variance = numerics.masked_mean(away**2, where)
    return away / jnp.sqrt(jnp.where(variance > 0, variance, 1.0))


def robot_update(state: RobotState, weights: ArrayLike, index: ArrayLike, value: ArrayLike) -> RobotState:
    """Remembers what a weighting was worth.

    Args:
      state: with room left; a full one stays as it is.
      weights: float [M], as proposed.
      index: int [], the architecture that they picked.
      value: float [], of that architecture, larger is better. Ask again only for an architecture that was not tried.
    Returns:
      RobotState with one entry more.
    Raises:
      ValueError: shapes do not agree.
      TypeError: weights or value are not floating point, or index is not an integer.

    >>> state = robot_init(2, budget=4, key=jax.random.key(0))
    >>> int(robot_update(state, jnp.array([1.0, 0.0]), jnp.array(3), jnp.array(0.9)).num_tried)
    1

    Reference: as ``robot_propose``.
    """
    weights = checks.floating(weights, "weights")
    if weights.shape != state.weights.shape[1:]:
        raise ValueError(f"weights must have shape {list(state.weights.shape[1:])}, got {list(weights.shape)}")
    index = checks.rank(checks.integer(index, "index"), "index", 0, layout="[]")
    value = checks.rank(checks.floating(value, "value"), "value", 0, layout="[]")
    room = state.num_tried < state.values.shape[0]
    here = (jnp.arange(state.values.shape[0]) == state.num_tried) & room
    return state._replace(
        weights=jnp.where(here[:, None], weights.astype(state.weights.dtype), state.weights),
        indices=jnp.where(here, index.astype(state.indices.dtype), state.indices),
        values=jnp.where(here, value.astype(state.values.dtype), state.values),
        num_tried=state.num_tried + room,
    )


def robot_exploit(state: RobotState, metrics: ArrayLike, *, num_picks: int) -> Array:
    """The architectures to have asked for in the end: those tried, then the best of the rest by the best weights.

    Args:
      state: with at least one entry; the best weights are the last of equal value.
      metrics: float [M, N], as in ``robot_propose``.
      num_picks: the whole budget of queries, static, from 1 to N.
    Returns:
      int [num_picks], all different: those tried come first, in the order of the ranking by the best weights; where
      more were tried than there are picks, the best ranked of them.
    Raises:
      ValueError: metrics are not [M, N], or num_picks is out of range.
      TypeError: metrics are not floating point.

    >>> state = robot_update(robot_init(1, budget=2, key=jax.random.key(0)), jnp.ones(1), jnp.array(2), jnp.array(0.9))
    >>> print(robot_exploit(state, jnp.array([[1.0, 3.0, 0.0, 2.0]]), num_picks=3))
    [2 1 3]

    Reference: as ``robot_propose``.
    """
    metrics = checks.rank(checks.floating(metrics, "metrics"), "metrics", 2, layout="[M, N]")
    if metrics.shape[0] != state.weights.shape[1]:
        raise ValueError(f"metrics must have shape [{state.weights.shape[1]}, N], got {list(metrics.shape)}")
    number = metrics.shape[1]
    if not 1 <= checks.size(num_picks, "num_picks") <= number:
        raise ValueError(f"num_picks must be at most the number of architectures {number}, got {num_picks}")
    tried = jnp.arange(state.values.shape[0]) < state.num_tried
    values = jnp.where(tried, state.values, -jnp.inf)
    last_best = values.shape[0] - 1 - jnp.argmax(values[::-1])
    scores = _scores(metrics.astype(accumulation_dtype(metrics)), state.weights[last_best])
    queried = jnp.zeros(number, bool).at[jnp.where(tried, state.indices, number)].set(True, mode="drop")
    return jnp.lexsort((-scores, ~queried))[:num_picks].astype(jnp.int32)
