"""Reciprocal matches against a loop written like the authors' code, and what is refused."""

import numpy as np
import pytest

from jaxlab.retrieval import reciprocal_matches

RNG = np.random.default_rng(0)
Q, K = (RNG.normal(size=(n, 4)).astype(np.float32) for n in (6, 8))
ATTENTION = RNG.random(8).astype(np.float32)


def published(q, k, attention, ratio, kept):
    q, k = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (q.astype(np.float64), k.astype(np.float64)))
    distances = np.linalg.norm(q[:, None] - k, axis=-1)
    best_key, best_query = distances.argmin(1), distances.argmin(0)
    seen = np.argsort(-attention)[:kept]
    valid = []
    for j, i in enumerate(best_query):
        second = np.delete(distances[:, j], i).min()
        valid.append(best_key[i] == j and distances[i, j] / second <= ratio and j in seen)
    return best_query, np.array(valid)


def test_equals_the_published_matching():
    total = 0
    for ratio, keep in ((0.9, 0.5), (1.0, 1.0), (0.6, 0.7)):
        for shift in range(5):
            q = np.float32(Q + 0.3 * np.roll(K, shift, 0)[:6])
            index, valid = published(q, K, ATTENTION, ratio, int(keep * 8))
            found, matched = reciprocal_matches(q, K, ATTENTION, ratio=ratio, keep=keep)
            np.testing.assert_array_equal(found, index)
            np.testing.assert_array_equal(matched, valid)
            total += valid.sum()
    assert total > 10


def test_the_same_parts_match_themselves_where_they_are_seen():
    index, matched = reciprocal_matches(K, 3.0 * K, ATTENTION)
    np.testing.assert_array_equal(index, np.arange(8))
    np.testing.assert_array_equal(np.flatnonzero(matched), np.sort(np.argsort(-ATTENTION)[:4]))


def test_hidden_keys_and_ties():
    where = np.arange(8) != 2
    dirty = np.where(where[:, None], K, np.nan)
    index, matched = reciprocal_matches(Q, dirty, ATTENTION, keep=1.0, where=where)
    part, valid = reciprocal_matches(Q, K[where], ATTENTION[where], keep=1.0)
    np.testing.assert_array_equal(index[where], part)
    np.testing.assert_array_equal(matched[where], valid)
    assert not matched[2]
    twice = np.repeat(Q[:1], 2, 0)
    assert not reciprocal_matches(twice, Q[:1], ATTENTION[:1], keep=1.0)[1].any()


BAD = {
    "width": (lambda: reciprocal_matches(Q, K[:, :3], ATTENTION), ValueError, "parts of one width"),
    "none": (lambda: reciprocal_matches(Q[:0], K, ATTENTION), ValueError, "parts of one width"),
    "attention": (lambda: reciprocal_matches(Q, K, ATTENTION[:3]), ValueError, "keys and attention must agree"),
    "ratio": (lambda: reciprocal_matches(Q, K, ATTENTION, ratio=1.5), ValueError, r"ratio must lie in \[0"),
    "keep": (lambda: reciprocal_matches(Q, K, ATTENTION, keep=-0.1), ValueError, r"keep must lie in \[0"),
    "types": (lambda: reciprocal_matches(Q, K > 0, ATTENTION), TypeError, "keys must be floating point"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
