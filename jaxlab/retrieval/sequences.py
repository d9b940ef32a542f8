"""Matching the parts of two things to each other, such as the local descriptors of two images."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["reciprocal_matches"]


def reciprocal_matches(
    queries: ArrayLike,
    keys: ArrayLike,
    attention: ArrayLike,
    *,
    ratio: ArrayLike = 0.9,
    keep: ArrayLike = 0.5,
    where: ArrayLike | None = None,
) -> tuple[Array, Array]:
    r"""For every part of one image the part of another that it matches beyond doubt, if there is one.

    .. math:: i_j = \arg\min_i d_{ij}, \quad \text{kept where} \quad j = \arg\min_{j'} d_{i_j j'},
              \quad d_{i_j j} \le r \min_{i \ne i_j} d_{ij}, \quad a_j \text{ among the largest}

    d is the distance of descriptors of unit length: a match is mutual, clearly better than the second best, and of a
    part that matters.

    Args:
      queries: float [N, C], descriptors of the parts of the query image, of any length.
      keys: float [M, C], those of the other image.
      attention: float [M], how much each key part matters.
      ratio: r in (0, 1], of Lowe's test.
      keep: share of the key parts with the most attention that may match, in [0, 1]; rounded down.
      where: bool [M], True where a key part counts.
    Returns:
      (index int32 [M] of the nearest query part, matched bool [M]). Equal distances go to the lower index, and fail
      Lowe's test with ratio < 1.
    Raises:
      ValueError: shapes do not agree, there are no parts, or a static ratio or keep is out of range.
      TypeError: descriptors or attention are not floating point, or where is not boolean.

    >>> index, matched = reciprocal_matches(jnp.eye(3), jnp.eye(3)[::-1], jnp.array([3.0, 2.0, 1.0]), keep=0.7)
    >>> print(index, matched)
    [2 1 0] [ True  True False]

    Reference: Zhu et al., "Coarse-to-Fine: Learning Compact Discriminative Representation for Single-Stage Image
    Retrieval" (2023). Checked against the authors' code.
    """
    queries = checks.rank(checks.floating(queries, "queries"), "queries", 2, layout="[N, C]")
    keys = checks.rank(checks.floating(keys, "keys"), "keys", 2, layout="[M, C]")
    attention = checks.rank(checks.floating(attention, "attention"), "attention", 1, layout="[M]")
    checks.batch_match(keys, "keys", attention, "attention")
    if queries.shape[1] != keys.shape[1] or 0 in (queries.shape[0], keys.shape[0]):
        raise ValueError(
            f"queries and keys must hold parts of one width, got shapes {list(queries.shape)} and {list(keys.shape)}"
        )
    checks.in_range(ratio, "ratio", 0.0, 1.0)
    checks.in_range(keep, "keep", 0.0, 1.0)
    mask = checks.mask(where, "where", attention.shape)
    counts = jnp.ones(attention.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(queries, keys)
    clean = normalize(jnp.where(counts[:, None], keys.astype(dtype), 0.0))
    distances = jnp.sqrt(pairwise_sq_dists(normalize(queries.astype(dtype)), clean))
    distances = jnp.where(counts, distances, jnp.inf)
    index = jnp.argmin(distances, axis=0)
    mutual = jnp.argmin(distances, axis=1)[index] == jnp.arange(keys.shape[0])
    best = jnp.min(distances, axis=0)
    second = jnp.min(distances, axis=0, where=jnp.arange(queries.shape[0])[:, None] != index, initial=jnp.inf)
    clear = (best <= ratio * second) & (second > 0)
    rank = jnp.argsort(jnp.argsort(jnp.where(counts, -attention, jnp.inf)))
    seen = rank < jnp.floor(keep * jnp.sum(counts) + 1e-6)
    return index.astype(jnp.int32), counts & mutual & clear & seen
