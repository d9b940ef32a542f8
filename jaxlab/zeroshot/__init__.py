"""Rules on fixed embeddings: classifiers from texts, prompts and a few examples."""

from jaxlab.zeroshot.ensembles import ensemble_logits

__all__ = ["ensemble_logits"]
