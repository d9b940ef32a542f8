"""Rows of jaxlab.analytic: closed-form classifiers, the features they read, and what theory says of them."""

import numpy as np

from jaxlab import analytic
from tests.laws.row import (
    C,
    D,
    M,
    N,
    Row,
    inputs,
    integers,
    mask,
    normal,
    positive_definite,
    prng,
    probabilities,
    uniform,
)
from tests.laws.tables.analytic_statistics import STATISTICS, stats

PROTOTYPES = {"diff": ("x", "prototypes"), "bf16": ("x", "prototypes")}
SCALE = uniform(low=0.5, high=2.0)

ROWS = {
    "nearest_mean": Row(analytic.nearest_mean, inputs(stats=stats()), **STATISTICS),
    "lda": Row(analytic.lda, inputs(stats=stats("shared"), ridge=uniform(low=0.1)), **STATISTICS),
    "lda/ks": Row(analytic.lda, inputs(stats=stats("full")), static={"shrinkage": "ks"}, **STATISTICS),
    "lda/diag": Row(
        analytic.lda,
        inputs(stats=stats("diag"), ridge=uniform(low=0.1), prior=lambda rng: np.log(probabilities(C)(rng))),
        static={"shrinkage": "diag"},
        **STATISTICS,
    ),
    "naive_bayes": Row(analytic.naive_bayes, inputs(stats=stats("diag"), eps=uniform(low=0.1)), **STATISTICS),
    "ks_precision": Row(
        analytic.ks_precision,
        inputs(scatter=positive_definite(D, D), count=integers(high=50)),
        diff=("scatter",),
        bf16=("scatter",),
    ),
    "head_logits": Row(
        analytic.head_logits,
        inputs(head=lambda rng: analytic.Head(normal(D, C)(rng), normal(C)(rng)), x=normal(N, D)),
        batch=("x",),
        diff=("head", "x"),
        bf16=("x",),
    ),
    "mahalanobis": Row(
        analytic.mahalanobis,
        inputs(stats=stats("shared"), x=normal(N, D), ridge=uniform(low=0.1)),
        batch=("x",),
        diff=("stats", "x"),
        bf16=("x",),
    ),
    "logistic_regression": Row(
        analytic.logistic_regression,
        inputs(x=normal(N, D), targets=probabilities(N, C), ridge=uniform(low=0.5), where=mask(N)),
        static={"num_iters": 3},
        batch=("x", "targets", "where"),
        couples=True,
        diff=("x", "targets"),
        bf16=("x", "targets"),
    ),
    "prototype_logits": Row(
        analytic.prototype_logits,
        inputs(x=normal(N, D), prototypes=normal(C, D), scale=SCALE),
        batch=("x",),
        skip={"mask": "`where` is over classes: the row prototype_logits/classes"},
        **PROTOTYPES,
    ),
    **{
        f"prototype_logits/classes_{metric}": Row(
            analytic.prototype_logits,
            inputs(x=normal(M, D), prototypes=normal(N, D), scale=SCALE, where=mask(N)),
            static={"metric": metric},
            batch=("prototypes", "where"),
            skip={"empty": "without classes all logits are -inf, as documented"},
            **PROTOTYPES,
        )
        for metric in ("euclidean", "cosine", "dot")
    },
    "calibrate_prototypes": Row(
        analytic.calibrate_prototypes,
        inputs(new=normal(N, D), base=normal(C, D), temperature=SCALE, shift=uniform()),
        batch=("new",),
        diff=("new", "base", "temperature", "shift"),
        bf16=("new", "base"),
        skip={"mask": "`where` is over the base classes: the row calibrate_prototypes/base"},
    ),
    "calibrate_prototypes/base": Row(
        analytic.calibrate_prototypes,
        inputs(new=normal(M, D), base=normal(N, D), where=mask(N)),
        batch=("base", "where"),
        couples=True,
        diff=("new", "base"),
    ),
    "random_features_init": Row(
        analytic.random_features_init, inputs(key=prng()), static={"dim": D, "width": M, "kind": "relu"}
    ),
    "random_features_init/gaussian": Row(
        analytic.random_features_init,
        inputs(key=prng(), centers=normal(N, D), bandwidth=SCALE),
        static={"dim": D, "width": M, "kind": "gaussian"},
    ),
    "random_features": Row(
        analytic.random_features,
        inputs(params=lambda rng: analytic.RandomFeatures(projection=normal(D, M)(rng)), x=normal(N, D)),
        batch=("x",),
        diff=("params", "x"),
        bf16=("x",),
    ),
    "random_features/gaussian": Row(
        analytic.random_features,
        inputs(
            params=lambda rng: analytic.RandomFeatures(centers=normal(M, D)(rng), bandwidth=SCALE(rng)),
            x=normal(N, D),
        ),
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
    "linear_probe": Row(
        analytic.linear_probe,
        inputs(
            train_features=normal(N, D),
            train_labels=integers(N, high=C),
            features=normal(M, D),
            ridge=uniform(low=0.5),
            where=mask(N),
        ),
        static={"num_classes": C},
        batch=("train_features", "train_labels", "where"),
        couples=True,
        bf16=("train_features", "features"),
        skip={"empty": "a class without training rows has logit -inf"},
    ),
    "balanced_logit_average": Row(
        analytic.balanced_logit_average,
        inputs(
            logits0=normal(N, C),
            logits1=normal(N, C),
            temperature0=uniform(low=0.5),
            temperature1=uniform(low=0.5),
        ),
        batch=("logits0", "logits1"),
        diff=("logits0", "logits1"),
        bf16=("logits0", "logits1"),
    ),
    "robust_linear_gmm": Row(
        analytic.robust_linear_gmm,
        inputs(
            mu=normal(D, scale=2.0), ratio=uniform(low=0.5, high=4.0), eps=uniform(high=0.3), sigma=uniform(low=0.5)
        ),
        static={"norm": "linf"},
        bf16=("mu",),
    ),
    "deep_linear_collapse_solution": Row(
        analytic.deep_linear_collapse_solution,
        inputs(class_counts=integers(C, high=50), weight_decay=uniform(high=1e-3), feature_decay=uniform(high=1e-3)),
        static={"depth": 2},
    ),
}
