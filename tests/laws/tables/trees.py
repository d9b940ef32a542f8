"""Rows of jaxlab.trees."""

from jaxlab import trees
from tests.laws.row import D, N, Row, inputs, normal, uniform


def stacked(rng):
    return {"w": normal(N, D)(rng), "b": normal(N)(rng)}


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
}
