"""Rankings: whether what is relevant comes first."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.metrics.binary import average_precision
from jaxlab.numerics import masked_mean, normalize
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["clip_score", "hits_at_k", "mean_average_precision", "ndcg_at_k", "recall_at_k"]


def recall_at_k(scores: ArrayLike, relevant: ArrayLike, *, k: int) -> Array:
    r"""Share of the relevant candidates that are among the k best of each query (larger is better).

    .. math:: \frac{|\text{top-}k \cap \text{relevant}|}{|\text{relevant}|}

    With one relevant candidate per query it is the hit rate, and its mean the recall of cross-modal retrieval.

    Args:
      scores: float [Q, M], a row per query, larger is nearer; NaN counts as lowest. Equal ones go to the lower index.
      relevant: bool [Q, M].
      k: static, >= 1; all M where it is larger.
    Returns:
      float32 [Q] in [0, 1]; 0 for a query without a relevant candidate.
    Raises:
      ValueError: shapes differ, M = 0 or k < 1.
      TypeError: scores are not floating point, or relevant is not boolean.

    >>> scores = jnp.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.1]])
    >>> print(recall_at_k(scores, jnp.array([[True, False, True], [True, False, False]]), k=1))
    [0.5 0. ]

    Reference: standard.
    """
    hits, mask = _relevant_in_top_k(scores, relevant, k)
    return hits / jnp.maximum(jnp.sum(mask, axis=1), 1).astype(jnp.float32)


def hits_at_k(scores: ArrayLike, relevant: ArrayLike, *, k: int) -> Array:
    r"""Whether any relevant candidate is among the k best of each query (larger is better).

    .. math:: [\, \text{top-}k \cap \text{relevant} \ne \emptyset \,]

    Its mean over queries is the point k of a cumulative match curve (CMC); with one relevant candidate per query it is
    ``recall_at_k``.

    Args:
      scores: float [Q, M], a row per query, larger is nearer; NaN counts as lowest. Equal ones go to the lower index.
      relevant: bool [Q, M].
      k: static, >= 1; all M where it is larger.
    Returns:
      float32 [Q], 0 or 1.
    Raises:
      ValueError: shapes differ, M = 0 or k < 1.
      TypeError: scores are not floating point, or relevant is not boolean.

    >>> scores = jnp.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.1]])
    >>> print(hits_at_k(scores, jnp.array([[True, False, True], [True, False, False]]), k=1))
    [1. 0.]

    Reference: standard.
    """
    hits, _ = _relevant_in_top_k(scores, relevant, k)
    return (hits > 0).astype(jnp.float32)


def _relevant_in_top_k(scores: ArrayLike, relevant: ArrayLike, k: int) -> tuple[Array, Array]:
    """How many of the k best candidates of each query are relevant, int [Q], and the checked mask of the relevant."""
    scores = checks.rank(checks.floating(scores, "scores"), "scores", 2, layout="[Q, M]")
    if scores.shape[1] == 0:
        raise ValueError(f"scores must hold at least one candidate, got shape {list(scores.shape)}")
    mask = jnp.asarray(checks.mask(relevant, "relevant", scores.shape))
    k = min(checks.size(k, "k"), scores.shape[1])
    _, best = jax.lax.top_k(jnp.where(jnp.isnan(scores), -jnp.inf, scores), k)
    return jnp.sum(jnp.take_along_axis(mask, best, axis=1), axis=1), mask


def ndcg_at_k(scores: ArrayLike, relevance: ArrayLike, *, k: int) -> Array:
    r"""Discounted gain of the k best candidates of each query, over that of the best ranking (larger is better).

    .. math:: \mathrm{DCG}_k(s) / \mathrm{DCG}_k(g), \quad
              \mathrm{DCG}_k(s) = \sum_{r \le k} \frac{g_{\pi_s(r)}}{\log_2(1 + r)}

    where :math:`\pi_s(r)` is the candidate that s ranks at place r.

    Args:
      scores: float [Q, M], a row per query, larger is nearer; NaN counts as lowest. Equal ones go to the lower index.
      relevance: bool, int or float [Q, M], the gains g >= 0; for grades give 2^grade - 1.
      k: static, >= 1; all M where it is larger.
    Returns:
      float32 (wider if relevance is) [Q] in [0, 1]; 0 for a query without a relevant candidate.
    Raises:
      ValueError: shapes differ, M = 0 or k < 1.
      TypeError: scores are not floating point.

    >>> scores = jnp.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.1]])
    >>> print(ndcg_at_k(scores, jnp.array([[True, False, True], [False, True, False]]), k=2))
    [1. 1.]

    Reference: Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR techniques" (2002), standard.
    """
    scores = checks.rank(checks.floating(scores, "scores"), "scores", 2, layout="[Q, M]")
    gains = jnp.asarray(relevance)
    checks.same_shape(scores, "scores", gains, "relevance")
    if scores.shape[1] == 0:
        raise ValueError(f"scores must hold at least one candidate, got shape {list(scores.shape)}")
    k = min(checks.size(k, "k"), scores.shape[1])
    gains = gains.astype(accumulation_dtype(gains))
    _, best = jax.lax.top_k(jnp.where(jnp.isnan(scores), -jnp.inf, scores), k)
    discount = 1.0 / jnp.log2(jnp.arange(2, k + 2, dtype=gains.dtype))
    found = jnp.sum(jnp.take_along_axis(gains, best, axis=1) * discount, axis=1)
    ideal = jnp.sum(jax.lax.top_k(gains, k)[0] * discount, axis=1)
    return jnp.where(ideal > 0, found / jnp.where(ideal > 0, ideal, 1.0), 0.0)


def mean_average_precision(scores: ArrayLike, relevant: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Mean over queries of the average precision of their ranking (larger is better).

    .. math:: \frac{1}{|Q^+|} \sum_{q \in Q^+} \mathrm{AP}(s_q, r_q)

    where Q+ are the queries with a relevant candidate. For images with several labels a class is a query: pass
    ``logits.T`` and ``targets.T``, and classes without a positive image are left out.

    Args:
      scores: float [Q, M], a row per query, larger = more relevant; equal scores share one precision.
      relevant: bool [Q, M].
      where: bool [Q, M], True where a candidate counts; a query without any is left out.
    Returns:
      float32 (wider if scores are) scalar in [0, 1]; 0 if no query has a relevant candidate, NaN if a score that counts
      is NaN.
    Raises:
      ValueError: shapes differ.
      TypeError: scores are not floating point, or relevant is not boolean.

    >>> scores = jnp.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.1], [0.3, 0.2, 0.1]])
    >>> print(mean_average_precision(scores, jnp.array([[1, 0, 1], [1, 0, 0], [0, 0, 0]], bool)))
    0.75

    Reference: standard.
    """
    scores = checks.rank(checks.floating(scores, "scores"), "scores", 2, layout="[Q, M]")
    hits = jnp.asarray(checks.mask(relevant, "relevant", scores.shape))
    mask = checks.mask(where, "where", scores.shape)
    counts = jnp.ones(scores.shape, bool) if mask is None else mask
    positives, total = jnp.sum(hits & counts, axis=1), jnp.sum(counts, axis=1)
    # A ranking of nothing but relevant candidates is perfect, where the binary measure sees one class only.
    precision = jax.vmap(lambda s, r, w: average_precision(s, r, where=w))(scores, hits, counts)
    bad = jnp.any(jnp.isnan(scores) & counts, axis=1)
    precision = jnp.where((positives == total) & ~bad, 1.0, precision)
    return masked_mean(precision, (positives > 0) | bad)


