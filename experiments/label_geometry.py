"""Does knowing the geometry of the label space predict unseen labels?

Two label spaces with a metric, a classifier that has seen some of the labels, and tests on all of them. Bins: the
progress of 442 diabetes patients in 24 bins of equal size, 3 or 6 of them observed (the ends among them, so that all
lie between observed ones). Tree: classes of images as leaves of a hierarchy, found by joining the classes with the
nearest mean images, which stands for what is known about classes without examples. Any node of the tree may be the
answer: a node that is no leaf is a coarser one. Classes are added one after the other, at random or where the path to
what can already be predicted is longest.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.errors import missing_package
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from jaxlab import analytic, kernels, selection, zeroshot
from jaxlab.typing import Array

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split into training and test rows, classes observed at first, classes added at random"

OBSERVED = (3, 6)  # bins
CHOICES = ("random", "active")


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    bins: int = 24
    """Bins of the patients' progress."""
    ridge: float = 1.0
    """Of the logistic regression on the bins."""
    start_share: float = 0.3
    """Share of the classes observed at first (at least two classes)."""
    splits: int = 5
    """Splits of the patients per seed."""
    newton_steps: int = 20
    """Steps of the logistic regression."""

    def __post_init__(self) -> None:
        if self.bins < OBSERVED[-1]:
            raise ValueError(f"bins must be at least {OBSERVED[-1]}, got {self.bins}")
        if not 0 < self.start_share < 1:
            raise ValueError(f"start_share must lie in (0, 1), got {self.start_share}")


QUICK = {"newton_steps": 8, "splits": 2}


class Seed(NamedTuple):
    """What one seed works on."""

    patients: Array  # bool [T, P], True for the rows to train on, in T splits
    train: Array  # bool [N]
    parent: Array  # int [2 C - 1], the hierarchy; the leaves come first and are the classes
    order: Array  # int [C], the classes in the order in which chance adds them


class Shared(NamedTuple):
    """What all seeds see."""

    records: Array  # [P, 10]
    progress: Array  # int [P], the bin
    images: Array  # [N, D]
    labels: Array  # [N]


# From probabilities of the observed labels [N, K], those labels [K], squared distances [Y, Y] and which labels are
# classes, bool [Y], to a distribution over all labels.
Rule = Callable[[Array, Array, Array, Array], Array]


def argmax(probs: Array, observed: Array, sq_dist: Array, classes: Array) -> Array:
    return jax.nn.one_hot(observed[jnp.argmax(probs, axis=-1)], len(sq_dist))


def loki(probs: Array, observed: Array, sq_dist: Array, classes: Array) -> Array:
    return jax.nn.one_hot(zeroshot.frechet_mean_predict(probs, sq_dist[observed]), len(sq_dist))


def loki_classes(probs: Array, observed: Array, sq_dist: Array, classes: Array) -> Array:
    """Only classes are answers."""
    costs = jnp.where(classes, zeroshot.frechet_costs(probs, sq_dist[observed]), jnp.inf)
    return jax.nn.one_hot(jnp.argmin(costs, axis=-1), len(sq_dist))


def soft(probs: Array, observed: Array, sq_dist: Array, classes: Array) -> Array:
    """A label drawn by how little it costs."""
    return jax.nn.softmax(-zeroshot.frechet_costs(probs, sq_dist[observed]))


def scores(chosen: Array, labels: Array, sq_dist: Array, where: Array) -> tuple[Array, Array]:
    """Expected squared distance and accuracy of labels drawn from distributions [N, Y]."""
    rows = jnp.arange(len(labels))
    distances = jnp.sum(chosen * sq_dist[:, labels].T, axis=-1)
    return jnp.mean(distances, where=where), jnp.mean(chosen[rows, labels], where=where)


def on_bins(rule: Rule, config: Config, seed: Seed, shared: Shared) -> tuple[dict[str, Array], dict[str, Array]]:
    """The bins of the held-out patients, from a logistic regression on those in observed bins."""
    place = jnp.arange(config.bins, dtype=jnp.float32)
    sq_dist, every = (place[:, None] - place) ** 2, jnp.ones(config.bins, bool)

    def split(train: Array, observed: Array) -> tuple[Array, Array, Array]:
        targets = (shared.progress[:, None] == observed).astype(jnp.float32)
        seen = train & jnp.any(targets > 0, axis=-1)
        center, spread = (of(shared.records, axis=0, where=seen[:, None]) for of in (jnp.mean, jnp.std))
        rows = (shared.records - center) / spread
        fit = functools.partial(analytic.logistic_regression, ridge=config.ridge, num_iters=config.newton_steps)
        head = fit(rows, targets, where=seen)
        chosen = rule(jax.nn.softmax(analytic.head_logits(head, rows)), observed, sq_dist, every)
        truth = jax.nn.one_hot(shared.progress, config.bins) * ~train[:, None]
        return *scores(chosen, shared.progress, sq_dist, ~train), truth.T @ chosen

    measured: dict[str, Array] = {}
    curves: dict[str, Array] = {}
    for count in OBSERVED:
        observed = jnp.round(jnp.linspace(0, config.bins - 1, count)).astype(jnp.int32)
        distance, accuracy, answers = jax.lax.map(functools.partial(split, observed=observed), seed.patients)
        measured |= {f"bins_{count}": jnp.mean(distance), f"accuracy_{count}": jnp.mean(accuracy)}
        curves[f"answers_{count}"] = jnp.sum(answers, axis=0)  # [true bin, predicted bin]
    return measured, curves


