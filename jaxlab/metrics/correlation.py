"""Agreement of two lists of numbers, as numbers and as rankings."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["kendall_tau", "pearson", "precision_at_t", "spearman"]


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
