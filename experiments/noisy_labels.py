"""Which loss or cleaning rule survives label noise?

Some classes are ten times rarer than others, and a fifth of all labels are wrong. Heads learn from such rows: plainly,
with rare classes weighing more, or on representations that were learned without labels, from rows that do not stand
out in their class, with features drawn for the rare classes. The test rows are balanced and clean. Beside them one
network learns by many losses where all classes are equally frequent: ``experiments.noise_losses``.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import discovery_networks, noise_losses, plots
from experiments.claims import difference
from experiments.discovery_networks import Settings, Shared, shared_of
from experiments.networks import mlp
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from experiments.training import cosine_adam, fit
from jaxlab import analytic, metrics, weaksup
from jaxlab.numerics import masked_mean, normalize
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split into training and test rows, which classes are rare, wrong labels, networks"
HEAD, MIDDLE, TAIL = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Config(noise_losses.Setting):
    """The science of this question."""

    most: int = 100
    """Training rows of the most frequent class."""
    imbalance: float = 10.0
    """How many times rarer the rarest class is; the others lie between in equal ratios."""
    noise: float = 0.2
    """Share of the labels that are wrong, every wrong class as likely as any other."""
    test_share: float = 0.3
    """Share of the rows to test on, the same of every class."""
    hidden: int = 128
    """Width of the hidden layer."""
    width: int = 64
    """Width of the features."""
    contrast_steps: int = 1000
    """Steps of contrast between two views of a row, without labels."""
    steps: int = 500
    """Steps with labels."""
    learning_rate: float = 1e-3
    """Of Adam."""
    neighbors: int = 20
    """Neighbours of the local outlier factor; a class with fewer rows takes all it has."""
    lenders: int = 3
    """Frequent classes that a rare one borrows from."""
    mix: float = 0.2
    """How far the mean of a rare class moves to theirs."""
    keep_features: float = 1.0
    """Weight of staying near the representation learned without labels."""
    mixup: float = 0.2
    """Parameter of the Beta distribution of mixed rows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.noise < 1:
            raise ValueError(f"noise must lie in [0, 1), got {self.noise}")
        if self.imbalance < 1 or self.most < self.imbalance:
            raise ValueError(f"imbalance must lie in [1, most], got {self.imbalance}")
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share must lie in (0, 1), got {self.test_share}")


QUICK = {
    "most": 60,
    "contrast_steps": 60,
    "steps": 60,
    "hidden": 64,
    "width": 32,
    "loss_rows": 100,
    "loss_validation": 50,
    "loss_steps": 20,
    "loss_width": 32,
}


class Seed(NamedTuple):
    """What one seed works on: row numbers and labels."""

    key: Array
    train: Array  # int [N]
    told: Array  # int [N], noisy
    truth: Array  # int [N]
    test: Array  # int [M]
    test_truth: Array  # int [M]
    group: Array  # int [C]: HEAD, MIDDLE or TAIL


class Representation(NamedTuple):
    """A network and its features of the training rows."""

    params: PyTree
    features: Array  # [N, E], unit vectors


def _network(config: Config, dim: int) -> Any:
    return mlp((dim, config.hidden, config.width, config.width))


def _features(config: Config, params: PyTree, x: Array) -> Array:
    return normalize(_network(config, x.shape[-1]).features(params, x))


def contrastive(config: Config, seed: Seed, shared: Shared) -> Representation:
    """A representation from two views of every row; labels are not looked at."""
    x = shared.x[seed.train]
    init_key, key = jax.random.split(jax.random.fold_in(seed.key, 1))
    network = _network(config, x.shape[1])
    make_views = functools.partial(discovery_networks.views, Settings())

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        both = make_views(key, batch["x"], shared.image)
        z = normalize(network.logits(params, both))
        return discovery_networks.contrast(z, temperature=0.2), state

    sizes = {"num_steps": config.contrast_steps, "batch_size": min(128, len(x))}
    optimizer = cosine_adam(config.learning_rate, config.contrast_steps)
    params = fit(loss_fn, network.init(init_key), None, optimizer, {"x": x}, key, **sizes).params
    return Representation(params, _features(config, params, x))


