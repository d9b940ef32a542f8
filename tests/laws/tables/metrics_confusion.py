"""Rows of jaxlab.metrics: counts of predicted against true classes, and gains of a ranking."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import C, M, N, Row, inputs, integers, mask, normal, uniform

COUNTS = {"make": inputs(confusion=uniform(2, C, C)), "diff": ("confusion",), "bf16": ("confusion",)}


def two_classes(rng):
    """Counts of two classes."""
    return metrics.Confusion(*rng.uniform(0.5, 2.0, (4, M)).astype(np.float32))


ROWS = {
    "soft_confusion": Row(
        metrics.soft_confusion,
        inputs(probs=uniform(N), targets=integers(N, high=2), where=mask(N)),
        batch=("probs", "targets", "where"),
        couples=True,
        diff=("probs",),
        bf16=("probs",),
    ),
    "accuracy_from_confusion": Row(metrics.accuracy_from_confusion, **COUNTS),
    "f_beta": Row(metrics.f_beta, **COUNTS),
    "f_beta/two_classes": Row(
        metrics.f_beta, inputs(confusion=two_classes, beta=uniform(low=0.5)), diff=("confusion",)
    ),
    "balanced_accuracy": Row(metrics.balanced_accuracy, **COUNTS),
    "g_mean": Row(metrics.g_mean, **COUNTS),
    "g_mean/product": Row(metrics.g_mean, **COUNTS, static={"root": False}),
    "matthews": Row(metrics.matthews, **COUNTS),
    "cohen_kappa": Row(metrics.cohen_kappa, **COUNTS),
    "ndcg_at_k": Row(
        metrics.ndcg_at_k,
        inputs(scores=normal(N, M), relevance=mask(N, M)),
        static={"k": 3},
        batch=("scores", "relevance"),
        bf16=("scores",),
    ),
    "confusion_matrix": Row(
        metrics.confusion_matrix,
        inputs(predictions=integers(N, high=C), labels=integers(N, high=C), where=mask(N)),
        static={"num_classes": C},
        batch=("predictions", "labels", "where"),
        couples=True,
    ),
    "mean_iou": Row(metrics.mean_iou, inputs(confusion=uniform(N, C, C)), batch=("confusion",), diff=("confusion",)),
}
