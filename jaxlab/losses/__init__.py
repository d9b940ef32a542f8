"""Losses: one value per example, larger is worse; the mean is the caller's."""

from jaxlab.losses.adversarial import gan_discriminator, gan_generator
from jaxlab.losses.alignment import feature_alignment
from jaxlab.losses.contrastive import info_nce
from jaxlab.losses.density import DocParams, conditional_mi_contrastive, doc_tabular, doc_tabular_init
from jaxlab.losses.divergence import kl_divergence, relation_kl
from jaxlab.losses.embedding import clip_directional, directional_moment, higher_order_compatibility
from jaxlab.losses.entropy import GroupEntropy, mean_entropy
from jaxlab.losses.local import pseudo_residuals
from jaxlab.losses.metric_learning import template_margin
from jaxlab.losses.open_set import arpl, arpl_logits, energy_margin
from jaxlab.losses.preference import cca, dpo
from jaxlab.losses.regression import adaptive_l2, denoising_triplet, vsd_surrogate
from jaxlab.losses.regularization import ewc_penalty
from jaxlab.losses.robust import squared_hinge_ovr
from jaxlab.losses.sequence import sequence_log_prob, simplex_flow, token_log_probs
from jaxlab.losses.supervised_contrastive import prototypical, supervised_contrastive
from jaxlab.losses.weighting import weighted_binary_cross_entropy

__all__ = [
    "DocParams",
    "GroupEntropy",
    "adaptive_l2",
    "arpl",
    "arpl_logits",
    "cca",
    "clip_directional",
    "conditional_mi_contrastive",
    "denoising_triplet",
    "directional_moment",
    "doc_tabular",
    "doc_tabular_init",
    "dpo",
    "energy_margin",
    "ewc_penalty",
    "feature_alignment",
    "gan_discriminator",
    "gan_generator",
    "higher_order_compatibility",
    "info_nce",
    "kl_divergence",
    "mean_entropy",
    "prototypical",
    "pseudo_residuals",
    "relation_kl",
    "sequence_log_prob",
    "simplex_flow",
    "squared_hinge_ovr",
    "supervised_contrastive",
    "template_margin",
    "token_log_probs",
    "vsd_surrogate",
    "weighted_binary_cross_entropy",
]
