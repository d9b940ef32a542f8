"""Scores of documents by the words they share."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["bm25", "idf"]


def idf(doc_freq: ArrayLike, num_docs: ArrayLike, *, variant: str = "smooth") -> Array:
    r"""Inverse document frequency of words (larger is rarer).

    .. math:: \log \tfrac{N}{n}, \quad \log \tfrac{1 + N}{1 + n} + 1, \quad
              \log\big(1 + \tfrac{N - n + 1/2}{n + 1/2}\big)

    Args:
      doc_freq: n, float or int [V], in how many documents a word stands.
      num_docs: N, how many documents there are.
      variant: "plain", "smooth" (that of scikit-learn) or "bm25" (that of Lucene, never negative), static.
    Returns:
      float32 (wider if doc_freq is) [V]; "plain" is 0 for a word that stands nowhere.
    Raises:
      ValueError: an unknown variant.

    >>> print(idf(jnp.array([1, 4]), 4, variant="plain").round(4))
    [1.3863 0.    ]

    Reference: standard.
    """
    checks.one_of(variant, "variant", ("plain", "smooth", "bm25"))
    count = jnp.asarray(doc_freq)
    count = count.astype(accumulation_dtype(count) if jnp.issubdtype(count.dtype, jnp.floating) else jnp.float32)
    total = jnp.asarray(num_docs, count.dtype)
    if variant == "smooth":
        return jnp.log((1.0 + total) / (1.0 + count)) + 1.0
    if variant == "bm25":
        return jnp.log1p((total - count + 0.5) / (count + 0.5))
    return jnp.where(count > 0, jnp.log(total / jnp.where(count > 0, count, 1.0)), 0.0)


def bm25(
    queries: ArrayLike, documents: ArrayLike, weights: ArrayLike, *, k1: ArrayLike = 1.2, b: ArrayLike = 0.75
) -> Array:
    r"""Okapi BM25 scores of documents for queries, from counts of words (larger is better).

    .. math:: s(q, d) = \sum_v q_v\, w_v\, \frac{f_{dv} (k_1 + 1)}{f_{dv} + k_1 (1 - b + b |d| / \bar{|d|})}

    Args:
      queries: float [M, V], counts of words.
      documents: float [N, V], counts f.
      weights: float [V], w, such as ``idf(doc_freq, N, variant="bm25")``.
      k1: >= 0, how soon repetitions of a word stop to count.
      b: in [0, 1], how much long documents are discounted.
    Returns:
      float32 or wider [M, N]; 0 for a document without words.
    Raises:
      ValueError: widths do not agree, a static k1 < 0 or a static b outside [0, 1].
      TypeError: an array is not floating point.

    >>> words = jnp.eye(2)
    >>> print(bm25(words[:1], words, jnp.array([2.0, 2.0])))
    [[2. 0.]]

    Reference: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009). Standard.
    """
    queries = checks.rank(checks.floating(queries, "queries"), "queries", 2, layout="[M, V]")
    documents = checks.rank(checks.floating(documents, "documents"), "documents", 2, layout="[N, V]")
    weights = checks.floating(weights, "weights")
    for name, array in (("queries", queries), ("weights", weights)):
        if array.shape[-1:] != documents.shape[1:]:
            raise ValueError(f"{name} must have {documents.shape[1]} words as documents do, got {list(array.shape)}")
    checks.at_least(k1, "k1", 0.0)
    checks.in_range(b, "b", 0.0, 1.0)
    dtype = accumulation_dtype(queries, documents, weights)
    counts = documents.astype(dtype)
    length = jnp.sum(counts, axis=1, keepdims=True)
    mean = jnp.mean(length)
    relative = length / jnp.where(mean > 0, mean, 1.0)
    below = counts + k1 * (1.0 - b + b * relative)
    some = counts > 0
    saturated = jnp.where(some, counts * (k1 + 1.0) / jnp.where(some, below, 1.0), 0.0)
    return jnp.matmul(queries.astype(dtype) * weights.astype(dtype), saturated.T, precision="highest")
