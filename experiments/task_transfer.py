"""A stream of different small tasks: what should each be fine-tuned from, and what does it cost?"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes

from experiments import plots
from experiments.claims import difference
from experiments.data import load
from experiments.networks import Network, cnn
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds
from experiments.training import batch_indices
from jaxlab import continual, metrics, selection
from jaxlab.typing import Array, ArrayLike, PyTree

SIDE, WAYS, BATCH = 8, 10, 32
CHANNELS = (16, 32)
TASKS = (
    "digits",
    "photographs",
    "other digits",
    "turned digits",
    "odd or even",
    "inverted digits",
    "turned photographs",
)
"""In the order of the stream. All images have 8 x 8 pixels."""
RELATED = {2: (0,), 3: (0, 2), 4: (0, 2, 3), 5: (0, 2, 3, 4), 6: (1,)}
"""For every task that has a choice the earlier tasks of its kind: of written digits, or of photographs."""
BUDGETS = (0.5, 1.0, 2.0, 4.0)
"""Every row is measured at these multiples of the steps."""
STRATEGIES = ("independent", "previous", "neighbours")
RATES = (1e-3, 3e-3, 1e-2)
"""Learning rates that the search of every task tries."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Seven small tasks, one after the other; most have few rows."""

    many_rows: int = 500
    """Rows to train on in the first two tasks."""
    few_rows: int = 60
    """Rows to train on in the others."""
    dev_rows: int = 130
    """Rows of each task that choose the learning rate and the source."""
    test_rows: int = 130
    """Rows of each task to test on."""
    hidden: int = 64
    """Width of the features, after two convolutions of stride 2."""
    steps: int = 60
    """Steps of Adam per task, batches of 32, in every training run."""
    k: int = 5
    """Neighbours that vote."""


QUICK = Settings(many_rows=120, few_rows=40, dev_rows=40, test_rows=40, hidden=32, steps=16)


class Task(NamedTuple):
    """Rows of one task: to train on (padded, ``where`` is True for real ones), to choose by, to test on."""

    x: Array
    y: Array
    where: Array
    x_dev: Array
    y_dev: Array
    x_test: Array
    y_test: Array


def _small(x: np.ndarray) -> np.ndarray:
    return np.asarray(x if x.shape[1:] == (SIDE, SIDE) else jax.image.resize(x, (len(x), SIDE, SIDE), "linear"))


