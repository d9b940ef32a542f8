"""Losses: one value per example, larger is worse; the mean is the caller's.

Exceptions (one number per batch, weights, masks, logits, gains to be maximised) say so in their docstrings. Examples
marked False in `where` count for nothing: average with `numerics.masked_mean`. Most losses that couple the batch take
`axis_name` for a batch that is split over a mapped axis.

- **Some labels are wrong**: `generalized_cross_entropy` (from cross entropy to absolute error),
  `symmetric_cross_entropy` (with a bounded reverse term), `normalized_cross_entropy` (divided by that of all labels),
  `mean_absolute_error_label` (bounded, linear in the probability), `jensen_shannon_label` (bounded, weight sets the
  shape), `asymmetric_generalized_cross_entropy` and `asymmetric_unhinged` (two forms: the true label is still
  commonest), `ldr_kl` (worst case over label weights), `ldr_weights` (those weights), `aldr_kl` (a temperature per
  training example), `aldr_init` (its table before training), `normalize_scores` (bounds differences of scores); [256]
- **A hinge instead of a softmax**: `crammer_singer` (only the strongest rival counts), `weston_watkins` (every rival
  within the margin counts), `squared_hinge_ovr` (one linear SVM per class); [22, 256]
- **Very many classes**: `z_loss` (ignores shift and scale), `spherical_statistics` (sums without computing the logits),
  `z_loss_from_statistics` (the loss from those sums), `log_taylor_softmax` (a parabola replaces exp),
  `log_spherical_softmax` (squares replace exp); [227]
- **Classes of unequal size**: `class_balanced_weights` (rare classes weigh more), `logit_adjusted_cross_entropy` (any
  adjustment before the softmax), `class_prior` (shares from counts), `reverse_prior` (shares with their order
  reversed), `sade` (three experts, test shares unknown), `mdcs_diversity` (experts by powers of size),
  `confident_consistency` (an easier view teaches a harder); [60, 212, 233]
- **A rare positive class**: `dice_loss` (one minus a soft F1), `tversky` (misses cost more than false alarms),
  `any_loss` (any measure of a confusion), `amplify` (probabilities pushed to 0 and 1), `hard_negative_mask` (keep the
  highest-scored negatives), `weighted_binary_cross_entropy` (positives get a weight); [80, 188, 204]
- **Easy or empty examples drown the rest**: `gradient_harmonized_weights` (by how many pull alike),
  `guided_loss_scaling` (class loss at box loss size), `bias_loss` (by the variance of features), `bias_weights` (only
  its weights), `bias_minimum` (smallest variance seen so far); [39, 201]
- **Labels only say what an example is not**: `negative_learning` (one or several wrong classes),
  `complementary_multiple` (several wrong classes, three shapes), `complementary_forward` (the transition matrix is
  known or trained), `complementary_exponential` (bounded, one label), `complementary_discriminative` (picks the label
  by 1 - p), `complementary_pairwise` (every other class scores higher), `complementary_order_preserving` (the class
  comes last), `complementary_risk_vector` (unbiased, may go negative), `non_negative_risk` (leaves negative parts out),
  `gradient_ascent_risk` (brings negative parts back), `complementary_scarce` (one binary risk per class); [108]
- **Only means of bags are known**: `bag_loss` (compares means), `instance_loss` (every member gets the mean),
  `interpolated_bag_loss` (between both, a regulariser), `private_bag_means` (hides single responses); [247]
- **Inputs of unknown classes will come**: `arpl` (bounds the known classes' space), `arpl_logits` (its scores for
  prediction), `energy_margin` (sample outliers are at hand); [20, 289]
- **Classes told apart by cosine, as faces are**: `cosface_logits` (a margin on the cosine), `arcface_logits` (a margin
  on the angle), `magface_logits` (a margin by embedding length), `unpg` (negative pairs join the softmax),
  `whisker_mask` (drops outlying values), `mada_cos` (scale and margin set themselves), `mada_cos_parameters` (what they
  are now); [113, 226]
- **Search by similarity, trained on pairs**: `contrastive_pairs` (one margin for each kind), `multi_similarity` (the
  hardest pairs weigh most), `tcm` (one threshold for all classes), `pair_masks` (which pairs share a class),
  `metric_mixup_pairs` (mixed embeddings), `metrix_contrastive` (contrastive loss with those mixes),
  `generalized_pair_loss` (pairs that match in part), `local_triplet` (matched parts of images); [113, 203, 255]
- **Classes as neighbours, means or templates**: `supervised_contrastive` (positives and negatives as masks), `look`
  (most nearest neighbours must agree), `knn_softmax` (the same with given keys), `prototypical` (few-shot episodes,
  class means), `template_margin` (several templates per class); [86, 119, 257, 279]
- **Views of an example instead of labels**: `info_nce` (queries, keys, optional further negatives), `nt_xent` (two
  views, all others negative), `mean_entropy` (maximise it: predictions spread over classes); [252]
- **Rotations as further labels**: `sla` (class and transformation at once), `joint_labels` (their labels),
  `aggregate_joint_logits` (class scores over all transformations); [157]
- **Which text belongs to which image**: `clip_loss` (from embeddings, softmax both ways), `pairwise_matching` (the same
  on any table), `bidirectional_hinge` (hardest negative by a margin), `cross_modal_projection` (several may belong
  together), `boost_absolute` (higher scores than an anchor model), `boost_relative` (clearer gaps than an anchor
  model), `soft_margin_hinge` (some pairs are doubtful), `margin_schedule` (margin share by correspondence),
  `pseudo_classification` (both views in one class); [104, 105]
- **One network should follow another**: `feature_alignment` (features, by direction), `relation_kl` (relations within
  the batch), `kl_divergence` (class distributions), `higher_order_compatibility` (new features against old ones);
  [6, 180, 215, 249, 257, 261, 270, 284, 288]
- **Networks or heads that must differ**: `diversity_regularized_ensemble` (trained together, diversity has weight),
  `jensen_gap` (how diverse they are, a gain), `divdis_objective` (heads independent on unlabelled data),
  `head_mutual_information` (that dependence alone), `dbat_disagreement` (a new one against earlier ones); [200, 205]
- **Inputs may be attacked**: `adversarial_linear_margin` (linear classifier, exact worst case), `dverge` (weak features
  not shared in ensembles); [228, 229]
- **Training data from several domains**: `alignment_penalty` (what domains measure should agree), `drm` (a head per
  domain and one for all), `pego` (low-rank changes kept orthogonal), `cross_orthogonality` (rows of two matrices);
  [197, 222, 254]
- **Fair or independent variables**: `concatenated_distance_covariance` (all attributes at once),
  `joint_distance_covariance` (mutual independence of all), `off_diagonal_covariance` (coordinates uncorrelated);
  [110, 237]
- **Old tasks must not be forgotten**: `ewc_penalty` (important parameters stay near); [191, 215]
- **No backpropagation through the whole**: `forward_forward` (layers tell real from wrong), `contrastive_cosine` (the
  same by direction, physical layers), `noprop_dt` (blocks denoise the label), `compound_supervision` (heads along the
  depth), `pseudo_residuals` (what boosting fits next); [29, 81, 258, 278]
- **A density or a latent code**: `nce` (unnormalised, the normaliser is learned), `monte_carlo_nll` (unnormalised,
  normaliser from noise draws), `gaussian_kl` (a code against the standard Gaussian); [29, 234]
- **Token sequences and preferences**: `dpo` (a preferred and a rejected answer), `cca` (guidance trained into the
  model), `sequence_log_prob` (what both of them take), `token_log_probs` (one value per token), `simplex_flow` (a
  denoiser of tokens); [16, 49]
- **A generator of images or sound**: `gan_discriminator` (real told from fake), `gan_generator` (fakes that pass for
  real), `clip_directional` (every image moves one way), `directional_moment` (the set moves as wanted), `vsd_surrogate`
  (distil a diffusion teacher), `adaptive_l2` (no error pulls too hard), `denoising_triplet` (wrong edit instructions
  explain worse); [7, 8, 91, 210, 215]
- **Boxes, depths and rendered views**: `distribution_focal` (a number as two bins), `depth_quality_focal` (class scores
  that know depth quality), `s3im` (rendered rays compared in groups); [84, 85]
- **Recommendations from clicks**: `bayesian_personalized_ranking` (chosen above not chosen),
  `collaborative_metric_hinge` (chosen nearer than others), `tri_bce` (two click models and their fusion);
  [110, 111, 241]
- **Good returns that were only luck**: `doc_tabular` (a latent without luck), `doc_tabular_init` (its tables),
  `conditional_mi_contrastive` (what a latent tells); [285]
- **Theory of the last layers**: `unconstrained_feature_mse` (features are parameters themselves); [286]

Types: `AdaptiveMargin`, `AldrState`, `DocParams`, `GroupEntropy`, `MixedPairs`, `SphericalStatistics`.
"""

