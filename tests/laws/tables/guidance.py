"""Rows of jaxlab.guidance."""

import jax.numpy as jnp

from jaxlab import guidance
from tests.laws.row import D, M, N, Row, inputs, normal, uniform

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
}
