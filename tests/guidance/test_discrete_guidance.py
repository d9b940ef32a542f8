"""Guidance of models of tokens."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import guidance

rng = np.random.default_rng(0)
KEY = jax.random.key(0)
LOGITS = rng.normal(size=(2, 3, 4)).astype(np.float32)
WEIGHTS = rng.normal(size=(3, 4)).astype(np.float32)


def linear(one_hot):
    return jnp.sum(one_hot * WEIGHTS, axis=(-2, -1))


def pairs(one_hot):
    """Products of neighbours: its slope at one token is what the neighbours are."""
    return jnp.einsum("...tv,vw,...tw->...", one_hot[..., :-1, :], jnp.arange(16.0).reshape(4, 4), one_hot[..., 1:, :])


def test_a_linear_score_gives_its_weights():
    centred = WEIGHTS - WEIGHTS.mean(1, keepdims=True)
    for num_samples in (1, 5):
        got = guidance.straight_through_guide(KEY, LOGITS, linear, num_samples=num_samples)
        np.testing.assert_allclose(got, np.broadcast_to(centred, (2, 3, 4)), rtol=1e-5, atol=1e-6)


def test_the_scorer_sees_one_hot_sequences_alone():
    seen = []

    def score_fn(one_hot):
        jax.debug.callback(lambda y: seen.append(np.asarray(y)), one_hot)
        return pairs(one_hot)

    guidance.straight_through_guide(KEY, LOGITS, score_fn, num_samples=7)
    jax.effects_barrier()
    assert seen[0].shape == (7, 2, 3, 4)
    np.testing.assert_array_equal(np.sort(seen[0], axis=-1), np.broadcast_to([0, 0, 0, 1.0], (7, 2, 3, 4)))


def test_it_is_the_mean_gradient_at_samples():
    # Many samples against the exact mean over the neighbour's distribution.
    logits = jnp.asarray(LOGITS[:1, :2])
    got = guidance.straight_through_guide(KEY, logits, pairs, num_samples=20000)
    table, probs = np.arange(16.0).reshape(4, 4), np.asarray(jax.nn.softmax(logits))[0]
    exact = np.stack([table @ probs[1], probs[0] @ table])
    np.testing.assert_allclose(got[0], exact - exact.mean(1, keepdims=True), atol=0.1)
    # A score that is convex in each token tells samples from soft states: the slope of the square is 2 or 0.
    squares = guidance.straight_through_guide(KEY, logits, lambda y: jnp.sum(y**2, axis=(-2, -1)), num_samples=20000)
    np.testing.assert_allclose(squares[0], 2 * probs - 0.5, atol=0.05)
    soft = jax.grad(lambda p: jnp.sum(p**3))(jax.nn.softmax(logits))
    hard = guidance.straight_through_guide(KEY, logits, lambda y: jnp.sum(y**3, axis=(-2, -1)), num_samples=20000)
    np.testing.assert_allclose(hard[0], 3 * probs - 0.75, atol=0.08)
    assert np.abs(hard - (soft - soft.mean(-1, keepdims=True))).max() > 0.3


def test_it_is_a_direction_in_the_simplex_and_vmaps():
    keys = jax.random.split(KEY, 2)
    guide = jax.vmap(functools.partial(guidance.straight_through_guide, score_fn=pairs))
    both = guide(keys, LOGITS)
    np.testing.assert_allclose(jnp.sum(both, axis=-1), 0.0, atol=1e-5)
    alone = guidance.straight_through_guide(keys[1], LOGITS[1], pairs)
    np.testing.assert_allclose(both[1], alone, rtol=1e-5, atol=1e-5)
    assert guidance.straight_through_guide(KEY, jnp.asarray(LOGITS, jnp.bfloat16), pairs).dtype == jnp.bfloat16


def test_lm_guidance_with_the_own_prior_is_guidance_of_logits():
    cond, uncond = LOGITS[0], LOGITS[1]
    lm = guidance.lm_guidance(uncond, cond, uncond, alpha=1.7, beta=1.7)
    plain = guidance.combine(cond, uncond, scale=1.7)
    np.testing.assert_allclose(jax.nn.softmax(lm), jax.nn.softmax(plain), rtol=1e-5)
    raw = guidance.combine(cond + 3.0, uncond - 2.0, scale=1.7)  # constants do not matter, so logits will do
    np.testing.assert_allclose(jax.nn.softmax(raw), jax.nn.softmax(plain), rtol=1e-5)


def test_lm_guidance_is_the_formula():
    lm, cond, uncond = rng.normal(size=(3, 5, 4)).astype(np.float32)
    log = [np.log(np.exp(a) / np.exp(a).sum(1, keepdims=True)) for a in (lm, cond, uncond)]
    expected = log[0] + 2.0 * log[1] - 0.5 * log[2]
    np.testing.assert_allclose(
        guidance.lm_guidance(lm, cond, uncond, alpha=2.0, beta=0.5), expected, rtol=1e-5, atol=1e-5
    )
    only = guidance.lm_guidance(lm, cond, uncond, alpha=0.0, beta=0.0)
    np.testing.assert_allclose(jax.nn.softmax(only), jax.nn.softmax(jnp.asarray(lm)), rtol=1e-5)


def test_the_two_word_example():
    cond, uncond = jnp.log(jnp.array([0.6, 0.4])), jnp.log(jnp.array([0.9, 0.1]))
    np.testing.assert_allclose(jax.nn.softmax(guidance.combine(cond, uncond, scale=2.0)), [0.2, 0.8], rtol=1e-5)


def test_excluded_tokens_stay_excluded():
    lm, cond = jnp.array([0.0, -jnp.inf, 1.0]), jnp.array([-jnp.inf, 0.0, 1.0])
    uncond = jnp.array([-jnp.inf, -jnp.inf, 0.0])
    got = guidance.lm_guidance(lm, cond, uncond, alpha=2.0, beta=1.0)
    np.testing.assert_array_equal(np.isneginf(got), [True, True, False])
    assert np.isfinite(got[2])


def test_rolled_labels_are_the_next_ones():
    labels = np.array([3, 1, 4, 1])
    np.testing.assert_array_equal(guidance.roll_labels(labels), [1, 4, 1, 3])
    images = rng.normal(size=(3, 2, 2))
    np.testing.assert_array_equal(guidance.roll_labels(images), np.roll(images.astype(np.float32), -1, axis=0))


BAD = {
    "a token": (lambda: guidance.straight_through_guide(KEY, LOGITS[0, 0], linear), ValueError, "[..., T, V]"),
    "one token": (lambda: guidance.straight_through_guide(KEY, LOGITS[..., :1], linear), ValueError, "V >= 2"),
    "samples": (lambda: guidance.straight_through_guide(KEY, LOGITS, linear, num_samples=0), ValueError, "num_samples"),
    "scores": (
        lambda: guidance.straight_through_guide(KEY, LOGITS, lambda y: y[..., 0]),
        ValueError,
        "score_fn must give shape [10, 2], got [10, 2, 3]",
    ),
    "vocabulary": (
        lambda: guidance.lm_guidance(LOGITS[..., :3], LOGITS, LOGITS, alpha=1.0, beta=1.0),
        ValueError,
        "cond_logits and lm_logits must have the same shape",
    ),
    "integers": (
        lambda: guidance.lm_guidance(jnp.arange(3), jnp.ones(3), jnp.ones(3), alpha=1.0, beta=1.0),
        TypeError,
        "lm_logits must be floating",
    ),
    "batch of one": (lambda: guidance.roll_labels(jnp.array([1])), ValueError, "B >= 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
