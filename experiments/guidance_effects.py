"""What the claims about guidance rules read off their rows: comparisons at one scale, one distance, one mean scale."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = [
    "SCALES",
    "SMALL_SCALES",
    "accuracy_at_equal_frechet",
    "name_of",
    "ratio_at_mean_scale",
    "smallest_difference",
    "worst_difference",
    "worst_ratio",
]

SCALES = (3.0, 7.5, 15.0)
SMALL_SCALES = (1.1, 1.25, 1.5, 2.0)
"""Between no guidance and the others, for rows whose whole curve is wanted."""


def name_of(metric: str, scale: float) -> str:
    """The name of a metric at a scale, such as frechet_7.5."""
    return f"{metric}_{scale:g}"


def _at(rows: Any, metric: str, method: str, scales: Sequence[float] = SCALES) -> np.ndarray:
    """A metric of a row at every scale: [scales, seeds]."""
    return np.stack([np.asarray(rows[name_of(metric, scale)][method], float) for scale in scales])


def _along(rows: Any, metric: str, method: str) -> np.ndarray:
    """A metric from no guidance (scale 1) to the largest scale: [1 + all scales, seeds]."""
    return np.concatenate([_at(rows, metric, "none", SCALES[:1]), _at(rows, metric, method, SMALL_SCALES + SCALES)])


def worst_ratio(metric: str, better: str, worse: str) -> Callable[[Any], Any]:
    """The largest ratio over the scales: below the threshold means below it at every scale."""
    return lambda rows: np.max(_at(rows, metric, better) / _at(rows, metric, worse), axis=0)


def worst_difference(metric: str, better: str, worse: str) -> Callable[[Any], Any]:
    """The largest difference over the scales."""
    return lambda rows: np.max(_at(rows, metric, better) - _at(rows, metric, worse), axis=0)


def smallest_difference(metric: str, better: str, worse: str) -> Callable[[Any], Any]:
    """The smallest difference over the scales."""
    return lambda rows: np.min(_at(rows, metric, better) - _at(rows, metric, worse), axis=0)


def accuracy_at_equal_frechet(method: str, rival: str) -> Callable[[Any], np.ndarray]:
    """Accuracy of a row above that of a rival at the same Frechet distance.

    The rival's curve goes from no guidance to its largest scale, straight between the logarithms of its distances;
    where it passes a distance more than once, its highest accuracy counts. The row is compared at the largest of its
    scales whose distance the rival has too: NaN for a seed in which there is none, so that the claim is not judged.
    """

    def effect(rows: Any) -> np.ndarray:
        x, y = np.log(_along(rows, "frechet", rival)), _along(rows, "accuracy", rival)
        distances, right = (_at(rows, metric, method, SMALL_SCALES + SCALES) for metric in ("frechet", "accuracy"))
        gaps = []
        for seed, own in enumerate(np.log(distances.T)):
            gap = right[:, seed] - [_passing(x[:, seed], y[:, seed], at) for at in own]
            gaps.append(next(iter(gap[np.isfinite(gap)][::-1]), np.nan))
        return np.array(gaps)

    return effect


def _passing(x: np.ndarray, y: np.ndarray, at: float) -> float:
    """The largest y where a line through points [K] passes x = at; NaN where it does not."""
    step = np.diff(x)
    share = np.where(step == 0, 0.0, (at - x[:-1]) / np.where(step == 0, 1.0, step))
    passes = (np.minimum(x[:-1], x[1:]) <= at) & (at <= np.maximum(x[:-1], x[1:]))
    return float(np.max(y[:-1] + share * np.diff(y), where=passes, initial=-np.inf)) if passes.any() else np.nan


def ratio_at_mean_scale(method: str, rival: str) -> Callable[[Any], np.ndarray]:
    """The largest ratio of Frechet distances over the scales, to a rival with the mean of the row's scales throughout.

    The logarithm of the rival's distance is interpolated over that of its scale; NaN beyond its scales.
    """

    def effect(rows: Any) -> np.ndarray:
        x, y = np.log((1.0, *SMALL_SCALES, *SCALES)), np.log(_along(rows, "frechet", rival))
        mean = np.log(np.multiply.outer(SCALES, np.asarray(rows["mean_share"][method], float)))  # [scales, seeds]
        there = [np.interp(mean[:, seed], x, y[:, seed], left=np.nan, right=np.nan) for seed in range(y.shape[1])]
        return np.max(_at(rows, "frechet", method) / np.exp(np.stack(there, axis=1)), axis=0)

    return effect
