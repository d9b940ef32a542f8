"""Scores without true labels: numpy, exact identities, masks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxlab import metrics

RNG = np.random.default_rng(0)
B, K = 8, 5
LOGITS = (2 * RNG.standard_normal((B, K))).astype(np.float32)
TRUTH = RNG.integers(0, K, B)
TOLD = (TRUTH + RNG.integers(1, K, B)) % K
UNIFORM = ((1 - np.eye(K)) / (K - 1)).astype(np.float32)
INVERSE = (np.ones((K, K)) - (K - 1) * np.eye(K)).astype(np.float32)
LOG_P = special.log_softmax(LOGITS.astype(np.float64), axis=1)
WHERE = np.arange(B) != 3


def test_unbiased_risk_by_hand():
    table = np.linalg.inv(RNG.dirichlet(np.ones(K), K)).astype(np.float32)
    expected = np.mean(np.sum(table[TOLD] * -LOG_P, axis=1))
    np.testing.assert_allclose(metrics.complementary_unbiased_risk(LOGITS, TOLD, table), expected, rtol=1e-4)


def test_unbiased_risk_averages_to_cross_entropy():
    """Over all labels but the true one, equally often: an identity, not a sample."""
    y = 1
    labels = np.array([k for k in range(K) if k != y])
    found = metrics.complementary_unbiased_risk(np.tile(LOGITS[:1], (K - 1, 1)), labels, INVERSE)
    np.testing.assert_allclose(found, -LOG_P[0, y], rtol=1e-4)


def test_surrogate_score_by_hand():
    implied = (np.exp(LOG_P) @ UNIFORM)[np.arange(B), TOLD]
    found = metrics.complementary_surrogate_score(LOGITS, TOLD, UNIFORM)
    np.testing.assert_allclose(found, np.mean(-np.log(implied + 1e-6)), rtol=1e-5)


@pytest.mark.parametrize("score", [metrics.complementary_unbiased_risk, metrics.complementary_surrogate_score])
def test_labels_out_of_range_are_loud_unless_hidden(score):
    bad = np.where(WHERE, TOLD, K)
    assert np.isnan(score(LOGITS, bad, INVERSE))
    dirty = np.where(WHERE[:, None], LOGITS, np.nan)
    found = score(dirty, bad, UNIFORM, where=WHERE)
    np.testing.assert_allclose(found, score(LOGITS[WHERE], TOLD[WHERE], UNIFORM), rtol=1e-5)
    assert score(LOGITS, bad, UNIFORM, where=np.zeros(B, bool)) == 0


def test_mixup_noise_in_loops():
    partner = RNG.permutation(B)
    noisy = [TOLD[i] == TRUTH[partner[i]] or TOLD[partner[i]] == TRUTH[i] for i in range(B)]
    np.testing.assert_allclose(metrics.complementary_mixup_noise(TRUTH, TOLD, partner), np.mean(noisy))
    found = metrics.complementary_mixup_noise(TRUTH, TOLD, partner, where=WHERE)
    np.testing.assert_allclose(found, np.mean(np.array(noisy)[WHERE]))


def test_mixup_noise_of_random_and_of_equal_classes():
    truth = np.arange(20_000) % 10
    told = (truth + RNG.integers(1, 10, len(truth))) % 10
    at_random = metrics.complementary_mixup_noise(truth, told, RNG.permutation(len(truth)))
    pair = 0.9 * (1 - (8 / 9) ** 2)  # another class nine times in ten, then one of two labels names it
    np.testing.assert_allclose(at_random, pair, atol=0.01)
    own_class = (np.arange(20_000) + 10) % 20_000
    assert metrics.complementary_mixup_noise(truth, told, own_class) == 0


def test_oscillation_is_scipys_divergence():
    p, q = RNG.dirichlet(np.ones(K), (2, B)).astype(np.float32)
    expected = stats.entropy(p.astype(np.float64), q.astype(np.float64), axis=1)
    np.testing.assert_allclose(metrics.prediction_oscillation(p, q), expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(metrics.prediction_oscillation(p, p), 0, atol=1e-6)
    hidden = metrics.prediction_oscillation(np.where(WHERE[:, None], p, np.nan), q, where=WHERE)
    np.testing.assert_allclose(hidden, np.where(WHERE, expected, 0), rtol=1e-3, atol=1e-6)


def test_oscillation_towards_what_was_impossible_is_finite():
    found = metrics.prediction_oscillation(jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(found, -np.log(1e-8), rtol=1e-6)
    assert np.isfinite(jax.grad(lambda q: metrics.prediction_oscillation(jnp.array([1.0, 0.0]), q))(jnp.zeros(2))).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: metrics.complementary_unbiased_risk(LOGITS, TOLD[:2], INVERSE), ValueError, "to match comp_labels"),
        (lambda: metrics.complementary_unbiased_risk(LOGITS, TOLD, INVERSE[:2]), ValueError, "transition_inverse must"),
        (lambda: metrics.complementary_unbiased_risk(LOGITS, TOLD / 2, INVERSE), TypeError, "comp_labels must hold"),
        (lambda: metrics.complementary_surrogate_score(LOGITS, TOLD, INVERSE, eps=0), ValueError, "eps must be > 0"),
        (lambda: metrics.complementary_surrogate_score(TOLD, TOLD, INVERSE), TypeError, "logits must be floating"),
        (lambda: metrics.complementary_mixup_noise(TRUTH, TOLD[:2], TRUTH), ValueError, "comp_labels and labels"),
        (lambda: metrics.complementary_mixup_noise(LOGITS, TOLD, TRUTH), TypeError, "labels must hold integers"),
        (lambda: metrics.complementary_mixup_noise(TRUTH[None], TOLD, TRUTH), ValueError, r"labels must have shape"),
        (lambda: metrics.prediction_oscillation(LOGITS, LOGITS[:2]), ValueError, "current and banked"),
        (lambda: metrics.prediction_oscillation(LOGITS, LOGITS, where=TOLD), TypeError, "where must be boolean"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