from jaxlab.losses.adaptive_margin import AdaptiveMargin, mada_cos, mada_cos_parameters
from jaxlab.losses.adversarial import adversarial_linear_margin, gan_discriminator, gan_generator
from jaxlab.losses.aggregate import bag_loss, instance_loss, interpolated_bag_loss, private_bag_means
from jaxlab.losses.alignment import feature_alignment
from jaxlab.losses.complementary import (
    complementary_discriminative,
    complementary_exponential,
    complementary_forward,
    complementary_multiple,
    complementary_order_preserving,
    complementary_pairwise,
    negative_learning,
)
from jaxlab.losses.complementary_risk import (
    complementary_risk_vector,
    complementary_scarce,
    gradient_ascent_risk,
    non_negative_risk,
)
from jaxlab.losses.consistency import aggregate_joint_logits, joint_labels, sla
from jaxlab.losses.contrastive import clip_loss, info_nce, nt_xent, pairwise_matching
from jaxlab.losses.density import (
    DocParams,
    conditional_mi_contrastive,
    doc_tabular,
    doc_tabular_init,
    gaussian_kl,
    monte_carlo_nll,
    nce,
)
from jaxlab.losses.dependence import (
    concatenated_distance_covariance,
    cross_orthogonality,
    joint_distance_covariance,
    pego,
)
from jaxlab.losses.distributional import (
    AldrState,
    aldr_init,
    aldr_kl,
    ldr_kl,
    ldr_weights,
    normalize_scores,
)
from jaxlab.losses.divergence import kl_divergence, relation_kl
from jaxlab.losses.embedding import (
    clip_directional,
    directional_moment,
    higher_order_compatibility,
    off_diagonal_covariance,
)
from jaxlab.losses.ensemble import (
    dbat_disagreement,
    divdis_objective,
    diversity_regularized_ensemble,
    dverge,
    head_mutual_information,
    jensen_gap,
)
from jaxlab.losses.entropy import GroupEntropy, mean_entropy
from jaxlab.losses.hinges import crammer_singer, weston_watkins
from jaxlab.losses.imbalance import (
    class_prior,
    confident_consistency,
    logit_adjusted_cross_entropy,
    mdcs_diversity,
    reverse_prior,
    sade,
)
from jaxlab.losses.invariance import alignment_penalty, drm
from jaxlab.losses.local import compound_supervision, contrastive_cosine, forward_forward, noprop_dt, pseudo_residuals
from jaxlab.losses.margin import arcface_logits, cosface_logits, magface_logits, unpg, whisker_mask
from jaxlab.losses.matching import (
    bidirectional_hinge,
    boost_absolute,
    boost_relative,
    cross_modal_projection,
    margin_schedule,
    pseudo_classification,
    soft_margin_hinge,
)
from jaxlab.losses.metric_learning import (
    contrastive_pairs,
    generalized_pair_loss,
    multi_similarity,
    pair_masks,
    tcm,
    template_margin,
)
from jaxlab.losses.mixed_pairs import MixedPairs, local_triplet, metric_mixup_pairs, metrix_contrastive
from jaxlab.losses.open_set import arpl, arpl_logits, energy_margin
from jaxlab.losses.overlap import amplify, any_loss, dice_loss, hard_negative_mask, tversky
from jaxlab.losses.photometric import s3im
from jaxlab.losses.preference import cca, dpo
from jaxlab.losses.recommendation import bayesian_personalized_ranking, collaborative_metric_hinge, tri_bce
from jaxlab.losses.regression import (
    adaptive_l2,
    denoising_triplet,
    depth_quality_focal,
    distribution_focal,
    guided_loss_scaling,
    vsd_surrogate,
)
from jaxlab.losses.regularization import ewc_penalty, unconstrained_feature_mse
from jaxlab.losses.robust import (
    asymmetric_generalized_cross_entropy,
    asymmetric_unhinged,
    generalized_cross_entropy,
    jensen_shannon_label,
    mean_absolute_error_label,
    normalized_cross_entropy,
    squared_hinge_ovr,
    symmetric_cross_entropy,
)
from jaxlab.losses.sequence import sequence_log_prob, simplex_flow, token_log_probs
from jaxlab.losses.spherical import (
    SphericalStatistics,
    log_spherical_softmax,
    log_taylor_softmax,
    spherical_statistics,
    z_loss,
    z_loss_from_statistics,
)
from jaxlab.losses.supervised_contrastive import knn_softmax, look, prototypical, supervised_contrastive
from jaxlab.losses.weighting import (
    bias_loss,
    bias_minimum,
    bias_weights,
    class_balanced_weights,
    gradient_harmonized_weights,
    weighted_binary_cross_entropy,
)

