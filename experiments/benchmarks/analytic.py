"""How fast and how exact is ridge regression of a stream, against the published float64 recursion?

The work is G-ACIL's: MNIST pixels in [0, 1], random ReLU features, one-hot targets, a stream of chunks, the weight at
the end. The features stand ready in each entry's own precision and are no part of it. The peers are written in numpy:
the recursion in float64, with R X' K X R evaluated from the left as published (D^3 a chunk), and as it should be (X R
first). A jaxlab entry is one compiled update with a donated state, called for every chunk, and the compiled solve.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator, eigsh

from experiments import data
from experiments.benchmarks.harness import Entry, Race, Report, Result, Target, as_set, compare, race, relative_errors
from experiments.errors import UserError
from jaxlab import analytic

__all__ = ["QUICK", "Config", "Problem", "make_problem", "run"]


@dataclasses.dataclass(frozen=True)
class Config:
    """What is raced."""

    dataset: str = "mnist5k"
    """Whose pixels: mnist5k or digits."""
    rows: int = 5000
    """Length of the stream."""
    widths: tuple[int, ...] = (1000, 2000, 4000)
    """Numbers of random features."""
    chunk: int = 100
    """Rows of a chunk, as published."""
    large_chunk: int = 1000
    """Rows of a chunk where the memory is there."""
    ridge: float = 0.1
    repeats: int = 3
    """Runs of every entry."""
    patience: float = 100.0
    """An entry that has run for so many seconds at one width is not run again."""

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 2:
            raise ValueError(f"--widths must be at least 2, got {self.widths}.")
        if min(self.chunk, self.large_chunk) < 1 or self.rows % self.chunk or self.rows % self.large_chunk:
            raise ValueError(f"--rows must be a multiple of both chunks, got {self.rows}.")
        if self.repeats < 1:
            raise ValueError(f"--repeats must be at least 1, got {self.repeats}.")


QUICK = {"rows": 500, "widths": (100, 200), "large_chunk": 250}

TARGET_WIDTH = 4000


class Problem(NamedTuple):
    """Features and targets in both precisions, the float64 solution, and the condition number of X'X + ridge I."""

    x: np.ndarray  # float32 [N, D]
    y: np.ndarray  # float32 [N, K]
    wide_x: np.ndarray  # the same numbers as float64
    wide_y: np.ndarray
    exact: np.ndarray  # float64 [D, K]
    condition: float


def run(config: Config, say: Callable[[str], None]) -> Report:
    """Races every width."""
    results = []
    for width in sorted(set(config.widths)):
        say(f"{width}: the float64 solution")
        problem = make_problem(config, width)
        contest = Race(width, _work(problem), _entries(config, problem))
        timings = race(contest, repeats=config.repeats, patience=config.patience, say=say)
        judged = [timing._replace(facts=relative_errors(timing.output, problem.exact)) for timing in timings]
        results.append(Result(width, contest.work, judged, {"condition": problem.condition}))
    notes = (
        "error: of the weight against a direct float64 solve, relative, by the Frobenius norm and by largest entry",
    )
    return Report("width", results, _targets(config, results), notes)


def make_problem(config: Config, width: int) -> Problem:
    """Random ReLU features of evenly spaced rows of the data set, and the solution to compare with."""
    dataset = data.load(config.dataset)
    if config.rows > len(dataset.x):
        raise UserError(f"--rows {config.rows} is more than the {len(dataset.x)} rows of {config.dataset}.")
    index = np.linspace(0, len(dataset.x) - 1, config.rows).astype(int)
    pixels = dataset.x.reshape(len(dataset.x), -1)[index]
    params = analytic.random_features_init(jax.random.key(0), pixels.shape[1], width=width)
    x = np.asarray(jax.jit(analytic.random_features)(params, pixels))
    y = np.eye(dataset.num_classes, dtype=np.float32)[dataset.y[index]]
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    gram = wide_x.T @ wide_x + config.ridge * np.eye(width)
    factor = scipy.linalg.cho_factor(gram)
    exact = scipy.linalg.cho_solve(factor, wide_x.T @ wide_y)
    inverse = LinearOperator(gram.shape, matvec=lambda v: scipy.linalg.cho_solve(factor, v), dtype=np.float64)
    largest, smallest = (_largest_eigenvalue(operator, width) for operator in (gram, inverse))
    return Problem(x, y, wide_x, wide_y, exact, largest * smallest)


def _largest_eigenvalue(operator: Any, width: int) -> float:
    start = np.random.default_rng(0).standard_normal(width)
    return float(eigsh(operator, k=1, v0=start, tol=1e-3, return_eigenvectors=False)[0])


