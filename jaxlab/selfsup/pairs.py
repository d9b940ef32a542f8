"""Losses of pairs: whether two views belong together."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["pair_logistic"]


def pair_logistic(
    features1: ArrayLike, features2: ArrayLike, targets: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Negative log-likelihood of whether two rows are a pair (per pair; larger is worse).

    .. math:: -\log \sigma(t \langle f_1, f_2 \rangle), \qquad t = \pm 1

    Args:
      features1: float [..., D].
      features2: float [..., D], the same shape.
      targets: int [...], 1 for a pair and 0 for none; another gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...] > 0.
    Raises:
      ValueError: shapes do not agree.
      TypeError: features are not floating point, targets not integers, or where not boolean.

    >>> print(pair_logistic(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]), jnp.array(1)).round(4))
    0.6931

    Reference: Ge et al., "On the Provable Advantage of Unsupervised Pretraining" (2023), whose contrastive example this
    is. Recalled.
    """
    first, second = checks.floating(features1, "features1"), checks.floating(features2, "features2")
    checks.same_shape(first, "features1", second, "features2")
    targets = checks.integer(targets, "targets")
    if first.ndim < 1 or first.shape[:-1] != targets.shape:
        raise ValueError(f"targets must have shape {list(first.shape[:-1])}, got {list(targets.shape)}")
    mask = checks.mask(where, "where", targets.shape)
    counts = jnp.ones(targets.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(first, second)
    a, b = (jnp.where(counts[..., None], part.astype(dtype), 0.0) for part in (first, second))
    score = jnp.where(targets == 1, 1.0, -1.0).astype(dtype) * jnp.sum(a * b, axis=-1)
    strange = (targets != 0) & (targets != 1)
    return jnp.where(counts, jnp.where(strange, jnp.nan, jax.nn.softplus(-score)), 0.0)
