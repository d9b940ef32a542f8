"""How do infinitely wide networks, trees and other smoothers take labels that lie, new inputs and what is left open?

Most predictors here are linear in the training labels. Three things are asked of them. Labels that lie: a share of the
training labels is replaced, and infinitely deep networks, whose activation decides what they become, stand beside
neighbours and kernels; on two Gaussians in a plane, the Bayes error is known as well. New inputs: how many parameters a
smoother spends on its training inputs and on others (trees are grown on 442 diabetes patients). What is left open: of
all functions of a hypothesis space that fit the training rows, how few (in nats) reach a given test error.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import smoother_kernels as smoothers
from experiments import smoother_tasks as tasks
from experiments import smoother_trees
from experiments.claims import difference
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.smoother_plots import draw
from experiments.smoother_tasks import Measures, Seed
from experiments.streams import stratified_split
from jaxlab import kernels, metrics
from jaxlab.typing import Array

DATASETS = ("digits", "breast_cancer", "mnist5k")
SEED_SCOPE = "rows to train and test on, labels that lie, points of the plane, trees, networks"
DEPTHS = (1, 2, 4, 8, 16, 32, 60)
TREES = (1, 5, 20, 50, 200)
DIMS = (2, 4, 8, 16, 32)


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    rows: int = 600
    """Rows of the data set that are used, a third of them to test on."""
    noise: float = 0.2
    """Share of the training labels that is replaced by another one."""
    exponent: float = 8.0
    """Order of the singularity of the singular kernel."""
    depth: int = 60
    """Layers of networks that stand for infinitely deep ones."""
    bandwidth: float = 1.0
    """Of the Gaussian and the Laplace kernel, on inputs of length 1."""
    ridge: float = 1e-4
    """Of kernel regression."""
    error: float = 0.01
    """Mean squared test error that nats are counted for; the targets are 0 and 1."""
    samples: int = 2000
    """Functions drawn from every Gaussian process."""
    networks: int = 32
    """Networks trained from different starts."""
    train_steps: int = 300
    """Steps of Adam for each of them, batches of 128."""
    plane: tuple[int, ...] = (200, 800, 3200)
    """Points in the plane to train on."""
    trees: int = 200
    """Trees of an ensemble."""
    patients: int = 300
    """Patients that trees are grown on."""
    learning_rate: float = 0.1
    """Of boosting."""

    def __post_init__(self) -> None:
        if not 0 < self.noise < 1:
            raise ValueError(f"noise must lie in (0, 1), got {self.noise}")
        if self.exponent < 4:
            raise ValueError(f"exponent must be at least 4, as half of it is tried too, got {self.exponent}")
        if not 2 <= self.patients <= 440:
            raise ValueError(f"patients must lie in [2, 440], got {self.patients}")


QUICK = {"rows": 300, "samples": 200, "networks": 4, "train_steps": 60, "plane": (100,), "trees": 20}


def smoother_row(
    smoother: smoothers.Smoother,
    config: Config,
    seed: Seed,
    *,
    num_classes: int,
    in_plane: Callable[[Array, Array], Array] | None = None,
    gram: smoothers.Gram | None = None,
    by_depth: Callable[..., tuple[Array, Array]] | None = None,
) -> Measures:
    """Accuracies, parameters, and what a method has besides: the plane, nats, a curve over depth."""
    query, own = smoother(seed.train_x, seed.test_x)
    measured: dict[str, Array] = {
        "parameters_train": metrics.effective_parameters(own) / own.shape[1],
        "parameters_test": metrics.effective_parameters(query) / own.shape[1],
    }
    curves: dict[str, Array] = {}
    nearest = jnp.argmax(smoothers.correlations(seed.train_x, seed.test_x), axis=-1)
    for name, labels in (("clean", seed.train_y), ("noisy", seed.noisy_y)):
        chosen = jnp.argmax(query @ jax.nn.one_hot(labels, num_classes), axis=-1)
        measured[f"accuracy_{name}"] = metrics.accuracy(chosen, seed.test_y)
    most = kernels.majority_class(seed.noisy_y, num_classes=num_classes)
    measured |= {
        "like_nearest": jnp.mean((chosen == seed.noisy_y[nearest]).astype(jnp.float32)),
        "like_majority": jnp.mean((chosen == most).astype(jnp.float32)),
    }
    if in_plane is not None:
        more, curve = tasks.on_plane(in_plane, seed.key, sizes=config.plane)
        measured, curves = measured | more, curves | curve
    if gram is not None:
        more, curve = tasks.remaining_nats(gram, seed, num_classes=num_classes, **nats_options(config))
        measured, curves = measured | more, curves | curve
    if by_depth is not None:

        def accuracy(depth: Array) -> Array:
            votes = by_depth(seed.train_x, seed.test_x, depth=depth)[0] @ jax.nn.one_hot(seed.noisy_y, num_classes)
            return metrics.accuracy(jnp.argmax(votes, axis=-1), seed.test_y)

        curves["depth_accuracy"] = jax.lax.map(accuracy, jnp.array(DEPTHS))
    return measured, curves


def nats_options(config: Config) -> dict[str, Any]:
    return {"penalty": config.ridge, "num_samples": config.samples, "error": config.error}


def network_row(config: Config, seed: Seed, *, num_classes: int) -> Measures:
    return tasks.networks(
        seed, num_classes=num_classes, count=config.networks, steps=config.train_steps, error=config.error
    )


def ensemble_row(config: Config, seeds: int, kind: str) -> Measured:
    """Trees are grown on the host, their smoothers measured in one program."""
    boosted = config.learning_rate if kind == "boosting" else None
    splits = [smoother_trees.patients(seed, config.patients) for seed in range(seeds)]
    grown = [
        smoother_trees.grow(kind, split, seed, config.trees, config.learning_rate) for seed, split in enumerate(splits)
    ]
    rows = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *grown)
    counts = tuple(min(count, config.trees) for count in TREES)
    return over_seeds(functools.partial(smoother_trees.measure, counts=counts, boosted=boosted), rows, mode="map")


def _smoother(make: Callable[[Config], dict[str, Any]]) -> Callable[..., Any]:
    def row(config: Config, seed: Seed, *, num_classes: int) -> Measures:
        parts = make(config)
        return smoother_row(parts.pop("smoother"), config, seed, num_classes=num_classes, **parts)

    return row


def _singular(config: Config, factor: float) -> dict[str, Any]:
    at = functools.partial(smoothers.singular, depth=config.depth)
    whole = functools.partial(at, exponent=factor * config.exponent)
    if factor != 1:
        return {"smoother": whole}
    squares = smoothers.optimal(config.exponent) ** 2
    return {
        "smoother": whole,
        "in_plane": lambda rows, query: at(rows, query, exponent=2.0)[0],
        "by_depth": functools.partial(smoothers.deep, squares=squares, penalty=config.ridge),
    }


def _deep(config: Config, name: str) -> dict[str, Any]:
    by_depth = functools.partial(smoothers.deep, squares=smoothers.ACTIVATIONS[name], penalty=config.ridge)
    return {"smoother": functools.partial(by_depth, depth=config.depth), "by_depth": by_depth}


def _kernel(config: Config, gram: smoothers.Gram) -> dict[str, Any]:
    return {"smoother": functools.partial(smoothers.ridge, gram, penalty=config.ridge), "gram": gram}


def _hilbert(config: Config) -> dict[str, Any]:
    smoother = functools.partial(smoothers.hilbert, exponent=config.exponent)
    return {"smoother": smoother, "in_plane": lambda rows, query: smoothers.hilbert(rows, query, exponent=2.0)[0]}


def _nearest(config: Config, k: int) -> dict[str, Any]:
    return {
        "smoother": functools.partial(smoothers.neighbours, k=k),
        "in_plane": functools.partial(smoothers.nearest, k=k),
    }


CLASSIFIERS = (
    Method("mean", None, _smoother(lambda c: {"smoother": smoothers.constant}), note="the majority class"),
    Method("nearest", None, _smoother(functools.partial(_nearest, k=1))),
    Method("ten_nearest", None, _smoother(functools.partial(_nearest, k=10))),
    Method("deep_with_mean", 281, _smoother(functools.partial(_deep, name="with_mean")), note="60 layers"),
    Method("deep_even", 281, _smoother(functools.partial(_deep, name="even")), note="no mean, no linear part"),
    Method("singular_half", 281, _smoother(functools.partial(_singular, factor=0.5)), note="half the exponent"),
    Method("singular", 281, _smoother(functools.partial(_singular, factor=1.0)), note="optimal activation"),
    Method("singular_double", 281, _smoother(functools.partial(_singular, factor=2.0)), note="twice the exponent"),
    Method("hilbert", None, _smoother(_hilbert), note="a power of the distance"),
    Method(
        "laplace",
        None,
        _smoother(lambda c: _kernel(c, functools.partial(smoothers.laplace, bandwidth=c.bandwidth))),
    ),
    Method("relu_ntk", None, _smoother(lambda c: _kernel(c, functools.partial(smoothers.tangent, depth=3)))),
    Method(
        "gaussian",
        238,
        _smoother(lambda c: _kernel(c, functools.partial(smoothers.gaussian, bandwidth=c.bandwidth))),
        note="a Gaussian process",
    ),
    Method("networks", 238, network_row, note="one hidden layer, many starts"),
)
ENSEMBLES = (
    Method("forest", 225, ensemble_row, note="whole trees on all rows"),
    Method("bagging", 225, ensemble_row, note="whole trees on bootstrap samples"),
    Method("boosting", 225, ensemble_row, note="small trees on what is left"),
)
METHODS = (*CLASSIFIERS, *ENSEMBLES)

CLAIMS = (
    Claim(
        281,
        "An infinitely deep network whose activation has a mean answers with the majority class",
        lambda rows: rows["like_majority"]["deep_with_mean"],
        ">",
        0.99,
    ),
    Claim(
        281,
        "One whose activation has neither mean nor linear part answers as the nearest neighbour",
        lambda rows: rows["like_nearest"]["deep_even"],
        ">",
        0.99,
    ),
    Claim(
        281,
        "The singular kernel shrugs off labels that lie: .05 more accurate than the nearest neighbour",
        difference("accuracy_noisy", "singular", "nearest"),
        ">",
        0.05,
    ),
    Claim(
        281,
        "Without them it is as accurate",
        difference("accuracy_clean", "singular", "nearest"),
        "within",
        0.02,
    ),
    Claim(
        281,
        "It classifies as the power of the distance that it is near its singularity (accuracy, labels that lie)",
        difference("accuracy_noisy", "singular", "hilbert"),
        "within",
        0.02,
    ),
    Claim(
        281,
        "With the exponent of the dimension its error comes closer to the Bayes error than the nearest neighbour's",
        difference("excess_many", "nearest", "singular"),
        ">",
        0.0,
    ),
    Claim(
        281,
        "and comes closer as points grow in number",
        lambda rows: rows["excess_few"]["singular"] - rows["excess_many"]["singular"],
        ">",
        0.0,
    ),
    Claim(
        238,
        "Networks need fewer further nats than a Gaussian process",
        difference("nats", "gaussian", "networks"),
        ">",
        0.0,
    ),
    Claim(
        238,
        "The same task needs more nats where inputs have more dimensions",
        lambda rows: rows["nats_many_dims"]["gaussian"] - rows["nats_few_dims"]["gaussian"],
        ">",
        0.0,
    ),
    Claim(
        225,
        "A forest spends far fewer parameters on new inputs than on its training inputs (half a parameter per row)",
        lambda rows: rows["parameters_train"]["forest"] - rows["parameters_test"]["forest"],
        ">",
        0.5,
    ),
    Claim(
        225,
        "while it still interpolates (parameters per training row)",
        lambda rows: rows["parameters_train"]["forest"],
        ">",
        0.9,
    ),
    Claim(
        225,
        "A single tree spends the same on both",
        lambda rows: rows["one_tree_train"]["forest"] - rows["one_tree_test"]["forest"],
        "within",
        0.05,
    ),
    Claim(
        225,
        "and its squared error is that of a forest times 1.4 at least",
        lambda rows: rows["one_tree_error"]["forest"] / rows["error"]["forest"],
        ">",
        1.4,
    ),
)


def _split(labels: np.ndarray, config: Config, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to train and to test on; every seed has as many of every class."""
    rng = np.random.default_rng(seed)
    pool = np.arange(len(labels))
    if config.rows < len(labels):
        _, pool = stratified_split(labels, test_fraction=config.rows / len(labels), rng=rng)
    train, test = stratified_split(labels[pool], test_fraction=1 / 3, rng=rng)
    return pool[train], pool[test]


