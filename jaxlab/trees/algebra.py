"""Sums and means of pytrees."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["average"]


def _leaves(stacked: PyTree) -> int | None:
    """The common length of the leading axis of all leaves (None for a tree without leaves)."""
    length = None
    for path, leaf in jax.tree_util.tree_leaves_with_path(stacked):
        name = "stacked" + jax.tree_util.keystr(path)
        array = checks.floating(leaf, name)
        if array.ndim == 0:
            raise ValueError(f"{name} must have a leading axis to average over, got a scalar")
        length = array.shape[0] if length is None else length
        if array.shape[0] != length or length == 0:
            raise ValueError(f"{name} must have a leading axis as long as the others, >= 1, got {list(array.shape)}")
    return length


def average(stacked: PyTree, *, weights: ArrayLike | None = None) -> PyTree:
    r"""Weighted mean over the leading axis of every leaf: model soups, federated averages.

    .. math:: \bar\theta = \sum_m w_m \theta_m \Big/ \sum_m w_m

    Args:
      stacked: pytree of float arrays [M, ...] with the same M >= 1.
      weights: [M], >= 0, normalised here; None weighs all the same. A negative weight gives NaN.
    Returns:
      The tree without the leading axis, in float32 or wider. All weights 0 give zeros. An entry that is not finite is
      left out where its weight is 0.
    Raises:
      ValueError: leading axes differ or are missing, or weights do not have shape [M].
      TypeError: a leaf is not floating point.

    >>> print(average({"w": jnp.array([[0.0, 2.0], [4.0, 2.0]])}, weights=jnp.array([1, 3])))
    {'w': Array([3., 2.], dtype=float32)}

    Reference: standard.
    """
    length = _leaves(stacked)
    if length is None:
        return stacked
    shares = jnp.ones(length) if weights is None else jnp.asarray(weights)
    if shares.shape != (length,):
        raise ValueError(f"weights must have shape {[length]}, one per entry of stacked, got {list(shares.shape)}")
    shares = jnp.where(shares >= 0, shares, jnp.nan)

    def mean(leaf: Array) -> Array:
        wide = jnp.asarray(leaf).astype(accumulation_dtype(leaf))
        share = shares.astype(wide.dtype)
        column = share.reshape(share.shape + (1,) * (wide.ndim - 1))
        clean = jnp.where((column == 0) & ~jnp.isfinite(wide), 0.0, wide)
        total = jnp.sum(share)
        return jnp.sum(column * clean, axis=0) / jnp.where(total == 0, 1.0, total)

    return jax.tree.map(mean, stacked)
