"""Distances, similarities and kernel (Gram) matrices between rows of arrays, and nearest neighbours.

Functions of rows take one array [N, D] or two, and give the matrix of all pairs; regressions take such matrices.

- **How far, or how alike, all pairs of rows are**: `pairwise_sq_dists` (Euclidean, squared), `cosine_similarity`
  (angles alone)
- **Labels in a hierarchy**: `tree_distance` (path lengths between all nodes); [19]
- **The k nearest rows**: `knn` (exact, in blocks of queries), `knn_vote` (classes from the neighbours' labels)
- **A kernel for regression**: `gaussian_kernel` (smooth functions, one bandwidth), `laplace_kernel` (rougher
  functions), `hilbert_kernel` (interpolates without a bandwidth, as logarithm); [281, 283]
- **Predictions from a kernel matrix**: `kernel_ridge` (values, or the smoother matrix), `gp_posterior` (uncertainty as
  well), `sample_errors` (of functions that it draws); [238]
- **Representations of different widths to compare**: `row_normalized_gram` (each row of length 1), `double_center` (row
  and column means removed); [48]
- **Points, or variables, joined by a tree**: `minimum_spanning_tree` (the least total length, `SpanningTree`);
  [277, 280]
- **The tangent kernel of a network that exists**: `empirical_ntk` (any architecture), `dense_ntk` (fully connected, no
  gradient formed), `ntk_vector_product` (for solvers, kernel never formed)
- **Networks of infinite width**: `infinite_width_kernels` (both kernels, at any depth), `relu_dual` (the dual it needs,
  for ReLU), `hermite_coefficients` and `dual_activation` (for another activation); [281]
- **What infinite depth makes of them**: `singular_kernel` (the limit's kernel, as logarithm), `optimal_activation`
  (reaches the Bayes error), `majority_class` (where depth forgets the input); [281]

Types: `GPPosterior`, `InfiniteWidthKernels`.
"""

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
