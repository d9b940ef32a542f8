"""Rows of jaxlab.nn: convolutions of several widths, and reversible columns."""

import jax.numpy as jnp

from jaxlab import nn
from tests.laws.row import D, M, N, Row, inputs, integers, normal, uniform
from tests.laws.tables.nn_weights import H


def level(params, below, above):
    """A level of a reversible column."""
    update = jnp.tanh(below @ params["down"])
    return update if above is None else update + above @ params["up"]


def levels(*columns):
    """A spec of the parameters of two levels, D and H wide."""
    shapes = ({"down": (D, D), "up": (H, D)}, {"down": (D, H)})
    return lambda rng: tuple(
        {name: normal(*columns, *shape, scale=0.5)(rng) for name, shape in one.items()} for one in shapes
    )


def factors(*columns):
    """A spec of the factors of two levels."""
    return lambda rng: tuple(uniform(*columns, width, low=0.5)(rng) for width in (D, H))


def features(rng):
    """Features of two levels."""
    return normal(N, D)(rng), normal(N, H)(rng)


ROWS = {
    "redilate_conv": Row(
        nn.redilate_conv,
        inputs(x=normal(N, M, M, D), kernel=normal(3, 3, D, H), bias=normal(H)),
        static={"factor": 2},
        batch=("x",),
        diff=("x", "kernel", "bias"),
        bf16=("x", "kernel"),
    ),
    "redilate_conv/fraction": Row(
        nn.redilate_conv,
        inputs(x=normal(N, M, M, D), kernel=normal(3, 3, D, H)),
        static={"factor": 1.5, "stride": 2},
        batch=("x",),
        diff=("x", "kernel"),
        bf16=("x", "kernel"),
    ),
    "disperse_kernel": Row(
        nn.disperse_kernel,
        inputs(kernel=normal(3, 3, D, H), matrix=normal(25, 9)),
        diff=("kernel", "matrix"),
        bf16=("kernel", "matrix"),
    ),
    "dispersion_matrix": Row(nn.dispersion_matrix, inputs()),
    "progressive_dilation": Row(
        nn.progressive_dilation,
        inputs(step=integers(N, high=8)),
        static={"factor": 4, "tau": 5},
        batch=("step",),
    ),
    "attention_entropy_scale": Row(
        nn.attention_entropy_scale,
        inputs(n_test=uniform(N, low=2.0, high=99.0), n_train=uniform(N, low=2.0, high=99.0)),
        batch=("n_test", "n_train"),
        bf16=("n_test", "n_train"),
    ),
    "clamp_magnitude": Row(nn.clamp_magnitude, inputs(x=normal(N, D)), batch=("x",), diff=("x",), bf16=("x",)),
    "reversible_column_forward": Row(
        nn.reversible_column_forward,
        inputs(params=levels(), alphas=factors(), x=normal(N, D), features=features),
        static={"fns": (level, level)},
        batch=("x", "features"),
        diff=("params", "alphas", "x", "features"),
    ),
    "reversible_column_inverse": Row(
        nn.reversible_column_inverse,
        inputs(params=levels(), alphas=factors(), x=normal(N, D), features=features),
        static={"fns": (level, level)},
        batch=("x", "features"),
        diff=("params", "alphas", "x", "features"),
        tol=1e-4,
        skip={"zeros": "a factor of 0 cannot be undone: clamp_magnitude"},
    ),
    "reversible_columns": Row(
        nn.reversible_columns,
        inputs(params=levels(2), alphas=factors(2), x=normal(N, D), features=features),
        static={"fns": (level, level)},
        batch=("x", "features"),
        diff=("params", "alphas", "x", "features"),
        tol=1e-4,
        skip={"zeros": "a factor of 0 cannot be undone: clamp_magnitude"},
    ),
}
