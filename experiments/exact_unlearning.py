"""How exact, and how cheap, is forgetting by subtraction: a client, a class, or single points?

A learner whose data add up forgets by subtracting the statistics of the rows that have to go. Every row of the table is
such a learner on frozen features; the reference is the same learner refitted on what remains.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets.classifiers import frozen_features
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import Padded, Rows, client_rows, gather, head_distance, stratified_split
from jaxlab import analytic, continual, metrics
from jaxlab.continual import Learner
from jaxlab.typing import Array

DATASETS = ("mnist5k", "digits")
SEED_SCOPE = "split into training and test rows, network, random features, clients, class and points to forget"
REQUESTS = ("client", "class", "points")


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    clients: int = 5
    """Clients that the training rows are dealt to; one of them leaves."""
    client_share: float = 0.6
    """Share of the classes that a client holds."""
    points: int = 64
    """Single rows that are forgotten one after the other."""
    hidden: int = 128
    """Width of the frozen features (of a network that learned all classes)."""
    train_steps: int = 300
    """Steps of Adam for the network, batches of 128."""
    width: int = 1024
    """Random features of the analytic learners."""
    ridge: float = 0.1
    """Ridge of the analytic learners, absolute."""


QUICK = {"train_steps": 100, "width": 256, "points": 16}


class Seed(NamedTuple):
    """What one seed works on: clients with all training rows, test rows, and what has to go."""

    key: Array
    clients: Rows
    tests: Rows
    forgotten_class: Array
    points: Array  # int [P], positions in the flat rows of the clients


def forget_one_by_one(learner: Learner, key: Array, state: Any, rows: tuple[Array, Array, Array], points: Array) -> Any:
    """Single rows, each a state of its own to subtract."""
    assert learner.forget is not None
    x, y, _ = rows

    def step(state: Any, point: Array) -> tuple[Any, None]:
        single = learner.update(learner.init(key), x[point][None], y[point][None])
        return learner.forget(state, single), None

    return jax.lax.scan(step, state, points)[0]


def unlearning_row(
    make: Callable[..., Learner], config: Config, num_classes: int, seed: Seed
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The three requests by subtraction, each against refitting on what remains.

    The curves hold, per request, how far a model is that ignores it, and which share of the refit's rows is read.
    """
    learner = make(config, num_classes, seed.clients.x.shape[-1])
    assert learner.forget is not None
    x, y, where = seed.clients.flat()
    fit = lambda mask: learner.update(learner.init(seed.key), x, y, where=mask)  # noqa: E731
    everything = fit(where)
    unchanged = learner.solve(everything)
    gone = {
        "client": jnp.repeat(jnp.arange(seed.clients.x.shape[0]) == 0, seed.clients.x.shape[1]) & where,
        "class": (y == seed.forgotten_class) & where,
        "points": jnp.zeros_like(where).at[seed.points].set(True),
    }
    subtracted = {name: learner.forget(everything, fit(gone[name])) for name in ("client", "class")}
    subtracted["points"] = forget_one_by_one(learner, seed.key, everything, (x, y, where), seed.points)

    x_test, y_test, where_test = seed.tests.flat()
    retained = where_test & (y_test != seed.forgotten_class)
    measured, ignored = {}, []
    for name in REQUESTS:
        head, refitted = learner.solve(subtracted[name]), learner.solve(fit(where & ~gone[name]))
        measured[f"distance_{name}"] = head_distance(head, refitted)
        ignored.append(head_distance(unchanged, refitted))
        if name == "class":
            logits = learner.predict(head, x_test)
            measured["accuracy_retained"] = metrics.accuracy(logits, y_test, where=retained)
            measured["accuracy_forgotten"] = metrics.accuracy(logits, y_test, where=where_test & ~retained)
            same = jnp.argmax(logits, axis=-1) == jnp.argmax(learner.predict(refitted, x_test), axis=-1)
            measured["agreement"] = jnp.sum(same & where_test) / jnp.sum(where_test)
    rows_read = [jnp.sum(gone[name]) / jnp.sum(where & ~gone[name]) for name in REQUESTS]
    return measured, {"ignored": jnp.stack(ignored), "rows_read": jnp.stack(rows_read)}


def make_head(config: Config, num_classes: int, dim: int, *, head: Any, second: str) -> Learner:
    return continual.class_stats_learner(head, num_classes=num_classes, dim=dim, second=second)


def make_nmc(config: Config, num_classes: int, dim: int) -> Learner:
    return continual.nearest_class_mean(num_classes, dim)


