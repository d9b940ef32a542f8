"""Measures of how well something worked; larger is better unless a name says loss, distance, error or divergence."""

from jaxlab.metrics.accuracy import (
    ClassErrors,
    accuracy,
    accuracy_disparity,
    class_errors_linear_gmm,
    false_false_true,
    harmonic_mean,
)
from jaxlab.metrics.binary import auroc, average_precision, oscr, tpr_at_fpr
from jaxlab.metrics.bounds import (
    binary_kl,
    cbc_certified_radius,
    kl_inverse,
    mcallester_bound,
    occam_bound,
    seeger_bound,
)
from jaxlab.metrics.clustering import (
    adjusted_rand_index,
    clustering_accuracy,
    match_clusters,
    normalized_mutual_info,
    silhouette,
)
from jaxlab.metrics.collapse import nc1, nc2_etf, nc2_orthogonal, nc3, self_duality
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
from jaxlab.metrics.correlation import (
    kendall_tau,
    pearson,
    precision_at_t,
    spearman,
    spearman_brown,
    split_half_reliability,
)
from jaxlab.metrics.dependence import (
    distance_correlation,
    distance_covariance,
    group_histogram,
    jensen_shannon_divergence,
    pairwise_mutual_information,
)
from jaxlab.metrics.diversity import (
    effective_rank,
    mean_pairwise_distance,
    min_pairwise_distance,
    renyi_entropy,
)
from jaxlab.metrics.ensembles import EnsembleDecomposition, ensemble_decomposition, pairwise_disagreement
from jaxlab.metrics.geometry import (
    ClassScatter,
    class_scatter,
    expected_squared_distance,
    feature_diversity,
    fisher_discriminant_ratio,
    subspace_distance,
)
from jaxlab.metrics.images import psnr, si_sdr
from jaxlab.metrics.landscape import PhaseThresholds, bezier, classify_phase, mode_connectivity
from jaxlab.metrics.outliers import local_outlier_factor
from jaxlab.metrics.profiles import (
    algoperf_score,
    learning_improvement,
    order_estimate_error,
    pareto_front,
    performance_profile,
)
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
from jaxlab.metrics.smoothers import (
    ScaledNcx2,
    boosting_smoother,
    effective_parameters,
    inductive_bias_from_errors,
    ncx2_log_cdf_approx,
    scaled_ncx2_fit_moments,
    smoother_from_leaves,
    smoother_trace,
)
from jaxlab.metrics.topology import PersistenceStatistics, h0_deaths, persistence_statistics
from jaxlab.metrics.vendi import internal_diversity, vendi_score, vendi_score_from_embeddings

__all__ = [
    "ClassErrors",
    "ClassScatter",
    "EnsembleDecomposition",
    "PersistenceStatistics",
    "PhaseThresholds",
    "PowerLaw",
    "PrecisionRecall",
    "Recognizability",
    "ScaledNcx2",
    "StreamSummary",
    "accuracy",
    "accuracy_disparity",
    "adjusted_rand_index",
    "algoperf_score",
    "auroc",
    "average_accuracy",
    "average_accuracy_lower",
    "average_compatibility",
    "average_incremental_accuracy",
    "average_precision",
    "backward_transfer",
    "bezier",
    "binary_kl",
    "boosting_smoother",
    "bottleneck_score",
    "cbc_certified_radius",
    "class_errors_linear_gmm",
    "class_scatter",
    "classify_phase",
    "clause_correct",
    "clip_score",
    "clustering_accuracy",
    "communication_floats",
    "compatibility_matrix",
    "confusion_matrix",
    "distance_correlation",
    "distance_covariance",
    "effective_parameters",
    "effective_rank",
    "ensemble_decomposition",
    "expected_squared_distance",
    "false_false_true",
    "feature_diversity",
    "fisher_discriminant_ratio",
    "fit_power_law",
    "forgetting",
    "frechet_distance",
    "group_histogram",
    "h0_deaths",
    "harmonic_mean",
    "hits_at_k",
    "inductive_bias_from_errors",
    "internal_diversity",
    "jensen_shannon_divergence",
    "kendall_tau",
    "kl_inverse",
    "knn_accuracy",
    "learning_improvement",
    "linear_cka",
    "local_outlier_factor",
    "match_clusters",
    "mcallester_bound",
    "mean_average_precision",
    "mean_iou",
    "mean_pairwise_distance",
    "min_pairwise_distance",
    "mode_connectivity",
    "nc1",
    "nc2_etf",
    "nc2_orthogonal",
    "nc3",
    "ncx2_log_cdf_approx",
    "normalized_mutual_info",
    "occam_bound",
    "order_estimate_error",
    "oscr",
    "pairwise_disagreement",
    "pairwise_mutual_information",
    "pareto_front",
    "pearson",
    "performance_profile",
    "persistence_statistics",
    "precision_at_t",
    "precision_recall_knn",
    "psnr",
    "recall_at_k",
    "recognizability",
    "relative_position",
    "renyi_entropy",
    "scaled_ncx2_fit_moments",
    "seeger_bound",
    "self_duality",
    "si_sdr",
    "silhouette",
    "smoother_from_leaves",
    "smoother_trace",
    "spearman",
    "spearman_brown",
    "split_half_reliability",
    "stream_summary",
    "subspace_distance",
    "time_to_target",
    "tpr_at_fpr",
    "vendi_score",
    "vendi_score_from_embeddings",
]
