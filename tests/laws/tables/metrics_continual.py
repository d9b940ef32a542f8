"""Rows of jaxlab.metrics: tables of tasks or versions."""

from jaxlab import metrics
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform

T = 4  # tasks
MATRIX = {"make": inputs(R=uniform(T, T)), "diff": ("R",), "bf16": ("R",)}

ROWS = {
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
    "stream_summary": Row(
        metrics.stream_summary,
        inputs(accuracy=uniform(N), num_examples=integers(N, high=9), flops=uniform(N, M)),
        diff=("accuracy", "flops"),
        bf16=("accuracy", "flops"),
    ),
    "average_accuracy_lower": Row(
        metrics.average_accuracy_lower, inputs(matrix=uniform(T, T)), diff=("matrix",), bf16=("matrix",)
    ),
    "average_compatibility": Row(metrics.average_compatibility, inputs(matrix=uniform(T, T)), bf16=("matrix",)),
    "compatibility_matrix": Row(
        metrics.compatibility_matrix,
        inputs(
            queries=lambda rng: [normal(N, D)(rng), normal(N, D + 1)(rng)],
            labels=integers(N, high=C),
            galleries=lambda rng: [normal(M, D)(rng), normal(M, D + 1)(rng)],
            gallery_labels=integers(M, high=C),
            where=mask(N),
            gallery_where=mask(M),
        ),
        static={"num_classes": C},
        batch=("queries", "labels", "where"),
        couples=True,
        bf16=("queries", "galleries"),
    ),
}
