"""The greedy choice of what is farthest: against the published loop, brute force, and what it guarantees."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from jaxlab import metrics, selection

RNG = np.random.default_rng(0)
X = RNG.normal(size=(10, 3)).astype(np.float32)
LINE = np.float32([[0], [1], [2], [10]])
METRICS = {"euclidean": "euclidean", "cosine": "cosine"}

choose = jax.jit(selection.farthest_point, static_argnames=("k", "metric", "first"))
choose_from = jax.jit(selection.farthest_point, static_argnames=("k", "metric"))


def published(distances, k, first=None):
    """As in the authors' code: the minimum over the whole subset at every step."""
    if first is None:
        first = np.argmax(np.sort(distances, axis=0)[1])
    chosen = [int(first)]
    while len(chosen) < k:
        nearest = distances[chosen].min(0)
        nearest[chosen] = -np.inf
        chosen.append(int(np.argmax(nearest)))
    return chosen


@pytest.mark.parametrize("metric", METRICS)
def test_the_published_loop_chooses_the_same(metric):
    distances = distance.cdist(X, X, METRICS[metric])
    for k in (1, 4, 10):
        expected = published(distances, k)
        found = choose(X, k=k, metric=metric)
        assert found.index.tolist() == expected
        assert found.valid.all()
        assert choose(np.float32(distances), k=k, metric="precomputed").index.tolist() == expected
        radius = distances[expected].min(0).max()
        np.testing.assert_allclose(found.radius, radius, rtol=1e-5, atol=1e-6)
    for first in (0, 7):
        assert choose_from(X, k=6, metric=metric, first=first).index.tolist() == published(distances, 6, first)


def test_a_line():
    found = choose(LINE, k=4)
    assert found.index.tolist() == [3, 0, 2, 1]
    assert choose(LINE, k=2).radius == 2
    for k in (1, 2, 3):
        assert choose(LINE, k=k).index.tolist() == [3, 0, 2, 1][:k]  # nested


def test_half_of_the_best_at_least():
    distances = distance.cdist(X, X)
    for k in (2, 3, 5):
        subsets = itertools.combinations(range(10), k)
        best = max(distances[np.ix_(s, s)][np.triu_indices(k, 1)].min() for s in subsets)
        for first in range(3):
            chosen = choose_from(X, k=k, metric="euclidean", first=first).index
            assert best / 2 <= metrics.min_pairwise_distance(np.float32(distances), chosen) <= best * (1 + 1e-6)


def test_masked_members_are_not_chosen():
    where = np.arange(10) % 3 > 0
    dirty = np.where(where[:, None], X, np.nan)
    places = np.flatnonzero(where)
    for metric in METRICS:
        found = choose(dirty, k=8, metric=metric, where=where)
        plain = choose(X[where], k=6, metric=metric)
        assert found.index[:6].tolist() == places[np.asarray(plain.index)].tolist()
        assert found.index[6:].tolist() == [10, 10]
        assert found.valid.tolist() == [True] * 6 + [False] * 2
        assert found.radius == 0
    nothing = choose(X, k=2, where=np.zeros(10, bool))
    assert not nothing.valid.any()
    assert nothing.radius == 0


def test_equal_members_zero_rows_and_nan():
    twice = np.repeat(X[:4], 2, axis=0)
    for metric in METRICS:
        chosen = np.asarray(choose(twice, k=8, metric=metric).index)
        assert len(set((chosen[:4] // 2).tolist())) == 4
        assert sorted(chosen.tolist()) == list(range(8))  # and no place twice
    with_zero = np.float32([[1, 0], [0.9, 0.1], [0, 0], [-1, 0]])
    assert choose_from(with_zero, k=3, metric="cosine", first=0).index.tolist() == [0, 3, 2]  # at distances 2 and 1
    spoiled = np.array(X)
    spoiled[2] = np.nan
    assert choose(spoiled, k=10).index[-1] == 2


def test_blocks_of_neighbours():
    """More members than a block holds."""
    many = RNG.normal(size=(300, 2)).astype(np.float32)
    assert choose(many, k=5).index.tolist() == published(distance.cdist(many, many), 5)


# --- tokens


def test_tokens_keep_their_order():
    tokens = RNG.normal(size=(2, 3, 9, 4)).astype(np.float32)
    kept = jax.jit(functools.partial(selection.divprune_tokens, keep=4))(tokens)
    assert kept.tokens.shape == (2, 3, 4, 4)
    for at in np.ndindex(2, 3):
        expected = sorted(published(distance.cdist(tokens[at], tokens[at], "cosine"), 4))
        assert kept.index[at].tolist() == expected
        np.testing.assert_array_equal(kept.tokens[at], tokens[at][expected])
    scales = RNG.uniform(0.1, 10, (9, 1)).astype(np.float32)
    again = jax.jit(functools.partial(selection.divprune_tokens, keep=4))(tokens * scales)
    np.testing.assert_array_equal(again.index, kept.index)


def test_few_tokens_and_padding():
    tokens = RNG.normal(size=(9, 4)).astype(np.float32)
    everything = selection.divprune_tokens(tokens, keep=9)
    np.testing.assert_array_equal(everything.tokens, tokens)
    where = np.arange(9) < 3
    kept = selection.divprune_tokens(np.where(where[:, None], tokens, np.inf), keep=5, where=where)
    assert kept.index.tolist() == [0, 1, 2, 9, 9]
    np.testing.assert_array_equal(kept.tokens, np.pad(tokens[:3], ((0, 2), (0, 0))))
    half = selection.divprune_tokens(jnp.asarray(tokens, jnp.bfloat16), keep=5)
    assert half.tokens.dtype == jnp.bfloat16
    slopes = jax.grad(lambda t: jnp.sum(selection.divprune_tokens(t, keep=2).tokens))(jnp.asarray(tokens))
    assert np.count_nonzero(slopes.sum(1)) == 2


def test_bad_input():
    with pytest.raises(ValueError, match="k must be at most N = 10"):
        selection.farthest_point(X, k=11)
    with pytest.raises(ValueError, match="k must be"):
        selection.farthest_point(X, k=0)
    with pytest.raises(ValueError, match=r"\[N, N\] for precomputed"):
        selection.farthest_point(X, k=2, metric="precomputed")
    with pytest.raises(ValueError, match="metric must be one of"):
        selection.farthest_point(X, k=2, metric="taxicab")
    with pytest.raises(ValueError, match="first must be one of"):
        selection.farthest_point(X, k=2, first="any")
    with pytest.raises(TypeError, match="first must hold integers"):
        selection.farthest_point(X, k=2, first=0.5)
    with pytest.raises(ValueError, match="keep must be at most M = 10"):
        selection.divprune_tokens(X, keep=11)
    with pytest.raises(ValueError, match="tokens must have"):
        selection.divprune_tokens(X[0], keep=1)
