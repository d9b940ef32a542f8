"""Stable operations that every family uses."""

from jaxlab.numerics.linear import gram_spectrum, sinkhorn, solve_spd
from jaxlab.numerics.norms import masked_mean, normalize, segment_mean
from jaxlab.numerics.scalars import bisect, min_max
from jaxlab.numerics.selection import straight_through
from jaxlab.numerics.softmax import entropy

__all__ = [
    "bisect",
    "entropy",
    "gram_spectrum",
    "masked_mean",
    "min_max",
    "normalize",
    "segment_mean",
    "sinkhorn",
    "solve_spd",
    "straight_through",
]
