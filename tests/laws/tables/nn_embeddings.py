"""Rows of jaxlab.nn: embeddings and mixtures of inputs, and examples in context."""

import jax.numpy as jnp
import numpy as np

from jaxlab import nn
from tests.laws.row import C, D, M, N, Row, generator, inputs, integers, mask, normal, prng, uniform


def equations(key):
    """Equations over two elements that have a solution."""
    rng = generator(key)
    matrix = rng.permuted(np.arange(N * D).reshape(N, D) % 2 == 0, axis=0)
    return {"matrix": matrix, "rhs": (matrix & (rng.random(D) < 0.5)).sum(1) % 2 == 1, "where": mask(N)(rng)}


SIGNS = inputs(
    x=lambda rng: rng.choice([-1.0, 1.0], (M, D)).astype(np.float32),
    y=lambda rng: rng.choice([-1.0, 1.0], M).astype(np.float32),
)

ROWS = {
    "embed_label": Row(
        nn.embed_label,
        inputs(x=normal(N, D), labels=integers(N, high=M)),
        static={"num_classes": M},
        batch=("x", "labels"),
        diff=("x",),
        bf16=("x",),
    ),
    "sinusoidal_embedding": Row(
        nn.sinusoidal_embedding,
        inputs(t=normal(N)),
        static={"dim": 6},
        batch=("t",),
        diff=("t",),
        bf16=("t",),
    ),
    "sinusoidal_embedding/interleaved": Row(
        nn.sinusoidal_embedding,
        inputs(t=normal(N, D)),
        static={"dim": 6, "interleaved": True},
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
    "mixup": Row(nn.mixup, inputs(key=prng(), x=normal(N, D), alpha=uniform(low=0.5)), diff=("x",), bf16=("x",)),
    "mixup/partner": Row(
        nn.mixup, inputs(key=prng(), x=normal(N, D), alpha=uniform(low=0.5), partner=integers(N, high=N)), diff=("x",)
    ),
    "mixed_loss": Row(
        nn.mixed_loss, inputs(a=normal(N), b=normal(N), lam=uniform()), static={"loss_fn": abs}, diff=("a", "b", "lam")
    ),
    "in_context_tokens": Row(
        nn.in_context_tokens,
        inputs(x=normal(N, M, D), labels=integers(N, M, high=D)),
        static={"num_classes": D},
        batch=("x", "labels"),
        diff=("x",),
        bf16=("x",),
    ),
    "in_context_logits": Row(
        nn.in_context_logits,
        inputs(params=normal(D, C), tokens=normal(N, M, D)),
        static={"apply_fn": lambda params, tokens: jnp.cumsum(tokens @ params, axis=0)},
        batch=("tokens",),
        diff=("params", "tokens"),
    ),
    "conjunction_elimination": Row(nn.conjunction_elimination, SIGNS, bf16=("x", "y")),
    "parity_elimination": Row(nn.parity_elimination, SIGNS, bf16=("x", "y")),
    "averaged_perceptron": Row(nn.averaged_perceptron, SIGNS, bf16=("x", "y")),
    "nearest_neighbor_icl": Row(
        nn.nearest_neighbor_icl,
        inputs(x=normal(M, D), labels=integers(M, high=C)),
        static={"num_classes": C, "k": 2},
        bf16=("x",),
    ),
    "gf2_solve": Row(nn.gf2_solve, equations, batch=("matrix", "rhs", "where"), couples=True),
}
