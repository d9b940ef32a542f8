"""Rules on fixed embeddings: classifiers from texts, prompts and a few examples."""

from jaxlab.zeroshot.ensembles import ensemble_logits, gda_new_class_classifier
from jaxlab.zeroshot.search import semantic_variations

__all__ = [
    "ensemble_logits",
    "gda_new_class_classifier",
    "semantic_variations",
]
