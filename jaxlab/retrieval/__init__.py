"""Searching an index: representations that stay comparable when the model that made them is replaced."""

from jaxlab.retrieval.compatible import (
    CompatibleFeatures,
    basis_transform,
    bct_influence,
    orthogonal_align,
    simplex_vertices,
)

__all__ = ["CompatibleFeatures", "basis_transform", "bct_influence", "orthogonal_align", "simplex_vertices"]
