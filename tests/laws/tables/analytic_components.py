"""Rows of jaxlab.analytic: matrices as products, and principal components."""

import numpy as np

from jaxlab import analytic
from tests.laws.row import D, N, Row, inputs, mask, normal, prng, uniform


def factor_model(rng):
    """A Gaussian of two factors."""
    return analytic.PPCA(normal(D)(rng), normal(D, 2)(rng), np.asarray(rng.uniform(0.5, 1.0), np.float32))


ROWS = {
    "procrustes": Row(
        analytic.procrustes,
        inputs(x=normal(N, D), y=normal(N, D), where=mask(N)),
        batch=("x", "y", "where"),
        couples=True,
        diff=("x", "y"),
        bf16=("x", "y"),
    ),
    "nmf": Row(
        analytic.nmf,
        inputs(x=uniform(N, D), key=prng()),
        static={"rank": 2, "num_iters": 3, "num_restarts": 2},
        bf16=("x",),
    ),
    "nmf/right": Row(
        analytic.nmf,
        inputs(x=uniform(N, D), key=prng(), right=uniform(2, D, low=0.1)),
        static={"rank": 2, "num_iters": 3},
        bf16=("x", "right"),
    ),
    "anchor_rows": Row(
        analytic.anchor_rows,
        inputs(x=uniform(N, D), where=mask(N)),
        static={"rank": 2},
        batch=("x", "where"),
        couples=True,
        skip={"permute": "the results are row numbers"},
    ),
    "pca": Row(
        analytic.pca,
        inputs(x=normal(N, D), where=mask(N)),
        static={"rank": 2},
        batch=("x", "where"),
        couples=True,
        bf16=("x",),
        tol=1e-3,
    ),
    "pca_transform": Row(
        analytic.pca_transform,
        inputs(
            model=lambda rng: analytic.PCA(normal(D)(rng), normal(2, D)(rng), uniform(2, low=0.5)(rng)), x=normal(N, D)
        ),
        static={"whiten": True},
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
    "ppca_fit": Row(
        analytic.ppca_fit,
        inputs(x=normal(N, D), where=mask(N)),
        static={"rank": 2},
        batch=("x", "where"),
        couples=True,
        bf16=("x",),
        tol=1e-3,
    ),
    "ppca_posterior_mean": Row(
        analytic.ppca_posterior_mean,
        inputs(model=factor_model, x=normal(N, D)),
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
    "ppca_log_prob": Row(
        analytic.ppca_log_prob,
        inputs(model=factor_model, x=normal(N, D)),
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
}
