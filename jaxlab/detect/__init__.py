"""Scores of inputs that do not belong: out of distribution, unknown, generated, attacked or defective."""

from jaxlab.detect.ood import energy, mahalanobis_score, max_logit, max_softmax

__all__ = ["energy", "mahalanobis_score", "max_logit", "max_softmax"]
