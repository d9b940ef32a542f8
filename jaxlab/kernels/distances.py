"""Distances and cosines between all rows of one or two arrays."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["cosine_similarity", "pairwise_sq_dists"]


def _rows(x: ArrayLike, y: ArrayLike | None) -> tuple[Array, Array]:
    """Both arrays in one accumulation dtype, with widths and leading axes that agree; y = None means y = x."""
    x = checks.floating(x, "x")
    other = x if y is None else checks.floating(y, "y")
    for name, value in (("x", x), ("y", other)):
        if value.ndim < 2:
            raise ValueError(f"{name} must have shape [..., N, D], got {list(value.shape)}")
    if x.shape[-1] != other.shape[-1]:
        raise ValueError(f"y must have rows of width {x.shape[-1]} as x does, got {list(other.shape)}")
    try:
        jnp.broadcast_shapes(x.shape[:-2], other.shape[:-2])
    except ValueError as error:
        raise ValueError(
            f"the leading axes of x and y must broadcast, got {list(x.shape)} and {list(other.shape)}"
        ) from error
    dtype = accumulation_dtype(x, other)
    return x.astype(dtype), other.astype(dtype)


def _inner(x: Array, y: Array) -> Array:
    return jnp.einsum("...nd,...md->...nm", x, y, precision="highest")


def pairwise_sq_dists(x: ArrayLike, y: ArrayLike | None = None) -> Array:
    r"""Squared Euclidean distances between all rows of x and all rows of y.

    .. math:: d_{ij} = \|x_i - y_j\|^2 = \|x_i - c\|^2 + \|y_j - c\|^2 - 2 \langle x_i - c,\, y_j - c \rangle

    The distance does not depend on c, its rounding does: the three terms cancel where the distance is small beside
    them. c is the mean row of y, so a common offset of the data costs nothing. The absolute error is about 1e-7 times
    :math:`\|x_i - c\|^2 + \|y_j - c\|^2`; for the distance of one given pair, subtract the rows instead.

    Args:
      x: float [..., N, D].
      y: float [..., M, D], leading axes that broadcast with those of x; None means y = x.
    Returns:
      float32 (wider if an input is) [..., N, M], >= 0, with gradient 0 where two rows coincide. For y = None the
      diagonal is exactly 0. A row that holds NaN or is too long to be squared spoils its own distances only.
    Raises:
      ValueError: fewer than two axes, or widths or leading axes do not agree.
      TypeError: x or y is not floating point.

    >>> print(pairwise_sq_dists(jnp.array([[0.0, 0.0], [3.0, 4.0]])))
    [[ 0. 25.]
     [25.  0.]]

    Reference: standard.
    """
    rows, columns = _rows(x, y)
    # Rows whose square is not finite would spoil the centre, and with it every other distance.
    usable = jnp.isfinite(jnp.sum(columns**2, axis=-1, keepdims=True))
    total = jnp.sum(jnp.where(usable, columns, 0.0), axis=-2, keepdims=True)
    center = total / jnp.maximum(jnp.sum(usable, axis=-2, keepdims=True), 1)
    center = jax.lax.stop_gradient(center)  # the distance does not depend on it
    rows, columns = rows - center, columns - center
    squares = jnp.sum(rows**2, axis=-1)[..., :, None] + jnp.sum(columns**2, axis=-1)[..., None, :]
    distances = jnp.maximum(squares - 2.0 * _inner(rows, columns), 0.0)
    if y is None:
        distances = jnp.where(jnp.eye(rows.shape[-2], dtype=bool), 0.0, distances)
    return distances


def cosine_similarity(x: ArrayLike, y: ArrayLike | None = None) -> Array:
    r"""Cosines of the angles between all rows of x and all rows of y.

    .. math:: s_{ij} = \langle x_i,\, y_j \rangle / (\|x_i\| \, \|y_j\|)

    Args:
      x: float [..., N, D].
      y: float [..., M, D], leading axes that broadcast with those of x; None means y = x.
    Returns:
      float32 (wider if an input is) [..., N, M] in [-1, 1]; 0 with gradient 0 where a row has a length of at most
      1e-12.
    Raises:
      ValueError: fewer than two axes, or widths or leading axes do not agree.
      TypeError: x or y is not floating point.

    >>> print(cosine_similarity(jnp.array([[2.0, 0.0]]), jnp.array([[5.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])))
    [[ 1.  0. -1.]]

    Reference: standard.
    """
    rows, columns = _rows(x, y)
    return jnp.clip(_inner(normalize(rows), normalize(columns)), -1.0, 1.0)
