"""Scores of inputs that do not belong: out of distribution, unknown, generated, attacked or defective.

Every score is larger for inputs that look like the training data; `metrics.auroc` tells how well one separates.

- **A classifier is there, and nothing else**: `max_softmax` (the baseline), `max_logit` (keeps the size of the logits),
  `energy` (of all logits together), `entropy_score` (of the whole distribution); [289]
- **Features of the training data are there**: `mahalanobis_score` (classes as Gaussians; from
  `analytic.class_stats_update`), `knn_score` (keeps all rows, assumes no form); [20, 271]
- **No outliers to train against**: `virtual_outliers` (made at the border of the features); [20]
"""

from jaxlab.detect.ood import energy, entropy_score, knn_score, mahalanobis_score, max_logit, max_softmax
from jaxlab.detect.outliers import virtual_outliers

__all__ = ["energy", "entropy_score", "knn_score", "mahalanobis_score", "max_logit", "max_softmax", "virtual_outliers"]
