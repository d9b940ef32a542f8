"""Stable operations that every family uses."""

from jaxlab.numerics.linear import solve_spd
from jaxlab.numerics.norms import masked_mean, normalize, segment_mean

__all__ = ["masked_mean", "normalize", "segment_mean", "solve_spd"]
