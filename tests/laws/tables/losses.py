"""Rows of jaxlab.losses."""

import numpy as np

from jaxlab import losses
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform

SEQUENCES = {
    "make": inputs(logits=normal(N, M, C), labels=integers(N, M, high=C), where=mask(N, M)),
    "batch": ("logits", "labels", "where"),
    "diff": ("logits",),
    "bf16": ("logits",),
}

EWC = ("params", "anchor", "fisher")

ROWS = {
    "denoising_triplet": Row(
        losses.denoising_triplet,
        inputs(err_pos=uniform(N), err_neg=uniform(N), margin=uniform(), where=mask(N)),
        batch=("err_pos", "err_neg", "where"),
        diff=("err_pos", "err_neg", "margin"),
        bf16=("err_pos", "err_neg"),
    ),
    "adaptive_l2": Row(
        losses.adaptive_l2,
        inputs(error=normal(N, D), power=uniform(), where=mask(N)),
        batch=("error", "where"),
        diff=("error",),
        bf16=("error",),
    ),
    "vsd_surrogate": Row(
        losses.vsd_surrogate,
        inputs(x0=normal(N, D), eps_teacher=normal(N, D), eps_student=normal(N, D), weight=uniform(N), where=mask(N)),
        batch=("x0", "eps_teacher", "eps_student", "weight", "where"),
        diff=("x0",),
        bf16=("x0", "eps_teacher", "eps_student"),
    ),
    "prototypical": Row(
        losses.prototypical,
        inputs(support=normal(C, M, D), query=normal(N, D), labels=integers(N, high=C), where=mask(N)),
        batch=("query", "labels", "where"),
        diff=("support", "query"),
        bf16=("support", "query"),
    ),
    "squared_hinge_ovr": Row(
        losses.squared_hinge_ovr,
        inputs(
            logits=normal(N, C),
            labels=integers(N, high=C - 1),
            class_where=lambda rng: np.arange(C) < rng.integers(C - 1, C + 1),
            where=mask(N),
        ),
        batch=("logits", "labels", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
    "token_log_probs": Row(
        losses.token_log_probs,
        inputs(logits=normal(N, C), labels=integers(N, high=C), where=mask(N)),
        batch=("logits", "labels", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
    "sequence_log_prob": Row(losses.sequence_log_prob, **SEQUENCES),
    "sequence_log_prob/mean": Row(losses.sequence_log_prob, static={"mean": True}, **SEQUENCES),
    "simplex_flow": Row(losses.simplex_flow, **SEQUENCES),
    "dpo": Row(
        losses.dpo,
        inputs(
            log_prob_win=normal(N),
            ref_win=normal(N),
            log_prob_lose=normal(N),
            ref_lose=normal(N),
            beta=uniform(low=0.1),
        ),
        batch=("log_prob_win", "ref_win", "log_prob_lose", "ref_lose"),
        diff=("log_prob_win", "log_prob_lose", "beta"),
        bf16=("log_prob_win", "ref_win", "log_prob_lose", "ref_lose"),
    ),
    "cca": Row(
        losses.cca,
        inputs(
            log_prob_pos=normal(N),
            ref_pos=normal(N),
            log_prob_neg=normal(N),
            ref_neg=normal(N),
            beta=uniform(low=0.1),
            scale=uniform(low=1.0, high=5.0),
            negative_is_positive=mask(N),
        ),
        batch=("log_prob_pos", "ref_pos", "log_prob_neg", "ref_neg", "negative_is_positive"),
        diff=("log_prob_pos", "log_prob_neg", "beta", "scale"),
        bf16=("log_prob_pos", "ref_pos", "log_prob_neg", "ref_neg"),
    ),
    "feature_alignment": Row(
        losses.feature_alignment,
        inputs(features=normal(N, M, D), targets=normal(N, M, D), where=mask(N)),
        batch=("features", "targets", "where"),
        diff=("features",),
        bf16=("features", "targets"),
    ),
    "relation_kl": Row(
        losses.relation_kl,
        inputs(features=normal(N, D), targets=normal(N, C), temperature=uniform(low=0.5), where=mask(N)),
        batch=("features", "targets", "where"),
        couples=True,
        diff=("features",),
        bf16=("features", "targets"),
    ),
    "relation_kl/dot": Row(
        losses.relation_kl,
        inputs(features=normal(N, D), targets=normal(N, D), where=mask(N)),
        static={"mode": "dot"},
        batch=("features", "targets", "where"),
        couples=True,
        diff=("features",),
        bf16=("features", "targets"),
    ),
    "clip_directional": Row(
        losses.clip_directional,
        inputs(directions=normal(N, D), targets=normal(D), where=mask(N)),
        batch=("directions", "where"),
        diff=("directions",),
        bf16=("directions", "targets"),
    ),
    "directional_moment": Row(
        losses.directional_moment,
        inputs(directions=normal(N, D), targets=normal(M, D), weight=uniform(), where=mask(N)),
        batch=("directions", "where"),
        couples=True,
        diff=("directions", "weight"),
        bf16=("directions", "targets"),
    ),
    "ewc_penalty": Row(
        losses.ewc_penalty,
        inputs(**{name: lambda rng: {"w": uniform(D, C)(rng), "b": uniform(C)(rng)} for name in EWC}),
        diff=("params",),
        bf16=("params", "anchor", "fisher"),
    ),
    "gan_discriminator": Row(
        losses.gan_discriminator,
        inputs(real_logits=normal(N), fake_logits=normal(N), where=mask(N)),
        batch=("real_logits", "fake_logits", "where"),
        diff=("real_logits", "fake_logits"),
        bf16=("real_logits", "fake_logits"),
    ),
    "gan_generator": Row(
        losses.gan_generator,
        inputs(fake_logits=normal(N), where=mask(N)),
        batch=("fake_logits", "where"),
        diff=("fake_logits",),
        bf16=("fake_logits",),
    ),
}
