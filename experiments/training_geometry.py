"""Collapse, sharpness and connectivity: how does training shape a network, over depth, width and class size?

Two parts. A small network with one, two or three linear layers at its end is trained for long, with squared error and
decay: do features and classifier go where theory says, for classes of equal and of different size? And over a grid of
widths and batch sizes, two networks of each cell are compared: which measure of the loss landscape tells where networks
generalise, and where may their weights be averaged?
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from experiments import plots
from experiments.geometry_collapse import Head, Members, collapse_row, plan_of
from experiments.geometry_phases import Grid, Split, measure_grid, read_measure, read_phases
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from jaxlab import metrics

DATASETS = ("digits",)
SEED_SCOPE = "classes and rows that are learned, first weights, order of the rows"
PHASES = ("I", "II", "III", "IV-A", "IV-B")
HELD_OUT = 14  # rows of each class to test on


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    balanced: tuple[int, ...] = (75, 75, 75, 75)
    """Rows of each class, in the rows of equal classes."""
    imbalanced: tuple[int, ...] = (160, 80, 40, 20)
    """Rows of each class, in the rows of unequal classes."""
    tiny: tuple[int, ...] = (120, 90, 87, 3)
    """Rows of each class, in the rows with a class that may be given up."""
    hidden: int = 128
    """Width of the hidden layer before the features."""
    features: int = 16
    """Width of the features and of the linear layers."""
    weak_decay: tuple[float, float] = (1.5, 0.1)
    """Decay of the linear layers and of the features, times the number of rows."""
    strong_decay: tuple[float, float] = (8.0, 1.5)
    """The same, where three rows are too few to be worth their decay."""
    train_steps: int = 4000
    """Steps of Adam of the collapse, the rate falling as a cosine."""
    rate: float = 3e-3
    """First rate of Adam."""
    batch_size: int = 100
    """Rows per step of the collapse."""
    looks: int = 20
    """How often the collapse is measured."""
    widths: tuple[int, ...] = (2, 4, 8, 16, 32, 64)
    """Hidden units of the grid."""
    batch_sizes: tuple[int, ...] = (8, 32, 128, 512)
    """Rows per step of the grid."""
    epochs: int = 20
    """Passes over the training rows of the grid."""
    sgd_rate: float = 0.1
    """Rate of the gradient descent of the grid, with momentum .9 and decay 5e-4."""
    curve_steps: int = 300
    """Steps of the curve between two networks, batches of 128."""
    loss_threshold: float = 0.15
    """Training loss above which it is high."""
    sharpness_threshold: float = 3.0
    """Top eigenvalue above which a cell without a barrier is sharp."""
    connectivity_threshold: float = 0.1
    """Height from which a barrier counts."""
    similarity_threshold: float = 0.95
    """Alignment of outputs above which networks are alike."""

    def __post_init__(self) -> None:
        sizes = (self.balanced, self.imbalanced, self.tiny)
        if any(len(counts) < 2 or min(counts) < 1 for counts in sizes):
            raise ValueError(f"balanced, imbalanced and tiny must name at least two classes of a row each, got {sizes}")
        if any(list(counts) != sorted(counts, reverse=True) for counts in sizes):
            raise ValueError(f"balanced, imbalanced and tiny must not increase, got {sizes}")


QUICK = {"train_steps": 200, "looks": 4, "widths": (4, 32), "batch_sizes": (128,), "epochs": 6, "curve_steps": 60}


def _head(*args: Any, **options: Any) -> Callable[..., Any]:
    return functools.partial(collapse_row, Head(*args, **options))


METHODS = (
    Method("depth_1", 286, _head(1), note="equal classes, one linear layer"),
    Method("depth_2", 286, _head(2), note="two linear layers"),
    Method("depth_3", 286, _head(3), note="three linear layers"),
    Method("with_bias", 286, _head(1, bias=True), note="a bias without decay: towards a simplex"),
    Method("no_decay", None, _head(1, decay="none"), note="nothing decays"),
    Method("imbalanced_1", 286, _head(1, "imbalanced"), note="unequal classes, one linear layer"),
    Method("imbalanced_2", 286, _head(2, "imbalanced"), note="two linear layers"),
    Method("imbalanced_3", 286, _head(3, "imbalanced"), note="three linear layers"),
    Method("tiny_given_up", 286, _head(1, "tiny", "strong"), note="three rows below the threshold"),
    Method("tiny_kept", 286, _head(1, "tiny"), note="the same rows, above it"),
    Method("train_loss", None, read_measure, note="lowest training loss"),
    Method("width", None, read_measure, note="most hidden units"),
    Method("sharpness", 235, read_measure, note="smallest top eigenvalue of the Hessian"),
    Method("trace", 235, read_measure, note="smallest trace of the Hessian"),
    Method("connectivity", 235, read_measure, note="least barrier along a trained curve"),
    Method("similarity", 235, read_measure, note="most alike outputs"),
    Method("phase", 235, read_measure, note="small loss, no barrier and alike"),
)
BALANCED, IMBALANCED = (tuple(f"{name}_{i}" for i in (1, 2, 3)) for name in ("depth", "imbalanced"))


def _over(rows: Any, metric: str, methods: tuple[str, ...], reduce: Callable[..., np.ndarray]) -> np.ndarray:
    return reduce([rows[metric][name] for name in methods], axis=0)


CLAIMS = (
    Claim(
        286,
        "Every measure of collapse falls more than ten times, with 1, 2 and 3 linear layers (log10, the least)",
        lambda rows: _over(rows, "fall", BALANCED, np.min),
        ">",
        1.0,
    ),
    Claim(
        286,
        "With a bias that does not decay, classifier and centred means become a simplex (log10 of the least fall)",
        lambda rows: rows["fall"]["with_bias"],
        ">",
        1.0,
    ),
    Claim(
        286,
        "Unequal classes: lengths of classifier and means follow the closed form (worst log ratio, 1 to 3 layers)",
        lambda rows: _over(rows, "off_theory", IMBALANCED, np.max),
        "<",
        0.1,
    ),
    Claim(
        286,
        "They are nearer to the closed form than to equal lengths, at every depth",
        lambda rows: np.min(
            [np.subtract(rows["off_equality"][name], rows["off_theory"][name]) for name in IMBALANCED], axis=0
        ),
        ">",
        0.0,
    ),
    Claim(
        286,
        "A class below the threshold is given up (its length over that of the largest class)",
        lambda rows: rows["small_to_large"]["tiny_given_up"],
        "<",
        0.05,
    ),
    Claim(
        286,
        "Above the threshold the same class keeps the length of the closed form",
        lambda rows: np.subtract(rows["small_to_large"]["tiny_kept"], rows["small_to_large_theory"]["tiny_kept"]),
        "within",
        0.05,
    ),
    Claim(
        235,
        "Cells without a barrier and with alike networks (IV-B) generalise best (lead over the next phase)",
        lambda rows: rows["lead"]["phase"],
        ">",
        0.0,
    ),
    Claim(
        235,
        "Over the cells, how alike the outputs are goes with accuracy (rank correlation)",
        lambda rows: rows["rank_correlation"]["similarity"],
        ">",
        0.5,
    ),
    Claim(
        235,
        "Matched networks of IV-B can be averaged (accuracy that is lost)",
        lambda rows: rows["averaging_matched_inside"]["phase"],
        "<",
        0.02,
    ),
    Claim(
        235,
        "Elsewhere averaging loses more accuracy, by .02",
        lambda rows: np.subtract(rows["averaging_matched_outside"]["phase"], rows["averaging_matched_inside"]["phase"]),
        ">",
        0.02,
    ),
)


def draw_classes(data: Dataset, sizes: tuple[int, ...], seed: int) -> tuple[np.ndarray, ...]:
    """A few classes at random with so many rows each, and other rows of theirs to test on, padded and masked.

    Raises:
      UserError: too few classes have enough rows.
    """
    rng = np.random.default_rng(seed)
    counts = np.bincount(data.y, minlength=data.num_classes)
    large = np.flatnonzero(counts > sizes[0])
    if len(large) < len(sizes):
        raise UserError(f"{len(sizes)} classes need more than {sizes[0]} rows each, {data.name} has {len(large)} such.")
    train, test, where = [], [], []
    for label, size in zip(rng.permutation(large)[: len(sizes)], sizes, strict=True):
        rows = rng.permutation(np.flatnonzero(data.y == label))
        train.append(rows[:size])
        test.append(np.resize(rows[size:], HELD_OUT))
        where.append(np.arange(HELD_OUT) < counts[label] - size)
    x = data.x.reshape(len(data.x), -1)
    labels = np.arange(len(sizes))
    of_train = np.concatenate(train)
    return (
        x[of_train],
        np.repeat(labels, sizes),
        x[np.concatenate(test)],
        labels.repeat(HELD_OUT),
        np.concatenate(where),
    )


def _stack(parts: Any) -> Any:
    """A tuple of arrays with a leading axis of seeds."""
    return [jnp.asarray(np.stack(arrays)) for arrays in zip(*parts, strict=True)]


def split_rows(data: Dataset, seed: int) -> tuple[np.ndarray, ...]:
    """Two thirds of the rows to train on, the others to test on."""
    order, number = np.random.default_rng(seed).permutation(len(data.x)), 2 * len(data.x) // 3
    x, y = data.x.reshape(len(data.x), -1)[order], data.y[order]
    return x[:number], y[:number], x[number:], y[number:]


def grid_of(config: Config, num_classes: int) -> Grid:
    """The configuration's grid."""
    thresholds = metrics.PhaseThresholds(
        config.loss_threshold, config.sharpness_threshold, config.connectivity_threshold, config.similarity_threshold
    )
    return Grid(
        widths=config.widths,
        batch_sizes=config.batch_sizes,
        epochs=config.epochs,
        rate=config.sgd_rate,
        momentum=0.9,
        decay=5e-4,
        curve_steps=config.curve_steps,
        curve_batch=128,
        curve_rate=0.1,
        hessian_rows=400,
        num_classes=num_classes,
        thresholds=thresholds,
    )


