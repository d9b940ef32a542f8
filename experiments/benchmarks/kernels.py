"""How fast are kernel measures and the choice of diverse tokens, against vendi-score, dcor and the published loop?

``vendi``: the Vendi score of features, and of a kernel matrix at several orders. ``dcov``: distance covariance of two
samples, and blockwise where the matrix of distances would not fit. ``divprune``: half of the tokens of a sequence,
against numpy taking the minimum over the whole chosen set at every step, as published. ``ntk``: the tangent kernel of a
network, against gradients by jax. All get the same float32 arrays; a jaxlab entry is one compiled program.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from experiments.benchmarks import ntk_contest
from experiments.benchmarks.harness import (
    Entry,
    Found,
    Race,
    Report,
    Result,
    Say,
    Target,
    Timing,
    as_set,
    check_contests,
    compare,
    contests,
    race,
)
from jaxlab import metrics, selection

__all__ = ["CONTESTS", "QUICK", "Config", "run"]

CONTESTS = ("vendi", "dcov", "divprune", "ntk")


@dataclasses.dataclass(frozen=True)
class Config:
    """What is raced."""

    contests: tuple[str, ...] = CONTESTS
    """Which contests; vendi needs the package vendi-score, dcov needs dcor."""
    samples: int = 2000
    """Members of the sample whose Vendi score is taken."""
    dim: int = 128
    """Width of its features."""
    many_samples: int = 20_000
    """Members of a larger one, by features only."""
    rows: int = 2000
    """Rows of both samples of the distance covariance."""
    columns: int = 10
    """Width of both; of single columns dcor sorts instead of comparing pairs."""
    many_rows: int = 50_000
    """Rows of larger ones, taken blockwise."""
    block: int = 256
    """Rows of a block."""
    tokens: int = 2880
    """Tokens to choose half of."""
    width: int = 4096
    """Width of a token."""
    inputs: int = 2000
    """Inputs of the tangent kernel."""
    repeats: int = 5
    """Runs of every entry."""
    patience: float = 60.0
    """An entry that has run for so many seconds is not run again."""

    def __post_init__(self) -> None:
        check_contests(self.contests, CONTESTS)
        sizes = (self.samples, self.many_samples, self.rows, self.many_rows // 2, self.tokens, self.inputs)
        if min(sizes) < 4 or min(self.dim, self.columns, self.block, self.width, self.repeats) < 1:
            raise ValueError("All sizes must be positive, and those that count rows or tokens at least 4.")


QUICK = {
    "samples": 60,
    "dim": 8,
    "many_samples": 200,
    "rows": 50,
    "columns": 2,
    "many_rows": 400,
    "block": 32,
    "tokens": 40,
    "width": 8,
    "inputs": 40,
    "repeats": 2,
}


def run(config: Config, say: Say) -> Report:
    """Runs the contests, each with its own peer."""
    held: Mapping[str, Callable[[Config, Say], Found]] = {
        "vendi": _vendi,
        "dcov": _dcov,
        "divprune": _divprune,
        "ntk": _ntk,
    }
    results, targets = contests(held, config, say)
    notes = (
        "error: relative, of the number or of the share of tokens that the peer keeps too, against the peer's",
        "A larger sample has no peer where the peer would compare all pairs; MB: what the program works in.",
    )
    return Report("rows", results, targets, notes)


def features(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """Rows of a hundred kinds, spread about the mean of their kind."""
    rng = np.random.default_rng(seed)
    kinds = rng.standard_normal((100, dim))
    return (kinds[rng.integers(100, size=count)] + 0.5 * rng.standard_normal((count, dim))).astype(np.float32)


def _compiled(fn: Callable[..., Any], *arrays: Any) -> Callable[[], Any]:
    program = jax.jit(fn).lower(*arrays).compile()
    placed = [jax.device_put(array) for array in arrays]
    return lambda: program(*placed)


def _races(config: Config, size: int, work: str, entries: list[Entry], say: Say) -> dict[str, Timing]:
    contest = Race(size, work, entries)
    timings = race(contest, repeats=config.repeats, patience=config.patience, say=say)
    return {timing.name: timing for timing in timings}


def _with_errors(timings: Mapping[str, Timing], peer: str) -> list[Timing]:
    """Facts: how far every number lies from the peer's of the same order."""
    exact = float(timings[peer].output)
    return [t._replace(facts={"error": abs(float(t.output) / exact - 1)}) for t in timings.values()]


