"""Stable operations that every family uses."""

from jaxlab.numerics.linear import sinkhorn, solve_spd
from jaxlab.numerics.norms import masked_mean, normalize, segment_mean
from jaxlab.numerics.selection import straight_through
from jaxlab.numerics.softmax import entropy

__all__ = ["entropy", "masked_mean", "normalize", "segment_mean", "sinkhorn", "solve_spd", "straight_through"]
