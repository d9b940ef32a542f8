"""Measures of how well something worked; larger is better unless a name says loss, distance, error or divergence."""

from jaxlab.metrics.accuracy import accuracy, harmonic_mean
from jaxlab.metrics.binary import auroc, average_precision, oscr, tpr_at_fpr
from jaxlab.metrics.bounds import cbc_certified_radius
from jaxlab.metrics.clustering import (
    adjusted_rand_index,
    clustering_accuracy,
    match_clusters,
    normalized_mutual_info,
    silhouette,
)
from jaxlab.metrics.compatibility import average_accuracy_lower, average_compatibility, compatibility_matrix
from jaxlab.metrics.confusion import confusion_matrix, mean_iou
from jaxlab.metrics.continual import (
    StreamSummary,
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    communication_floats,
    forgetting,
    stream_summary,
)
from jaxlab.metrics.correlation import kendall_tau, pearson, precision_at_t, spearman
from jaxlab.metrics.dependence import jensen_shannon_divergence
from jaxlab.metrics.diversity import mean_pairwise_distance
from jaxlab.metrics.ensembles import pairwise_disagreement
from jaxlab.metrics.geometry import (
    ClassScatter,
    class_scatter,
    expected_squared_distance,
    feature_diversity,
    subspace_distance,
)
from jaxlab.metrics.images import psnr, si_sdr
from jaxlab.metrics.outliers import local_outlier_factor
from jaxlab.metrics.profiles import pareto_front
from jaxlab.metrics.ranking import clip_score, hits_at_k, mean_average_precision, recall_at_k
from jaxlab.metrics.representation import knn_accuracy, linear_cka
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
    "ClassScatter",
    "PowerLaw",
    "PrecisionRecall",
    "Recognizability",
    "StreamSummary",
    "accuracy",
    "adjusted_rand_index",
    "auroc",
    "average_accuracy",
    "average_accuracy_lower",
    "average_compatibility",
    "average_incremental_accuracy",
    "average_precision",
    "backward_transfer",
    "bottleneck_score",
    "cbc_certified_radius",
    "class_scatter",
    "clause_correct",
    "clip_score",
    "clustering_accuracy",
    "communication_floats",
    "compatibility_matrix",
    "confusion_matrix",
    "expected_squared_distance",
    "feature_diversity",
    "fit_power_law",
    "forgetting",
    "frechet_distance",
    "harmonic_mean",
    "hits_at_k",
    "jensen_shannon_divergence",
    "kendall_tau",
    "knn_accuracy",
    "linear_cka",
    "local_outlier_factor",
    "match_clusters",
    "mean_average_precision",
    "mean_iou",
    "mean_pairwise_distance",
    "normalized_mutual_info",
    "oscr",
    "pairwise_disagreement",
    "pareto_front",
    "pearson",
    "precision_at_t",
    "precision_recall_knn",
    "psnr",
    "recall_at_k",
    "recognizability",
    "relative_position",
    "si_sdr",
    "silhouette",
    "spearman",
    "stream_summary",
    "subspace_distance",
    "time_to_target",
    "tpr_at_fpr",
]
