"""Rows of jaxlab.metrics: accuracy, calibration, scores of two classes, and bounds on the error."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, probabilities, uniform

SCORES = inputs(scores=normal(N), labels=lambda rng: rng.permutation([0, 0, 0, 1, 1, 1, 2]), where=mask(N))
TWO_CLASSES = {"empty": "the score is not defined without a positive and a negative: documented as NaN"}
BINARY = {"batch": ("scores", "labels", "where"), "couples": True, "bf16": ("scores",), "skip": TWO_CLASSES}

BOUND = {
    "make": inputs(error=uniform(N, high=0.5), kl=uniform(N, high=9.0), num_examples=uniform(low=50.0, high=99.0)),
    "batch": ("error", "kl"),
    "bf16": ("error", "kl"),
}

ROWS = {
    "accuracy": Row(
        metrics.accuracy,
        inputs(logits_or_predictions=normal(N, C), labels=integers(N, high=C), where=mask(N)),
        static={"k": 2},
        batch=("logits_or_predictions", "labels", "where"),
        couples=True,
        bf16=("logits_or_predictions",),
    ),
    "accuracy/predictions": Row(
        metrics.accuracy,
        inputs(logits_or_predictions=integers(N, high=C), labels=integers(N, high=C), where=mask(N)),
        batch=("logits_or_predictions", "labels", "where"),
        couples=True,
    ),
    "harmonic_mean": Row(
        metrics.harmonic_mean,
        inputs(values=uniform(N, D, low=0.1)),
        batch=("values",),
        diff=("values",),
        bf16=("values",),
    ),
    "false_false_true": Row(
        metrics.false_false_true,
        inputs(
            logits0=normal(N, C),
            logits1=normal(N, C),
            average=normal(N, C),
            labels=integers(N, high=C),
            where=mask(N),
        ),
        batch=("logits0", "logits1", "average", "labels", "where"),
        couples=True,
        bf16=("logits0", "logits1", "average"),
    ),
    "accuracy_disparity": Row(
        metrics.accuracy_disparity,
        inputs(predictions=integers(N, high=2), labels=integers(N, high=2), where=mask(N)),
        static={"num_classes": 2},
        batch=("predictions", "labels", "where"),
        couples=True,
    ),
    "class_errors_linear_gmm": Row(
        metrics.class_errors_linear_gmm,
        inputs(weight=normal(D), bias=normal(), mu=normal(D), sigma=uniform(low=0.5), eps=uniform(high=0.3)),
        static={"norm": "linf"},
        diff=("bias", "mu"),
        bf16=("weight", "mu"),
    ),
    "expected_calibration_error": Row(
        metrics.expected_calibration_error,
        inputs(probs=probabilities(N, C), labels=integers(N, high=C), where=mask(N)),
        static={"num_bins": 5},
        batch=("probs", "labels", "where"),
        couples=True,
        bf16=("probs",),
    ),
    "auroc": Row(metrics.auroc, SCORES, **BINARY),
    "average_precision": Row(metrics.average_precision, SCORES, **BINARY),
    "tpr_at_fpr": Row(metrics.tpr_at_fpr, SCORES, static={"fpr": 0.4}, **BINARY),
    "oscr": Row(
        metrics.oscr,
        inputs(
            scores=normal(N),
            correct=mask(N),
            known=lambda rng: rng.permutation([0, 0, 0, 1, 1, 1, 2]),
            where=lambda rng: np.array([True] * (N - 1) + [False]),
        ),
        batch=("scores", "correct", "known", "where"),
        couples=True,
        bf16=("scores",),
        skip={"empty": "the rate is not defined without known and unknown examples: documented as NaN"},
    ),
    "cbc_certified_radius": Row(
        metrics.cbc_certified_radius,
        inputs(
            detections=uniform(N, M, low=0.1),
            positive=uniform(M, C),
            negative=uniform(M, C),
            labels=integers(N, high=C),
            bandwidth=uniform(M, low=1.0, high=2.0),
            where=mask(N),
        ),
        batch=("detections", "labels", "where"),
        diff=("detections", "positive", "negative", "bandwidth"),
        bf16=("detections",),
    ),
    "binary_kl": Row(
        metrics.binary_kl,
        inputs(q=uniform(N, low=0.1, high=0.9), p=uniform(N, low=0.1, high=0.9)),
        batch=("q", "p"),
        diff=("q", "p"),
        bf16=("q", "p"),
    ),
    "kl_inverse": Row(
        metrics.kl_inverse, inputs(q=uniform(N, high=0.9), bound=uniform(N)), batch=("q", "bound"), bf16=("q", "bound")
    ),
    "mcallester_bound": Row(metrics.mcallester_bound, **BOUND, diff=("error", "kl")),
    "occam_bound": Row(metrics.occam_bound, **BOUND, diff=("error", "kl")),
    "seeger_bound": Row(metrics.seeger_bound, **BOUND),
}
