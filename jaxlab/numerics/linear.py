"""Symmetric positive definite systems, spectra, and matrices with given marginals."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from jaxlab import checks
from jaxlab.numerics.eigenvalues import eigvalsh
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["gram_spectrum", "sinkhorn", "solve_spd"]


def _square(matrix: ArrayLike, name: str) -> Array:
    array = checks.floating(matrix, name)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ValueError(f"{name} must have shape [..., D, D], got {list(array.shape)}")
    return array.astype(accumulation_dtype(array))


STRIP, CHUNK = 128, 256  # columns and rows of a block of ``row_products``; both fit a CPU's cache


def row_products(x: Array, y: Array) -> tuple[Array, Array]:
    """X'X and X'Y of rows [N, D] and [N, K], of one dtype, in one pass over the rows where they are many.

    A matrix product does not know that X'X is symmetric: strips of columns of a chunk of rows do half the work, as
    BLAS's own symmetric product does. X'Y is summed transposed, which the CPU does twice as fast for few targets. The
    chunks are cut out one by one: to reshape x would copy it.
    """
    rows, dim = x.shape
    if dim < 2 * STRIP or rows < 4 * CHUNK:
        return _product(x, x), _product(x, y)
    starts = range(0, dim, STRIP)

    def add(first: ArrayLike, size: int, total: tuple[Array, ...]) -> tuple[Array, ...]:
        def columns(start: int, stop: int) -> Array:
            return jax.lax.dynamic_slice(x, (first, start), (size, min(stop, dim) - start))

        strips = [_product(columns(i, i + STRIP), columns(i, dim)) for i in starts]
        cross = _product(jax.lax.dynamic_slice_in_dim(y, first, size), columns(0, dim))
        return tuple(jnp.add(old, new) for old, new in zip(total, (*strips, cross), strict=True))

    chunks, rest = divmod(rows, CHUNK)
    sums = tuple(jnp.zeros((min(STRIP, dim - i), dim - i), x.dtype) for i in starts)
    sums = add(rows - rest, rest, (*sums, jnp.zeros((y.shape[1], dim), x.dtype)))
    *strips, cross = jax.lax.fori_loop(0, chunks, lambda chunk, total: add(chunk * CHUNK, CHUNK, total), sums)
    half = jnp.concatenate([jnp.pad(strip, ((0, 0), (i, 0))) for i, strip in zip(starts, strips, strict=True)])
    return jnp.triu(half) + jnp.triu(half, 1).T, cross.T


def self_product(x: Array) -> Array:
    """X'X of rows [N, D], as in ``row_products``."""
    return row_products(x, jnp.zeros((x.shape[0], 0), x.dtype))[0]


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a.T, b, precision="highest")


def gram_spectrum(x: ArrayLike, *, center: bool = False) -> Array:
    r"""Eigenvalues of X X' in descending order, by the smaller of X X' and X'X.

    .. math:: \lambda_i(X X^\top) = \lambda_i(X^\top X) = \sigma_i(X)^2

    Args:
      x: float [..., N, D].
      center: take the mean row off first, static.
    Returns:
      float32 (wider if x is) [..., min(N, D)], >= 0; the others are 0. Gradients of sums of functions of the
      eigenvalues are those of the functions, repeated eigenvalues or not.
    Raises:
      ValueError: fewer than two axes.
      TypeError: x is not floating point.

    >>> print(gram_spectrum(jnp.array([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]])))
    [9. 4.]

    Reference: standard.
    """
    x = checks.floating(x, "x")
    if x.ndim < 2:
        raise ValueError(f"x must have shape [..., N, D], got {list(x.shape)}")
    wide = x.astype(accumulation_dtype(x))
    if center:
        wide = wide - jnp.mean(wide, axis=-2, keepdims=True)
    equation = "...nd,...ne->...de" if x.shape[-2] > x.shape[-1] else "...nd,...md->...nm"
    gram = jnp.einsum(equation, wide, wide, precision="highest")
    return jnp.maximum(eigvalsh(gram)[..., ::-1], 0.0)


def solve_spd(matrix: ArrayLike, rhs: ArrayLike, *, ridge: ArrayLike = 0.0) -> Array:
    r"""Solution of a symmetric positive definite system by Cholesky factorisation.

    .. math:: (A + \rho I)\, x = b

    Args:
      matrix: float [..., D, D], symmetric positive definite after the ridge is added.
      rhs: float [..., D, K] with the same leading axes (or [D] for one matrix and one right-hand side).
      ridge: added to the diagonal, >= 0; a float or an array [...].
    Returns:
      The solution in float32 or wider, shaped like rhs; NaN where A + ridge I is not positive definite.
    Raises:
      ValueError: shapes do not agree, or a static ridge < 0.
      TypeError: matrix or rhs is not floating point.

    >>> print(solve_spd(jnp.diag(jnp.array([0.0, 3.0])), jnp.array([4.0, 8.0]), ridge=1.0))
    [4. 2.]

    Reference: standard.
    """
    matrix = _square(matrix, "matrix")
    rhs = checks.floating(rhs, "rhs")
    checks.at_least(ridge, "ridge", 0.0)
    vector = rhs.ndim == 1
    columns = rhs[:, None] if vector else rhs
    batch = matrix.shape[:-2]
    if columns.ndim < 2 or columns.shape[-2] != matrix.shape[-1] or columns.shape[:-2] != batch:
        wanted = ", ".join(map(str, [*batch, matrix.shape[-1], "K"]))
        raise ValueError(f"rhs must have shape [{wanted}] to match matrix, got {list(rhs.shape)}")
    if jnp.shape(ridge) not in ((), batch):
        raise ValueError(f"ridge must be a number or have shape {list(batch)}, got {list(jnp.shape(ridge))}")
    dtype = jnp.promote_types(matrix.dtype, columns.dtype)
    eye = jnp.eye(matrix.shape[-1], dtype=dtype)
    shifted = matrix + jnp.asarray(ridge, dtype)[..., None, None] * eye
    with jax.default_matmul_precision("highest"):
        solution = jsl.cho_solve((jnp.linalg.cholesky(shifted), True), columns.astype(dtype))
    return solution[..., 0] if vector else solution


