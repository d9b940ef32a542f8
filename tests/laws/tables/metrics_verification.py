"""Rows of jaxlab.metrics: operating curves and their spread over classes."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import D, M, N, Row, inputs, integers, mask, normal

TABLE = {"mask": "a mask of rows and columns: in the proofs"}


def distances(rng):
    """A spec: distances of points on a line."""
    x = rng.standard_normal(N).astype(np.float32)
    return np.abs(x[:, None] - x)


CLASSES = {"distances": distances, "labels": integers(N, high=2), "where": mask(N)}

ROWS = {
    "class_operating_curves": Row(
        metrics.class_operating_curves,
        inputs(**CLASSES, thresholds=lambda rng: np.sort(rng.random(M)).astype(np.float32)),
        static={"num_classes": 2},
        bf16=("distances",),
        skip=TABLE,
    ),
    "opis": Row(
        metrics.opis,
        inputs(**CLASSES),
        static={"num_classes": 2, "far_range": (0.1, 0.6), "num_thresholds": 5},
        skip=TABLE,
    ),
    "opis_extremes": Row(
        metrics.opis_extremes,
        inputs(**CLASSES),
        static={"num_classes": 2, "far_range": (0.1, 0.6), "num_thresholds": 5},
        skip=TABLE,
    ),
    "utilization": Row(
        metrics.utilization,
        inputs(queries=normal(N, D), references=normal(M, D), where=mask(N), reference_where=mask(M)),
        batch=("queries", "where"),
        couples=True,
        diff=("queries", "references"),
        bf16=("queries", "references"),
    ),
}
