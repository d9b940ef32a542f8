"""Does narrowing the search space make shared weights rank architectures better?

Two super-networks. Transformers on 16 patches of an image, elastic in width, depth and perceptron, learn a teacher's
relations among tokens, in one space or in three of similar size, for the same number of steps; the loss on validation
rows ranks the architectures of each size. Perceptrons with a choice of operators in every layer lose operators as they
train, judged by the accuracy of the paths through them or also by how much these differ from the others; then ensembles
of two paths with a common stem are searched. Rankings are judged by the accuracy of an architecture trained alone.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots, supernet_operators
from experiments.asset import asset
from experiments.claims import difference
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from experiments.supernet_networks import elastic_space, patches
from experiments.supernet_operators import Flat, shrunk_by_rule
from experiments.supernet_sizes import BANDS, AloneConfig, Patched, Split, accuracies_alone, ranked_by_size
from jaxlab import nas

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "teacher, super-networks, searches, rows of the ensembles; accuracies of transformers alone are shared"


@dataclasses.dataclass(frozen=True)
class Config(supernet_operators.Settings):
    """The science of this question."""

    widths: tuple[int, ...] = (8, 16, 24)
    """Widths of the transformers, multiples of 8."""
    ratios: tuple[int, ...] = (1, 2, 3)
    """Widths of their perceptrons, in widths."""
    depths: tuple[int, ...] = (1, 2, 3)
    """Numbers of layers."""
    alone_steps: int = 200
    """Steps of every transformer trained alone."""
    alone_runs: int = 2
    """Trainings whose accuracy is averaged."""
    teacher_steps: int = 300
    """Steps of the teacher, the largest transformer."""
    super_steps: int = 180
    """Steps of all super-networks of a row together, four architectures each."""
    tune_steps: int = 60
    """Steps on labels of the architecture that is picked."""
    train_rows: int = 500
    """Rows that operators learn from."""

    def __post_init__(self) -> None:
        if len(self.widths) * len(self.ratios) * len(self.depths) < 2 * BANDS:
            raise ValueError(f"widths, ratios and depths must give at least {2 * BANDS} architectures")
        if any(width % 8 for width in self.widths):
            raise ValueError(f"widths must be multiples of 8, got {self.widths}")


QUICK = {
    "widths": (8, 16),
    "ratios": (1, 2),
    "depths": (1, 2),
    "alone_steps": 30,
    "alone_runs": 1,
    "teacher_steps": 30,
    "super_steps": 12,
    "tune_steps": 10,
    "phase_steps": 10,
    "shrinkings": 2,
    "sampled_paths": 16,
    "ensembles": 6,
    "ensemble_steps": 10,
    "generations": 2,
}


METHODS = (
    Method("num_params", None, ranked_by_size, note="no training: the larger, the better"),
    Method("depth", None, ranked_by_size, note="no training: the deeper, the better"),
    Method("teacher_slices", None, ranked_by_size, note="slices of the teacher, no super-network"),
    Method("one_space", None, ranked_by_size, note="one super-network for all sizes"),
    Method("three_spaces", 180, ranked_by_size, note="one per size, a third of the steps each"),
    Method("no_shrinking", None, shrunk_by_rule, note="all operators to the end"),
    Method("random_shrinking", None, shrunk_by_rule, note="drops operators at random"),
    Method("accuracy_shrinking", None, shrunk_by_rule, note="drops operators by accuracy alone"),
    Method("diversity_shrinking", 211, shrunk_by_rule, note="by accuracy and disagreement"),
)
NO_TRAINING = ("num_params", "depth")


CLAIMS = (
    Claim(
        180,
        "Three spaces rank architectures of one size better than one space, at the same number of steps",
        difference("band_tau", "three_spaces", "one_space"),
        ">",
        0.0,
    ),
    Claim(
        180,
        "What three spaces pick is more accurate after tuning than what one space picks",
        difference("tuned_accuracy", "three_spaces", "one_space"),
        ">",
        0.0,
    ),
    Claim(
        211,
        "Shrinking by accuracy and diversity finds a better ensemble than by accuracy alone",
        difference("ensemble_accuracy", "diversity_shrinking", "accuracy_shrinking"),
        ">",
        0.0,
    ),
    Claim(
        211,
        "Ensembles are ranked better in the space that diversity helped to shrink",
        difference("ensemble_tau", "diversity_shrinking", "accuracy_shrinking"),
        ">",
        0.0,
    ),
)


def _split(labels: np.ndarray, seed: int) -> Split:
    """Row numbers: 30 % of every class to judge by, 20 % of the rest to choose by."""
    rng = np.random.default_rng(seed)
    rest, test = stratified_split(labels, test_fraction=0.3, rng=rng)
    train, validation = stratified_split(labels[rest], test_fraction=0.2, rng=rng)
    return Split(rest[train], rest[validation], test)


def _patched(config: Config, run: Run, data: Dataset) -> Patched:
    rows = _split(data.y, 0)
    tokens = patches(data.x)
    x, y = (Split(*(jnp.asarray(array[index]) for index in rows)) for array in (tokens, data.y))
    sizes = (config.widths, config.ratios, config.depths)
    alone = AloneConfig(*sizes, config.alone_steps, config.alone_runs, config.batch, data.num_classes)
    run.progress(f"training {len(elastic_space(*sizes).width)} transformers alone")
    accuracies = asset(
        alone,
        lambda config: accuracies_alone(config, x, y),
        run.asset_root,
        data_digest=data.digest,
        like=lambda: jax.ShapeDtypeStruct((len(elastic_space(*sizes).width),), jnp.float32),
    )
    return Patched(x, y, jnp.asarray(accuracies), nas.partition_space(elastic_space(*sizes).params, BANDS))


def _flat(config: Config, run: Run, data: Dataset) -> Flat:
    """Rows of the perceptrons, with a leading axis of seeds."""
    pixels = data.x.reshape(len(data.x), -1)
    splits = [_split(data.y, seed) for seed in range(run.seeds)]
    chosen = [np.stack(part) for part in zip(*splits, strict=True)]
    chosen[0] = chosen[0][:, : config.train_rows]
    x, y = (Split(*(jnp.asarray(array[rows]) for rows in chosen)) for array in (pixels, data.y))
    return Flat(x, y)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows; each half of the question is one program, and a row of it runs the whole half."""
    data = run.data()
    if data.kind != "images" or data.x.shape[1] % 4 or data.x.shape[2] % 4:
        raise UserError(f"Patches need images with sides that are multiples of 4, {data.name} has none.")

    @functools.cache
    def half(fn: Any) -> Measured:
        measure = functools.partial(fn, config, data.num_classes)
        if fn is ranked_by_size:
            patched = _patched(config, run, data)
            run.progress("training super-networks of transformers")
            return over_seeds(measure, run.seed_keys(), shared=(patched,))
        return over_seeds(measure, run.seed_keys(), _flat(config, run, data))

    def row(method: Method) -> Measured:
        halves = (ranked_by_size, shrunk_by_rule) if method.name in NO_TRAINING else (method.fn,)
        found: dict[str, Any] = {}
        for fn in halves:
            found |= half(fn).metrics[method.name]
        return Measured(found, {}, half(method.fn).timings)

    run.rows(METHODS, row)


def plot(result: Result) -> Figure:
    """How well each row ranks, and how good what it finds is."""
    figure, axes = plots.new_figure(
        columns=2, rows=2, title=f"Shared weights as a judge of architectures: {result.dataset}"
    )
    names = [method.name for method in METHODS]
    panels = (
        ("band_tau", "tau among equal sizes"),
        ("tuned_accuracy", "accuracy of the pick"),
        ("ensemble_tau", "tau among ensembles"),
        ("ensemble_accuracy", "accuracy of the find"),
    )
    for ax, (metric, label) in zip(axes, panels, strict=True):
        plots.method_bars(ax, result.rows.get(metric, {}), names, label)
        if metric.endswith("accuracy"):
            values = np.concatenate([np.ravel(v) for v in result.rows.get(metric, {}).values()] or [np.zeros(1)])
            ax.set_ylim(max(0.0, float(np.nanmin(values)) - 0.02), float(np.nanmax(values)) + 0.01)
    return figure
