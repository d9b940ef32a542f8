"""Rows of jaxlab.selfsup."""

import numpy as np

from jaxlab import selfsup
from tests.laws.row import D, N, Row, inputs, integers, mask, normal, positive_definite, uniform


def correlation(rng):
    return selfsup.Correlation(positive_definite(D, D)(rng), np.int32(2))


def dynamics(rng):
    return selfsup.LinearDynamics(normal(D)(rng), uniform(D, low=0.1)(rng), uniform(D)(rng))


ROWS = {
    "correlation_ema_init": Row(selfsup.correlation_ema_init, inputs(), static={"dim": D}),
    "correlation_ema_update": Row(
        selfsup.correlation_ema_update,
        inputs(state=correlation, features=normal(N, D), decay=uniform(), where=mask(N)),
        batch=("features", "where"),
        couples=True,
        bf16=("features",),
    ),
    "direct_pred_update": Row(
        selfsup.direct_pred_update, inputs(corr=positive_definite(D, D), eps=uniform()), bf16=("corr",)
    ),
    "direct_pred_update/inside": Row(
        selfsup.direct_pred_update, inputs(corr=positive_definite(D, D), eps=uniform()), static={"eps_inside": True}
    ),
    "direct_copy": Row(
        selfsup.direct_copy, inputs(corr=positive_definite(D, D), eps=uniform()), diff=("eps",), bf16=("corr",)
    ),
} | {
    f"byol_linear_dynamics{variant}": Row(
        selfsup.byol_linear_dynamics,
        inputs(
            state=dynamics, weight_decay=uniform(), predictor_rate=uniform(), target_rate=uniform(), noise=uniform()
        ),
        static={"stop_gradient": stop},
        diff=("state",),
    )
    for variant, stop in (("", True), ("/joint", False))
}

ROWS |= {
    "pair_logistic": Row(
        selfsup.pair_logistic,
        inputs(features1=normal(N, D), features2=normal(N, D), targets=integers(N, high=2), where=mask(N)),
        batch=("features1", "features2", "targets", "where"),
        diff=("features1", "features2"),
        bf16=("features1", "features2"),
    ),
}
