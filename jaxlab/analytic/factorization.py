"""Factorisations of matrices, and what they solve in closed form."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["NMF", "anchor_rows", "nmf", "procrustes"]


def procrustes(x: ArrayLike, y: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Orthogonal matrix that brings the rows of x closest to those of y.

    .. math:: Q = \arg\min_{Q^\top Q = I} \sum_n \|x_n Q - y_n\|^2 = U V^\top, \quad X^\top Y = U S V^\top

    Nothing is centred: subtract the means first where an offset may differ. Pad the narrower rows with zeros.

    Args:
      x: float [N, D].
      y: float [N, D], row n is where row n of x should go.
      where: bool [N], True where a row counts.
    Returns:
      float32 or wider [D, D], apply it as ``x @ Q``; the determinant may be -1. Where X^T Y has less than full rank it
      is one of several minima. The gradient is that of the minimum where there is one, 0 along what is free.
    Raises:
      ValueError: shapes differ, or where is not [N].
      TypeError: x or y is not floating point, or where is not boolean.

    >>> x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    >>> print(procrustes(x, x[:, ::-1]))
    [[0. 1.]
     [1. 0.]]

    Reference: standard (Schonemann 1966), as the baseline without training of Ricci et al., "Backward-Compatible
    Aligned Representations via an Orthogonal Transformation Layer" (2024).
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    y = checks.rank(checks.floating(y, "y"), "y", 2, layout="[N, D]")
    checks.same_shape(x, "x", y, "y")
    mask = checks.mask(where, "where", x.shape[:1])
    dtype = accumulation_dtype(x, y)
    rows, targets = x.astype(dtype), y.astype(dtype)
    if mask is not None:
        rows, targets = (jnp.where(mask[:, None], value, 0.0) for value in (rows, targets))
    return _polar(jnp.matmul(rows.T, targets, precision="highest"))


@jax.custom_jvp
def _polar(matrix: Array) -> Array:
    """The orthogonal factor of a square matrix."""
    u, _, vh = jnp.linalg.svd(matrix)
    return jnp.matmul(u, vh, precision="highest")


@_polar.defjvp
def _polar_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # Through the singular vectors the gradient would be infinite wherever two singular values are equal.
    (matrix,), (change,) = primals, tangents
    u, s, vh = jnp.linalg.svd(matrix)
    with jax.default_matmul_precision("highest"):
        turned = u.T @ change @ vh.T
        sums = s[:, None] + s
        free = sums <= jnp.finfo(s.dtype).eps * jnp.max(s, initial=0.0)
        skew = jnp.where(free, 0.0, (turned - turned.T) / jnp.where(free, 1.0, sums))
        return u @ vh, u @ skew @ vh


class NMF(NamedTuple):
    """A non-negative factorisation x ~ left right; ``errors`` [num_iters + 1] are its squared errors, start first."""

    left: Array  # [N, K]
    right: Array  # [K, D]
    errors: Array


def nmf(
    x: ArrayLike,
    *,
    rank: int,
    key: Array,
    num_iters: int = 1000,
    num_restarts: int = 1,
    right: ArrayLike | None = None,
) -> NMF:
    r"""Non-negative matrix factorisation by multiplicative updates, the best of several starts.

    .. math:: \min_{L, R \ge 0} \|X - L R\|_F^2,
              \qquad L \leftarrow L \odot \frac{X R^\top}{L R R^\top},
              \quad R \leftarrow R \odot \frac{L^\top X}{L^\top L R}

    No update increases the error. An entry that is 0 stays 0. The factors are unique at most up to the order and the
    scale of the components, and often not even that: see ``anchor_rows``.

    Args:
      x: float [N, D] >= 0; entries below 0 count as 0.
      rank: K components, static.
      key: typed PRNG key of the starts.
      num_iters: updates of both factors, static.
      num_restarts: starts, of which the smallest error wins, static; one after the other.
      right: float [K, D] >= 0, where the right factor starts; drawn at random unless given.
    Returns:
      NMF in float32 or wider.
    Raises:
      ValueError: shapes do not agree, or a size is below 1.
      TypeError: x or right is not floating point.

    >>> found = nmf(jnp.array([[1.0, 2.0], [2.0, 4.0]]), rank=1, key=jax.random.key(0), num_iters=10)
    >>> print((found.left @ found.right).round(3))
    [[1. 2.]
     [2. 4.]]

    Reference: Lee and Seung, "Algorithms for Non-negative Matrix Factorization" (2001). Standard; scikit-learn's
    default solver descends by coordinates instead.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    checks.size(rank, "rank")
    checks.size(num_iters, "num_iters")
    checks.size(num_restarts, "num_restarts")
    rows = jnp.maximum(x.astype(accumulation_dtype(x)), 0.0)
    given = None if right is None else checks.floating(right, "right").astype(rows.dtype)
    if given is not None and given.shape != (rank, x.shape[1]):
        raise ValueError(f"right must have shape {[rank, x.shape[1]]}, got {list(given.shape)}")
    # Entries of the product are then as large as those of x.
    size = jnp.sqrt(jnp.mean(rows) / rank)
    tiny = jnp.finfo(rows.dtype).tiny

    def ratio(a: Array, b: Array) -> Array:
        return a / jnp.maximum(b, tiny)

    def error(left: Array, right: Array) -> Array:
        return jnp.sum(jnp.square(rows - left @ right))

    def step(factors: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        left, right = factors
        left = left * ratio(rows @ right.T, left @ (right @ right.T))
        right = right * ratio(left.T @ rows, (left.T @ left) @ right)
        return (left, right), error(left, right)

    def run(start: Array) -> NMF:
        draw = lambda n, shape: size * jnp.abs(jax.random.normal(jax.random.fold_in(start, n), shape, rows.dtype))  # noqa: E731
        left = draw(0, (rows.shape[0], rank))
        right = draw(1, (rank, rows.shape[1])) if given is None else jnp.maximum(given, 0.0)
        first = error(left, right)
        (left, right), errors = jax.lax.scan(step, (left, right), length=num_iters)
        return NMF(left, right, jnp.concatenate([first[None], errors]))

    with jax.default_matmul_precision("highest"):
        if num_restarts == 1:
            return run(key)
        found = jax.lax.map(run, jax.random.split(key, num_restarts))
    best = jnp.argmin(found.errors[:, -1])
    return jax.tree.map(lambda leaf: leaf[best], found)


def anchor_rows(x: ArrayLike, *, rank: int, where: ArrayLike | None = None) -> Array:
    r"""The rows of which all others are mixtures (successive projection): what makes a factorisation unique.

    .. math:: i_k = \arg\max_i \|r_i\|, \quad r_i \leftarrow r_i - \langle r_i, u \rangle u,
              \quad u = r_{i_k} / \|r_{i_k}\|

    Where X = L R with a row of L for every component that holds this component alone (an anchor), those rows of X are R
    up to scale, found exactly in any data without noise. Rows are compared as distributions, divided by their sums.

    Args:
      x: float [N, D] >= 0; entries below 0 count as 0, and rows of zeros are never chosen before others.
      rank: K rows to find, static, 1 <= K <= min(N, D).
      where: bool [N], True where a row may be chosen.
    Returns:
      int32 [K], different rows in the order found; where x has a lower rank, the last ones mean nothing.
    Raises:
      ValueError: x is not [N, D], where is not [N], or rank is out of range.
      TypeError: x is not floating point, or where is not boolean.

    >>> print(anchor_rows(jnp.array([[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]]), rank=2))
    [1 2]

    Reference: Araujo et al., "The successive projections algorithm" (2001); its use for separable factorisations is
    standard.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    if checks.size(rank, "rank") > min(x.shape):
        raise ValueError(f"rank must be at most {min(x.shape)}, the smaller side of x, got {rank}")
    mask = checks.mask(where, "where", x.shape[:1])
    kept = jnp.ones(x.shape[0], bool) if mask is None else mask
    rows = jnp.where(kept[:, None], jnp.maximum(x.astype(accumulation_dtype(x)), 0.0), 0.0)
    total = jnp.sum(rows, axis=1, keepdims=True)
    rows = rows / jnp.where(total > 0, total, 1.0)

    def step(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        rest, free = state
        index = jnp.argmax(jnp.where(free, jnp.sum(jnp.square(rest), axis=1), -1.0)).astype(jnp.int32)
        direction = normalize(rest[index])
        rest = rest - jnp.outer(jnp.matmul(rest, direction, precision="highest"), direction)
        return (rest, free & (jnp.arange(len(free)) != index)), index

    return jax.lax.scan(step, (rows, kept), length=rank)[1]