def _head(key: Array, width: int, num_classes: int) -> PyTree:
    return {"kernel": 0.01 * jax.random.normal(key, (width, num_classes)), "bias": jnp.zeros(num_classes)}


SHARPNESS = 10.0
"""Multiplies unit features before a linear head, so that its logits can be large."""


def _logits(head: PyTree, features: Array) -> Array:
    return SHARPNESS * features @ head["kernel"] + head["bias"]


def _counts(labels: Array, num_classes: int, where: Array | None = None) -> Array:
    inside = jnp.ones(labels.shape) if where is None else where.astype(jnp.float32)
    return jax.ops.segment_sum(inside, labels, num_classes)


def plain(
    config: Config, seed: Seed, start: Representation | None, shared: Shared, *, balanced: bool = False
) -> tuple[Array, dict[str, Array]]:
    """Body and head from a random start, by cross entropy; balanced weighs rows by one over the size of their class."""
    x, num_classes = shared.x[seed.train], seed.group.shape[0]
    body_key, head_key, key = jax.random.split(seed.key, 3)
    first = {
        "body": _network(config, x.shape[1]).init(body_key),
        "head": _head(head_key, config.width, num_classes),
    }
    weight = 1.0 / jnp.maximum(_counts(seed.told, num_classes), 1) if balanced else jnp.ones(num_classes)
    weight = weight[seed.told] / jnp.mean(weight[seed.told])

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        logits = _logits(params["head"], _features(config, params["body"], batch["x"]))
        entropies = optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"])
        return jnp.mean(batch["weight"] * entropies), state

    data = {"x": x, "y": seed.told, "weight": weight}
    optimizer = cosine_adam(config.learning_rate, config.steps)
    sizes = {"num_steps": config.steps, "batch_size": min(128, len(x))}
    params = fit(loss_fn, first, None, optimizer, data, key, **sizes).params
    tests = _features(config, params["body"], shared.x[seed.test])
    return _logits(params["head"], tests), {}


def clean_rows(config: Config, seed: Seed, features: Array) -> Array:
    """bool [N]: in every class, as named, the share ``noise`` that stands out most from its neighbours is dropped."""
    num_classes = seed.group.shape[0]

    def outlying(label: Array) -> Array:
        own = seed.told == label
        factor = metrics.local_outlier_factor(features, k=config.neighbors, where=own)
        rank = jnp.argsort(jnp.argsort(jnp.where(own, -factor, jnp.inf)))
        return own & (rank < jnp.floor(config.noise * jnp.sum(own)))

    return ~jnp.any(jax.lax.map(outlying, jnp.arange(num_classes)), axis=0)


def gaussians(config: Config, seed: Seed, features: Array, where: Array) -> tuple[Array, Array, Array]:
    """Counts, means and covariances of the classes, as named, from the rows that count."""
    empty = analytic.class_stats_init(seed.group.shape[0], features.shape[1], second="full")
    stats = analytic.class_stats_update(empty, features, seed.told, where=where)
    return stats.count, analytic.class_stats_means(stats), analytic.class_stats_covariance(stats)


def mean_error(config: Config, seed: Seed, features: Array, means: Array) -> Array:
    """Distance of class means from those of the true labels, mean over classes."""
    truth = analytic.class_means(features, seed.truth, num_classes=seed.group.shape[0])
    return jnp.mean(jnp.linalg.norm(means - truth, axis=1))


