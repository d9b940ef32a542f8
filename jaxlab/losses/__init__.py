"""Losses: one value per example, larger is worse; the mean is the caller's."""

from jaxlab.losses.adversarial import adversarial_linear_margin, gan_discriminator, gan_generator
from jaxlab.losses.alignment import feature_alignment
from jaxlab.losses.contrastive import info_nce
from jaxlab.losses.density import (
    DocParams,
    conditional_mi_contrastive,
    doc_tabular,
    doc_tabular_init,
    gaussian_kl,
)
from jaxlab.losses.dependence import concatenated_distance_covariance, joint_distance_covariance
from jaxlab.losses.divergence import kl_divergence, relation_kl
from jaxlab.losses.embedding import clip_directional, directional_moment, higher_order_compatibility
from jaxlab.losses.ensemble import (
    dbat_disagreement,
    divdis_objective,
    diversity_regularized_ensemble,
    head_mutual_information,
    jensen_gap,
)
from jaxlab.losses.entropy import GroupEntropy, mean_entropy
from jaxlab.losses.local import compound_supervision, contrastive_cosine, forward_forward, noprop_dt, pseudo_residuals
from jaxlab.losses.metric_learning import template_margin
from jaxlab.losses.open_set import arpl, arpl_logits, energy_margin
from jaxlab.losses.preference import cca, dpo
from jaxlab.losses.regression import adaptive_l2, denoising_triplet, vsd_surrogate
from jaxlab.losses.regularization import ewc_penalty, unconstrained_feature_mse
from jaxlab.losses.robust import squared_hinge_ovr
from jaxlab.losses.sequence import sequence_log_prob, simplex_flow, token_log_probs
from jaxlab.losses.supervised_contrastive import prototypical, supervised_contrastive
from jaxlab.losses.weighting import weighted_binary_cross_entropy

__all__ = [
    "DocParams",
    "GroupEntropy",
    "adaptive_l2",
    "adversarial_linear_margin",
    "arpl",
    "arpl_logits",
    "cca",
    "clip_directional",
    "compound_supervision",
    "concatenated_distance_covariance",
    "conditional_mi_contrastive",
    "contrastive_cosine",
    "dbat_disagreement",
    "denoising_triplet",
    "directional_moment",
    "divdis_objective",
    "diversity_regularized_ensemble",
    "doc_tabular",
    "doc_tabular_init",
    "dpo",
    "energy_margin",
    "ewc_penalty",
    "feature_alignment",
    "forward_forward",
    "gan_discriminator",
    "gan_generator",
    "gaussian_kl",
    "head_mutual_information",
    "higher_order_compatibility",
    "info_nce",
    "jensen_gap",
    "joint_distance_covariance",
    "kl_divergence",
    "mean_entropy",
    "noprop_dt",
    "prototypical",
    "pseudo_residuals",
    "relation_kl",
    "sequence_log_prob",
    "simplex_flow",
    "squared_hinge_ovr",
    "supervised_contrastive",
    "template_margin",
    "token_log_probs",
    "unconstrained_feature_mse",
    "vsd_surrogate",
    "weighted_binary_cross_entropy",
]
