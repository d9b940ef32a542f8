"""Kernel functions: Gram matrices between the rows of one or two arrays."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels.distances import pairwise_sq_dists
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["gaussian_kernel", "row_normalized_gram"]


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
    width = jnp.asarray(bandwidth)
    try:
        fits = jnp.broadcast_shapes(width.shape, distances.shape) == distances.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"bandwidth must broadcast to {list(distances.shape)}, got {list(width.shape)}")
    width = jnp.where(width > 0, width, jnp.nan)
    # Divided twice: the square of a small or large bandwidth would leave the range of float32.
    return jnp.exp(-0.5 * (distances / width) / width)


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
