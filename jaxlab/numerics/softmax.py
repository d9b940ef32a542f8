"""Quantities of the distribution that logits stand for."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["entropy"]


def entropy(logits: ArrayLike, *, axis: int = -1, where: ArrayLike | None = None) -> Array:
    r"""Entropy of the softmax, in nats.

    .. math:: H = -\sum_k p_k \log p_k, \quad p = \mathrm{softmax}(z)

    Args:
      logits: float, with the classes along ``axis``; -inf is a class of probability 0.
      axis: of the classes.
      where: bool, broadcastable to logits, True where a class exists; the others may hold anything.
    Returns:
      float32 or wider, logits reduced over axis, in [0, log K]; 0 where no class exists.
    Raises:
      ValueError: logits are a scalar, or where does not broadcast.
      TypeError: logits are not floating point, or where is not boolean.

    >>> print(entropy(jnp.zeros(4)).round(4))
    1.3863

    Reference: standard.
    """
    logits = checks.floating(logits, "logits")
    if logits.ndim < 1:
        raise ValueError("logits must have shape [..., K], got a scalar")
    z = logits.astype(accumulation_dtype(logits))
    exists = z > -jnp.inf
    # A NaN is not an impossible class, it is an error to be seen.
    exists |= jnp.isnan(z)
    exists &= checks.broadcast_mask(where, "where", z.shape)
    some = exists | ~jnp.any(exists, axis=axis, keepdims=True)
    log_probs = jax.nn.log_softmax(jnp.where(exists, z, 0.0), axis=axis, where=some)
    log_probs = jnp.where(exists, log_probs, 0.0)
    return -jnp.sum(jnp.where(exists, jnp.exp(log_probs) * log_probs, 0.0), axis=axis)
