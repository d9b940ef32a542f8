"""Predictors that are linear in the training targets: effective parameters; and nats of inductive bias from errors."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, masked_mean, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "ScaledNcx2",
    "boosting_smoother",
    "effective_parameters",
    "inductive_bias_from_errors",
    "ncx2_log_cdf_approx",
    "scaled_ncx2_fit_moments",
    "smoother_from_leaves",
    "smoother_trace",
]

SERIES = 12  # terms of a logarithm's series within a tenth of its centre


def effective_parameters(smoother: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Effective parameters that a linear smoother spends on a set of inputs (fewer is smoother).

    .. math:: p = \frac{n}{|I|} \sum_{x \in I} \|s(x)\|_2^2, \qquad f(x) = s(x)^\top y

    The inputs may be those trained on or new ones: a forest spends almost n on the former and few on the latter. The
    mean of the targets has 1, the k nearest neighbours n / k, what interpolates has n on its training inputs.

    Args:
      smoother: float [..., M, N], row s(x) of every input: the weights of N training targets.
      where: bool [M], or with the leading axes, True where an input counts.
    Returns:
      float32 or wider [...], >= 0; 0 if nothing counts.
    Raises:
      ValueError: fewer than two axes, or where does not broadcast.
      TypeError: smoother is not floating point, or where is not boolean.

    >>> print(effective_parameters(jnp.full((3, 4), 0.25)))
    1.0

    Reference: Curth, Jeffares and van der Schaar, "Why do Random Forests Work? Understanding Tree Ensembles as
    Self-Regularizing Adaptive Smoothers" (2024). Checked against the authors' code.
    """
    smoother = checks.floating(smoother, "smoother")
    if smoother.ndim < 2:
        raise ValueError(f"smoother must have shape [..., M, N], got {list(smoother.shape)}")
    counts = checks.broadcast_mask(where, "where", smoother.shape[:-1])
    rows = jnp.where(counts[..., None], smoother.astype(accumulation_dtype(smoother)), 0.0)
    return smoother.shape[-1] * masked_mean(jnp.sum(rows**2, axis=-1), counts, axis=-1)


def smoother_trace(smoother: ArrayLike) -> Array:
    r"""The classical effective degrees of freedom of a linear smoother on its own training inputs.

    .. math:: \operatorname{tr} S

    For a projection (least squares) this and ``effective_parameters`` are its rank.

    Args:
      smoother: float [..., N, N].
    Returns:
      float32 or wider [...].
    Raises:
      ValueError: smoother is not square.
      TypeError: smoother is not floating point.

    >>> print(smoother_trace(jnp.eye(3)))
    3.0

    Reference: standard.
    """
    smoother = checks.floating(smoother, "smoother")
    if smoother.ndim < 2 or smoother.shape[-1] != smoother.shape[-2]:
        raise ValueError(f"smoother must have shape [..., N, N], got {list(smoother.shape)}")
    return jnp.trace(smoother.astype(accumulation_dtype(smoother)), axis1=-2, axis2=-1)


def _leaves(query_leaves: ArrayLike, train_leaves: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array]:
    query = checks.rank(checks.integer(query_leaves, "query_leaves"), "query_leaves", 2, layout="[T, M]")
    train = checks.rank(checks.integer(train_leaves, "train_leaves"), "train_leaves", 2, layout="[T, N]")
    checks.batch_match(query, "query_leaves", train, "train_leaves")
    given = jnp.ones(train.shape, jnp.float32) if weights is None else checks.floating(weights, "weights")
    checks.same_shape(given, "weights", train, "train_leaves")
    return query, train, given.astype(accumulation_dtype(given))


def _tree(query: Array, train: Array, weights: Array) -> Array:
    """[M, N], the smoother of one tree; a row of 0 where no training row of weight shares the leaf."""
    shared = jnp.where(query[:, None] == train, weights, 0.0)
    total = jnp.sum(shared, axis=-1, keepdims=True)
    return shared / jnp.where(total > 0, total, 1.0)