def sinkhorn(
    scores: ArrayLike,
    *,
    epsilon: ArrayLike = 0.05,
    num_iters: int = 3,
    row_marginal: ArrayLike | None = None,
    column_marginal: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    r"""Balanced soft assignment of rows to columns, in the log domain (couples the batch).

    .. math:: Q_{nk} = u_n\, e^{s_{nk} / \varepsilon}\, v_k, \quad \textstyle\sum_k Q_{nk} = r_n, \;
              \sum_n Q_{nk} \to c_k

    Each iteration scales the columns, then the rows, so that the rows are exact and the columns approximate after few
    iterations; in the limit Q is the transport plan with the marginals r and c that maximises
    :math:`\langle Q, s \rangle + \varepsilon H(Q)`.

    Args:
      scores: float [N, K], larger = more alike.
      epsilon: > 0; small sharpens.
      num_iters: iterations, static, >= 1.
      row_marginal: float [N] >= 0; None gives every row the mass 1.
      column_marginal: float [K] > 0, scaled to the mass of the rows; None shares it equally.
      where: bool [N], True where a row counts; the others are assigned nothing and take no mass.
      axis_name: the mapped axis over which the rows are split; the columns are balanced over all its members.
    Returns:
      float32 or wider [N, K] >= 0, rows with sum ``row_marginal``.
    Raises:
      ValueError: shapes do not agree, num_iters < 1, or a static epsilon <= 0.
      TypeError: scores or a marginal are not floating point, or where is not boolean.

    >>> plan = sinkhorn(jnp.array([[3.0, 2.0], [3.0, 1.0]]), epsilon=1.0, num_iters=50)
    >>> [f"{value:.3f}" for value in plan.flatten()]
    ['0.378', '0.622', '0.622', '0.378']

    Reference: Cuturi, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport" (2013); the defaults and the
    order of the scalings as in Gu et al., "Class-relation Knowledge Distillation for Novel Class Discovery" (2023),
    checked against the authors' code, which exponentiates the scores and overflows beyond 4.
    """
    scores = checks.rank(checks.floating(scores, "scores"), "scores", 2, layout="[N, K]")
    checks.positive(epsilon, "epsilon")
    checks.size(num_iters, "num_iters")
    rows, columns = scores.shape
    mask = checks.mask(where, "where", (rows,))
    dtype = accumulation_dtype(scores)

    def marginal(value: ArrayLike | None, name: str, length: int) -> Array:
        if value is None:
            return jnp.ones(length, dtype)
        array = checks.floating(value, name)
        if array.shape != (length,):
            raise ValueError(f"{name} must have shape [{length}], got {list(array.shape)}")
        return array.astype(dtype)

    def total(x: Array) -> Array:
        return x if axis_name is None else jax.lax.psum(x, axis_name)

    mass = marginal(row_marginal, "row_marginal", rows)
    mass = mass if mask is None else jnp.where(mask, mass, 0.0)
    counts = mass > 0
    kernel = jnp.where(counts[:, None], scores.astype(dtype), 0.0) / epsilon
    log_rows = jnp.log(jnp.where(counts, mass, 1.0))
    shares = marginal(column_marginal, "column_marginal", columns)
    log_columns = jnp.log(shares / jnp.sum(shares)) + jnp.log(jnp.maximum(total(jnp.sum(mass)), jnp.finfo(dtype).tiny))

    def column_sums(x: Array) -> Array:
        """log of the sum over the rows that count, on all members of the mapped axis."""
        x = jnp.where(counts[:, None], x, -jnp.inf)
        top = jax.lax.stop_gradient(jnp.max(x, axis=0, initial=jnp.finfo(dtype).min))
        top = top if axis_name is None else jax.lax.pmax(top, axis_name)
        sums = total(jnp.sum(jnp.exp(x - top), axis=0))
        return top + jnp.log(jnp.where(sums > 0, sums, 1.0))

    def scale(_: int, u: Array) -> Array:
        v = log_columns - column_sums(kernel + u[:, None])
        return log_rows - jax.nn.logsumexp(kernel + v, axis=1)

    # The last column scaling is that of the loop's last step: it belongs to the row scaling before.
    u = jax.lax.fori_loop(0, num_iters - 1, scale, jnp.zeros(rows, dtype))
    v = log_columns - column_sums(kernel + u[:, None])
    plan = mass[:, None] * jax.nn.softmax(kernel + v, axis=1)
    return jnp.where(counts[:, None], plan, 0.0)
