"""Smoothers of ``experiments.kernels_and_smoothers`` that come from kernels, and what is left to guess for them.

A smoother takes training rows [N, D] and new ones [Q, D] to the weights that predictions give to the training targets:
[Q, N] at the new rows, [N, N] at the training rows.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import kernels, metrics
from jaxlab.typing import Array

__all__ = [
    "ACTIVATIONS",
    "Gram",
    "Smoother",
    "constant",
    "correlations",
    "deep",
    "directions",
    "gaussian",
    "hilbert",
    "laplace",
    "nats",
    "nearest",
    "neighbours",
    "optimal",
    "ridge",
    "singular",
    "tangent",
    "unit_rows",
]

# Squared Hermite coefficients: with a mean; with neither a mean nor a linear part.
ACTIVATIONS = {"with_mean": (0.2, 0.0, 0.4, 0.4), "even": (0.0, 0.0, 0.5, 0.5)}
SMALLEST = 1e-20  # inputs with no common feature have a correlation of 0, which has no logarithm

Gram = Callable[[Array, Array | None], Array]
Smoother = Callable[[Array, Array], tuple[Array, Array]]


def optimal(exponent: float) -> Array:
    """Hermite coefficients of the activation whose singular kernel has this exponent."""
    activation = functools.partial(kernels.optimal_activation, dim=exponent)
    return kernels.hermite_coefficients(activation, degree=3)


def correlations(rows: Array, query: Array | None = None) -> Array:
    """Cosines of unit vectors, [Q, N], by their distances: a row with itself has exactly 1."""
    squares = kernels.pairwise_sq_dists(rows) if query is None else kernels.pairwise_sq_dists(query, rows)
    return 1 - 0.5 * squares


def singular(rows: Array, query: Array, *, exponent: float, depth: int) -> tuple[Array, Array]:
    """Votes of the limit of infinitely deep networks with the optimal activation."""
    coefficients = optimal(exponent)

    def votes(t: Array) -> Array:
        return jax.nn.softmax(kernels.singular_kernel(t, coefficients, depth=depth))

    return votes(correlations(rows, query)), votes(correlations(rows))


def hilbert(rows: Array, query: Array, *, exponent: float) -> tuple[Array, Array]:
    """Votes by a power of the distance."""
    votes = [kernels.hilbert_kernel(*pair, alpha=exponent) for pair in ((query, rows), (rows,))]
    return jax.nn.softmax(votes[0]), jax.nn.softmax(votes[1])


def nearest(rows: Array, query: Array, *, k: int) -> Array:
    """The mean of the k nearest rows, at the new rows alone."""
    _, index = kernels.knn(query, rows, k=k, metric="euclidean")
    return kernels.knn_vote(index, jnp.arange(len(rows)), len(rows)) / k


def neighbours(rows: Array, query: Array, *, k: int) -> tuple[Array, Array]:
    """The same as a smoother; of the neighbours of a training row it is the first itself."""
    votes = nearest(rows, jnp.concatenate([query, rows]), k=k)
    return votes[: len(query)], votes[len(query) :]


def constant(rows: Array, query: Array) -> tuple[Array, Array]:
    """The mean of all rows."""
    return jnp.full((len(query), len(rows)), 1 / len(rows)), jnp.full((len(rows), len(rows)), 1 / len(rows))


def deep(rows: Array, query: Array, *, squares: Any, depth: int | Array, penalty: float) -> tuple[Array, Array]:
    """Kernel regression with the tangent kernel of an infinitely wide network of any depth, weights scaled to sum 1.

    The kernel is computed in logarithms. Its scale does not matter to a classifier, and every query has its own, so
    that what is left of its correlations after many layers is not 0.
    """
    coefficients = jnp.sqrt(jnp.asarray(squares, jnp.float32))
    dual = functools.partial(kernels.dual_activation, coefficients=coefficients, log=True)
    t = jnp.concatenate([correlations(rows, query), correlations(rows)])
    logs = kernels.infinite_width_kernels(jnp.log(jnp.maximum(t, SMALLEST)), dual, depth=depth, log=True).ntk
    cross = jnp.exp(logs - jnp.max(logs, axis=-1, keepdims=True))
    own = jnp.exp(logs[len(query) :] - logs[len(query), 0])  # 1 on the diagonal
    weights = kernels.kernel_ridge(cross, own, jnp.eye(len(rows)), ridge=penalty)
    weights = weights / jnp.sum(weights, axis=-1, keepdims=True)
    return weights[: len(query)], weights[len(query) :]


def gaussian(rows: Array, query: Array | None = None, *, bandwidth: float) -> Array:
    return kernels.gaussian_kernel(*((rows,) if query is None else (query, rows)), bandwidth=bandwidth)


def laplace(rows: Array, query: Array | None = None, *, bandwidth: float) -> Array:
    return kernels.laplace_kernel(*((rows,) if query is None else (query, rows)), bandwidth=bandwidth)


def tangent(rows: Array, query: Array | None = None, *, depth: int) -> Array:
    """The tangent kernel of a network of rectifiers, 1 for a row with itself."""
    return kernels.infinite_width_kernels(correlations(rows, query), kernels.relu_dual, depth=depth).ntk / (depth + 1)


def ridge(gram: Gram, rows: Array, query: Array, *, penalty: float) -> tuple[Array, Array]:
    """Kernel ridge regression."""
    own = gram(rows, None)
    weights = kernels.kernel_ridge(jnp.concatenate([gram(rows, query), own]), own, jnp.eye(len(rows)), ridge=penalty)
    return weights[: len(query)], weights[len(query) :]


def nats(
    gram: Gram,
    key: Array,
    rows: Array,
    targets: Array,
    query: Array,
    query_targets: Array,
    *,
    penalty: float,
    num_samples: int,
    error: float,
) -> tuple[Array, Array]:
    """Nats that a Gaussian process on the training rows still lacks for a test error, and errors of its samples."""
    posterior = kernels.gp_posterior(gram(rows, query), gram(rows, None), targets, gram(query, None), ridge=penalty)
    errors = kernels.sample_errors(key, *posterior, query_targets, num_samples=num_samples)
    return metrics.inductive_bias_from_errors(errors, error), errors


def directions(rows: Array, query: Array) -> tuple[Array, Array]:
    """Both sets of rows in the principal directions of the first, around its mean, the widest direction first."""
    center = jnp.mean(rows, axis=0)
    _, basis = jnp.linalg.eigh(jnp.cov(rows.T))
    return (rows - center) @ basis[:, ::-1], (query - center) @ basis[:, ::-1]


def unit_rows(x: np.ndarray, images: bool) -> np.ndarray:
    """Rows [N, D] >= 0 of length 1: images are scaled by the range of all pixels, features each by their own."""
    flat = x.reshape(len(x), -1)
    axis = None if images else 0
    low, high = flat.min(axis), flat.max(axis)
    scaled = (flat - low) / np.where(high > low, high - low, 1)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return (scaled / np.where(length > 0, length, 1)).astype(np.float32)
