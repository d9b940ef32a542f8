"""Only bag averages are known: fit the bags, fit everybody at the average, or something in between?

Patients are put into bags at random, and of their disease's progression only every bag's mean is told. A linear model
is fitted by the loss of the bags, by the loss of the instances, and by mixtures of the two, and judged on single
patients. Last, the means carry noise that keeps every patient's response private: small bags need much of it, large
ones tell little.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import plots
from experiments.runner import Claim, Measured, Method, Result, Run
from jaxlab import analytic, losses, optim
from jaxlab.typing import Array

DATASETS = ()
SEED_SCOPE = "splits into training and test rows, bags, noise of the private means"
SIZES = (1, 2, 5, 10, 20)  # of the bags
CHOICES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the weight, where it is chosen


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    splits: int = 60
    """Random splits that one seed averages over."""
    train_rows: int = 340
    """Rows to train on, a multiple of 20; the others are tested on."""
    clip: float = 2.0
    """Private responses are cut off at this many standard deviations."""
    epsilon: float = 2.0
    """How private they are; smaller is more."""
    private_rho: float = 0.05
    """Weight of the instance loss under privacy."""
    descent_steps: int = 300
    """Steps of L-BFGS where the loss is minimised by descent."""

    def __post_init__(self) -> None:
        if self.splits < 1 or self.descent_steps < 1:
            raise ValueError(f"splits and descent_steps must be positive, got {self.splits, self.descent_steps}")
        if self.train_rows % max(SIZES) or not 0 < self.train_rows < 442:
            raise ValueError(f"train_rows must be a multiple of {max(SIZES)} below 442, got {self.train_rows}")
        if self.clip <= 0 or self.epsilon <= 0 or not 0 <= self.private_rho <= 1:
            raise ValueError(f"clip and epsilon must be positive and private_rho in [0, 1], got {self}")


QUICK = {"splits": 3, "descent_steps": 20}


class Task(NamedTuple):
    """One split: standardised regressors and responses."""

    x: Array  # [N, D]
    y: Array  # [N]
    test_x: Array
    test_y: Array
    key: Array


def bags(task: Task, size: int) -> tuple[Array, Array]:
    """Members [M, K, D] and their responses [M, K]; rows are in random order."""
    return task.x.reshape(-1, size, task.x.shape[1]), task.y.reshape(-1, size)


def error(task: Task, theta: Array) -> Array:
    """Mean squared error on single test rows, relative to the variance of the responses."""
    return jnp.mean((task.test_x @ theta - task.test_y) ** 2)


def fixed(config: Config, task: Task, rho: Array) -> dict[str, Array]:
    """The closed form with one weight of the instance loss."""
    found = {}
    for size in SIZES:
        x, y = bags(task, size)
        theta = analytic.aggregate_least_squares(x, jnp.mean(y, axis=1), rho=rho)
        found[f"error_{size}"] = error(task, theta)
    return found


def chosen(config: Config, task: Task) -> dict[str, Array]:
    """The weight is chosen by the error of held-out bags, a fifth of them at a time."""
    found = {}
    rhos = jnp.asarray(CHOICES)
    for size in SIZES:
        x, y = bags(task, size)
        means, fold = jnp.mean(y, axis=1), jnp.arange(x.shape[0]) % 5

        def held_out(rho: Array, x: Array = x, means: Array = means, fold: Array = fold) -> Array:
            def one(part: Array) -> Array:
                kept = jnp.broadcast_to((fold != part)[:, None], x.shape[:2])
                theta = analytic.aggregate_least_squares(x, means, rho=rho, ridge=1e-6, where=kept)
                return jnp.sum(jnp.where(fold == part, losses.bag_loss(x @ theta, means), 0.0))

            return jnp.sum(jax.lax.map(one, jnp.arange(5)))

        rho = rhos[jnp.argmin(jax.lax.map(held_out, rhos))]
        found[f"error_{size}"] = error(task, analytic.aggregate_least_squares(x, means, rho=rho))
        found[f"rho_{size}"] = rho
    return found


def descent(config: Config, task: Task) -> dict[str, Array]:
    """The interpolated loss minimised by L-BFGS, bags of ten: how far its predictions end from the closed form's."""
    x, y = bags(task, 10)
    means, rho = jnp.mean(y, axis=1), 0.05

    def loss_fn(theta: Array) -> Array:
        return jnp.mean(losses.interpolated_bag_loss(x @ theta, means, rho=rho))

    start = jnp.zeros(x.shape[2])
    theta = optim.minimize(loss_fn, start, optax.lbfgs(), num_steps=config.descent_steps).params
    closed = analytic.aggregate_least_squares(x, means, rho=rho)
    gap = jnp.sqrt(jnp.mean((task.test_x @ (theta - closed)) ** 2))
    return {"error_10": error(task, theta), "gap": gap}


