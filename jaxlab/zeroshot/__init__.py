"""Rules on fixed embeddings: classifiers from texts, prompts and a few examples.

- **A classifier from the names of classes**: `semantic_targets` (fixed class vectors, before any example); [69]
- **Examples of some classes, and others known by name alone**: `gda_new_class_classifier` (borrows the nearest
  examples), `ensemble_logits` (adds it to the zero-shot logits); [14]
- **Labels the classifier never saw, with distances between labels**: `frechet_mean_predict` (from a table, the label),
  `frechet_costs` (from a table, all costs), `tree_frechet_costs` (labels in a tree), `embedding_frechet_costs` (labels
  with embeddings); [19]
- **Which unseen labels can be predicted at all**: `locus_mask` (labels in a tree); [19]
- **A prompt to find from a few examples**: `greedy_prompt_search` (word by word, with a prior); [56]
- **Many different targets from one text**: `semantic_variations` (embeddings that nearly mean the same); [215]

Types: `PromptSearch`.
"""

from jaxlab.zeroshot.ensembles import ensemble_logits, gda_new_class_classifier
from jaxlab.zeroshot.metric_labels import (
    embedding_frechet_costs,
    frechet_costs,
    frechet_mean_predict,
    locus_mask,
    tree_frechet_costs,
)
from jaxlab.zeroshot.search import PromptSearch, greedy_prompt_search, semantic_variations
from jaxlab.zeroshot.semantics import semantic_targets

__all__ = [
    "PromptSearch",
    "embedding_frechet_costs",
    "ensemble_logits",
    "frechet_costs",
    "frechet_mean_predict",
    "gda_new_class_classifier",
    "greedy_prompt_search",
    "locus_mask",
    "semantic_targets",
    "semantic_variations",
    "tree_frechet_costs",
]
