"""Rows of jaxlab.losses: densities, sequences, preferences, denoisers and adversaries."""

import numpy as np

from jaxlab import losses
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, probabilities, uniform

SEQUENCES = {
    "make": inputs(logits=normal(N, M, C), labels=integers(N, M, high=C), where=mask(N, M)),
    "batch": ("logits", "labels", "where"),
    "diff": ("logits",),
    "bf16": ("logits",),
}


def doc_tables(rng):
    """A spec: tables of D states, C actions, 2 returns and 2 C latents."""
    happened = (D, C, 2, 2 * C)
    shapes = (happened, (D, 2 * C, 2), (D, 2 * C, C), happened)
    return losses.DocParams(*(normal(*shape, scale=0.5)(rng) for shape in shapes))


ROWS = {
    "gaussian_kl": Row(
        losses.gaussian_kl,
        inputs(mean=normal(N, D), log_var=normal(N, D), where=mask(N)),
        batch=("mean", "log_var", "where"),
        diff=("mean", "log_var"),
        bf16=("mean", "log_var"),
    ),
    "doc_tabular_init": Row(
        losses.doc_tabular_init, inputs(key=prng()), static={"num_states": M, "num_actions": C, "num_returns": 2}
    ),
    "conditional_mi_contrastive": Row(
        losses.conditional_mi_contrastive,
        inputs(pos_energy=normal(N), all_energies=normal(N, D), log_prior=lambda rng: np.log(probabilities(D)(rng))),
        batch=("pos_energy", "all_energies"),
        diff=("pos_energy", "all_energies"),
        bf16=("pos_energy", "all_energies"),
    ),
    "doc_tabular": Row(
        losses.doc_tabular,
        inputs(
            params=doc_tables,
            states=integers(N, high=D),
            actions=integers(N, high=C),
            returns=integers(N, high=2),
            key=prng(),
            reward_prior=probabilities(2),
            where=mask(N),
        ),
        batch=("states", "actions", "returns", "where"),
        diff=("params",),
        bf16=("params",),
        skip={"permute": "the latents are drawn by place"},
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
    "adversarial_linear_margin": Row(
        losses.adversarial_linear_margin,
        inputs(
            x=normal(N, D),
            labels=integers(N, high=2),
            weight=normal(D),
            bias=normal(),
            eps=uniform(high=0.3),
            where=mask(N),
        ),
        batch=("x", "labels", "where"),
        diff=("x", "weight", "bias"),
        bf16=("x", "weight"),
    ),
}
