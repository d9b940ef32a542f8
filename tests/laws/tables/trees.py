"""Rows of jaxlab.trees."""

import numpy as np

from jaxlab import trees
from tests.laws.row import D, M, N, Row, inputs, mask, normal, prng, uniform


def stacked(rng):
    return {"w": normal(N, D)(rng), "b": normal(N)(rng)}


def buffer(rng):
    """Full after the first items that come."""
    return trees.buffer_add(trees.buffer_init(M, {"x": np.zeros(D, np.float32)}), {"x": normal(M - 1, D)(rng)})


def items(rng):
    return {"x": normal(N, D)(rng)}


IN_ORDER = {"permute": "a later item is newer"}

ROWS = {
    "average": Row(
        trees.average,
        inputs(stacked=stacked, weights=uniform(N)),
        batch=("stacked", "weights"),
        couples=True,
        diff=("stacked", "weights"),
        bf16=("stacked",),
    ),
    "average/unweighted": Row(
        trees.average, inputs(stacked=stacked), batch=("stacked",), couples=True, diff=("stacked",)
    ),
    "buffer_init": Row(trees.buffer_init, inputs(example=lambda rng: {"x": normal(D)(rng)}), static={"capacity": M}),
    "buffer_filled": Row(trees.buffer_filled, inputs(state=buffer)),
    "buffer_add": Row(
        trees.buffer_add,
        inputs(state=buffer, items=items, where=mask(N)),
        batch=("items", "where"),
        couples=True,
        diff=("items",),
        bf16=("items",),
        skip=IN_ORDER | {"key": "a ring draws nothing"},
    ),
    "buffer_add/reservoir": Row(
        trees.buffer_add,
        inputs(state=buffer, items=items, where=mask(N), key=prng()),
        static={"mode": "reservoir"},
        batch=("items", "where"),
        couples=True,
        skip=IN_ORDER,
    ),
    "buffer_sample": Row(
        trees.buffer_sample, inputs(state=buffer, key=prng(), weights=uniform(M)), static={"n": 4}, bf16=("weights",)
    ),
    "path_mask": Row(
        trees.path_mask, inputs(params=stacked), static={"predicate": lambda path, leaf: path == "w" and leaf.ndim == 2}
    ),
}
