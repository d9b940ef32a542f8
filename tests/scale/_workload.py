"""The state and the stream that the tests of several devices, several processes and killed runs share.

Everything specific to one family of statistics is in this file.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlab import analytic

DIM, CLASSES, ROWS = 12, 3, 203  # ROWS is no multiple of any number of devices
OFFSET = 40.0  # mean of the data, and the shift of the statistics: a psum over devices would multiply it


class State(NamedTuple):
    stats: analytic.ClassStats
    gram: analytic.GramState


def init() -> State:
    shift = np.full(DIM, OFFSET, np.float32)
    return State(
        analytic.class_stats_init(CLASSES, DIM, second=("diag", "shared"), shift=shift),
        analytic.gram_init(DIM, CLASSES, accumulate="compensated"),
    )


def update(state: State, batch: dict[str, jax.Array], where: jax.Array | None = None) -> State:
    x, labels = batch["x"], batch["labels"]
    return State(
        analytic.class_stats_update(state.stats, x, labels, where=where),
        analytic.gram_update(state.gram, x, jax.nn.one_hot(labels, CLASSES), where=where),
    )


def merge(a: State, b: State) -> State:
    return State(analytic.class_stats_merge(a.stats, b.stats), analytic.gram_merge(a.gram, b.gram))


def chunk(index: int, rows: int = ROWS) -> dict[str, np.ndarray]:
    """The index-th piece of the stream, the same in every process."""
    rng = np.random.default_rng(index)
    x = rng.normal(OFFSET, 1.0, (rows, DIM)).astype(np.float32)
    return {"x": x, "labels": rng.integers(0, CLASSES, rows).astype(np.int32)}


def numbers(state: State) -> dict[str, np.ndarray]:
    """What the statistics say, in float64 (two-float words added up)."""
    wide: dict[str, Any] = {
        name: np.asarray(x, np.float64) for name, x in state.stats._asdict().items() if x is not None
    }
    for name in ("gram", "cross"):
        high, low = getattr(state.gram, name), getattr(state.gram, f"{name}_low")
        wide[name] = np.asarray(high, np.float64) + np.asarray(low, np.float64)
    # The Gram matrix is kept as a half H with H + H' = X'X.
    wide["gram"] = wide["gram"] + wide["gram"].T
    return wide


def distance(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """Largest difference, relative to the largest entry of each statistic."""
    assert a.keys() == b.keys()
    return max(float(np.max(np.abs(a[name] - b[name])) / np.max(np.abs(b[name]))) for name in b)


def digest(state: State) -> str:
    """The bits of a state."""
    import hashlib

    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))).hexdigest()
