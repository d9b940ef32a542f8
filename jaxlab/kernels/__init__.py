"""Distances, similarities and kernel (Gram) matrices between rows of arrays, and nearest neighbours."""

from jaxlab.kernels.distances import cosine_similarity, pairwise_sq_dists, tree_distance
from jaxlab.kernels.functions import gaussian_kernel
from jaxlab.kernels.graphs import SpanningTree, minimum_spanning_tree
from jaxlab.kernels.neighbors import knn, knn_vote

__all__ = [
    "SpanningTree",
    "cosine_similarity",
    "gaussian_kernel",
    "knn",
    "knn_vote",
    "minimum_spanning_tree",
    "pairwise_sq_dists",
    "tree_distance",
]
