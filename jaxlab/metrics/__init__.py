"""Measures of how well something worked; larger is better unless a name says loss, distance, error or divergence."""

from jaxlab.metrics.accuracy import accuracy, harmonic_mean
from jaxlab.metrics.binary import auroc, average_precision, tpr_at_fpr
from jaxlab.metrics.continual import (
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    communication_floats,
    forgetting,
)
from jaxlab.metrics.samples import PrecisionRecall, frechet_distance, precision_recall_knn
from jaxlab.metrics.scaling import time_to_target

__all__ = [
    "PrecisionRecall",
    "accuracy",
    "auroc",
    "average_accuracy",
    "average_incremental_accuracy",
    "average_precision",
    "backward_transfer",
    "communication_floats",
    "forgetting",
    "frechet_distance",
    "harmonic_mean",
    "precision_recall_knn",
    "time_to_target",
    "tpr_at_fpr",
]
