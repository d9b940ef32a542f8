"""Which loss serves a rare positive class, judged by F1 and balanced accuracy?

A linear model learns one class of a data set against the rest, with so few of its rows that they are one in twenty,
and which diabetes patients will be among the worst eighth. The classes overlap: where they do not, every loss works. A
row is a loss; the model, the optimiser and the steps are the same for all.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.claims import difference
from experiments.data import Dataset
from experiments.errors import UserError, missing_package
from experiments.programs import Programs
from experiments.runner import Claim, Measured, Method, Result, Run
from experiments.streams import stratified_split
from jaxlab import losses, metrics, optim, vision
from jaxlab.numerics import masked_mean
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "which positives are kept, split into training and test rows"
BINS = 20


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    positive: int = 8
    """The class to find, or the last one where there are fewer."""
    share: float = 0.05
    """Share of the rows that are positive, in training and in test."""
    worst: float = 0.12
    """Share of the diabetes patients that are positive: those whose disease goes on the furthest."""
    test_share: float = 0.4
    """Share of the rows to test on."""
    splits: int = 10
    """Splits of which a seed takes the mean."""
    steps: int = 200
    """Steps of Adam on all training rows at once."""
    learning_rate: float = 0.01
    """Of Adam."""
    hard_ratio: float = 5.0
    """Negatives kept for each positive, where only the hardest are."""
    low_threshold: float = 0.25
    """Where a row decides below 1/2."""

    def __post_init__(self) -> None:
        for name in ("share", "worst", "test_share", "low_threshold"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")


QUICK = {"splits": 1, "steps": 40}


class Task(NamedTuple):
    """Features [N, D] and labels [N]; the rows of every split of every seed, [S, R, ...], and which are real."""

    x: Array
    y: Array
    train: Array
    train_where: Array
    test: Array
    test_where: Array


class Batch(NamedTuple):
    """What a loss sees: logits, labels and which rows count, [N], and the inputs [N, D]."""

    logits: Array
    targets: Array
    where: Array
    x: Array

    @property
    def probs(self) -> Array:
        """Of the positive class."""
        return jax.nn.sigmoid(self.logits)


# Losses of a batch.


def entropy(config: Config, batch: Batch) -> Array:
    """Binary cross entropy."""
    return masked_mean(optax.losses.sigmoid_binary_cross_entropy(batch.logits, batch.targets), batch.where)


def weighted_entropy(config: Config, batch: Batch) -> Array:
    """Binary cross entropy in which both classes weigh the same."""
    positives, count = jnp.sum(batch.targets, where=batch.where), jnp.sum(batch.where)
    weight = (count - positives) / positives
    terms = losses.weighted_binary_cross_entropy(batch.logits, batch.targets, pos_weight=weight)
    return masked_mean(terms, batch.where)


def focal(config: Config, batch: Batch) -> Array:
    """Focal loss, gamma 2."""
    return masked_mean(optax.losses.sigmoid_focal_loss(batch.logits, batch.targets), batch.where)


def varied(config: Config, batch: Batch) -> Array:
    """Cross entropy that counts most for inputs of high variance."""
    both = jnp.stack([jnp.zeros_like(batch.logits), batch.logits], axis=-1)
    terms = losses.bias_loss(both, batch.targets.astype(jnp.int32), batch.x, where=batch.where)
    return masked_mean(terms, batch.where)


def dice(config: Config, batch: Batch, *, focus: float = 0.0) -> Array:
    """Dice over the batch."""
    return losses.dice_loss(batch.probs, batch.targets, focus=focus, where=batch.where)


def dice_each(config: Config, batch: Batch) -> Array:
    """Self-adjusting Dice of every example, as the paper writes it."""
    terms = losses.dice_loss(batch.probs[:, None], batch.targets[:, None], focus=1.0)
    return masked_mean(terms, batch.where)


def dice_hard(config: Config, batch: Batch) -> Array:
    """Dice over the positives and the hardest negatives."""
    hard = losses.hard_negative_mask(batch.logits, batch.targets, ratio=config.hard_ratio, where=batch.where)
    return losses.dice_loss(batch.probs, batch.targets, where=hard)


def tversky(config: Config, batch: Batch) -> Array:
    """Tversky index that asks for recall."""
    return losses.tversky(batch.probs, batch.targets, alpha=0.3, beta=0.7, where=batch.where)


def measure_itself(metric: Callable[[metrics.Confusion], Array], config: Config, batch: Batch) -> Array:
    """One minus the measure."""
    return losses.any_loss(batch.logits, batch.targets, metric, where=batch.where)


SELF_ADJUSTING = functools.partial(dice, focus=1.0)
PRODUCT = functools.partial(metrics.g_mean, root=False)

METHODS = (
    Method("bce", None, entropy, note="binary cross entropy"),
    Method("bce_prior", 39, entropy, note="started at the bias that says how rare positives are"),
    Method("weighted_bce", None, weighted_entropy, note="both classes weigh the same"),
    Method("focal", None, focal, note="gamma 2"),
    Method("bias", 201, varied, note="cross entropy, more for inputs of high variance"),
    Method("dice", 80, dice, note="over the batch, smooth 1"),
    Method("dice_hard", 80, dice_hard, note="of the positives and the hardest negatives"),
    Method("tversky", 80, tversky, note="missed positives weigh .7, false ones .3"),
    Method("dsc", 80, SELF_ADJUSTING, note="self-adjusting Dice, started as bce_prior, decided at 1/2"),
    Method("dsc_low", 80, SELF_ADJUSTING, note="the same, decided at 1/4"),
    Method("dsc_each_low", 80, dice_each, note="that of every example, started as bce_prior, decided at 1/4"),
    Method("any_f1", 204, functools.partial(measure_itself, metrics.f_beta), note="one minus F1"),
    Method("any_g", 204, functools.partial(measure_itself, PRODUCT), note="one minus the product of both recalls"),
    Method("any_ba", 204, functools.partial(measure_itself, metrics.balanced_accuracy), note="one minus their mean"),
)
NAMES = [method.name for method in METHODS]
LOSSES = list(dict.fromkeys(method.fn for method in METHODS))  # dsc and dsc_low share one
TASKS = ("", "_diabetes")


CLAIMS = (
    Claim(204, "AnyLoss for F1 beats cross entropy in F1", difference("f1", "any_f1", "bce"), ">", 0.0),
    Claim(
        204, "AnyLoss for F1 beats cross entropy in F1, diabetes", difference("f1_diabetes", "any_f1", "bce"), ">", 0.0
    ),
    Claim(
        204,
        "AnyLoss for balanced accuracy beats cross entropy in it",
        difference("balanced_accuracy", "any_ba", "bce"),
        ">",
        0.0,
    ),
    Claim(
        204,
        "AnyLoss for balanced accuracy beats cross entropy in it, diabetes",
        difference("balanced_accuracy_diabetes", "any_ba", "bce"),
        ">",
        0.0,
    ),
    Claim(80, "Dice beats cross entropy in F1", difference("f1", "dice", "bce"), ">", 0.0),
    Claim(80, "Dice beats cross entropy in F1, diabetes", difference("f1_diabetes", "dice", "bce"), ">", 0.0),
    Claim(80, "Dice beats the focal loss in F1", difference("f1", "dice", "focal"), ">", 0.0),
    Claim(80, "Dice beats the focal loss in F1, diabetes", difference("f1_diabetes", "dice", "focal"), ">", 0.0),
    Claim(80, "Self-adjusting Dice needs a threshold below 1/2 (F1)", difference("f1", "dsc_low", "dsc"), ">", 0.0),
)


def prepare(config: Config, run: Run, data: Dataset) -> dict[str, Task]:
    """Both tasks, with the rows of every seed and split, in arrays of the same shapes."""
    target = data.y == min(config.positive, data.num_classes - 1)
    x, progress = _diabetes()
    worst = progress > np.quantile(progress, 1 - config.worst)

    def splits(cut: Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]) -> list[Any]:
        streams = map(np.random.default_rng, range(run.seeds))
        return [[cut(rng) for _ in range(config.splits)] for rng in streams]

    rare = splits(lambda rng: _rare_rows(target, config, rng))
    plain = splits(lambda rng: stratified_split(worst, test_fraction=config.test_share, rng=rng))
    flat = data.x.reshape(len(data.x), -1)
    size = tuple(np.maximum(flat.shape, x.shape).tolist())
    lengths = [max(len(part[0][0][side]) for part in (rare, plain)) for side in (0, 1)]
    return {"": _task(flat, target, rare, size, lengths), "_diabetes": _task(x, worst, plain, size, lengths)}


def _diabetes() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_diabetes
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    return load_diabetes(return_X_y=True)


def _rare_rows(positive: np.ndarray, config: Config, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train and to test on: all negatives, and so many positives that they are the wanted share."""
    negatives = np.flatnonzero(~positive)
    number = round(config.share / (1 - config.share) * len(negatives))
    own = np.flatnonzero(positive)
    if not 4 <= number <= len(own):
        raise UserError(
            f"A share of {config.share} takes {number} positive rows (of at least 4), there are {len(own)}."
        )
    rows = np.concatenate([negatives, rng.permutation(own)[:number]])
    return tuple(rows[part] for part in stratified_split(positive[rows], test_fraction=config.test_share, rng=rng))


