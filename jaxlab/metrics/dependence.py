"""How far distributions lie apart, and how strongly variables depend on each other."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["jensen_shannon_divergence"]


def jensen_shannon_divergence(log_probs: ArrayLike, *, weights: ArrayLike | None = None) -> Array:
    r"""Generalised Jensen-Shannon divergence of several distributions, in nats (0 where they are equal).

    .. math:: \mathrm{JS} = H\Big(\sum_m w_m p_m\Big) - \sum_m w_m H(p_m)

    Args:
      log_probs: float [M, ..., K], logarithms of M distributions that sum to 1; -inf is a probability of 0.
      weights: float [M], >= 0, scaled to sum 1; None weighs all the same.
    Returns:
      float32 or wider [...], in [0, H(w)], at most log M; NaN where the weights sum to 0.
    Raises:
      ValueError: fewer than two axes, or weights are not [M].
      TypeError: log_probs or weights are not floating point.

    >>> print(jensen_shannon_divergence(jnp.log(jnp.array([[1.0, 0.0], [0.0, 1.0]]))).round(4))
    0.6931

    Reference: Lin, "Divergence measures based on the Shannon entropy" (1991). Standard.
    """
    log_probs = checks.floating(log_probs, "log_probs")
    if log_probs.ndim < 2:
        raise ValueError(f"log_probs must have shape [M, ..., K], got {list(log_probs.shape)}")
    logs = log_probs.astype(accumulation_dtype(log_probs))
    shares = jnp.ones(logs.shape[0], logs.dtype) if weights is None else checks.floating(weights, "weights")
    if shares.shape != logs.shape[:1]:
        raise ValueError(f"weights must have shape [{logs.shape[0]}], got {list(shares.shape)}")
    shares = (shares / jnp.sum(shares)).astype(logs.dtype).reshape((-1,) + (1,) * (logs.ndim - 1))
    # A member of weight 0 may hold anything.
    logs = jnp.where(shares > 0, logs, 0.0)
    some = logs > -jnp.inf
    safe = jnp.where(some, logs, 0.0)
    probs = jnp.where(some, jnp.exp(safe), 0.0)
    mixed = jnp.sum(shares * probs, axis=0)
    within = jnp.sum(shares * probs * safe, axis=0)
    gap = jnp.sum(jax.scipy.special.entr(mixed) + within, axis=-1)
    return jnp.where(jnp.isnan(gap), gap, jnp.maximum(gap, 0.0))
