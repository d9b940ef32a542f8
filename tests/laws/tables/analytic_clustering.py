"""Rows of jaxlab.analytic: clusters, mixtures, and Gaussians of classes."""

import numpy as np

from jaxlab import analytic
from tests.laws.row import C, D, N, Row, inputs, integers, mask, normal, positive_definite, prng, probabilities, uniform


def mixture(*covariance):
    """A spec: a mixture of C Gaussians with this shape of covariance."""

    def spec(rng):
        spread = positive_definite(*covariance) if len(covariance) == 3 else uniform(*covariance, low=0.5)
        return analytic.GaussianMixture(np.log(probabilities(C)(rng)), normal(C, D)(rng), spread(rng))

    return spec


EM_ROWS = inputs(x=normal(N, D), init=probabilities(N, C), ridge=uniform(low=0.1), where=mask(N))

EM = {
    "batch": ("x", "init", "where"),
    "couples": True,
    "diff": ("x",),
    "bf16": ("x", "init"),
    "skip": {"empty": "components without weight have log-weight -inf, as documented"},
}

DRAWN = {"permute": "which rows are drawn depends on their order"}

ROWS = {
    "kmeans_init": Row(
        analytic.kmeans_init,
        inputs(key=prng(), x=normal(N, D), fixed=normal(2, D), where=mask(N)),
        static={"k": 3},
        batch=("x", "where"),
        couples=True,
        skip=DRAWN,
        bf16=("x", "fixed"),
    ),
    "kmeans": Row(
        analytic.kmeans,
        inputs(key=prng(), x=normal(N, D), fixed=normal(2, D), where=mask(N)),
        static={"k": 3, "num_iters": 1},
        batch=("x", "where"),
        couples=True,
        skip=DRAWN,
    ),
    "kmeans/init": Row(
        analytic.kmeans,
        inputs(key=prng(), x=normal(N, D), init=normal(2, D), where=mask(N)),
        static={"k": 2, "num_iters": 4, "metric": "cosine"},
        batch=("x", "where"),
        couples=True,
        skip={"key": "there is nothing to draw"},
    ),
    "gmm_log_prob": Row(
        analytic.gmm_log_prob,
        inputs(mixture=mixture(C, D, D), x=normal(N, D)),
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
    "gmm_log_prob/tied": Row(
        analytic.gmm_log_prob, inputs(mixture=mixture(1, D, D), x=normal(N, D)), batch=("x",), diff=("x",)
    ),
    "gmm_log_prob/diag": Row(
        analytic.gmm_log_prob, inputs(mixture=mixture(C, D), x=normal(N, D)), batch=("x",), diff=("x",)
    ),
    "gmm_em": Row(analytic.gmm_em, EM_ROWS, static={"num_iters": 3}, **EM | {"diff": ()}),
    "gmm_em/tied": Row(analytic.gmm_em, EM_ROWS, static={"num_iters": 3, "covariance": "tied"}, **EM | {"diff": ()}),
    "gmm_em/diag": Row(analytic.gmm_em, EM_ROWS, static={"num_iters": 3, "covariance": "diag"}, **EM),
    "sample_class_gaussians": Row(
        analytic.sample_class_gaussians,
        inputs(key=prng(), means=normal(C, D), covariances=positive_definite(C, D, D), counts=integers(C, high=4)),
        static={"total": 6},
        diff=("means",),
        bf16=("means",),
    ),
    "sample_class_gaussians/radius": Row(
        analytic.sample_class_gaussians,
        inputs(key=prng(), means=normal(C, D), covariances=uniform(C, low=0.5), counts=integers(C, high=4)),
        static={"total": 6},
        diff=("means", "covariances"),
        bf16=("means", "covariances"),
    ),
    "borrow_gaussian": Row(
        analytic.borrow_gaussian,
        inputs(
            means=normal(C, D),
            covariances=positive_definite(C, D, D),
            counts=uniform(C, low=1.0, high=9.0),
            tail=mask(C),
            alpha=uniform(),
            mix=uniform(),
        ),
        static={"num_neighbors": 2},
        diff=("means", "covariances", "mix"),
        bf16=("means", "covariances"),
    ),
}