def _task(x: np.ndarray, y: np.ndarray, splits: list[Any], size: tuple[int, int], lengths: list[int]) -> Task:
    """Arrays of the wanted sizes: what is added is 0, and no row of a split."""
    wide = np.zeros(size, np.float32)
    wide[: len(x), : x.shape[1]] = x
    sides = []
    for side, length in enumerate(lengths):
        rows = np.array([[split[side] for split in one] for one in splits])
        missing = length - rows.shape[-1]
        padded = np.pad(rows, ((0, 0), (0, 0), (0, missing)))
        there = np.broadcast_to(np.arange(length) < rows.shape[-1], padded.shape)
        sides += [jnp.asarray(padded), jnp.asarray(there)]
    return Task(jnp.asarray(wide), jnp.asarray(np.resize(y, size[0]), jnp.float32), *sides)


def learn(config: Config, index: Array, prior: Array, x: Array, y: Array, where: Array) -> PyTree:
    """A linear model by the loss of that number."""
    branches = [functools.partial(fn, config) for fn in LOSSES]
    start = jnp.where(prior, vision.prior_bias(jnp.sum(y, where=where), jnp.sum(where)), 0.0)
    optimizer = optax.adam(config.learning_rate)

    def loss_fn(params: PyTree) -> Array:
        return jax.lax.switch(index, branches, Batch(x @ params["kernel"] + params["bias"], y, where, x))

    # Near 0, so the bias says where training starts. At probabilities of 1/2, where bias 0 puts them, self-adjusting
    # losses have no gradient: they start at the share of the positives.
    kernel = 0.01 * jax.random.normal(jax.random.key(0), x.shape[1:])
    first = {"kernel": kernel, "bias": start}
    return optim.minimize(loss_fn, first, optimizer, num_steps=config.steps).params


