"""Can a new model query the index that an old one made?

A network learns some of the classes and fills an index with features; a later one learns all of them. Every query is a
test row, every index holds the training rows of all classes. The first group of rows updates a model once, from half of
the classes to all of them, with features of one width or a few coordinates more. The second group trains three models
on more and more classes, and the classifier may be fixed for ever before the first.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import compatible_plots
from experiments.claims import difference
from experiments.compatible_models import (
    Config,
    Objective,
    Seed,
    Shared,
    bct,
    bt2,
    embedder,
    independent,
    oca,
    start,
    train,
)
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from jaxlab import analytic, kernels, losses, metrics, retrieval
from jaxlab.numerics import normalize
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split into training and test rows, networks, batches"
QUICK = {"train_steps": 100, "learning_rate": 1e-2}
MAPPED = 150  # queries that are drawn

Measurement = tuple[dict[str, Array], dict[str, Array]]  # numbers, arrays


# One update: a row trains or computes the features of a new model, and one program measures those of every row.


def updated(
    make: Callable[..., Objective], config: Config, num_classes: int, seed: Seed, shared: Shared
) -> Measurement:
    """Features of a new model that is trained against the old one."""
    init_key, fit_key = jax.random.split(jax.random.fold_in(seed.key, 2))
    prototypes = analytic.class_means(seed.old, shared.y, num_classes=num_classes, where=seed.train)
    objective = make(config, shared, init_key, prototypes)
    assert objective.features is not None
    data = {"x": shared.x, "y": shared.y, "old": seed.old, "new": seed.new}
    params = train(config, objective, fit_key, data, seed.train)
    measured = {}
    if objective.geometry_error is not None:
        measured["geometry_error"] = objective.geometry_error(params, shared.x[seed.test[:MAPPED]])
    return measured, objective.features(params, shared.x)._asdict()


def unaligned(config: Config, num_classes: int, seed: Seed, shared: Shared) -> Measurement:
    """The independent new model as it is."""
    return {}, {"compatible": seed.new, "full": seed.new}


def rotated(config: Config, num_classes: int, seed: Seed, shared: Shared) -> Measurement:
    """The independent new model, turned onto the old features of the training rows."""
    aligned = seed.new @ analytic.procrustes(seed.new, seed.old, where=seed.train)
    return {}, {"compatible": aligned, "full": aligned}


@functools.partial(jax.jit, static_argnames="num_classes")
def measure_updates(seeds: Seed, shared: Shared, compatible: Array, full: Array, *, num_classes: int) -> Measurement:
    """What the features [S, N, width] of a new model are worth in the old index and in their own."""

    def one(seed: Seed, compatible: Array, full: Array) -> Measurement:
        matrix = accuracy_matrix(seed, shared, [seed.old, compatible], num_classes)
        matrix = matrix.at[1, 1].set(accuracy_matrix(seed, shared, [full], num_classes)[0, 0])
        measured, curves = summary(matrix)
        measured |= {
            "cross_nearest": nearest_item(seed, shared, compatible, _padded(seed.old, compatible.shape[1])),
            "self_nearest": nearest_item(seed, shared, full, full),
        }
        drawn = normalize(compatible)[seed.test[:MAPPED], : len(seed.plane)] @ seed.plane
        templates = analytic.class_means(seed.old, shared.y, num_classes=num_classes, unit=True, where=seed.train)
        labels = shared.y[seed.test[:MAPPED], None].astype(drawn.dtype)
        return measured, curves | {"map": jnp.concatenate([drawn, labels], axis=1), "index": templates @ seed.plane}

    return jax.vmap(one)(seeds, compatible, full)


def accuracy_matrix(seed: Seed, shared: Shared, models: Sequence[Array], num_classes: int) -> Array:
    """Accuracy of every model's test rows in every model's index, from the features [N, D] of all rows."""
    queries = [features[seed.test] for features in models]
    labels = shared.y[seed.test]
    return metrics.compatibility_matrix(
        queries, labels, models, shared.y, num_classes=num_classes, gallery_where=seed.train
    )


def nearest_item(seed: Seed, shared: Shared, queries: Array, index: Array) -> Array:
    """How often the nearest of all rows in the index has the class of the query."""
    scores = kernels.cosine_similarity(queries[seed.test], index)
    same = shared.y[seed.test][:, None] == shared.y
    return jnp.mean(metrics.hits_at_k(jnp.where(seed.train, scores, -jnp.inf), same, k=1))


def summary(matrix: Array) -> Measurement:
    """What the matrix says, the oldest model first."""
    measured = {
        "cross_test": matrix[-1, 0],
        "self_test": matrix[-1, -1],
        "old_test": matrix[0, 0],
        "average_compatibility": metrics.average_compatibility(matrix),
        "average_accuracy": metrics.average_accuracy_lower(matrix),
    }
    return measured, {"matrix": matrix}


def _padded(features: Array, width: int) -> Array:
    return jnp.pad(features, [(0, 0)] * (features.ndim - 1) + [(0, width - features.shape[-1])])


# Two updates


def with_previous(own: Array, features: Array, batch: dict[str, Array], later: Array, *, hoc: str) -> Array:
    """The loss of a later model: a tenth of its cross entropy, the rest is the contrast with the previous model."""
    contrast = losses.higher_order_compatibility(features, batch["old"], batch["y"], scale=10.0, mask=hoc)
    return jnp.where(later, 0.1 * own + 0.9 * jnp.mean(contrast), own)


def sequence(
    config: Config, num_classes: int, seed: Seed, shared: Shared, *, fixed: bool, hoc: str | None, tuned: bool
) -> Measurement:
    """Three models, each on more classes.

    ``fixed`` is the classifier that never changes, against a head of every model's own; ``hoc`` is the mask of the
    contrast with the previous model; ``tuned`` models start from the previous one, the others are new.
    """
    width = config.preallocated - 1
    network = embedder(config, shared.x, width)
    vertices = retrieval.simplex_vertices(config.preallocated)

    def stage(carry: tuple[PyTree, Array], inputs: tuple[Array, Array, Array]) -> tuple[tuple[PyTree, Array], Array]:
        (previous, old), (key, learned, later) = carry, inputs
        init_key, fit_key = jax.random.split(key)
        params = start(network, init_key, width, num_classes)
        if tuned:
            params["body"] = jax.tree.map(lambda a, b: jnp.where(later, a, b), previous, params["body"])

        def loss(params: PyTree, batch: dict[str, Array]) -> Array:
            features, y = network.logits(params["body"], batch["x"]), batch["y"]
            if fixed:
                # The places of the classes are given away from the last one on.
                logits, y = analytic.prototype_logits(features, vertices, metric="dot"), len(vertices) - 1 - y
            else:
                logits = jnp.where(jnp.arange(num_classes) < learned, features @ params["head"], -jnp.inf)
            own = jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, y))
            return own if hoc is None else with_previous(own, features, batch, later, hoc=hoc)

        where = seed.train & (shared.y < learned)
        params = train(config, Objective(params, loss), fit_key, shared._asdict() | {"old": old}, where)
        features = network.logits(params["body"], shared.x)
        return (params["body"], features), features

    first = jax.tree.map(jnp.zeros_like, jax.eval_shape(network.init, seed.key))
    keys = jax.random.split(jax.random.fold_in(seed.key, 3), 3)
    stages = (keys, jnp.array(config.num_learned(num_classes)), jnp.arange(3) > 0)
    _, models = jax.lax.scan(stage, (first, jnp.zeros((len(shared.x), width))), stages)
    return {}, {"models": models}


@functools.partial(jax.jit, static_argnames="num_classes")
def measure_sequences(seeds: Seed, shared: Shared, models: Array, *, num_classes: int) -> Measurement:
    """What the features [S, 3, N, width] of all models are worth in the index of each."""
    return jax.vmap(lambda seed, models: summary(accuracy_matrix(seed, shared, models, num_classes)))(seeds, models)


def _update(make: Callable[..., Objective], **options: Any) -> Callable[..., Measurement]:
    return functools.partial(updated, functools.partial(make, **options))


def _sequence(**options: Any) -> Callable[..., Measurement]:
    return functools.partial(sequence, **{"fixed": True, "hoc": None, "tuned": False} | options)


METHODS = (
    Method("independent", None, unaligned, note="5 to 10 classes: knows nothing of the old model"),
    Method("procrustes", None, rotated, note="the same, rotated onto the old features: no training"),
    Method("bct", None, _update(bct), note="the old classifier must work on the new features"),
    Method("bct_extra", None, _update(bct, wider=True), note="the same with more coordinates"),
    Method("oca", 270, _update(oca), note="the same with an orthogonal layer before the classifier"),
    Method("bt2", 261, _update(bt2), note="two rotations of old and new parts"),
    Method("learnable", None, _sequence(fixed=False), note="4, 7, 10 classes: three new networks with their own heads"),
    Method("simplex", 288, _sequence(), note="three new networks, one fixed classifier"),
    Method("simplex_hoc", 288, _sequence(hoc="zero"), note="the same, drawn to the previous model"),
    Method("simplex_hoc_drop", 288, _sequence(hoc="drop"), note="only examples of other classes in the contrast"),
    Method("learnable_tuned", None, _sequence(fixed=False, tuned=True), note="each model starts from the previous one"),
    Method("simplex_tuned", 288, _sequence(tuned=True), note="each model starts from the previous one"),
    Method("simplex_hoc_tuned", 288, _sequence(hoc="zero", tuned=True), note="each model starts from the previous one"),
)
UPDATES = ("independent", "procrustes", "bct", "bct_extra", "oca", "bt2")
SEQUENCES = ("learnable", "simplex", "simplex_hoc")
MAPS = ("independent", "procrustes", "oca", "bt2")
# Systems of equations and singular values of several seeds at once can wait for each other for ever on few cores.
ONE_BY_ONE = ("procrustes", "oca", "bt2")


CLAIMS = (
    Claim(
        261,
        "BT^2 queries the old index better than the old model did",
        lambda rows: rows["cross_test"]["bt2"] - rows["old_test"]["bt2"],
        ">",
        0.0,
    ),
    Claim(
        261,
        "BT^2 loses less than .01 of an independent new model in its own index",
        difference("self_test", "bt2", "independent"),
        ">",
        -0.01,
    ),
    Claim(
        261,
        "Backward-compatible training pays for the old index: its own is worse than that of an independent model",
        difference("self_test", "bct", "independent"),
        "<",
        0.0,
    ),
    Claim(
        261,
        "More coordinates raise the cross-test of backward-compatible training by .01",
        difference("cross_test", "bct_extra", "bct"),
        ">",
        0.01,
    ),
    Claim(
        261,
        "BT^2 keeps the inner products of both its parts (largest relative error)",
        lambda rows: rows["geometry_error"]["bt2"],
        "within",
        1e-5,
    ),
    Claim(
        270,
        "An independent new model is of no use to the old index (accuracy)",
        lambda rows: rows["cross_test"]["independent"],
        "<",
        0.2,
    ),
    Claim(
        270,
        "OCA is better in its own index than backward-compatible training by .005",
        difference("self_test", "oca", "bct"),
        ">",
        0.005,
    ),
    Claim(
        270,
        "and loses less than .01 to it in the old one",
        difference("cross_test", "oca", "bct"),
        ">",
        -0.01,
    ),
    Claim(
        270,
        "OCA's layer keeps distances (largest error)",
        lambda rows: rows["geometry_error"]["oca"],
        "within",
        1e-5,
    ),
    Claim(
        288,
        "With a fixed simplex the third model queries the first index better than with learned heads, by .3",
        difference("cross_test", "simplex", "learnable"),
        ">",
        0.3,
    ),
    Claim(
        288,
        "It loses less than .03 of that in its own index",
        difference("self_test", "simplex", "learnable"),
        ">",
        -0.03,
    ),
    Claim(
        288,
        "The contrast with the previous model raises the cross-test further",
        difference("cross_test", "simplex_hoc", "simplex"),
        ">",
        0.0,
    ),
    Claim(
        288,
        "and makes more pairs of models compatible",
        difference("average_compatibility", "simplex_hoc", "simplex"),
        ">",
        0.0,
    ),
)


def _plane(old: np.ndarray) -> np.ndarray:
    """[width, 2], the two directions in which unit features vary most."""
    centred = np.asarray(old, np.float64) - old.mean(0)
    return np.linalg.svd(centred, full_matrices=False)[2][:2].T.astype(np.float32)


def prepare(config: Config, run: Run, data: Dataset) -> tuple[Seed, Shared]:
    """Everything the methods need; the leaves of the first have a leading axis of seeds."""
    if data.num_classes < 4:
        raise UserError(f"Three models on more and more classes need 4 classes, {data.name} has {data.num_classes}.")
    if config.preallocated < data.num_classes:
        raise UserError(
            f"--preallocated {config.preallocated} is too small: {data.name} has {data.num_classes} classes."
        )
    splits = [
        stratified_split(data.y, test_fraction=config.test_share, rng=np.random.default_rng(seed))
        for seed in range(run.seeds)
    ]
    trained = jnp.asarray(np.stack([np.isin(np.arange(len(data.y)), rows) for rows, _ in splits]))
    shared = Shared(jnp.asarray(data.x.reshape(len(data.x), -1)), jnp.asarray(data.y))
    num_old = config.num_old(data.num_classes)

    @functools.partial(jax.jit, static_argnames="num_classes")
    def features(keys: Array, trained: Array, shared: Shared, *, num_classes: int) -> Array:
        def one(key: Array, where: Array) -> Array:
            init_key, fit_key = jax.random.split(key)
            objective = independent(config, shared, init_key, num_classes)
            params = train(config, objective, fit_key, shared._asdict(), where & (shared.y < num_classes))
            assert objective.features is not None
            return objective.features(params, shared.x).full

        return jax.vmap(one)(keys, trained)

    run.progress(f"training the old models on {num_old} of {data.num_classes} classes, and independent new ones")
    keys = run.seed_keys()
    old_keys, new_keys = (jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys) for i in range(2))
    old = features(old_keys, trained, shared, num_classes=num_old)
    new = features(new_keys, trained, shared, num_classes=data.num_classes)
    plane = np.stack([_plane(np.asarray(one)[np.asarray(rows)]) for one, rows in zip(old, trained, strict=True)])
    tests = jnp.asarray(np.stack([test for _, test in splits]))
    return run.shard(Seed(keys, trained, tests, old, new, jnp.asarray(plane))), shared


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    seeds, shared = prepare(config, run, data)

    def measure(method: Method) -> Measured:
        mode: Literal["vmap", "map"] = "map" if method.name in ONE_BY_ONE else "vmap"
        fn = functools.partial(method.fn, config, data.num_classes)
        own, features, timings = over_seeds(fn, seeds, shared=(shared,), mode=mode)
        if "models" in features:
            measured, curves = measure_sequences(seeds, shared, **features, num_classes=data.num_classes)
        else:
            # Zeros change no cosine, and features of one width are measured by one program.
            padded = {name: _padded(values, config.width + config.extra) for name, values in features.items()}
            measured, curves = measure_updates(seeds, shared, **padded, num_classes=data.num_classes)
        return Measured({**measured, **own}, curves, timings)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """The old index under the queries of new models, the trade-off of one update, the matrices of two."""
    return compatible_plots.figure(result, UPDATES, SEQUENCES, MAPS)
