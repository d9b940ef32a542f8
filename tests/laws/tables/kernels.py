"""Rows of jaxlab.kernels."""

import numpy as np

from jaxlab import kernels
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, uniform

PAIRS = {"batch": ("x",), "diff": ("x", "y"), "bf16": ("x", "y")}
SELF = {"batch": ("x",), "couples": True, "diff": ("x",), "bf16": ("x",)}
PLACES = {"permute": "the result holds places in the database"}


def parents(rng):
    """A spec: the parent of every node of a random tree, the root first."""
    return np.array([-1, *(rng.integers(0, node) for node in range(1, M))], np.int32)


def symmetric(rng):
    half = rng.uniform(0.5, 2.0, (N, N)).astype(np.float32)
    return half + half.T


ROWS = {
    "pairwise_sq_dists": Row(kernels.pairwise_sq_dists, inputs(x=normal(N, D), y=normal(M, D)), **PAIRS),
    "pairwise_sq_dists/self": Row(kernels.pairwise_sq_dists, inputs(x=normal(N, D)), **SELF),
    "cosine_similarity": Row(kernels.cosine_similarity, inputs(x=normal(N, D), y=normal(M, D)), **PAIRS),
    "cosine_similarity/self": Row(kernels.cosine_similarity, inputs(x=normal(N, D)), **SELF),
    "gaussian_kernel": Row(
        kernels.gaussian_kernel,
        inputs(x=normal(N, D), y=normal(M, D), bandwidth=uniform(low=0.5, high=2.0)),
        **PAIRS,
    ),
    "gaussian_kernel/self": Row(
        kernels.gaussian_kernel, inputs(x=normal(N, D), bandwidth=uniform(low=0.5, high=2.0)), **SELF
    ),
    "double_center": Row(
        kernels.double_center,
        inputs(matrix=symmetric, where=mask(N)),
        diff=("matrix",),
        bf16=("matrix",),
        skip={"mask": "`where` masks two axes at once: tests/metrics/test_similarity.py"},
    ),
    "double_center/unbiased": Row(
        kernels.double_center,
        inputs(matrix=symmetric),
        static={"unbiased": True},
        diff=("matrix",),
        bf16=("matrix",),
        skip={"mask": "as in the row above"},
    ),
    "row_normalized_gram": Row(kernels.row_normalized_gram, inputs(x=normal(N, D)), **SELF),
    "knn": Row(
        kernels.knn,
        inputs(queries=normal(M, D), database=normal(N, D), where=mask(N)),
        static={"k": 2, "block": 3},
        batch=("database", "where"),
        couples=True,
        diff=("queries", "database"),
        bf16=("queries", "database"),
        skip=PLACES | {"empty": "with nothing to be found every score is documented as -inf"},
    ),
    "knn/queries": Row(
        kernels.knn,
        inputs(queries=normal(N, D), database=normal(M, D)),
        static={"k": 2, "metric": "dot", "block": 3},
        batch=("queries",),
        diff=("queries", "database"),
        bf16=("queries", "database"),
        skip={"mask": "`where` is over the other argument, as in the row above"},
    ),
    "knn_vote": Row(
        kernels.knn_vote,
        inputs(index=integers(N, D, high=M), labels=integers(M, high=C), weights=uniform(N, D)),
        static={"num_classes": C},
        batch=("index", "weights"),
        diff=("weights",),
        bf16=("weights",),
    ),
    "tree_distance": Row(
        kernels.tree_distance,
        inputs(parent=parents, length=uniform(M, low=0.5)),
        diff=("length",),
        bf16=("length",),
    ),
    "minimum_spanning_tree": Row(
        kernels.minimum_spanning_tree,
        inputs(distances=symmetric, where=mask(N)),
        diff=("distances",),
        bf16=("distances",),
        skip={"mask": "hides rows and columns of a square matrix: proofs in tests/kernels"},
    ),
}