def make_analytic(config: Config, num_classes: int, dim: int, **options: Any) -> Learner:
    return continual.analytic_class_incremental(num_classes, dim, width=config.width, ridge=config.ridge, **options)


def _row(make: Callable[..., Learner], **options: Any) -> Callable[..., Any]:
    return functools.partial(unlearning_row, functools.partial(make, **options))


METHODS = (
    Method("nmc", 119, _row(make_nmc), note="counts and sums"),
    Method("naive_bayes", 58, _row(make_head, head=analytic.naive_bayes, second="diag")),
    Method("lda", 271, _row(make_head, head=analytic.lda, second="shared"), note="one covariance, float32"),
    Method("g_acil", 70, _row(make_analytic, accumulate="compensated"), note="Gram matrix in two float32 words"),
    Method("g_acil_plain", 70, _row(make_analytic), note="Gram matrix in float32"),
    Method("g_acil_balanced", 70, _row(make_analytic, form="balanced"), note="a Gram matrix per class, float32"),
)
# Rows that solve systems of equations run one seed after the other.
IN_STEP = ("nmc", "naive_bayes")


def _furthest(method: str) -> Callable[[Any], Any]:
    return lambda rows: np.max([rows[f"distance_{name}"][method] for name in REQUESTS], axis=0)


CLAIMS = (
    Claim(
        119, "A client, a class or points leave merged prototypes as if never there", _furthest("nmc"), "within", 1e-5
    ),
    Claim(
        70, "They leave the analytic learner as if never there (relative weights)", _furthest("g_acil"), "within", 1e-6
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    if data.num_classes < 3:
        raise UserError(f"Forgetting a class needs at least 3 classes, {data.name} has {data.num_classes}.")
    splits = [stratified_split(data.y, test_fraction=0.2, rng=np.random.default_rng(seed)) for seed in range(run.seeds)]
    train_rows = np.stack([np.isin(np.arange(len(data.y)), train) for train, _ in splits])
    tests = np.stack([test for _, test in splits])[:, None]
    multiple = run.mesh.size if run.mesh else 1
    clients = client_rows(data.y, train_rows, clients=config.clients, share=config.client_share, multiple=multiple)
    if data.kind == "images":
        run.progress("training the network")
    features = frozen_features(
        data.x,
        data.y,
        run.seed_keys(),
        train_rows,
        kind=data.kind,
        num_base=data.num_classes,
        hidden=config.hidden,
        num_steps=config.train_steps,
    )
    labels = jnp.asarray(data.y)
    draws = [np.random.default_rng([seed, 2]) for seed in range(run.seeds)]
    real = [np.flatnonzero(where.reshape(-1)) for where in clients.where]
    num_points = min(config.points, min(len(rows) for rows in real) // 2)
    seeds = Seed(
        run.seed_keys(),
        run.shard(gather(features, labels, clients), axis=2),
        gather(features, labels, Padded(tests, np.ones(tests.shape, bool))),
        jnp.asarray([draw.integers(data.num_classes) for draw in draws]),
        jnp.asarray([draw.choice(rows, num_points, replace=False) for draw, rows in zip(draws, real, strict=True)]),
    )

    def measure(method: Method) -> Measured:
        mode = "vmap" if method.name in IN_STEP else "map"
        return over_seeds(functools.partial(method.fn, config, data.num_classes), seeds, mode=mode)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Distance from the refitted model after subtraction, beside the distance of a model that forgets nothing."""
    figure, (ax,) = plots.new_figure(title=f"Forgetting by subtraction on {result.dataset}")
    names = [method.name for method in METHODS if method.name in result.rows["distance_class"]]
    for place, request in enumerate(REQUESTS):
        for filled in (True, False):
            look = plots.style(place)
            values = [
                np.mean(result.rows[f"distance_{request}"][name])
                if filled
                else np.mean(np.asarray(result.curves["ignored"][name])[:, place])
                for name in names
            ]
            ax.plot(
                np.arange(len(names)) + 0.12 * (place - 1),
                values,
                linestyle="none",
                marker=look["marker"],
                color=look["color"],
                markersize=9,
                fillstyle="full" if filled else "none",
                label=f"{request}: {'subtracted' if filled else 'not forgotten'}",
            )
    ax.set_yscale("log")
    ax.set_xticks(range(len(names)), names)
    ax.set_ylabel("relative distance from the refitted model (mean over seeds)")
    ax.grid(axis="y", color="0.88")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=3, frameon=False)
    return figure
