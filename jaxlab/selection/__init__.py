"""Choosing among examples and candidates: masks, or an index with a mask, never shapes that depend on values."""

from jaxlab.selection.candidates import Best, best_of_candidates
from jaxlab.selection.filters import threshold_filter

__all__ = ["Best", "best_of_candidates", "threshold_filter"]
