"""Rows of jaxlab.text."""

import jax.numpy as jnp

from jaxlab import text
from tests.laws.row import C, N, Row, inputs, integers, normal, prng, uniform

DRAW = {
    "make": inputs(key=prng(), logits=normal(N, C)),
    "batch": ("logits",),
    "bf16": ("logits",),
    "skip": {"permute": "tokens are drawn by position in the batch"},
}


def step_fn(state, tokens):
    state = jnp.roll(state, 1, axis=1)
    return state + jnp.cos(tokens)[:, None], state


ROWS = {
    "greedy_decode": Row(
        text.greedy_decode,
        inputs(init=lambda rng: (normal(N, C)(rng), integers(N, high=C)(rng))),
        static={"step_fn": step_fn, "length": 4, "eos": 0},
        batch=("init",),
    ),
    "sample_logits": Row(text.sample_logits, **DRAW),
    "sample_logits/cut": Row(
        text.sample_logits,
        inputs(key=prng(), logits=normal(N, C), temperature=uniform(N, low=0.5), top_p=uniform(N, low=0.5)),
        static={"top_k": 3},
        batch=("logits", "temperature", "top_p"),
        bf16=("logits",),
        skip={"permute": DRAW["skip"]["permute"]},
    ),
}
