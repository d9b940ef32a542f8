"""Rows of jaxlab.detect."""

from jaxlab import detect
from tests.laws.row import C, D, M, N, Row, inputs, mask, normal, prng, uniform
from tests.laws.tables.analytic_statistics import stats

SCORE = {
    "make": inputs(logits=normal(N, C), class_where=mask(C)),
    "batch": ("logits",),
    "diff": ("logits",),
    "bf16": ("logits",),
}

OUTLIERS = {"num_keep": M, "k": 3, "num_boundary": 3, "samples_per_point": 4}
AROUND = {
    "make": inputs(key=prng(), features=normal(N, D), scale=uniform(low=0.5), where=mask(N)),
    "batch": ("features", "where"),
    "couples": True,
    "bf16": ("features",),
}

ROWS = {
    "energy": Row(detect.energy, **SCORE),
    "knn_score": Row(
        detect.knn_score,
        inputs(queries=normal(N, D), database=normal(M, D), where=mask(M)),
        static={"k": 2},
        batch=("queries",),
        diff=("queries", "database"),
        bf16=("queries", "database"),
        skip={"mask": "`where` is over the rows of the database; proofs in tests/detect"},
    ),
    "mahalanobis_score": Row(
        detect.mahalanobis_score,
        inputs(stats=stats("shared"), x=normal(N, D), ridge=uniform(low=0.1)),
        batch=("x",),
        diff=("stats", "x"),
        bf16=("x",),
    ),
    "max_logit": Row(detect.max_logit, **SCORE),
    "max_softmax": Row(detect.max_softmax, **SCORE),
    "virtual_outliers": Row(detect.virtual_outliers, static=OUTLIERS, **AROUND),
    "virtual_outliers/origin": Row(detect.virtual_outliers, static=OUTLIERS | {"center": "origin"}, **AROUND),
}

ROWS |= {
    "entropy_score": Row(
        detect.entropy_score,
        inputs(logits=normal(N, C), class_where=mask(C)),
        batch=("logits",),
        diff=("logits",),
        bf16=("logits",),
    ),
}
