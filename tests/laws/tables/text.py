"""Rows of jaxlab.text."""

import jax.numpy as jnp

from jaxlab import text
from tests.laws.row import C, N, Row, inputs, integers, mask, normal, prng, uniform

DRAW = {
    "make": inputs(key=prng(), logits=normal(N, C)),
    "batch": ("logits",),
    "bf16": ("logits",),
    "skip": {"permute": "tokens are drawn by position in the batch"},
}


def step_fn(state, tokens):
    state = jnp.roll(state, 1, axis=1)
    return state + jnp.cos(tokens)[:, None], state


def some(length):
    return lambda rng: rng.random((N, length)) < 0.7


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

ROWS |= {
    "ngram_model": Row(
        text.ngram_model,
        inputs(counts=integers(N, C, high=9), smoothing=uniform(low=0.1)),
        batch=("counts",),
    ),
    "ngram_log_prob": Row(
        text.ngram_log_prob,
        inputs(log_probs=normal(C, C), tokens=integers(N, 5, high=C), where=some(5)),
        static={"start": 1},
        batch=("tokens", "where"),
        diff=("log_probs",),
        bf16=("log_probs",),
    ),
    "tag_set_similarity": Row(
        text.tag_set_similarity,
        inputs(embeddings=normal(3, 4, 5), where=mask(3, 4)),
        static={"kind": "best"},
        bf16=("embeddings",),
        skip={"mask": "the result is a matrix of the items: in the proofs"},
    ),
    "tag_set_similarity/mean": Row(
        text.tag_set_similarity,
        inputs(embeddings=normal(3, 4, 5), where=mask(3, 4)),
        diff=("embeddings",),
        bf16=("embeddings",),
        skip={"mask": "the result is a matrix of the items: in the proofs"},
    ),
    "lcs_length": Row(
        text.lcs_length,
        inputs(a=integers(N, 5, high=3), b=integers(N, 4, high=3), where_a=some(5), where_b=some(4)),
        batch=("a", "b", "where_a", "where_b"),
    ),
    "rouge_l": Row(
        text.rouge_l,
        inputs(candidate=integers(N, 5, high=3), reference=integers(N, 4, high=3), where_a=some(5), where_b=some(4)),
        batch=("candidate", "reference", "where_a", "where_b"),
    ),
}
