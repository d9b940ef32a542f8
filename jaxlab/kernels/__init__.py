"""Distances, similarities and kernel (Gram) matrices between rows of arrays, and nearest neighbours."""

from jaxlab.kernels.distances import cosine_similarity, double_center, pairwise_sq_dists, tree_distance
from jaxlab.kernels.functions import gaussian_kernel, row_normalized_gram
from jaxlab.kernels.graphs import SpanningTree, minimum_spanning_tree
from jaxlab.kernels.neighbors import knn, knn_vote

__all__ = [
    "SpanningTree",
    "cosine_similarity",
    "double_center",
    "gaussian_kernel",
    "knn",
    "knn_vote",
    "minimum_spanning_tree",
    "pairwise_sq_dists",
    "row_normalized_gram",
    "tree_distance",
]
