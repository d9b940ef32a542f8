"""Rows of jaxlab.selection."""

from jaxlab import selection
from tests.laws.row import D, M, N, Row, inputs, normal

ROWS = {
    "best_of_candidates": Row(
        selection.best_of_candidates,
        inputs(scores=normal(N, M, D), thresholds=normal(D), weights=normal(D)),
        batch=("scores",),
        bf16=("scores",),
    ),
    "threshold_filter": Row(
        selection.threshold_filter,
        inputs(scores=normal(N, D), low=normal(D)),
        static={"high": 2.0},
        batch=("scores",),
        bf16=("scores",),
    ),
}