def observed_sets(config: Config, seed: Seed, choice: str) -> Array:
    """Which classes are observed after every choice, bool [T, C], from the first few to all but two."""
    num_classes = len(seed.order)
    start = first_classes(config, num_classes)
    leaf = jnp.arange(len(seed.parent)) < num_classes
    observed = jnp.zeros(len(seed.parent), bool).at[seed.order[:start]].set(True)

    def add(observed: Array, random: Array) -> tuple[Array, Array]:
        longest = selection.next_class_by_locus(seed.parent, observed, class_where=leaf)
        unseen = jnp.argmax(leaf & ~observed)  # where no class has anything to add to the locus
        chosen = random if choice == "random" else jnp.where(longest >= 0, longest, unseen)
        return observed.at[chosen].set(True), observed

    steps = max(num_classes - 1 - start, 1)
    return jax.lax.scan(add, observed, seed.order[start : start + steps])[1][:, :num_classes]


def first_classes(config: Config, num_classes: int) -> int:
    """How many classes are observed before one is chosen."""
    return min(max(round(config.start_share * num_classes), 2), num_classes - 1)


def on_tree(rule: Rule, config: Config, seed: Seed, shared: Shared) -> tuple[dict[str, Array], dict[str, Array]]:
    """The classes of the test images, from a discriminant of the observed ones."""
    num_classes, num_nodes = len(seed.order), len(seed.parent)
    sq_dist = kernels.tree_distance(seed.parent) ** 2

    def step(observed: Array) -> tuple[Array, Array, Array]:
        empty = analytic.class_stats_init(num_classes, shared.images.shape[1], second="shared")
        seen = seed.train & observed[shared.labels]
        stats = analytic.class_stats_update(empty, shared.images, shared.labels, where=seen)
        probs = jax.nn.softmax(analytic.head_logits(analytic.lda(stats, shrinkage="ks"), shared.images))
        chosen = rule(probs, jnp.arange(num_classes), sq_dist, jnp.arange(num_nodes) < num_classes)
        nodes = jnp.zeros(num_nodes, bool).at[:num_classes].set(observed)
        reachable = jnp.mean(zeroshot.locus_mask(seed.parent, nodes))
        return *scores(chosen, shared.labels, sq_dist, ~seed.train), reachable

    measured: dict[str, Array] = {}
    curves: dict[str, Array] = {}
    for choice in CHOICES:
        sets = observed_sets(config, seed, choice)
        distance, accuracy, reachable = jax.lax.map(step, sets)
        measured |= {f"tree_{choice}": jnp.mean(distance), f"tree_accuracy_{choice}": jnp.mean(accuracy)}
        measured[f"locus_{choice}"] = jnp.mean(reachable)
        curves |= {f"tree_{choice}": distance, "num_observed": jnp.sum(sets, axis=1)}
    return measured, curves


def both(rule: Rule, config: Config, seed: Seed, shared: Shared) -> tuple[dict[str, Array], dict[str, Array]]:
    """Both label spaces."""
    parts = [part(rule, config, seed, shared) for part in (on_bins, on_tree)]
    measured, curves = ({name: value for part in parts for name, value in part[at].items()} for at in (0, 1))
    return measured, curves


METHODS = (
    Method("argmax", None, functools.partial(both, argmax), note="the most probable observed label"),
    Method("loki", 19, functools.partial(both, loki), note="any node of the tree may be the answer"),
    Method("loki_classes", 19, functools.partial(both, loki_classes), note="only classes may"),
    Method("soft_loki", 19, functools.partial(both, soft), note="a label drawn from softmax(-costs)"),
)


def _drop(metric: str) -> Callable[[Any], Any]:
    """By which share Loki lowers the squared distance."""
    return lambda rows: 1.0 - rows[metric]["loki"] / rows[metric]["argmax"]


def _active(metric: str) -> Callable[[Any], Any]:
    return lambda rows: rows[f"{metric}_active"]["loki"] - rows[f"{metric}_random"]["loki"]


