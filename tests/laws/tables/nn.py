"""Rows of jaxlab.nn."""

from jaxlab import nn
from tests.laws.row import D, M, N, Row, inputs, integers, normal, prng, uniform

H = 4


def dense(inputs, outputs):
    """A spec of one layer's parameters."""
    kernel, bias = normal(inputs, outputs, scale=0.5), normal(outputs, scale=0.5)
    return lambda rng: {"kernel": kernel(rng), "bias": bias(rng)}


def adapter(**layers):
    """A spec of an adapter with one condition, opened: its last layer is not zero."""
    scale = {"first": dense(H, 4 * H), "second": dense(4 * H, H)}
    return lambda rng: {
        "scale": {name: layer(rng) for name, layer in scale.items()},
        "conditions": {"condition0": dense(D, H)(rng)},
        **{name: layer(rng) for name, layer in layers.items()},
    }


ROWS: dict = {
    "sinusoidal_embedding": Row(
        nn.sinusoidal_embedding,
        inputs(t=normal(N)),
        static={"dim": 6},
        batch=("t",),
        diff=("t",),
        bf16=("t",),
    ),
    "sinusoidal_embedding/positions": Row(
        nn.sinusoidal_embedding, inputs(t=integers(N, high=50)), static={"dim": 6}, batch=("t",)
    ),
    "fourier_features": Row(
        nn.fourier_features,
        inputs(x=normal(N, D), frequencies=normal(D, M)),
        batch=("x",),
        diff=("x", "frequencies"),
        bf16=("x",),
    ),
    "offset_adapter_init": Row(nn.offset_adapter_init, inputs(key=prng()), static={"dim": D, "hidden": H}),
    "offset_adapter": Row(
        nn.offset_adapter,
        inputs(
            params=adapter(hidden=dense(H, H), out=dense(H, D)),
            scale=uniform(N, low=1.0, high=6.0),
            conditions=lambda rng: [normal(N, D)(rng)],
        ),
        static={"multiplier": 1.0},
        batch=("scale", "conditions"),
        diff=("params", "scale", "conditions"),
        bf16=("conditions",),
    ),
    "cross_attention_adapter_init": Row(
        nn.cross_attention_adapter_init, inputs(key=prng()), static={"dim": D, "hidden": H}
    ),
    "cross_attention_adapter": Row(
        nn.cross_attention_adapter,
        inputs(
            params=adapter(query=dense(D, H), key=dense(H, H), value=dense(H, H), out=dense(H, D)),
            x=normal(N, M, D),
            scale=uniform(N, low=1.0, high=6.0),
            conditions=lambda rng: [normal(N, M, D)(rng)],
        ),
        static={"multiplier": 1.0},
        batch=("x", "scale", "conditions"),
        diff=("params", "x", "scale"),
        bf16=("x",),
    ),
    "gated_linear_attention_step": Row(
        nn.gated_linear_attention_step,
        inputs(
            q=normal(N, M, D),
            k=normal(N, M, D),
            v=normal(N, M, H),
            gate=uniform(N, M, low=-1.0),
            state=normal(N, D, H),
        ),
        batch=("q", "k", "v", "gate", "state"),
        diff=("q", "k", "v", "gate", "state"),
        bf16=("q", "k", "v", "gate"),
    ),
    "hybrid_chunk_attention": Row(
        nn.hybrid_chunk_attention,
        inputs(
            q=normal(N, 2, 3, M, D),
            k=normal(N, 2, 3, M, D),
            v=normal(N, 2, 3, M, H),
            gate=uniform(N, 2, 3, M, low=-1.0),
            state=normal(N, 2, D, H),
        ),
        batch=("q", "k", "v", "gate", "state"),
        diff=("q", "k", "v", "gate", "state"),
        bf16=("q", "k", "v", "gate"),
    ),
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
    "affine_adaptor": Row(
        nn.affine_adaptor,
        inputs(params=lambda rng: {"scale": normal(D)(rng), "bias": normal(D)(rng)}, w=normal(N, D)),
        batch=("w",),
        diff=("params", "w"),
        bf16=("w",),
    ),
}
