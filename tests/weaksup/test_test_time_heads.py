"""Weights of heads by their certainty, the most certain head, and pseudo-labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from jaxlab import weaksup

RNG = np.random.default_rng(0)
H, B, K = 3, 5, 4
LOGITS = RNG.normal(scale=2.0, size=(H, B, K)).astype(np.float32)
PROBS = np.asarray(jax.nn.softmax(LOGITS), np.float64)
ENTROPY = entropy(PROBS, axis=-1)
WHERE = np.array([True, False, True, True, False])


def test_weights_are_inverse_powers_of_the_entropy():
    for gamma in (0.0, 0.5, 1.0, 5.0):
        wanted = ENTROPY**-gamma / np.sum(ENTROPY**-gamma, axis=0)
        np.testing.assert_allclose(weaksup.entropy_weights(LOGITS, gamma=gamma), wanted, rtol=1e-4, atol=1e-6)


def test_the_limit_is_the_most_certain_head():
    weights = weaksup.entropy_weights(LOGITS, gamma=1e4)
    np.testing.assert_allclose(weights, np.eye(H)[ENTROPY.argmin(0)].T, atol=1e-3)
    chosen = LOGITS[ENTROPY.argmin(0), np.arange(B)]
    np.testing.assert_array_equal(weaksup.select_head(LOGITS), chosen)
    mixed = weaksup.aggregate_heads(jax.nn.softmax(LOGITS), weights)
    np.testing.assert_allclose(mixed, jax.nn.softmax(chosen), atol=1e-3)


def test_saturated_and_equal_heads():
    sure = np.float32([[[200, 0, 0, 0]], [[0, 0, 0, 300]]])
    weights, gradient = jax.value_and_grad(lambda z: weaksup.entropy_weights(z, gamma=5.0)[0, 0])(sure)
    np.testing.assert_allclose(weights, 0.5)
    assert np.isfinite(gradient).all()
    same = np.repeat(LOGITS[:1], 3, axis=0)
    np.testing.assert_array_equal(weaksup.select_head(same), LOGITS[0])
    mixture = weaksup.aggregate_heads(jax.nn.softmax(same), weaksup.entropy_weights(same))
    np.testing.assert_allclose(mixture, PROBS[0], rtol=1e-5)


def test_hidden_examples():
    spoiled = np.where(WHERE[:, None], LOGITS, np.nan).astype(np.float32)
    weights = weaksup.entropy_weights(spoiled, where=WHERE)
    np.testing.assert_allclose(weights[:, WHERE], weaksup.entropy_weights(LOGITS)[:, WHERE], rtol=1e-6)
    np.testing.assert_array_equal(weights[:, ~WHERE], 0)
    np.testing.assert_array_equal(weaksup.select_head(spoiled, where=WHERE)[~WHERE], 0)
    gradient = jax.grad(lambda z: jnp.sum(weaksup.entropy_weights(z, where=WHERE) ** 2))(spoiled)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, ~WHERE], 0)


def test_pseudo_labels():
    found = weaksup.pseudo_label(LOGITS, threshold=0.7)
    np.testing.assert_array_equal(found.labels, PROBS.argmax(-1))
    np.testing.assert_allclose(found.confidence, PROBS.max(-1), rtol=1e-5)
    np.testing.assert_array_equal(found.where, PROBS.max(-1) >= 0.7)
    assert 0 < found.where.sum() < H * B
    assert not weaksup.pseudo_label(LOGITS, threshold=1.1).where.any()
    per_example = weaksup.pseudo_label(LOGITS[0], threshold=np.float32([0, 2, 0, 2, 0]))
    assert per_example.where.tolist() == [True, False, True, False, True]
    hidden = weaksup.pseudo_label(np.where(WHERE[:, None], LOGITS[0], np.nan), threshold=0.0, where=WHERE)
    np.testing.assert_array_equal(hidden.where, WHERE)
    np.testing.assert_array_equal(np.asarray(hidden.confidence)[~WHERE], 0)
    gradient = jax.grad(lambda z: jnp.sum(weaksup.pseudo_label(z, threshold=0.5).confidence))(LOGITS)
    np.testing.assert_array_equal(gradient, 0)
    assert weaksup.pseudo_label(np.float32([1, 1, 0])).labels == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: weaksup.entropy_weights(LOGITS[0]), ValueError, r"\[H, B, K\]"),
        (lambda: weaksup.entropy_weights(LOGITS[:0]), ValueError, "number of heads"),
        (lambda: weaksup.entropy_weights(LOGITS, gamma=-1.0), ValueError, "gamma"),
        (lambda: weaksup.entropy_weights(LOGITS.astype(int)), TypeError, "logits"),
        (lambda: weaksup.select_head(LOGITS, where=np.ones(H, bool)), ValueError, "where"),
        (lambda: weaksup.select_head(LOGITS, where=np.ones(B)), TypeError, "where"),
        (lambda: weaksup.pseudo_label(np.float32(1.0)), ValueError, r"\[\.\.\., K\]"),
        (
            lambda: weaksup.pseudo_label(LOGITS, threshold=np.ones(2, np.float32)),
            ValueError,
            "broadcast|[Ii]ncompatible",
        ),
        (lambda: weaksup.pseudo_label(LOGITS, where=WHERE), ValueError, "where"),
        (lambda: weaksup.pseudo_label(LOGITS.astype(int)), TypeError, "logits"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