def clip_score(image_embeddings: ArrayLike, text_embeddings: ArrayLike, *, scale: ArrayLike = 2.5) -> Array:
    r"""How well a caption fits its image in a shared space (larger is better).

    .. math:: w \max(\cos(e_{image}, e_{text}),\, 0)

    Args:
      image_embeddings: float [..., D], of any length.
      text_embeddings: float [..., D], same shape.
      scale: w; 2.5 is the published one, which spreads the usual cosines over [0, 1].
    Returns:
      float32 or wider [...] in [0, scale]; 0 where an embedding is zero.
    Raises:
      ValueError: shapes differ.
      TypeError: an argument is not floating point.

    >>> print(clip_score(jnp.array([[1.0, 0.0], [1.0, 0.0]]), jnp.array([[2.0, 0.0], [-1.0, 0.0]])))
    [2.5 0. ]

    Reference: Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning" (2021), standard.
    """
    images = checks.floating(image_embeddings, "image_embeddings")
    texts = checks.floating(text_embeddings, "text_embeddings")
    checks.same_shape(images, "image_embeddings", texts, "text_embeddings")
    if images.ndim == 0:
        raise ValueError("image_embeddings must have shape [..., D], got a scalar")
    dtype = accumulation_dtype(images, texts)
    cosine = jnp.sum(normalize(images.astype(dtype)) * normalize(texts.astype(dtype)), axis=-1)
    return jnp.asarray(scale, dtype) * jnp.maximum(cosine, 0.0)