def score(
    config: Config, rows: tuple[Array, ...], x: Array, y: Array, index: Array, prior: Array, threshold: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Measures of one seed, the mean over its splits; and where probabilities of positives and negatives lie."""

    def one(rows: tuple[Array, ...]) -> tuple[dict[str, Array], dict[str, Array]]:
        train, train_where, test, where = rows
        mean, spread = (fn(x[train], axis=0, where=train_where[:, None]) for fn in (jnp.mean, jnp.std))
        scaled = (x - mean) / jnp.where(spread > 1e-6, spread, 1.0)
        params = learn(config, index, prior, scaled[train], y[train], train_where)
        probs, truth = jax.nn.sigmoid(scaled[test] @ params["kernel"] + params["bias"]), y[test]
        counts = metrics.soft_confusion((probs > threshold).astype(jnp.float32), truth, where=where)
        measured = {
            "f1": metrics.f_beta(counts),
            "balanced_accuracy": metrics.balanced_accuracy(counts),
            "g_mean": metrics.g_mean(counts),
            "precision": counts.tp / jnp.maximum(counts.tp + counts.fp, 1.0),
            "recall": counts.tp / jnp.maximum(counts.tp + counts.fn, 1.0),
            "auroc": metrics.auroc(probs, truth.astype(jnp.int32), where=where),
        }
        place = jnp.minimum((probs * BINS).astype(jnp.int32), BINS - 1)
        histogram = lambda weight: jnp.zeros(BINS).at[place].add(weight) / jnp.sum(weight)  # noqa: E731
        return measured, {"positives": histogram(where * truth), "negatives": histogram(where * (1 - truth))}

    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), jax.lax.map(one, rows))


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    tasks, programs, fn = prepare(config, run, run.data()), Programs(), functools.partial(score, config)

    def measure(method: Method) -> Measured:
        threshold = config.low_threshold if method.name.endswith("_low") else 0.5
        prior = method.name == "bce_prior" or method.name.startswith("dsc")
        told = jnp.asarray(LOSSES.index(method.fn)), jnp.asarray(prior), jnp.float32(threshold)
        rows: dict[str, Any] = {}
        curves: dict[str, Any] = {}
        timings = {"compile": 0.0, "run": 0.0}
        for name, task in tasks.items():
            part = programs.measured("linear", fn, task[2:], task.x, task.y, *told)
            rows |= {metric + name: value for metric, value in part.metrics.items()}
            curves |= {curve + name: value for curve, value in part.curves.items()}
            timings = {kind: timings[kind] + part.timings[kind] for kind in timings}
        return Measured(rows, curves, timings)

    run.rows(METHODS, measure)


def _plane(ax: Axes, result: Result, task: str) -> None:
    """Precision against recall, over lines of equal F1."""
    grid = np.linspace(0.01, 1, 200)
    recall, precision = np.meshgrid(grid, grid)
    lines = ax.contour(
        recall, precision, 2 * recall * precision / (recall + precision), np.arange(0.1, 1, 0.1), colors="0.8"
    )
    ax.clabel(lines, fmt="F1 %.1f", fontsize=7)
    for position, name in enumerate(NAMES):
        if name in result.rows["recall" + task]:
            place = [
                np.nanmean(np.asarray(result.rows[metric + task][name], float)) for metric in ("recall", "precision")
            ]
            ax.plot(*place, label=name, markersize=9, **plots.style(position) | {"linestyle": "none"})
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="recall", ylabel="precision")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def plot(result: Result) -> Figure:
    """Precision and recall on both tasks, and the probabilities that each loss gives to the positives."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Rare positives: {result.dataset} and diabetes")
    for ax, task, title in zip(
        axes, TASKS, (f"one class of {result.dataset}", "the worst diabetes patients"), strict=False
    ):
        if result.rows.get("recall" + task):
            _plane(ax, result, task)
            ax.set_title(title, fontsize=11)
    axes[0].legend(framealpha=0.9, edgecolor="none", fontsize=7, ncols=2, loc="upper left")
    for ax, kind in zip(axes[2:], ("positives", "negatives"), strict=True):
        shown = [name for name in NAMES if name in result.curves.get(kind, {})]
        if not shown:
            continue
        density = np.array([np.nanmean(np.asarray(result.curves[kind][name], float), axis=0) for name in shown])
        ax.imshow(np.sqrt(density), aspect="auto", cmap="Blues", extent=(0, 1, len(shown) - 0.5, -0.5))
        ax.set_yticks(range(len(shown)), shown, fontsize=8)
        ax.set_xlabel(f"probability that test {kind} of {result.dataset} get")
    return figure
