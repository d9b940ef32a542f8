"""Small networks over a grid of widths and batch sizes: how sharp, how connected and how alike they end up.

Every cell of the grid holds two networks of the same data that differ in their first weights and the order of the rows.
A narrow network is a wide one whose other hidden units are zero: under ReLU they stay zero, so all widths are one
program.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.training import fit
from jaxlab import metrics, optim, trees
from jaxlab.numerics import masked_mean
from jaxlab.typing import Array, PyTree

__all__ = [
    "FLAT_AND_ALIKE",
    "MEASURES",
    "Grid",
    "Split",
    "first_weights",
    "logits",
    "match_units",
    "measure_grid",
    "read_measure",
    "read_phases",
]

FLAT_AND_ALIKE = 4  # phase IV-B of ``metrics.classify_phase``
# The sign with which a measure should be larger where networks generalise.
MEASURES = {
    "train_loss": -1.0,
    "width": 1.0,
    "sharpness": -1.0,
    "trace": -1.0,
    "connectivity": -1.0,
    "similarity": 1.0,
    "phase": 1.0,
}


class Split(NamedTuple):
    """Rows to train and to test on."""

    x: Array  # [N, D]
    y: Array  # int [N]
    x_test: Array
    y_test: Array


class Grid(NamedTuple):
    """What the question's configuration says about the grid."""

    widths: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    epochs: int
    rate: float
    momentum: float
    decay: float
    curve_steps: int
    curve_batch: int
    curve_rate: float
    hessian_rows: int
    num_classes: int
    thresholds: metrics.PhaseThresholds


def first_weights(key: Array, width: Array, *, inputs: int, widest: int, outputs: int) -> dict[str, Array]:
    """A network with one hidden layer of which the first ``width`` units live, each scaled for that width."""
    first, second = jax.random.split(key)
    alive = jnp.arange(widest) < width
    hidden = jnp.sqrt(2.0 / inputs) * jax.random.normal(first, (inputs, widest)) * alive
    head = jnp.sqrt(1.0 / width) * jax.random.normal(second, (widest, outputs)) * alive[:, None]
    return {"hidden": hidden, "shift": jnp.zeros(widest), "head": head, "bias": jnp.zeros(outputs)}


def logits(params: PyTree, x: Array) -> Array:
    """[N, D] -> [N, C]."""
    return jax.nn.relu(x @ params["hidden"] + params["shift"]) @ params["head"] + params["bias"]


def loss_of(params: PyTree, x: Array, y: Array) -> Array:
    """Mean cross entropy."""
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits(params, x), y))