def on_contrast(
    config: Config,
    seed: Seed,
    start: Representation,
    shared: Shared,
    *,
    clean: bool = False,
    recover: bool = False,
    tune: bool = False,
) -> tuple[Array, dict[str, Array]]:
    """A head on the representation learned without labels.

    ``clean`` drops outliers of every class; ``recover`` adds features drawn from Gaussians, so that all classes are
    equally frequent; ``tune`` lets the body follow, near what it was, on mixed rows.
    """
    num_classes = seed.group.shape[0]
    kept = clean_rows(config, seed, start.features) if clean else jnp.ones(len(seed.train), bool)
    count, means, covariances = gaussians(config, seed, start.features, kept)
    facts = {"mean_error": mean_error(config, seed, start.features, means)}
    head_key, draw_key, key = jax.random.split(jax.random.fold_in(seed.key, 2), 3)
    total = num_classes * config.most
    drawn = analytic.ClassSamples(jnp.zeros((1, config.width)), jnp.array([-1]), jnp.array([False]))
    if recover:
        lent = {"tail": seed.group == TAIL, "num_neighbors": config.lenders, "mix": config.mix}
        means, covariances = analytic.borrow_gaussian(means, covariances, count, **lent)
        missing = (jnp.max(count) - count).astype(jnp.int32)
        drawn = analytic.sample_class_gaussians(draw_key, means, covariances, counts=missing, total=total)
    x = jnp.concatenate([shared.x[seed.train], jnp.zeros((len(drawn.labels), shared.x.shape[1]))])
    z = jnp.concatenate([start.features, normalize(drawn.features)])
    real = jnp.arange(len(x)) < len(seed.train)
    data = {"x": x, "z": z, "y": jnp.concatenate([seed.told, drawn.labels]), "real": real}
    allowed = jnp.concatenate([kept, drawn.where])

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        features, away = batch["z"], jnp.zeros(len(batch["y"]))
        if tune:
            own = _features(config, params["body"], batch["x"])
            away = jnp.where(batch["real"], jnp.sum((own - batch["z"]) ** 2, axis=-1), 0.0)
            features = jnp.where(batch["real"][:, None], own, batch["z"])
        share = jax.random.beta(key, config.mixup, config.mixup) if tune else jnp.ones(())
        mixed = share * features + (1 - share) * features[::-1]  # rows are in random order
        entropy = functools.partial(
            optax.losses.softmax_cross_entropy_with_integer_labels, _logits(params["head"], mixed)
        )
        named = share * entropy(batch["y"]) + (1 - share) * entropy(batch["y"][::-1])
        return jnp.mean(named) + config.keep_features * masked_mean(away, batch["real"]), state

    first: PyTree = {"head": _head(head_key, config.width, num_classes)}
    first |= {"body": start.params} if tune else {}
    optimizer = cosine_adam(config.learning_rate if tune else 10 * config.learning_rate, config.steps)
    sizes = {"num_steps": config.steps, "batch_size": 128}
    params = fit(loss_fn, first, None, optimizer, data, key, where=allowed, **sizes).params
    body = params["body"] if tune else start.params
    return _logits(params["head"], _features(config, body, shared.x[seed.test])), facts


def scored(make: Any, **options: Any) -> Any:
    """Accuracy over all classes (the test rows are balanced), and over frequent and rare ones."""

    def measure(config: Config, seed: Seed, start: Representation | None, shared: Shared) -> dict[str, Array]:
        logits, facts = make(config, seed, start, shared, **options)
        part = seed.group[seed.test_truth]
        accuracy = functools.partial(metrics.accuracy, logits, seed.test_truth)
        own = {"accuracy": accuracy(), "head": accuracy(where=part == HEAD), "tail": accuracy(where=part == TAIL)}
        return own | facts

    return measure


CLEANING = (
    Method("ce", None, scored(plain), note="cross entropy from a random start"),
    Method("ce_balanced", None, scored(plain, balanced=True), note="rows weighed by one over the size of their class"),
    Method("contrastive", None, scored(on_contrast), note="a head on a representation learned without labels"),
    Method("filtered", 223, scored(on_contrast, clean=True), note="without the outliers of every class"),
    Method("recovered", 223, scored(on_contrast, clean=True, recover=True), note="and features drawn for rare classes"),
    Method(
        "rcal",
        223,
        scored(on_contrast, clean=True, recover=True, tune=True),
        note="and the body follows, near the representation, on mixed rows",
    ),
)
METHODS = (*CLEANING, *noise_losses.LOSS_METHODS)
PLAIN, LINALG = ("ce", "ce_balanced"), ("recovered", "rcal")

CLAIMS = (
    Claim(
        223,
        "Recovered distributions beat cross entropy by .01",
        difference("accuracy", "rcal", "ce"),
        ">",
        0.01,
    ),
    Claim(
        223,
        "Dropping outliers moves the class means towards the true ones",
        difference("mean_error", "contrastive", "filtered"),
        ">",
        0.0,
    ),
    Claim(
        223,
        "Drawn features raise the accuracy of rare classes over the filter alone",
        difference("tail", "recovered", "filtered"),
        ">",
        0.0,
    ),
    *noise_losses.LOSS_CLAIMS,
)


