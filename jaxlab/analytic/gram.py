"""Ridge regression from a stream: the Gram matrix X'X and the cross product X'Y, and solutions read off them.

Three ways to add: "plain" (float32 at the highest matrix precision, float64 where it is enabled) and "compensated"
(two float32 words per entry, so that float32 hardware reaches what the authors' float64 code reaches).
``analytic.recursive`` holds the recursive form of the same estimator.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.analytic.refine import compensated_products, refined_solve
from jaxlab.analytic.statistics import ClassStats, rebase, second_moment
from jaxlab.numerics import solve_spd
from jaxlab.numerics.exact import two_sum
from jaxlab.numerics.linear import row_products, self_product
from jaxlab.numerics.norms import state_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = [
    "GramState",
    "aggregate_least_squares",
    "class_balanced_ridge",
    "gram_forget",
    "gram_from_class_stats",
    "gram_init",
    "gram_merge",
    "gram_solve",
    "gram_update",
    "ridge_solve",
]


class GramState(NamedTuple):
    """Normal equations of a stream.

    Plain: gram = X'X and cross = X'Y, the low words are None. Compensated: a half H with H + H' = X'X is kept as the
    sum of two words, gram + gram_low, and likewise cross + cross_low = X'Y.
    """

    gram: Array  # [D, D]
    cross: Array  # [D, K]
    count: Array  # type: ignore[assignment]  # int32 []
    gram_low: Array | None = None
    cross_low: Array | None = None


def gram_init(dim: int, out: int, *, accumulate: str = "plain", dtype: DTypeLike | None = None) -> GramState:
    """Empty normal equations: the identity of ``gram_merge``.

    Args:
      dim: D >= 1, number of regressors, static.
      out: K >= 1, number of targets, static.
      accumulate: "plain", or "compensated": two float32 words, for 2 to 3 times the work and twice the memory. On
        random ReLU features of digits at condition 1e6 to 1e7 the solution is then off by 1e-7, where plain float32 is
        off by 1e-2.
      dtype: None is float32; float64 is for "plain" where 64-bit is enabled.
    Returns:
      GramState of zeros.
    Raises:
      ValueError: sizes below 1, or an unknown way to accumulate.
      TypeError: a dtype narrower than float32, or float64 with "compensated".

    >>> gram_init(3, 2).gram.shape
    (3, 3)

    Reference: Zhuang et al., "G-ACIL: Analytic Learning for Exemplar-Free Generalized Class Incremental Learning"
    (2024) in its Gram form. Checked: the same estimator as the authors' recursion.
    """
    checks.size(dim, "dim")
    checks.size(out, "out")
    checks.one_of(accumulate, "accumulate", ("plain", "compensated"))
    dtype = state_dtype(dtype)
    zeros = lambda columns: jnp.zeros((dim, columns), dtype)  # noqa: E731 - a buffer each, so that a state can be donated
    if accumulate == "plain":
        return GramState(zeros(dim), zeros(out), jnp.int32(0))
    if dtype != jnp.float32:
        raise TypeError(f'accumulate="compensated" works on float32 words, got dtype={dtype.name}: use "plain" there')
    return GramState(zeros(dim), zeros(out), jnp.int32(0), zeros(dim), zeros(out))


def regression_rows(
    x: ArrayLike,
    targets: ArrayLike,
    like: Array,
    where: ArrayLike | None,
) -> tuple[Array, Array, Array]:
    """Rows and targets for a [D, K] state like ``like``, with ignored rows zeroed, and which rows count, bool [N]."""
    (dim, out), dtype = like.shape, like.dtype
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    targets = checks.rank(checks.floating(targets, "targets"), "targets", 2, layout="[N, K]")
    if x.shape[1] != dim or targets.shape[1] != out:
        raise ValueError(
            f"x and targets must have shapes [N, {dim}] and [N, {out}] to match the state, "
            f"got {list(x.shape)} and {list(targets.shape)}"
        )
    checks.batch_match(x, "x", targets, "targets")
    checks.not_wider(x, "x", dtype)
    checks.not_wider(targets, "targets", dtype)
    mask = checks.mask(where, "where", x.shape[:1])
    mask = jnp.ones(x.shape[0], bool) if mask is None else mask
    clean = [jnp.where(mask[:, None], a.astype(dtype), 0.0) for a in (x, targets)]
    return clean[0], clean[1], mask


def gram_update(
    state: GramState,
    x: ArrayLike,
    targets: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> GramState:
    r"""Normal equations with a chunk of rows added.

    .. math:: G \leftarrow G + X^\top \operatorname{diag}(w) X, \quad Q \leftarrow Q + X^\top \operatorname{diag}(w) Y

    Args:
      state: from ``gram_init`` or an earlier update.
      x: float [N, D], no wider than the state. Chunks of about 1000 rows are fastest: the time goes into reading and
        writing the [D, D] accumulator.
      targets: float [N, K] (one-hot labels for classification).
      weights: float [N] >= 0, importance of every row; None is 1. A negative weight gives NaN. Rows are multiplied by
        its square root, rounded in the dtype of the state.
      where: bool [N], True where a row counts; the others may hold anything.
    Returns:
      GramState of the same shapes and words.
    Raises:
      ValueError: shapes do not agree.
      TypeError: x or targets are not floating point or wider than the state, where is not boolean.

    >>> state = gram_update(gram_init(1, 1), jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [1.0]]))
    >>> print(state.gram, state.cross)
    [[5.]] [[3.]]

    Reference: as ``gram_init``. The compensated form is this library's: a coarse slice of X whose products and sums are
    exact in float32, plus the remainder, added as two-float numbers.
    """
    x, targets, mask = regression_rows(x, targets, state.cross, where)
    if weights is not None:
        weights = checks.floating(weights, "weights")
        if weights.shape != x.shape[:1]:
            raise ValueError(f"weights must have shape [{x.shape[0]}], got {list(weights.shape)}")
        checks.not_wider(weights, "weights", x.dtype)
        weights = jnp.where(mask, weights.astype(x.dtype), 0.0)
        positive = weights != 0  # the gradient of the root at 0 is infinite: keep it out
        root = jnp.where(positive, jnp.sqrt(jnp.where(positive, weights, 1.0)), 0.0)[:, None]
        x, targets = x * root, targets * root
    count = state.count + jnp.sum(mask, dtype=jnp.int32)
    if state.gram_low is not None and state.cross_low is not None:
        words = compensated_products((state.gram, state.gram_low), (state.cross, state.cross_low), x, targets)
        return GramState(words[0][0], words[1][0], count, words[0][1], words[1][1])
    gram, cross = row_products(x, targets)
    return GramState(state.gram + gram, state.cross + cross, count)


def _add(a: GramState, b: GramState, sign: int) -> GramState:
    checks.same_fields(a, b)
    count = a.count + sign * b.count
    if a.gram_low is None or b.gram_low is None or a.cross_low is None or b.cross_low is None:
        return GramState(a.gram + sign * b.gram, a.cross + sign * b.cross, count)
    gram, gram_error = two_sum(a.gram, sign * b.gram)
    cross, cross_error = two_sum(a.cross, sign * b.cross)
    return GramState(
        gram, cross, count, a.gram_low + sign * b.gram_low + gram_error, a.cross_low + sign * b.cross_low + cross_error
    )


def gram_merge(a: GramState, b: GramState) -> GramState:
    """Normal equations of both streams together.

    Args:
      a: normal equations of one stream.
      b: normal equations of another, made with the same sizes, ``accumulate`` and dtype.
    Returns:
      GramState.
    Raises:
      ValueError: sizes or ``accumulate`` differ.
      TypeError: dtypes differ.

    >>> one = gram_update(gram_init(1, 1), jnp.ones((2, 1)), jnp.ones((2, 1)))
    >>> print(gram_merge(one, one).gram)
    [[4.]]

    Reference: standard.
    """
    return _add(a, b, 1)


def gram_forget(a: GramState, b: GramState) -> GramState:
    """Normal equations of a's stream without b's rows: exact unlearning by subtraction.

    Args:
      a: normal equations of a stream.
      b: normal equations of rows that are part of it.
    Returns:
      GramState, equal to that of the remaining rows up to rounding.
    Raises:
      ValueError: sizes or ``accumulate`` differ.
      TypeError: dtypes differ.

    >>> one = gram_update(gram_init(1, 1), jnp.ones((2, 1)), jnp.ones((2, 1)))
    >>> print(gram_forget(gram_merge(one, one), one).gram)
    [[2.]]

    Reference: the inverse of ``gram_merge``.
    """
    return _add(a, b, -1)


def gram_from_class_stats(stats: ClassStats) -> GramState:
    """Normal equations of the one-hot regression, read off class statistics: one pass serves ridge as well.

    Args:
      stats: class statistics that keep "shared" or "full".
    Returns:
      GramState (plain) with K = C targets. A nonzero shift is undone here, which costs the digits that it saved.
    Raises:
      ValueError: the statistics keep neither "shared" nor "full".

    >>> from jaxlab.analytic import class_stats_init, class_stats_update
    >>> stats = class_stats_init(2, 1, second="shared")
    >>> stats = class_stats_update(stats, jnp.array([[1.0], [2.0]]), jnp.array([0, 1]))
    >>> print(gram_from_class_stats(stats).cross)
    [[1. 2.]]

    Reference: standard.
    """
    raw = rebase(stats, jnp.zeros_like(stats.shift))
    return GramState(second_moment(raw), raw.sum.T, jnp.sum(raw.count))


def ridge_solve(gram: ArrayLike, cross: ArrayLike, *, ridge: ArrayLike, prior: ArrayLike | None = None) -> Array:
    r"""Ridge regression from its normal equations.

    .. math:: W = (G + \gamma I)^{-1} (Q + \gamma W_0)

    Args:
      gram: float [D, D], X'X.
      cross: float [D, K], X'Y.
      ridge: gamma > 0 (absolute, not divided by the number of rows); a float or a scalar array.
      prior: float [D, K], the weight W_0 towards which the ridge pulls; None is zero.
    Returns:
      float32 or wider [D, K].
    Raises:
      ValueError: shapes do not agree, or a static ridge <= 0.
      TypeError: an array is not floating point.

    >>> print(ridge_solve(3 * jnp.eye(2), jnp.array([[4.0], [8.0]]), ridge=1.0)[:, 0])
    [1. 2.]

    Reference: as ``gram_init``; its default is gamma = 0.1.
    """
    gram = checks.rank(checks.floating(gram, "gram"), "gram", 2, layout="[D, D]")
    cross = checks.rank(checks.floating(cross, "cross"), "cross", 2, layout="[D, K]")
    if gram.shape[0] != gram.shape[1]:
        raise ValueError(f"gram must have shape [D, D], got {list(gram.shape)}")
    if cross.shape[0] != gram.shape[0]:
        raise ValueError(f"cross must have shape [{gram.shape[0]}, K] to match gram, got {list(cross.shape)}")
    checks.positive(ridge, "ridge")
    if prior is not None:
        prior = checks.floating(prior, "prior")
        checks.same_shape(prior, "prior", cross, "cross")
        cross = cross + ridge * prior
    return solve_spd(gram, cross, ridge=ridge)


def gram_solve(
    state: GramState, *, ridge: ArrayLike = 0.1, prior: ArrayLike | None = None, num_refinements: int = 8
) -> Array:
    r"""Ridge regression of the stream so far.

    .. math:: W = (X^\top X + \gamma I)^{-1} (X^\top Y + \gamma W_0)

    Args:
      state: normal equations; a class that has not appeared is a zero column, which is exact.
      ridge: gamma > 0 (absolute); a float or a scalar array.
      prior: float [D, K], W_0; None is zero.
      num_refinements: steps of iterative refinement against the two-word matrix, for compensated states only, >= 0. A
        step contracts the error a hundredfold at condition 1e6 and about fivefold at 1e7; where steps grow instead
        (beyond about 4e7) it stops.
    Returns:
      [D, K] in the dtype of the state; NaN where the factorisation breaks down (ridge far below rounding of X'X).
    Raises:
      ValueError: a static ridge <= 0, or prior of another shape.

    >>> state = gram_update(gram_init(1, 1), jnp.array([[1.0], [2.0]]), jnp.array([[1.0], [2.0]]))
    >>> print(gram_solve(state, ridge=5.0))
    [[0.5]]

    Reference: as ``gram_init``. Checked; equal to scikit-learn's Ridge(alpha=gamma, fit_intercept=False).
    """
    checks.positive(ridge, "ridge")
    checks.size(num_refinements, "num_refinements", 0)
    if state.gram_low is None or state.cross_low is None:
        return ridge_solve(state.gram, state.cross, ridge=ridge, prior=prior)
    if prior is not None:
        prior = checks.floating(prior, "prior").astype(jnp.float32)
        checks.same_shape(prior, "prior", state.cross, "cross")
    ridge = jnp.asarray(ridge, jnp.float32)
    return refined_solve(
        (state.gram, state.gram_low),
        (state.cross, state.cross_low),
        ridge=ridge,
        prior=prior,
        num_refinements=num_refinements,
    )


def class_balanced_ridge(stats: ClassStats, *, ridge: ArrayLike = 0.1) -> Array:
    r"""Ridge regression in which every seen class weighs the same.

    .. math:: W = \Big(\sum_c w_c A_c + \gamma I\Big)^{-1} V \operatorname{diag}(w),
              \quad w_c = \frac{1 / n_c}{\sum_k 1 / n_k} C_{seen}

    Args:
      stats: class statistics that keep "full" (C D^2 floats), moments about any shift.
      ridge: gamma > 0 (absolute); a float or a scalar array.
    Returns:
      [D, C] in the dtype of the state; a class without rows is a zero column.
    Raises:
      ValueError: the statistics do not keep "full", or a static ridge <= 0.

    >>> from jaxlab.analytic import class_stats_init, class_stats_update
    >>> stats = class_stats_init(2, 1, second="full")
    >>> stats = class_stats_update(stats, jnp.array([[1.0], [1.0], [-1.0]]), jnp.array([0, 0, 1]))
    >>> print(f"{class_balanced_ridge(stats, ridge=2.0)[0, 0]:.4f}")
    0.2857

    Reference: the class-balanced member (AIR) of the G-ACIL authors' repository: weights 1 / n_c rescaled to sum to the
    number of classes, 0 for an empty class. Checked against the authors' code.
    """
    checks.positive(ridge, "ridge")
    if stats.full is None:
        raise ValueError('class_balanced_ridge needs class_stats_init(..., second="full")')
    raw = rebase(stats, jnp.zeros_like(stats.shift))
    assert raw.full is not None
    seen = raw.count > 0
    weight = jnp.where(seen, 1.0 / jnp.maximum(raw.count, 1).astype(raw.sum.dtype), 0.0)
    weight = weight * jnp.sum(seen) / jnp.where(jnp.any(seen), jnp.sum(weight), 1.0)
    with jax.default_matmul_precision("highest"):
        gram = jnp.tensordot(weight, raw.full, axes=1)
    return ridge_solve(gram, raw.sum.T * weight, ridge=ridge)


def aggregate_least_squares(
    x: ArrayLike, bag_targets: ArrayLike, *, rho: ArrayLike, ridge: ArrayLike = 0.0, where: ArrayLike | None = None
) -> Array:
    r"""Linear regression from mean responses of bags: the minimum of ``losses.interpolated_bag_loss``.

    .. math:: \theta = \Big(\frac{\bar X^\top \bar X}{m} + \rho \frac{C^\top C}{mk} + \gamma I\Big)^{-1}
              \frac{\bar X^\top \bar y}{m}

    with the bags' means in the rows of X-bar and the members' distances from them in those of C. rho = 1 is least
    squares of everybody at the bag's mean response; rho = 0 needs D bags or a ridge.

    Args:
      x: float [M, K, D], members of M bags.
      bag_targets: float [M], mean responses.
      rho: in [0, 1], weight of the instance loss; a float or a scalar array.
      ridge: gamma >= 0, absolute; a float or a scalar array.
      where: bool [M, K], True where a member is there; empty bags do not count.
    Returns:
      float32 or wider [D]; NaN where the matrix is singular.
    Raises:
      ValueError: shapes do not agree, a static rho outside [0, 1], or a static ridge < 0.
      TypeError: x or bag_targets are not floating point, or where is not boolean.

    >>> bag, mean = jnp.array([[[1.0], [3.0]]]), jnp.array([4.0])
    >>> [f"{aggregate_least_squares(bag, mean, rho=rho)[0]:.4f}" for rho in (0.0, 1.0)]
    ['2.0000', '1.6000']

    Reference: Javanmard et al., "Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions"
    (2024). The estimator recalled, its closed form derived.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 3, layout="[M, K, D]")
    targets = checks.rank(checks.floating(bag_targets, "bag_targets"), "bag_targets", 1, layout="[M]")
    checks.batch_match(x, "x", targets, "bag_targets")
    checks.in_range(rho, "rho", 0, 1)
    checks.at_least(ridge, "ridge", 0)
    mask = checks.mask(where, "where", x.shape[:2])
    here = jnp.ones(x.shape[:2], bool) if mask is None else mask
    members = jnp.sum(here, axis=1)
    dtype = jnp.promote_types(jnp.float32, jnp.promote_types(x.dtype, targets.dtype))
    rows, some = jnp.where(here[..., None], x.astype(dtype), 0.0), members > 0
    means = jnp.sum(rows, axis=1) / jnp.maximum(members, 1)[:, None]
    apart = jnp.where(here[..., None], rows - means[:, None], 0.0) / jnp.sqrt(jnp.maximum(members, 1))[:, None, None]
    y, bags = jnp.where(some, targets.astype(dtype), 0.0)[:, None], jnp.maximum(jnp.sum(some), 1)
    between, cross = row_products(means, y)
    within = self_product(apart.reshape(-1, x.shape[2]))
    return solve_spd((between + jnp.asarray(rho, dtype) * within) / bags, cross / bags, ridge=ridge)[:, 0]
