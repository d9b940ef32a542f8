"""Combinations of a zero-shot classifier with what a few examples say."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["ensemble_logits"]


def ensemble_logits(a: ArrayLike, b: ArrayLike, *, alpha: ArrayLike) -> Array:
    r"""Weighted sum of the logits of two classifiers.

    .. math:: z = a + \alpha\, b

    Args:
      a: float [..., C], such as zero-shot logits.
      b: float [..., C], same shape, such as the logits of an adapter.
      alpha: weight of b, a float or an array that broadcasts to [..., C]; sweep it with ``vmap``.
    Returns:
      Shape of a, in the wider of the two dtypes (summed in float32 or wider).
    Raises:
      ValueError: a and b have different shapes, or alpha does not broadcast to them.
      TypeError: a or b is not floating point.

    >>> print(ensemble_logits(jnp.array([2.0, 0.0]), jnp.array([0.0, 1.0]), alpha=3.0))
    [2. 3.]

    Reference: Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation" (2024). Formula checked
    against the authors' code.
    """
    a, b = checks.floating(a, "a"), checks.floating(b, "b")
    checks.same_shape(a, "a", b, "b")
    weight = jnp.asarray(checks.at_least(alpha, "alpha", -jnp.inf))
    try:
        fits = jnp.broadcast_shapes(weight.shape, a.shape) == a.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"alpha must broadcast to {list(a.shape)}, got {list(weight.shape)}")
    out = jnp.promote_types(a.dtype, b.dtype)
    wide = jnp.promote_types(out, jnp.float32)
    return (a.astype(wide) + weight.astype(wide) * b.astype(wide)).astype(out)