def smoother_from_leaves(
    query_leaves: ArrayLike, train_leaves: ArrayLike, *, weights: ArrayLike | None = None
) -> Array:
    r"""The weights that a forest's prediction gives to the training targets, from the leaves that rows fall into.

    .. math:: s_i(x) = \frac1T \sum_t \frac{w_{ti} \, [\ell_t(x) = \ell_t(x_i)]}
              {\sum_j w_{tj} \, [\ell_t(x) = \ell_t(x_j)]}

    One tree after the other, so that memory does not grow with their number.

    Args:
      query_leaves: int [T, M], leaf of every query in every tree (scikit-learn: ``forest.apply(x).T``).
      train_leaves: int [T, N], leaf of every training row.
      weights: float [T, N], >= 0, how often a tree's bootstrap sample holds a row; None counts every row once.
    Returns:
      float32 or wider [M, N]; rows sum to 1. A tree in whose leaf no weight is left (such as one that is masked by
      weights of 0) does not take part; 0 where that is so for all.
    Raises:
      ValueError: shapes do not agree.
      TypeError: leaves are not integers, or weights are not floating point.

    >>> print(smoother_from_leaves(jnp.array([[0], [1]]), jnp.array([[0, 0, 1], [0, 1, 1]])))
    [[0.25 0.5  0.25]]

    Reference: Curth, Jeffares and van der Schaar, "Why do Random Forests Work? Understanding Tree Ensembles as
    Self-Regularizing Adaptive Smoothers" (2024). Checked against the authors' code.
    """
    query, train, weights = _leaves(query_leaves, train_leaves, weights)

    def add(total: Array, tree: tuple[Array, Array, Array]) -> tuple[Array, None]:
        return total + _tree(*tree), None

    zeros = jnp.zeros((query.shape[1], train.shape[1]), weights.dtype)
    summed, _ = jax.lax.scan(add, zeros, (query, train, weights))
    total = jnp.sum(summed, axis=-1, keepdims=True)
    return summed / jnp.where(total > 0, total, 1.0)


