"""Distillation: what a student is trained to match.

Losses give one value per example, and what they match passes no gradient; a target or a weight goes into a loss of
one's own.

- **A classifier for a teacher**: `kd` (its logits), `feature_mse` (its features, same width); [48, 191, 252]
- **A teacher of another shape**: `similarity_preserving` (which inputs are alike, any width), `channel_correlation`
  (which channels fire together, any resolution); [48]
- **Classes the teacher never saw**: `class_relation_kd` (their likeness to known ones); [138]
- **No teacher but the model itself**: `progressive_targets` (labels softened by last epoch),
  `progressive_targets_init` (the table at first), `progressive_targets_update` (writes it each step),
  `sla_self_distillation` (a plain head learns from augmented labels); [157, 245]
- **Guidance at the price of one call**: `guided_trajectory` (inputs and targets for a student),
  `cosine_gap_weight` (more where guidance turns most); [2]
- **Diffusion in fewer steps**: `progressive_target` (one step for two), `truncated_snr_weight` (weight of its error),
  `segment_consistency` (jumps to a segment's end); [12, 35]

Types: `TargetsState`, `GuidedTrajectory`.
"""

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
