"""Rows of jaxlab.guidance."""

import jax.numpy as jnp

from jaxlab import guidance
from tests.laws.row import C, D, M, N, Row, inputs, integers, normal, probabilities, uniform

STEPS = 4


def guide(rule, state=None, **static):
    """A row of one guided step; ``state`` draws the rule's state."""
    specs = {} if state is None else {"state": state}
    specs |= {"cond": normal(N, D), "uncond": normal(N, D), "x": normal(N, D), "t": uniform()}
    return Row(
        guidance.guide,
        inputs(**specs),
        static={"rule": rule, "num_steps": STEPS} | ({"state": rule_state(rule)} if state is None else {}) | static,
        batch=("cond", "uncond", "x") if state is None else ("state", "cond", "uncond", "x"),
        diff=("cond", "uncond"),
        bf16=("cond", "uncond"),
    )


def rule_state(rule):
    return rule.init(jnp.zeros((N, D)))


APG = guidance.chain(guidance.momentum(-0.5), guidance.clip_norm(1.0), guidance.project(0.0), guidance.cfg(3.0))
RMS = guidance.chain(
    guidance.schedule(lambda context: 1.0 - context.t), guidance.clip_norm(0.3, norm="rms"), guidance.cfg(3.0)
)
RESCALED = guidance.chain(guidance.interval(0.2, 0.8), guidance.cfg(3.0), guidance.rescale_std(0.7))
ADAPTIVE = guidance.chain(guidance.adaptive(0.5), guidance.cfg(3.0))


def coefficients():
    lower = jnp.tril(jnp.ones((STEPS, STEPS))) / STEPS
    return guidance.LinearAGCoeffs(lower, lower - jnp.eye(STEPS) / STEPS)


ASKED = {"make": inputs(probs=probabilities(N, C), labels=integers(N, high=C))}
PAIR = {"cond": normal(N, D), "uncond": normal(N, D)}

ROWS = {
    "guide": guide(APG, lambda rng: (normal(N, D)(rng), (), (), ())),
    "guide/rms": guide(RMS),
    "guide/rescaled": guide(RESCALED),
    "guide/adaptive": guide(ADAPTIVE),
    "guide/linear_ag": guide(guidance.chain(guidance.linear_ag(coefficients()), guidance.cfg(3.0)), step=0),
    "combine": Row(
        guidance.combine,
        inputs(**PAIR, scale=uniform(N, low=1.0, high=5.0)),
        batch=("cond", "uncond", "scale"),
        diff=("cond", "uncond", "scale"),
        bf16=("cond", "uncond"),
    ),
    "combine_nested": Row(
        guidance.combine_nested,
        inputs(predictions=normal(M, N, D), scales=uniform(M - 1, low=1.0, high=5.0)),
        diff=("predictions", "scales"),
        bf16=("predictions",),
    ),
    "combine_weighted": Row(
        guidance.combine_weighted,
        inputs(cond=normal(N, D), references=normal(M, N, D), scales=uniform(M, low=1.0, high=5.0)),
        diff=("cond", "references", "scales"),
        bf16=("cond", "references"),
    ),
    "project_onto": Row(
        guidance.project_onto,
        inputs(v=normal(N, D), onto=normal(N, D)),
        batch=("v", "onto"),
        diff=("v", "onto"),
        bf16=("v", "onto"),
    ),
    "cosine_agreement": Row(
        guidance.cosine_agreement,
        inputs(a=normal(N, D), b=normal(N, D)),
        batch=("a", "b"),
        diff=("a", "b"),
        bf16=("a", "b"),
    ),
    "linear_ag_fit": Row(
        guidance.linear_ag_fit,
        inputs(cond=normal(N, STEPS, D), uncond=normal(N, STEPS, D)),
        static={"ridge": 0.5},
        batch=("cond", "uncond"),
        couples=True,
        diff=("cond", "uncond"),
        bf16=("cond", "uncond"),
        tol=1e-4,
    ),
    "cosine_power_schedule": Row(
        guidance.cosine_power_schedule,
        inputs(step=uniform(N, high=5.0), scale=uniform(low=1.0, high=5.0)),
        static={"num_steps": 6},
        batch=("step",),
        diff=("step", "scale"),
        bf16=("step",),
    ),
    "phase_scale": Row(
        guidance.phase_scale,
        inputs(step=integers(N, high=5), scale=uniform(low=1.0, high=2.0)),
        batch=("step",),
        diff=("scale",),
    ),
    "confusing_class": Row(guidance.confusing_class, batch=("probs", "labels"), bf16=("probs",), **ASKED),
    "confusion_scale": Row(
        guidance.confusion_scale,
        static={"gamma": 3.0, "threshold": 0.1},
        batch=("probs", "labels"),
        bf16=("probs",),
        **ASKED,
    ),
    "classifier_logit_objective": Row(
        guidance.classifier_logit_objective,
        inputs(logits=normal(N, C), labels=integers(N, high=C), marginal_scale=uniform()),
        batch=("logits", "labels"),
        diff=("logits",),
        bf16=("logits",),
    ),
    "classifier_gradient": Row(
        guidance.classifier_gradient,
        inputs(x=normal(N, C), labels=integers(N, high=C)),
        static={"classify": lambda x: jnp.tanh(x) + x},
        batch=("x", "labels"),
        bf16=("x",),
    ),
    "smooth_relu": Row(
        guidance.smooth_relu,
        inputs(x=normal(N, D), sharpness=uniform(low=1.0, high=5.0)),
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
    "sine_guidance_boost": Row(
        guidance.sine_guidance_boost,
        inputs(step=uniform(N, high=5.0), peak=uniform()),
        static={"num_steps": 6},
        batch=("step",),
        diff=("step", "peak"),
        bf16=("step",),
    ),
    "rms_normalize": Row(
        guidance.rms_normalize,
        inputs(gradient=normal(N, D), like=normal(N, D)),
        batch=("gradient", "like"),
        diff=("gradient", "like"),
        bf16=("gradient", "like"),
    ),
    "classifier_guided_mean": Row(
        guidance.classifier_guided_mean,
        inputs(mean=normal(N, D), variance=uniform(), gradient=normal(N, D), boost=uniform(), scale=uniform()),
        batch=("mean", "gradient"),
        diff=("mean", "variance", "gradient", "boost", "scale"),
        bf16=("mean", "gradient"),
    ),
}