def _target(config: Config, sentence: str, value: float, op: str, bound: float) -> Target:
    return Target(sentence, value if as_set(config, "contests", "repeats", "patience") else None, op, bound)


# --- Vendi score


def _vendi(config: Config, say: Say) -> Found:
    from vendi_score import vendi as peer

    dual, by_kernel, ours = "vendi-score, dual", "vendi-score, kernel", "jaxlab, features"
    count, many = config.samples, config.many_samples
    x, larger = features(count, config.dim), features(many, config.dim)
    score = metrics.vendi_score_from_embeddings
    small = _races(
        config,
        count,
        f"Vendi score of {count} features of width {config.dim}",
        [
            Entry(dual, lambda: functools.partial(peer.score_dual, x)),
            Entry(by_kernel, lambda: functools.partial(peer.score_X, x)),
            Entry(ours, lambda: _compiled(score, x)),
        ],
        say,
    )
    entries = [
        Entry(dual, lambda: functools.partial(peer.score_dual, larger)),
        Entry(ours, lambda: _compiled(score, larger)),
    ]
    large = _races(config, many, f"Vendi score of {many} features of width {config.dim}", entries, say)
    orders, order_targets = _orders(config, peer, x, say)
    results = [
        Result(count, f"Vendi score of {count} features of width {config.dim}", _with_errors(small, dual)),
        Result(many, f"Vendi score of {many} features of width {config.dim}", _with_errors(large, dual)),
        orders,
    ]
    targets = [
        _target(config, f"times faster than {dual}", compare(small[dual], small[ours]).median, ">=", 4.0),
        _target(config, f"times faster than {by_kernel}", compare(small[by_kernel], small[ours]).median, ">=", 100.0),
        _target(config, f"seconds for {many} features", large[ours].median, "<=", 1.0),
    ]
    return results, targets + order_targets


def _orders(config: Config, peer: Any, x: np.ndarray, say: Say) -> tuple[Result, list[Target]]:
    """A Gaussian kernel matrix; the peer's time does not depend on the order."""
    squares = np.sum(x**2, axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0)
    kernel = np.exp(-distances / np.median(distances))
    np.fill_diagonal(kernel, 1.0)
    kernel = (kernel + kernel.T) / 2
    names = {1: "jaxlab, order 1", 2: "jaxlab, order 2", math.inf: "jaxlab, order inf"}
    whole = "vendi-score, order 1"
    entries = [
        Entry(whole, lambda: functools.partial(peer.score_K, kernel)),
        *(
            Entry(name, functools.partial(_compiled, functools.partial(metrics.vendi_score, q=q), kernel))
            for q, name in names.items()
        ),
    ]
    work = f"Vendi score of a kernel matrix of {len(x)} x {len(x)}"
    timings = _races(config, len(x), work, entries, say)
    exact = {q: float(peer.score_K(kernel.astype(np.float64), q="inf" if math.isinf(q) else q)) for q in names}
    judged = [timings[whole]]
    for q, name in names.items():
        judged.append(timings[name]._replace(facts={"error": abs(float(timings[name].output) / exact[q] - 1)}))
    ratio = {q: compare(timings[whole], timings[name]).median for q, name in names.items()}
    targets = [
        _target(config, "times faster than vendi-score on a kernel matrix, order 1", ratio[1], ">=", 1.0),
        _target(config, "times faster than all eigenvalues, order 2", ratio[2], ">=", 20.0),
        _target(config, "times faster than all eigenvalues, order inf", ratio[math.inf], ">=", 20.0),
    ]
    return Result(len(x), work, judged), targets


