"""Choosing among examples and candidates: masks, or an index with a mask, never shapes that depend on values.

- **The best of several candidates per example**: `best_of_candidates` (thresholds first, then a weighted score); [10]
- **Generated or collected data to clean**: `threshold_filter` (all scores within bounds); [10]
- **Feedback of users that is partly false**: `personal_loss_probabilities` (how likely each candidate is to be used),
  `personal_loss_sample` (draws one per user); [241]
- **A model to fine-tune from, out of several**: `knn_transfer_cost` (how badly its features fit the task); [208]
- **A small subset that covers the rest**: `farthest_point` (of rows, or by distances), `divprune_tokens` (of the tokens
  of each sequence); [220]
- **Problems to be solved one after the other, each from the last**: `greedy_nearest_order`; [287]
- **The class to collect examples of next**: `next_class_by_locus` (for classes in a tree); [19]
- **Splits to test methods for unknown classes**: `hidden_class_folds` (tune on known classes alone),
  `semantic_difficulty_split` (easy and hard unknown ones); [280, 289]

Types: `Best`, `FarthestPoints`, `KeptTokens`.
"""

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
