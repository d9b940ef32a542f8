"""Rows of jaxlab.losses: labels that say what an example is not."""

import numpy as np

from jaxlab import losses
from tests.laws.row import C, N, Row, inputs, integers, mask, normal, positive_definite, probabilities, uniform

LABELS = {
    "make": inputs(logits=normal(N, C), comp_labels=integers(N, high=C), where=mask(N)),
    "batch": ("logits", "comp_labels", "where"),
    "diff": ("logits",),
    "bf16": ("logits",),
}
RISK = {
    "make": inputs(
        logits=normal(N, C),
        comp_labels=integers(N, high=C),
        transition_inverse=positive_definite(C, C),
        prior=probabilities(C),
        where=mask(N),
    ),
    "batch": ("logits", "comp_labels", "where"),
    "couples": True,
    "diff": ("logits",),
    "bf16": ("logits",),
}


def some_wrong(rng):
    """One to all but one of the classes."""
    return rng.random((N, C)).argsort(axis=1) < rng.integers(1, C, (N, 1))


ROWS = {
    "negative_learning": Row(
        losses.negative_learning,
        inputs(logits=normal(N, C), mask=some_wrong, where=mask(N)),
        batch=("logits", "mask", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
    "negative_learning/label": Row(
        losses.negative_learning,
        inputs(logits=normal(N, C), mask=integers(N, high=C), where=mask(N)),
        batch=("logits", "mask", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
    "complementary_exponential": Row(losses.complementary_exponential, **LABELS),
    "complementary_discriminative": Row(losses.complementary_discriminative, **LABELS),
    "complementary_order_preserving": Row(losses.complementary_order_preserving, tol=1e-4, **LABELS),
    "complementary_pairwise": Row(losses.complementary_pairwise, **LABELS),
    "complementary_forward": Row(
        losses.complementary_forward,
        inputs(
            logits=normal(N, C),
            comp_labels=integers(N, high=C),
            transition=lambda rng: probabilities(C, C)(rng) * (1 - np.eye(C, dtype=np.float32)),
            where=mask(N),
        ),
        batch=("logits", "comp_labels", "where"),
        diff=("logits", "transition"),
        bf16=("logits",),
    ),
    "complementary_risk_vector": Row(losses.complementary_risk_vector, **RISK),
    "complementary_scarce": Row(losses.complementary_scarce, **(LABELS | {"couples": True})),
    "non_negative_risk": Row(
        losses.non_negative_risk,
        inputs(vector=normal(N, C), beta=uniform()),
        batch=("vector",),
        diff=("vector",),
        bf16=("vector",),
    ),
    "gradient_ascent_risk": Row(
        losses.gradient_ascent_risk,
        inputs(vector=normal(N, C)),
        batch=("vector",),
        diff=("vector",),
        bf16=("vector",),
    ),
}

ROWS |= {
    f"complementary_multiple/{kind}".removesuffix("/log"): Row(
        losses.complementary_multiple,
        inputs(logits=normal(N, C), comp_mask=some_wrong, where=mask(N)),
        static={"kind": kind},
        batch=("logits", "comp_mask", "where"),
        diff=("logits",),
        bf16=("logits",),
    )
    for kind in ("log", "exp", "mae")
} | {
    f"complementary_risk_vector/{loss}": Row(
        losses.complementary_risk_vector, static={"loss": loss, "group": "class"}, **RISK
    )
    for loss in ("mae", "weighted_mae", "generalized", "symmetric")
}
