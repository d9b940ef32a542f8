"""Distances, similarities and kernel (Gram) matrices between rows of arrays, and nearest neighbours."""

from jaxlab.kernels.distances import cosine_similarity, double_center, pairwise_sq_dists, tree_distance
from jaxlab.kernels.empirical import dense_ntk, empirical_ntk, ntk_vector_product
from jaxlab.kernels.functions import gaussian_kernel, hilbert_kernel, laplace_kernel, row_normalized_gram
from jaxlab.kernels.graphs import SpanningTree, minimum_spanning_tree
from jaxlab.kernels.infinite_width import (
    InfiniteWidthKernels,
    dual_activation,
    hermite_coefficients,
    infinite_width_kernels,
    majority_class,
    optimal_activation,
    relu_dual,
    singular_kernel,
)
from jaxlab.kernels.neighbors import knn, knn_vote
from jaxlab.kernels.regression import GPPosterior, gp_posterior, kernel_ridge, sample_errors

__all__ = [
    "GPPosterior",
    "InfiniteWidthKernels",
    "SpanningTree",
    "cosine_similarity",
    "dense_ntk",
    "double_center",
    "dual_activation",
    "empirical_ntk",
    "gaussian_kernel",
    "gp_posterior",
    "hermite_coefficients",
    "hilbert_kernel",
    "infinite_width_kernels",
    "kernel_ridge",
    "knn",
    "knn_vote",
    "laplace_kernel",
    "majority_class",
    "minimum_spanning_tree",
    "ntk_vector_product",
    "optimal_activation",
    "pairwise_sq_dists",
    "relu_dual",
    "row_normalized_gram",
    "sample_errors",
    "singular_kernel",
    "tree_distance",
]
