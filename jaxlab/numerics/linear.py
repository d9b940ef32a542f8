"""Symmetric positive definite systems."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["solve_spd"]


def _square(matrix: ArrayLike, name: str) -> Array:
    array = checks.floating(matrix, name)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2]:
        raise ValueError(f"{name} must have shape [..., D, D], got {list(array.shape)}")
    return array.astype(accumulation_dtype(array))


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
