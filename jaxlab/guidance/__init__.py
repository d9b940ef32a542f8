"""Guidance rules as transformations of the direction ``cond - uncond``, and the arithmetic they share.

- ``Rule``, ``chain``, ``cfg``, ``guide``: the algebra
- ``interval``, ``schedule``, ``adaptive``, ``linear_ag``: when, and at what cost
- ``momentum``, ``clip_norm``, ``project``, ``rescale_std``: how the direction changes
- ``combine``, ``combine_nested``, ``combine_weighted``: several predictions or logits into one
"""

from jaxlab.guidance.adaptive import History, LinearAGCoeffs, adaptive, linear_ag, linear_ag_fit
from jaxlab.guidance.conditions import combine, combine_nested, combine_weighted
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
    "clip_norm",
    "combine",
    "combine_nested",
    "combine_weighted",
    "cosine_agreement",
    "guide",
    "interval",
    "linear_ag",
    "linear_ag_fit",
    "momentum",
    "project",
    "project_onto",
    "rescale_std",
    "schedule",
]