def boosting_smoother(
    query_leaves: ArrayLike,
    train_leaves: ArrayLike,
    *,
    learning_rate: ArrayLike,
    weights: ArrayLike | None = None,
) -> tuple[Array, Array]:
    r"""The weights that gradient boosting of squared loss gives to the training targets.

    .. math:: S \leftarrow S + \eta \, A_t \, (I - S^{\text{train}}),
              \quad A_t(x, x_i) = \frac{w_{ti} \, [\ell_t(x) = \ell_t(x_i)]}{\sum_j w_{tj} \, [\ell_t(x) = \ell_t(x_j)]}

    from S = 0, which is a start at 0 (scikit-learn: ``init="zero"``).

    Args:
      query_leaves: int [T, M], leaf of every query in every tree, in the order of boosting.
      train_leaves: int [T, N], leaf of every training row.
      learning_rate: eta, a float or an array of no axes.
      weights: float [T, N], >= 0, rows that a tree was fitted to; None counts every row once. A tree of weights 0 adds
        nothing.
    Returns:
      (of the queries [M, N], of the training rows [N, N]), float32 or wider.
    Raises:
      ValueError: shapes do not agree.
      TypeError: leaves are not integers, or weights are not floating point.

    >>> query, train = boosting_smoother(jnp.zeros((2, 1), int), jnp.zeros((2, 2), int), learning_rate=0.5)
    >>> print(query)
    [[0.375 0.375]]

    Reference: Curth, Jeffares and van der Schaar, "Why do Random Forests Work? Understanding Tree Ensembles as
    Self-Regularizing Adaptive Smoothers" (2024). Checked against the authors' code.
    """
    query, train, weights = _leaves(query_leaves, train_leaves, weights)
    rate = jnp.asarray(learning_rate, weights.dtype)
    if rate.ndim:
        raise ValueError(f"learning_rate must be a number, got an array {list(rate.shape)}")
    eye = jnp.eye(train.shape[1], dtype=weights.dtype)

    def add(state: tuple[Array, Array], tree: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        of_query, of_train = state
        query, train, weights = tree
        rest = rate * (eye - of_train)
        step = [jnp.matmul(_tree(rows, train, weights), rest, precision="highest") for rows in (query, train)]
        return (of_query + step[0], of_train + step[1]), None

    start = (jnp.zeros((query.shape[1], train.shape[1]), weights.dtype), jnp.zeros_like(eye))
    return jax.lax.scan(add, start, (query, train, weights))[0]


class ScaledNcx2(NamedTuple):
    """``scale`` times a noncentral chi-square with ``df`` degrees of freedom and noncentrality ``nc``."""

    df: Array
    nc: Array
    scale: Array


def scaled_ncx2_fit_moments(errors: ArrayLike) -> ScaledNcx2:
    r"""A scaled noncentral chi-square with the mean, the variance and, where it can, the skewness of a sample.

    .. math:: k_1 = s (d + \lambda), \quad k_2 = 2 s^2 (d + 2 \lambda), \quad k_3 = 8 s^3 (d + 3 \lambda),
              \qquad s = \frac{k_2}{2 k_1} \Big( 1 - \sqrt{1 - \tfrac{k_1 k_3}{2 k_2^2}} \Big)

    The family reaches values of :math:`k_1 k_3 / (2 k_2^2)` in [3/4, 1]; a sample beyond is fitted by the end that is
    nearer: at 1 the central distribution, at 3/4 the one without degrees of freedom.

    Args:
      errors: float [..., S], positive.
    Returns:
      ScaledNcx2 of float32 or wider [...], df and nc >= 0. Errors that are all the same (to 1e-6) give scale 0, and NaN
      for the others.
    Raises:
      ValueError: errors have no axis.
      TypeError: errors are not floating point.

    >>> fit = scaled_ncx2_fit_moments(jnp.array([1.0] * 9 + [11.0]))
    >>> print(f"{fit.df:.3f} {fit.nc:.3f} {fit.scale:.3f}")
    0.667 0.667 1.500

    Reference: the start of the fit of Boopathy et al., "Towards Exact Computation of Inductive Bias" (2024), whose code
    maximises the likelihood by ``scipy.stats.ncx2.fit(errors, floc=0)``. Inferred.
    """
    errors = checks.floating(errors, "errors")
    if not errors.ndim:
        raise ValueError("errors must have shape [..., S], got a number")
    wide = errors.astype(accumulation_dtype(errors))
    mean = jnp.mean(wide, axis=-1)
    # In units of the mean: cubes of small errors would leave the range of float32.
    rest = wide / jnp.where(mean > 0, mean, 1.0)[..., None] - (mean > 0)[..., None]
    variance, third = jnp.mean(rest**2, axis=-1), jnp.mean(rest**3, axis=-1)
    varies = variance > 1e-12  # what remains of equal errors is rounding
    ratio = jnp.clip(third / (2 * jnp.where(varies, variance, 1.0) ** 2), 0.75, 1.0)
    # Square roots of 0 have no gradient; at the ends of the range the fit does not depend on the skewness.
    root = safe_sqrt(1 - ratio)
    scale = jnp.where(varies, 0.5 * variance * (1 - root), 0.0)
    # 1 / s = d + nc, and k2 / (2 s^2) = d + 2 nc.
    safe = jnp.where(varies, scale, 1.0)
    first, second = 1 / safe, 0.5 * variance / safe**2
    nan = jnp.where(varies, 0.0, jnp.nan)
    return ScaledNcx2(jnp.maximum(2 * first - second, 0.0) + nan, jnp.maximum(second - first, 0.0) + nan, scale * mean)


def ncx2_log_cdf_approx(
    x: ArrayLike, df: ArrayLike, nc: ArrayLike, scale: ArrayLike = 1.0, *, method: str = "saddlepoint"
) -> Array:
    r"""Logarithm of the distribution function of a scaled noncentral chi-square, where that function itself underflows.

    "saddlepoint" is Barndorff-Nielsen's form, whose logarithm is right to 2 % from three degrees of freedom on (to 2e-3
    from ten, to 1e-4 from two hundred). With one it is 3 % off, with fewer up to a half; towards none, where the law
    has an atom at 0, it rises again as x falls to 0:

    .. math:: \log \Phi\Big(w + \tfrac1w \log \tfrac vw\Big), \quad w^2 = \lambda \delta^2 + d \, (\delta - \log(1 +
              \delta)), \quad v^2 = \delta^2 (\lambda u + d / 2), \quad u = 1 + \delta

    with u the root of :math:`\lambda u^2 + d u = x / s`. "sankaran" is the published one, in the lower tail only, with
    :math:`h = 1 - \tfrac23 (d + \lambda)(d + 3 \lambda) / (d + 2 \lambda)^2`,
    :math:`p = (d + 2 \lambda) / (d + \lambda)^2`, :math:`m = (h - 1)(1 - 3 h)`:

    .. math:: -\tfrac12 z^2, \qquad z = \frac{\big(\tfrac{x}{s (d + \lambda)}\big)^h - 1 -
              h p \big(h - 1 - \tfrac12 (2 - h) m p\big)}{h \sqrt{2 p} \, (1 + \tfrac12 m p)}

    It is rough: 1.99 for 3.80 nats, 13.5 for 16.4 and 44.0 for 53.1 have been measured.

    Args:
      x: float [...].
      df: d >= 0, broadcasts with x.
      nc: lambda >= 0, not 0 where df is.
      scale: s > 0.
      method: static.
    Returns:
      float32 or wider [...], <= 0; -inf for x <= 0. "sankaran" gives 0 above the mean.
    Raises:
      ValueError: an unknown method, or shapes that do not broadcast.
      TypeError: x is not floating point.

    >>> print(ncx2_log_cdf_approx(jnp.array(3.0), 10.0, 5.0).round(2))
    -5.91

    Reference: Boopathy et al., "Towards Exact Computation of Inductive Bias" (2024), after Sankaran (1963), checked
    against the authors' code; Barndorff-Nielsen, "Approximate interval probabilities" (1990), standard.
    """
    x = checks.floating(x, "x")
    checks.one_of(method, "method", ("saddlepoint", "sankaran"))
    dtype = accumulation_dtype(x)
    try:
        x, df, nc, scale = jnp.broadcast_arrays(*(jnp.asarray(value, dtype) for value in (x, df, nc, scale)))
    except ValueError as error:
        raise ValueError("x, df, nc and scale must broadcast") from error
    positive = x > 0
    ratio = jnp.where(positive, x, 1.0) / scale
    value = _sankaran(ratio, df, nc) if method == "sankaran" else _saddlepoint(ratio, df, nc)
    return jnp.where(positive, value, -jnp.inf)


def _sankaran(x: Array, df: Array, nc: Array) -> Array:
    mean = df + nc
    h = 1 - 2 / 3 * mean * (df + 3 * nc) / (df + 2 * nc) ** 2
    p = (df + 2 * nc) / mean**2
    m = (h - 1) * (1 - 3 * h)
    z = (x / mean) ** h - (1 + h * p * (h - 1 - 0.5 * (2 - h) * m * p))
    z = z / (h * jnp.sqrt(2 * p) * (1 + 0.5 * m * p))
    return jnp.where(z < 0, -0.5 * z**2, 0.0)


def _saddlepoint(x: Array, df: Array, nc: Array) -> Array:
    u = 2 * x / (df + jnp.sqrt(df**2 + 4 * nc * x))
    delta = u - 1
    # h = (1/2 - g) / delta, with delta - log(1 + delta) = g delta^2: near 0 by its series, where the terms cancel.
    near = jnp.abs(delta) < 0.1
    inner, outer = jnp.where(near, delta, 0.0), jnp.where(near, 1.0, delta)
    series = jnp.polyval(jnp.asarray([(-1) ** k / (k + 3) for k in range(SERIES)][::-1], x.dtype), inner)
    h = jnp.where(near, series, (0.5 - (outer - jnp.log1p(outer)) / outer**2) / outer)
    width = jnp.sqrt(nc + df * (0.5 - delta * h))
    # v / w = sqrt(1 + delta rho), so that log(v / w) / w has no 0 / 0 but that of log1p.
    rho = (nc + df * h) / width**2
    turn = delta * rho
    small = jnp.abs(turn) < 1e-3
    safe = jnp.where(small, 1.0, turn)
    bend = jnp.where(small, 1 - turn / 2, jnp.log1p(safe) / safe)
    return jax.scipy.stats.norm.logcdf(delta * width + 0.5 * rho * bend / width)


def inductive_bias_from_errors(errors: ArrayLike, target: ArrayLike, *, method: str = "saddlepoint") -> Array:
    r"""Nats of inductive bias still needed to reach a test error, from errors of hypotheses that fit the training set.

    .. math:: I(\varepsilon) = -\log P_{h \sim p(h \mid \text{train})}\big( e(h) \le \varepsilon \big)

    The errors are taken to follow a scaled noncentral chi-square, which is fitted to their moments: the probability is
    far too small to be counted. (Fewer nats: the hypothesis space already holds more bias for the task.)

    Args:
      errors: float [..., S], test errors of S hypotheses, positive.
      target: epsilon, broadcasts with the leading axes.
      method: of ``ncx2_log_cdf_approx``, static.
    Returns:
      float32 or wider [...], >= 0, falling in target, but not far below all errors where the fit has fewer than two
      degrees of freedom (errors with little skew): see ``ncx2_log_cdf_approx``. Errors that are all the same (to 1e-6)
      give 0 or infinity.
    Raises:
      ValueError: errors have no axis, or an unknown method.
      TypeError: errors are not floating point.

    >>> print(inductive_bias_from_errors(jnp.array([1.0, 2.0, 3.0, 6.0]), 0.5).round(2))
    3.03

    Reference: Boopathy et al., "Towards Exact Computation of Inductive Bias" (2024). Checked against the authors' code,
    which fits by maximum likelihood and takes scipy's distribution function until that underflows.
    """
    fit = scaled_ncx2_fit_moments(errors)
    mean, varies = jnp.mean(jnp.asarray(errors).astype(fit.scale.dtype), axis=-1), fit.scale > 0
    df, nc, scale = (jnp.where(varies, part, 1.0) for part in fit)
    target = jnp.asarray(target, fit.scale.dtype)
    nats = -ncx2_log_cdf_approx(target, df, nc, scale, method=method)
    return jnp.where(varies, nats, jnp.where(mean <= target, 0.0, jnp.inf))
