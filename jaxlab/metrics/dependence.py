"""How far distributions lie apart, and how strongly variables depend on each other."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "distance_correlation",
    "distance_covariance",
    "group_histogram",
    "jensen_shannon_divergence",
    "pairwise_mutual_information",
]

# Up to this width the differences themselves are cheaper than a product of matrices, and exact.
NARROW = 4


def jensen_shannon_divergence(log_probs: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Generalised Jensen-Shannon divergence of several distributions, in nats (0 where they are equal).

    .. math:: \mathrm{JS} = H\Big(\sum_m w_m p_m\Big) - \sum_m w_m H(p_m)

    Args:
      log_probs: float [M, ..., K], logarithms of M distributions that sum to 1; -inf is a probability of 0.
      weights: float [M], >= 0, scaled to sum 1; None weighs all the same.
    Returns:
      float32 or wider [...], in [0, H(w)], at most log M; NaN where the weights sum to 0.
    Raises:
      ValueError: fewer than two axes, or weights are not [M].
      TypeError: log_probs or weights are not floating point.

    >>> print(jensen_shannon_divergence(jnp.log(jnp.array([[1.0, 0.0], [0.0, 1.0]]))).round(4))
    0.6931

    Reference: Lin, "Divergence measures based on the Shannon entropy" (1991). Standard.
    """
    log_probs = checks.floating(log_probs, "log_probs")
    if log_probs.ndim < 2:
        raise ValueError(f"log_probs must have shape [M, ..., K], got {list(log_probs.shape)}")
    logs = log_probs.astype(accumulation_dtype(log_probs))
    shares = jnp.ones(logs.shape[0], logs.dtype) if weights is None else checks.floating(weights, "weights")
    if shares.shape != logs.shape[:1]:
        raise ValueError(f"weights must have shape [{logs.shape[0]}], got {list(shares.shape)}")
    shares = (shares / jnp.sum(shares)).astype(logs.dtype).reshape((-1,) + (1,) * (logs.ndim - 1))
    # A member of weight 0 may hold anything.
    logs = jnp.where(shares > 0, logs, 0.0)
    some = logs > -jnp.inf
    safe = jnp.where(some, logs, 0.0)
    probs = jnp.where(some, jnp.exp(safe), 0.0)
    mixed = jnp.sum(shares * probs, axis=0)
    within = jnp.sum(shares * probs * safe, axis=0)
    gap = jnp.sum(jax.scipy.special.entr(mixed) + within, axis=-1)
    return jnp.where(jnp.isnan(gap), gap, jnp.maximum(gap, 0.0))


def distance_covariance(
    x: ArrayLike,
    y: ArrayLike,
    *,
    unbiased: bool = False,
    exponent: ArrayLike = 1.0,
    weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
    block: int | None = None,
) -> Array:
    r"""Squared distance covariance of paired samples (0 where they are independent, larger is more dependent).

    .. math:: \mathrm{dCov}^2 = \sum_{kl} w_k w_l\, \tilde A_{kl} \tilde B_{kl}, \qquad
              \tilde A_{kl} = A_{kl} - \bar A_{k\cdot} - \bar A_{\cdot l} + \bar A_{\cdot\cdot},
              \quad A_{kl} = \|x_k - x_l\|^\alpha

    with weights 1 / n and B the same of y. The unbiased form centres as ``kernels.double_center(unbiased=True)`` and
    divides by n (n - 3). Linear covariance is blind to most forms of dependence; this is not, for exponents below 2.

    Args:
      x: float [N, P].
      y: float [N, Q], paired with x.
      unbiased: static. The plain form is never negative, but above 0 for independent samples, the more so the fewer
        there are. The unbiased one is 0 on average and may be negative.
      exponent: alpha in (0, 2]; with 2 it is the squared norm of the linear cross-covariance times 4.
      weights: float [N] >= 0, scaled to sum 1; not for the unbiased form. NaN where they sum to 0.
      where: bool [N], True where a pair counts.
      block: rows of the N x N distances that exist at one time, static; None keeps all of them. With a block the memory
        is linear in N, of the gradient too, and every distance is computed twice.
    Returns:
      float32 (wider if an input is) scalar; 0 for no pair, and unbiased for fewer than four. The gradient is finite
      where rows coincide.
    Raises:
      ValueError: shapes do not agree, a static exponent outside (0, 2], weights in the unbiased form, or block < 1.
      TypeError: x, y or weights are not floating point, or where is not boolean.

    >>> x = jnp.array([[0.0], [1.0]])
    >>> print(distance_covariance(x, x))
    0.25

    Reference: Szekely, Rizzo and Bakirov, "Measuring and testing dependence by correlation of distances" (2007), and
    Szekely and Rizzo (2014) for the unbiased form. Standard.
    """
    checks.in_range(checks.positive(exponent, "exponent"), "exponent", 0.0, 2.0)
    return centered_sum(
        _first_two, (x, y), ("x", "y"), unbiased=unbiased, exponent=exponent, weights=weights, where=where, block=block
    )


