"""Rows of jaxlab.retrieval: parts that match."""

from jaxlab import retrieval
from tests.laws.row import D, M, N, Row, inputs, mask, normal, uniform

ROWS = {
    "reciprocal_matches": Row(
        retrieval.reciprocal_matches,
        inputs(queries=normal(M, D), keys=normal(N, D), attention=uniform(N), keep=uniform(low=0.6), where=mask(N)),
        batch=("keys", "attention", "where"),
        couples=True,
        bf16=("queries", "keys"),
    ),
}
