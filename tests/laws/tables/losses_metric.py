"""Rows of jaxlab.losses: margin heads, pairs, mixed pairs, views and neighbours."""

import jax.numpy as jnp

from jaxlab import losses
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, uniform

HEAD = {
    "make": inputs(embeddings=normal(N, D), prototypes=normal(C, D), labels=integers(N, high=C), where=mask(N)),
    "batch": ("embeddings", "labels", "where"),
    "diff": ("embeddings", "prototypes"),
    "bf16": ("embeddings", "prototypes"),
}
PAIRS = {
    "make": inputs(embeddings=normal(N, D), labels=integers(N, high=3), where=mask(N)),
    "batch": ("embeddings", "labels", "where"),
    "couples": True,
    "diff": ("embeddings",),
    "bf16": ("embeddings",),
}
COSINES = {
    "make": inputs(cosine=uniform(N, C, low=-1.0), labels=integers(N, high=C), where=mask(N)),
    "batch": ("cosine", "labels", "where"),
    "couples": True,
    "bf16": ("cosine",),
}
VIEWS = {
    "make": inputs(z1=normal(N, D), z2=normal(N, D), where=mask(N)),
    "batch": ("z1", "z2", "where"),
    "couples": True,
    "diff": ("z1", "z2"),
    "bf16": ("z1", "z2"),
}
VOTES = {
    "make": inputs(
        scores=normal(N, M),
        query_labels=integers(N, high=3),
        key_labels=integers(M, high=3),
        exclude=lambda rng: rng.random((N, M)) < 0.2,
        where=mask(N),
    ),
    "batch": ("scores", "query_labels", "exclude", "where"),
    "diff": ("scores",),
    "bf16": ("scores",),
}


def mixed_pairs(rng):
    """A spec: M mixes of the first M of N anchors."""
    return losses.MixedPairs(jnp.arange(M), normal(M, D)(rng), uniform()(rng), mask(M)(rng))