def private(config: Config, task: Task) -> dict[str, Array]:
    """Means of clipped responses with Laplace noise."""
    found = {}
    for place, size in enumerate(SIZES):
        x, y = bags(task, size)
        key = jax.random.fold_in(task.key, place)
        means = losses.private_bag_means(key, y, clip=config.clip, epsilon=config.epsilon)
        theta = analytic.aggregate_least_squares(x, means, rho=config.private_rho)
        found[f"private_{size}"] = error(task, theta)
    return found


@functools.partial(jax.jit, static_argnames=("fn", "config"))
def averaged(fn: Any, config: Config, tasks: Task, rho: Array | None = None) -> dict[str, Array]:
    """The mean of every measure over the splits of every seed, [S]; solves, so one split at a time."""
    options = {} if rho is None else {"rho": rho}
    one_seed = functools.partial(jax.lax.map, lambda task: fn(config, task, **options))
    return {name: jnp.mean(values, axis=1) for name, values in jax.lax.map(one_seed, tasks).items()}


WEIGHTS = {"bag": 0.0, "rho_.02": 0.02, "rho_.05": 0.05, "rho_.1": 0.1, "rho_.2": 0.2, "rho_.5": 0.5, "instance": 1.0}
METHODS = (
    Method("bag", None, fixed, note="the loss of the bags"),
    Method("rho_.02", 247, fixed, note="and .02 of the variance within them"),
    Method("rho_.05", 247, fixed),
    Method("rho_.1", 247, fixed),
    Method("rho_.2", 247, fixed),
    Method("rho_.5", 247, fixed),
    Method("instance", None, fixed, note="everybody at the mean of the bag"),
    Method("chosen", 247, chosen, note="the weight chosen on held-out bags"),
    Method("descent", 247, descent, note="the loss minimised step by step, bags of 10"),
    Method("private", 247, private, note="private means"),
)


def _ends(rows: Any, size: int) -> tuple[Any, Any]:
    return rows[f"error_{size}"]["bag"], rows[f"error_{size}"]["instance"]


def _lead_of_small_weight(rows: Any) -> Any:
    leads = [np.minimum(*_ends(rows, size)) - rows[f"error_{size}"]["rho_.05"] for size in (5, 10, 20)]
    return np.min(leads, axis=0)


def _turn(rows: Any) -> Any:
    errors = [rows[f"private_{size}"]["private"] for size in SIZES]
    return np.minimum(errors[0], errors[-1]) - np.min(errors[1:-1], axis=0)


CLAIMS = (
    Claim(
        247,
        "In bags of 5 and of 10 the loss of the bags beats that of the instances",
        lambda rows: np.min([_ends(rows, size)[1] - _ends(rows, size)[0] for size in (5, 10)], axis=0),
        ">",
        0.0,
    ),
    Claim(
        247,
        "In bags of 20, fewer than twice the regressors, the instances beat the bags",
        lambda rows: _ends(rows, 20)[0] - _ends(rows, 20)[1],
        ">",
        0.0,
    ),
    Claim(247, "In bags of 5, 10 and 20 the weight .05 beats both", _lead_of_small_weight, ">", 0.0),
    Claim(
        247,
        "Steps on the interpolated loss end at the closed form, to .01 of a standard deviation",
        lambda rows: rows["gap"]["descent"],
        "<",
        0.01,
    ),
    Claim(247, "With private means the best bags are neither the smallest nor the largest", _turn, ">", 0.0),
)


