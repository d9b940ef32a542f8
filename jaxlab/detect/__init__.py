"""Scores of inputs that do not belong: out of distribution, unknown, generated, attacked or defective."""

from jaxlab.detect.ood import energy, max_logit, max_softmax

__all__ = ["energy", "max_logit", "max_softmax"]
