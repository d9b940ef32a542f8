"""How alike texts are, by their parts."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["tag_set_similarity"]


def tag_set_similarity(embeddings: ArrayLike, *, where: ArrayLike | None = None, kind: str = "mean") -> Array:
    r"""Similarities of items that are described by sets of tags (larger is more alike).

    .. math:: s_{ij} = \operatorname{mean}_{t, u} \cos(e_{it}, e_{ju}), \qquad
              \tfrac12 \operatorname{mean}_t \max_u \cos(e_{it}, e_{ju})
              + \tfrac12 \operatorname{mean}_u \max_t \cos(e_{it}, e_{ju})

    Args:
      embeddings: float [N, T, D], of the tags of every item.
      where: bool [N, T], True where an item has so many tags.
      kind: "mean" over all pairs of tags, or "best" match, static.
    Returns:
      float32 or wider [N, N] in [-1, 1], symmetric; 0 for an item without tags.
    Raises:
      ValueError: shapes do not agree, or an unknown kind.
      TypeError: embeddings are not floating point, or where is not boolean.

    >>> tags = jnp.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    >>> print(tag_set_similarity(tags)[0, 1], tag_set_similarity(tags, kind="best")[0, 1])
    0.5 0.75

    Reference: Marjieh et al., "Words are all you need? Language as an approximation for human similarity judgments"
    (2023). Recalled.
    """
    tags = checks.rank(checks.floating(embeddings, "embeddings"), "embeddings", 3, layout="[N, T, D]")
    checks.one_of(kind, "kind", ("mean", "best"))
    mask = checks.mask(where, "where", tags.shape[:2])
    has = jnp.ones(tags.shape[:2], bool) if mask is None else mask
    unit = normalize(jnp.where(has[..., None], tags.astype(accumulation_dtype(tags)), 0.0))
    number = jnp.maximum(jnp.sum(has, axis=1), 1)
    if kind == "mean":
        center = jnp.sum(unit, axis=1) / number[:, None]
        return jnp.matmul(center, center.T, precision="highest")
    cosines = jnp.einsum("itd,jud->ijtu", unit, unit, precision="highest")
    pairs = has[:, None, :, None] & has[None, :, None, :]
    best = jnp.max(cosines, axis=3, where=pairs, initial=-1.0)  # [N, N, T], of every tag of the first
    best = jnp.where(has[:, None] & jnp.any(has, axis=1)[None, :, None], best, 0.0)
    one_way = jnp.sum(best, axis=2) / number[:, None]
    return 0.5 * (one_way + one_way.T)
