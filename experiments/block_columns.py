"""Reversible columns on vectors, the residual network they are compared with, and the memory of their gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import nn
from jaxlab.typing import Array, PyTree

__all__ = ["FNS", "column_memory", "num_params", "residual_init", "run_columns", "run_residual", "stack_init"]

COLUMNS = (4, 16)  # numbers of columns at which their memory is read off
LEVELS = (24, 24, 24)


def level(params: PyTree, below: Array, above: Array | None) -> Array:
    """What comes from below and above is projected, added and refined."""
    mixed = below @ params["down"]
    if above is not None:
        mixed = mixed + above @ params["up"]
    mixed = jax.nn.standardize(mixed, epsilon=1e-5) * params["scale"]
    return mixed + jax.nn.gelu(mixed @ params["wide"]) @ params["narrow"]


FNS = (level,) * len(LEVELS)


def column_init(key: Array, inputs: int) -> tuple[tuple[PyTree, ...], tuple[Array, ...]]:
    """Parameters and factors of one column."""
    params = []
    for place, (one, width) in enumerate(zip(jax.random.split(key, len(LEVELS)), LEVELS, strict=True)):
        below = inputs if place == 0 else LEVELS[place - 1]
        above = LEVELS[place + 1] if place + 1 < len(LEVELS) else 1
        keys = jax.random.split(one, 4)
        draw = lambda key, rows, columns: jax.random.normal(key, (rows, columns)) / rows**0.5  # noqa: E731
        params.append(
            {
                "down": draw(keys[0], below, width),
                "up": draw(keys[1], above, width),
                "scale": jnp.ones(width),
                "wide": draw(keys[2], width, 2 * width),
                "narrow": 0.1 * draw(keys[3], 2 * width, width),
            }
        )
    return tuple(params), tuple(jnp.full(width, 0.5) for width in LEVELS)


def stack_init(key: Array, inputs: int, columns: int) -> PyTree:
    first, rest = jax.random.split(key)
    make = functools.partial(column_init, inputs=inputs)
    return {"first": make(first), "rest": jax.vmap(make)(jax.random.split(rest, columns - 1))}


def run_columns(stack: PyTree, x: Array, *, reversible: bool) -> tuple[Array, ...]:
    """The levels after the last column."""
    features = nn.reversible_column_forward(FNS, *stack["first"], x)
    params, alphas = stack["rest"][0], tuple(nn.clamp_magnitude(alpha) for alpha in stack["rest"][1])
    if reversible:
        return nn.reversible_columns(FNS, params, alphas, x, features)
    column = lambda c, one: (nn.reversible_column_forward(FNS, *one, x, c), None)  # noqa: E731
    return jax.lax.scan(column, features, (params, alphas))[0]


def run_residual(stack: PyTree, x: Array) -> tuple[Array, ...]:
    """A plain residual network: ``stack`` holds one wide layer in front and blocks of two matrices."""
    block = lambda h, one: (h + jax.nn.gelu(jax.nn.standardize(h, epsilon=1e-5) @ one["wide"]) @ one["narrow"], None)  # noqa: E731
    return (jax.lax.scan(block, x @ stack["stem"], stack["blocks"])[0],)


def residual_init(key: Array, inputs: int, size: int, *, blocks: int = 6) -> PyTree:
    """A residual network of about ``size`` parameters."""
    # inputs h + blocks 4 h^2 = size
    width = round((np.sqrt(inputs**2 + 16 * blocks * size) - inputs) / (8 * blocks))
    keys = jax.random.split(key, 3)
    draw = lambda key, *shape: jax.random.normal(key, shape) / shape[-2] ** 0.5  # noqa: E731
    return {
        "stem": draw(keys[0], inputs, width),
        "blocks": {
            "wide": draw(keys[1], blocks, width, 2 * width),
            "narrow": 0.1 * draw(keys[2], blocks, 2 * width, width),
        },
    }


def num_params(tree: PyTree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def column_memory(inputs: int, rows: int, *, reversible: bool) -> dict[str, float]:
    """Scratch memory of the gradient with many columns, relative to that with few."""
    x = jax.ShapeDtypeStruct((rows, inputs), jnp.float32)
    sizes = []
    for number in COLUMNS:
        stack = jax.eval_shape(functools.partial(stack_init, inputs=inputs, columns=number), jax.random.key(0))
        body = functools.partial(run_columns, reversible=reversible)
        loss = lambda stack, x, body=body: sum(jnp.sum(c) for c in body(stack, x))  # noqa: E731
        sizes.append(jax.jit(jax.grad(loss)).lower(stack, x).compile().memory_analysis().temp_size_in_bytes)
    return {"memory_ratio": sizes[-1] / sizes[0], "megabytes": sizes[-1] / 2**20}