def distance_correlation(
    x: ArrayLike,
    y: ArrayLike,
    *,
    unbiased: bool = False,
    exponent: ArrayLike = 1.0,
    weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
    block: int | None = None,
) -> Array:
    r"""Squared distance correlation of paired samples (0 where they are independent, 1 where one is the other).

    .. math:: \mathrm{dCor}^2 = \frac{\mathrm{dCov}^2(X, Y)}{\sqrt{\mathrm{dCov}^2(X, X)\, \mathrm{dCov}^2(Y, Y)}}

    Args:
      x: float [N, P].
      y: float [N, Q], paired with x.
      unbiased: static; then it may be negative.
      exponent: in (0, 2].
      weights: float [N] >= 0; not for the unbiased form.
      where: bool [N], True where a pair counts.
      block: as in ``distance_covariance``.
    Returns:
      float32 (wider if an input is) scalar in [0, 1], unbiased in [-1, 1]; 0 where x or y does not vary. It does not
      change where x or y is moved, scaled or rotated.
    Raises:
      ValueError: as ``distance_covariance``.
      TypeError: as ``distance_covariance``.

    >>> x = jnp.array([[-1.0], [0.0], [1.0], [2.0]])
    >>> print(distance_correlation(x, 3.0 - 2.0 * x).round(4))
    1.0

    Reference: as ``distance_covariance``. Standard.
    """
    checks.in_range(checks.positive(exponent, "exponent"), "exponent", 0.0, 2.0)
    both, first, second = centered_sum(
        _squares, (x, y), ("x", "y"), unbiased=unbiased, exponent=exponent, weights=weights, where=where, block=block
    )
    varies = (first > 0) & (second > 0)
    # One root each: the product of two small numbers may be zero.
    norm = jnp.sqrt(jnp.where(varies, first, 1.0)) * jnp.sqrt(jnp.where(varies, second, 1.0))
    return jnp.clip(jnp.where(varies, both, 0.0) / norm, -1.0, 1.0)


