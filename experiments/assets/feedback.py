"""Implicit feedback from real texts and tables: which words a text chose, and fields of a table as categories.

``baskets`` cuts the English manual that Python ships and source text of its standard library into short texts; the
words of a text are the items it has chosen. ``fields`` cuts columns of a table into buckets of equal frequency.
"""

import collections
import functools
import re
from typing import NamedTuple

import numpy as np

from experiments.assets.text_windows import code, prose
from experiments.data import Dataset
from experiments.errors import UserError

__all__ = ["Baskets", "baskets", "descriptions", "fields"]


class Baskets(NamedTuple):
    """Which of J words are in each text: of the users, bool [U, J], and of other texts, bool [T, J]; and the words."""

    users: np.ndarray
    others: np.ndarray
    words: list[str]


@functools.cache
def baskets(users: int, items: int, length: int) -> Baskets:
    """Texts of ``length`` words in random order: ``users`` of them choose items, as many others describe the items.

    The items are the most frequent words of the other texts that are in at most a sixth of them: more would be
    grammar.

    Raises:
      UserError: this Python carries too little text.
    """
    words = [re.findall("[a-z]{3,}", text.lower()) for text in (prose(), code())]
    texts = [part[at : at + length] for part in words for at in range(0, len(part) - length + 1, length)]
    if len(texts) < 2 * users:
        raise UserError(f"This Python carries {len(texts)} texts of {length} words, not {2 * users}.")
    order = np.random.default_rng(0).permutation(len(texts))[: 2 * users]
    own, others = ([set(texts[i]) for i in part] for part in (order[:users], order[users:]))
    count = collections.Counter(word for text in others for word in sorted(text))
    rare = [(word, number) for word, number in count.items() if number <= users / 6]
    chosen = sorted(word for word, _ in sorted(rare, key=lambda pair: (-pair[1], pair[0]))[:items])
    if len(chosen) < items:
        raise UserError(f"These texts hold {len(chosen)} words that may be items, not {items}.")
    held, described = (np.array([[word in text for word in chosen] for text in part]) for part in (own, others))
    return Baskets(held, described, chosen)


def descriptions(others: np.ndarray, warm: np.ndarray, dim: int) -> np.ndarray:
    """What the other texts say of each word, float32 [J, dim]: how much more often than by chance it comes with others.

    The principal directions of the positive pointwise mutual information with the words marked in ``warm`` [J].
    """
    table = others.astype(float)
    together = table.T @ table[:, warm]
    together[np.flatnonzero(warm), np.arange(warm.sum())] = 0  # with itself is no news
    expected = table.sum(0)[:, None] * table[:, warm].sum(0) / len(table)
    information = np.log(np.maximum(together / np.maximum(expected, 1e-9), 1.0))
    left, values, _ = np.linalg.svd(information, full_matrices=False)
    vectors = left[:, :dim] * values[:dim]
    return (vectors / np.sqrt(np.mean(vectors**2))).astype(np.float32)


def fields(data: Dataset, columns: tuple[int, ...], buckets: int) -> np.ndarray:
    """Columns of a table as categories, int32 [N, F] in [0, buckets): equally many rows in each, but for ties."""
    x = data.x[:, list(columns)]
    edges = np.quantile(x, np.arange(1, buckets) / buckets, axis=0)
    return (x[:, :, None] > edges.T[None]).sum(-1).astype(np.int32)
