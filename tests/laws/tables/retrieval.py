"""Rows of jaxlab.retrieval."""

import numpy as np

from jaxlab import retrieval
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform

INFLUENCE = {
    "features": normal(N, D),
    "prototypes": normal(C, D),
    "labels": integers(N, high=C - 1),
    "where": mask(N),
}

ROWS = {
    "simplex_vertices": Row(retrieval.simplex_vertices, inputs(), static={"num_classes": C}),
    "basis_transform": Row(
        retrieval.basis_transform,
        inputs(
            features=normal(N, C),
            old_features=normal(N, D),
            p=normal(C, C),
            b=normal(D, D),
            scale=uniform(low=0.5),
        ),
        static={"extra": 2},
        batch=("features", "old_features"),
        diff=("features", "old_features", "p", "b", "scale"),
        bf16=("features", "old_features"),
    ),
    "orthogonal_align": Row(
        retrieval.orthogonal_align,
        inputs(features=normal(N, M), q=normal(M, M), bias=normal(M)),
        static={"old_dim": D},
        batch=("features",),
        diff=("features", "q", "bias"),
        bf16=("features", "q"),
    ),
    "bct_influence": Row(
        retrieval.bct_influence,
        inputs(**INFLUENCE),
        batch=("features", "labels", "where"),
        diff=("features",),
        bf16=("features", "prototypes"),
    ),
    "bct_influence/classes": Row(
        retrieval.bct_influence,
        inputs(
            **INFLUENCE,
            smoothing=uniform(high=0.5),
            class_where=lambda rng: np.arange(C) < rng.integers(C - 1, C + 1),
        ),
        batch=("features", "labels", "where"),
        diff=("features", "smoothing"),
    ),
}

ROWS |= {
    "idf": Row(
        retrieval.idf,
        inputs(doc_freq=integers(N, high=5), num_docs=uniform(low=9.0, high=12.0)),
        batch=("doc_freq",),
    ),
    "bm25": Row(
        retrieval.bm25,
        inputs(
            queries=uniform(N, D),
            documents=uniform(M, D),
            weights=uniform(D),
            k1=uniform(low=1.0, high=2.0),
            b=uniform(),
        ),
        batch=("queries",),
        diff=("queries", "weights"),
        bf16=("queries", "documents"),
    ),
    "stack_embeddings": Row(
        retrieval.stack_embeddings,
        inputs(language=normal(N, D), vision=normal(N, 2), scale=uniform(low=0.5)),
        batch=("language", "vision"),
        diff=("language", "vision", "scale"),
        bf16=("language", "vision"),
    ),
    "tune_stack_scale": Row(
        retrieval.tune_stack_scale,
        inputs(language=normal(6, D), vision=normal(6, 2), similarity=normal(6, 6), grid=uniform(3), where=mask(6)),
        bf16=("language", "vision"),
        skip={"mask": "a mask of rows and columns: in the proofs"},
    ),
}
