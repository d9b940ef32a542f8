"""Rows of jaxlab.numerics."""

import jax.numpy as jnp

from jaxlab import numerics
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, positive_definite, uniform

ROWS = {
    "normalize": Row(numerics.normalize, inputs(x=normal(N, D)), batch=("x",), diff=("x",), bf16=("x",)),
    "masked_mean": Row(
        numerics.masked_mean,
        inputs(x=normal(N), where=mask(N)),
        batch=("x", "where"),
        couples=True,
        diff=("x",),
        bf16=("x",),
    ),
    "masked_mean/axis": Row(
        numerics.masked_mean,
        inputs(x=normal(N, D), where=mask(N, D)),
        static={"axis": -1},
        batch=("x", "where"),
        diff=("x",),
        bf16=("x",),
    ),
    "segment_mean": Row(
        numerics.segment_mean,
        inputs(x=normal(N, D), segment_ids=integers(N, high=C), where=mask(N)),
        static={"num_segments": C},
        batch=("x", "segment_ids", "where"),
        couples=True,
        diff=("x",),
        bf16=("x",),
    ),
    "solve_spd": Row(
        numerics.solve_spd,
        inputs(matrix=positive_definite(D, D), rhs=normal(D, M), ridge=uniform(low=0.5)),
        diff=("matrix", "rhs"),
        bf16=("matrix", "rhs"),
    ),
    "solve_spd/ridge": Row(
        numerics.solve_spd,
        inputs(matrix=positive_definite(N, D, D), rhs=normal(N, D, M), ridge=uniform(N, low=0.5)),
        batch=("matrix", "rhs", "ridge"),
        diff=("rhs", "ridge"),
    ),
    "straight_through": Row(
        numerics.straight_through,
        inputs(hard=normal(N, D), soft=normal(N, D)),
        batch=("hard", "soft"),
        diff=("soft",),
        bf16=("hard", "soft"),
    ),
    "sinkhorn": Row(
        numerics.sinkhorn,
        inputs(scores=normal(N, C), epsilon=uniform(low=0.5), where=mask(N)),
        static={"num_iters": 3},
        batch=("scores", "where"),
        couples=True,
        diff=("scores",),
        bf16=("scores",),
    ),
    "sinkhorn/marginals": Row(
        numerics.sinkhorn,
        inputs(
            scores=normal(N, C), row_marginal=uniform(N, low=0.1), column_marginal=uniform(C, low=0.1), where=mask(N)
        ),
        static={"epsilon": 0.5},
        batch=("scores", "row_marginal", "where"),
        couples=True,
        diff=("scores",),
    ),
    "gram_spectrum": Row(
        numerics.gram_spectrum, inputs(x=normal(N, D)), batch=("x",), couples=True, diff=("x",), bf16=("x",)
    ),
    "gram_spectrum/centered": Row(
        numerics.gram_spectrum, inputs(x=normal(M, D)), static={"center": True}, diff=("x",), bf16=("x",)
    ),
    "bisect": Row(
        numerics.bisect,
        inputs(low=uniform(N, low=-2.0, high=-1.0), high=uniform(N, low=1.0, high=2.0)),
        static={"fn": jnp.tanh, "num_iters": 20},
        batch=("low", "high"),
        bf16=("low", "high"),
    ),
    "min_max": Row(
        numerics.min_max,
        inputs(x=normal(N), where=mask(N)),
        batch=("x", "where"),
        couples=True,
        diff=("x",),
        bf16=("x",),
    ),
    "min_max/axis": Row(
        numerics.min_max,
        inputs(x=normal(N, D), where=mask(N, D)),
        static={"axis": -1},
        batch=("x", "where"),
        diff=("x",),
        bf16=("x",),
    ),
    "entropy": Row(
        numerics.entropy,
        inputs(logits=normal(N, C), where=mask(N, C)),
        batch=("logits", "where"),
        diff=("logits",),
        bf16=("logits",),
    ),
}
