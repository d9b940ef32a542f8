"""Rows of jaxlab.nn: attention between examples, blocks that weigh channels and places, blocks that are dropped."""

from jaxlab import nn
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, uniform

H = 4  # width


def dense(inputs, outputs):
    """A spec: a dense layer."""
    return lambda rng: {"kernel": normal(inputs, outputs, scale=0.5)(rng), "bias": normal(outputs)(rng)}


def encoder(rng):
    """A spec: the parameters of an encoder layer."""
    norms = {name: {"scale": uniform(H, low=0.5)(rng), "bias": normal(H)(rng)} for name in ("norm1", "norm2")}
    shapes = {"qkv": (H, 3 * H), "proj": (H, H), "mlp_in": (H, M), "mlp_out": (M, H)}
    return norms | {name: dense(*shape)(rng) for name, shape in shapes.items()}


def excitation(rng):
    """A spec: the parameters of a squeeze-and-excitation."""
    return {"reduce": dense(H, 2)(rng), "expand": dense(2, H)(rng)}


def coordinates(rng):
    """A spec: the parameters of a coordinate attention."""
    return {"reduce": dense(H, M)(rng), "rows": dense(M, H)(rng), "columns": dense(M, H)(rng)}


def fused(rng):
    """A spec: the parameters of both, and of their balance."""
    return {"coordinate": coordinates(rng), "channel": excitation(rng), "balance": normal()(rng)}


BATCH = {"batch": ("x", "where"), "couples": True, "diff": ("params", "x"), "bf16": ("x",), "tol": 1e-4}
MAPS = {"batch": ("x",), "diff": ("params", "x"), "bf16": ("x",)}

ROWS = {
    "batch_former_init": Row(nn.batch_former_init, inputs(key=prng()), static={"width": H, "ff_width": M}),
    "batch_former": Row(
        nn.batch_former,
        inputs(params=encoder, x=normal(N, H), where=mask(N)),
        static={"heads": 2},
        **BATCH,
        skip={"key": "nothing is dropped in this row"},
    ),
    "batch_former/dropout": Row(
        nn.batch_former,
        inputs(params=encoder, x=normal(N, H), key=prng(), dropout=uniform(low=0.3, high=0.6), where=mask(N)),
        static={"heads": 2},
        **BATCH | {"batch": ()},
        skip={"mask": "the dropout is drawn by position in the batch"},
    ),
    "batch_former_tokens": Row(
        nn.batch_former_tokens,
        inputs(params=encoder, x=normal(N, M, H), where=mask(N)),
        static={"heads": 2},
        **BATCH,
        skip={"key": "nothing is dropped in this row"},
    ),
    "batch_former_pair": Row(
        nn.batch_former_pair,
        inputs(params=encoder, x=normal(N, H), labels=integers(N, high=C), where=mask(N)),
        static={"heads": 2},
        **BATCH | {"batch": ()},
        skip={
            "mask": "the result has two rows per example; proofs in tests/nn",
            "key": "nothing is dropped in this row",
        },
    ),
    "squeeze_excitation_init": Row(nn.squeeze_excitation_init, inputs(key=prng()), static={"width": H}),
    "squeeze_excitation": Row(nn.squeeze_excitation, inputs(params=excitation, x=normal(N, M, D, H)), **MAPS),
    "coordinate_attention_init": Row(nn.coordinate_attention_init, inputs(key=prng()), static={"width": H}),
    "coordinate_attention": Row(nn.coordinate_attention, inputs(params=coordinates, x=normal(N, M, D, H)), **MAPS),
    "fused_attention_init": Row(nn.fused_attention_init, inputs(key=prng()), static={"width": H}),
    "fused_attention": Row(nn.fused_attention, inputs(params=fused, x=normal(N, M, D, H)), **MAPS),
    "drop_block": Row(
        nn.drop_block,
        inputs(key=prng(), x=normal(N, M, D, 2), rate=uniform(low=0.2, high=0.4)),
        static={"block_size": 2},
        batch=("x",),
        diff=("x",),
        bf16=("x",),
        skip={"permute": "the blocks are drawn by position in the batch"},
    ),
}