def _photographs(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches of the two photographs of scikit-learn: which one is it?"""
    from sklearn.datasets import load_sample_images

    patches, labels = [], rng.integers(2, size=count)
    grey = [image.mean(2) / 255 for image in load_sample_images().images]
    for label in labels:
        row, column = (rng.integers(size - 2 * SIDE) for size in grey[label].shape)
        patches.append(grey[label][row : row + 2 * SIDE : 2, column : column + 2 * SIDE : 2])
    return np.stack(patches), labels


def _prepare(settings: Settings, sets: list[tuple[np.ndarray, np.ndarray]], seed: int) -> Task:
    """The tasks of one seed, [T, ...]; tasks on the same data set share no row."""
    rng = np.random.default_rng([seed, 208])
    held_out = settings.dev_rows + settings.test_rows
    orders = [rng.permutation(len(y)) for _, y in sets]

    def take(which: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        count += held_out
        rows, orders[which] = orders[which][:count], orders[which][count:]
        if len(rows) < count:
            wanted = settings.many_rows + 3 * settings.few_rows + 4 * held_out
            raise UserError(f"The stream of tasks needs {wanted} rows of the data set.")
        return sets[which][0][rows], sets[which][1][rows]

    many, few = settings.many_rows, settings.few_rows
    first, other, turned, parity, inverted = take(0, many), take(1, few), take(0, few), take(0, few), take(0, few)
    landscape, turned_landscape = (_photographs(rng, count + held_out) for count in (many, few))
    tasks = (
        first,
        landscape,
        other,
        (np.rot90(turned[0], axes=(1, 2)), turned[1]),
        (parity[0], parity[1] % 2),
        (1 - inverted[0], inverted[1]),
        (np.rot90(turned_landscape[0], axes=(1, 2)), turned_landscape[1]),
    )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(_cut(settings, *task) for task in tasks))


def _cut(settings: Settings, x: np.ndarray, y: np.ndarray) -> Task:
    """One task: the last rows to test on, those before to choose by, the rest to train on, padded."""
    x = x.reshape(len(x), -1).astype(np.float32)
    test, dev = len(y) - settings.test_rows, len(y) - settings.test_rows - settings.dev_rows
    fill = settings.many_rows - dev
    padded = np.pad(x[:dev], ((0, fill), (0, 0))), np.pad(y[:dev], (0, fill))
    return Task(*padded, np.arange(settings.many_rows) < dev, x[dev:test], y[dev:test], x[test:], y[test:])


@functools.cache
def _network(hidden: int) -> Network:
    return cnn((SIDE, SIDE, 1), WAYS, channels=CHANNELS, hidden=hidden)


_OPTIMIZER = optax.inject_hyperparams(optax.adam)(learning_rate=RATES[0])


def _fine_tune(settings: Settings, steps: Array, params: PyTree, task: Task, key: Array) -> tuple[PyTree, Array]:
    """The body of ``params`` under a new head, at the rate that is best on the rows to choose by; test accuracy."""
    network = _network(settings.hidden)
    params = params | {"head": jax.tree.map(jnp.zeros_like, params["head"])}
    most = round(max(BUDGETS) * settings.steps)
    batches = batch_indices(key, task.y.shape[0], num_steps=most, batch_size=BATCH, where=task.where)

    def loss_fn(params: PyTree, index: Array) -> Array:
        logits = network.logits(params, task.x[index])
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, task.y[index]))

    def at_rate(rate: Array) -> tuple[PyTree, Array]:
        opt_state = _OPTIMIZER.init(params)
        opt_state.hyperparams["learning_rate"] = rate

        def step(number: Array, carry: PyTree) -> PyTree:
            gradient = jax.grad(loss_fn)(carry[0], batches[number])
            updates, opt_state = _OPTIMIZER.update(gradient, carry[1], carry[0])
            return optax.apply_updates(carry[0], updates), opt_state

        trained = jax.lax.fori_loop(0, steps, step, (params, opt_state))[0]
        return trained, metrics.accuracy(network.logits(trained, task.x_dev), task.y_dev)

    trained, dev = jax.vmap(at_rate)(jnp.array(RATES))
    best = jax.tree.map(lambda leaf: leaf[jnp.argmax(dev)], trained)
    return best, metrics.accuracy(network.logits(best, task.x_test), task.y_test)


def _costs(settings: Settings, strategy: Array, states: PyTree, task: Task) -> Array:
    """What is to be smallest at the source of a task: one of ``STRATEGIES``."""
    features = _network(settings.hidden).features
    train, dev = (jax.vmap(features, in_axes=(0, None))(states, x) for x in (task.x, task.x_dev))
    votes = selection.knn_transfer_cost(
        train, task.y, dev, task.y_dev, num_classes=WAYS, k=settings.k, train_where=task.where
    )
    age = jnp.arange(votes.shape[0], dtype=votes.dtype)
    # The start has learned nothing: neighbours turn to it only where there is no other source.
    return jnp.stack([age, -age, votes.at[0].set(2.0)])[strategy]


def _forward_flops(settings: Settings, rows: int) -> float:
    places = (SIDE // 2) ** 2, (SIDE // 4) ** 2
    convolutions = 9 * (places[0] * CHANNELS[0] + places[1] * CHANNELS[0] * CHANNELS[1])
    dense = places[1] * CHANNELS[1] * settings.hidden + settings.hidden * WAYS
    return 2.0 * rows * (convolutions + dense)


def _flops(settings: Settings, steps: int, *, neighbours: ArrayLike) -> Array:
    """Of every task [T, rates + 1]: a training run per learning rate, and the choice of the source."""
    rows = np.array([settings.many_rows] * 2 + [settings.few_rows] * (len(TASKS) - 2))
    dev = settings.dev_rows
    one = 3 * _forward_flops(settings, BATCH * steps) + _forward_flops(settings, dev)
    features = np.array([_forward_flops(settings, count + dev) for count in rows])
    sources = np.arange(len(TASKS))
    choice = sources * (features + 2.0 * rows * dev * settings.hidden)
    runs = jnp.full((len(TASKS), len(RATES)), one, jnp.float32)
    return jnp.column_stack([runs, jnp.asarray(choice, jnp.float32) * neighbours])


def stream(settings: Settings, key: Array, tasks: Task, strategy: Array) -> Any:
    """The stream at every budget of steps; the measures are those of budget 1.

    The strategy is a number, so that all rows are one program.
    """
    related = np.zeros((len(TASKS), len(TASKS) + 1), bool)
    for task, earlier in RELATED.items():
        related[task, 1 + np.array(earlier)] = True  # place 0 among the sources is the start
    choices, neighbours = np.array(sorted(RELATED)), strategy == STRATEGIES.index("neighbours")
    choose = functools.partial(_costs, settings, strategy)
    init_key, stream_key = jax.random.split(key)
    start = _network(settings.hidden).init(init_key)

    def at_budget(steps: Array) -> tuple[Array, Array]:
        train = functools.partial(_fine_tune, settings, steps)
        result = continual.transfer_stream(stream_key, start, tasks, train, source=choose)
        return result.results, result.source

    steps = [round(budget * settings.steps) for budget in BUDGETS]
    accuracy, picked = jax.lax.map(at_budget, jnp.array(steps))
    flops = jnp.stack([_flops(settings, number, neighbours=neighbours) for number in steps])
    counts = jnp.full(len(TASKS), settings.test_rows)
    summary = jax.vmap(metrics.stream_summary, in_axes=(0, None, 0))(accuracy, counts, flops)
    half, whole, turned = BUDGETS.index(0.5), BUDGETS.index(1.0), TASKS.index("turned digits")
    measured = {
        "average_accuracy": summary.task_accuracy[whole],
        "later_accuracy": jnp.mean(accuracy[whole, choices]),
        "half_budget_accuracy": jnp.mean(accuracy[half, choices]),
        "training_flops": summary.flops[whole, -1],
        "related_sources": jnp.mean(jnp.asarray(related)[choices, picked[whole, choices]]),
        "turned_from_digits": jnp.asarray(related)[turned, picked[whole, turned]].astype(jnp.float32),
    }
    return measured, {
        "stream_accuracy": summary.task_accuracy,
        "stream_flops": summary.flops[:, -1],
        "task_source": picked[whole].astype(jnp.float32),
    }


ROWS = (
    Method("independent", None, stream, note="seven tasks: each from the untrained start"),
    Method("previous", None, stream, note="seven tasks: each from the task before"),
    Method("neighbours", 208, stream, note="seven tasks: each from the source whose features vote best"),
)

CLAIMS = (
    Claim(
        208,
        "Fine-tuned from the source that neighbours choose, later tasks end above training each alone, at equal steps",
        difference("later_accuracy", "neighbours", "independent"),
        ">",
        0.0,
    ),
    Claim(
        208,
        "For turned digits the neighbours choose a source that has learned digits (share of the seeds)",
        lambda rows: rows["turned_from_digits"]["neighbours"],
        ">",
        0.5,
    ),
)


def rows(settings: Settings, run: Run) -> None:
    """Measures the rows of this part."""
    data = run.data()
    if data.kind != "images" or data.x.ndim != 3 or data.num_classes > WAYS:
        raise UserError(f"The stream of tasks needs grey images of at most {WAYS} classes, {data.name} has others.")
    other = load("digits" if data.name == "mnist5k" else "mnist5k")
    sets = [(_small(one.x), one.y) for one in (data, other)]
    prepared = [_prepare(settings, sets, seed) for seed in range(run.seeds)]
    tasks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *prepared)

    def measure(method: Method) -> Measured:
        strategy = jnp.int32(STRATEGIES.index(method.name))
        return over_seeds(functools.partial(method.fn, settings), run.seed_keys(), tasks, shared=(strategy,))

    run.rows(ROWS, measure)


def draw(ax: Axes, result: Result) -> None:
    """Accuracy against what it cost, the search included; the points that no other one beats are ringed."""
    points = []
    for place, method in enumerate(ROWS):
        if method.name not in result.curves.get("stream_accuracy", {}):
            continue
        score, cost = (np.mean(result.curves[name][method.name], 0) for name in ("stream_accuracy", "stream_flops"))
        ax.plot(cost / 1e9, score, label=method.name, linewidth=2, markersize=6, **plots.style(place))
        points.append((cost / 1e9, score))
    if not points:
        ax.set_axis_off()
        return
    cost, score = (np.concatenate(part).astype(np.float32) for part in zip(*points, strict=True))
    front = np.asarray(metrics.pareto_front(cost, score))
    ax.plot(cost[front], score[front], "o", markersize=13, fillstyle="none", color="black", label="beaten by none")
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_title("seven tasks, GFLOPs with search", fontsize=11)
    ax.set_ylabel("mean accuracy", fontsize=11)
    ax.grid(color="0.9", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, fontsize=9, frameon=False)