# --- distance covariance


def _dcov(config: Config, say: Say) -> Found:
    import dcor

    def samples(count: int) -> tuple[np.ndarray, np.ndarray]:
        x, noise = features(count, config.columns), features(count, config.columns, seed=1)
        return x, (np.sin(x) + 0.5 * noise).astype(np.float32)

    whole = metrics.distance_covariance
    blockwise = functools.partial(metrics.distance_covariance, block=config.block)
    peer, ours, blocks = "dcor", "jaxlab", "jaxlab, blockwise"
    x, y = samples(config.rows)
    work = f"distance covariance of two samples, {config.rows} x {config.columns}"
    entries = [
        Entry(peer, lambda: functools.partial(dcor.distance_covariance_sqr, x, y)),
        Entry(ours, lambda: _compiled(whole, x, y)),
        Entry(blocks, lambda: _compiled(blockwise, x, y)),
    ]
    timings = _races(config, config.rows, work, entries, say)
    many = config.many_rows
    larger = samples(many)
    large = _races(
        config,
        many,
        work,
        [Entry(blocks, lambda: _compiled(blockwise, *larger), warmup=False)],
        say,
    )
    memory = {count: _working_memory(blockwise, *samples(count)) for count in (many // 2, many)}
    facts = {"MB": memory[many] / 1e6, "MB for half the rows": memory[many // 2] / 1e6}
    results = [
        Result(config.rows, work, _with_errors(timings, peer)),
        Result(many, f"the same blockwise, {many} x {config.columns}", list(large.values()), facts),
    ]
    targets = [
        _target(config, f"times faster than {peer}", compare(timings[peer], timings[ours]).median, ">=", 20.0),
        _target(config, "times the memory for twice the rows", memory[many] / max(memory[many // 2], 1), "<=", 2.2),
    ]
    return results, targets


def _working_memory(fn: Callable[..., Any], *arrays: np.ndarray) -> float:
    """Bytes that a compiled program needs besides its inputs; NaN where the backend does not say."""
    analysis = jax.jit(fn).lower(*arrays).compile().memory_analysis()
    return math.nan if analysis is None else float(analysis.temp_size_in_bytes)


# --- diverse tokens


def published_choice(tokens: np.ndarray, keep: int) -> np.ndarray:
    """The published loop in numpy: the minimum over everything chosen so far, again at every step."""
    unit = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    distances = 1.0 - unit @ unit.T
    chosen = [int(np.argmax(np.partition(distances, 1, axis=0)[1]))]
    for _ in range(keep - 1):
        nearest = distances[chosen].min(axis=0)
        nearest[chosen] = -np.inf
        chosen.append(int(np.argmax(nearest)))
    return np.sort(chosen)


def _divprune(config: Config, say: Say) -> Found:
    tokens, keep = features(config.tokens, config.width), config.tokens // 2
    peer, ours = "numpy, published loop", "jaxlab, divprune"
    work = f"{keep} of {config.tokens} tokens of width {config.width}"
    entries = [
        Entry(peer, lambda: functools.partial(published_choice, tokens, keep)),
        Entry(ours, lambda: _compiled(lambda x: selection.divprune_tokens(x, keep=keep).index, tokens)),
    ]
    timings = _races(config, config.tokens, work, entries, say)
    shared = len(np.intersect1d(timings[peer].output, np.asarray(timings[ours].output))) / keep
    judged = [timings[peer], timings[ours]._replace(facts={"error": 1 - shared})]
    faster = compare(timings[peer], timings[ours]).median
    return [Result(config.tokens, work, judged)], [
        _target(config, "times faster than the published loop", faster, ">=", 4.0)
    ]


# --- tangent kernel


def _ntk(config: Config, say: Say) -> Found:
    return ntk_contest.contest(config.inputs, repeats=config.repeats, patience=config.patience, say=say)
