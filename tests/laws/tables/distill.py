"""Rows of jaxlab.distill."""

import jax.numpy as jnp
import numpy as np

from jaxlab import diffusion, distill
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, probabilities, uniform

VP = diffusion.vp()


def teacher(x, t):
    return jnp.tanh(x) * t[:, None] + 0.5


ROWS: dict = {
    "truncated_snr_weight": Row(
        distill.truncated_snr_weight,
        inputs(alpha=uniform(N, low=0.6), std=uniform(N, low=0.2, high=0.5)),
        batch=("alpha", "std"),
        bf16=("alpha", "std"),
    ),
    "progressive_target": Row(
        distill.progressive_target,
        inputs(z=normal(N, D), t=uniform(N, low=0.4, high=0.9), dt=uniform(N, low=0.1, high=0.3)),
        static={"x0_fn": teacher, "process": VP},
        batch=("z", "t", "dt"),
        bf16=("z",),
    ),
    "guided_trajectory": Row(
        distill.guided_trajectory,
        inputs(keys=prng(N), x_init=normal(N, D), scale=uniform(N, low=1.0, high=5.0)),
        static={
            "ts": np.array([0.9, 0.5, 0.1], np.float32),
            "cond_fn": teacher,
            "uncond_fn": lambda x, t: 0.3 * jnp.cos(x) - t[:, None],
            "step": diffusion.ddim(VP, eta=0.5),
        },
        batch=("keys", "x_init", "scale"),
        couples=True,  # only the times do, which all samples share
    ),
    "cosine_gap_weight": Row(
        distill.cosine_gap_weight,
        inputs(cond=normal(N, D), guided=normal(N, D)),
        batch=("cond", "guided"),
        bf16=("cond", "guided"),
    ),
    "segment_consistency": Row(
        distill.segment_consistency,
        inputs(
            x=normal(N, D),
            x_next=normal(N, D),
            t=uniform(N, low=0.7, high=0.9),
            t_next=uniform(N, low=0.5, high=0.7),
            where=mask(N),
        ),
        static={"student_fn": teacher, "process": VP, "edges": np.array([0.0, 0.5], np.float32)},
        batch=("x", "x_next", "t", "t_next", "where"),
        diff=("x",),
        bf16=("x", "x_next"),
    ),
    "progressive_targets_init": Row(
        distill.progressive_targets_init,
        inputs(labels=integers(N, high=C)),
        static={"num_classes": C},
        batch=("labels",),
    ),
    "progressive_targets": Row(
        distill.progressive_targets,
        inputs(
            state=lambda rng: distill.TargetsState(probabilities(M, C)(rng)),
            index=integers(N, high=M),
            labels=integers(N, high=C),
            alpha=uniform(N),
            where=mask(N),
        ),
        batch=("index", "labels", "alpha", "where"),
    ),
    "progressive_targets_update": Row(
        distill.progressive_targets_update,
        inputs(
            state=lambda rng: distill.TargetsState(probabilities(2 * N, C)(rng)),
            index=lambda rng: rng.permutation(2 * N)[:N],
            logits=normal(N, C),
            where=mask(N),
        ),
        batch=("index", "logits", "where"),
        couples=True,  # all are written to one table
        bf16=("logits",),
    ),
    "kd": Row(
        distill.kd,
        inputs(
            student_logits=normal(N, C), teacher_logits=normal(N, C), temperature=uniform(low=0.5), where=mask(N, C)
        ),
        batch=("student_logits", "teacher_logits", "where"),
        diff=("student_logits",),
        bf16=("student_logits", "teacher_logits"),
    ),
    "sla_self_distillation": Row(
        distill.sla_self_distillation,
        inputs(
            student_logits=normal(N, C),
            joint_logits=normal(N, 3, 3 * C),
            labels=integers(N, high=C),
            temperature=uniform(low=0.5),
            where=mask(N),
        ),
        batch=("student_logits", "joint_logits", "labels", "where"),
        diff=("student_logits", "joint_logits"),
        bf16=("student_logits", "joint_logits"),
    ),
    "feature_mse": Row(
        distill.feature_mse,
        inputs(student=normal(N, M, D), teacher=normal(N, M, D), weights=uniform(N, 1, D)),
        static={"normalize": True},
        batch=("student", "teacher", "weights"),
        diff=("student", "weights"),
        bf16=("student", "teacher"),
    ),
    "class_relation_kd": Row(
        distill.class_relation_kd,
        inputs(logits=normal(N, C), old_logits=normal(N, C - 2), temperature=uniform(low=0.5), where=mask(N)),
        batch=("logits", "old_logits", "where"),
        couples=True,
        diff=("logits",),
        bf16=("logits", "old_logits"),
    ),
    "similarity_preserving": Row(
        distill.similarity_preserving,
        inputs(student=normal(N, D), teacher=normal(N, M), where=mask(N)),
        batch=("student", "teacher", "where"),
        couples=True,
        diff=("student",),
        bf16=("student", "teacher"),
    ),
    "channel_correlation": Row(
        distill.channel_correlation,
        inputs(student=normal(N, M, D), teacher=normal(N, C, D), where=mask(N)),
        batch=("student", "teacher", "where"),
        diff=("student",),
        bf16=("student", "teacher"),
    ),
}
