"""Scores of inputs that do not belong: out of distribution, unknown, generated, attacked or defective."""

from jaxlab.detect.ood import energy, entropy_score, knn_score, mahalanobis_score, max_logit, max_softmax
from jaxlab.detect.outliers import virtual_outliers

__all__ = ["energy", "entropy_score", "knn_score", "mahalanobis_score", "max_logit", "max_softmax", "virtual_outliers"]
