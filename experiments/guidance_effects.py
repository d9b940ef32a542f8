"""What the claims about guidance rules read off their rows: comparisons at one scale, one accuracy, one mean scale."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = [
    "SCALES",
    "SMALL_SCALES",
    "frechet_at_equal_accuracy",
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


def frechet_at_equal_accuracy(method: str, rival: str) -> Callable[[Any], np.ndarray]:
    """Frechet distance of a row at the smallest of ``SCALES`` over that of a rival which is as accurate.

    The rival's curve goes from no guidance to its largest scale, straight between the logarithms of its distances; the
    lowest distance at which it is as accurate counts. A rival that never is counts where it is most accurate.
    """
    scale = SCALES[0]

    def effect(rows: Any) -> np.ndarray:
        x, y = np.log(_along(rows, "frechet", rival)), _along(rows, "accuracy", rival)
        distance, right = (
            np.asarray(rows[name_of(metric, scale)][method], float) for metric in ("frechet", "accuracy")
        )
        there = [_lowest(x[:, seed], y[:, seed], own) for seed, own in enumerate(right)]
        return distance / np.exp(there)

    return effect


def _lowest(x: np.ndarray, y: np.ndarray, wanted: float) -> float:
    """The smallest x of a line through points [K] where y is at least as large as wanted, or as large as it gets."""
    wanted = min(wanted, np.max(y))
    step = np.diff(y)
    crosses = (np.minimum(y[:-1], y[1:]) < wanted) & (wanted < np.maximum(y[:-1], y[1:]))
    share = np.where(crosses, (wanted - y[:-1]) / np.where(crosses, step, 1.0), 0.0)
    between = (x[:-1] + share * np.diff(x))[crosses]
    return float(np.min(np.concatenate([x[y >= wanted], between])))


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
