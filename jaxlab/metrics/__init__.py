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
from jaxlab.metrics.diversity import mean_pairwise_distance
from jaxlab.metrics.geometry import feature_diversity
from jaxlab.metrics.images import psnr, si_sdr
from jaxlab.metrics.ranking import clip_score, recall_at_k
from jaxlab.metrics.samples import (
    PrecisionRecall,
    Recognizability,
    frechet_distance,
    precision_recall_knn,
    recognizability,
)
from jaxlab.metrics.scaling import PowerLaw, fit_power_law, time_to_target
from jaxlab.metrics.scenes import bottleneck_score, clause_correct, relative_position

__all__ = [
    "PowerLaw",
    "PrecisionRecall",
    "Recognizability",
    "accuracy",
    "auroc",
    "average_accuracy",
    "average_incremental_accuracy",
    "average_precision",
    "backward_transfer",
    "bottleneck_score",
    "clause_correct",
    "clip_score",
    "communication_floats",
    "feature_diversity",
    "fit_power_law",
    "forgetting",
    "frechet_distance",
    "harmonic_mean",
    "mean_pairwise_distance",
    "precision_recall_knn",
    "psnr",
    "recall_at_k",
    "recognizability",
    "relative_position",
    "si_sdr",
    "time_to_target",
    "tpr_at_fpr",
]
