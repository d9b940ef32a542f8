"""Rows of jaxlab.optim: inputs that carry another example's features."""

import jax.numpy as jnp

from jaxlab import optim
from tests.laws.row import D, N, Row, inputs, uniform


def features(x):
    """Two features per example."""
    return jnp.stack([jnp.sin(x).sum(-1), (x**2).sum(-1)], axis=-1)


ROWS = {
    "distilled_features": Row(
        optim.distilled_features,
        inputs(source=uniform(N, D), target=uniform(N, D)),
        static={"feature_fn": features, "num_iters": 3, "eps": 0.1, "step": 0.05},
        batch=("source", "target"),
        diff=("source",),
    ),
}
