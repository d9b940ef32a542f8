"""Rows of jaxlab.detect."""

from jaxlab import detect
from tests.laws.row import C, D, N, Row, inputs, mask, normal, uniform
from tests.laws.tables.analytic import stats

SCORE = {
    "make": inputs(logits=normal(N, C), class_where=mask(C)),
    "batch": ("logits",),
    "diff": ("logits",),
    "bf16": ("logits",),
}

ROWS = {
    "energy": Row(detect.energy, **SCORE),
    "mahalanobis_score": Row(
        detect.mahalanobis_score,
        inputs(stats=stats("shared"), x=normal(N, D), ridge=uniform(low=0.1)),
        batch=("x",),
        diff=("stats", "x"),
        bf16=("x",),
    ),
    "max_logit": Row(detect.max_logit, **SCORE),
    "max_softmax": Row(detect.max_softmax, **SCORE),
}
