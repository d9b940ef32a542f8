"""Losses: one value per example, larger is worse; the mean is the caller's."""

from jaxlab.losses.adversarial import gan_discriminator, gan_generator
from jaxlab.losses.alignment import feature_alignment
from jaxlab.losses.divergence import relation_kl
from jaxlab.losses.embedding import clip_directional, directional_moment
from jaxlab.losses.preference import cca, dpo
from jaxlab.losses.regression import adaptive_l2, denoising_triplet, vsd_surrogate
from jaxlab.losses.regularization import ewc_penalty
from jaxlab.losses.robust import squared_hinge_ovr
from jaxlab.losses.sequence import sequence_log_prob, simplex_flow, token_log_probs
from jaxlab.losses.supervised_contrastive import prototypical

__all__ = [
    "adaptive_l2",
    "cca",
    "clip_directional",
    "denoising_triplet",
    "directional_moment",
    "dpo",
    "ewc_penalty",
    "feature_alignment",
    "gan_discriminator",
    "gan_generator",
    "prototypical",
    "relation_kl",
    "sequence_log_prob",
    "simplex_flow",
    "squared_hinge_ovr",
    "token_log_probs",
    "vsd_surrogate",
]
