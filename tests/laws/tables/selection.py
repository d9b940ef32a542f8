"""Rows of jaxlab.selection."""

import numpy as np

from jaxlab import selection
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, prng, uniform


def parents(rng):
    """A spec: the parent of every node of a random tree, the root first."""
    return np.array([-1, *(rng.integers(0, node) for node in range(1, N))], np.int32)


ROWS = {
    "best_of_candidates": Row(
        selection.best_of_candidates,
        inputs(scores=normal(N, M, D), thresholds=normal(D), weights=normal(D)),
        batch=("scores",),
        bf16=("scores",),
    ),
    "hidden_class_folds": Row(
        selection.hidden_class_folds,
        inputs(key=prng()),
        static={"num_known": M, "num_hidden": 2, "num_folds": 3},
    ),
    "next_class_by_locus": Row(
        selection.next_class_by_locus,
        inputs(parent=parents, observed=mask(N), length=uniform(N, low=0.5), class_where=mask(N)),
        bf16=("length",),
    ),
    "threshold_filter": Row(
        selection.threshold_filter,
        inputs(scores=normal(N, D), low=normal(D)),
        static={"high": 2.0},
        batch=("scores",),
        bf16=("scores",),
    ),
    "knn_transfer_cost": Row(
        selection.knn_transfer_cost,
        inputs(
            train_features=normal(2, M, D),
            train_labels=integers(M, high=C),
            features=normal(2, N, D),
            labels=integers(N, high=C),
            where=mask(N),
        ),
        static={"num_classes": C, "k": 3},
        bf16=("train_features", "features"),
        skip={"mask": "the sources are the leading axis; proofs in tests/selection"},
    ),
    "greedy_nearest_order": Row(
        selection.greedy_nearest_order,
        inputs(params=normal(M, D), start=lambda rng: rng.integers(M)),
        bf16=("params",),
    ),
}

ROWS |= {
    "semantic_difficulty_split": Row(
        selection.semantic_difficulty_split,
        inputs(distances=uniform(C, N)),
        bf16=("distances",),
    ),
}

ROWS |= {
    "farthest_point": Row(
        selection.farthest_point,
        inputs(x=normal(N, D), where=mask(N)),
        static={"k": 3},
        bf16=("x",),
        skip={"mask": "the result holds places among all members; proofs in tests/selection"},
    ),
    "farthest_point/precomputed": Row(
        selection.farthest_point,
        inputs(x=uniform(M, M), first=integers(high=M)),
        static={"k": 3, "metric": "precomputed"},
        bf16=("x",),
        skip={"mask": "the result holds places among all members; proofs in tests/selection"},
    ),
    "divprune_tokens": Row(
        selection.divprune_tokens,
        inputs(tokens=normal(C, M, D), where=mask(C, M)),
        static={"keep": 3},
        diff=("tokens",),
        bf16=("tokens",),
        skip={"mask": "the tokens are the second axis; proofs in tests/selection"},
    ),
}