def prepare(config: Config, seeds: int, data: Dataset) -> Seed:
    """Everything with a leading axis of seeds."""
    if (fewest := np.bincount(data.y).min()) < 6:
        raise UserError(f"Every class needs at least 6 rows, {data.name} has one with {fewest}.")
    x = smoothers.unit_rows(data.x, data.kind == "images")
    parts = []
    for seed in range(seeds):
        train, test = _split(data.y, config, seed)
        rng = np.random.default_rng(1000 + seed)
        lies = rng.random(len(train)) < config.noise
        other = (data.y[train] + rng.integers(1, data.num_classes, len(train))) % data.num_classes
        parts.append((x[train], data.y[train], np.where(lies, other, data.y[train]), x[test], data.y[test]))
    arrays = (jnp.asarray(np.stack(part)) for part in zip(*parts, strict=True))
    return Seed(jax.vmap(jax.random.key)(jnp.arange(seeds)), *arrays)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    seeds = prepare(config, run.seeds, data)
    pairs = tuple(
        jnp.asarray(np.stack([np.flatnonzero(labels < 2) for labels in np.asarray(y)]))
        for y in (seeds.train_y, seeds.test_y)
    )
    dims = tuple(dim for dim in DIMS if dim <= seeds.train_x.shape[-1])

    def measure(method: Method) -> Measured:
        if method in ENSEMBLES:
            return ensemble_row(config, run.seeds, method.name)
        fn = functools.partial(method.fn, config, num_classes=data.num_classes)
        # One seed after the other: several factorizations at once can wait for each other on a CPU.
        if method.name != "gaussian":
            return over_seeds(fn, seeds, mode="map")

        def with_dims(seed: Seed, rows: tuple[Array, Array]) -> Measures:
            gram = functools.partial(smoothers.gaussian, bandwidth=config.bandwidth)
            measured, curves = fn(seed)
            more, curve = tasks.two_classes(gram, seed, rows, dims=dims, **nats_options(config))
            return measured | more, curves | curve

        return over_seeds(with_dims, seeds, pairs, mode="map")

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Accuracy over depth and under noise, distance from the Bayes error, nats, and parameters over trees."""
    return draw(result, CLASSIFIERS, depths=DEPTHS, dims=DIMS, trees=TREES, sizes=Config().plane)
