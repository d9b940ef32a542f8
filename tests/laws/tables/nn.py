"""Rows of jaxlab.nn."""

import jax.numpy as jnp
import numpy as np

from jaxlab import nn
from tests.laws.row import C, D, M, N, Row, generator, inputs, integers, mask, normal, positive_definite, prng, uniform

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


def small_network(*stages):
    """A spec of networks with one hidden layer."""
    shapes = ((D, H), (H,), (H, C), (C,))
    return lambda rng: nn.SmallMLP(*(normal(*stages, *shape)(rng) for shape in shapes))


def boosted(rng):
    """Three stages."""
    return nn.Boosted(small_network(3)(rng), normal(3)(rng), normal(C)(rng))


def softmax_free(rng):
    """Parameters of a block with two heads."""
    layers = {"q": (H, H), "v": (H, H), "proj": (H, H), "mlp_in": (H, M), "mlp_out": (M, H)}
    norm = lambda width: {"scale": 1 + normal(width, scale=0.1)(rng), "bias": normal(width, scale=0.1)(rng)}  # noqa: E731
    return {
        **{name: dense(*shape)(rng) for name, shape in layers.items()},
        "landmarks": {"kernel": normal(2, 2, 2, 2)(rng), **norm(2)},
        "conv": normal(3, 3, 2)(rng),
        "norm1": norm(H),
        "norm2": norm(H),
    }


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


OVER_TOKENS = {"mask": "`where` is over the tokens; proofs in tests/nn"}
PROMPT_LEFT = {"empty": "where no token counts the prompt is still attended to"}


def codebook(rng):
    return nn.Codebook(normal(M, D)(rng), uniform(M, low=0.5, high=2.0)(rng), normal(M, D)(rng))


def block(rng):
    """Parameters of a transformer block of width 4."""
    widths = {"qkv": (H, 3 * H), "proj": (H, H), "mlp_in": (H, 2 * H), "mlp_out": (2 * H, H)}
    norm = {name: {"scale": uniform(H, low=0.5)(rng), "bias": normal(H)(rng)} for name in ("norm1", "norm2")}
    return norm | {name: dense(*shape)(rng) for name, shape in widths.items()}


KEYS = {"keys": normal(2, M, D), "key_where": lambda rng: rng.random((2, M)) < 0.7}

NOPROP = {"x": (D, C), "z": (M, C), "fused": (2 * C, C), "head": (C, C)}


def medium(rng):
    """A random physical layer."""
    return nn.PhysicalLayer(normal(D, C)(rng), normal(D, C)(rng), uniform(C, high=6.0)(rng))


MEDIUM = {
    "make": inputs(layer=medium, x=normal(N, D)),
    "batch": ("x",),
    "bf16": ("x",),
}


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
    "embed_label": Row(
        nn.embed_label,
        inputs(x=normal(N, D), labels=integers(N, high=M)),
        static={"num_classes": M},
        batch=("x", "labels"),
        diff=("x",),
        bf16=("x",),
    ),
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
    "prefix_attention": Row(
        nn.prefix_attention,
        inputs(
            q=normal(N, M, 2, D),
            k=normal(N, H, 2, D),
            v=normal(N, H, 2, D),
            prefix_k=normal(2, 2, D),
            prefix_v=normal(2, 2, D),
        ),
        batch=("q", "k", "v"),
        diff=("q", "k", "v", "prefix_k", "prefix_v"),
        bf16=("q", "k", "v"),
        skip=OVER_TOKENS,
    ),
    "prefix_attention/masked": Row(
        nn.prefix_attention,
        inputs(
            q=normal(N, M, 2, D),
            k=normal(N, H, 2, D),
            v=normal(N, H, 2, D),
            prefix_k=normal(N, 2, 2, D),
            prefix_v=normal(N, 2, 2, D),
            where=mask(N, H),
        ),
        batch=("q", "k", "v", "prefix_k", "prefix_v", "where"),
        diff=("q", "k", "v", "prefix_k", "prefix_v"),
        skip=OVER_TOKENS | PROMPT_LEFT,
    ),
    "soft_prompt": Row(
        nn.soft_prompt,
        inputs(embeddings=normal(N, M, D), prompt=normal(3, D)),
        batch=("embeddings",),
        diff=("embeddings", "prompt"),
        bf16=("embeddings",),
    ),
    "affine_adaptor": Row(
        nn.affine_adaptor,
        inputs(params=lambda rng: {"scale": normal(D)(rng), "bias": normal(D)(rng)}, w=normal(N, D)),
        batch=("w",),
        diff=("params", "w"),
        bf16=("w",),
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
    "summarize_tokens": Row(
        nn.summarize_tokens,
        inputs(selectors=normal(2, D), tokens=normal(N, D), where=mask(N)),
        batch=("tokens", "where"),
        couples=True,
        diff=("selectors",),
        bf16=("selectors", "tokens"),
    ),
    "transformer_block_init": Row(nn.transformer_block_init, inputs(key=prng()), static={"dim": H, "hidden": M}),
    "transformer_block": Row(
        nn.transformer_block,
        inputs(params=block, tokens=normal(N, M, H)),
        static={"heads": 2},
        batch=("tokens",),
        diff=("params", "tokens"),
        bf16=("tokens",),
    ),
    "pathway_block": Row(
        nn.pathway_block,
        inputs(
            params=block,
            tokens=normal(N, M, H),
            stream=normal(N, 3, H),
            prompts=lambda rng: (normal(2, 2, 2)(rng), normal(2, 2, 2)(rng)),
        ),
        static={"heads": 2},
        batch=("tokens", "stream"),
        diff=("params", "stream", "prompts"),
        bf16=("tokens", "stream"),
    ),
}

ROWS |= {
    "mixup": Row(nn.mixup, inputs(key=prng(), x=normal(N, D), alpha=uniform(low=0.5)), diff=("x",), bf16=("x",)),
    "mixup/partner": Row(
        nn.mixup, inputs(key=prng(), x=normal(N, D), alpha=uniform(low=0.5), partner=integers(N, high=N)), diff=("x",)
    ),
    "mixed_loss": Row(
        nn.mixed_loss, inputs(a=normal(N), b=normal(N), lam=uniform()), static={"loss_fn": abs}, diff=("a", "b", "lam")
    ),
    "newton_inverse": Row(
        nn.newton_inverse,
        inputs(matrix=positive_definite(N, D, D)),
        batch=("matrix",),
        diff=("matrix",),
        bf16=("matrix",),
        tol=1e-4,
    ),
    "newton_inverse/line_search": Row(
        nn.newton_inverse,
        inputs(matrix=positive_definite(D, D)),
        static={"line_search": True, "ridge": 0.0},
        diff=("matrix",),
        tol=1e-4,
    ),
    "softmax_free_attention": Row(
        nn.softmax_free_attention,
        inputs(q=normal(N, M, H), v=normal(N, M, D), landmarks=normal(N, 3, H, scale=2.0)),
        batch=("q", "v", "landmarks"),
        diff=("q", "v", "landmarks"),
        bf16=("q", "v", "landmarks"),
        tol=1e-4,
    ),
    "softmax_free_block_init": Row(
        nn.softmax_free_block_init, inputs(key=prng()), static={"dim": H, "heads": 2, "ratio": 2}
    ),
    "softmax_free_block": Row(
        nn.softmax_free_block,
        inputs(params=softmax_free, tokens=normal(N, 8, H)),
        static={"grid": (2, 4)},
        batch=("tokens",),
        diff=("params", "tokens"),
        bf16=("tokens",),
        tol=1e-4,
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
