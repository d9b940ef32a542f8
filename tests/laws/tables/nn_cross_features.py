"""Rows of jaxlab.nn: networks that multiply fields with each other."""

from jaxlab import nn
from tests.laws.row import M, N, Row, inputs, normal, prng, uniform

WIDTH = 4


def layer(masked=True):
    """A spec of one cross layer."""
    half = WIDTH // 2
    kernel, bias = normal(WIDTH, half if masked else WIDTH, scale=0.5), uniform(WIDTH)
    scale, offset = uniform(half, low=0.5), normal(half, scale=0.1)
    norm = lambda rng: {"norm": {"scale": scale(rng), "bias": offset(rng)}} if masked else {}  # noqa: E731
    return lambda rng: {"kernel": kernel(rng), "bias": bias(rng), **norm(rng)}


def network(masked=True):
    """A spec of a cross network of two layers."""
    one, kernel, bias = layer(masked), normal(WIDTH, 1), normal(1)
    return lambda rng: {"layers": (one(rng), one(rng)), "head": {"kernel": kernel(rng), "bias": bias(rng)}}


def fused(rng):
    """Parameters of both networks."""
    return {"deep": network()(rng), "shallow": network()(rng)}


# The gradient of a layer normalisation is steep where the two entries of a half are nearly equal.
CROSS = {"batch": ("x",), "diff": ("params", "x"), "bf16": ("x",), "tol": 1e-4}

ROWS = {
    "self_mask": Row(nn.self_mask, inputs(h=normal(N, M)), batch=("h",), diff=("h",), bf16=("h",), tol=1e-4),
    "cross_network_init": Row(nn.cross_network_init, inputs(key=prng()), static={"dim": WIDTH, "depth": 2}),
    "cross_network_init/plain": Row(
        nn.cross_network_init, inputs(key=prng()), static={"dim": WIDTH, "depth": 2, "masked": False}
    ),
    "exponential_cross_layer": Row(nn.exponential_cross_layer, inputs(params=layer(), x=normal(N, WIDTH)), **CROSS),
    "linear_cross_layer": Row(
        nn.linear_cross_layer,
        inputs(params=layer(), x=normal(N, WIDTH), first=normal(N, WIDTH)),
        batch=("x", "first"),
        diff=("params", "x", "first"),
        bf16=("x", "first"),
        tol=1e-4,
    ),
    "exponential_cross_network": Row(
        nn.exponential_cross_network, inputs(params=network(), x=normal(N, WIDTH)), **CROSS
    ),
    "linear_cross_network": Row(nn.linear_cross_network, inputs(params=network(), x=normal(N, WIDTH)), **CROSS),
    "cross_network_v2": Row(nn.cross_network_v2, inputs(params=network(masked=False), x=normal(N, WIDTH)), **CROSS),
    "fusing_cross_network": Row(nn.fusing_cross_network, inputs(params=fused, x=normal(N, WIDTH)), **CROSS),
    "split_heads": Row(
        nn.split_heads,
        inputs(embeddings=normal(N, M, 8)),
        static={"num_heads": 2},
        batch=("embeddings",),
        diff=("embeddings",),
        bf16=("embeddings",),
    ),
}
