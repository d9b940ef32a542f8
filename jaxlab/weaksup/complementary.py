"""Learning from labels that say which class an example is not of: decoding, and partners for mixing."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["decode_complementary", "intra_cluster_partners"]


def decode_complementary(probs: ArrayLike, transition: ArrayLike) -> Array:
    r"""The class whose complementary labels would be distributed most like those that are predicted.

    .. math:: \hat y = \arg\min_y \sum_k |p_k - Q_{yk}|

    Args:
      probs: float [..., K], the predicted distribution OF THE COMPLEMENTARY LABEL.
      transition: float [C, K], Q[y, k] = P(complementary label k | class y).
    Returns:
      int32 [...], in [0, C); ties go to the lower class.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> print(decode_complementary(jnp.array([0.1, 0.5, 0.4]), (1.0 - jnp.eye(3)) / 2))
    0

    Reference: Lin and Lin, "Reduction from Complementary-Label Learning to Probability Estimates" (2023), the CPE rows
    of Wang et al., "CLImage: Human-Annotated Datasets for Complementary-Label Learning" (2025). Checked against the
    latter's code.
    """
    probs, table = checks.floating(probs, "probs"), checks.floating(transition, "transition")
    checks.rank(table, "transition", 2, layout="[C, K]")
    if probs.ndim < 1 or probs.shape[-1] != table.shape[1]:
        raise ValueError(f"probs must have shape [..., {table.shape[1]}] to match transition, got {list(probs.shape)}")
    dtype = accumulation_dtype(probs, table)
    gaps = jnp.abs(probs.astype(dtype)[..., None, :] - table.astype(dtype))
    return jnp.argmin(jnp.sum(gaps, axis=-1), axis=-1).astype(jnp.int32)


def intra_cluster_partners(key: Array, cluster_ids: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""For every row a random other one of its cluster, to be mixed with (couples the batch).

    .. math:: \pi(i) \sim U\{j \ne i : c_j = c_i\}

    Together the partners are a permutation that turns every cluster in one circle of random order, so that each row is
    a partner once. Give the ids of a batch, and few clusters for its size: in a batch of B rows and K clusters every
    cluster has B / K rows to choose from.

    Args:
      key: typed PRNG key.
      cluster_ids: int [B], any integers, such as the assignment of ``analytic.kmeans``.
      where: bool [B], True where a row counts; the others are their own partner and nobody else's.
    Returns:
      int32 [B]; a row that is alone in its cluster is its own partner.
    Raises:
      ValueError: cluster_ids is not [B], or where has another shape.
      TypeError: cluster_ids are not integers, or where is not boolean.

    >>> print(intra_cluster_partners(jax.random.key(0), jnp.array([5, 7, 5, 9, 7])))
    [2 4 0 3 1]

    Reference: Mai and Lin, "Intra-Cluster Mixup: An Effective Data Augmentation Technique for Complementary-Label
    Learning" (2025). Checked against the authors' code, which draws every partner on its own, the row itself among
    them.
    """
    ids = checks.rank(checks.integer(cluster_ids, "cluster_ids"), "cluster_ids", 1, layout="[B]")
    mask = checks.mask(where, "where", ids.shape)
    counts = jnp.ones(ids.shape, bool) if mask is None else mask
    size = ids.shape[0]
    order = jnp.lexsort((jax.random.uniform(key, ids.shape), ids, ~counts))
    sorted_ids = ids[order]
    place = jnp.arange(size)
    starts = (place == 0) | (sorted_ids != jnp.roll(sorted_ids, 1)) | ~counts[order]
    start = jax.lax.cummax(jnp.where(starts, place, 0))
    ends = jnp.roll(starts, -1) | (place == size - 1)
    following = jnp.where(ends, start, jnp.minimum(place + 1, size - 1))
    return jnp.zeros(size, jnp.int32).at[order].set(order[following].astype(jnp.int32))