def prepare(config: Config, seeds: list[int]) -> Task:
    """Splits of the diabetes data: leading axes [seeds, splits], rows in random order."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    y = (y - y.mean()) / y.std()
    found = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        order = np.stack([rng.permutation(len(y)) for _ in range(config.splits)])
        train, test = order[:, : config.train_rows], order[:, config.train_rows :]
        x_train, x_test = x[train], x[test]
        center, scale = x_train.mean(axis=1, keepdims=True), x_train.std(axis=1, keepdims=True)
        draws = jax.random.split(jax.random.key(seed), config.splits)
        parts = ((x_train - center) / scale, y[train], (x_test - center) / scale, y[test])
        found.append((*(np.asarray(part, np.float32) for part in parts), draws))
    *arrays, keys = zip(*found, strict=True)
    return Task._make([*(jnp.asarray(np.stack(array)) for array in arrays), jnp.stack(keys)])


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    tasks = prepare(config, list(range(run.seeds)))

    def measure(method: Method) -> Measured:
        rho = jnp.float32(WEIGHTS[method.name]) if method.fn is fixed else None  # traced: one program for all weights
        found = averaged(method.fn, config, tasks, rho)
        return Measured({name: np.asarray(values) for name, values in found.items()})

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Test error over the weight, a line per bag size; and over the bag size, with private means too."""
    figure, axes = plots.new_figure(columns=2, title="Only the mean of every bag is known: diabetes")
    names = [name for name in WEIGHTS if name in result.rows.get(f"error_{SIZES[-1]}", {})]
    for position, size in enumerate(SIZES[1:]):
        table = result.rows.get(f"error_{size}", {})
        means = [float(np.mean(table[name])) for name in names]
        look = plots.style(position)
        axes[0].plot([WEIGHTS[name] for name in names], means, label=f"bags of {size}", linewidth=2, **look)
        if means:
            best = int(np.argmin(means))
            axes[0].plot(WEIGHTS[names[best]], means[best], "o", ms=13, mfc="none", mec=look["color"])
    axes[0].set_xscale("symlog", linthresh=0.02)
    axes[0].set_xlim(-0.002, 1.2)
    ticks = [0, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
    axes[0].set_xticks(ticks, [f"{tick:g}".replace("0.", ".", 1) for tick in ticks])
    axes[0].minorticks_off()
    axes[0].set_xlabel("weight of the instance loss (0: bags, 1: instances); circles: the best")
    axes[0].set_ylabel("test error over the variance of the responses")
    lines = {"bag": "bag", "instance": "instance", "rho_.05": "rho_.05", "chosen": "chosen", "private": "private means"}
    for position, (name, label) in enumerate(lines.items()):
        metric = "private" if name == "private" else "error"
        tables = [result.rows.get(f"{metric}_{size}", {}).get(name) for size in SIZES]
        if all(table is not None for table in tables):
            values = np.array(tables, float)
            look = plots.style(position)
            axes[1].plot(SIZES, values.mean(axis=1), label=label, linewidth=2, **look)
            axes[1].fill_between(SIZES, values.min(1), values.max(1), color=look["color"], alpha=0.15, linewidth=0)
    axes[1].set_xscale("log")
    axes[1].set_xticks(SIZES, [str(size) for size in SIZES])
    axes[1].minorticks_off()
    axes[1].set_xlabel("size of the bags")
    for ax in axes:
        ax.set_ylim(bottom=0.45)
        ax.grid(axis="y", color="0.88", linewidth=0.8)
        ax.spines[["top", "right"]].set_visible(False)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False, fontsize=9)
    return figure
