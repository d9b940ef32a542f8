"""Measures of a score that should be larger on positives (label 1) than on negatives (label 0).

All of them sort once and count by binary search, so n examples cost n log n; tied scores are never split.
"""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["auroc", "average_precision", "oscr", "tpr_at_fpr"]


class _Sample(NamedTuple):
    scores: Array
    positive: Array
    negative: Array
    defined: Array  # both classes are there and no score that counts is NaN


def _sample(scores: ArrayLike, labels: ArrayLike, where: ArrayLike | None) -> _Sample:
    scores, labels = checks.rank(checks.floating(scores, "scores"), "scores", 1, layout="[N]"), jnp.asarray(labels)
    if labels.dtype != jnp.bool_:
        checks.integer(labels, "labels")
    checks.same_shape(scores, "scores", labels, "labels")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    positive, negative = counts & (labels == 1), counts & (labels == 0)
    used = positive | negative
    clean = jnp.where(used, scores.astype(accumulation_dtype(scores)), 0.0)
    defined = jnp.any(positive) & jnp.any(negative) & ~jnp.any(jnp.isnan(clean))
    return _Sample(clean, positive, negative, defined)


def _count_below(sample: _Sample, group: Array, *, inclusive: bool) -> Array:
    """For every score, how many scores of the group are smaller (or equal)."""
    ordered = jnp.sort(jnp.where(group, sample.scores, jnp.inf))
    side = "right" if inclusive else "left"
    return jnp.minimum(jnp.searchsorted(ordered, sample.scores, side=side), jnp.sum(group))


