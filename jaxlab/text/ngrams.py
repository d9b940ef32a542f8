"""Runs of words as features, and models of what follows what."""

import collections
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["BooleanNgrams", "boolean_ngrams", "ngram_log_prob", "ngram_model"]

_WORD = re.compile(r"\w+")


class BooleanNgrams(NamedTuple):
    """Which n-grams stand in which documents, bool [N, V], and the n-grams, words joined by a blank."""

    present: Array
    vocabulary: tuple[str, ...]


def boolean_ngrams(
    documents: Sequence[str], *, n: int = 2, min_count: int = 10, vocabulary: Sequence[str] | None = None
) -> BooleanNgrams:
    r"""Documents as sets of words and of runs of words.

    .. math:: X_{dv} = [\, v \text{ occurs in } d \,]

    It runs on the host. Words are runs of letters, digits and underscores, in small letters.

    Args:
      documents: N texts.
      n: the longest run of words, >= 1.
      min_count: how often an n-gram must occur in all documents together to be a feature.
      vocabulary: the n-grams to look for; None takes those that are frequent enough, in alphabetic order.
    Returns:
      BooleanNgrams: present bool [N, V], and the vocabulary.
    Raises:
      ValueError: n < 1 or min_count < 1, or an n-gram of vocabulary is longer than n.
      TypeError: documents is one string, or a size is no integer.

    >>> found = boolean_ngrams(["to be or not to be", "not now"], min_count=2)
    >>> print(found.vocabulary)
    ('be', 'not', 'to', 'to be')
    >>> print(found.present[1])
    [False  True False False]

    Reference: Berge et al., "Using the Tsetlin Machine to Learn Human-Interpretable Rules for High-Accuracy Text
    Categorization with Medical Applications" (2018), paper text.
    """
    if isinstance(documents, str):
        raise TypeError("documents must be a sequence of texts, got one string")
    longest, least = checks.size(n, "n"), checks.size(min_count, "min_count")
    if vocabulary is not None and (wide := [gram for gram in vocabulary if len(gram.split()) > longest]):
        raise ValueError(f"vocabulary must hold runs of at most {longest} words, got {wide[0]!r}")
    grams = []
    for document in documents:
        words = _WORD.findall(document.lower())
        runs = (zip(*(words[i:] for i in range(size)), strict=False) for size in range(1, longest + 1))
        grams.append([" ".join(run) for each in runs for run in each])
    if vocabulary is None:
        counts = collections.Counter(gram for document in grams for gram in document)
        vocabulary = sorted(gram for gram, count in counts.items() if count >= least)
    sets = [set(document) for document in grams]
    table = [[gram in found for gram in vocabulary] for found in sets]
    return BooleanNgrams(jnp.array(table, bool).reshape(len(sets), len(vocabulary)), tuple(vocabulary))


def ngram_model(counts: ArrayLike, *, smoothing: ArrayLike = 1.0) -> Array:
    r"""Log-probabilities of the next token from counts of what followed what.

    .. math:: \log \frac{c_{hv} + \alpha}{\sum_u c_{hu} + \alpha V}

    Args:
      counts: float or int [..., V] >= 0, how often token v came after the history of that row; [V, V] for pairs.
      smoothing: alpha >= 0, added to every count.
    Returns:
      float32 (wider if counts are) [..., V]; every row is a distribution, uniform for a history that was never seen.
    Raises:
      ValueError: counts have no axis, or a static smoothing < 0.

    >>> print(jnp.exp(ngram_model(jnp.array([[1, 2]]), smoothing=0.5)))
    [[0.375 0.625]]

    Reference: standard.
    """
    counts = jnp.asarray(counts)
    if counts.ndim < 1:
        raise ValueError("counts must have shape [..., V], got a scalar")
    checks.at_least(smoothing, "smoothing", 0.0)
    dtype = accumulation_dtype(counts) if jnp.issubdtype(counts.dtype, jnp.floating) else jnp.float32
    added = counts.astype(dtype) + jnp.asarray(smoothing, dtype)
    total = jnp.sum(added, axis=-1, keepdims=True)
    seen = total > 0
    return jnp.where(seen, jnp.log(added) - jnp.log(jnp.where(seen, total, 1.0)), -jnp.log(float(counts.shape[-1])))


def ngram_log_prob(log_probs: ArrayLike, tokens: ArrayLike, *, start: int, where: ArrayLike | None = None) -> Array:
    r"""Log-probability of sequences under a model of pairs (larger is likelier).

    .. math:: \sum_t \log p(w_t \mid w_{t-1}), \qquad w_{-1} = \text{start}

    Args:
      log_probs: float [V, V], the next token by the last, of ``ngram_model``.
      tokens: int [..., T]; one outside [0, V) that counts makes the result NaN.
      start: the token before the first, static.
      where: bool [..., T], True where a token counts; those that count come first.
    Returns:
      float32 or wider [...] <= 0; 0 for no token.
    Raises:
      ValueError: shapes do not agree, or start is not a token.
      TypeError: log_probs are not floating point, tokens not integers, or where not boolean.

    >>> print(ngram_log_prob(jnp.log(jnp.array([[0.5, 0.5], [0.1, 0.9]])), jnp.array([1, 1]), start=0).round(4))
    -0.7985

    Reference: standard.
    """
    table = checks.rank(checks.floating(log_probs, "log_probs"), "log_probs", 2, layout="[V, V]")
    tokens = checks.integer(tokens, "tokens")
    size = table.shape[0]
    if table.shape[1] != size or tokens.ndim < 1:
        raise ValueError(
            f"log_probs must be [V, V] and tokens [..., T], got {list(table.shape)} and {list(tokens.shape)}"
        )
    if not 0 <= checks.size(start, "start", 0) < size:
        raise ValueError(f"start must be a token below {size}, got {start}")
    mask = checks.mask(where, "where", tokens.shape)
    counts = jnp.ones(tokens.shape, bool) if mask is None else mask
    known = (tokens >= 0) & (tokens < size)
    safe = jnp.where(counts & known, tokens, 0)
    before = jnp.concatenate([jnp.full_like(safe[..., :1], start), safe[..., :-1]], axis=-1)
    steps = jnp.where(known, table.astype(accumulation_dtype(table))[before, safe], jnp.nan)
    return jnp.sum(jnp.where(counts, steps, 0.0), axis=-1)
