"""Rows of jaxlab.kernels."""

from jaxlab import kernels
from tests.laws.row import D, M, N, Row, inputs, normal, uniform

PAIRS = {"batch": ("x",), "diff": ("x", "y"), "bf16": ("x", "y")}
SELF = {"batch": ("x",), "couples": True, "diff": ("x",), "bf16": ("x",)}

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
}
