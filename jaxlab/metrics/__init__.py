"""Measures of how well something worked; larger is better unless the name or the first line of a function differs.

Most take arrays over all examples, with a mask of those that count, and return one number for `jit` or `vmap`. A
published measure keeps its published direction: read the first line before you rank anything by the value.

- **How often is it right**: `accuracy` (among the k best, too), `accuracy_from_confusion` (counts summed over batches),
  `harmonic_mean` (several accuracies, all must be high), `expected_squared_distance` (some mistakes lie nearer);
  [18, 19, 204]
- **A rare class hides in the accuracy**: `confusion_matrix` (counts that the others read), `soft_confusion` (counts
  with a gradient, two classes), `balanced_accuracy` (mean recall), `g_mean` (no class may be missed), `f_beta`
  (precision against recall), `matthews` and `cohen_kappa` (0 is chance); [204, 233, 274]
- **A score, and no threshold yet**: `auroc` (any threshold, 1/2 is chance), `average_precision` (positives are rare),
  `tpr_at_fpr` (few false alarms allowed), `oscr` (unknown classes among the known), `expected_calibration_error` (are
  the probabilities honest); [245, 289]
- **Some classes or groups are served worse**: `accuracy_disparity` (best class less worst), `class_errors_linear_gmm`
  (two Gaussian classes under attack), `class_operating_curves` (accept rates of each class), `opis` (spread of classes
  at one threshold), `opis_extremes` (best against worst of them), `group_histogram` (predictions of each group,
  binned), `jensen_shannon_divergence` (how far such distributions differ); [203, 228, 237]
- **Search and ranking**: `recall_at_k` (how many relevant are found), `hits_at_k` (one found is enough), `ndcg_at_k`
  (graded relevance, order counts), `mean_average_precision` (whole ranking, or several labels), `clip_score` (one
  caption and its image), `utilization` (how near the nearest reference lies); [21, 188, 241, 255, 261]
- **A new model queries an old index**: `compatibility_matrix` (every model in every index), `average_compatibility`
  (how often an update pays), `average_accuracy_lower` (mean over own and older indexes); [288]
- **Do two lists of numbers agree**: `pearson` (on a line), `spearman` (in rank), `kendall_tau` (pair by pair, ties
  taken out), `precision_at_t` (only the best picks matter); [25, 289]
- **How far can noisy ratings be predicted**: `split_half_reliability` (the ceiling, from several raters),
  `spearman_brown` (what more raters would give); [116]
- **Are two things dependent**: `distance_correlation` (vectors, scaled to at most 1), `distance_covariance` (without
  the scaling), `pairwise_mutual_information` (all pairs of discrete columns); [237, 277]
- **A stream of tasks**: `average_accuracy` (at the end), `average_incremental_accuracy` (along the way), `forgetting`
  (lost since the best moment), `backward_transfer` (change since learned, with sign), `stream_summary` (tasks that
  differ, with their cost); [191, 208]
- **What it costs, and who is fastest**: `time_to_target` (one curve), `performance_profile` (many methods and
  workloads), `algoperf_score` (that profile as one number), `pareto_front` (cost against score),
  `communication_floats` (what a client sends), `fit_power_law` (what a larger size would give);
  [3, 30, 58, 119, 159, 208]
- **Clusters**: `clustering_accuracy` (each cluster stands for a class), `match_clusters` (which for which),
  `normalized_mutual_info` and `adjusted_rand_index` (no matching; the latter less chance), `silhouette` (no labels),
  `h0_deaths` (no clusters either, distances alone), `persistence_statistics` (a summary of those deaths); [121, 280]
- **Are the features any good**: `knn_accuracy` (labelled neighbours, no training), `fisher_discriminant_ratio` (class
  means beside their spread), `class_scatter` (the two covariances themselves), `linear_cka` (two networks, same
  examples), `subspace_distance` (largest angle between two spans); [121, 208, 235, 287]
- **Neural collapse**: `nc1` (spread within classes), `nc2_etf` and `nc2_orthogonal` (the frame, centred or not), `nc3`
  (logits of the means), `self_duality` (classifier against means); [286]
- **Generated samples**: `frechet_distance` (one number, as Gaussians), `precision_recall_knn` (fidelity and coverage
  apart), `recognizability` (is the class seen), `feature_diversity` (spread within a class); [3, 282]
- **Does the picture obey the prompt**: `clause_correct` (counts of objects), `relative_position` (left, right, above,
  below), `bottleneck_score` (several marks as one); [96]
- **Compare with the original**: `psnr` (element by element), `ssim` (local structure), `si_sdr` (signals, any volume);
  [84, 259]
- **Boxes and masks**: `detection_average_precision` (boxes, AP50 and others), `mean_iou` (classes of pixels);
  [273, 274]
- **How varied is a set**: `vendi_score` (effective number, any similarity), `vendi_score_from_embeddings` (cosine of
  rows), `internal_diversity` (mean dissimilarity, no eigenvalues), `renyi_entropy` (the shares are known),
  `effective_rank` (directions filled), `mean_pairwise_distance` (on average), `min_pairwise_distance` (the closest two
  of a subset); [219, 220]
- **Do the members of an ensemble differ**: `ensemble_decomposition` (what diversity wins), `pairwise_disagreement`
  (predictions of every two), `false_false_true` (errors that averaging repairs), `vulnerability_diversity` (weak
  features shared or not), `transfer_rate` (attacks that carry over); [199, 200, 205, 211, 229]
- **Where did training end up**: `bezier` (a curve between networks), `mode_connectivity` (is there a barrier on it),
  `classify_phase` (loss, sharpness, barrier, likeness together), `learning_improvement` (learning within a sequence),
  `order_estimate_error` (parameters guessed without retraining); [51, 194, 235]
- **A guarantee**: `seeger_bound` (a posterior, the tightest), `mcallester_bound` (likewise, has a gradient),
  `occam_bound` (one hypothesis of a list), `binary_kl` and `kl_inverse` (parts of the first),
  `cbc_certified_radius` (components: how far inputs may move); [56, 279]
- **How complex is the fit**: `effective_parameters` (on new inputs too), `smoother_trace` (the classical one),
  `smoother_from_leaves` (forests as smoothers), `boosting_smoother` (boosted trees), `inductive_bias_from_errors` (nats
  of bias still missing), `scaled_ncx2_fit_moments` and `ncx2_log_cdf_approx` (parts of the last); [225, 238]
- **Labels that cannot be trusted**: `complementary_unbiased_risk` (only wrong classes named),
  `complementary_surrogate_score` (likewise, no inverse needed), `complementary_mixup_noise` (how much mixing spoils),
  `prediction_oscillation` (moved since an earlier epoch), `local_outlier_factor` (odd among its neighbours);
  [104, 108, 109, 223]

Types: `ClassErrors`, `ClassScatter`, `Confusion`, `EnsembleDecomposition`, `OperatingCurves`, `PersistenceStatistics`,
`PhaseThresholds`, `PowerLaw`, `PrecisionRecall`, `Recognizability`, `ScaledNcx2`, `StreamSummary`.
"""

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
from jaxlab.metrics.calibration import expected_calibration_error
from jaxlab.metrics.clustering import (
    adjusted_rand_index,
    clustering_accuracy,
    match_clusters,
    normalized_mutual_info,
    silhouette,
)
from jaxlab.metrics.collapse import nc1, nc2_etf, nc2_orthogonal, nc3, self_duality
from jaxlab.metrics.compatibility import average_accuracy_lower, average_compatibility, compatibility_matrix
from jaxlab.metrics.confusion import (
    Confusion,
    accuracy_from_confusion,
    balanced_accuracy,
    cohen_kappa,
    confusion_matrix,
    f_beta,
    g_mean,
    matthews,
    mean_iou,
    soft_confusion,
)
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
from jaxlab.metrics.ensembles import (
    EnsembleDecomposition,
    ensemble_decomposition,
    pairwise_disagreement,
    transfer_rate,
    vulnerability_diversity,
)
from jaxlab.metrics.geometry import (
    ClassScatter,
    class_scatter,
    expected_squared_distance,
    feature_diversity,
    fisher_discriminant_ratio,
    subspace_distance,
)
from jaxlab.metrics.images import psnr, si_sdr, ssim
from jaxlab.metrics.landscape import PhaseThresholds, bezier, classify_phase, mode_connectivity
from jaxlab.metrics.outliers import local_outlier_factor
from jaxlab.metrics.profiles import (
    algoperf_score,
    learning_improvement,
    order_estimate_error,
    pareto_front,
    performance_profile,
)
from jaxlab.metrics.ranking import clip_score, hits_at_k, mean_average_precision, ndcg_at_k, recall_at_k
from jaxlab.metrics.representation import knn_accuracy, linear_cka
from jaxlab.metrics.samples import (
    PrecisionRecall,
    Recognizability,
    frechet_distance,
    precision_recall_knn,
    recognizability,
)
from jaxlab.metrics.scaling import PowerLaw, fit_power_law, time_to_target
from jaxlab.metrics.scenes import (
    bottleneck_score,
    clause_correct,
    detection_average_precision,
    relative_position,
)
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
from jaxlab.metrics.verification import OperatingCurves, class_operating_curves, opis, opis_extremes, utilization
from jaxlab.metrics.weak_labels import (
    complementary_mixup_noise,
    complementary_surrogate_score,
    complementary_unbiased_risk,
    prediction_oscillation,
)

