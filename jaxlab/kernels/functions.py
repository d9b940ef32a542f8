"""Kernel functions: Gram matrices between the rows of one or two arrays."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels.distances import pairwise_sq_dists
from jaxlab.typing import Array, ArrayLike

__all__ = ["gaussian_kernel"]


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