def _rare(rng: np.random.Generator, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The place of every class in the order of sizes, and its group."""
    place = rng.permutation(num_classes)
    third = -(-num_classes // 3)
    return place, np.where(place < third, HEAD, np.where(place >= num_classes - third, TAIL, MIDDLE))


def prepare(config: Config, run: Run, data: Dataset) -> tuple[Seed, Shared]:
    """Long-tailed training rows with noisy labels, and balanced clean test rows; a leading axis of seeds."""
    seeds, num_classes = [], data.num_classes
    sizes = config.most * config.imbalance ** (-np.arange(num_classes) / (num_classes - 1))
    sizes = np.maximum(np.round(sizes), 2).astype(int)
    for seed, key in enumerate(run.seed_keys()):
        rng = np.random.default_rng(seed)
        train, test = stratified_split(data.y, test_fraction=config.test_share, rng=rng)
        place, group = _rare(rng, num_classes)
        groups = [train[data.y[train] == c] for c in range(num_classes)]
        for c, own in enumerate(groups):
            if len(own) < sizes[place[c]]:
                raise UserError(f"Class {c} has {len(own)} training rows: {sizes[place[c]]} are needed (--most).")
        rows = np.concatenate([own[: sizes[place[c]]] for c, own in enumerate(groups)])
        fewest = min(np.bincount(data.y[test], minlength=num_classes))
        tests = np.concatenate([test[data.y[test] == c][:fewest] for c in range(num_classes)])
        truth = jnp.asarray(data.y[rows])
        table = weaksup.transition_uniform(num_classes, rate=config.noise)
        told = weaksup.corrupt_labels(jax.random.fold_in(key, 0), truth, table)
        seeds.append((rows, told, truth, tests, data.y[tests], group))
    smallest = min(len(one[3]) for one in seeds)
    columns = [jnp.stack([jnp.asarray(one[i])[: smallest if i in (3, 4) else None] for one in seeds]) for i in range(6)]
    return Seed(run.seed_keys(), *columns), shared_of(data)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    if run.todo(CLEANING):
        run_cleaning(config, run)
    if names := [method.name for method in run.todo(noise_losses.LOSS_METHODS)]:
        tasks = noise_losses.tasks_of(config, range(run.seeds), run.data(), names)
        run.rows(noise_losses.LOSS_METHODS, functools.partial(noise_losses.measure_loss, config, tasks))


def run_cleaning(config: Config, run: Run) -> None:
    """The rows of the long tail."""
    seeds, shared = prepare(config, run, run.data())
    starts = None
    if any(method.name not in PLAIN for method in run.todo(CLEANING)):
        run.progress("training the representations")
        starts = jax.jit(jax.vmap(functools.partial(contrastive, config), in_axes=(0, None)))(seeds, shared)

    def measure(method: Method) -> Measured:
        mode: Any = "map" if method.name in LINALG else "vmap"
        return over_seeds(functools.partial(method.fn, config), seeds, starts, shared=(shared,), mode=mode)

    run.rows(CLEANING, measure)


def plot(result: Result) -> Figure:
    """Accuracy over all classes, and of frequent against rare ones; below, every loss at every kind of noise."""
    title = f"Rare classes and wrong labels: {result.dataset}"
    figure, axes = plots.new_figure(columns=2, rows=2, title=title)
    names = [method.name for method in CLEANING]
    plots.method_bars(axes[0], result.rows.get("accuracy", {}), names, "accuracy, long tail")
    head, tail = result.rows.get("head", {}), result.rows.get("tail", {})
    for position, name in enumerate(names):
        if name in head and name in tail:
            look = plots.style(position) | {"linestyle": "none"}
            axes[1].plot(np.asarray(tail[name], float), np.asarray(head[name], float), label=name, **look)
    axes[1].set_xlabel("accuracy of the rarest third of the classes")
    axes[1].set_ylabel("of the most frequent third")
    if head:
        axes[1].legend(frameon=False, fontsize=9)
    noise_losses.plot_losses(axes[2], result)
    noise_losses.plot_ranks(axes[3], result)
    return figure
