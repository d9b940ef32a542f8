"""What a paper says, what was measured, and the verdict.

A claim reads its effect off the rows, one number per seed. The verdict depends on the 95 % interval of the mean over
seeds (Student t), so that one lucky seed decides nothing.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Set
from typing import Any

import numpy as np

__all__ = ["OPERATORS", "Claim", "Verdict", "difference", "interval", "judge", "ratio"]

OPERATORS = (">", "<", "within")
Rows = Mapping[str, Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of a paper as an inequality, its threshold fixed before the run.

    Attributes:
      paper: id in the index of papers.
      sentence: what should be true, in words.
      effect: ``effect(rows[metric][method]) -> [seeds]``, paired by seed.
      op: ``>`` or ``<`` (the effect is above or below the threshold), ``within`` (between -threshold and threshold).
      threshold: a finite number, not negative for ``within``.
    """

    paper: int
    sentence: str
    effect: Callable[[Any], Any]
    op: str
    threshold: float

    def __post_init__(self) -> None:
        if self.op not in OPERATORS:
            raise ValueError(f"op must be one of {', '.join(OPERATORS)}, got {self.op!r}")
        if not math.isfinite(self.threshold) or (self.op == "within" and self.threshold < 0):
            raise ValueError(f"threshold must be finite, and not negative for 'within', got {self.threshold!r}")


def difference(metric: str, method: str, other: str) -> Callable[[Rows], np.ndarray]:
    """The effect: by how much a metric of one method exceeds that of another."""
    return lambda rows: np.asarray(rows[metric][method]) - np.asarray(rows[metric][other])


def ratio(metric: str, method: str, other: str) -> Callable[[Rows], np.ndarray]:
    """The effect: a metric of one method as a multiple of that of another."""
    return lambda rows: np.asarray(rows[metric][method]) / np.asarray(rows[metric][other])


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim after the run: ``holds``, ``fails``, ``undecided``, ``not run`` or ``not judged``, and why."""

    paper: int
    sentence: str
    op: str
    threshold: float
    verdict: str
    reason: str = ""
    effect: float | None = None
    interval: tuple[float, float] | None = None


def interval(values: Any, *, confidence: float = 0.95) -> tuple[float, float]:
    r"""The Student t interval of the mean, :math:`\bar e \pm t_{n-1} s / \sqrt n`; equal values give a point.

    Args:
      values: float [n], n >= 2, finite.
      confidence: in (0, 1).
    """
    from scipy.special import stdtrit

    values = np.asarray(values, dtype=np.float64)
    if np.ptp(values) == 0:  # exactly: the rounding of a mean must not move a point across its threshold
        return float(values[0]), float(values[0])
    half = stdtrit(len(values) - 1, 0.5 + confidence / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def decide(low: float, high: float, op: str, threshold: float) -> str:
    """Whole interval inside: holds; wholly outside: fails; else undecided."""
    if op == "within":
        inside, outside = -threshold <= low and high <= threshold, low > threshold or high < -threshold
    elif op == ">":
        inside, outside = low > threshold, high <= threshold
    else:
        inside, outside = high < threshold, low >= threshold
    return "holds" if inside else "fails" if outside else "undecided"


def judge(claim: Claim, rows: Rows, *, seeds: int, quick: bool = False, broken: Set[str] = frozenset()) -> Verdict:
    """The verdict on one claim; never raises.

    Args:
      claim: the claim.
      rows: ``rows[metric][method]`` float [seeds].
      seeds: number of seeds; a single one judges nothing.
      quick: True in a quick run, which judges nothing.
      broken: methods whose row ended in an error; they count as absent.
    """

    def verdict(word: str, reason: str = "", **measured: Any) -> Verdict:
        return Verdict(claim.paper, claim.sentence, claim.op, claim.threshold, word, reason, **measured)

    whole = {metric: {m: v for m, v in row.items() if m not in broken} for metric, row in rows.items()}
    try:
        effect = np.asarray(claim.effect(whole), dtype=np.float64)
    except KeyError as error:
        name = str(error.args[0]) if error.args else ""
        return verdict("not run", f"row {name} broke" if name in broken else f"nothing measured under {name!r}")
    except Exception as error:  # a claim that cannot be computed must not cost the run its results
        return verdict("not run", f"its effect raised {type(error).__name__}: {error}")
    if effect.shape != (seeds,):
        return verdict("not run", f"its effect has shape {list(effect.shape)}, expected one number per seed, [{seeds}]")
    if not np.isfinite(effect).all():
        return verdict("not run", "its effect is not finite")
    mean = float(effect[0]) if np.ptp(effect) == 0 else float(effect.mean())
    if seeds == 1:
        return verdict("not judged", "one seed", effect=mean)
    low, high = interval(effect)
    measured: dict[str, Any] = {"effect": mean, "interval": (low, high)}
    if quick:
        return verdict("not judged", "quick run", **measured)
    return verdict(decide(low, high, claim.op, claim.threshold), **measured)