def _head_of(method: Method) -> Head:
    """What a row of the first part trains."""
    assert isinstance(method.fn, functools.partial)
    head: Head = method.fn.args[0]
    return head


def _shape(config: Config, method: Method) -> tuple[int, ...]:
    """What decides the program of a row of the first part."""
    head = _head_of(method)
    sizes = getattr(config, head.sizes)
    return head.depth, head.bias, len(sizes), sum(sizes)


def _means(metric: str, method: Method) -> bool:
    """Whether a number of ``collapse_row`` has a meaning in this row."""
    head = _head_of(method)
    if metric in ("off_theory", "off_equality"):
        return head.sizes == "imbalanced"
    return metric != "small_to_large_theory" or not (head.bias or head.decay == "none")


def run(config: Config, run: Run) -> None:
    """Measures the selected rows; those of the grid share one."""
    data, keys = run.data(), run.seed_keys()
    grid = grid_of(config, data.num_classes)

    @functools.cache
    def cells() -> Measured:
        run.progress("training the grid")
        splits = Split(*_stack(split_rows(data, seed) for seed in range(run.seeds)))
        return over_seeds(lambda key, split: ({}, measure_grid(grid, split, key)), keys, splits)

    heads = [method for method in run.todo(METHODS) if method.fn is not read_measure]

    @functools.cache
    def trained(shape: tuple[int, ...], group: tuple[Method, ...]) -> Measured:
        """All rows of one shape, one after the other: the measures decompose small matrices."""
        members = Members(
            *_stack(
                draw_classes(data, getattr(config, _head_of(head).sizes), seed)
                for head in group
                for seed in range(run.seeds)
            )
        )
        plans = [plan_of(config, _head_of(head)) for head in group for _ in range(run.seeds)]
        plan = jax.tree.map(lambda *parts: jnp.stack(parts), *plans)
        repeated = jnp.tile(keys, len(group))
        return over_seeds(functools.partial(group[0].fn, config), members, plan, repeated, mode="map")

    def measure(method: Method) -> Measured:
        if method.fn is read_measure:
            maps = {name: jnp.asarray(values) for name, values in cells().curves.items()}
            read = jax.jit(jax.vmap(functools.partial(read_measure, method.name)))(maps)
            if method.name != "phase":
                return Measured(read)
            return Measured(read | jax.vmap(read_phases)(maps), cells().curves, cells().timings)
        group = [other for other in heads if _shape(config, other) == _shape(config, method)]
        at = group.index(method)
        found = trained(_shape(config, method), tuple(group))
        mine = slice(at * run.seeds, (at + 1) * run.seeds)
        measured = {name: values[mine] for name, values in found.metrics.items() if _means(name, method)}
        curves = {name: values[mine] for name, values in found.curves.items()}
        return Measured(measured, curves, found.timings if at == 0 else {})

    run.rows(METHODS, measure)


