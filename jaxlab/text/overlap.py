"""How alike texts are, by their parts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["Rouge", "lcs_length", "rouge_l", "tag_set_similarity"]


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


def lcs_length(
    a: ArrayLike, b: ArrayLike, *, where_a: ArrayLike | None = None, where_b: ArrayLike | None = None
) -> Array:
    r"""Length of the longest common subsequence of two sequences (larger is more alike).

    .. math:: L_{ij} = \max(L_{i-1,j},\ L_{i,j-1},\ L_{i-1,j-1} + [a_i = b_j])

    A row of the table is a running maximum of what the row above allows, so it takes S steps over [..., T].

    Args:
      a: int [..., S], tokens.
      b: int [..., T], tokens; its leading axes are those of a.
      where_a: bool [..., S], True where a token counts; others are skipped wherever they stand.
      where_b: bool [..., T], the same for b.
    Returns:
      int32 [...] in [0, min(S, T)].
    Raises:
      ValueError: leading axes do not agree, or a sequence has no axis.
      TypeError: tokens are not integers, or a mask is not boolean.

    >>> print(lcs_length(jnp.array([1, 2, 3, 4, 5]), jnp.array([1, 3, 5])))
    3

    Reference: standard.
    """
    a, b, has_a, has_b = _pair(a, b, where_a, where_b)

    def row(above: Array, token: tuple[Array, Array]) -> tuple[Array, None]:
        value, counts = token
        same = (value[..., None] == b) & counts[..., None] & has_b
        shifted = jnp.concatenate([jnp.zeros_like(above[..., :1]), above[..., :-1]], axis=-1)
        return jax.lax.cummax(jnp.maximum(above, shifted + same), axis=above.ndim - 1), None

    tokens = jnp.moveaxis(a, -1, 0), jnp.moveaxis(has_a, -1, 0)
    last, _ = jax.lax.scan(row, jnp.zeros(b.shape, jnp.int32), tokens)
    return jnp.max(last, axis=-1, initial=0)


class Rouge(NamedTuple):
    """Shares in [0, 1], [...]: of the candidate, of the reference, and their harmonic mean."""

    precision: Array
    recall: Array
    f1: Array


def rouge_l(
    candidate: ArrayLike, reference: ArrayLike, *, where_a: ArrayLike | None = None, where_b: ArrayLike | None = None
) -> Rouge:
    r"""ROUGE-L: how much of two texts is one common subsequence (larger is more alike).

    .. math:: P = \frac{L}{S}, \quad R = \frac{L}{T}, \quad F_1 = \frac{2 P R}{P + R}

    Args:
      candidate: int [..., S], tokens.
      reference: int [..., T], tokens; its leading axes are those of the candidate.
      where_a: bool [..., S], True where a token of the candidate counts.
      where_b: bool [..., T], True where a token of the reference counts.
    Returns:
      Rouge of float32 [...]; 0 where a text is empty.
    Raises:
      ValueError: leading axes do not agree, or a text has no axis.
      TypeError: tokens are not integers, or a mask is not boolean.

    >>> print(rouge_l(jnp.array([1, 2, 3, 4]), jnp.array([1, 3])).f1.round(4))
    0.6667

    Reference: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004). Standard.
    """
    a, b, has_a, has_b = _pair(candidate, reference, where_a, where_b, names=("candidate", "reference"))
    common = lcs_length(a, b, where_a=has_a, where_b=has_b).astype(jnp.float32)
    size_a, size_b = jnp.sum(has_a, axis=-1), jnp.sum(has_b, axis=-1)
    return Rouge(
        common / jnp.maximum(size_a, 1), common / jnp.maximum(size_b, 1), 2.0 * common / jnp.maximum(size_a + size_b, 1)
    )


def _pair(
    a: ArrayLike,
    b: ArrayLike,
    where_a: ArrayLike | None,
    where_b: ArrayLike | None,
    names: tuple[str, str] = ("a", "b"),
) -> tuple[Array, Array, Array, Array]:
    """Two sequences of tokens, and which of their tokens count."""
    a, b = checks.integer(a, names[0]), checks.integer(b, names[1])
    if a.ndim < 1 or b.ndim < 1 or a.shape[:-1] != b.shape[:-1]:
        raise ValueError(
            f"{names[0]} and {names[1]} must be [..., S] and [..., T] with the same leading axes, "
            f"got {list(a.shape)} and {list(b.shape)}"
        )
    masks = checks.mask(where_a, "where_a", a.shape), checks.mask(where_b, "where_b", b.shape)
    has = [jnp.ones(x.shape, bool) if mask is None else mask for x, mask in zip((a, b), masks, strict=True)]
    return a, b, has[0], has[1]
