"""Choosing: hard decisions and what passes for their gradient."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["straight_through"]


def straight_through(hard: ArrayLike, soft: ArrayLike) -> Array:
    r"""The value of a hard decision with the gradient of a soft one.

    .. math:: y = h, \qquad \partial y := \partial s

    Args:
      hard: numbers or booleans [...], what is decided (a rounded value, a one-hot vector, a mask); it gets no gradient.
      soft: float [...], same shape, finite, what is differentiated instead.
    Returns:
      The shape and dtype of soft, exactly hard in value where that dtype can hold it.
    Raises:
      ValueError: shapes differ.
      TypeError: soft is not floating point.

    >>> value, slope = jax.value_and_grad(lambda x: straight_through(jnp.round(x), 2.0 * x))(1.3)
    >>> print(value, slope)
    1.0 2.0

    Reference: Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons for Conditional
    Computation" (2013), standard.
    """
    soft, hard = checks.floating(soft, "soft"), jnp.asarray(hard)
    checks.same_shape(hard, "hard", soft, "soft")
    # The difference is exactly 0, so that no rounding touches the value.
    return jax.lax.stop_gradient(hard.astype(soft.dtype)) + (soft - jax.lax.stop_gradient(soft))
