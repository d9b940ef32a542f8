"""Rows of jaxlab.metrics."""

from jaxlab import metrics
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform

T = 4  # tasks

SCORES = inputs(scores=normal(N), labels=lambda rng: rng.permutation([0, 0, 0, 1, 1, 1, 2]), where=mask(N))
TWO_CLASSES = {"empty": "the score is not defined without a positive and a negative: documented as NaN"}
BINARY = {"batch": ("scores", "labels", "where"), "couples": True, "bf16": ("scores",), "skip": TWO_CLASSES}
MATRIX = {"make": inputs(R=uniform(T, T)), "diff": ("R",), "bf16": ("R",)}
CURVE = inputs(
    steps=lambda rng: rng.uniform(0.1, 1.0, T).cumsum(), curve=normal(M, T), target=uniform(M, low=-0.5, high=0.5)
)

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
    "auroc": Row(metrics.auroc, SCORES, **BINARY),
    "average_precision": Row(metrics.average_precision, SCORES, **BINARY),
    "tpr_at_fpr": Row(metrics.tpr_at_fpr, SCORES, static={"fpr": 0.4}, **BINARY),
    "average_accuracy": Row(metrics.average_accuracy, **MATRIX),
    "average_incremental_accuracy": Row(
        metrics.average_incremental_accuracy,
        inputs(R=uniform(T, T), weights=uniform(T, low=0.5)),
        diff=("R",),
        bf16=("R",),
    ),
    "average_incremental_accuracy/unweighted": Row(metrics.average_incremental_accuracy, **MATRIX),
    "forgetting": Row(metrics.forgetting, **MATRIX),
    "forgetting/stepwise": Row(metrics.forgetting, static={"kind": "stepwise"}, **MATRIX),
    "backward_transfer": Row(metrics.backward_transfer, **MATRIX),
    "communication_floats": Row(metrics.communication_floats, inputs(message=lambda rng: {"a": rng.normal(size=3)})),
    "frechet_distance": Row(
        metrics.frechet_distance, inputs(x=normal(N, D), y=normal(N, D)), batch=("x",), couples=True, bf16=("x", "y")
    ),
    "precision_recall_knn": Row(
        metrics.precision_recall_knn,
        inputs(real=normal(N, D), fake=normal(M, D)),
        static={"k": 2},
        batch=("real",),
        couples=True,
        bf16=("real", "fake"),
    ),
    "time_to_target": Row(metrics.time_to_target, CURVE, bf16=("curve",)),
    "time_to_target/log": Row(metrics.time_to_target, CURVE, static={"mode": "max", "interpolate": "log"}),
    "time_to_target/step": Row(metrics.time_to_target, CURVE, static={"interpolate": None}),
}
