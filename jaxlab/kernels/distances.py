"""Distances and cosines between all rows of one or two arrays, and distances between the nodes of a tree."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels.rooted_trees import path_sum, rooted
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["cosine_similarity", "double_center", "pairwise_sq_dists", "tree_distance"]


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


def double_center(matrix: ArrayLike, *, unbiased: bool = False, where: ArrayLike | None = None) -> Array:
    r"""A distance or Gram matrix less the means of its rows and columns.

    .. math:: \tilde A_{ij} = A_{ij} - \bar A_{i \cdot} - \bar A_{\cdot j} + \bar A_{\cdot\cdot}

    The unbiased form divides the sums of rows and columns by n - 2 and the total by (n - 1)(n - 2), and its diagonal is
    zero; inner products of two such matrices divided by n (n - 3) are unbiased, for Gram matrices if their diagonal is
    set to zero before.

    Args:
      matrix: float [..., N, N], distances or a Gram matrix.
      unbiased: static.
      where: bool [..., N] (leading axes broadcast), True where a member counts.
    Returns:
      float32 (wider if matrix is) [..., N, N]; 0 in the rows and columns of members that do not count. Rows and columns
      sum to 0. Unbiased, all 0 for fewer than three members.
    Raises:
      ValueError: matrix is not square, or where does not broadcast.
      TypeError: matrix is not floating point, or where is not boolean.

    >>> print(double_center(jnp.array([[0.0, 1.0], [1.0, 0.0]])))
    [[-0.5  0.5]
     [ 0.5 -0.5]]

    Reference: Szekely and Rizzo, "Partial distance correlation with methods for dissimilarities" (2014). Standard.
    """
    matrix = checks.floating(matrix, "matrix")
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ValueError(f"matrix must have shape [..., N, N], got {list(matrix.shape)}")
    counts = checks.broadcast_mask(where, "where", matrix.shape[:-1])
    pairs = counts[..., :, None] & counts[..., None, :]
    # In the unbiased form the diagonal of a distance matrix, which is zero, is part of the sums but not of the result.
    wide = jnp.where(pairs, matrix.astype(accumulation_dtype(matrix)), 0.0)
    num = jnp.sum(counts, axis=-1)[..., None, None].astype(wide.dtype)
    side = jnp.maximum(num - 2 if unbiased else num, 1)
    whole = jnp.maximum((num - 1) * (num - 2) if unbiased else num**2, 1)
    rows, columns = jnp.sum(wide, axis=-1, keepdims=True), jnp.sum(wide, axis=-2, keepdims=True)
    centered = wide - rows / side - columns / side + jnp.sum(rows, axis=-2, keepdims=True) / whole
    if unbiased:
        pairs &= ~jnp.eye(matrix.shape[-1], dtype=bool) & (num > 2)
    return jnp.where(pairs, centered, 0.0)


def tree_distance(parent: ArrayLike, *, length: ArrayLike | None = None) -> Array:
    r"""Lengths of the paths between all nodes of a tree; square them for ``zeroshot.frechet_costs``.

    .. math:: d(u, v) = h_u + h_v - 2 \sum_{a \text{ above both}} w_a

    with w the length of the edge above a node and h its distance from the root. Where this table is too large,
    ``zeroshot.tree_frechet_costs`` does without.

    Args:
      parent: int [N], the parent of every node; the root is its own parent, or has -1.
      length: float [N], >= 0 and finite, of the edge between a node and its parent; None means 1.
    Returns:
      float32 (wider if length is) [N, N], symmetric with a diagonal of 0; exact for whole lengths. All NaN where a
      traced parent is no tree.
    Raises:
      ValueError: shapes do not agree. Where it is not traced also: parent holds a node that does not exist, a cycle or
        several roots, or length a number that is negative, infinite or NaN.
      TypeError: parent does not hold integers, or length is not floating point.

    >>> print(tree_distance(jnp.array([-1, 0, 0, 1])))
    [[0. 1. 1. 2.]
     [1. 0. 2. 1.]
     [1. 2. 0. 3.]
     [2. 1. 3. 0.]]

    Reference: standard.
    """
    tree = rooted(parent, length)
    num_nodes, edge = tree.parent.shape[0], tree.length
    above = path_sum(tree.parent, jnp.eye(num_nodes, dtype=edge.dtype))  # 1 where the column is above the row, or is it
    shared = jnp.matmul(above * edge, above.T, precision="highest")
    height = jnp.diagonal(shared)
    distances = height[:, None] + height[None, :] - 2.0 * shared
    return jnp.where(tree.valid, jnp.maximum(distances, 0.0), jnp.nan)