def _lines(ax: Axes, result: Result, metric: str, names: tuple[str, ...], ylabel: str) -> None:
    """How a measure falls over training, by row, on a logarithmic axis."""
    for place, name in enumerate(names):
        seen = result.curves.get(metric, {}).get(name)
        if seen is not None:
            values = np.exp(np.log(np.maximum(np.asarray(seen, float), 1e-12)).mean(0))
            ax.plot(
                result.curves["step"][name][0], values, label=name, **plots.style(place) | {"marker": ""}, linewidth=2
            )
    ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel(ylabel)
    ax.legend(frameon=False, fontsize=8)


def _lengths(ax: Axes, result: Result) -> None:
    """Classifier rows of unequal classes against the closed form."""
    for place, name in enumerate(IMBALANCED):
        if name in result.curves.get("w_norms", {}):
            norms, theory = (np.asarray(result.curves[curve][name], float) for curve in ("w_norms", "w_theory"))
            look = plots.style(place) | {"linestyle": ""}
            ax.plot(theory.ravel(), norms[:, -1].ravel(), label=name, alpha=0.7, **look)
    ax.axline((1, 1), slope=1, color="0.5", linewidth=1, linestyle="--")
    ax.set_xlabel("length in theory")
    ax.set_ylabel("length of the classifier's row")
    ax.legend(frameon=False, fontsize=8)


