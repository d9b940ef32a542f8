"""Rows of jaxlab.compress.low_rank."""

from jaxlab.compress import low_rank
from tests.laws.row import C, D, N, Row, inputs, normal, prng, uniform


def group(rng):
    """Two changes of rank 3 of a kernel [D, C]."""
    return low_rank.LoRA(normal(2, D, 3)(rng), normal(2, 3, C)(rng))


ROWS = {
    "lora_init": Row(low_rank.lora_init, inputs(key=prng()), static={"d_in": D, "d_out": C, "rank": 2}),
    "lora_delta": Row(
        low_rank.lora_delta,
        inputs(a=normal(N, D, 2), b=normal(N, 2, C), alpha=uniform(low=1.0, high=4.0), rank=uniform(low=1.0, high=4.0)),
        batch=("a", "b"),
        diff=("a", "b", "alpha", "rank"),
        bf16=("a", "b"),
        skip={"zeros": "a rank is positive"},
    ),
    "lora_merge": Row(
        low_rank.lora_merge,
        inputs(weight=normal(D, C), a=normal(D, 2), b=normal(2, C), alpha=uniform(low=1.0, high=4.0)),
        diff=("weight", "a", "b", "alpha"),
        bf16=("weight", "a", "b"),
    ),
    "grouped_lora_init": Row(
        low_rank.grouped_lora_init,
        inputs(key=prng(), weight=normal(D, C)),
        static={"num": 2, "rank": 3},
    ),
    "grouped_lora_apply": Row(
        low_rank.grouped_lora_apply,
        inputs(params=group, weight=normal(D, C), x=normal(N, D)),
        batch=("x",),
        diff=("params", "weight", "x"),
        bf16=("params", "x"),
    ),
    "grouped_lora_merge": Row(
        low_rank.grouped_lora_merge,
        inputs(params=group, weight=normal(D, C)),
        diff=("params", "weight"),
        bf16=("params", "weight"),
    ),
}
