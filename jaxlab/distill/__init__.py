"""Distillation: what a student is trained to match."""

from jaxlab.distill.guidance import (
    GuidedTrajectory,
    cosine_gap_weight,
    guided_trajectory,
    progressive_target,
    segment_consistency,
    truncated_snr_weight,
)

__all__ = [
    "GuidedTrajectory",
    "cosine_gap_weight",
    "guided_trajectory",
    "progressive_target",
    "segment_consistency",
    "truncated_snr_weight",
]
