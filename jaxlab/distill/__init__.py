"""Distillation: what a student is trained to match."""

from jaxlab.distill.features import feature_mse
from jaxlab.distill.guidance import (
    GuidedTrajectory,
    cosine_gap_weight,
    guided_trajectory,
    progressive_target,
    segment_consistency,
    truncated_snr_weight,
)
from jaxlab.distill.logits import kd
from jaxlab.distill.relations import channel_correlation, class_relation_kd, similarity_preserving

__all__ = [
    "GuidedTrajectory",
    "channel_correlation",
    "class_relation_kd",
    "cosine_gap_weight",
    "feature_mse",
    "guided_trajectory",
    "kd",
    "progressive_target",
    "segment_consistency",
    "similarity_preserving",
    "truncated_snr_weight",
]