def _map(ax: Axes, result: Result, name: str, title: str, **look: Any) -> Any:
    """A measure of the grid, its mean over seeds in every cell."""
    seen = result.curves.get(name, {}).get("phase")
    if seen is None:
        ax.set_axis_off()
        return
    values = np.asarray(seen, float)
    whole = np.round(np.median(values, 0)) if name == "phase" else values.mean(0)
    ax.imshow(whole, origin="lower", aspect="auto", **look)
    for (row, column), value in np.ndenumerate(whole):
        text = PHASES[int(value)] if name == "phase" else f"{value:.2f}".replace("0.", ".", 1)
        ax.text(column, row, text, ha="center", va="center", fontsize=8, color="black")
    widths, sizes = (np.asarray(result.curves[axis]["phase"])[0] for axis in ("width", "batch_size"))
    ax.set_xticks(range(whole.shape[1]), [f"{width:.0f}" for width in widths[0]])
    ax.set_yticks(range(whole.shape[0]), [f"{size:.0f}" for size in sizes[:, 0]])
    ax.set_xlabel("hidden units")
    ax.set_ylabel("batch size")
    ax.set_title(title, fontsize=10)


def plot(result: Result) -> Figure:
    """Collapse over training, lengths against theory, and the maps of the grid."""
    figure, axes = plots.new_figure(columns=3, rows=2, title=f"The geometry of training on {result.dataset}")
    _lines(axes[0], result, "nc1", (*BALANCED, "with_bias", "no_decay"), "within over between classes (NC1)")
    _lengths(axes[1], result)
    for place, name in enumerate(("tiny_given_up", "tiny_kept")):
        seen = result.curves.get("w_norms", {}).get(name)
        if seen is not None:
            norms = np.asarray(seen, float)
            ratio = norms[:, :, -1] / norms[:, :, 0]
            at = result.curves["step"][name][0]
            axes[2].plot(at, ratio.mean(0), label=name, **plots.style(place) | {"marker": ""}, linewidth=2)
            theory = result.rows["small_to_large_theory"][name]
            axes[2].axhline(np.mean(theory), color=plots.PALETTE[place], linewidth=1, linestyle=":")
    axes[2].set_xlabel("step")
    axes[2].set_ylabel("tiny over largest class (dotted: theory)")
    axes[2].legend(frameon=False, fontsize=8)
    colours = ListedColormap(["#D55E00", "#E69F00", "#CC79A7", "#56B4E9", "#009E73"])
    _map(axes[3], result, "phase", "phase", cmap=colours, norm=BoundaryNorm(np.arange(-0.5, 5), 5))
    _map(axes[4], result, "accuracy", "test accuracy", cmap="YlGn", vmin=0, vmax=1.2)
    _map(axes[5], result, "averaging_matched", "lost by averaging (matched)", cmap="OrRd", vmin=0, vmax=0.5)
    return figure
