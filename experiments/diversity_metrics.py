"""Which score sees lost diversity?

Samples of real rows lose diversity in known ways: fewer classes, copies in place of members, members drawn towards the
mean of their class, one frequent class with a few rare ones. A score of the sample alone should fall with each.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.claims import difference
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from jaxlab import analytic, kernels, metrics, selection
from jaxlab.numerics import segment_mean
from jaxlab.typing import Array

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "order of the classes, rows drawn"
COPIES = (0.0, 0.25, 0.5, 0.75, 0.9)
"""Shares of a sample that copies replace."""
FACTORS = (1.0, 0.75, 0.5, 0.25, 0.0)
"""What is left of the way from the mean of the class."""
HALF = 2  # place of one half in both


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    sample: int = 170
    """Members of a sample."""
    dim: int = 32
    """Principal components that the rows are reduced to."""
    bandwidth: float = 0.33
    """Of the Gaussian kernel, in units of the median distance of two rows (1 in pixels of digits)."""
    few: int = 4
    """Classes beyond which the late gain is counted."""
    rare: float = 0.05
    """Share of the sample that all rare classes have together."""
    clusters: int = 50
    """Clusters of all rows, of which the occupied ones are counted."""
    chosen: int = 20
    """Members that lie as far apart as possible, for the max-min distance."""

    def __post_init__(self) -> None:
        if self.sample < 10 or min(self.dim, self.few, self.clusters) < 1:
            raise ValueError("--sample must be at least 10, and --dim, --few and --clusters at least 1")
        if not 2 <= self.chosen <= self.sample:
            raise ValueError(f"--chosen must lie in [2, sample], got {self.chosen}")
        if not 0 < self.rare < 1 or self.bandwidth <= 0:
            raise ValueError("--rare must lie in (0, 1), and --bandwidth above 0")


QUICK = {"sample": 60, "clusters": 20}


class Reference(NamedTuple):
    """What is known of all rows: features [N, D], class means [C, D], the bandwidth, and centroids of clusters."""

    x: Array
    y: Array
    means: Array
    bandwidth: Array
    centroids: Array


class Probes(NamedTuple):
    """Rows [P, n] of all samples of one seed, and how far from the class means they stay [P].

    First samples of 1, 2, ... C classes, then those with copies, those drawn together, and a frequent class alone and
    with rare ones.
    """

    index: Any
    factor: Any


Score = Callable[[Config, Reference, Array], Array]


def _kernel(config: Config, reference: Reference, x: Array) -> Array:
    return kernels.gaussian_kernel(x, bandwidth=reference.bandwidth)


def vendi(config: Config, reference: Reference, x: Array, *, q: float = 1.0) -> Array:
    """By the Gaussian kernel."""
    return metrics.vendi_score(_kernel(config, reference, x), q=q)


def vendi_cosine(config: Config, reference: Reference, x: Array) -> Array:
    """By the cosine of the centred features, from the smaller matrix."""
    return metrics.vendi_score_from_embeddings(x)


def max_min(config: Config, reference: Reference, x: Array) -> Array:
    """The smallest distance among members chosen to be far apart."""
    chosen = selection.farthest_point(x, k=config.chosen).index
    distances = jnp.sqrt(kernels.pairwise_sq_dists(x))
    return metrics.min_pairwise_distance(distances, chosen)


def internal(config: Config, reference: Reference, x: Array) -> Array:
    """One minus the mean similarity, by the same kernel."""
    return metrics.internal_diversity(_kernel(config, reference, x))


def mean_distance(config: Config, reference: Reference, x: Array) -> Array:
    """Mean distance of two members."""
    return metrics.mean_pairwise_distance(x)


def occupied(config: Config, reference: Reference, x: Array) -> Array:
    """How many clusters of all rows the sample reaches; the only score that knows other rows."""
    nearest = jnp.argmin(kernels.pairwise_sq_dists(x, reference.centroids), axis=1)
    return jnp.sum(jnp.zeros(reference.centroids.shape[0]).at[nearest].max(1.0))


def rank(config: Config, reference: Reference, x: Array) -> Array:
    """Directions that the centred sample fills."""
    return metrics.effective_rank(x - jnp.mean(x, axis=0))


def row(score: Score, config: Config, probes: Probes, reference: Reference) -> tuple[dict[str, Array], Any]:
    """One score on all samples of a seed."""

    def one(probe: Probes) -> Array:
        means = reference.means[reference.y[probe.index]]
        return score(config, reference, means + probe.factor * (reference.x[probe.index] - means))

    scores = jax.lax.map(one, probes)
    ends = np.cumsum([reference.means.shape[0], len(COPIES), len(FACTORS)])
    modes, copies, drawn, rare = jnp.split(scores, ends)
    few = min(config.few, len(modes) - 1)
    measured = {
        "class_correlation": metrics.spearman(modes, jnp.arange(len(modes), dtype=jnp.float32)),
        "late_gain": modes[-1] / modes[few - 1] - 1.0,
        "copies_loss": 1.0 - copies[HALF] / copies[0],
        "drawn_loss": 1.0 - drawn[HALF] / drawn[0],
        "rare_gain": rare[1] / rare[0] - 1.0,
    }
    curves = {"classes": modes / modes[-1], "copies": copies / copies[0], "drawn": drawn / drawn[0]}
    return measured, curves


def _row(score: Callable[..., Array], **options: Any) -> Callable[..., Any]:
    return functools.partial(row, functools.partial(score, **options))


METHODS = (
    Method("vendi_0.1", 219, _row(vendi, q=0.1), note="order 0.1: rare members count"),
    Method("vendi_0.5", 219, _row(vendi, q=0.5)),
    Method("vendi", 219, _row(vendi), note="order 1, as published"),
    Method("vendi_2", 219, _row(vendi, q=2)),
    Method("vendi_inf", 219, _row(vendi, q=np.inf), note="only the most frequent kind counts"),
    Method("vendi_cosine", 219, _row(vendi_cosine), note="order 1, cosine instead of the Gaussian kernel"),
    Method("max_min", 220, _row(max_min), note="smallest distance among members chosen far apart"),
    Method("internal", None, _row(internal), note="one minus the mean similarity, same kernel"),
    Method("mean_distance", None, _row(mean_distance)),
    Method("clusters", None, _row(occupied), note="clusters of all rows that the sample reaches"),
    Method("effective_rank", None, _row(rank), note="of the centred sample"),
)

CLAIMS = (
    Claim(
        219,
        "Replacing half of a sample by copies takes more than 30 % of the Vendi score",
        lambda rows: rows["copies_loss"]["vendi"],
        ">",
        0.3,
    ),
    Claim(
        219,
        "Internal diversity hardly sees those copies: its loss is more than 30 points smaller",
        difference("copies_loss", "vendi", "internal"),
        ">",
        0.3,
    ),
    Claim(
        219,
        "The Vendi score grows with the number of classes in the sample (rank correlation)",
        lambda rows: rows["class_correlation"]["vendi"],
        ">",
        0.9,
    ),
    Claim(
        219,
        "From four classes to all it still grows, by 10 points more than the mean distance",
        difference("late_gain", "vendi", "mean_distance"),
        ">",
        0.1,
    ),
)


def principal_components(data: Dataset, dim: int) -> np.ndarray:
    """Rows [N, <= dim] about their mean, along the directions of most variance."""
    x = data.x.reshape(len(data.x), -1).astype(np.float64)
    x -= x.mean(0)
    _, directions = np.linalg.eigh(x.T @ x)
    return (x @ directions[:, ::-1][:, :dim]).astype(np.float32)


def probes(config: Config, labels: np.ndarray, seed: int) -> Probes:
    """The samples of one seed."""
    rng, size = np.random.default_rng(seed), config.sample
    classes = rng.permutation(int(labels.max()) + 1)

    def draw(count: int, of: np.ndarray) -> np.ndarray:
        return rng.choice(np.flatnonzero(np.isin(labels, of)), count, replace=False)

    few = [draw(size, classes[: m + 1]) for m in range(len(classes))]
    base = draw(size, classes)
    copied = [np.resize(base[: max(1, round(size * (1 - share)))], size) for share in COPIES]
    rare = max(1, round(config.rare * size))
    mixed = np.concatenate([few[0][rare:], draw(rare, classes[1:])])
    index = np.stack([*few, *copied, *[base] * len(FACTORS), few[0], mixed])
    factor = np.ones(len(index), np.float32)
    start = len(few) + len(copied)
    factor[start : start + len(FACTORS)] = FACTORS
    return Probes(index.astype(np.int32), factor)


def reference(config: Config, data: Dataset) -> Reference:
    """What is known of all rows."""
    x, y = jnp.asarray(principal_components(data, config.dim)), jnp.asarray(data.y)
    means, _ = segment_mean(x, y, data.num_classes)
    some = np.asarray(x)[np.random.default_rng(0).choice(len(x), min(len(x), 1000), replace=False)]
    distances = np.sqrt(np.sum((some[:, None] - some) ** 2, -1))
    median = np.median(distances[np.triu_indices(len(some), 1)])
    clusters = min(config.clusters, len(x))
    found = analytic.kmeans(jax.random.key(0), x, k=clusters, num_iters=30)
    return Reference(x, y, means, jnp.float32(config.bandwidth * median), found.centroids)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    if (fewest := np.bincount(data.y).min()) < config.sample:
        raise UserError(f"A sample of one class needs {config.sample} rows, {data.name} has a class with {fewest}.")
    known = reference(config, data)
    stacked = Probes(*map(np.stack, zip(*(probes(config, data.y, seed) for seed in range(run.seeds)), strict=True)))

    def measure(method: Method) -> Measured:
        return over_seeds(functools.partial(method.fn, config), stacked, mode="map", shared=(known,))

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Every score by what is left of the diversity, relative to where nothing is lost."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Lost diversity in samples of {result.dataset}")
    names = [method.name for method in METHODS]
    panels: Mapping[str, tuple[str, Any]] = {
        "classes": ("classes in the sample", None),
        "copies": ("share of the sample that copies replace", COPIES),
        "drawn": ("way left to the mean of the class", [1 - factor for factor in FACTORS]),
    }
    for ax, (name, (xlabel, places)) in zip(axes, panels.items(), strict=False):
        plots.curves_over_tasks(
            ax, result.curves.get(name, {}), names, ylabel="score (1: nothing lost)", xlabel=xlabel, x=places
        )
        if (legend := ax.get_legend()) is not None:
            legend.remove()
        ax.set_ylim(bottom=0)
    if "drawn" in result.curves:
        axes[2].set_xlabel("share of the way to the mean of the class")
    plots.method_bars(axes[3], result.rows.get("copies_loss", {}), names, "loss by half copies")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    return figure
