"""Closed-form learning: statistics that add, and the classifiers that are read off them.

What learns from a stream keeps a state: a function whose name ends in `_init` makes it, and updates take a chunk of
rows at a time. Start with the statistics of classes; most of the linear classifiers need nothing else.

- **Labelled rows that come in chunks, or from several clients**: `class_stats_init` (says which moments are kept),
  `class_stats_update` (a chunk more), `class_stats_merge` (two streams together), `class_stats_forget` (rows to be
  unlearned, exactly); [40, 119]
- **Means and spread of classes**: `class_stats_means`, `class_stats_variance` (of every feature),
  `class_stats_covariance` (of every class), `within_scatter` (pooled over all classes), `class_means` (from one array,
  hard or soft labels); [40, 58, 261]
- **A classifier from class statistics alone**: `nearest_mean` (counts and sums are enough), `naive_bayes` (a variance
  per feature), `lda` (one covariance for all classes), `ks_precision` (its inverse from few rows), `mahalanobis`
  (distances, also for strange inputs), `head_logits` (applies a linear one); [14, 40, 58, 271]
- **A linear classifier of rows in memory**: `logistic_regression` (penalised likelihood, Newton steps),
  `linear_probe` (train and test features to logits); [58, 271]
- **Ridge regression of a stream**: `gram_init` (empty; compensated sums if asked), `gram_update` (a chunk more),
  `gram_merge` (two streams together), `gram_forget` (rows to be unlearned), `gram_solve` (the weight at any time),
  `gram_from_class_stats` (class statistics are there already), `ridge_solve` (products of the rows at hand),
  `class_balanced_ridge` (classes of unequal size), `rls_init` and `rls_update` (a current weight after every chunk);
  [70]
- **Classes that no hyperplane separates**: `random_features_init` (drawn once, ReLU or Gaussian), `random_features`
  (the wider rows); [70]
- **Only the mean responses of bags**: `aggregate_least_squares` (between bag level and instance level); [247]
- **One vector per class**: `prototype_logits` (distance, cosine or inner product), `calibrate_prototypes` (few-shot
  classes beside base classes); [18, 40, 69, 288]
- **Classes with few rows, or none kept**: `borrow_gaussian` (spread of similar frequent classes),
  `sample_class_gaussians` (draws rows to train on); [223, 252]
- **Groups in rows without labels**: `kmeans` (hard, best of several starts), `kmeans_init` (the seeds alone), `gmm_em`
  (soft, groups of any shape), `gmm_log_prob` (densities and posteriors of rows); [14, 46, 104, 109]
- **Fewer dimensions**: `pca` (directions of largest variance), `pca_transform` (coordinates, whitened or not),
  `ppca_fit` (a density with few factors), `ppca_posterior_mean` (expected factors of rows), `ppca_log_prob` (how likely
  rows are); [46]
- **Features of two models in one space**: `procrustes` (closest rotation, rows in pairs); [270]
- **Parts that add up to a matrix**: `nmf` (non-negative factors, by iteration), `anchor_rows` (the pure rows, which
  make them unique); [186]
- **Rules that a person can read**: `tsetlin_init` (features are bits), `tsetlin_update` (learns from labelled rows),
  `tsetlin_predict` (votes for every class), `tsetlin_clauses` (the rules themselves); [45]
- **Exact probabilities of discrete data**: `hclt_init` (from a tree of variables), `hclt_em_step` (fits it to a batch),
  `hclt_log_prob` (also of some variables only), `hclt_prefix_log_marginals` (all conditionals, to encode),
  `hclt_prefix_init`, `hclt_next_log_probs` and `hclt_observe` (one variable after another, to decode); [277]
- **Two networks, one too sure of itself**: `balanced_logit_average` (a temperature for each); [199]
- **A solution to hold training against**: `deep_linear_collapse_solution` (collapse with unequal classes),
  `robust_linear_gmm` (two classes under attack); [228, 286]

Types: `ClassStats`, `GramState`, `RLSState`, `Head`, `LinearRule`, `RandomFeatures`, `ClassSamples`, `KMeansResult`,
`GaussianMixture`, `MixtureFit`, `PCA`, `PPCA`, `NMF`, `TsetlinState`, `HiddenTree`, `PrefixState`,
`DeepLinearCollapse`.
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
