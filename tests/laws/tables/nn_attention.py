"""Rows of jaxlab.nn: attention, its blocks, prompts and adapters."""

from jaxlab import nn
from tests.laws.row import D, M, N, Row, inputs, mask, normal, positive_definite, prng, uniform
from tests.laws.tables.nn_weights import H, dense


def adapter(**layers):
    """A spec of an adapter with one condition, opened: its last layer is not zero."""
    scale = {"first": dense(H, 4 * H), "second": dense(4 * H, H)}
    return lambda rng: {
        "scale": {name: layer(rng) for name, layer in scale.items()},
        "conditions": {"condition0": dense(D, H)(rng)},
        **{name: layer(rng) for name, layer in layers.items()},
    }


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


OVER_TOKENS = {"mask": "`where` is over the tokens; proofs in tests/nn"}
PROMPT_LEFT = {"empty": "where no token counts the prompt is still attended to"}


def block(rng):
    """Parameters of a transformer block of width 4."""
    widths = {"qkv": (H, 3 * H), "proj": (H, H), "mlp_in": (H, 2 * H), "mlp_out": (2 * H, H)}
    norm = {name: {"scale": uniform(H, low=0.5)(rng), "bias": normal(H)(rng)} for name in ("norm1", "norm2")}
    return norm | {name: dense(*shape)(rng) for name, shape in widths.items()}


ROWS = {
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
    "affine_adaptor": Row(
        nn.affine_adaptor,
        inputs(params=lambda rng: {"scale": normal(D)(rng), "bias": normal(D)(rng)}, w=normal(N, D)),
        batch=("w",),
        diff=("params", "w"),
        bf16=("w",),
    ),
}
