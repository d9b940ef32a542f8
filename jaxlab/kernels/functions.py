"""Kernel functions: Gram matrices between the rows of one or two arrays."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels.distances import pairwise_sq_dists
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["gaussian_kernel", "hilbert_kernel", "laplace_kernel", "row_normalized_gram"]


def gaussian_kernel(x: ArrayLike, y: ArrayLike | None = None, *, bandwidth: ArrayLike) -> Array:
    r"""Gaussian (RBF) kernel between all rows of x and all rows of y.

    .. math:: k_{ij} = \exp\big(-\|x_i - y_j\|^2 / (2 \sigma^2)\big)

    Args:
      x: float [..., N, D].
      y: float [..., M, D], leading axes that broadcast with those of x; None means y = x.
      bandwidth: sigma > 0, a float or an array that broadcasts to [..., N, M]; an array entry <= 0 gives NaN.
    Returns:
      float32 (wider if an input is) [..., N, M] in [0, 1]; for y = None the diagonal is exactly 1.
    Raises:
      ValueError: shapes do not agree, or a static bandwidth <= 0.
      TypeError: x or y is not floating point.

    >>> print(f"{gaussian_kernel(jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]]), bandwidth=5.0)[0, 0]:.4f}")
    0.6065

    Reference: standard. Other conventions convert at the call: gamma = 1 / (2 sigma^2).
    """
    checks.positive(bandwidth, "bandwidth")
    distances = pairwise_sq_dists(x, y)
    width = _width(bandwidth, "bandwidth", distances)
    # Divided twice: the square of a small or large bandwidth would leave the range of float32.
    return jnp.exp(-0.5 * (distances / width) / width)


def laplace_kernel(x: ArrayLike, y: ArrayLike | None = None, *, bandwidth: ArrayLike) -> Array:
    r"""Laplace (exponential) kernel between all rows of x and all rows of y, of their Euclidean distances.

    .. math:: k_{ij} = \exp\big(-\|x_i - y_j\|_2 / \sigma\big)

    Args:
      x: float [..., N, D].
      y: float [..., M, D], leading axes that broadcast with those of x; None means y = x.
      bandwidth: sigma > 0, a float or an array that broadcasts to [..., N, M]; an array entry <= 0 gives NaN.
    Returns:
      float32 (wider if an input is) [..., N, M] in [0, 1], with gradient 0 by rows that coincide; for y = None the
      diagonal is exactly 1.
    Raises:
      ValueError: shapes do not agree, or a static bandwidth <= 0.
      TypeError: x or y is not floating point.

    >>> print(f"{laplace_kernel(jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]]), bandwidth=5.0)[0, 0]:.4f}")
    0.3679

    Reference: standard; the Matern kernel of smoothness 1/2. scikit-learn's ``laplacian_kernel`` takes L1 distances.
    """
    checks.positive(bandwidth, "bandwidth")
    squares = pairwise_sq_dists(x, y)
    apart = squares > 0
    distances = jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), jnp.where(jnp.isnan(squares), squares, 0.0))
    return jnp.exp(-distances / _width(bandwidth, "bandwidth", squares))


def hilbert_kernel(x: ArrayLike, y: ArrayLike | None = None, *, alpha: ArrayLike, eps: float = 1e-12) -> Array:
    r"""Logarithm of the Hilbert kernel, which is singular where two rows coincide.

    .. math:: \log k_{ij} = -\alpha \log \|x_i - y_j\|_2

    ``jax.nn.softmax(hilbert_kernel(queries, rows, alpha=alpha)) @ targets`` interpolates the targets; with alpha the
    dimension of the data it is consistent.

    Args:
      x: float [..., N, D].
      y: float [..., M, D], leading axes that broadcast with those of x; None means y = x.
      alpha: the order of the singularity, > 0, a float or an array that broadcasts to [..., N, M].
      eps: squared distances below it count as eps, so that the logarithm stays finite; > 0.
    Returns:
      float32 (wider if an input is) [..., N, M], with gradient 0 by rows nearer than eps.
    Raises:
      ValueError: shapes do not agree, or a static alpha or eps <= 0.
      TypeError: x or y is not floating point.

    >>> print(f"{hilbert_kernel(jnp.zeros((1, 2)), jnp.array([[3.0, 4.0]]), alpha=2.0)[0, 0]:.4f}")
    -3.2189

    Reference: Devroye, Gyorfi and Krzyzak, "The Hilbert Kernel Regression Estimate" (1998). Standard.
    """
    checks.positive(alpha, "alpha")
    checks.positive(eps, "eps")
    squares = pairwise_sq_dists(x, y)
    return -0.5 * _width(alpha, "alpha", squares) * jnp.log(jnp.where(squares < eps, eps, squares))


def _width(value: ArrayLike, name: str, distances: Array) -> Array:
    """The hyperparameter as an array, if it broadcasts to them; NaN where it is not positive."""
    width = jnp.asarray(value)
    checks.broadcasts_to(width, name, distances.shape)
    return jnp.where(width > 0, width, jnp.nan)


def row_normalized_gram(x: ArrayLike, *, eps: float = 1e-12) -> Array:
    r"""Inner products of all pairs of rows, every row of the result scaled to length 1.

    .. math:: G = X X^\top, \qquad \tilde G_{i \cdot} = G_{i \cdot} / \max(\|G_{i \cdot}\|_2, \varepsilon)

    It does not change under rotations of the features or a common scale, so networks of different widths compare by it.

    Args:
      x: float [..., N, D].
      eps: rows of G at or below this length give zeros.
    Returns:
      float32 (wider if x is) [..., N, N] in [-1, 1]; not symmetric.
    Raises:
      ValueError: fewer than two axes.
      TypeError: x is not floating point.

    >>> print(row_normalized_gram(jnp.array([[3.0, 0.0], [0.0, 0.0]])))
    [[1. 0.]
     [0. 0.]]

    Reference: the sample relation of Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut
    Training" (2023), after Tung and Mori, "Similarity-Preserving Knowledge Distillation" (2019). Checked against the
    authors' code.
    """
    x = checks.floating(x, "x")
    if x.ndim < 2:
        raise ValueError(f"x must have shape [..., N, D], got {list(x.shape)}")
    wide = x.astype(accumulation_dtype(x))
    return normalize(jnp.einsum("...nd,...md->...nm", wide, wide, precision="highest"), eps=eps)
