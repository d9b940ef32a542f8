"""How fast are candidates scored without training, all in one program, against a loop over candidates?

Dense networks on digits whose depth and widths differ, each by SNIP, SynFlow, jacobian covariance and NASWOT. In the
loop every candidate has its own shapes and so its own program; together they are masks on one largest network, scored
some at a time. Compiling is part of the work of both: every run compiles anew. The loop is run on a few candidates and
its seconds are those of all at the same pace.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import data
from experiments.benchmarks.harness import Entry, Race, Report, Result, Target, Timing, as_set, compare, race
from jaxlab import nas

__all__ = ["QUICK", "Config", "run"]

WIDTH, DEPTH, CLASSES = 64, 5, 10
NAMES = ("snip", "synflow", "jacobian_covariance", "naswot")
LOOP, TOGETHER = "a loop over candidates, own shapes", "jaxlab, masks in one program"


@dataclasses.dataclass(frozen=True)
class Config:
    """What is raced."""

    candidates: int = 1000
    loop_candidates: int = 5
    """How many of them the loop really scores."""
    rows: int = 32
    """Rows of digits that a score sees."""
    block: int = 50
    """Candidates that the one program holds at a time."""
    repeats: int = 3
    """Runs of every entry."""

    def __post_init__(self) -> None:
        if not 1 <= self.loop_candidates <= self.candidates:
            raise ValueError(
                f"--loop-candidates must lie in [1, candidates], got {self.loop_candidates} of {self.candidates}."
            )
        if self.rows < 2 or self.block < 1 or self.repeats < 1:
            raise ValueError(f"--rows must be at least 2, --block and --repeats 1, got {self.rows}, {self.block}.")


QUICK = {"candidates": 12, "loop_candidates": 2, "block": 4, "repeats": 2}


class Space(NamedTuple):
    """The candidates: widths int [A, DEPTH] of their hidden layers, 0 where there is none; the rows to score on."""

    widths: np.ndarray
    x: np.ndarray
    y: np.ndarray


def run(config: Config, say: Callable[[str], None]) -> Report:
    """Races the two ways."""
    space = make_space(config)
    work = f"{config.candidates} networks of up to {DEPTH} layers of {WIDTH} units, {config.rows} rows, 4 scores each"
    entries = [
        Entry(LOOP, lambda: functools.partial(_loop, config, space), warmup=False),
        Entry(TOGETHER, lambda: functools.partial(_together, config, space), warmup=False),
    ]
    loop, together = race(Race(config.candidates, work, entries), repeats=config.repeats, say=say)
    apart = _gap(loop.output, {name: score[: config.loop_candidates] for name, score in together.output.items()})
    share = config.candidates / config.loop_candidates
    timings = [
        _paced(loop._replace(seconds=tuple(share * seconds for seconds in loop.seconds)), config),
        _paced(together, config),
    ]
    notes = (
        f"The loop scored {config.loop_candidates} candidates; its seconds are {share:g} times what that took.",
        "apart: the largest difference of the two ways' scores of a candidate, relative to the size of the score",
    )
    result = Result(config.candidates, work, timings, {"apart": apart})
    return Report("candidates", [result], _targets(config, timings), notes)


def make_space(config: Config) -> Space:
    """Random candidates, the same in every run."""
    rng = np.random.default_rng(0)
    widths = 8 * rng.integers(1, WIDTH // 8 + 1, (config.candidates, DEPTH))
    depth = rng.integers(1, DEPTH + 1, config.candidates)
    digits = data.load("digits")
    rows = rng.choice(len(digits.x), config.rows, replace=False)
    pixels = digits.x.reshape(len(digits.x), -1)[rows]
    return Space(np.where(np.arange(DEPTH) < depth[:, None], widths, 0).astype(np.int32), pixels, digits.y[rows])


# --- one network, written once for both ways


def _score(x: jax.Array, y: jax.Array, params: Any, layer: Callable[..., Any], units: Any = None) -> dict[str, Any]:
    """The four scores; ``layer(params, i, h) -> (h, pre-activations)``."""

    def forward(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        h, before = x, []
        for i in range(len(params) - 1):
            h, own = layer(params, i, h)
            before.append(own)
        return h @ params[-1], jnp.concatenate(before, axis=1)

    def logits(params: Any, x: jax.Array) -> jax.Array:
        return forward(params, x)[0]

    return {
        "snip": nas.saliency_scores(logits, params, x, y, kinds=("snip",))["snip"],
        "synflow": nas.log_synflow(logits, params, x.shape[1:]),
        "jacobian_covariance": nas.jacobian_covariance(logits, params, x),
        "naswot": nas.activation_code_logdet(forward(params, x)[1], unit_where=units),
    }


def _noise(number: jax.Array, inputs: int) -> list[jax.Array]:
    """Standard normal weights of the largest network; candidates hold the first rows and columns of them."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), number), DEPTH + 1)
    shapes = [(inputs, WIDTH), *[(WIDTH, WIDTH)] * (DEPTH - 1), (WIDTH, CLASSES)]
    return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


