"""Rows of jaxlab.continual. A learner is judged by what it predicts after one update, and as a family (families.py)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlab import analytic, continual
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, positive_definite, prng, uniform

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


def square_loss(params, batch):
    return jnp.mean((batch @ params) ** 2)


def monitors(rng):
    """Three experts' monitors after some losses."""
    state = jax.vmap(lambda _: continual.loss_monitor_init())(jnp.arange(3))
    for _ in range(2):
        state = jax.vmap(continual.loss_monitor_update)(state, uniform(3)(rng))
    return state


def experts(rng):
    params = normal(3, D, 2)(rng)
    return continual.ExpertPool(
        params,
        optax.sgd(0.1).init(params),
        monitors(rng),
        params > -1,
        np.array([True, True, False]),
        np.int32(1),
        np.bool_(False),
        np.bool_(False),
    )


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
    "task_classes": Row(
        continual.task_classes,
        inputs(labels=integers(N, high=C), where=mask(N)),
        static={"num_classes": C},
        batch=("labels", "where"),
        couples=True,
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
    "prototype_hardness": Row(
        continual.prototype_hardness,
        inputs(prototypes=normal(N, D), where=mask(N)),
        batch=("prototypes", "where"),
        couples=True,
        diff=("prototypes",),
        bf16=("prototypes",),
    ),
    "sample_prototypes": Row(
        continual.sample_prototypes,
        inputs(key=prng(), prototypes=normal(N, D), radius=uniform(low=0.1), where=mask(N)),
        static={"num": 5},
        batch=("prototypes", "where"),
        couples=True,
        diff=("prototypes",),
        skip={"permute": "which classes are drawn depends on their order"},
    ),
    "key_value_bottleneck": learner(
        continual.key_value_bottleneck,
        C,
        np.ones((2, D, 2), np.float32),
        np.linspace(-1, 1, 20, dtype=np.float32).reshape(2, 5, 2),
        batch_size=16,
    ),
    "fit_keys": Row(
        continual.fit_keys,
        inputs(key=prng(), features=normal(N, D), projection=normal(2, D, 2), where=mask(N)),
        static={"num_keys": 2, "num_iters": 2},
        batch=("features", "where"),
        couples=True,
        bf16=("features",),
        skip={"permute": "the rows that keys start from go by position"},
    ),
    "block_diagonal_logits": Row(
        continual.block_diagonal_logits,
        inputs(task_logits=normal(T, N, C), task_of_class=lambda rng: np.array([0, 1, 1, 0])),
        diff=("task_logits",),
        bf16=("task_logits",),
    ),
    "loss_monitor_init": Row(continual.loss_monitor_init, inputs()),
    "loss_monitor_update": Row(
        continual.loss_monitor_update,
        inputs(state=lambda rng: jax.tree.map(lambda leaf: leaf[0], monitors(rng)), loss=uniform()),
        bf16=("loss",),
    ),
    "select_expert": Row(
        continual.select_expert,
        inputs(losses=uniform(N), means=uniform(N), stds=uniform(N), active=mask(N)),
        bf16=("losses",),
    ),
    "experts_init": Row(
        continual.experts_init,
        inputs(key=prng()),
        static={"init": partial(jax.random.normal, shape=(D, 2)), "optimizer": optax.sgd(0.1), "capacity": 3},
    ),
    "experts_update": Row(
        continual.experts_update,
        inputs(pool=experts, batch=normal(N, D)),
        static={"loss_fn": square_loss, "optimizer": optax.sgd(0.1), "warmup": 1},
        batch=("batch",),
        couples=True,
    ),
    "experts_prune": Row(continual.experts_prune, inputs(pool=experts, sparsity=uniform())),
    "transfer_stream": Row(
        continual.transfer_stream,
        inputs(key=prng(), start=normal(D), tasks=normal(T, D)),
        static={"train": lambda state, task, key: (state + task + jax.random.normal(key), jnp.sum(task))},
    ),
}
