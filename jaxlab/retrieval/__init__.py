"""Searching an index: scores by words, stacked embeddings, and representations that survive a change of model.

- **Documents ranked by the words of a query**: `bm25` (scores from counts), `idf` (the weights of words it takes).
- **A new model, and an index that is too large to be embedded again**: `simplex_vertices` (a classifier fixed in
  advance, the same for all models), `bct_influence` (the loss that holds new features near old classes),
  `orthogonal_align` (a layer that lets the rest turn freely), `basis_transform` (old and new knowledge side by side);
  [261, 270, 288]
- **Two embeddings of the same items to use as one**: `stack_embeddings`, `tune_stack_scale` (how much the first counts,
  tuned on known similarities); [116]
- **What a user will choose next**: `history_embedding` (the user as the mean of choices), `purchase_probability` (from
  a distance to an item); [110]
- **Image and caption that do not belong together**: `pseudo_caption` (borrows the caption of a clean example); [104]
- **Parts of two images that show the same**: `reciprocal_matches` (mutual, unambiguous and important); [113]

Types: `CompatibleFeatures`.
"""

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