def plain_loss(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
    """The loss of ``fit``."""
    return loss_of(params, batch["x"], batch["y"]), state


def curve_loss(middle: PyTree, ends: PyTree, batch: dict[str, Array], key: Array) -> tuple[Array, PyTree]:
    """The loss at a random point of the curve that ``middle`` bends between two fixed ends."""
    points = jax.tree.map(lambda ends, middle: jnp.stack([ends[0], middle, ends[1]]), ends, middle)
    return loss_of(metrics.bezier(points, jax.random.uniform(key)), batch["x"], batch["y"]), ends


def match_units(params: PyTree, target: PyTree) -> PyTree:
    """The same network with its hidden units in the order in which they are most like those of ``target``."""
    mine, theirs = (
        jnp.concatenate([p["hidden"], p["shift"][None], p["head"].T]).T for p in (params, target)
    )  # a row per unit
    alive = [jnp.any(p["head"] != 0, axis=1) for p in (params, target)]
    cost = -theirs @ mine.T + 1e6 * (alive[1][:, None] != alive[0])
    rows, columns = optax.assignment.hungarian_algorithm(cost)
    order = jnp.zeros(len(mine), jnp.int32).at[rows].set(columns)
    moved = {"hidden": params["hidden"][:, order], "shift": params["shift"][order], "head": params["head"][order]}
    return params | moved


def train_pairs(grid: Grid, split: Split, key: Array) -> PyTree:
    """Two networks of every cell: leaves [cells, 2, ...], all widths of a batch size one after the other."""
    widths = jnp.array(grid.widths)
    sizes = {"inputs": split.x.shape[1], "widest": max(grid.widths), "outputs": grid.num_classes}
    optimizer = optax.chain(optax.add_decayed_weights(grid.decay), optax.sgd(grid.rate, momentum=grid.momentum))
    data = {"x": split.x, "y": split.y}

    def train(batch_size: int, width: Array, key: Array) -> PyTree:
        init_key, fit_key = jax.random.split(key)
        start = first_weights(init_key, width, **sizes)
        steps = max(1, grid.epochs * (len(split.x) // batch_size))
        return fit(plain_loss, start, None, optimizer, data, fit_key, num_steps=steps, batch_size=batch_size).params

    def column(place: int, batch_size: int) -> PyTree:
        keys = jax.random.split(jax.random.fold_in(key, place), (len(grid.widths), 2))
        pair = jax.vmap(lambda width, keys: jax.vmap(lambda key: train(batch_size, width, key))(keys))
        return pair(widths, keys)

    columns = [column(place, size) for place, size in enumerate(grid.batch_sizes)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *columns)


def measure_cell(grid: Grid, split: Split, pair: PyTree, key: Array) -> dict[str, Array]:
    """Everything about the two networks of one cell; leaves of ``pair`` are [2, ...]."""
    curve_key, top_key, trace_key = jax.random.split(key, 3)
    one, two = (jax.tree.map(lambda leaf, i=i: leaf[i], pair) for i in range(2))
    few = grid.hessian_rows
    # On the first network; the other one is its like.
    hessian_loss = lambda params: loss_of(params, split.x[:few], split.y[:few])  # noqa: E731
    on_test = jax.vmap(logits, in_axes=(0, None))(pair, split.x_test)
    accuracy = jnp.mean(jax.vmap(metrics.accuracy, in_axes=(0, None))(on_test, split.y_test))

    optimizer = optax.sgd(grid.curve_rate, momentum=grid.momentum)
    middle, ends = trees.average(pair), pair
    sizes: dict[str, Any] = {"num_steps": grid.curve_steps, "batch_size": grid.curve_batch}
    bent = fit(curve_loss, middle, ends, optimizer, {"x": split.x, "y": split.y}, curve_key, **sizes).params
    points = jax.tree.map(lambda ends, middle: jnp.stack([ends[0], middle, ends[1]]), pair, bent)
    along = jax.vmap(lambda t: loss_of(metrics.bezier(points, t), split.x, split.y))(jnp.linspace(0.0, 1.0, 5))

    def loss_by_averaging(two: PyTree) -> Array:
        middle = jax.tree.map(lambda a, b: 0.5 * (a + b), one, two)
        return accuracy - metrics.accuracy(logits(middle, split.x_test), split.y_test)

    return {
        "train_loss": jnp.mean(jax.vmap(loss_of, in_axes=(0, None, None))(pair, split.x, split.y)),
        "sharpness": optim.hessian_top_eigenvalue(top_key, hessian_loss, one, num_iters=30),
        "trace": optim.hutchinson_trace(trace_key, hessian_loss, one, num_probes=16),
        "connectivity": metrics.mode_connectivity(along),
        "similarity": metrics.linear_cka(on_test[0], on_test[1]),
        "accuracy": accuracy,
        "averaging": loss_by_averaging(two),
        "averaging_matched": loss_by_averaging(match_units(two, one)),
    }


def measure_grid(grid: Grid, split: Split, key: Array) -> dict[str, Array]:
    """Every measure as [batch sizes, widths]."""
    train_key, measure_key = jax.random.split(key)
    pairs = train_pairs(grid, split, train_key)
    shape = (len(grid.batch_sizes), len(grid.widths))
    keys = jax.random.split(measure_key, shape[0] * shape[1])
    found = jax.vmap(lambda pair, key: measure_cell(grid, split, pair, key))(pairs, keys)
    found = {name: values.reshape(shape) for name, values in found.items()}
    found["width"] = jnp.broadcast_to(jnp.array(grid.widths, jnp.float32), shape)
    found["batch_size"] = jnp.broadcast_to(jnp.array(grid.batch_sizes, jnp.float32)[:, None], shape)
    seen = (found[name] for name in ("train_loss", "sharpness", "connectivity", "similarity"))
    return found | {"phase": metrics.classify_phase(*seen, thresholds=grid.thresholds).astype(jnp.float32)}


def read_measure(name: str, found: dict[str, Array]) -> dict[str, Array]:
    """How one measure goes with accuracy over the cells, and the accuracy of the cells that it puts first."""
    values, accuracy = found[name].ravel(), found["accuracy"].ravel()
    # Connectivity is best at 0: above it the ends were not trained to the end, and the curve is better than they are.
    values = MEASURES[name] * (jnp.abs(values) if name == "connectivity" else values)
    return {
        "rank_correlation": metrics.spearman(values, accuracy),
        "picked_accuracy": masked_mean(accuracy, values == jnp.max(values)),
        "lost_to_best": jnp.max(accuracy) - masked_mean(accuracy, values == jnp.max(values)),
    }


def read_phases(found: dict[str, Array]) -> dict[str, Array]:
    """Phase IV-B against the others; without a cell in it, its accuracy is 0 and averaging there loses all."""
    phase, accuracy = found["phase"], found["accuracy"]
    means = jnp.stack([masked_mean(accuracy, phase == i) for i in range(FLAT_AND_ALIKE + 1)])
    inside = phase == FLAT_AND_ALIKE
    some = jnp.any(inside)
    measured = {"lead": means[-1] - jnp.max(means[:-1]), "cells_inside": jnp.sum(inside).astype(jnp.float32)}
    for name in ("averaging", "averaging_matched"):
        measured[f"{name}_inside"] = jnp.where(some, masked_mean(found[name], inside), 1.0)
        measured[f"{name}_outside"] = masked_mean(found[name], ~inside)
    return measured
