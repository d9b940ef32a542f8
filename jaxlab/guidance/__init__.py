"""Guidance rules as transformations of the direction ``cond - uncond``, and the arithmetic they share.

A rule changes the direction; a chain applies rules in turn, exactly one of which sets the scale, and goes to
`jaxlab.diffusion.sample`. Unless a function says otherwise, scale 1 is the conditional prediction. Plain arrays need
no rule.

- **Classifier-free guidance**: `combine` (on arrays or logits), `cfg` (as a rule), `chain` (several rules in turn),
  `guide` (rules in a loop of one's own); [12, 21, 35, 282]
- **Not the same at every step**: `interval` (none outside, calls saved), `schedule` (any factor on the direction),
  `cosine_power_schedule` (a scale falling to half); [6, 11]
- **Fewer unconditional calls**: `adaptive` (stops once both predictions agree), `cosine_agreement` (how it tells),
  `linear_ag` (predicts some calls instead), `linear_ag_fit` (fits those predictions); [0]
- **Images that oversaturate at high scales**: `project` (drops the parallel part), `momentum` (negative: against past
  directions), `clip_norm` (bounds the direction), `rescale_std` (keeps the conditional's contrast),
  `project_onto` (the split itself); [282]
- **Several conditions or references**: `multi_condition` (a rule, one scale each), `combine_nested` (the same on
  arrays), `combine_weighted` (away from several references), `scale_grid` (all scales to try); [10, 11, 13, 91]
- **A negative prompt without a second full call**: `negative_away_attention` (whole cross-attention),
  `attention_away` (outputs already computed), `sun_attention` (a trained negative branch); [8, 12]
- **A negative prompt that matters most early**: `phase_scale` (larger factor at first); [11]
- **Images unlike a reference image**: `negative_token_merge` (pushes similar tokens apart); [240]
- **A resolution the model was not trained on**: `noise_damped` (ends the chain, needs another base); [5]
- **A classifier that is only asked**: `confusing_class` (what to guide away from), `confusion_scale` (stronger where it
  doubts); [13]
- **A classifier whose gradient is followed**: `classifier_gradient` (the direction), `classifier_logit_objective` (what
  it climbs), `rms_normalize` (the gradient's size), `smooth_relu` (a smoother classifier first),
  `classifier_guided_mean` (moves a reverse step), `sine_guidance_boost` (more in mid-trajectory); [4]
- **Tokens and text**: `straight_through_guide` (by scores of clean sequences), `lm_guidance` (captions with a language
  model's prior), `roll_labels` (negatives for `losses.cca`); [16, 21, 49]
- **Where an edit may act**: `attention_mask` (the region a map marks), `soften_mask` (soft edges around it); [1]
- **An embedding fitted to a loss**: `optimize_condition` (keeps the best seen), `last_step_grad_sample` (gradient
  through one step only); [38]
- **Less variety, fewer errors**: `truncate` (latents towards their mean); [210]
- **A student of many scales**: `random_scale` (one scale per training sample); [8]

Types: `Rule`, `Context`, `History`, `LinearAGCoeffs`, `Optimized`.
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
