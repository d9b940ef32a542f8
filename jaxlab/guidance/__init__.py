"""Guidance rules as transformations of the direction ``cond - uncond``, and the arithmetic they share.

- ``Rule``, ``chain``, ``cfg``, ``guide``: the algebra
- ``interval``, ``schedule``, ``adaptive``, ``linear_ag``: when, and at what cost
- ``momentum``, ``clip_norm``, ``project``, ``rescale_std``, ``noise_damped``: how the direction changes
- ``combine``, ``combine_nested``, ``combine_weighted``: several predictions or logits into one
- ``cosine_power_schedule``, ``phase_scale``: scales and factors that change with the step
- ``random_scale``: scales for training
- ``negative_away_attention``, ``attention_away``, ``sun_attention``, ``negative_token_merge``: inside the network, on
  the features of its attention layers
- ``attention_mask``, ``soften_mask``: where an edit may act
- ``confusing_class``, ``confusion_scale``: a classifier that is only asked
- ``classifier_gradient`` and what goes with it: a classifier whose gradient is followed
- ``straight_through_guide``, ``lm_guidance``, ``roll_labels``: models of tokens
- ``optimize_condition``, ``last_step_grad_sample``, ``truncate``: conditions and latents that are moved themselves
"""

from jaxlab.guidance.adaptive import History, LinearAGCoeffs, adaptive, linear_ag, linear_ag_fit
from jaxlab.guidance.attention import (
    attention_away,
    negative_away_attention,
    negative_token_merge,
    sun_attention,
)
from jaxlab.guidance.classifier import (
    classifier_gradient,
    classifier_guided_mean,
    classifier_logit_objective,
    confusing_class,
    confusion_scale,
    rms_normalize,
    sine_guidance_boost,
    smooth_relu,
)
from jaxlab.guidance.conditions import (
    combine,
    combine_nested,
    combine_weighted,
    cosine_power_schedule,
    phase_scale,
    random_scale,
    scale_grid,
)
from jaxlab.guidance.discrete import lm_guidance, roll_labels, straight_through_guide
from jaxlab.guidance.masks import attention_mask, soften_mask
from jaxlab.guidance.optimization import Optimized, last_step_grad_sample, optimize_condition, truncate
from jaxlab.guidance.references import multi_condition
from jaxlab.guidance.rules import Context, Rule, cfg, chain, guide, interval, schedule
from jaxlab.guidance.transforms import (
    clip_norm,
    cosine_agreement,
    momentum,
    noise_damped,
    project,
    project_onto,
    rescale_std,
)

__all__ = [
    "Context",
    "History",
    "LinearAGCoeffs",
    "Optimized",
    "Rule",
    "adaptive",
    "attention_away",
    "attention_mask",
    "cfg",
    "chain",
    "classifier_gradient",
    "classifier_guided_mean",
    "classifier_logit_objective",
    "clip_norm",
    "combine",
    "combine_nested",
    "combine_weighted",
    "confusing_class",
    "confusion_scale",
    "cosine_agreement",
    "cosine_power_schedule",
    "guide",
    "interval",
    "last_step_grad_sample",
    "linear_ag",
    "linear_ag_fit",
    "lm_guidance",
    "momentum",
    "multi_condition",
    "negative_away_attention",
    "negative_token_merge",
    "noise_damped",
    "optimize_condition",
    "phase_scale",
    "project",
    "project_onto",
    "random_scale",
    "rescale_std",
    "rms_normalize",
    "roll_labels",
    "scale_grid",
    "schedule",
    "sine_guidance_boost",
    "smooth_relu",
    "soften_mask",
    "straight_through_guide",
    "sun_attention",
    "truncate",
]
