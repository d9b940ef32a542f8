"""Stable operations that every family uses."""

from jaxlab.numerics.linear import solve_spd
from jaxlab.numerics.norms import masked_mean, normalize, segment_mean
from jaxlab.numerics.selection import straight_through

__all__ = ["masked_mean", "normalize", "segment_mean", "solve_spd", "straight_through"]