def _work(problem: Problem) -> str:
    (rows, width), outputs = problem.x.shape, problem.y.shape[1]
    return f"{rows} rows x {width} features ({problem.x.nbytes / 1e6:.3g} MB in float32), {outputs} targets"


# --- the entries


def _names(config: Config) -> dict[str, str]:
    return {
        "published": f"float64 recursion, published order, chunks of {config.chunk}",
        "ordered": f"float64 recursion, X R first, chunks of {config.chunk}",
        "plain": f"jaxlab plain, chunks of {config.chunk}",
        "plain_large": f"jaxlab plain, chunks of {config.large_chunk}",
        "compensated": f"jaxlab compensated, chunks of {config.large_chunk}",
        "recursive": f"jaxlab rls_update float32, chunks of {config.chunk}",
    }


def _entries(config: Config, problem: Problem) -> list[Entry]:
    name, small, large, ridge = _names(config), config.chunk, config.large_chunk, config.ridge
    sizes = problem.x.shape[1], problem.y.shape[1]
    plain = functools.partial(analytic.gram_init, *sizes)
    compensated = functools.partial(analytic.gram_init, *sizes, accumulate="compensated")
    recursive = functools.partial(analytic.rls_init, *sizes, ridge=ridge)
    solve = functools.partial(analytic.gram_solve, ridge=ridge)

    def numpy_entry(name: str, step: Callable[..., None]) -> Entry:
        return Entry(name, lambda: functools.partial(_recursion, problem, small, ridge, step), warmup=False)

    def jaxlab_entry(name: str, chunk: int, init: Any, update: Any, solve: Any) -> Entry:
        return Entry(name, lambda: _compiled_stream(problem, chunk, init, update, solve))

    return [
        numpy_entry(name["published"], _published_step),
        numpy_entry(name["ordered"], _ordered_step),
        jaxlab_entry(name["plain"], small, plain, analytic.gram_update, solve),
        jaxlab_entry(name["plain_large"], large, plain, analytic.gram_update, solve),
        jaxlab_entry(name["compensated"], large, compensated, analytic.gram_update, solve),
        jaxlab_entry(name["recursive"], small, recursive, analytic.rls_update, lambda state: state.weight),
    ]


def _recursion(problem: Problem, chunk: int, ridge: float, step: Callable[..., None]) -> np.ndarray:
    x, y = problem.wide_x, problem.wide_y
    covariance = np.eye(x.shape[1]) / ridge
    weight = np.zeros((x.shape[1], y.shape[1]))
    for first in range(0, len(x), chunk):
        step(covariance, weight, x[first : first + chunk], y[first : first + chunk])
    return weight


def _published_step(covariance: np.ndarray, weight: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    r, w = covariance, weight  # changed in place
    k = np.linalg.inv(np.eye(len(x)) + x @ r @ x.T)
    r -= r @ x.T @ k @ x @ r
    w += r @ x.T @ (y - x @ w)


def _ordered_step(covariance: np.ndarray, weight: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    r, w = covariance, weight
    projected = x @ r
    k = np.linalg.inv(np.eye(len(x)) + projected @ x.T)
    r -= projected.T @ (k @ projected)
    w += r @ (x.T @ (y - x @ w))


def _compiled_stream(
    problem: Problem, chunk: int, init: Callable[[], Any], update: Callable[..., Any], solve: Callable[..., Any]
) -> Callable[[], jax.Array]:
    x, y = problem.x, problem.y
    state = init()
    step = jax.jit(update, donate_argnums=0).lower(state, x[:chunk], y[:chunk]).compile()
    finish = jax.jit(solve).lower(state).compile()

    def stream() -> jax.Array:
        state = init()
        for first in range(0, len(x), chunk):
            state = step(state, x[first : first + chunk], y[first : first + chunk])
        return finish(state)

    return stream


# --- the targets


def _targets(config: Config, results: list[Result]) -> list[Target]:
    """Set for width 4000 of the whole data set; every other run leaves them open."""
    judged = as_set(config, "widths", "repeats", "patience")
    result = next((result for result in results if judged and result.size == TARGET_WIDTH), None)
    found = {} if result is None else {timing.name: timing for timing in result.timings}
    name = _names(Config())

    def error(key: str) -> float | None:
        return found[name[key]].facts["error"] if found else None

    def faster(key: str) -> float | None:
        return compare(found[name["published"]], found[name[key]]).median if found else None

    at = f"at width {TARGET_WIDTH}"
    return [
        Target(f"error of {name['plain']}, {at}", error("plain"), "<=", 1e-2),
        Target(f"error of {name['compensated']}, {at}", error("compensated"), "<=", 1e-6),
        Target(f"times faster than published, {name['plain']}, {at}", faster("plain"), ">=", 10.0),
        Target(f"times faster than published, {name['compensated']}, {at}", faster("compensated"), ">=", 10.0),
    ]
