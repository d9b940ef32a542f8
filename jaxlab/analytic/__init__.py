"""Closed-form learning: statistics that add, and the classifiers that are read off them.

- ``class_stats_*``: counts, sums and second moments per class, a group under merge and forget
- ``nearest_mean``, ``lda``, ``naive_bayes``, ``mahalanobis``, ``logistic_regression``: classifiers; ``linear_probe``
- ``gram_*``, ``ridge_solve``, ``class_balanced_ridge``, ``rls_*``: ridge regression of a stream
- ``random_features*``: expansions drawn once
- ``prototype_logits``, ``calibrate_prototypes``, ``class_means``: one vector per class
- ``procrustes``, ``nmf``, ``anchor_rows``: the closest rotation, non-negative factors
- ``gmm_*``, ``kmeans``: Gaussian mixtures, clusters
- ``tsetlin_*``: rules of AND and NOT
- ``hclt_*``: a tractable density of discrete data
- ``sample_class_gaussians``: features of classes whose rows are gone
"""

from jaxlab.analytic.circuits import (
    HiddenTree,
    PrefixState,
    hclt_em_step,
    hclt_init,
    hclt_log_prob,
    hclt_next_log_probs,
    hclt_observe,
    hclt_prefix_init,
    hclt_prefix_log_marginals,
)
from jaxlab.analytic.clustering import KMeansResult, kmeans, kmeans_init
from jaxlab.analytic.components import PCA, PPCA, pca, pca_transform, ppca_fit, ppca_log_prob, ppca_posterior_mean
from jaxlab.analytic.factorization import NMF, anchor_rows, nmf, procrustes
from jaxlab.analytic.gaussians import ClassSamples, borrow_gaussian, sample_class_gaussians
from jaxlab.analytic.gram import (
    GramState,
    aggregate_least_squares,
    class_balanced_ridge,
    gram_forget,
    gram_from_class_stats,
    gram_init,
    gram_merge,
    gram_solve,
    gram_update,
    ridge_solve,
)
from jaxlab.analytic.heads import (
    Head,
    head_logits,
    ks_precision,
    lda,
    logistic_regression,
    mahalanobis,
    naive_bayes,
    nearest_mean,
)
from jaxlab.analytic.mixtures import GaussianMixture, MixtureFit, gmm_em, gmm_log_prob
from jaxlab.analytic.probes import linear_probe
from jaxlab.analytic.prototypes import calibrate_prototypes, prototype_logits
from jaxlab.analytic.random_features import RandomFeatures, random_features, random_features_init
from jaxlab.analytic.recursive import RLSState, rls_init, rls_update
from jaxlab.analytic.statistics import (
    ClassStats,
    class_means,
    class_stats_covariance,
    class_stats_forget,
    class_stats_init,
    class_stats_means,
    class_stats_merge,
    class_stats_update,
    class_stats_variance,
    within_scatter,
)
from jaxlab.analytic.theory import (
    DeepLinearCollapse,
    LinearRule,
    balanced_logit_average,
    deep_linear_collapse_solution,
    robust_linear_gmm,
)
from jaxlab.analytic.tsetlin import (
    TsetlinState,
    tsetlin_clauses,
    tsetlin_init,
    tsetlin_predict,
    tsetlin_update,
)

__all__ = [
    "NMF",
    "PCA",
    "PPCA",
    "ClassSamples",
    "ClassStats",
    "DeepLinearCollapse",
    "GaussianMixture",
    "GramState",
    "Head",
    "HiddenTree",
    "KMeansResult",
    "LinearRule",
    "MixtureFit",
    "PrefixState",
    "RLSState",
    "RandomFeatures",
    "TsetlinState",
    "aggregate_least_squares",
    "anchor_rows",
    "balanced_logit_average",
    "borrow_gaussian",
    "calibrate_prototypes",
    "class_balanced_ridge",
    "class_means",
    "class_stats_covariance",
    "class_stats_forget",
    "class_stats_init",
    "class_stats_means",
    "class_stats_merge",
    "class_stats_update",
    "class_stats_variance",
    "deep_linear_collapse_solution",
    "gmm_em",
    "gmm_log_prob",
    "gram_forget",
    "gram_from_class_stats",
    "gram_init",
    "gram_merge",
    "gram_solve",
    "gram_update",
    "hclt_em_step",
    "hclt_init",
    "hclt_log_prob",
    "hclt_next_log_probs",
    "hclt_observe",
    "hclt_prefix_init",
    "hclt_prefix_log_marginals",
    "head_logits",
    "kmeans",
    "kmeans_init",
    "ks_precision",
    "lda",
    "linear_probe",
    "logistic_regression",
    "mahalanobis",
    "naive_bayes",
    "nearest_mean",
    "nmf",
    "pca",
    "pca_transform",
    "ppca_fit",
    "ppca_log_prob",
    "ppca_posterior_mean",
    "procrustes",
    "prototype_logits",
    "random_features",
    "random_features_init",
    "ridge_solve",
    "rls_init",
    "rls_update",
    "robust_linear_gmm",
    "sample_class_gaussians",
    "tsetlin_clauses",
    "tsetlin_init",
    "tsetlin_predict",
    "tsetlin_update",
    "within_scatter",
]
