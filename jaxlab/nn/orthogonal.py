"""Orthogonal matrices from free parameters, so that plain gradient steps keep them orthogonal."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["cayley", "householder_product"]


def cayley(a: ArrayLike) -> Array:
    r"""Rotation matrix from any square matrix, by the Cayley map.

    .. math:: Q = (I - A)(I + A)^{-1}, \quad A = \tfrac{1}{2} (a - a^\top)

    Every a is allowed, and only its skew part matters: for a skew a, A is a. The determinant is +1, and no eigenvalue
    is -1: half turns are limits only. (``jax.scipy.linalg.expm`` of a skew matrix reaches them.)

    Args:
      a: float [..., D, D]; zeros give the identity.
    Returns:
      float32 (wider if a is) [..., D, D], orthogonal up to rounding, about 1e-7 times :math:`1 + \|A\|`.
    Raises:
      ValueError: a is not square in its last two axes.
      TypeError: a is not floating point.

    >>> print(cayley(jnp.array([[0.0, -1.0], [1.0, 0.0]])))  # tan(45 degrees) = 1: a quarter turn back
    [[ 0.  1.]
     [-1.  0.]]

    Reference: the learned rotations of Zhou et al., "BT^2: Backward-compatible Training with Basis Transformation"
    (2023), and Ricci et al., "Backward-Compatible Aligned Representations via an Orthogonal Transformation Layer"
    (2024), whose code takes the matrix exponential of the skew part instead; the map itself is standard.
    """
    a = checks.floating(a, "a")
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"a must have shape [..., D, D], got {list(a.shape)}")
    wide = a.astype(accumulation_dtype(a))
    skew = 0.5 * (wide - jnp.swapaxes(wide, -1, -2))
    eye = jnp.eye(a.shape[-1], dtype=wide.dtype)
    # (I - A) and the inverse of (I + A) commute, so the inverse may come first.
    return jnp.linalg.solve(eye + skew, eye - skew)


def householder_product(v: ArrayLike) -> Array:
    r"""Product of reflections, an orthogonal matrix from any K vectors.

    .. math:: Q = H_1 H_2 \cdots H_K, \quad H_k = I - 2\, \frac{v_k v_k^\top}{\|v_k\|^2}

    D reflections reach every orthogonal matrix of width D; two equal ones after each other cancel.

    Args:
      v: float [..., K, D], K >= 0; only the directions matter. A zero vector reflects nothing and gets no gradient.
    Returns:
      float32 (wider if v is) [..., D, D]; the determinant is -1 to the number of vectors that are not zero.
    Raises:
      ValueError: v has fewer than two axes.
      TypeError: v is not floating point.

    >>> print(householder_product(jnp.array([[0.0, 5.0]])))
    [[ 1.  0.]
     [ 0. -1.]]

    Reference: standard.
    """
    v = checks.floating(v, "v")
    if v.ndim < 2:
        raise ValueError(f"v must have shape [..., K, D], got {list(v.shape)}")
    unit = normalize(v.astype(accumulation_dtype(v)), eps=0.0)
    eye = jnp.broadcast_to(jnp.eye(v.shape[-1], dtype=unit.dtype), (*v.shape[:-2], v.shape[-1], v.shape[-1]))

    def reflect(q: Array, u: Array) -> tuple[Array, None]:
        along = jnp.einsum("...ij,...j->...i", q, u, precision="highest")
        return q - 2.0 * along[..., :, None] * u[..., None, :], None

    return jax.lax.scan(reflect, eye, jnp.moveaxis(unit, -2, 0))[0]
