"""Losses in which classes or entries weigh differently."""

import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["weighted_binary_cross_entropy"]


def weighted_binary_cross_entropy(
    logits: ArrayLike, targets: ArrayLike, *, pos_weight: ArrayLike = 1.0, where: ArrayLike | None = None
) -> Array:
    r"""Binary cross entropy whose positive part weighs ``pos_weight`` (one value per entry; larger is worse).

    .. math:: \ell = -w\, t \log \sigma(z) - (1 - t) \log \sigma(-z)

    For several labels per example, hide the classes that are not asked for by ``where``: they then add nothing, while
    a logit and a target filled with 0 would add log 2 each.

    Args:
      logits: float [...].
      targets: float, int or bool, the shape of logits, in [0, 1].
      pos_weight: w > 0, a float or an array that broadcasts to logits, such as [C].
      where: bool, the shape of logits, True where an entry counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are), the shape of logits; finite for finite logits.
    Raises:
      ValueError: shapes do not agree, or a static pos_weight <= 0.
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(weighted_binary_cross_entropy(jnp.zeros(2), jnp.array([1, 0]), pos_weight=3.0).round(3))
    [2.079 0.693]

    Reference: standard.
    """
    logits = checks.floating(logits, "logits")
    targets = jnp.asarray(targets)
    checks.same_shape(logits, "logits", targets, "targets")
    checks.positive(pos_weight, "pos_weight")
    mask = checks.mask(where, "where", logits.shape)
    dtype = accumulation_dtype(logits)
    z, t = logits.astype(dtype), targets.astype(dtype)
    if mask is not None:
        z, t = jnp.where(mask, z, 0.0), jnp.where(mask, t, 0.0)
    # The two parts are each the cross entropy of a certain target.
    positive = optax.losses.sigmoid_binary_cross_entropy(z, jnp.ones_like(z))
    negative = optax.losses.sigmoid_binary_cross_entropy(z, jnp.zeros_like(z))
    loss = jnp.asarray(pos_weight, dtype) * t * positive + (1 - t) * negative
    return loss if mask is None else jnp.where(mask, loss, 0.0)