__all__ = [
    "AdaptiveMargin",
    "AldrState",
    "DocParams",
    "GroupEntropy",
    "MixedPairs",
    "SphericalStatistics",
    "adaptive_l2",
    "adversarial_linear_margin",
    "aggregate_joint_logits",
    "aldr_init",
    "aldr_kl",
    "alignment_penalty",
    "amplify",
    "any_loss",
    "arcface_logits",
    "arpl",
    "arpl_logits",
    "asymmetric_generalized_cross_entropy",
    "asymmetric_unhinged",
    "bag_loss",
    "bayesian_personalized_ranking",
    "bias_loss",
    "bias_minimum",
    "bias_weights",
    "bidirectional_hinge",
    "boost_absolute",
    "boost_relative",
    "cca",
    "class_balanced_weights",
    "class_prior",
    "clip_directional",
    "clip_loss",
    "collaborative_metric_hinge",
    "complementary_discriminative",
    "complementary_exponential",
    "complementary_forward",
    "complementary_multiple",
    "complementary_order_preserving",
    "complementary_pairwise",
    "complementary_risk_vector",
    "complementary_scarce",
    "compound_supervision",
    "concatenated_distance_covariance",
    "conditional_mi_contrastive",
    "confident_consistency",
    "contrastive_cosine",
    "contrastive_pairs",
    "cosface_logits",
    "crammer_singer",
    "cross_modal_projection",
    "cross_orthogonality",
    "dbat_disagreement",
    "denoising_triplet",
    "depth_quality_focal",
    "dice_loss",
    "directional_moment",
    "distribution_focal",
    "divdis_objective",
    "diversity_regularized_ensemble",
    "doc_tabular",
    "doc_tabular_init",
    "dpo",
    "drm",
    "dverge",
    "energy_margin",
    "ewc_penalty",
    "feature_alignment",
    "forward_forward",
    "gan_discriminator",
    "gan_generator",
    "gaussian_kl",
    "generalized_cross_entropy",
    "generalized_pair_loss",
    "gradient_ascent_risk",
    "gradient_harmonized_weights",
    "guided_loss_scaling",
    "hard_negative_mask",
    "head_mutual_information",
    "higher_order_compatibility",
    "info_nce",
    "instance_loss",
    "interpolated_bag_loss",
    "jensen_gap",
    "jensen_shannon_label",
    "joint_distance_covariance",
    "joint_labels",
    "kl_divergence",
    "knn_softmax",
    "ldr_kl",
    "ldr_weights",
    "local_triplet",
    "log_spherical_softmax",
    "log_taylor_softmax",
    "logit_adjusted_cross_entropy",
    "look",
    "mada_cos",
    "mada_cos_parameters",
    "magface_logits",
    "margin_schedule",
    "mdcs_diversity",
    "mean_absolute_error_label",
    "mean_entropy",
    "metric_mixup_pairs",
    "metrix_contrastive",
    "monte_carlo_nll",
    "multi_similarity",
    "nce",
    "negative_learning",
    "non_negative_risk",
    "noprop_dt",
    "normalize_scores",
    "normalized_cross_entropy",
    "nt_xent",
    "off_diagonal_covariance",
    "pair_masks",
    "pairwise_matching",
    "pego",
    "private_bag_means",
    "prototypical",
    "pseudo_classification",
    "pseudo_residuals",
    "relation_kl",
    "reverse_prior",
    "s3im",
    "sade",
    "sequence_log_prob",
    "simplex_flow",
    "sla",
    "soft_margin_hinge",
    "spherical_statistics",
    "squared_hinge_ovr",
    "supervised_contrastive",
    "symmetric_cross_entropy",
    "tcm",
    "template_margin",
    "token_log_probs",
    "tri_bce",
    "tversky",
    "unconstrained_feature_mse",
    "unpg",
    "vsd_surrogate",
    "weighted_binary_cross_entropy",
    "weston_watkins",
    "whisker_mask",
    "z_loss",
    "z_loss_from_statistics",
]