def auroc(scores: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Area under the ROC curve: how often a positive scores above a negative (larger is better, 1/2 is chance).

    .. math:: \frac{1}{P N} \sum_{i \in pos} \sum_{j \in neg} \big( [s_i > s_j] + \tfrac12 [s_i = s_j] \big)

    Args:
      scores: float [N], larger = more positive; infinite scores are fine.
      labels: int or bool [N], 1 = positive, 0 = negative; examples with another label are ignored.
      where: bool [N], True where an example counts.
    Returns:
      float32 (wider if scores are) scalar; NaN if there is no positive or no negative, or a score that counts is NaN.
    Raises:
      ValueError: scores and labels are not both [N].
      TypeError: scores are not floating point, or labels neither integers nor booleans.

    >>> print(auroc(jnp.array([0.1, 0.4, 0.4, 0.9]), jnp.array([0, 0, 1, 1])))
    0.875

    Reference: standard (the Mann-Whitney statistic).
    """
    sample = _sample(scores, labels, where)
    below = _count_below(sample, sample.negative, inclusive=False)
    upto = _count_below(sample, sample.negative, inclusive=True)
    wins = (below + upto).astype(sample.scores.dtype) / (2 * jnp.maximum(jnp.sum(sample.negative), 1))
    return jnp.where(sample.defined, masked_mean(wins, sample.positive), jnp.nan)


def average_precision(scores: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Average precision: the mean, over positives, of the precision at their own score (larger is better).

    .. math:: \frac{1}{P} \sum_{i \in pos}
              \frac{|\{j \in pos: s_j \ge s_i\}|}{|\{j \in pos \cup neg: s_j \ge s_i\}|}

    Chance level is the share of positives. This is the step-wise sum over recall, without interpolation.

    Args:
      scores: float [N], larger = more positive.
      labels: int or bool [N], 1 = positive, 0 = negative; examples with another label are ignored.
      where: bool [N], True where an example counts.
    Returns:
      float32 (wider if scores are) scalar; NaN if there is no positive or no negative, or a score that counts is NaN.
    Raises:
      ValueError: scores and labels are not both [N].
      TypeError: scores are not floating point, or labels neither integers nor booleans.

    >>> print(f"{average_precision(jnp.array([0.1, 0.9, 0.4, 0.8]), jnp.array([0, 0, 1, 1])):.4f}")
    0.5833

    Reference: standard.
    """
    sample = _sample(scores, labels, where)
    hits = jnp.sum(sample.positive) - _count_below(sample, sample.positive, inclusive=False)
    false_alarms = jnp.sum(sample.negative) - _count_below(sample, sample.negative, inclusive=False)
    precision = hits / jnp.maximum(hits + false_alarms, 1)
    return jnp.where(sample.defined, masked_mean(precision.astype(sample.scores.dtype), sample.positive), jnp.nan)


def tpr_at_fpr(scores: ArrayLike, labels: ArrayLike, *, fpr: ArrayLike, where: ArrayLike | None = None) -> Array:
    r"""Largest true positive rate at a false positive rate of at most ``fpr`` (larger is better).

    .. math:: \max_\tau \frac{1}{P} |\{i \in pos: s_i \ge \tau\}| \quad \text{with} \quad
              \frac{1}{N} |\{j \in neg: s_j \ge \tau\}| \le f

    Thresholds are the scores themselves, without interpolation: with fewer than 1 / fpr negatives, no negative may be
    called positive.

    Args:
      scores: float [N], larger = more positive.
      labels: int or bool [N], 1 = positive, 0 = negative; examples with another label are ignored.
      fpr: the tolerated false positive rate, in [0, 1], a float or a scalar array.
      where: bool [N], True where an example counts.
    Returns:
      float32 (wider if scores are) scalar; 0 if every threshold calls too many negatives positive; NaN if there is no
      positive or no negative, or a score that counts is NaN.
    Raises:
      ValueError: scores and labels are not both [N], or a static fpr is not in [0, 1].
      TypeError: scores are not floating point, or labels neither integers nor booleans.

    >>> scores, labels = jnp.array([0.1, 0.2, 0.3, 0.7, 0.2, 0.6, 0.8, 0.9]), jnp.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> print(tpr_at_fpr(scores, labels, fpr=0.0), tpr_at_fpr(scores, labels, fpr=0.25))
    0.5 0.75

    Reference: standard.
    """
    checks.in_range(fpr, "fpr", 0.0, 1.0)
    sample = _sample(scores, labels, where)
    positives, negatives = jnp.sum(sample.positive), jnp.sum(sample.negative)
    hits = positives - _count_below(sample, sample.positive, inclusive=False)
    false_alarms = negatives - _count_below(sample, sample.negative, inclusive=False)
    # fpr * negatives is often meant to be a whole number that float32 misses by a rounding.
    allowed = false_alarms <= fpr * negatives * (1 + 1e-6)
    best = jnp.max(jnp.where(allowed & sample.positive, hits, 0), initial=0)
    rate = best.astype(sample.scores.dtype) / jnp.maximum(positives, 1)
    return jnp.where(sample.defined, rate, jnp.nan)


def oscr(scores: ArrayLike, correct: ArrayLike, known: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Open-set classification rate: area under right answers on known against accepted unknown (larger is better).

    .. math:: \frac{1}{K U} \sum_{i \in known} \sum_{j \in unknown}
              c_i \big( [s_i > s_j] + \tfrac12 [s_i = s_j] \big)

    which is the area under the curve of CCR(t), the share of known examples that score above t and are classified
    rightly, over FPR(t), the share of unknown ones that score above t. With a perfect classifier it is ``auroc``; it is
    at most the accuracy on what is known.

    Args:
      scores: float [N], larger = more like what is known.
      correct: bool [N], True where a known example is classified rightly; ignored where it is unknown.
      known: int or bool [N], 1 = known class, 0 = unknown; examples with another number are ignored.
      where: bool [N], True where an example counts.
    Returns:
      float32 (wider if scores are) scalar in [0, 1]; NaN if nothing is known or nothing unknown, or a score that counts
      is NaN.
    Raises:
      ValueError: shapes are not [N].
      TypeError: scores are not floating point, correct or where are not boolean, or known neither.

    >>> scores, known = jnp.array([0.9, 0.8, 0.3, 0.1]), jnp.array([1, 1, 1, 0])
    >>> print(oscr(scores, jnp.array([True, False, True, False]), known).round(4))
    0.6667

    Reference: Dhamija et al., "Reducing Network Agnostophobia" (2018), as used by Vaze et al., "Open-Set Recognition: a
    Good Closed-Set Classifier is All You Need?" (2022). The definition, standard; the authors' code (checked) steps one
    example further for one of the two rates.
    """
    sample = _sample(scores, known, where)
    right = checks.mask(correct, "correct", sample.positive.shape)
    if right is None:
        raise TypeError("correct must be boolean [N], got None")
    below = _count_below(sample, sample.negative, inclusive=False)
    upto = _count_below(sample, sample.negative, inclusive=True)
    wins = (below + upto).astype(sample.scores.dtype) / (2 * jnp.maximum(jnp.sum(sample.negative), 1))
    return jnp.where(sample.defined, masked_mean(jnp.where(right, wins, 0.0), sample.positive), jnp.nan)