ROWS = {
    "cosface_logits": Row(losses.cosface_logits, **HEAD),
    "arcface_logits": Row(losses.arcface_logits, **HEAD),
    "magface_logits": Row(losses.magface_logits, static={"lengths": (0.5, 3.0)}, **HEAD),
    "whisker_mask": Row(
        losses.whisker_mask,
        inputs(values=normal(N), where=mask(N), whisker=uniform(high=0.5)),
        batch=("values", "where"),
        couples=True,
        bf16=("values",),
    ),
    "unpg": Row(
        losses.unpg,
        inputs(logits=normal(N, C), labels=integers(N, high=C), embeddings=normal(N, D), where=mask(N)),
        batch=("logits", "labels", "embeddings", "where"),
        couples=True,
        diff=("logits", "embeddings"),
        bf16=("logits", "embeddings"),
    ),
    "mada_cos_parameters": Row(losses.mada_cos_parameters, **COSINES),
    "mada_cos_parameters/mean": Row(losses.mada_cos_parameters, static={"average": "mean"}, **COSINES),
    "mada_cos": Row(losses.mada_cos, diff=("cosine",), **COSINES),
    "pair_masks": Row(
        losses.pair_masks,
        inputs(labels=integers(N, high=3), where=mask(N)),
        batch=("labels", "where"),
        couples=True,
    ),
    "contrastive_pairs": Row(losses.contrastive_pairs, **PAIRS),
    "multi_similarity": Row(losses.multi_similarity, **PAIRS),
    "tcm": Row(losses.tcm, **PAIRS),
    "generalized_pair_loss": Row(
        losses.generalized_pair_loss,
        inputs(scores=uniform(N, M, low=-1.0), targets=uniform(N, M), where=mask(N, M)),
        static={
            "positive": lambda s: jnp.exp(-2.0 * s),
            "negative": lambda s: jnp.exp(5.0 * s),
            "outer_positive": jnp.log1p,
            "outer_negative": jnp.log1p,
        },
        batch=("scores", "targets", "where"),
        diff=("scores", "targets"),
        bf16=("scores", "targets"),
    ),
    "metric_mixup_pairs": Row(
        losses.metric_mixup_pairs,
        inputs(key=prng(), embeddings=normal(N, D), labels=integers(N, high=3), where=mask(N)),
        batch=("embeddings", "labels", "where"),
        couples=True,
        diff=("embeddings",),
        bf16=("embeddings",),
        skip={"permute": "row i names anchor i, and draws by its number"},
    ),
    "metric_mixup_pairs/anchor": Row(
        losses.metric_mixup_pairs,
        inputs(key=prng(), embeddings=normal(N, D), labels=integers(N, high=3), where=mask(N)),
        static={"kind": "anchor_negative", "negatives": "random"},
        batch=("embeddings", "labels", "where"),
        couples=True,
        diff=("embeddings",),
        skip={"permute": "row i names anchor i, and draws by its number"},
    ),
    "metrix_contrastive": Row(
        losses.metrix_contrastive,
        inputs(embeddings=normal(N, D), labels=integers(N, high=3), pairs=mixed_pairs, where=mask(N)),
        batch=("embeddings", "labels", "where"),
        couples=True,
        diff=("embeddings",),
        bf16=("embeddings",),
        skip={"permute": "pairs name their anchors by row"},
    ),
    "local_triplet": Row(
        losses.local_triplet,
        inputs(
            queries=normal(M, D),
            keys=normal(N, D),
            negatives=normal(2, C, D),
            index=integers(N, high=M),
            where=mask(N),
        ),
        batch=("keys", "index", "where"),
        couples=True,
        diff=("queries", "keys", "negatives"),
        bf16=("queries", "keys", "negatives"),
    ),
    "nt_xent": Row(losses.nt_xent, **VIEWS),
    "clip_loss": Row(
        losses.clip_loss,
        inputs(
            image_embeddings=normal(N, D), text_embeddings=normal(N, D), scale=uniform(low=1.0, high=9.0), where=mask(N)
        ),
        batch=("image_embeddings", "text_embeddings", "where"),
        couples=True,
        diff=("image_embeddings", "text_embeddings", "scale"),
        bf16=("image_embeddings", "text_embeddings"),
    ),
    "pairwise_matching": Row(
        losses.pairwise_matching,
        inputs(logits=normal(N, N), where=mask(N)),
        couples=True,
        diff=("logits",),
        bf16=("logits",),
        skip={"mask": "a mask of rows and columns: in the proofs"},
    ),
    "knn_softmax": Row(losses.knn_softmax, static={"k": 2}, **VOTES),
    "knn_softmax/all": Row(losses.knn_softmax, **VOTES),
    "knn_softmax/free": Row(losses.knn_softmax, static={"k": 3, "force_positive": False}, **VOTES),
    "look": Row(losses.look, static={"k": 3}, **PAIRS),
    "look/all": Row(losses.look, static={"k": None}, **PAIRS),
    "template_margin": Row(
        losses.template_margin,
        inputs(
            scores=normal(N, M),
            template_labels=lambda rng: rng.permutation([0, 1, 2, 2, 1]),
            labels=integers(N, high=3),
            margin=uniform(low=1.0, high=2.0),
            where=mask(N),
        ),
        batch=("scores", "labels", "where"),
        diff=("scores", "margin"),
        bf16=("scores",),
    ),
    "template_margin/distances": Row(
        losses.template_margin,
        inputs(
            scores=uniform(N, M),
            template_labels=lambda rng: rng.permutation([0, 1, 2, 2, 1]),
            labels=integers(N, high=3),
            where=mask(N),
        ),
        static={"similarity": False},
        batch=("scores", "labels", "where"),
        diff=("scores",),
        bf16=("scores",),
    ),
    "info_nce": Row(
        losses.info_nce,
        inputs(
            queries=normal(N, D), keys=normal(N, D), negatives=normal(M, D), temperature=uniform(low=0.5), where=mask(N)
        ),
        batch=("queries", "keys", "where"),
        couples=True,
        diff=("queries", "keys", "negatives"),
        bf16=("queries", "keys", "negatives"),
    ),
    "prototypical": Row(
        losses.prototypical,
        inputs(support=normal(C, M, D), query=normal(N, D), labels=integers(N, high=C), where=mask(N)),
        batch=("query", "labels", "where"),
        diff=("support", "query"),
        bf16=("support", "query"),
    ),
    "supervised_contrastive": Row(
        losses.supervised_contrastive,
        inputs(queries=normal(N, D), keys=normal(M, D), positives=mask(N, M), temperature=uniform(low=0.5)),
        batch=("queries", "positives"),
        diff=("queries", "keys"),
        bf16=("queries", "keys"),
    ),
}
