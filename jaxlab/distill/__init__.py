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
from jaxlab.distill.logits import kd, sla_self_distillation
from jaxlab.distill.relations import channel_correlation, class_relation_kd, similarity_preserving
from jaxlab.distill.targets import (
    TargetsState,
    progressive_targets,
    progressive_targets_init,
    progressive_targets_update,
)

__all__ = [
    "GuidedTrajectory",
    "TargetsState",
    "channel_correlation",
    "class_relation_kd",
    "cosine_gap_weight",
    "feature_mse",
    "guided_trajectory",
    "kd",
    "progressive_target",
    "progressive_targets",
    "progressive_targets_init",
    "progressive_targets_update",
    "segment_consistency",
    "similarity_preserving",
    "sla_self_distillation",
    "truncated_snr_weight",
]
