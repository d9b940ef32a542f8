"""Rows of jaxlab.nn: prototypes and codebooks."""

from jaxlab import nn
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, uniform
from tests.laws.tables.nn_weights import H


def codebook(rng):
    return nn.Codebook(normal(M, D)(rng), uniform(M, low=0.5, high=2.0)(rng), normal(M, D)(rng))


KEYS = {"keys": normal(2, M, D), "key_where": lambda rng: rng.random((2, M)) < 0.7}

ROWS = {
    "rbf_detections": Row(
        nn.rbf_detections,
        inputs(x=normal(N, D), prototypes=normal(M, D), bandwidth=uniform(M, low=0.5, high=2.0)),
        batch=("x",),
        diff=("x", "prototypes", "bandwidth"),
        bf16=("x", "prototypes"),
        skip={"zeros": "a bandwidth of 0 is documented as invalid"},
    ),
    "rbf_detections/gaussian": Row(
        nn.rbf_detections,
        inputs(x=normal(N, D), prototypes=normal(M, D)),
        static={"bandwidth": 1.5, "power": 2},
        batch=("x",),
        diff=("x", "prototypes"),
        bf16=("x", "prototypes"),
    ),
    "median_bandwidth": Row(
        nn.median_bandwidth,
        inputs(x=normal(N, D), prototypes=normal(M, D), where=mask(N)),
        batch=("x", "where"),
        couples=True,
        diff=("x", "prototypes"),
        bf16=("x", "prototypes"),
    ),
    "component_reasoning": Row(
        nn.component_reasoning, inputs(logits=normal(2 * M, C)), diff=("logits",), bf16=("logits",)
    ),
    "component_reasoning/radial_basis_functions": Row(
        nn.component_reasoning,
        inputs(logits=normal(M, C)),
        static={"negative": False},
        diff=("logits",),
        bf16=("logits",),
    ),
    "cbc_probabilities": Row(
        nn.cbc_probabilities,
        inputs(detections=uniform(N, M), positive=uniform(M, C), negative=uniform(M, C), threshold=uniform(high=0.2)),
        batch=("detections",),
        diff=("detections", "positive", "negative"),
        bf16=("detections",),
    ),
    "vector_quantize": Row(
        nn.vector_quantize,
        inputs(x=normal(N, D), codebook=normal(M, D)),
        batch=("x",),
        diff=("codebook",),
        bf16=("x",),
    ),
    "codebook_init": Row(nn.codebook_init, inputs(key=prng(), samples=normal(N, D)), static={"num_codes": M, "dim": D}),
    "codebook_update": Row(
        nn.codebook_update,
        inputs(state=codebook, x=normal(N, D), where=mask(N)),
        batch=("x", "where"),
        couples=True,
        diff=("x",),
        bf16=("x",),
    ),
    "codebook_replace_dead": Row(
        nn.codebook_replace_dead,
        inputs(key=prng(), state=codebook, x=normal(N, D), where=mask(N)),
        static={"threshold": 1.5},
        batch=("x", "where"),
        couples=True,
        bf16=("x",),
        skip={"permute": "the draw goes by position"},
    ),
    "random_projection_heads": Row(
        nn.random_projection_heads, inputs(key=prng()), static={"dim": D, "heads": 2, "key_dim": 2}
    ),
    "nearest_keys": Row(nn.nearest_keys, inputs(queries=normal(2, N, D), **KEYS), static={"k": 2}, bf16=("queries",)),
    "kv_lookup": Row(
        nn.kv_lookup, inputs(index=integers(2, N, 2, high=M + 1), values=normal(2, M, H)), diff=("values",)
    ),
    "kv_bottleneck_logits": Row(
        nn.kv_bottleneck_logits,
        inputs(features=normal(N, D), projection=normal(2, D, D), values=normal(2, M, H), **KEYS),
        batch=("features",),
        diff=("values",),
        bf16=("features", "values"),
    ),
}
