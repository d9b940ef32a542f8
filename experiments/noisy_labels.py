"""Which loss or cleaning rule survives label noise?

Some classes are ten times rarer than others, and a fifth of all labels are wrong. Heads learn from such rows: plainly,
with rare classes weighing more, or on representations that were learned without labels, from rows that do not stand
out in their class, with features drawn for the rare classes. The test rows are balanced and clean. Beside them one
network learns by many losses where all classes are equally frequent: ``experiments.noise_losses``.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import noise_losses, plots, recalibration
from experiments.claims import difference
from experiments.discovery_networks import Shared, shared_of
from experiments.recalibration import HEAD, MIDDLE, TAIL, Representation, Seed, contrastive, on_contrast, plain
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, over_seeds
from experiments.streams import first_of_each, stratified_split, tail_sizes
from jaxlab import metrics, weaksup
from jaxlab.typing import Array

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split into training and test rows, which classes are rare, wrong labels, networks"


@dataclasses.dataclass(frozen=True)
class Config(recalibration.Settings, noise_losses.Setting):
    """The science of this question."""

    imbalance: float = 10.0
    """How many times rarer the rarest class is; the others lie between in equal ratios."""
    test_share: float = 0.3
    """Share of the rows to test on, the same of every class."""

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
        difference("accuracy", "recovered", "ce"),
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
    sizes = tail_sizes(config.most, config.imbalance, num_classes)
    for seed, key in enumerate(run.seed_keys()):
        rng = np.random.default_rng(seed)
        train, test = stratified_split(data.y, test_fraction=config.test_share, rng=rng)
        place, group = _rare(rng, num_classes)
        rows = first_of_each(data.y, train, sizes[place])
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
