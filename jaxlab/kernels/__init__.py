"""Distances, similarities and kernel (Gram) matrices between rows of arrays."""

from jaxlab.kernels.distances import cosine_similarity, pairwise_sq_dists
from jaxlab.kernels.functions import gaussian_kernel

__all__ = ["cosine_similarity", "gaussian_kernel", "pairwise_sq_dists"]
