"""Rows of jaxlab.losses: robust, distributional and spherical losses, bags, and unnormalised densities."""

import numpy as np

from jaxlab import losses
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, uniform

LABELLED = {"logits": normal(N, C), "labels": integers(N, high=C), "where": mask(N)}
BATCH = ("logits", "labels", "where")
TEMPERED = LABELLED | {"temperature": uniform(low=0.5, high=2.0), "margin": uniform(low=0.1, high=1.0)}
BAGS = {"predictions": normal(N, M), "bag_targets": normal(N), "where": mask(N, M)}
BAG_BATCH = ("predictions", "bag_targets", "where")
NOISE = {"noise_energy": normal(M), "noise_log_q": normal(M), "noise_where": mask(M)}
TABLE = 11  # examples with a temperature, more than a batch


def labelled(fn, **hyper):
    """A row of a loss of logits and labels; hyperparameters are traced."""
    return Row(fn, inputs(**LABELLED, **hyper), batch=BATCH, diff=("logits",), bf16=("logits",))


def distinct(rng):
    """A spec: rows of the table, no two alike."""
    return rng.permutation(TABLE)[:N].astype(np.int32)


ROWS = {
    "generalized_cross_entropy": labelled(losses.generalized_cross_entropy, q=uniform(low=0.3, high=0.9)),
    "generalized_cross_entropy/truncated": labelled(
        losses.generalized_cross_entropy, truncation=uniform(low=0.05, high=0.2)
    ),
    "symmetric_cross_entropy": labelled(losses.symmetric_cross_entropy, balance=uniform(), scale=uniform(high=5.0)),
    "mean_absolute_error_label": labelled(losses.mean_absolute_error_label),
    "normalized_cross_entropy": labelled(losses.normalized_cross_entropy),
    "asymmetric_generalized_cross_entropy": labelled(
        losses.asymmetric_generalized_cross_entropy, shift=uniform(low=0.5, high=2.0), q=uniform(low=0.5, high=2.0)
    ),
    "asymmetric_unhinged": labelled(
        losses.asymmetric_unhinged, shift=uniform(low=1.2, high=2.0), q=uniform(low=0.5, high=2.0)
    ),
    "jensen_shannon_label": labelled(losses.jensen_shannon_label, weight=uniform(low=0.2, high=0.8)),
    "crammer_singer": labelled(losses.crammer_singer, margin=uniform(low=0.5)),
    "weston_watkins": labelled(losses.weston_watkins, margin=uniform(low=0.5)),
    "ldr_kl": Row(losses.ldr_kl, inputs(**TEMPERED), batch=BATCH, diff=("logits", "margin"), bf16=("logits",)),
    "ldr_weights": Row(losses.ldr_weights, inputs(**TEMPERED), batch=BATCH, diff=("logits",), bf16=("logits",)),
    "aldr_init": Row(losses.aldr_init, inputs(temperature=uniform(low=0.5)), static={"num_examples": TABLE}),
    "aldr_kl": Row(
        losses.aldr_kl,
        inputs(
            state=lambda rng: losses.AldrState(uniform(TABLE, low=0.5, high=2.0)(rng)),
            index=distinct,
            alpha=uniform(low=1.5, high=3.0),
            **TEMPERED,
        ),
        batch=("logits", "labels", "index", "where"),
        couples=True,  # the table is shared
        diff=("logits",),
        bf16=("logits",),
    ),
    "normalize_scores": Row(
        losses.normalize_scores,
        inputs(logits=normal(N, C), where=mask(N)),
        batch=("logits", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
    "normalize_scores/l1": Row(
        losses.normalize_scores,
        inputs(logits=normal(N, C), where=mask(N)),
        static={"kind": "l1"},
        batch=("logits", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
    "z_loss": labelled(losses.z_loss, a=uniform(low=0.5, high=2.0), b=uniform()),
    "log_taylor_softmax": labelled(losses.log_taylor_softmax),
    "log_spherical_softmax": labelled(losses.log_spherical_softmax, eps=uniform(low=0.01, high=0.1)),
    "spherical_statistics": Row(
        losses.spherical_statistics,
        inputs(
            hidden=normal(N, D),
            weight_sum=normal(D),
            weight_gram=lambda rng: (lambda half: half.T @ half)(normal(C, D)(rng)),
            label_weight=normal(N, D),
            where=mask(N),
        ),
        batch=("hidden", "label_weight", "where"),
        diff=("hidden", "weight_sum", "weight_gram", "label_weight"),
        bf16=("hidden", "label_weight"),
    ),
    "z_loss_from_statistics": Row(
        losses.z_loss_from_statistics,
        inputs(
            label_logit=normal(N),
            logit_sum=normal(N),
            square_sum=uniform(N, low=2.0, high=4.0),
            a=uniform(low=0.5, high=2.0),
            b=uniform(),
            where=mask(N),
        ),
        static={"num_classes": C},
        batch=("label_logit", "logit_sum", "square_sum", "where"),
        diff=("label_logit", "logit_sum", "square_sum"),
        bf16=("label_logit", "logit_sum", "square_sum"),
    ),
    "bag_loss": Row(
        losses.bag_loss,
        inputs(**BAGS),
        batch=BAG_BATCH,
        diff=("predictions", "bag_targets"),
        bf16=("predictions", "bag_targets"),
    ),
    "instance_loss": Row(
        losses.instance_loss,
        inputs(**BAGS),
        batch=BAG_BATCH,
        diff=("predictions", "bag_targets"),
        bf16=("predictions", "bag_targets"),
    ),
    "interpolated_bag_loss": Row(
        losses.interpolated_bag_loss,
        inputs(rho=uniform(), **BAGS),
        batch=BAG_BATCH,
        diff=("predictions", "bag_targets"),
        bf16=("predictions", "bag_targets"),
    ),
    "private_bag_means": Row(
        losses.private_bag_means,
        inputs(
            key=prng(),
            y=normal(N, M),
            clip=uniform(low=1.0, high=2.0),
            epsilon=uniform(low=1.0, high=2.0),
            where=mask(N, M),
        ),
        batch=("y", "where"),
        diff=("y",),
        bf16=("y",),
        skip={"permute": "the noise belongs to the place of a bag, not to what is in it"},
    ),
    "nce": Row(
        losses.nce,
        inputs(
            data_energy=normal(N),
            data_log_q=normal(N),
            log_z=normal(),
            ratio=uniform(low=0.5, high=2.0),
            where=mask(N),
            **NOISE,
        ),
        batch=("data_energy", "data_log_q", "where"),
        couples=True,
        diff=("data_energy", "data_log_q", "noise_energy", "log_z"),
        bf16=("data_energy", "noise_energy"),
    ),
    "monte_carlo_nll": Row(
        losses.monte_carlo_nll,
        inputs(data_energy=normal(N), where=mask(N), **NOISE),
        batch=("data_energy", "where"),
        couples=True,
        diff=("data_energy", "noise_energy", "noise_log_q"),
        bf16=("data_energy", "noise_energy"),
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
}
