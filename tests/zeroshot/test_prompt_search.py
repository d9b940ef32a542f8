"""Prompts grown word by word."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import text, zeroshot

V, L = 4, 3
COSTS = jnp.asarray(np.random.default_rng(0).uniform(size=(V, V, V)), jnp.float32)
TABLE = text.ngram_model(np.random.default_rng(1).integers(0, 9, (V, V)))


def error(tokens, where):
    """Of a prefix, the mean over all ways to go on."""
    costs = COSTS
    first = costs[tokens[0]]
    second = jnp.where(where[1], first[tokens[1]].mean(), first.mean())
    return jnp.where(where[2], first[tokens[1], tokens[2]], second)


def prior(tokens, where):
    return text.ngram_log_prob(TABLE, tokens, start=0, where=where)


def by_hand(beta):
    tokens = []
    for place in range(L):
        where = jnp.arange(L) <= place
        tried = [[*tokens, v] + [0] * (L - place - 1) for v in range(V)]
        objective = [float(error(jnp.array(t), where) - beta * prior(jnp.array(t), where)) for t in tried]
        tokens.append(int(np.argmin(objective)))
    return tokens


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_equals_a_loop(beta):
    search = lambda beta: zeroshot.greedy_prompt_search(error, prior, vocabulary=V, length=L, beta=beta, block=2)  # noqa: E731
    found = jax.jit(search)(beta)
    assert found.tokens.tolist() == by_hand(beta)
    everything = jnp.ones(L, bool)
    np.testing.assert_allclose(found.errors[-1], error(found.tokens, everything), rtol=1e-6)
    np.testing.assert_allclose(found.log_priors[-1], prior(found.tokens, everything), rtol=1e-6)
    np.testing.assert_allclose(found.objective, found.errors[-1] - beta * found.log_priors[-1], rtol=1e-6)


def test_what_the_prior_excludes_does_not_spoil_a_search_without_it():
    """Without smoothing a pair that was never seen has a log probability of -inf."""
    forbidding = lambda tokens, where: jnp.where(tokens[0] == 0, -jnp.inf, prior(tokens, where))  # noqa: E731
    search = lambda prior, beta: zeroshot.greedy_prompt_search(error, prior, vocabulary=V, length=L, beta=beta)  # noqa: E731
    assert search(forbidding, 0.0).tokens.tolist() == search(prior, 0.0).tokens.tolist()
    assert search(forbidding, 0.01).tokens[0] != 0


def test_the_prior_decides_between_equals_and_wins_where_it_weighs_much():
    flat = lambda tokens, where: jnp.zeros(())  # noqa: E731
    found = zeroshot.greedy_prompt_search(flat, prior, vocabulary=V, length=1)
    assert found.tokens[0] == np.argmax(TABLE[0])
    even = zeroshot.greedy_prompt_search(flat, flat, vocabulary=V, length=2)
    assert even.tokens.tolist() == [0, 0]
    heavy = zeroshot.greedy_prompt_search(error, prior, vocabulary=V, length=1, beta=100.0)
    assert heavy.tokens[0] == np.argmax(TABLE[0])


def test_sequence_probabilities_sum_to_one():
    sequences = jnp.array(list(itertools.product(range(V), repeat=2)))
    np.testing.assert_allclose(np.exp(text.ngram_log_prob(TABLE, sequences, start=1)).sum(), 1, rtol=1e-5)
    counts = np.array([[3, 1], [0, 0]])
    np.testing.assert_allclose(np.exp(text.ngram_model(counts, smoothing=0.0)), [[0.75, 0.25], [0.5, 0.5]], rtol=1e-6)
    where = jnp.array([True, False])
    cut = text.ngram_log_prob(TABLE, jnp.array([2, 99]), start=0, where=where)
    np.testing.assert_allclose(cut, TABLE[0, 2], rtol=1e-6)
    assert np.isnan(text.ngram_log_prob(TABLE, jnp.array([2, 99]), start=0))


def test_bad_input():
    with pytest.raises(ValueError, match="vocabulary must be"):
        zeroshot.greedy_prompt_search(error, prior, vocabulary=0, length=L)
    with pytest.raises(ValueError, match="beta must be at least"):
        zeroshot.greedy_prompt_search(error, prior, vocabulary=V, length=L, beta=-1.0)
    with pytest.raises(ValueError, match="start must be a token below 4"):
        text.ngram_log_prob(TABLE, jnp.array([1]), start=4)
    with pytest.raises(TypeError, match="tokens must hold integers"):
        text.ngram_log_prob(TABLE, jnp.array([1.0]), start=0)
    with pytest.raises(ValueError, match="smoothing must be at least"):
        text.ngram_model(jnp.ones((2, 2)), smoothing=-1.0)
