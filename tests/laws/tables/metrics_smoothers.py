"""Rows of jaxlab.metrics: predictions that are sums of the targets, and bounds from errors."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform


def skewed(rng):
    """Per row twelve errors whose moments a noncentral chi-square can have."""
    return (rng.uniform(1.0, 1.2, (N, 12)) + np.array([0.0] * 10 + [6.0, 8.0])).astype(np.float32)


ROWS = {
    "effective_parameters": Row(
        metrics.effective_parameters,
        inputs(smoother=normal(N, M), where=mask(N)),
        batch=("smoother", "where"),
        couples=True,
        diff=("smoother",),
        bf16=("smoother",),
    ),
    "smoother_trace": Row(
        metrics.smoother_trace, inputs(smoother=normal(D, D)), diff=("smoother",), bf16=("smoother",)
    ),
    "smoother_from_leaves": Row(
        metrics.smoother_from_leaves,
        inputs(
            query_leaves=integers(N, M, high=3),
            train_leaves=integers(N, D, high=3),
            weights=uniform(N, D, low=0.1),
        ),
        batch=("query_leaves", "train_leaves", "weights"),
        couples=True,
        diff=("weights",),
        bf16=("weights",),
    ),
    "boosting_smoother": Row(
        metrics.boosting_smoother,
        inputs(
            query_leaves=integers(C, M, high=3),
            train_leaves=integers(C, D, high=3),
            learning_rate=uniform(low=0.1),
            weights=uniform(C, D, low=0.1),
        ),
        diff=("learning_rate", "weights"),
        bf16=("weights",),
    ),
    "scaled_ncx2_fit_moments": Row(
        metrics.scaled_ncx2_fit_moments,
        inputs(errors=skewed),
        batch=("errors",),
        diff=("errors",),
        bf16=("errors",),
        tol=1e-4,
    ),
    "ncx2_log_cdf_approx": Row(
        metrics.ncx2_log_cdf_approx,
        inputs(
            x=uniform(N, low=0.1, high=20.0),
            df=uniform(N, low=2.0, high=9.0),
            nc=uniform(N, low=0.5, high=9.0),
            scale=uniform(low=0.5, high=2.0),
        ),
        batch=("x", "df", "nc"),
        diff=("x", "df", "nc", "scale"),
        bf16=("x", "df", "nc", "scale"),
        skip={"zeros": "a distribution of scale 0 has no density"},
    ),
    "ncx2_log_cdf_approx/sankaran": Row(
        metrics.ncx2_log_cdf_approx,
        inputs(x=uniform(N, low=0.1, high=3.0), df=uniform(N, low=2.0, high=9.0), nc=uniform(N, low=0.5, high=9.0)),
        static={"method": "sankaran"},
        batch=("x", "df", "nc"),
        diff=("x",),
        bf16=("x", "df", "nc"),
    ),
    "inductive_bias_from_errors": Row(
        metrics.inductive_bias_from_errors,
        inputs(errors=skewed, target=uniform(low=0.3, high=0.9)),
        batch=("errors",),
        diff=("errors", "target"),
        bf16=("errors",),
        tol=1e-4,
    ),
}
