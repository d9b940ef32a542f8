"""Rows of jaxlab.metrics: laws and profiles of training runs, and the landscape between them."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import C, D, M, N, Row, inputs, mask, normal, uniform

T = 4  # steps

CURVE = inputs(
    steps=lambda rng: rng.uniform(0.1, 1.0, T).cumsum(), curve=normal(M, T), target=uniform(M, low=-0.5, high=0.5)
)

LAW = inputs(
    n=lambda rng: (rng.uniform(9.9, 10.1, N) * np.arange(1, N + 1)).astype(np.float32),
    values=lambda rng: (3.0 * np.arange(1, N + 1) ** -0.7 + rng.uniform(0.3, 0.31, N)).astype(np.float32),
    where=mask(N),
)

POINTS = {
    "batch": ("n", "values", "where"),
    "couples": True,
    "skip": {"empty": "there is no law without points: documented as NaN"},
}

ROWS = {
    "time_to_target": Row(metrics.time_to_target, CURVE, bf16=("curve",)),
    "time_to_target/log": Row(metrics.time_to_target, CURVE, static={"mode": "max", "interpolate": "log"}),
    "time_to_target/step": Row(metrics.time_to_target, CURVE, static={"interpolate": None}),
    "fit_power_law": Row(metrics.fit_power_law, LAW, diff=("values",), bf16=("values",), **POINTS),
    "fit_power_law/offset": Row(metrics.fit_power_law, LAW, static={"offset": True}, **POINTS | {"tol": 1e-2}),
    "performance_profile": Row(
        metrics.performance_profile,
        inputs(times=uniform(C, N, low=0.1), taus=uniform(M, low=1.0, high=4.0)),
        bf16=("times",),
    ),
    "algoperf_score": Row(
        metrics.algoperf_score,
        inputs(times=uniform(C, N, low=0.1), tau_max=uniform(low=2.0, high=4.0)),
        bf16=("times",),
    ),
    "learning_improvement": Row(
        metrics.learning_improvement,
        inputs(correct=uniform(N, M), where=mask(N)),
        batch=("correct", "where"),
        couples=True,
        diff=("correct",),
        bf16=("correct",),
    ),
    "pareto_front": Row(
        metrics.pareto_front,
        inputs(cost=uniform(N), score=uniform(N), where=mask(N)),
        batch=("cost", "score", "where"),
        couples=True,
        bf16=("cost", "score"),
    ),
    "order_estimate_error": Row(
        metrics.order_estimate_error,
        inputs(estimate=normal(D), truth=normal(D), base=normal(D)),
        diff=("estimate", "truth", "base"),
        bf16=("estimate", "truth", "base"),
        skip={"zeros": "NaN where nothing has changed, as documented"},
    ),
    "bezier": Row(
        metrics.bezier,
        inputs(stacked=lambda rng: {"w": normal(3, D)(rng), "b": normal(3)(rng)}, t=uniform()),
        diff=("stacked", "t"),
        bf16=("stacked",),
    ),
    "mode_connectivity": Row(
        metrics.mode_connectivity, inputs(values=normal(N, M)), batch=("values",), bf16=("values",)
    ),
    "classify_phase": Row(
        metrics.classify_phase,
        inputs(
            loss=uniform(N, high=0.2),
            sharpness=uniform(N, high=200.0),
            connectivity=normal(N, scale=0.1),
            similarity=uniform(N, low=0.8),
        ),
        batch=("loss", "sharpness", "connectivity", "similarity"),
        bf16=("loss",),
    ),
}
