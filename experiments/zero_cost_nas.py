"""Which training-free score ranks architectures best?

A pool of small networks of one space is trained on three tasks with the same images: the classes, quarter turns, and
odd against even classes. Another is distilled from a teacher, and a pool of recurrent cells learns to predict
characters. Scores of the untrained networks should rank them as their training does; so should the plain number of
parameters, which every score has to beat. Then every way to choose gets the same few looks at real accuracies.
Students are of many widths, so their channels come to the teacher's number by a random projection.
"""

import dataclasses
import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.assets import architectures
from experiments.assets.architectures import Task
from experiments.claims import difference
from experiments.runner import Claim, Measured, Method, Result, Run, over_seeds
from experiments.zero_cost_plots import draw_figure
from experiments.zero_cost_pools import Pool, make_teacher, prepare, training
from experiments.zero_cost_scores import CELL_SCORES, COMBINED, diswot, signed_log
from jaxlab import metrics, nas
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "architectures, split into training, validation and test rows, turns, initial weights, batches"


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    networks: int = 40
    """Feed-forward architectures per seed, of 320."""
    cells: int = 24
    """Recurrent cells per seed, of 80."""
    rows: int = 32
    """Rows that a score sees."""
    train_steps: int = 150
    """Steps of Adam, batches of 32."""
    cell_steps: int = 200
    """The same for recurrent cells."""
    learning_rate: float = 3e-3
    teacher_hidden: int = 128
    """Width of the teacher's two hidden layers."""
    teacher_steps: int = 500
    budget: int = 8
    """Architectures whose validation accuracy a search may ask for."""
    searches: int = 20
    """Repetitions of every search that draws, which are averaged."""
    candidates: int = 2000
    """Weights among which RoBoT chooses the next."""
    generations: int = 15
    """Of the evolution by DisWOT: 20 architectures, of which 10 stay."""

    def __post_init__(self) -> None:
        if not 2 <= self.budget <= self.networks <= int(np.prod(architectures.SPACE)):
            raise ValueError(f"budget must lie in [2, networks], got {self.budget} and {self.networks}")
        if not 3 <= self.cells <= int(np.prod(architectures.CELLS)) or self.rows < 3:
            raise ValueError(f"cells and rows must be at least 3, got {self.cells} and {self.rows}")


QUICK = {
    "networks": 10,
    "cells": 6,
    "train_steps": 25,
    "cell_steps": 15,
    "teacher_steps": 60,
    "budget": 4,
    "searches": 2,
    "candidates": 100,
    "generations": 2,
}


# What a ranking is worth


def budget_curve(order: Array, validation: Array, test: Array, budget: int) -> Array:
    """Test accuracy [budget] of the best by validation among the first 1, 2, ... of an order."""
    seen, worth = validation[order[:budget]], test[order[:budget]]
    return jnp.stack([worth[jnp.argmax(seen[:number])] for number in range(1, budget + 1)])


