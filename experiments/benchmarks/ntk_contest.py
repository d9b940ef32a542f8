"""The contest of tangent kernels, for ``experiments.benchmarks.kernels``: a network of three layers, one output."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.harness import Entry, Race, Result, Target, race, relative_errors
from jaxlab import kernels
from jaxlab.typing import Array

__all__ = ["contest", "ntk"]

ROWS = 2000
WIDTHS = (64, 256, 256, 1)
BUDGET = 300.0  # MB of working memory for any network
BLOCKWISE = "jaxlab empirical_ntk(blockwise)"

Layers = list[tuple[Array, Array]]


def ntk(rows: int = ROWS, *, widths: Sequence[int] = WIDTHS, block: int = 128) -> tuple[Race, dict[str, float]]:
    """The whole kernel of ``rows`` inputs three ways; the dict is filled with MB of memory as entries are prepared."""
    rng = np.random.default_rng(0)
    layers = [
        (
            jnp.asarray(rng.standard_normal((a, b)) * np.sqrt(2 / a), jnp.float32),
            jnp.asarray(0.1 * rng.standard_normal(b), jnp.float32),
        )
        for a, b in itertools.pairwise(widths)
    ]
    x = jnp.asarray(rng.standard_normal((rows, widths[0])), jnp.float32)
    memory: dict[str, float] = {}

    def plain(layers: Layers, x: Array) -> Array:
        """What one would write: all gradients, side by side, and one product."""
        gradients = jax.vmap(jax.grad(lambda p, row: network(p, row[None])[0]), in_axes=(None, 0))(layers, x)
        jacobian = jnp.concatenate([leaf.reshape(rows, -1) for leaf in jax.tree.leaves(gradients)], axis=1)
        return jnp.matmul(jacobian, jacobian.T, precision="highest")

    ways: dict[str, Callable[..., Array]] = {
        "jax.grad, one matrix product": plain,
        BLOCKWISE: functools.partial(kernels.empirical_ntk, network, output=0, method="blockwise", block=block),
        "jaxlab dense_ntk": functools.partial(kernels.dense_ntk, output=0),
    }

    def prepare(name: str) -> Callable[[], Any]:
        compiled = jax.jit(ways[name]).lower(layers, x).compile()
        memory[name] = megabytes(compiled)
        return lambda: compiled(layers, x)

    parameters = sum(leaf.size for leaf in jax.tree.leaves(layers))
    work = f"tangent kernel, {rows} inputs, {parameters} parameters, one output ({4e-6 * rows**2:.3g} MB)"
    return Race(rows, work, [Entry(name, functools.partial(prepare, name)) for name in ways]), memory


def network(layers: Layers, x: Array) -> Array:
    """Fully connected, rectifiers between the layers; one output without an axis."""
    for kernel, bias in layers[:-1]:
        x = jax.nn.relu(x @ kernel + bias)
    return (x @ layers[-1][0] + layers[-1][1])[:, 0]


def megabytes(compiled: Any) -> float:
    """What a program needs besides arguments and result, by the compiler's own account; NaN if it keeps none."""
    analysis = compiled.memory_analysis()
    return float("nan") if analysis is None else analysis.temp_size_in_bytes / 1e6


def contest(
    rows: int = ROWS,
    *,
    widths: Sequence[int] = WIDTHS,
    block: int = 128,
    repeats: int = 5,
    patience: float = 60.0,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[list[Result], list[Target]]:
    """Runs it. The target is left open unless the race has the size that its bound is for."""
    whole, memory = ntk(rows, widths=widths, block=block)
    timings = race(whole, repeats=repeats, patience=patience, say=say)
    exact = np.asarray(timings[0].output, np.float64)
    judged = [
        timing._replace(facts={**relative_errors(timing.output, exact), "MB": memory[timing.name]})
        for timing in timings
    ]
    value = memory[BLOCKWISE] if (rows, tuple(widths)) == (ROWS, WIDTHS) else None
    sentence = f"MB of working memory for the tangent kernel of any network, {ROWS} inputs, one output"
    return [Result(rows, whole.work, judged)], [Target(sentence, value, "<=", BUDGET)]
