"""Log probabilities of token sequences."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from jaxlab import losses

rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(3, 5, 4)).astype(np.float32) * 4
LABELS = rng.integers(0, 4, (3, 5)).astype(np.int32)
WHERE = np.array([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 1]], bool)


def tokens():
    return np.take_along_axis(log_softmax(LOGITS.astype(np.float64), axis=-1), LABELS[..., None], -1)[..., 0]


def test_sums_and_means_over_the_tokens_that_count():
    np.testing.assert_allclose(losses.token_log_probs(LOGITS, LABELS), tokens(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses.sequence_log_prob(LOGITS, LABELS), tokens().sum(1), rtol=1e-5)
    masked = losses.sequence_log_prob(LOGITS, LABELS, where=WHERE)
    np.testing.assert_allclose(masked, (tokens() * WHERE).sum(1), rtol=1e-5)
    mean = losses.sequence_log_prob(LOGITS, LABELS, where=WHERE, mean=True)
    np.testing.assert_allclose(mean, [tokens()[0, :3].mean(), 0.0, tokens()[2, ::2].mean()], rtol=1e-5)
    peer = -optax.losses.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS).sum(1)
    np.testing.assert_allclose(losses.sequence_log_prob(LOGITS, LABELS), peer, rtol=1e-5)


def test_all_sequences_together_have_probability_one():
    every = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    logits = np.broadcast_to(LOGITS[0, :3], (64, 3, 4))
    np.testing.assert_allclose(jnp.sum(jnp.exp(losses.sequence_log_prob(logits, every))), 1.0, rtol=1e-5)


def test_simplex_flow_is_least_at_the_posterior():
    # Of one token out of four, which is 0 in three cases of four: the best answer is that share.
    labels = np.array([[0], [0], [0], [2]])

    def loss(logits):
        return jnp.mean(losses.simplex_flow(jnp.broadcast_to(logits, (4, 1, 4)), labels))

    best = np.log(np.array([0.75, 1e-9, 0.25, 1e-9], np.float32))
    np.testing.assert_allclose(jax.grad(loss)(best), 0.0, atol=1e-6)
    np.testing.assert_allclose(loss(best), -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), rtol=1e-5)
    np.testing.assert_allclose(
        losses.simplex_flow(LOGITS, LABELS, where=WHERE),
        -losses.sequence_log_prob(LOGITS, LABELS, where=WHERE, mean=True),
    )


def test_hidden_tokens_may_be_anything():
    logits, labels = LOGITS.copy(), LABELS.copy()
    logits[~WHERE], labels[~WHERE] = np.nan, -100
    value, grad = jax.value_and_grad(lambda z: jnp.sum(losses.sequence_log_prob(z, labels, where=WHERE)))(logits)
    np.testing.assert_allclose(value, (tokens() * WHERE).sum(), rtol=1e-5)
    assert (np.asarray(grad)[~WHERE] == 0).all()
    assert np.isfinite(grad).all()


def test_excluded_tokens_and_unknown_labels():
    logits = jnp.array([[1.0, -jnp.inf, 0.0]] * 3)
    got = np.asarray(losses.token_log_probs(logits, jnp.array([0, 1, 3])))
    np.testing.assert_allclose(got[0], 1.0 - np.log(np.e + 1), rtol=1e-6)
    assert got[1] == -np.inf
    assert np.isnan(got[2])
    np.testing.assert_allclose(
        jax.grad(lambda z: losses.token_log_probs(z, jnp.array(0)))(logits[0])[1], 0.0, atol=1e-7
    )


BAD = {
    "labels": (
        lambda: losses.sequence_log_prob(LOGITS, LABELS[:, :4]),
        ValueError,
        "logits must have shape [3, 4, 'V']",
    ),
    "no tokens": (lambda: losses.token_log_probs(jnp.ones((2, 0)), jnp.zeros(2, int)), ValueError, "[2, 'V']"),
    "a token": (lambda: losses.sequence_log_prob(jnp.ones(3), 1), ValueError, "labels must have shape [..., T]"),
    "soft labels": (lambda: losses.sequence_log_prob(LOGITS, LABELS * 1.0), TypeError, "labels must hold integers"),
    "where": (lambda: losses.simplex_flow(LOGITS, LABELS, where=WHERE[0]), ValueError, "where must have shape [3, 5]"),
    "weights": (lambda: losses.simplex_flow(LOGITS, LABELS, where=WHERE * 1.0), TypeError, "where must be boolean"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