@functools.partial(jax.jit, static_argnames="budget")
def ranking_measures(
    scores: Array, validation: Array, test: Array, distilled: Array, *, budget: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Of scores [S, T, A], larger means that it is asked for first."""

    def one(scores: Array, validation: Array, test: Array, distilled: Array) -> tuple[Any, Any]:
        curves = jax.vmap(functools.partial(budget_curve, budget=budget))(
            jnp.argsort(-scores, axis=1), validation, test
        )
        found = {
            "tau": jnp.mean(jax.vmap(metrics.kendall_tau)(scores, test)),
            "tau_distilled": metrics.kendall_tau(scores[0], distilled),
            "precision": jnp.mean(jax.vmap(functools.partial(metrics.precision_at_t, t=budget))(scores, test)),
            "found": jnp.mean(curves[:, -1]),
            "distilled_accuracy": distilled[jnp.argmax(scores[0])],
        }
        return found, {"accuracy_by_looks": jnp.mean(curves, axis=0)}

    return jax.vmap(one)(scores, validation, test, distilled)


@jax.jit
def cell_measures(scores: Array, losses: Array) -> dict[str, Array]:
    """Of scores [S, C]: how they rank low losses."""
    return {"tau_recurrent": jax.vmap(metrics.kendall_tau)(scores, -losses)}


def fixed(config: Config, pool: Pool, *, name: str) -> tuple[dict[str, Array], dict[str, Array]]:
    """One score as it is, on whichever pools it is defined."""
    found: dict[str, Array] = {}
    curves: dict[str, Array] = {}
    if name in pool.scores:
        own = pool.scores[name]
        found, curves = ranking_measures(own, pool.validation, pool.test, pool.distilled, budget=config.budget)
    if name in pool.cell_scores:
        found = found | cell_measures(pool.cell_scores[name], pool.cell_losses)
        curves = curves | {"cell_score": pool.cell_scores[name], "cell_loss": pool.cell_losses}
    return found, curves


def average_rank(config: Config, pool: Pool) -> tuple[dict[str, Array], dict[str, Array]]:
    """The mean rank by the scores that RoBoT combines."""
    ranks = [jnp.argsort(jnp.argsort(pool.scores[name], axis=-1), axis=-1) for name in COMBINED]
    mean = jnp.mean(jnp.stack(ranks).astype(jnp.float32), axis=0)
    return ranking_measures(mean, pool.validation, pool.test, pool.distilled, budget=config.budget)


def random_search(config: Config, pool: Pool) -> tuple[dict[str, Array], dict[str, Array]]:
    """Looks in random order; and what a random architecture is worth when it is distilled."""
    number = pool.test.shape[2]

    def search(key: Array, validation: Array, test: Array) -> Array:
        return budget_curve(jax.random.permutation(key, number), validation, test, config.budget)

    def one(key: Array, validation: Array, test: Array) -> Array:
        keys = jax.random.split(jax.random.fold_in(key, 1), config.searches)
        by_task = jax.vmap(search, in_axes=(None, 0, 0))
        return jnp.mean(jax.vmap(by_task, in_axes=(0, None, None))(keys, validation, test), axis=(0, 1))

    curve = jax.jit(jax.vmap(one))(pool.keys, pool.validation, pool.test)
    found = {"found": curve[:, -1], "distilled_accuracy": jnp.mean(pool.distilled, axis=1)}
    return found, {"accuracy_by_looks": curve}


def robot_order(key: Array, scores: Array, validation: Array, *, budget: int, candidates: int) -> Array:
    """The architectures that RoBoT asks for, [budget], in its order: proposals first, then the best ranked."""

    def step(state: nas.RobotState, _: None) -> tuple[nas.RobotState, None]:
        state, weights, index = nas.robot_propose(state, scores, num_candidates=candidates)
        return nas.robot_update(state, weights, index, validation[index]), None

    empty = nas.robot_init(scores.shape[0], budget=budget - 1, key=key)
    state, _ = jax.lax.scan(step, empty, None, length=budget - 1)
    picks = nas.robot_exploit(state, scores, num_picks=budget)
    first = jnp.min(jnp.where(state.indices == picks[:, None], jnp.arange(budget - 1), budget), axis=1)
    return picks[jnp.argsort(first, stable=True)]


def robot(config: Config, pool: Pool) -> Measured:
    """RoBoT, several times on every task."""
    stacked = jnp.stack([signed_log(pool.scores[name]) for name in COMBINED], axis=2)  # [S, T, M, A]
    order = functools.partial(robot_order, budget=config.budget, candidates=config.candidates)

    def one(key: Array, scores: Array, validation: Array, test: Array) -> tuple[Any, Any]:
        keys = jax.random.split(jax.random.fold_in(key, 2), config.searches)

        def task(inputs: tuple[Array, Array, Array]) -> Array:
            scores, validation, test = inputs
            search = lambda key: budget_curve(order(key, scores, validation), validation, test, config.budget)  # noqa: E731
            return jnp.mean(jax.lax.map(search, keys), axis=0)

        curve = jnp.mean(jax.lax.map(task, (scores, validation, test)), axis=0)
        return {"found": curve[-1]}, {"accuracy_by_looks": curve}

    return over_seeds(one, pool.keys, stacked, pool.validation, pool.test, mode="map")


def mutate(key: Array, genes: Array) -> Array:
    """One gene drawn anew."""
    place_key, value_key = jax.random.split(key)
    place = jax.random.randint(place_key, (), 0, len(architectures.SPACE))
    return genes.at[place].set(jax.random.randint(value_key, (), 0, jnp.array(architectures.SPACE)[place]))


def evolved(config: Config, pool: Pool) -> Measured:
    """The whole space searched by DisWOT alone; the winner is distilled as the pool was."""
    teacher = make_teacher(config, pool.task.classes.shape[-1])
    start = jnp.asarray(architectures.draw(architectures.SPACE, 20, 0))

    def one(key: Array, task: Task, seen: Task, teacher_params: PyTree) -> tuple[Any, Any]:
        init_key, _ = jax.random.split(key)

        def fitness(genes: Array) -> Array:
            params = architectures.network_init(init_key, genes, jnp.sum(seen.classes), seen.classes.shape[0])
            return diswot(genes, params, seen, teacher, teacher_params).score

        search = functools.partial(nas.evolve, generations=config.generations, num_parents=10)
        found = search(jax.random.fold_in(key, 3), start, fitness, mutate)
        accuracy = architectures.train_network(found.best, task, key, **training(config))
        return {"distilled_accuracy": accuracy[1]}, {"fitness": found.history}

    return over_seeds(one, pool.keys, pool.task, pool.seen, pool.teacher, mode="map")


# The rows

_BASELINES = {"params": "number of weights", "depth": "number of hidden layers"}
_PROXIES = {
    "grad_norm": "norms of the weights' gradients",
    "plain": "weights times gradients",
    "snip": "their sizes",
    "grasp": "weights times Hessian times gradient, negated",
    "fisher": "activations times their gradients, squared",
    "synflow": "paths through the sizes of the weights",
    "jacobian_covariance": "correlations of the inputs' gradients",
    "naswot": "activation patterns",
    "naswot_inputs": "volume of the ReLUs' inputs",
    "tangent_trace": "size of the tangent kernel",
    "tangent_condition": "its condition number, negated",
}
_PAPERS = {
    "hidden_covariance": (34, "correlations of hidden units, recurrent cells only"),
    "hidden_covariance_examples": (34, "correlations of the hidden states of examples"),
    "cosine_jacobian": (34, "angles of the inputs' gradients, recurrent cells only"),
    "diswot_relation": (48, "likeness to the teacher in how inputs relate"),
    "diswot_semantic": (48, "likeness in how channels relate"),
    "diswot": (48, "the sum of both"),
}
SCORES = {
    **{name: (None, note) for name, note in (_BASELINES | _PROXIES).items()},
    **_PAPERS,
}
METHODS = (
    *(Method(name, paper, functools.partial(fixed, name=name), note) for name, (paper, note) in SCORES.items()),
    Method("random", None, random_search, "looks in random order"),
    Method("average_rank", None, average_rank, "mean rank by six scores"),
    Method("robot", 25, robot, "six scores weighted by Bayesian optimisation"),
    Method("evolved", 48, evolved, "the whole space searched by DisWOT"),
)


def _hindsight(rows: Any, metric: str, names: Any, *, best: bool = True) -> np.ndarray:
    """The row of ``names`` with the largest (or least) mean over seeds."""
    values = [np.asarray(rows[metric][name]) for name in names]
    return values[int((np.argmax if best else np.argmin)([value.mean() for value in values]))]


def _beyond(rows: Any, name: str, names: Any, metric: str) -> np.ndarray:
    return np.asarray(rows[metric][name]) - _hindsight(rows, metric, names)


CLAIMS = (
    Claim(
        25,
        "With the same looks RoBoT finds better networks than random search",
        difference("found", "robot", "random"),
        ">",
        0.0,
    ),
    Claim(
        25,
        "RoBoT is as good as the best of its scores in hindsight, to .005 accuracy",
        lambda rows: _beyond(rows, "robot", COMBINED, "found"),
        ">",
        -0.005,
    ),
    Claim(
        25,
        "RoBoT is better than the worst of its scores, by .01 accuracy",
        lambda rows: rows["found"]["robot"] - _hindsight(rows, "found", COMBINED, best=False),
        ">",
        0.01,
    ),
    Claim(
        34,
        "Hidden covariance ranks recurrent cells (Kendall's tau above .2)",
        lambda rows: rows["tau_recurrent"]["hidden_covariance"],
        ">",
        0.2,
    ),
    Claim(
        34,
        "It ranks them better than any other score and than the number of parameters (size of tau)",
        lambda rows: (
            np.abs(rows["tau_recurrent"]["hidden_covariance"])
            - _hindsight(
                {"tau": {name: np.abs(value) for name, value in rows["tau_recurrent"].items()}},
                "tau",
                [name for name in CELL_SCORES if not name.startswith("hidden")],
            )
        ),
        ">",
        0.0,
    ),
    Claim(
        48,
        "DisWOT ranks distilled students better than the best score that knows no teacher (tau)",
        lambda rows: _beyond(rows, "diswot", _PROXIES, "tau_distilled"),
        ">",
        0.0,
    ),
    Claim(
        48,
        "Both parts of DisWOT together rank better than the better one alone (tau)",
        lambda rows: _beyond(rows, "diswot", ("diswot_relation", "diswot_semantic"), "tau_distilled"),
        ">",
        0.0,
    ),
    Claim(
        48,
        "What evolution by DisWOT finds distils better than a random architecture (accuracy)",
        difference("distilled_accuracy", "evolved", "random"),
        ">",
        0.0,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    pool = prepare(config, run, run.data(), tuple(range(run.seeds)))

    def measure(method: Method) -> Measured:
        start = time.perf_counter()
        measured = method.fn(config, pool)
        if isinstance(measured, Measured):
            return measured
        found, curves = jax.tree.map(np.asarray, jax.block_until_ready(measured))
        return Measured(found, curves, {"compile": 0.0, "run": time.perf_counter() - start})

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """How well every score ranks, what the searches find, and the recurrent cells one by one."""
    return draw_figure(result, tuple(SCORES), tuple(_BASELINES))
