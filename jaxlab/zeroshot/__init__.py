"""Rules on fixed embeddings: classifiers from texts, prompts and a few examples."""

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
