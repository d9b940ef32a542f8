"""How do time and memory of SOFT grow with the number of tokens, against softmax attention and the exact kernel?

Eight heads of width 64, values and gradients by all inputs. SOFT reads through 49 landmarks, which are given. The exact
Gaussian kernel is what it approximates. Memory is the scratch space of the compiled gradient. Softmax attention is
``jax.nn.dot_product_attention`` with queries as keys.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.harness import Entry, Race, Report, Result, Target, as_set, growth, growths, race
from jaxlab import kernels, nn

__all__ = ["QUICK", "Config", "run"]

SOFTMAX, EXACT, SOFT = "softmax attention", "exact Gaussian kernel", "jaxlab softmax_free_attention"


@dataclasses.dataclass(frozen=True)
class Config:
    """What is raced."""

    sizes: tuple[int, ...] = (1024, 4096, 16384)
    """Numbers of tokens."""
    heads: int = 8
    width: int = 64
    landmarks: int = 49
    most_pairs: int = 1 << 27
    """Entries that compare all pairs of tokens are left out where heads and pairs are more than this."""
    repeats: int = 3
    """Runs of every entry."""

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < self.landmarks or min(self.heads, self.width, self.repeats) < 1:
            raise ValueError(f"--sizes must be at least the {self.landmarks} landmarks, got {self.sizes}.")


QUICK = {"sizes": (64, 128), "heads": 2, "width": 8, "landmarks": 16, "repeats": 2}


def run(config: Config, say: Callable[[str], None]) -> Report:
    """Races every size."""
    results, scratch = [], {}
    for size in sorted(set(config.sizes)):
        arrays = inputs(config, size)
        programs = {SOFTMAX: _softmax, EXACT: _exact, SOFT: _soft}
        if config.heads * size**2 > config.most_pairs:
            say(f"{size}: {config.heads} heads of all pairs would not fit, SOFT runs alone")
            programs = {SOFT: _soft}
        compiled = {name: _compile(fn, *arrays) for name, fn in programs.items()}
        memory = {name: one.memory_analysis().temp_size_in_bytes for name, one in compiled.items()}
        scratch[size] = memory
        entries = [Entry(name, functools.partial(functools.partial, one, *arrays)) for name, one in compiled.items()]
        work = f"{config.heads} heads of width {config.width}, {config.landmarks} landmarks, values and gradients"
        timings = race(Race(size, work, entries), repeats=config.repeats, say=say)
        timings = [t._replace(facts={"scratch (MB)": memory[t.name] / 2**20}, output=None) for t in timings]
        results.append(Result(size, work, timings))
    exponents = {name: _memory_exponent(scratch, name) for name in (SOFTMAX, EXACT, SOFT)}
    notes = tuple(f"Memory of {name} ~ tokens^{value:.2f}" for name, value in exponents.items() if np.isfinite(value))
    return Report("tokens", results, _targets(config, results, exponents), notes)


def inputs(config: Config, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries scaled as the paper does, values, and landmarks: means of windows of queries."""
    rng = np.random.default_rng(0)
    shape = (config.heads, size, config.width)
    q = rng.standard_normal(shape, dtype=np.float32) / config.width**0.25
    v = rng.standard_normal(shape, dtype=np.float32)
    window = size // config.landmarks
    means = q[:, : window * config.landmarks].reshape(config.heads, config.landmarks, window, -1).mean(2)
    # Means of windows shrink with the window; a normal layer keeps their length.
    means *= np.linalg.norm(q, axis=-1).mean() / np.linalg.norm(means, axis=-1, keepdims=True)
    return jax.device_put((q, v, means))


def _softmax(q: jax.Array, v: jax.Array, landmarks: jax.Array) -> jax.Array:
    rows, values = (jnp.swapaxes(x, 0, 1) for x in (q, v))  # [tokens, heads, width]
    return jax.nn.dot_product_attention(rows, rows, values, scale=1.0)


def _exact(q: jax.Array, v: jax.Array, landmarks: jax.Array) -> jax.Array:
    return kernels.gaussian_kernel(q, bandwidth=1.0) @ v


def _soft(q: jax.Array, v: jax.Array, landmarks: jax.Array) -> jax.Array:
    return nn.softmax_free_attention(q, v, landmarks)


def _compile(fn: Callable[..., jax.Array], *arrays: jax.Array) -> Any:
    gradient = jax.value_and_grad(lambda *given: jnp.sum(jnp.sin(fn(*given))), argnums=(0, 1, 2))
    return jax.jit(gradient).lower(*arrays).compile()


def _memory_exponent(scratch: dict[int, dict[str, int]], name: str) -> float:
    points = [(size, memory[name]) for size, memory in scratch.items() if name in memory]
    return growth(*zip(*points, strict=True)) if points else float("nan")


def _targets(config: Config, results: list[Result], exponents: dict[str, float]) -> list[Target]:
    """Set for the first configuration; every other run leaves them open."""
    judged = as_set(config, "repeats")
    seconds = growths(results).get(SOFT) if judged else None
    memory = exponents[SOFT] if judged else None
    return [
        Target("the time of SOFT grows linearly: exponent", seconds, "<=", 1.2),
        Target("the memory of SOFT grows linearly: exponent", memory, "<=", 1.1),
    ]
