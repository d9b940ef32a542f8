"""Agreement of two lists of numbers, as numbers and as rankings."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["kendall_tau", "pearson", "precision_at_t", "spearman", "spearman_brown", "split_half_reliability"]


def pearson(a: ArrayLike, b: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Pearson's correlation coefficient (larger means a closer rising line).

    .. math:: r = \frac{\sum_i (a_i - \bar a)(b_i - \bar b)}{\sqrt{\sum_i (a_i - \bar a)^2 \sum_i (b_i - \bar b)^2}}

    Args:
      a: float [...].
      b: float, same shape.
      where: bool, same shape, True where a pair counts.
    Returns:
      float32 or wider scalar in [-1, 1] over all axes; 0 where one of the lists does not vary.
    Raises:
      ValueError: shapes do not agree.
      TypeError: a or b is not floating point, or where is not boolean.

    >>> print(pearson(jnp.array([1.0, 2.0, 3.0]), jnp.array([2.0, 4.0, 6.0])).round(4))
    1.0

    Reference: standard.
    """
    a, b = checks.floating(a, "a"), checks.floating(b, "b")
    checks.same_shape(a, "a", b, "b")
    mask = checks.mask(where, "where", a.shape)
    counts = jnp.ones(a.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(a, b)

    def unit(x: Array) -> Array:
        x = jnp.where(counts, x.astype(dtype), 0.0)
        away = jnp.where(counts, x - masked_mean(x, counts), 0.0)
        largest = jnp.max(jnp.abs(away), initial=0.0)
        # What is left of equal numbers after their mean is taken off is rounding.
        varies = largest > 10 * jnp.finfo(dtype).eps * jnp.max(jnp.abs(x), initial=0.0)
        scaled = jnp.where(varies, away / jnp.where(varies, largest, 1.0), 0.0)
        squares = jnp.sum(scaled**2)
        return scaled / jnp.sqrt(jnp.where(squares > 0, squares, 1.0))

    return jnp.clip(jnp.sum(unit(a) * unit(b)), -1.0, 1.0)


def spearman(a: ArrayLike, b: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Spearman's rank correlation: Pearson's of the average ranks (larger means rankings that agree).

    .. math:: \rho = r\big(\operatorname{rank}(a), \operatorname{rank}(b)\big)

    Args:
      a: float [N]; infinities have a rank, NaN makes the result NaN where it counts.
      b: float [N].
      where: bool [N], True where a pair counts.
    Returns:
      float32 or wider scalar in [-1, 1]; 0 where one of the lists does not vary. No gradient.
    Raises:
      ValueError: not one axis, or shapes do not agree.
      TypeError: a or b is not floating point, or where is not boolean.

    >>> print(spearman(jnp.array([1.0, 2.0, 30.0]), jnp.array([0.1, 0.2, 0.3])).round(4))
    1.0

    Reference: standard.
    """
    a, b, counts, known = _paired(a, b, where)
    total = jnp.sum(counts)

    def ranks(x: Array) -> Array:
        # What does not count is sorted behind everything; a rank of infinity still ends at the last that counts.
        ordered = jnp.sort(jnp.where(counts, x, jnp.inf))
        below = jnp.searchsorted(ordered, x, side="left")
        upto = jnp.minimum(jnp.searchsorted(ordered, x, side="right"), total)
        return (below + upto).astype(accumulation_dtype(a, b)) / 2

    return jnp.where(known, pearson(ranks(a), ranks(b), where=counts), jnp.nan)


def kendall_tau(a: ArrayLike, b: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Kendall's tau-b: concordant less discordant pairs, with ties taken out (larger means rankings that agree).

    .. math:: \tau_b = \frac{\sum_{i<j} \operatorname{sgn}(a_i - a_j) \operatorname{sgn}(b_i - b_j)}
              {\sqrt{\#\{i<j : a_i \ne a_j\} \; \#\{i<j : b_i \ne b_j\}}}

    Args:
      a: float [N]; infinities have a rank, NaN makes the result NaN where it counts.
      b: float [N].
      where: bool [N], True where a pair counts.
    Returns:
      float32 or wider scalar in [-1, 1]; 0 where one of the lists does not vary. No gradient. N x N comparisons.
    Raises:
      ValueError: not one axis, or shapes do not agree.
      TypeError: a or b is not floating point, or where is not boolean.

    >>> print(kendall_tau(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 3.0, 2.0])).round(4))
    0.3333

    Reference: standard.
    """
    a, b, counts, known = _paired(a, b, where)
    dtype = accumulation_dtype(a, b)
    pairs = counts[:, None] & counts[None, :]

    def order(x: Array) -> Array:
        above = (x[:, None] > x[None, :]).astype(dtype) - (x[:, None] < x[None, :])
        return jnp.where(pairs, above, 0.0)

    up, over = order(a), order(b)
    norm = jnp.sum(up**2) * jnp.sum(over**2)
    tau = jnp.sum(up * over) / jnp.sqrt(jnp.where(norm > 0, norm, 1.0))
    return jnp.where(known, tau, jnp.nan)


def precision_at_t(scores: ArrayLike, values: ArrayLike, t: int, *, where: ArrayLike | None = None) -> Array:
    r"""Share of the t candidates with the best scores that are among the t with the best values.

    .. math:: \rho_t = \tfrac1t \, \big|\operatorname{top}_t(s) \cap \operatorname{top}_t(f)\big|

    Args:
      scores: float [N], a cheap guess; larger is better.
      values: float [N], what the guess is about.
      t: how many are picked, static, 1 <= t <= N.
      where: bool [N], True where a candidate counts; there should be t of them.
    Returns:
      float32 or wider scalar in [0, 1]. Ties go to the lower index; NaN counts as the worst. No gradient.
    Raises:
      ValueError: not one axis, shapes do not agree, or t is out of range.
      TypeError: scores or values are not floating point, or where is not boolean.

    >>> print(precision_at_t(jnp.array([3.0, 2.0, 1.0]), jnp.array([0.9, 0.1, 0.8]), 2))
    0.5

    Reference: He et al., "Robustifying and Boosting Training-Free Neural Architecture Search" (2024). Recalled.
    """
    scores, values, counts, _ = _paired(scores, values, where, names=("scores", "values"))
    num = scores.shape[0]
    if not 1 <= checks.size(t, "t") <= num:
        raise ValueError(f"t must be at most the number of candidates {num}, got {t}")

    def top(x: Array) -> Array:
        usable = counts & ~jnp.isnan(x)
        # By the mask first, then by the value: -inf of a candidate that counts is better than none.
        order = jnp.lexsort((-jnp.where(usable, x, -jnp.inf), ~counts))
        return jnp.zeros(num, bool).at[order[:t]].set(True) & counts

    return jnp.sum(top(scores) & top(values)).astype(accumulation_dtype(scores, values)) / t


def _paired(
    a: ArrayLike, b: ArrayLike, where: ArrayLike | None, names: tuple[str, str] = ("a", "b")
) -> tuple[Array, Array, Array, Array]:
    """Both lists, which pairs count, and whether none of these is NaN."""
    first = checks.rank(checks.floating(a, names[0]), names[0], 1, layout="[N]")
    second = checks.rank(checks.floating(b, names[1]), names[1], 1, layout="[N]")
    checks.same_shape(first, names[0], second, names[1])
    mask = checks.mask(where, "where", first.shape)
    counts = jnp.ones(first.shape, bool) if mask is None else mask
    known = ~jnp.any(counts & (jnp.isnan(first) | jnp.isnan(second)))
    return jax.lax.stop_gradient(first), jax.lax.stop_gradient(second), counts, known


def spearman_brown(r: ArrayLike, *, factor: ArrayLike = 2.0) -> Array:
    r"""The reliability of a test made longer, from that of the test (larger is better).

    .. math:: \frac{k r}{1 + (k - 1) r}

    Args:
      r: float [...], the correlation of two parallel tests.
      factor: k > 0, how many times longer; 2 for the whole whose halves correlate by r.
    Returns:
      float32 or wider [...]; 0, 1 stay; NaN where the denominator is not above 0.
    Raises:
      ValueError: a static factor <= 0.
      TypeError: r is not floating point.

    >>> print(spearman_brown(jnp.array([0.0, 0.5, 1.0])).round(4))
    [0.     0.6667 1.    ]

    Reference: Spearman and Brown (1910). Standard.
    """
    r = checks.floating(r, "r")
    checks.positive(factor, "factor")
    wide = r.astype(accumulation_dtype(r))
    below = 1.0 + (factor - 1.0) * wide
    return jnp.where(below > 0, factor * wide / jnp.where(below > 0, below, 1.0), jnp.nan)


def split_half_reliability(
    key: Array, ratings: ArrayLike, where: ArrayLike | None = None, *, num_splits: int = 100
) -> Array:
    r"""Reliability of mean ratings: what no prediction of them can be expected to exceed (larger is better).

    .. math:: \frac1S \sum_s \frac{2 r_s}{1 + r_s}, \qquad r_s \text{ of the means of two random halves}

    The ratings of every item are split anew, so raters need not be the same for all items.

    Args:
      key: typed PRNG key of the splits.
      ratings: float [R, N], of N items.
      where: bool [R, N], True where there is a rating; items with fewer than two are left out.
      num_splits: S, static.
    Returns:
      float32 or wider scalar; 1 where all raters agree on items that differ.
    Raises:
      ValueError: shapes do not agree, or num_splits < 1.
      TypeError: ratings are not floating point, or where is not boolean.

    >>> ratings = jnp.array([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0]])
    >>> print(split_half_reliability(jax.random.key(0), ratings, num_splits=4).round(4))
    1.0

    Reference: standard; the ceiling of Marjieh et al., "Words are all you need? Language as an approximation for human
    similarity judgments" (2023).
    """
    ratings = checks.rank(checks.floating(ratings, "ratings"), "ratings", 2, layout="[R, N]")
    checks.size(num_splits, "num_splits")
    mask = checks.mask(where, "where", ratings.shape)
    given = jnp.ones(ratings.shape, bool) if mask is None else mask
    wide = jnp.where(given, ratings.astype(accumulation_dtype(ratings)), 0.0)
    number = jnp.sum(given, axis=0)
    usable = number > 1

    def one_split(key: Array) -> Array:
        order = jnp.where(given, jax.random.uniform(key, ratings.shape), 2.0)
        place = jnp.argsort(jnp.argsort(order, axis=0), axis=0)  # those given come first, in random order
        first = given & (place < number // 2)
        means = [masked_mean(wide, half, axis=0) for half in (first, given & ~first)]
        return spearman_brown(pearson(*means, where=usable))

    return jnp.mean(jax.lax.map(one_split, jax.random.split(key, num_splits)))
