"""Incremental classes on frozen features, without exemplars: who forgets least, and is incremental = joint?

A small network learns the base classes and is frozen; the other classes then arrive two at a time. Every learner sees
the features of a task once and may keep no rows. The stream comes in two forms: disjoint tasks, and a blurred stream in
which classes mix and return. Features brought by ``--data`` are used as they are.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets.classifiers import frozen_features
from experiments.claims import difference
from experiments.cosine_learners import by_cosines
from experiments.networks import mlp
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.softmax_heads import SoftmaxHead, new_head, train_head
from experiments.streams import Padded, Rows, class_stream, client_rows, gather, head_distance
from jaxlab import analytic, continual, metrics, nn, numerics, trees
from jaxlab.continual import Learner
from jaxlab.typing import Array

DATASETS = ("mnist5k", "digits")
SEED_SCOPE = "split into training and test rows, base network, random features, order of the rows"


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    base_share: float = 0.6
    """Share of the classes that the base network learns (rounded up)."""
    classes_per_task: int = 2
    """Classes of each later task."""
    blur: float = 0.3
    """Share of the rows that come at a random time in the blurred stream."""
    hidden: int = 128
    """Width of the frozen features."""
    train_steps: int = 500
    """Steps of Adam on the base classes, batches of 128."""
    width: int = 1024
    """Random features of the analytic learners."""
    ridge: float = 0.1
    """Ridge of the analytic learners, absolute."""
    bandwidth: float = 10.0
    """Bandwidth of the Gaussian random features."""
    covariance_ridge: float = 1e-4
    """Added to the covariance of the Gaussian classifier, relative to the mean squared feature."""
    head_steps: int = 300
    """Steps per task of the heads that are trained by gradients."""
    clients: int = 5
    """Clients of the federated rows."""
    client_share: float = 0.6
    """Share of the classes that a client sees."""
    codebooks: int = 32
    """Heads of the key-value bottleneck."""
    keys: int = 128
    """Keys of each head."""
    key_dim: int = 8
    """Width of a key."""
    value_rate: float = 3.0
    """Step size of the descent on the values."""
    value_passes: int = 20
    """Passes over the rows of a task, batches of 32."""

    def __post_init__(self) -> None:
        for name in ("base_share", "client_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in (0, 1], got {getattr(self, name)}")


QUICK = {"train_steps": 200, "width": 256, "head_steps": 60}


class Seed(NamedTuple):
    """What one seed works on."""

    key: Array
    tasks: Rows
    blurred: Rows
    tests: Rows
    clients: Rows


Measurement = tuple[dict[str, Array], dict[str, Array]]
MakeLearner = Callable[[Config, Seed, int], Learner]


def _test_accuracy(logits: Array, tests: Rows) -> Array:
    _, y, where = tests.flat()
    return metrics.accuracy(logits, y, where=where)


def learner_row(make: MakeLearner, config: Config, num_classes: int, seed: Seed) -> Measurement:
    """A learner on both streams; if its data can be added up, its distance from joint training as well."""
    learner = make(config, seed, num_classes)
    tests, x_test = seed.tests, seed.tests.flat()[0]
    sizes = jnp.sum(tests.where, axis=1)

    def follow(rows: Rows) -> continual.StreamResult:
        return continual.run_stream(
            learner, seed.key, rows.x, rows.y, tests.x, tests.y, where=rows.where, where_test=tests.where
        )

    disjoint, blurred = follow(seed.tasks), follow(seed.blurred)
    measured = {
        "final_accuracy": _test_accuracy(learner.predict(disjoint.head, x_test), tests),
        "average_accuracy": metrics.average_incremental_accuracy(disjoint.accuracy, weights=sizes),
        "forgetting": metrics.forgetting(disjoint.accuracy),
        "blurred_accuracy": _test_accuracy(learner.predict(blurred.head, x_test), tests),
    }
    if learner.merge is not None:
        x, y, where = seed.tasks.flat()
        joint = learner.solve(learner.update(learner.init(seed.key), x, y, where=where))
        measured["distance_from_joint"] = jnp.maximum(
            head_distance(disjoint.head, joint), head_distance(blurred.head, joint)
        )
    seen_accuracy = jnp.cumsum(disjoint.accuracy * sizes, axis=1) / jnp.cumsum(sizes)
    return measured, {"seen_accuracy": jnp.diagonal(seen_accuracy)}


def make_nmc(config: Config, seed: Seed, num_classes: int, *, metric: str = "euclidean") -> Learner:
    return continual.nearest_class_mean(num_classes, seed.tasks.x.shape[-1], metric=metric)


def make_lda(config: Config, seed: Seed, num_classes: int, *, shrinkage: str) -> Learner:
    base = seed.tasks.x[0]
    ridge = config.covariance_ridge * jnp.sum(base**2) / jnp.sum(seed.tasks.where[0]) / base.shape[-1]
    head = functools.partial(analytic.lda, shrinkage=shrinkage, ridge=ridge)
    return continual.class_stats_learner(head, num_classes=num_classes, dim=base.shape[-1], second="shared")


def make_naive_bayes(config: Config, seed: Seed, num_classes: int) -> Learner:
    dim = seed.tasks.x.shape[-1]
    return continual.class_stats_learner(analytic.naive_bayes, num_classes=num_classes, dim=dim, second="diag")


def make_ridge(config: Config, seed: Seed, num_classes: int) -> Learner:
    def head(stats: analytic.ClassStats) -> analytic.Head:
        weight = analytic.gram_solve(analytic.gram_from_class_stats(stats), ridge=config.ridge)
        return analytic.Head(weight, jnp.where(stats.count > 0, 0.0, -jnp.inf))

    dim = seed.tasks.x.shape[-1]
    return continual.class_stats_learner(head, num_classes=num_classes, dim=dim, second="shared")


def make_fetril(config: Config, seed: Seed, num_classes: int) -> Learner:
    return continual.fetril(num_classes, seed.tasks.x.shape[-1])


def make_analytic(config: Config, seed: Seed, num_classes: int, *, kind: str = "relu", **options: Any) -> Learner:
    width = config.width
    if kind == "gaussian":
        # Centres are drawn from the first task, the only rows there are when the learner starts; padding stands last.
        rows, real = seed.tasks.x[0], jnp.sum(seed.tasks.where[0])
        options |= {"centers": rows[jnp.arange(rows.shape[0]) % real], "bandwidth": config.bandwidth}
        width = min(width, rows.shape[0])
    dim = seed.tasks.x.shape[-1]
    return continual.analytic_class_incremental(num_classes, dim, width=width, ridge=config.ridge, kind=kind, **options)


def make_bottleneck(config: Config, seed: Seed, num_classes: int) -> Learner:
    """Keys from the features of the first task, without its labels; then frozen."""
    base, where = seed.tasks.x[0], seed.tasks.where[0]
    head_key, fit_key = jax.random.split(seed.key)
    projection = nn.random_projection_heads(head_key, base.shape[-1], heads=config.codebooks, key_dim=config.key_dim)
    keys = continual.fit_keys(fit_key, base, projection, num_keys=config.keys, where=where)
    return continual.key_value_bottleneck(
        num_classes, projection, keys, learning_rate=config.value_rate, num_passes=config.value_passes
    )


def make_fixed_targets(config: Config, seed: Seed, num_classes: int) -> Learner:
    """Random vectors of the classes, which never learn; a linear map of the features does, one task after the other."""
    targets = numerics.normalize(jax.random.normal(seed.key, (num_classes, config.hidden)))
    network = mlp((seed.tasks.x.shape[-1], config.hidden))
    return by_cosines(network, targets, _MAP_OPTIMIZER, num_steps=config.head_steps)


_MAP_OPTIMIZER = optax.adam(1e-3)


def make_finetune(config: Config, seed: Seed, num_classes: int) -> Learner:
    """Sequential softmax training of one linear head: the lower bound."""
    return Learner(
        init=lambda key: (key, new_head(seed.tasks, num_classes)),
        update=lambda state, x, y, *, where: (
            jax.random.fold_in(state[0], 1),
            train_head(state[1], state[0], x, y, where, steps=config.head_steps),
        ),
        solve=lambda state: state[1],
        predict=lambda head, x: head.logits(x),
    )


def joint(config: Config, num_classes: int, seed: Seed) -> dict[str, Array]:
    """The same head trained on the rows of all tasks together: the upper bound of a linear head."""
    steps = config.head_steps * (seed.tasks.x.shape[0] + 1)
    head = train_head(new_head(seed.tasks, num_classes), seed.key, *seed.tasks.flat(), steps=steps)
    accuracy = _test_accuracy(head.logits(seed.tests.flat()[0]), seed.tests)
    return {"final_accuracy": accuracy, "blurred_accuracy": accuracy}


def federated_prototypes(config: Config, num_classes: int, seed: Seed) -> dict[str, Array]:
    """Every client sends counts and means of its own rows; the server adds them up."""
    learner = make_nmc(config, seed, num_classes)
    update = lambda x, y, where: learner.update(learner.init(seed.key), x, y, where=where)  # noqa: E731
    states = jax.vmap(update)(*seed.clients)
    clients = [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(seed.clients.x.shape[0])]
    merged = functools.reduce(analytic.class_stats_merge, clients)
    x_test = seed.tests.flat()[0]
    head, central = learner.solve(merged), learner.solve(update(*seed.tasks.flat()))
    return {
        "final_accuracy": _test_accuracy(learner.predict(head, x_test), seed.tests),
        "distance_from_joint": head_distance(head, central),
        "numbers_sent": jnp.float32(metrics.communication_floats((merged.count, merged.sum))),
    }


def federated_heads(config: Config, num_classes: int, seed: Seed) -> dict[str, Array]:
    """Every client trains a linear head on its own rows; the server averages the heads, weighted by rows."""
    start = new_head(seed.tasks, num_classes)
    keys = jax.random.split(seed.key, seed.clients.x.shape[0])
    train = functools.partial(train_head, start, steps=config.head_steps)
    heads = jax.vmap(train)(keys, *seed.clients)
    params = trees.average(heads.params, weights=jnp.sum(seed.clients.where, axis=1).astype(jnp.float32))
    head = SoftmaxHead(params, jnp.any(heads.exists, axis=0), start.scale)
    return {
        "final_accuracy": _test_accuracy(head.logits(seed.tests.flat()[0]), seed.tests),
        "numbers_sent": jnp.float32(metrics.communication_floats(params)),
    }


def _learner(make: MakeLearner, **options: Any) -> Callable[..., Measurement]:
    return functools.partial(learner_row, functools.partial(make, **options))


# Systems of equations and inner optimisers run one seed after the other: in step they would wait for each other.
ONE_BY_ONE = ("fetril", "lda", "ridge", "g_acil", "gkeal")  # beginnings of names

METHODS = (
    Method("finetune", None, _learner(make_finetune), note="sequential softmax head: lower bound"),
    Method("nmc", 40, _learner(make_nmc)),
    Method("nmc_cosine", 40, _learner(make_nmc, metric="cosine")),
    Method("federated_prototypes", 119, federated_prototypes, note="clients with unequal rows of overlapping classes"),
    Method("federated_heads", None, federated_heads, note="the same clients average linear heads"),
    Method("naive_bayes", 58, _learner(make_naive_bayes)),
    Method("fetril", 22, _learner(make_fetril)),
    Method("lda", 271, _learner(make_lda, shrinkage="ridge"), note="the tied-covariance classifier of the score"),
    Method("lda_ks", 14, _learner(make_lda, shrinkage="ks")),
    Method("ridge", None, _learner(make_ridge), note="no random features"),
    Method("g_acil", 70, _learner(make_analytic, accumulate="compensated")),
    Method("g_acil_plain", 70, _learner(make_analytic), note="Gram matrix in plain float32"),
    Method("g_acil_recursive", 70, _learner(make_analytic, form="recursive"), note="published recursion, in float32"),
    Method("g_acil_balanced", 70, _learner(make_analytic, form="balanced"), note="AIR: classes weigh the same"),
    Method("gkeal", 70, _learner(make_analytic, kind="gaussian", accumulate="compensated")),
    Method("fixed_targets", 69, _learner(make_fixed_targets), note="cosines with random vectors that stay"),
    Method("key_value_bottleneck", 156, _learner(make_bottleneck), note="descent on values; no task boundaries"),
    Method("joint", None, joint, note="softmax head on all rows: upper bound of a linear head"),
)


_above = functools.partial(difference, "final_accuracy")

CLAIMS = (
    Claim(70, "G-ACIL ends above FeTrIL by .02", _above("g_acil", "fetril"), ">", 0.02),
    Claim(
        70,
        "G-ACIL: incremental = joint on both streams (relative distance of the weights)",
        lambda rows: rows["distance_from_joint"]["g_acil"],
        "within",
        1e-6,
    ),
    Claim(
        70,
        "G-ACIL ends as high where classes mix and return as on disjoint tasks",
        lambda rows: rows["blurred_accuracy"]["g_acil"] - rows["final_accuracy"]["g_acil"],
        "within",
        1e-3,
    ),
    Claim(40, "The nearest mean ends above sequential fine-tuning by .2", _above("nmc", "finetune"), ">", 0.2),
    Claim(22, "FeTrIL ends above the nearest mean by .015", _above("fetril", "nmc"), ">", 0.015),
    Claim(
        119,
        "Merged prototypes = prototypes of all rows (relative distance)",
        lambda rows: rows["distance_from_joint"]["federated_prototypes"],
        "within",
        1e-6,
    ),
    Claim(
        119,
        "Merged prototypes end above averaged linear heads by .05",
        _above("federated_prototypes", "federated_heads"),
        ">",
        0.05,
    ),
    Claim(
        156,
        "The key-value bottleneck ends above sequential fine-tuning of a linear head by .3",
        _above("key_value_bottleneck", "finetune"),
        ">",
        0.3,
    ),
)


def _num_base(config: Config, data: Dataset) -> int:
    return math.ceil(config.base_share * data.num_classes)


def prepare(config: Config, run: Run, data: Dataset) -> Seed:
    """Everything the methods need, with a leading axis of seeds."""
    if data.num_classes < 3:
        raise UserError(f"Incremental classes need at least 3 classes, {data.name} has {data.num_classes}.")
    multiple = run.mesh.size if run.mesh else 1
    stream = class_stream(
        data.y,
        seeds=run.seeds,
        base_classes=_num_base(config, data),
        classes_per_task=config.classes_per_task,
        blur=config.blur,
        multiple=multiple,
    )
    clients = client_rows(
        data.y, stream.train_rows, clients=config.clients, share=config.client_share, multiple=multiple
    )
    num_base = _num_base(config, data)
    if data.kind == "images":
        run.progress(f"training the base network on {num_base} classes")
    features = frozen_features(
        data.x,
        data.y,
        run.seed_keys(),
        stream.train_rows,
        kind=data.kind,
        num_base=num_base,
        hidden=config.hidden,
        num_steps=config.train_steps,
    )
    labels = jnp.asarray(data.y)

    def rows(padded: Padded) -> Rows:
        return run.shard(gather(features, labels, padded), axis=2)

    return Seed(run.seed_keys(), rows(stream.tasks), rows(stream.blurred), rows(stream.tests), rows(clients))


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    seeds = prepare(config, run, data)

    def measure(method: Method) -> Measured:
        mode = "map" if method.name.startswith(ONE_BY_ONE) else "vmap"
        return over_seeds(functools.partial(method.fn, config, data.num_classes), seeds, mode=mode)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Final accuracy of every row, and accuracy over the classes seen as they arrive."""
    figure, (bars, curves) = plots.new_figure(columns=2, title=f"Incremental classes on {result.dataset}")
    names = [method.name for method in METHODS]
    plots.method_bars(bars, result.rows["final_accuracy"], names, "accuracy on all classes at the end")
    shown = ["finetune", "nmc", "naive_bayes", "fetril", "lda", "g_acil", "g_acil_recursive", "key_value_bottleneck"]
    plots.curves_over_tasks(curves, result.curves["seen_accuracy"], shown, ylabel="accuracy on the classes seen so far")
    return figure