__all__ = [
    "ClassErrors",
    "ClassScatter",
    "Confusion",
    "EnsembleDecomposition",
    "OperatingCurves",
    "PersistenceStatistics",
    "PhaseThresholds",
    "PowerLaw",
    "PrecisionRecall",
    "Recognizability",
    "ScaledNcx2",
    "StreamSummary",
    "accuracy",
    "accuracy_disparity",
    "accuracy_from_confusion",
    "adjusted_rand_index",
    "algoperf_score",
    "auroc",
    "average_accuracy",
    "average_accuracy_lower",
    "average_compatibility",
    "average_incremental_accuracy",
    "average_precision",
    "backward_transfer",
    "balanced_accuracy",
    "bezier",
    "binary_kl",
    "boosting_smoother",
    "bottleneck_score",
    "cbc_certified_radius",
    "class_errors_linear_gmm",
    "class_operating_curves",
    "class_scatter",
    "classify_phase",
    "clause_correct",
    "clip_score",
    "clustering_accuracy",
    "cohen_kappa",
    "communication_floats",
    "compatibility_matrix",
    "complementary_mixup_noise",
    "complementary_surrogate_score",
    "complementary_unbiased_risk",
    "confusion_matrix",
    "detection_average_precision",
    "distance_correlation",
    "distance_covariance",
    "effective_parameters",
    "effective_rank",
    "ensemble_decomposition",
    "expected_calibration_error",
    "expected_squared_distance",
    "f_beta",
    "false_false_true",
    "feature_diversity",
    "fisher_discriminant_ratio",
    "fit_power_law",
    "forgetting",
    "frechet_distance",
    "g_mean",
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
    "matthews",
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
    "ndcg_at_k",
    "normalized_mutual_info",
    "occam_bound",
    "opis",
    "opis_extremes",
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
    "prediction_oscillation",
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
    "soft_confusion",
    "spearman",
    "spearman_brown",
    "split_half_reliability",
    "ssim",
    "stream_summary",
    "subspace_distance",
    "time_to_target",
    "tpr_at_fpr",
    "transfer_rate",
    "utilization",
    "vendi_score",
    "vendi_score_from_embeddings",
    "vulnerability_diversity",
]
