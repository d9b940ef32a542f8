"""How fast are closed-form classifiers and clusters, against scikit-learn's fit on the same float32 rows?

One Gaussian per class; the rows matter only for their number. Both sides get all rows at once: linear discriminant
analysis with the plain tied covariance and ridge regression on one-hot targets return the weight, k-means its
centroids, from a seeding of its own (so that the clusters differ) until no row changes its cluster.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks.harness import Entry, Race, Report, Result, Target, compare, race, relative_errors
from jaxlab import analytic

__all__ = ["QUICK", "Config", "run"]


@dataclasses.dataclass(frozen=True)
class Config:
    """What is raced."""

    rows: int = 20_000
    widths: tuple[int, ...] = (256, 1024)
    """Numbers of features."""
    cluster_width: int = 64
    """Number of features of the rows that are clustered."""
    num_classes: int = 100
    """Classes, and clusters."""
    ridge: float = 1.0
    repeats: int = 5
    """Runs of every entry."""

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or self.rows < 2 * max(self.widths):
            raise ValueError(f"--rows must be at least twice every width, got {self.rows} and {self.widths}.")
        if self.num_classes < 2 or self.repeats < 1:
            raise ValueError(f"--num-classes and --repeats must be positive, got {self.num_classes}, {self.repeats}.")


QUICK = {"rows": 500, "widths": (16, 32), "cluster_width": 8, "num_classes": 10, "repeats": 2}


class Rows(NamedTuple):
    """float32 features, labels, and one-hot targets."""

    x: np.ndarray
    labels: np.ndarray
    targets: np.ndarray


def run(config: Config, say: Callable[[str], None]) -> Report:
    """Races both classifiers at every width, and k-means at its own."""
    results = []
    for width in sorted(set(config.widths)):
        rows = _rows(config, width)
        for contest, exact in (_lda(rows, width), _ridge(rows, width, config.ridge)):
            timings = race(contest, repeats=config.repeats, say=say)
            judged = [timing._replace(facts=relative_errors(timing.output, exact)) for timing in timings]
            results.append(Result(width, contest.work, judged))
    contest = _kmeans(config)
    timings = race(contest, repeats=config.repeats, say=say)
    clustered = [timing._replace(facts={"inertia": float(timing.output)}) for timing in timings]
    results.append(Result(config.cluster_width, contest.work, clustered))
    notes = (
        "error: of the weight, relative, against the formula in float64",
        "inertia: sum of squared distances to the centroids; every run is seeded anew",
    )
    return Report("width", results, _targets(config, results), notes)


def _targets(config: Config, results: list[Result]) -> list[Target]:
    """At the sizes of the first configuration; every other run leaves them open."""
    sizes = dataclasses.replace(Config(), repeats=config.repeats)
    races = {(result.size, result.work.partition(",")[0]): result for result in results}
    raced = (
        (256, "linear discriminant analysis"),
        (1024, "ridge regression"),
        (64, "k-means"),
    )

    def faster(size: int, what: str) -> float | None:
        if config != sizes:
            return None
        peer, own = races[size, what].timings
        return compare(peer, own).median

    return [
        Target(f"times faster than scikit-learn, {what}, width {size}", faster(size, what), ">=", 1.0)
        for size, what in raced
    ]


def _kmeans(config: Config) -> Race:
    from sklearn.cluster import KMeans

    rows, seeds = _rows(config, config.cluster_width), itertools.count()
    held = jax.device_put(rows.x)
    compiled = jax.jit(lambda key, x: analytic.kmeans(key, x, k=config.num_classes).inertia)

    def ours() -> jax.Array:
        return compiled(jax.random.key(next(seeds)), held)

    def theirs() -> float:
        return KMeans(config.num_classes, n_init=1, tol=0, max_iter=100, random_state=next(seeds)).fit(rows.x).inertia_

    entries = [
        Entry("scikit-learn KMeans(n_init=1)", lambda: theirs),
        Entry("jaxlab kmeans", lambda: ours),
    ]
    return Race(config.cluster_width, _work("k-means", rows), entries)


def _rows(config: Config, width: int) -> Rows:
    rng = np.random.default_rng(0)
    labels = np.arange(config.rows, dtype=np.int32) % config.num_classes
    means = rng.standard_normal((config.num_classes, width), dtype=np.float32)
    x = means[labels] + rng.standard_normal((config.rows, width), dtype=np.float32)
    return Rows(x, labels, np.eye(config.num_classes, dtype=np.float32)[labels])


def _lda(rows: Rows, width: int) -> tuple[Race, np.ndarray]:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    num_classes = rows.targets.shape[1]

    def ours(x: Any, labels: Any) -> jax.Array:
        stats = analytic.class_stats_init(num_classes, width, second="shared")
        return analytic.lda(analytic.class_stats_update(stats, x, labels), ridge=0.0, prior="empirical").weight

    def theirs() -> np.ndarray:
        return LinearDiscriminantAnalysis(solver="lsqr").fit(rows.x, rows.labels).coef_.T

    x, targets = rows.x.astype(np.float64), rows.targets.astype(np.float64)
    means = targets.T @ x / targets.sum(0)[:, None]
    rest = x - targets @ means
    exact = np.linalg.solve(rest.T @ rest / len(x), means.T)
    entries = [
        Entry("scikit-learn LinearDiscriminantAnalysis(lsqr)", lambda: theirs),
        Entry("jaxlab class_stats_update, lda", functools.partial(_compiled, ours, rows.x, rows.labels)),
    ]
    return Race(width, _work("linear discriminant analysis", rows), entries), exact


def _ridge(rows: Rows, width: int, ridge: float) -> tuple[Race, np.ndarray]:
    from sklearn.linear_model import Ridge

    def ours(x: Any, targets: Any) -> jax.Array:
        state = analytic.gram_init(width, targets.shape[1])
        return analytic.gram_solve(analytic.gram_update(state, x, targets), ridge=ridge)

    def theirs() -> np.ndarray:
        return Ridge(alpha=ridge, fit_intercept=False, solver="cholesky").fit(rows.x, rows.targets).coef_.T

    x, targets = rows.x.astype(np.float64), rows.targets.astype(np.float64)
    exact = np.linalg.solve(x.T @ x + ridge * np.eye(width), x.T @ targets)
    entries = [
        Entry("scikit-learn Ridge(cholesky)", lambda: theirs),
        Entry("jaxlab gram_update, gram_solve", functools.partial(_compiled, ours, rows.x, rows.targets)),
    ]
    return Race(width, _work("ridge regression", rows), entries), exact


def _compiled(function: Callable[..., jax.Array], *arguments: np.ndarray) -> Callable[[], jax.Array]:
    held = jax.device_put(arguments)  # where the arrays of a JAX program are
    compiled = jax.jit(function).lower(*held).compile()
    return lambda: compiled(*held)


def _work(what: str, rows: Rows) -> str:
    return f"{what}, {rows.x.shape[0]} rows x {rows.x.shape[1]} features ({rows.x.nbytes / 1e6:.3g} MB)"
