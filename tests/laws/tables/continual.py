"""Rows of jaxlab.continual. A learner is judged by what it predicts after one update, and as a family (families.py)."""

from functools import partial

import numpy as np

from jaxlab import analytic, continual
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, positive_definite, prng

B = 6  # random features
T, I = 2, 3  # tasks, test sets

CHUNK = {"x": normal(N, D), "labels": integers(N, high=C), "where": mask(N)}
NO_KEY = {"key": "this learner draws nothing"}


def learn_and_predict(key, x, labels, queries, *, learner, where=None):
    """Logits of ``learner()``, a continual.Learner, for queries, after one update."""
    learner = learner()
    head = learner.solve(learner.update(learner.init(key), x, labels, where=where))
    return learner.predict(head, queries)


def learner(factory, *args, skip=NO_KEY, bf16=("x", "queries"), **options):
    return Row(
        learn_and_predict,
        inputs(key=prng(), **CHUNK, queries=normal(M, D)),
        static={"learner": partial(factory, *args, **options)},
        batch=("x", "labels", "where"),
        couples=True,
        bf16=bf16,
        skip=skip | {"empty": "classes that were not seen have logit -inf, as documented"},
    )


def mahalanobis_state(rng):
    seen = np.arange(C) < 2
    mean = np.where(seen[:, None], normal(C, D)(rng), 0)
    return continual.MahalanobisState(mean, positive_definite(D, D)(rng), seen)


random_ridge = partial(learner, continual.analytic_class_incremental, C, D, width=B, ridge=1.0, skip={})

ROWS = {
    "class_stats_learner": learner(
        continual.class_stats_learner, partial(analytic.lda, ridge=0.5), num_classes=C, dim=D, second="shared"
    ),
    "nearest_class_mean": learner(continual.nearest_class_mean, C, D),
    "nearest_class_mean/cosine": learner(continual.nearest_class_mean, C, D, metric="cosine"),
    "teen": learner(continual.teen, C, D, base=np.arange(C) < 2),
    "analytic_class_incremental": random_ridge(),
    "analytic_class_incremental/recursive": random_ridge(form="recursive"),
    "analytic_class_incremental/balanced": random_ridge(form="balanced"),
    "fetril": learner(continual.fetril, C, D, num_iters=2),
    "fetril_assign": Row(
        continual.fetril_assign,
        inputs(past_means=normal(N, D), new_means=normal(M, D), where=mask(M)),
        batch=("past_means",),
        skip={"mask": "`where` is over the new classes, which the result points to"},
    ),
    "translate_features": Row(
        continual.translate_features,
        inputs(features=normal(N, D), source_mean=normal(D), target_mean=normal(D)),
        batch=("features",),
        diff=("features", "source_mean", "target_mean"),
        bf16=("features",),
    ),
    "mahalanobis_add_class": Row(
        continual.mahalanobis_add_class,
        inputs(
            state=mahalanobis_state,
            label=lambda rng: rng.integers(2, C),
            mean=normal(D),
            covariance=positive_definite(D, D),
        ),
        diff=("state", "mean", "covariance"),
        bf16=("mean", "covariance"),
    ),
    "run_stream": Row(
        continual.run_stream,
        inputs(
            key=prng(),
            x=normal(T, N, D),
            labels=integers(T, N, high=C),
            where=mask(T, N),
            x_test=normal(I, M, D),
            labels_test=integers(I, M, high=C),
        ),
        static={
            "learner": continual.Learner(
                init=lambda key: analytic.random_features_init(key, D, width=B),
                update=lambda state, x, labels, *, where: state,
                solve=lambda state: state,
                predict=analytic.random_features,
            )
        },
        skip={"mask": "`where` is over the rows of every task, and tasks have an order; proofs in tests/continual"},
    ),
}
