"""Matching the features of a teacher."""

import jax
import jax.numpy as jnp

from jaxlab import checks, numerics
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["feature_mse"]


def feature_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    normalize: bool = False,
) -> Array:
    r"""Mean squared difference of two representations, a value per example.

    .. math:: \ell = \frac{1}{D} \sum_d w_d \, (f_d - g_d)^2

    Papers that print the squared distance mean D times this.

    Args:
      student: float [B, ..., D], f.
      teacher: float [B, ..., D], g; it passes no gradient.
      weights: float, broadcastable to [B, ..., D]; multiplies the squares, the divisor stays.
      normalize: both to unit length along the last axis first, static.
    Returns:
      float32 or wider [B], the mean over all axes but the first.
    Raises:
      ValueError: shapes do not agree, or weights do not broadcast.
      TypeError: student, teacher or weights are not floating point.

    >>> print(feature_mse(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])))
    [1.]

    Reference: standard.
    """
    student, teacher = checks.floating(student, "student"), checks.floating(teacher, "teacher")
    checks.same_shape(student, "student", teacher, "teacher")
    if student.ndim < 2:
        raise ValueError(f"student must have shape [B, ..., D], got {list(student.shape)}")
    dtype = accumulation_dtype(student, teacher)
    pair = (student.astype(dtype), jax.lax.stop_gradient(teacher).astype(dtype))
    ours, theirs = map(numerics.normalize, pair) if normalize else pair
    squares = jnp.square(ours - theirs)
    if weights is not None:
        squares = squares * checks.broadcasts_to(checks.floating(weights, "weights"), "weights", squares.shape)
    return jnp.mean(squares, axis=tuple(range(1, squares.ndim)))
