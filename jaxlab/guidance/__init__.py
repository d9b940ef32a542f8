"""Guidance rules as transformations of the direction ``cond - uncond``, and the arithmetic they share.

- ``Rule``, ``chain``, ``cfg``, ``guide``: the algebra
- ``interval``, ``schedule``, ``adaptive``, ``linear_ag``: when, and at what cost
- ``momentum``, ``clip_norm``, ``project``, ``rescale_std``: how the direction changes
- ``combine``, ``combine_nested``, ``combine_weighted``: several predictions or logits into one
- ``cosine_power_schedule``, ``phase_scale``: scales and factors that change with the step
- ``confusing_class``, ``confusion_scale``: a classifier that is only asked
- ``classifier_gradient`` and what goes with it: a classifier whose gradient is followed
"""

from jaxlab.guidance.adaptive import History, LinearAGCoeffs, adaptive, linear_ag, linear_ag_fit
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
)
from jaxlab.guidance.rules import Context, Rule, cfg, chain, guide, interval, schedule
from jaxlab.guidance.transforms import clip_norm, cosine_agreement, momentum, project, project_onto, rescale_std

__all__ = [
    "Context",
    "History",
    "LinearAGCoeffs",
    "Rule",
    "adaptive",
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
    "linear_ag",
    "linear_ag_fit",
    "momentum",
    "phase_scale",
    "project",
    "project_onto",
    "rescale_std",
    "rms_normalize",
    "schedule",
    "sine_guidance_boost",
    "smooth_relu",
]
