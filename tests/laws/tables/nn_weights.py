"""Rows of jaxlab.nn: weights that are made from others, and layers that learn on their own."""

import jax.numpy as jnp

from jaxlab import nn
from tests.laws.row import C, D, M, N, Row, inputs, normal, prng, uniform

H = 4


def dense(inputs, outputs):
    """A spec of one layer's parameters."""
    kernel, bias = normal(inputs, outputs, scale=0.5), normal(outputs, scale=0.5)
    return lambda rng: {"kernel": kernel(rng), "bias": bias(rng)}


def small_network(*stages):
    """A spec of networks with one hidden layer."""
    shapes = ((D, H), (H,), (H, C), (C,))
    return lambda rng: nn.SmallMLP(*(normal(*stages, *shape)(rng) for shape in shapes))


def boosted(rng):
    """Three stages."""
    return nn.Boosted(small_network(3)(rng), normal(3)(rng), normal(C)(rng))


NOPROP = {"x": (D, C), "z": (M, C), "fused": (2 * C, C), "head": (C, C)}


def medium(rng):
    """A random physical layer."""
    return nn.PhysicalLayer(normal(D, C)(rng), normal(D, C)(rng), uniform(C, high=6.0)(rng))


MEDIUM = {
    "make": inputs(layer=medium, x=normal(N, D)),
    "batch": ("x",),
    "bf16": ("x",),
}

ROWS = {
    "weight_compander": Row(
        nn.weight_compander,
        inputs(v=normal(N, D), a=uniform(low=0.5), b=uniform(low=0.5)),
        batch=("v",),
        diff=("v", "a", "b"),
        bf16=("v",),
        skip={"zeros": "the width divides: a width of 0 is NaN"},
    ),
    "weight_compander_inverse": Row(
        nn.weight_compander_inverse,
        inputs(w=uniform(N, D, low=-1.2, high=1.2), a=uniform(low=1.0, high=2.0), b=uniform(low=0.5)),
        batch=("w",),
        diff=("w", "a", "b"),
        bf16=("w",),
        skip={"zeros": "a bound of 0 holds no weight: NaN"},
    ),
    "compander_init": Row(
        nn.compander_init,
        inputs(params=dense(M, D), ratio=uniform(low=0.5), headroom=uniform(low=1.0, high=2.0)),
        diff=("params",),
        bf16=("params",),
    ),
    "small_mlp": Row(
        nn.small_mlp,
        inputs(params=small_network(), x=normal(N, D)),
        batch=("x",),
        diff=("params", "x"),
        bf16=("x",),
    ),
    "boosted_prefix": Row(nn.boosted_prefix, inputs(model=boosted), static={"num_units": 2 * H}, diff=("model",)),
    "assemble_boosted": Row(nn.assemble_boosted, inputs(model=boosted, scale=uniform()), diff=("model", "scale")),
    "cayley": Row(nn.cayley, inputs(a=normal(D, D)), diff=("a",), bf16=("a",)),
    "householder_product": Row(nn.householder_product, inputs(v=normal(M, D)), diff=("v",), bf16=("v",)),
    "label_sweep_predict": Row(
        nn.label_sweep_predict,
        inputs(x=normal(N, C)),
        static={"num_classes": C, "goodness_fn": lambda x, labels: jnp.take_along_axis(x, labels[:, None], 1)[:, 0]},
        batch=("x",),
        bf16=("x",),
    ),
    "noprop_block": Row(
        nn.noprop_block,
        inputs(
            params=lambda rng: {name: dense(*shape)(rng) for name, shape in NOPROP.items()},
            x=normal(N, D),
            z=normal(N, M),
        ),
        batch=("x", "z"),
        diff=("params", "x", "z"),
        bf16=("x", "z"),
    ),
    "noprop_block_init": Row(
        nn.noprop_block_init,
        inputs(key=prng()),
        static={"inputs": D, "embedding": C, "width": M, "num_classes": C},
    ),
    "physical_layer_init": Row(nn.physical_layer_init, inputs(key=prng()), static={"inputs": D, "width": M}),
    "physical_response": Row(nn.physical_response, **MEDIUM),
    "physical_response/twin": Row(
        nn.physical_response, **MEDIUM, static={"kind": "cavity", "differentiable": True}, diff=("x",)
    ),
}
