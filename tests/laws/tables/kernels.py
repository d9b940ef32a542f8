"""Rows of jaxlab.kernels."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np

from jaxlab import kernels
from tests.laws.row import C, D, M, N, Row, inputs, integers, mask, normal, positive_definite, prng, uniform

PAIRS = {"batch": ("x",), "diff": ("x", "y"), "bf16": ("x", "y")}
SELF = {"batch": ("x",), "couples": True, "diff": ("x",), "bf16": ("x",)}
PLACES = {"permute": "the result holds places in the database"}


def parents(rng):
    """A spec: the parent of every node of a random tree, the root first."""
    return np.array([-1, *(rng.integers(0, node) for node in range(1, M))], np.int32)


def symmetric(rng):
    half = rng.uniform(0.5, 2.0, (N, N)).astype(np.float32)
    return half + half.T


def layers(rng):
    widths = (D, C, 2)
    return [(normal(a, b)(rng), normal(b)(rng)) for a, b in itertools.pairwise(widths)]


def network(params, x):
    (kernel, bias), (head, offset) = params
    return jnp.tanh(x @ kernel + bias) @ head + offset


NTK = {
    "make": inputs(params=layers, x=normal(N, D), y=normal(M, D)),
    "batch": ("x",),
    "diff": ("params", "x", "y"),
}
log_dual = functools.partial(kernels.dual_activation, coefficients=np.float32([0, 0.6, 0.64, 0.48]), log=True)

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
    "laplace_kernel": Row(
        kernels.laplace_kernel,
        inputs(x=normal(N, D), y=normal(M, D), bandwidth=uniform(low=0.5, high=2.0)),
        **PAIRS,
    ),
    "hilbert_kernel": Row(
        kernels.hilbert_kernel, inputs(x=normal(N, D), y=normal(M, D), alpha=uniform(low=0.5, high=2.0)), **PAIRS
    ),
    "hermite_coefficients": Row(
        kernels.hermite_coefficients,
        inputs(scale=uniform(low=0.5, high=2.0)),
        static={"activation": jnp.tanh, "degree": 5, "nodes": 40},
        diff=("scale",),
    ),
    "dual_activation": Row(
        kernels.dual_activation,
        inputs(t=uniform(N, low=-1.0), coefficients=normal(C)),
        batch=("t",),
        diff=("t", "coefficients"),
        bf16=("t", "coefficients"),
    ),
    "dual_activation/log": Row(
        kernels.dual_activation,
        inputs(t=uniform(N, low=-9.0), coefficients=normal(C)),
        static={"log": True},
        batch=("t",),
        diff=("t",),
        bf16=("t", "coefficients"),
    ),
    "relu_dual": Row(kernels.relu_dual, inputs(t=uniform(N, low=-1.0)), batch=("t",), diff=("t",), bf16=("t",)),
    "infinite_width_kernels": Row(
        kernels.infinite_width_kernels,
        inputs(gram=uniform(N, M, low=-1.0)),
        static={"dual": kernels.relu_dual, "depth": 3},
        batch=("gram",),
        diff=("gram",),
        bf16=("gram",),
    ),
    "infinite_width_kernels/log": Row(
        kernels.infinite_width_kernels,
        inputs(gram=uniform(N, M, low=-9.0)),
        static={"dual": log_dual, "depth": 20, "log": True},
        batch=("gram",),
        diff=("gram",),
        bf16=("gram",),
    ),
    "singular_kernel": Row(
        kernels.singular_kernel,
        inputs(gram=uniform(N, M), coefficients=uniform(C, low=0.2, high=0.5)),
        static={"depth": 20},
        batch=("gram",),
        diff=("gram", "coefficients"),
        bf16=("gram", "coefficients"),
    ),
    "optimal_activation": Row(
        kernels.optimal_activation,
        inputs(x=normal(N), dim=uniform(low=3.0, high=9.0)),
        batch=("x",),
        diff=("x",),
        bf16=("x",),
    ),
    "majority_class": Row(
        kernels.majority_class,
        inputs(labels=integers(N, high=C), where=mask(N)),
        static={"num_classes": C},
        batch=("labels", "where"),
        couples=True,
    ),
    "kernel_ridge": Row(
        kernels.kernel_ridge,
        inputs(
            query_gram=normal(N, D),
            support_gram=positive_definite(D, D),
            targets=normal(D, 2),
            ridge=uniform(low=0.1),
        ),
        static={"trace_scaled": True},
        batch=("query_gram",),
        diff=("query_gram", "support_gram", "targets"),
        bf16=("query_gram", "support_gram", "targets"),
        skip={"zeros": "a ridge in units of the trace is 0 where the kernel is: documented as NaN"},
    ),
    "kernel_ridge/absolute": Row(
        kernels.kernel_ridge,
        inputs(query_gram=normal(N, D), support_gram=positive_definite(D, D), targets=normal(D)),
        static={"ridge": 0.5},
        batch=("query_gram",),
        diff=("query_gram", "support_gram", "targets"),
        bf16=("query_gram", "support_gram", "targets"),
    ),
    "gp_posterior": Row(
        kernels.gp_posterior,
        inputs(
            query_gram=normal(M, D),
            support_gram=positive_definite(D, D),
            targets=normal(D, 2),
            prior=positive_definite(M, M),
            ridge=uniform(low=0.1),
        ),
        diff=("query_gram", "support_gram", "targets", "prior"),
        bf16=("query_gram", "support_gram", "targets", "prior"),
    ),
    "sample_errors": Row(
        kernels.sample_errors,
        inputs(key=prng(), mean=normal(M, 2), covariance=positive_definite(M, M), targets=normal(M, 2)),
        static={"num_samples": 3},
        diff=("mean", "targets"),
        bf16=("mean", "covariance", "targets"),
    ),
    "empirical_ntk": Row(kernels.empirical_ntk, static={"apply_fn": network}, **NTK),
    "empirical_ntk/blockwise": Row(
        kernels.empirical_ntk, static={"apply_fn": network, "method": "blockwise", "output": 1, "block": 3}, **NTK
    ),
    "empirical_ntk/products": Row(
        kernels.empirical_ntk, static={"apply_fn": network, "method": "products", "output": "full", "block": 2}, **NTK
    ),
    "ntk_vector_product": Row(
        kernels.ntk_vector_product,
        inputs(params=layers, vector=normal(M, 2), x=normal(N, D), y=normal(M, D)),
        static={"apply_fn": network},
        batch=("x",),
        diff=("params", "vector", "x", "y"),
    ),
    "dense_ntk": Row(
        kernels.dense_ntk,
        inputs(layers=layers, x=normal(N, D), y=normal(M, D)),
        static={"activation": jnp.tanh},
        batch=("x",),
        diff=("layers", "x", "y"),
    ),
}
