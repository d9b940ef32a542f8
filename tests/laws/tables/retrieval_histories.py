"""Rows of jaxlab.retrieval: users by what they have chosen."""

from jaxlab import retrieval
from tests.laws.row import D, M, N, Row, inputs, mask, normal, uniform

ROWS = {
    "history_embedding": Row(
        retrieval.history_embedding,
        inputs(item_vectors=normal(M, D), history_mask=mask(N, M)),
        batch=("history_mask",),
        diff=("item_vectors",),
        bf16=("item_vectors",),
    ),
    "purchase_probability": Row(
        retrieval.purchase_probability,
        inputs(distance=uniform(N, high=2.0), scale=uniform(low=0.5), bias=normal()),
        batch=("distance",),
        diff=("distance", "scale", "bias"),
        bf16=("distance",),
    ),
}