# --- the two ways


def _loop(config: Config, space: Space) -> dict[str, np.ndarray]:
    """Candidate by candidate: a program for its shapes, compiled and run once."""
    noise = jax.jit(lambda number: _noise(number, space.x.shape[1]))

    def dense(params: Any, i: int, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        before = h @ params[i]
        return jax.nn.relu(before), before

    found = []
    for number, widths in enumerate(space.widths[: config.loop_candidates]):
        full = jax.device_get(noise(number))  # cut on the host, where a new shape costs nothing
        sizes = [space.x.shape[1], *(int(width) for width in widths if width)]
        cut = [
            kernel[: sizes[i], : sizes[i + 1]] / np.sqrt(sizes[i]) for i, kernel in enumerate(full[: len(sizes) - 1])
        ]
        params = [*cut, full[-1][: sizes[-1]] / np.sqrt(sizes[-1])]
        score = jax.jit(lambda params, x, y: _score(x, y, params, dense))
        found.append(jax.device_get(score(params, space.x, space.y)))
    return {name: np.array([one[name] for one in found]) for name in NAMES}


def _together(config: Config, space: Space) -> dict[str, np.ndarray]:
    """All candidates as masks, in one program."""
    inputs = space.x.shape[1]

    def one(candidate: tuple[jax.Array, jax.Array], x: jax.Array, y: jax.Array) -> dict[str, Any]:
        number, widths = candidate
        units = jnp.arange(WIDTH) < widths[:, None]
        exists = widths > 0
        # What feeds a layer is the last layer before it that exists: layers are missing at the end only.
        last = jnp.max(jnp.where(jnp.arange(DEPTH) == jnp.sum(exists) - 1, widths, 0))
        before = jnp.concatenate([jnp.array([inputs]), widths[:-1], last[None]])
        columns = [*units, jnp.ones(CLASSES, bool)]
        params = [
            jnp.where((jnp.arange(len(kernel)) < rows)[:, None] & mask, kernel / jnp.sqrt(jnp.maximum(rows, 1)), 0.0)
            for kernel, rows, mask in zip(_noise(number, inputs), before, columns, strict=True)
        ]

        def masked(params: Any, i: int, h: jax.Array) -> tuple[jax.Array, jax.Array]:
            own = h @ params[i]
            return (jax.nn.relu(own) if i == 0 else jnp.where(exists[i], jax.nn.relu(own), h)), own

        return _score(x, y, params, masked, units.reshape(-1))

    def program(widths: jax.Array, x: jax.Array, y: jax.Array) -> dict[str, Any]:
        candidates = (jnp.arange(len(widths)), widths)
        return jax.lax.map(lambda candidate: one(candidate, x, y), candidates, batch_size=config.block)

    compiled = jax.jit(program).lower(*space).compile()
    return jax.device_get(compiled(*space))


# --- what came out


def _gap(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> float:
    """Largest relative difference; where both say minus infinity there is none."""
    gaps = []
    for name in NAMES:
        a, b = ours[name].astype(float), np.asarray(theirs[name], float)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            gaps.append(np.max(np.where(same, 0.0, np.abs(a - b) / np.maximum(np.abs(a), 1.0))))
    return float(np.max(gaps))


def _paced(timing: Timing, config: Config) -> Timing:
    return timing._replace(facts={"ms a candidate": 1e3 * timing.median / config.candidates})


def _targets(config: Config, timings: list[Timing]) -> list[Target]:
    """Set for the first configuration; every other run leaves it open."""
    judged = as_set(config, "repeats", "loop_candidates")
    faster = compare(*timings).median if judged else None
    return [Target("times faster per candidate than the loop, compiling included", faster, ">=", 20.0)]
