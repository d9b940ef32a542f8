"""Rows of jaxlab.guidance."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import guidance
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, probabilities, uniform

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
HEADS = {
    "q": normal(N, 2, C, D),
    "k_pos": normal(N, 2, M, D),
    "v_pos": normal(N, 2, M, D),
    "k_neg": normal(N, 2, C, D),
    "v_neg": normal(N, 2, C, D),
}
BRANCHES = {"z": normal(N, C, D), "z_neg": normal(N, C, D)}
PAIR = {"cond": normal(N, D), "uncond": normal(N, D)}


def noisy_step(condition, keys, x, ts):
    noise = jax.vmap(lambda key: jax.random.normal(key, x.shape[1:]))(keys)
    return x + (ts[-1] - ts[0]) * jnp.tanh(condition + x).astype(x.dtype) + 0.1 * noise.astype(x.dtype)


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
    "attention_mask": Row(
        guidance.attention_mask,
        inputs(attention=uniform(N, M, C)),
        static={"window": 3},
        batch=("attention",),
        bf16=("attention",),
    ),
    "soften_mask": Row(
        guidance.soften_mask, inputs(mask=mask(N, M, C), decay=uniform(low=0.1)), batch=("mask",), diff=("decay",)
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
    "random_scale": Row(guidance.random_scale, inputs(key=prng()), static={"batch": M}),
    "attention_away": Row(
        guidance.attention_away,
        inputs(z_pos=normal(N, D), z_neg=normal(N, D), scale=uniform(N)),
        batch=("z_pos", "z_neg", "scale"),
        diff=("z_pos", "z_neg", "scale"),
        bf16=("z_pos", "z_neg"),
    ),
    "negative_away_attention": Row(
        guidance.negative_away_attention,
        inputs(
            **HEADS,
            scale=uniform(N),
            where_pos=mask(N, M),
            where_neg=mask(N, C),
        ),
        batch=(*HEADS, "scale", "where_pos", "where_neg"),
        diff=(*HEADS, "scale"),
        bf16=tuple(HEADS),
    ),
    "sun_attention": Row(
        guidance.sun_attention,
        inputs(
            z_pos=normal(N, C, D), gain_pos=normal(D), bias_pos=normal(D), gain=normal(D), bias=normal(D), **BRANCHES
        ),
        batch=("z", "z_neg", "z_pos"),
        diff=("z", "z_neg", "z_pos", "gain", "bias", "gain_pos", "bias_pos"),
        bf16=("z", "z_neg", "z_pos"),
    ),
    "negative_token_merge": Row(
        guidance.negative_token_merge,
        inputs(h=normal(M, C, D), ref=normal(N, D), where=mask(N)),
        batch=("ref", "where"),
        couples=True,
        diff=("h", "ref"),
        bf16=("h", "ref"),
    ),
    "negative_token_merge/own_reference": Row(
        guidance.negative_token_merge,
        inputs(h=normal(N, C, D), ref=normal(N, M, D), alpha=uniform(N), threshold=uniform(N)),
        batch=("h", "ref", "alpha", "threshold"),
        diff=("h", "ref", "alpha"),
        bf16=("h", "ref"),
        skip={"mask": "where belongs to the reference tokens, which are not the batch here"},
    ),
    "straight_through_guide": Row(
        guidance.straight_through_guide,
        inputs(key=prng(), logits=normal(N, M, C)),
        static={"score_fn": lambda y: jnp.sum(jnp.cumsum(y, axis=-1) ** 2, axis=(-2, -1)), "num_samples": 3},
        batch=("logits",),
        bf16=("logits",),
        skip={"permute": "sequences are drawn by position in the batch"},
    ),
    "lm_guidance": Row(
        guidance.lm_guidance,
        inputs(
            lm_logits=normal(N, C),
            cond_logits=normal(N, C),
            uncond_logits=normal(N, C),
            alpha=uniform(),
            beta=uniform(),
        ),
        batch=("lm_logits", "cond_logits", "uncond_logits"),
        diff=("lm_logits", "cond_logits", "uncond_logits", "alpha", "beta"),
        bf16=("lm_logits", "cond_logits", "uncond_logits"),
    ),
    "roll_labels": Row(
        guidance.roll_labels,
        inputs(labels=integers(N, high=C)),
        batch=("labels",),
        couples=True,
        skip={"permute": "the next example is the next in order"},
    ),
    "guide/noise_damped": Row(
        guidance.guide,
        inputs(
            cond=normal(N, D),
            uncond=normal(N, D),
            x=normal(N, D),
            t=uniform(),
            extras=normal(N, D),
        ),
        static={"rule": guidance.noise_damped(3.0), "state": (), "num_steps": STEPS},
        batch=("cond", "uncond", "x", "extras"),
        diff=("cond", "uncond", "extras"),
        bf16=("cond", "uncond"),
    ),
    "truncate": Row(
        guidance.truncate,
        inputs(w=normal(N, D), mean=normal(D), psi=uniform()),
        batch=("w",),
        diff=("w", "mean", "psi"),
        bf16=("w", "mean"),
    ),
    "last_step_grad_sample": Row(
        guidance.last_step_grad_sample,
        inputs(condition=normal(D), keys=prng(N), x_init=normal(N, D)),
        static={"sample_fn": noisy_step, "ts": jnp.array([1.0, 0.5, 0.0])},
        batch=("keys", "x_init"),
        diff=("condition",),
    ),
    "optimize_condition": Row(
        guidance.optimize_condition,
        inputs(condition=normal(D)),
        static={"loss_fn": lambda c: jnp.sum((c - 1.0) ** 2), "num_steps": 3},
        diff=("condition",),
    ),
    "scale_grid": Row(
        guidance.scale_grid,
        inputs(scales=lambda rng: [np.float32(rng.uniform(1.0, 8.0, 3)), np.float32(rng.uniform(1.0, 2.0, 2))]),
        diff=("scales",),
    ),
}
