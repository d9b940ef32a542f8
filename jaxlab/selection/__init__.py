"""Choosing among examples and candidates: masks, or an index with a mask, never shapes that depend on values."""

from jaxlab.selection.active import next_class_by_locus
from jaxlab.selection.candidates import Best, best_of_candidates, knn_transfer_cost
from jaxlab.selection.diversity import (
    FarthestPoints,
    KeptTokens,
    divprune_tokens,
    farthest_point,
    greedy_nearest_order,
)
from jaxlab.selection.filters import threshold_filter
from jaxlab.selection.scores import personal_loss_probabilities, personal_loss_sample
from jaxlab.selection.splits import hidden_class_folds, semantic_difficulty_split

__all__ = [
    "Best",
    "FarthestPoints",
    "KeptTokens",
    "best_of_candidates",
    "divprune_tokens",
    "farthest_point",
    "greedy_nearest_order",
    "hidden_class_folds",
    "knn_transfer_cost",
    "next_class_by_locus",
    "personal_loss_probabilities",
    "personal_loss_sample",
    "semantic_difficulty_split",
    "threshold_filter",
]
