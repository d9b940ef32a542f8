"""Rows of jaxlab.metrics: rankings and correlations."""

import numpy as np

from jaxlab import metrics
from tests.laws.row import D, M, N, Row, inputs, mask, normal, prng, uniform

ROWS = {
    "hits_at_k": Row(
        metrics.hits_at_k,
        inputs(scores=normal(N, M), relevant=mask(N, M)),
        static={"k": 2},
        batch=("scores", "relevant"),
        bf16=("scores",),
    ),
    "recall_at_k": Row(
        metrics.recall_at_k,
        inputs(scores=normal(N, M), relevant=mask(N, M)),
        static={"k": 2},
        batch=("scores", "relevant"),
        bf16=("scores",),
    ),
    "clip_score": Row(
        metrics.clip_score,
        inputs(image_embeddings=normal(N, D), text_embeddings=normal(N, D)),
        batch=("image_embeddings", "text_embeddings"),
        diff=("image_embeddings", "text_embeddings"),
        bf16=("image_embeddings", "text_embeddings"),
    ),
    "mean_average_precision": Row(
        metrics.mean_average_precision,
        inputs(scores=normal(N, M), relevant=mask(N, M), where=mask(N, M)),
        batch=("scores", "relevant", "where"),
        couples=True,
        bf16=("scores",),
    ),
    "spearman": Row(
        metrics.spearman,
        inputs(a=normal(N), b=normal(N), where=mask(N)),
        batch=("a", "b", "where"),
        couples=True,
        bf16=("a", "b"),
    ),
    "kendall_tau": Row(
        metrics.kendall_tau,
        inputs(a=normal(N), b=normal(N), where=mask(N)),
        batch=("a", "b", "where"),
        couples=True,
        bf16=("a", "b"),
    ),
    "precision_at_t": Row(
        metrics.precision_at_t,
        inputs(scores=normal(N), values=normal(N), where=mask(N)),
        static={"t": 2},
        batch=("scores", "values", "where"),
        couples=True,
        bf16=("scores", "values"),
    ),
    "pearson": Row(
        metrics.pearson,
        inputs(a=normal(N), b=normal(N), where=mask(N)),
        batch=("a", "b", "where"),
        couples=True,
        diff=("a", "b"),
        bf16=("a", "b"),
    ),
    "spearman_brown": Row(
        metrics.spearman_brown,
        inputs(r=uniform(N), factor=uniform(low=1.0, high=3.0)),
        batch=("r",),
        diff=("r",),
        bf16=("r",),
    ),
    "split_half_reliability": Row(
        metrics.split_half_reliability,
        inputs(key=prng(), ratings=normal(5, 6), where=lambda rng: np.arange(5)[:, None] < rng.integers(2, 6, 6)),
        static={"num_splits": 2},
        bf16=("ratings",),
        skip={"mask": "one mask per rating: in the proofs"},
    ),
}
