"""Searching an index: scores by words, stacked embeddings, and representations that survive a change of model."""

from jaxlab.retrieval.captions import pseudo_caption
from jaxlab.retrieval.compatible import (
    CompatibleFeatures,
    basis_transform,
    bct_influence,
    orthogonal_align,
    simplex_vertices,
)
from jaxlab.retrieval.histories import history_embedding, purchase_probability
from jaxlab.retrieval.lexical import bm25, idf
from jaxlab.retrieval.sequences import reciprocal_matches
from jaxlab.retrieval.stacking import stack_embeddings, tune_stack_scale

__all__ = [
    "CompatibleFeatures",
    "basis_transform",
    "bct_influence",
    "bm25",
    "history_embedding",
    "idf",
    "orthogonal_align",
    "pseudo_caption",
    "purchase_probability",
    "reciprocal_matches",
    "simplex_vertices",
    "stack_embeddings",
    "tune_stack_scale",
]