CLAIMS = (
    Claim(19, "3 of 24 bins observed: Loki lowers the squared distance by 30 %", _drop("bins_3"), ">", 0.3),
    Claim(19, "6 of 24 bins observed: Loki lowers the squared distance by 30 %", _drop("bins_6"), ">", 0.3),
    Claim(19, "Tree, classes observed at random: Loki lowers the squared distance", _drop("tree_random"), ">", 0.0),
    Claim(19, "Chosen classes let more of the tree be predicted than random ones (share)", _active("locus"), ">", 0.0),
    Claim(19, "With chosen classes Loki is nearer to the truth than with random ones", _active("tree"), "<", 0.0),
)


def load_patients(bins: int) -> tuple[np.ndarray, np.ndarray]:
    """The records of 442 diabetes patients, and their progress after a year in bins of equal size.

    Raises:
      UserError: scikit-learn, which carries the data, is not installed.
    """
    try:
        from sklearn.datasets import load_diabetes
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    table = load_diabetes()
    edges = np.quantile(table.target, np.arange(1, bins) / bins)
    return table.data.astype(np.float32), np.searchsorted(edges, table.target, side="right").astype(np.int32)


def hierarchy(means: np.ndarray) -> np.ndarray:
    """Parents [2 C - 1] of a tree over C classes: the two nearest (by Ward's criterion) join, until one is left.

    Raises:
      UserError: scipy is not installed.
    """
    try:
        from scipy.cluster.hierarchy import linkage  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    parent = np.full(2 * len(means) - 1, -1, np.int32)
    for number, (left, right, *_) in enumerate(linkage(means, "ward")):
        parent[[int(left), int(right)]] = len(means) + number
    return parent


def prepare(config: Config, run: Run, data: Dataset) -> tuple[Seed, Shared]:
    """The splits, hierarchies and random orders, with a leading axis of seeds, and the rows."""
    if data.num_classes < 4:
        raise UserError(f"A hierarchy of classes needs at least 4 of them, {data.name} has {data.num_classes}.")
    records, progress = load_patients(config.bins)
    images = data.x.reshape(len(data.x), -1)
    if data.kind == "images":
        images = images / max(float(np.abs(images).max()), 1e-12)
    patients, train, parent, order = [], [], [], []
    for seed in range(run.seeds):
        rng = np.random.default_rng(seed)
        ranks = [rng.permutation(len(records)) for _ in range(config.splits)]
        patients.append(np.stack(ranks) >= round(0.2 * len(records)))
        rows, _ = stratified_split(data.y, test_fraction=0.2, rng=rng)
        train.append(np.isin(np.arange(len(data.y)), rows))
        parent.append(hierarchy(np.stack([images[rows[data.y[rows] == c]].mean(0) for c in range(data.num_classes)])))
        order.append(rng.permutation(data.num_classes))
    stacked = (jnp.asarray(np.stack(part)) for part in (patients, train, parent, order))
    return Seed(*stacked), Shared(*map(jnp.asarray, (records, progress, images, data.y)))


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    seeds, shared = prepare(config, run, run.data())

    def measure(method: Method) -> Measured:
        # Systems of equations are solved one seed after the other: batches of them can wait for each other on a CPU.
        return over_seeds(functools.partial(method.fn, config), seeds, mode="map", shared=(shared,))

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Which bins are answered for which, and how far the answers in the tree are from the truth."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Labels without examples: 24 bins, and {result.dataset}")
    for ax, name in zip(axes, ("argmax", "loki"), strict=False):
        _answers(ax, result.curves.get("answers_6", {}).get(name), f"{name}: 6 bins observed")
    names = [method.name for method in METHODS]
    plots.method_bars(axes[2], result.rows["bins_6"], names, "squared distance of bins")
    lines = {
        f"{name}, {choice}": result.curves[f"tree_{choice}"][name]
        for name in ("argmax", "loki")
        for choice in CHOICES
        if name in result.curves.get(f"tree_{choice}", {})
    }
    if lines:
        counts = np.asarray(next(iter(result.curves["num_observed"].values())))[0]
        options = {"ylabel": "squared distance in the tree", "xlabel": "classes observed", "x": counts}
        plots.curves_over_tasks(axes[3], lines, list(lines), **options)
        axes[3].legend(fontsize=9, frameon=False)
    return figure


def _answers(ax: Axes, tables: Any, title: str) -> None:
    """True against predicted bins, all seeds together."""
    ax.set_axis_off()
    if tables is None:
        return
    table = np.sum(np.asarray(tables, float), axis=0)
    ax.set_axis_on()
    ax.imshow(np.sqrt(table.T), origin="lower", cmap="Blues", aspect="auto")
    ax.plot([0, len(table) - 1], [0, len(table) - 1], color="0.4", linewidth=1.0, linestyle="--")
    ax.set_xlabel("true bin", fontsize=11)
    ax.set_ylabel("predicted bin", fontsize=11)
    ax.set_title(title, fontsize=11)
