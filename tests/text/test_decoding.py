"""Greedy decoding and sampling."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import guidance, text

rng = np.random.default_rng(0)
TABLE = rng.normal(size=(5, 5)).astype(np.float32)
LOGITS = np.log(np.array([0.4, 0.05, 0.3, 0.1, 0.15], np.float32))


def draws(count=20000, **options):
    keys = jax.random.split(jax.random.key(0), count)
    tokens = jax.jit(jax.vmap(lambda key: text.sample_logits(key, LOGITS, **options)))(keys)
    return np.bincount(tokens, minlength=5) / count


def test_greedy_decoding_is_the_loop():
    def step_fn(state, tokens):  # depends on the position and on all tokens so far
        state = state + jnp.sin(1.0 + tokens)[:, None]
        return jnp.asarray(TABLE)[tokens] + state * jnp.arange(5) / 5, state

    start = np.array([0, 1, 2, 3], np.int32)
    decoded = text.greedy_decode(step_fn, (jnp.zeros((4, 1)), start), length=4, eos=4)
    for row, first in enumerate(start):
        token, total, expected = first, 0.0, []
        while len(expected) < 4 and token != 4:
            total += np.sin(1.0 + token)
            token = int(np.argmax(TABLE[token] + total * np.arange(5) / 5))
            expected.append(token)
        length = len(expected)
        np.testing.assert_array_equal(decoded.tokens[row, :length], expected)
        np.testing.assert_array_equal(decoded.tokens[row, length:], 4)
        np.testing.assert_array_equal(decoded.where[row], np.arange(4) < length)
    lengths = decoded.where.sum(1)
    assert lengths.min() < 4 == lengths.max()  # one stops early, one does not stop


def test_an_end_that_never_comes():
    decoded = text.greedy_decode(lambda s, tokens: (jnp.eye(3)[tokens], s), ((), jnp.array([2, 0])), length=3, eos=-1)
    np.testing.assert_array_equal(decoded.tokens, [[2, 2, 2], [0, 0, 0]])
    assert decoded.where.all()


def test_nan_and_ties():
    rows = jnp.array([[jnp.nan, 1.0, 1.0], [jnp.nan, jnp.nan, jnp.nan]])
    decoded = text.greedy_decode(lambda s, _: (rows, s), ((), jnp.zeros(2, int)), length=1, eos=-1)
    np.testing.assert_array_equal(decoded.tokens, [[1], [0]])


def test_both_branches_of_guided_decoding_see_the_same_prefix():
    cond, uncond = TABLE, TABLE[::-1].copy()

    def step_fn(state, tokens):
        seen = (state[0] + jnp.asarray(cond)[tokens], state[1] + jnp.asarray(uncond)[tokens])
        return guidance.combine(*seen, scale=2.0), seen

    init = ((jnp.zeros((1, 5)), jnp.zeros((1, 5))), jnp.array([0]))
    decoded = text.greedy_decode(step_fn, init, length=4, eos=-1)
    token, c, u = 0, np.zeros(5), np.zeros(5)
    for got in np.asarray(decoded.tokens[0]):
        c, u = c + cond[token], u + uncond[token]
        token = int(np.argmax(u + 2.0 * (c - u)))
        assert got == token


def test_sampling_follows_the_distribution():
    probs = np.exp(LOGITS) / np.exp(LOGITS).sum()
    np.testing.assert_allclose(draws(), probs, atol=0.015)
    hot = probs**0.5 / (probs**0.5).sum()
    np.testing.assert_allclose(draws(temperature=2.0), hot, atol=0.015)


def test_the_cuts():
    np.testing.assert_allclose(draws(top_k=2), [4 / 7, 0, 3 / 7, 0, 0], atol=0.015)
    np.testing.assert_array_equal(draws(200, top_k=1), [1, 0, 0, 0, 0])
    # 0.4 is not 0.45; 0.4 + 0.3 is; of three tokens 0.4 / 0.85 = 0.47 is enough.
    np.testing.assert_allclose(draws(top_p=0.45), [4 / 7, 0, 3 / 7, 0, 0], atol=0.015)
    np.testing.assert_array_equal(draws(200, top_p=0.45, top_k=3), [1, 0, 0, 0, 0])
    np.testing.assert_array_equal(draws(200, top_p=1e-6), [1, 0, 0, 0, 0])
    np.testing.assert_allclose(draws(top_p=1.0), draws(top_k=99), atol=0)
    # The temperature acts first: at 10 the first two tokens hold less than half.
    assert (draws(500, top_p=0.45, temperature=10.0) > 0).sum() == 3


def test_each_row_has_its_own_temperature_and_cut():
    logits = jnp.broadcast_to(LOGITS, (4000, 5))
    p = jnp.where(jnp.arange(4000) < 2000, 0.3, 0.99)
    tokens = np.asarray(text.sample_logits(jax.random.key(1), logits, top_p=p, temperature=jnp.ones(4000)))
    assert (tokens[:2000] == 0).all()
    assert len(set(tokens[2000:])) == 5


def test_ties_exclusion_and_nothing_left():
    tokens = jax.vmap(lambda key: text.sample_logits(key, jnp.zeros(4), top_k=2))(
        jax.random.split(jax.random.key(0), 99)
    )
    assert set(np.asarray(tokens)) == {0, 1}
    some = jnp.array([-jnp.inf, 0.0, jnp.nan, 0.0])
    tokens = jax.vmap(lambda key: text.sample_logits(key, some, top_p=0.9))(jax.random.split(jax.random.key(0), 99))
    assert set(np.asarray(tokens)) == {1, 3}
    assert text.sample_logits(jax.random.key(0), jnp.full(4, -jnp.inf), top_k=2, top_p=0.5) == 0


KEY = jax.random.key(0)
STEP = lambda state, tokens: (jnp.ones((tokens.shape[0], 3)), state)  # noqa: E731
START = ((), jnp.zeros(2, int))
BAD = {
    "temperature": (lambda: text.sample_logits(KEY, LOGITS, temperature=0.0), ValueError, "temperature must be > 0"),
    "top_k": (lambda: text.sample_logits(KEY, LOGITS, top_k=0), ValueError, "top_k must be an integer of at least 1"),
    "top_p": (lambda: text.sample_logits(KEY, LOGITS, top_p=1.5), ValueError, "top_p must lie in [0.0, 1.0]"),
    "no top_p": (lambda: text.sample_logits(KEY, LOGITS, top_p=0.0), ValueError, "top_p must be > 0"),
    "no tokens": (lambda: text.sample_logits(KEY, jnp.ones((2, 0))), ValueError, "V >= 1"),
    "integers": (lambda: text.sample_logits(KEY, jnp.arange(3)), TypeError, "logits must be floating"),
    "length": (lambda: text.greedy_decode(STEP, START, length=0, eos=0), ValueError, "length must be"),
    "eos": (lambda: text.greedy_decode(STEP, START, length=2, eos=3), ValueError, "V > eos = 3"),
    "tokens": (lambda: text.greedy_decode(STEP, ((), 1), length=2, eos=0), ValueError, "tokens must have shape [B]"),
    "floats": (lambda: text.greedy_decode(STEP, ((), jnp.ones(2)), length=2, eos=0), TypeError, "tokens must hold"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
