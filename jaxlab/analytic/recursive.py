"""Recursive least squares: the inverse of X'X + ridge I is kept, and every chunk updates it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from jaxlab import checks
from jaxlab.analytic.gram import regression_rows
from jaxlab.numerics.norms import state_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = ["RLSState", "rls_init", "rls_update"]


class RLSState(NamedTuple):
    """Recursive least squares: covariance = (X'X + ridge I)^-1 and the current weight."""

    covariance: Array  # [D, D]
    weight: Array  # [D, K]


def rls_init(dim: int, out: int, *, ridge: float = 0.1, dtype: DTypeLike | None = None) -> RLSState:
    """Recursive ridge regression before the first row: covariance I / ridge, weight zero.

    In float32 the published order of evaluation loses the solution when ridge is small; ``rls_update`` evaluates it
    better, but its rounding still grows with every update and nothing refines it: use it with float64 or ridge >= 1,
    else ``gram_init``.

    Args:
      dim: D >= 1, static.
      out: K >= 1, static.
      ridge: gamma > 0, fixed for the whole stream.
      dtype: float32 (default) or float64.
    Returns:
      RLSState.
    Raises:
      ValueError: sizes below 1, or ridge <= 0.
      TypeError: dtype narrower than float32.

    >>> print(rls_init(2, 1, ridge=0.5).covariance)
    [[2. 0.]
     [0. 2.]]

    Reference: as ``gram_init``. Checked against the authors' code.
    """
    checks.size(dim, "dim")
    checks.size(out, "out")
    checks.positive(ridge, "ridge")
    dtype = state_dtype(dtype)
    return RLSState(jnp.eye(dim, dtype=dtype) / jnp.asarray(ridge, dtype), jnp.zeros((dim, out), dtype))


def rls_update(state: RLSState, x: ArrayLike, targets: ArrayLike, *, where: ArrayLike | None = None) -> RLSState:
    r"""Recursive ridge regression with a chunk of rows added.

    .. math:: K = (I + X R X^\top)^{-1}, \quad R \leftarrow R - R X^\top K X R,
              \quad W \leftarrow W + R X^\top (Y - X W)

    The weight uses the new R. A class that was not exposed before is a zero column of W, so the published split into
    exposed and unexposed classes (recalled) is this same update.

    Args:
      state: from ``rls_init`` or an earlier update.
      x: float [N, D], no wider than the state; the [N, N] system is solved, so keep N below D.
      targets: float [N, K].
      where: bool [N], True where a row counts; the others may hold anything. A chunk without rows changes nothing.
    Returns:
      RLSState of the same shapes.
    Raises:
      ValueError: shapes do not agree.
      TypeError: x or targets are not floating point or wider than the state, where is not boolean.

    >>> state = rls_update(rls_init(1, 1, ridge=1.0), jnp.array([[1.0]]), jnp.array([[1.0]]))
    >>> print(state.covariance, state.weight)
    [[0.5]] [[0.5]]

    Reference: as ``gram_init``. Checked against the authors' code, which evaluates R X' K X R from the left at D^3 cost
    and inverts; here X R is formed once and a Cholesky factor of I + X R X' is used.
    """
    x, targets, _ = regression_rows(x, targets, state.weight, where)
    with jax.default_matmul_precision("highest"):
        projected = x @ state.covariance  # X R [N, D]
        inner = jnp.eye(x.shape[0], dtype=x.dtype) + projected @ x.T
        half = jsl.solve_triangular(jnp.linalg.cholesky(inner), projected, lower=True)
        covariance = state.covariance - half.T @ half
        weight = state.weight + covariance @ (x.T @ (targets - x @ state.weight))
    return RLSState(covariance, weight)