def group_histogram(
    predictions: ArrayLike,
    groups: ArrayLike,
    *,
    num_groups: int,
    bins: int,
    low: ArrayLike = 0.0,
    high: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Share of each group's predictions that falls into each of some equally wide bins.

    .. math:: h_{gb} = \frac{1}{n_g} \#\{i : g_i = g,\ p_i \in \text{bin } b\}

    Its logarithm is what ``jensen_shannon_divergence`` takes: 0 then means that all groups are predicted alike.

    Args:
      predictions: float [N].
      groups: int [N]; rows of a group outside [0, num_groups) are left out.
      num_groups: G, static.
      bins: B, static.
      low: where the first bin begins; a number below it is in the first bin.
      high: where the last bin ends, > low; a number at or above it is in the last bin.
      where: bool [N], True where a prediction counts; NaN counts nowhere.
    Returns:
      float32 (wider if predictions are) [G, B], every row sums to 1, or is 0 for a group without predictions. No
      gradient.
    Raises:
      ValueError: shapes do not agree, a size is below 1, or static numbers with low >= high.
      TypeError: predictions are not floating point, groups not integers, or where not boolean.

    >>> print(group_histogram(jnp.array([0.1, 0.9, 0.8]), jnp.array([0, 0, 1]), num_groups=2, bins=2))
    [[0.5 0.5]
     [0.  1. ]]

    Reference: standard.
    """
    values = checks.rank(checks.floating(predictions, "predictions"), "predictions", 1, layout="[N]")
    groups = checks.rank(checks.integer(groups, "groups"), "groups", 1, layout="[N]")
    checks.same_shape(values, "predictions", groups, "groups")
    checks.size(num_groups, "num_groups")
    checks.size(bins, "bins")
    if checks.is_static(low) and checks.is_static(high) and not low < high:
        raise ValueError(f"low must be below high, got {low!r} and {high!r}")
    mask = checks.mask(where, "where", values.shape)
    dtype = accumulation_dtype(values)
    counts = ~jnp.isnan(values) & (groups >= 0) & (groups < num_groups)
    counts = counts if mask is None else counts & mask
    place = (jnp.where(counts, values.astype(dtype), 0.0) - low) / (jnp.asarray(high, dtype) - low)
    place = jnp.clip(jnp.floor(jnp.clip(place, 0.0, 1.0) * bins).astype(jnp.int32), 0, bins - 1)
    cell = jnp.where(counts, groups * bins + place, num_groups * bins)
    table = jnp.bincount(cell, length=num_groups * bins + 1)[:-1].reshape(num_groups, bins).astype(dtype)
    return table / jnp.maximum(jnp.sum(table, axis=1, keepdims=True), 1.0)


def centered_sum(
    fn: Callable[..., Any],
    arrays: Sequence[ArrayLike],
    names: Sequence[str],
    *,
    unbiased: bool = False,
    exponent: ArrayLike = 1.0,
    weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
    block: int | None = None,
) -> Any:
    """The weighted sum over all pairs of rows of a function of their centred distances, one per array.

    ``fn`` is a function of a module, elementwise, from a matrix per array to a pytree; the other arguments are those
    of ``distance_covariance``.
    """
    rows = [
        checks.rank(checks.floating(x, name), name, 2, layout="[N, P]") for x, name in zip(arrays, names, strict=True)
    ]
    for other, name in zip(rows[1:], names[1:], strict=True):
        checks.batch_match(rows[0], names[0], other, name)
    mask = checks.mask(where, "where", rows[0].shape[:1])
    if block is not None:
        checks.size(block, "block")
    counts = jnp.ones(rows[0].shape[0], bool) if mask is None else mask
    dtype = accumulation_dtype(*rows)
    if weights is None:
        mass = counts.astype(dtype)
        share = mass / jnp.maximum(jnp.sum(mass), 1.0)
    else:
        if unbiased:
            raise ValueError("weights must be None in the unbiased form, got an array: leave rows out by where")
        mass = checks.floating(weights, "weights")
        if mass.shape != counts.shape:
            raise ValueError(f"weights must have shape {list(counts.shape)}, got {list(mass.shape)}")
        mass = jnp.where(counts, mass.astype(dtype), 0.0)
        share = mass / jnp.sum(mass)
    clean = [jnp.where(counts[:, None], x.astype(dtype), 0.0) for x in rows]
    power = None if checks.is_static(exponent) and exponent == 1 else jnp.asarray(exponent, dtype)
    return _centered_sum(fn, clean, share, power, unbiased=bool(unbiased), block=block)


@functools.partial(jax.jit, static_argnames=("fn", "unbiased", "block"))
def _centered_sum(
    fn: Callable[..., Any],
    arrays: Sequence[Array],
    share: Array,
    power: Array | None,
    *,
    unbiased: bool,
    block: int | None,
) -> Any:
    size = share.shape[0]
    index, num = jnp.arange(size), jnp.sum(share > 0)
    # In the unbiased form every row that counts has the share 1 / n; its sums are divided by less.
    side = num / jnp.maximum(num - 2, 1) if unbiased else 1.0
    whole = num / jnp.maximum(num - 1, 1) if unbiased else 1.0
    scale = jnp.where(num > 3, num / jnp.maximum(num - 3, 1), 0) if unbiased else 1.0

    def apart(part: Array, rows: Sequence[Array]) -> list[Array]:
        """Of every array the distances of some rows."""
        return [_distances(x, row, part, power) for x, row in zip(arrays, rows, strict=True)]

    def means(distances: Sequence[Array]) -> list[Array]:
        return [side * jnp.matmul(matrix, share, precision="highest") for matrix in distances]

    def total(
        part: Array, distances: Sequence[Array], own: Sequence[Array], mass: Array, every: Sequence[Array]
    ) -> Any:
        """Of every leaf of fn, the sum over some rows."""
        centered = [
            matrix - mean[:, None] - others + whole * jnp.sum(others * share)
            for matrix, mean, others in zip(distances, own, every, strict=True)
        ]
        leaves = fn(*centered)
        if unbiased:
            leaves = jax.tree.map(lambda leaf: jnp.where(part[:, None] == index, 0.0, leaf), leaves)
        return jax.tree.map(lambda leaf: jnp.sum(mass * jnp.sum(leaf * share, axis=1)), leaves)

    if block is None or block >= size:
        distances = apart(index, arrays)
        every = means(distances)
        sums = total(index, distances, every, share, every)
        return jax.tree.map(lambda leaf: scale * leaf, sums)

    def split(x: Array) -> Array:
        padding = [(0, -size % block)] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(-1, block, *x.shape[1:])

    # Nothing of a block is kept for its gradient: it is computed once more.
    parts, pieces = split(index), [split(x) for x in arrays]
    found = jax.lax.map(jax.checkpoint(lambda item: means(apart(*item))), (parts, pieces))
    every = [mean.reshape(-1)[:size] for mean in found]
    own, mass = [split(mean) for mean in every], split(share)

    @jax.checkpoint
    def one_part(item: tuple[Array, list[Array], list[Array], Array]) -> Any:
        part, rows, own, mass = item
        return total(part, apart(part, rows), own, mass, every)

    sums = jax.lax.map(one_part, (parts, pieces, own, mass))
    return jax.tree.map(lambda leaf: scale * jnp.sum(leaf), sums)


def _distances(x: Array, rows: Array, index: Array, power: Array | None) -> Array:
    """Distances [B, N] of some rows, whose numbers are given, from all rows."""
    if x.shape[1] <= NARROW:
        squares = sum((jnp.square(rows[:, None, d] - x[:, d]) for d in range(x.shape[1])), jnp.zeros((), x.dtype))
        squares = jnp.broadcast_to(squares, (rows.shape[0], x.shape[0]))
    elif rows is x:
        squares = pairwise_sq_dists(x)
    else:
        squares = jnp.where(index[:, None] == jnp.arange(x.shape[0]), 0.0, pairwise_sq_dists(rows, x))
    apart = squares > 0
    safe = jnp.where(apart, squares, 1.0)
    return jnp.where(apart, jnp.sqrt(safe) if power is None else safe ** (0.5 * power), 0.0)


def _first_two(a: Array, b: Array) -> Array:
    return a * b


def _squares(a: Array, b: Array) -> tuple[Array, Array, Array]:
    return a * b, a * a, b * b


def pairwise_mutual_information(
    x: ArrayLike, *, num_values: int, alpha: ArrayLike = 1.0, where: ArrayLike | None = None
) -> Array:
    r"""Mutual information of all pairs of discrete columns, in nats.

    .. math:: I_{ij} = \sum_{u, v} p_{ij}(u, v) \log \frac{p_{ij}(u, v)}{p_i(u)\, p_j(v)},
              \qquad p_{ij}(u, v) = \frac{n_{ij}(u, v) + \alpha / V^2}{n + \alpha}

    Args:
      x: int [N, D]; a row with a value outside [0, num_values) is left out.
      num_values: V, static.
      alpha: pseudo-counts, >= 0, shared by the V^2 pairs of values; marginals are those of the smoothed pairs.
      where: bool [N], True where a row counts.
    Returns:
      float32 [D, D], symmetric, >= 0; the entropies on the diagonal. All 0 if nothing counts and alpha = 0. Memory for
      N D V and D V^2 numbers.
    Raises:
      ValueError: x is not [N, D], num_values < 1, a static alpha < 0, or where is not [N].
      TypeError: x does not hold integers, or where is not boolean.

    >>> x = jnp.array([[0, 0], [0, 0], [1, 1], [1, 1]])
    >>> print(pairwise_mutual_information(x, num_values=2, alpha=0.0)[0, 1].round(4))
    0.6931

    Reference: the weights of Chow and Liu, "Approximating discrete probability distributions with dependence trees"
    (1968). Standard.
    """
    x = checks.rank(checks.integer(x, "x"), "x", 2, layout="[N, D]")
    checks.size(num_values, "num_values")
    checks.at_least(alpha, "alpha", 0.0)
    mask = checks.mask(where, "where", x.shape[:1])
    counts = jnp.all((x >= 0) & (x < num_values), axis=1)
    counts = counts if mask is None else counts & mask
    marks = jax.nn.one_hot(x, num_values, dtype=jnp.float32) * counts[:, None, None]
    total = jnp.sum(counts) + alpha
    total = jnp.where(total > 0, total, 1.0)

    def one(column: Array) -> Array:
        pairs = jnp.einsum("nu,njv->juv", column, marks, precision="highest")
        joint = (pairs + alpha / num_values**2) / total
        outer = jnp.sum(joint, axis=2, keepdims=True) * jnp.sum(joint, axis=1, keepdims=True)
        some = joint > 0
        ratio = jnp.log(jnp.where(some, joint, 1.0)) - jnp.log(jnp.where(some, outer, 1.0))
        return jnp.sum(jnp.where(some, joint * ratio, 0.0), axis=(1, 2))

    information = jax.lax.map(one, jnp.moveaxis(marks, 1, 0))
    own = (jnp.sum(marks, axis=0) + alpha / num_values) / total
    entropies = jnp.sum(jax.scipy.special.entr(own), axis=1)
    even = 0.5 * (information + information.T)
    return jnp.where(jnp.eye(x.shape[1], dtype=bool), entropies, jnp.maximum(even, 0.0))
