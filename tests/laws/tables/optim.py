"""Rows of jaxlab.optim."""

import jax.numpy as jnp
import optax

from jaxlab import optim
from tests.laws.row import D, N, Row, inputs, mask, normal, prng


def bowl(params):
    return jnp.sum((params["w"] - 1.0) ** 2) + jnp.sum(jnp.cos(params["b"]))


def loss_per_example(x):
    return jnp.sum(jnp.sin(2.0 * x), axis=-1)


ATTACK = {"loss_fn": loss_per_example, "eps": 0.3, "step": 0.1, "num_iters": 3, "bounds": (-1.0, 1.0)}

ROWS = {
    "minimize": Row(
        optim.minimize,
        inputs(params=lambda rng: {"w": normal(D)(rng), "b": normal(2)(rng)}),
        static={"loss_fn": bowl, "optimizer": optax.sgd(0.1, momentum=0.9), "num_steps": 3},
        diff=("params",),
    ),
    "projected_gradient_attack": Row(
        optim.projected_gradient_attack,
        inputs(x=normal(N, D, scale=0.3), key=prng()),
        static=ATTACK | {"momentum": 0.5},
        batch=("x",),
        diff=("x",),
        bf16=("x",),
        skip={"permute": "the random start is drawn by position in the batch"},
    ),
    "projected_gradient_attack/l2": Row(
        optim.projected_gradient_attack,
        inputs(x=normal(N, D, scale=0.3)),
        static=ATTACK | {"norm": "l2"},
        batch=("x",),
        diff=("x",),
        skip={"key": "no random start in this row"},
    ),
    "fisher_diagonal": Row(
        optim.fisher_diagonal,
        inputs(params=normal(D), batch=normal(N, D), where=mask(N)),
        static={"loss_fn": lambda w, x: jnp.sum(jnp.sin(w * x), axis=-1), "block": 4},
        batch=("batch", "where"),
        couples=True,
        diff=("params",),
    ),
    "fisher_diagonal/batch": Row(
        optim.fisher_diagonal,
        inputs(params=normal(D), batch=normal(N, D), where=mask(N)),
        static={"loss_fn": lambda w, x: jnp.sum(jnp.sin(w * x), axis=-1), "per": "batch"},
        batch=("batch", "where"),
        couples=True,
        diff=("params",),
    ),
}
