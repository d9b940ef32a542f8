"""Accuracy against scikit-learn, ties and masks, the harmonic mean, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from jaxlab.metrics import accuracy, harmonic_mean


def sample(n=40, classes=5):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, classes)).astype(np.float32), rng.integers(0, classes, n)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_equals_scikit_learn(k):
    logits, labels = sample()
    expected = top_k_accuracy_score(labels, logits, k=k, labels=range(5))
    np.testing.assert_allclose(accuracy(logits, labels, k=k), expected, rtol=1e-6)


def test_predictions_and_logits_agree():
    logits, labels = sample()
    predictions = logits.argmax(1)
    assert accuracy(predictions, labels) == accuracy(logits, labels)
    np.testing.assert_allclose(accuracy(predictions, labels), accuracy_score(labels, predictions), rtol=1e-6)


def test_a_tie_goes_to_the_lower_index():
    logits = jnp.array([[1.0, 1.0, 0.0]] * 3)
    labels = jnp.array([0, 1, 2])
    assert [float(accuracy(logits[i], labels[i])) for i in range(3)] == [1, 0, 0]
    assert [float(accuracy(logits[i], labels[i], k=2)) for i in range(3)] == [1, 1, 0]


def test_where_is_the_same_as_leaving_out():
    logits, labels = sample()
    where = np.arange(40) % 3 > 0
    hidden = np.where(where[:, None], logits, np.nan)
    assert accuracy(hidden, labels, k=2, where=where) == accuracy(logits[where], labels[where], k=2)
    assert accuracy(logits, labels, where=np.zeros(40, bool)) == 0


def test_unknown_labels_and_nan_logits_are_errors():
    logits = jnp.array([[0.0, 1.0], [0.0, 1.0], [jnp.nan, 1.0], [0.0, 1.0]])
    assert accuracy(logits, jnp.array([-1, 2, 1, 1])) == 0.25


def test_leading_axes_are_averaged_together():
    logits, labels = sample()
    assert accuracy(logits.reshape(8, 5, 5), labels.reshape(8, 5)) == accuracy(logits, labels)


def test_bfloat16_logits_count_in_float32():
    labels = jnp.arange(1000) % 2
    result = accuracy(jax.nn.one_hot(labels.at[0].set(1), 2, dtype=jnp.bfloat16), labels)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, 0.999, rtol=1e-6)


def test_harmonic_mean_equals_scipy():
    values = np.random.default_rng(0).uniform(0.1, 1, size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(harmonic_mean(values), stats.hmean(values, axis=1), rtol=1e-6)
    np.testing.assert_allclose(harmonic_mean(values, axis=0), stats.hmean(values, axis=0), rtol=1e-6)


def test_harmonic_mean_at_zero_tiny_and_negative_values():
    assert harmonic_mean(jnp.array([0.0, 1.0])) == 0
    assert harmonic_mean(jnp.zeros(3)) == 0
    np.testing.assert_allclose(harmonic_mean(jnp.array([1e-37, 1e30])), 2e-37, rtol=1e-5)
    assert np.isnan(harmonic_mean(jnp.array([-0.5, 1.0])))


def test_harmonic_mean_gradient():
    values = jnp.array([0.5, 1.0, 0.25])
    expected = 3 / (np.asarray(values) ** 2 * (2 + 1 + 4) ** 2)
    np.testing.assert_allclose(jax.grad(harmonic_mean)(values), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(harmonic_mean)(jnp.array([0.0, 1.0])), [2.0, 0.0])
    assert np.isfinite(jax.grad(harmonic_mean)(jnp.zeros(3))).all()


LOGITS, LABELS = jnp.zeros((4, 3)), jnp.zeros(4, int)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"logits_or_predictions": jnp.zeros((3, 3))}, ValueError, "logits_or_predictions must have shape"),
        ({"logits_or_predictions": jnp.zeros(4)}, ValueError, "logits_or_predictions must have shape"),
        ({"logits_or_predictions": jnp.zeros(3, int)}, ValueError, "same shape"),
        ({"logits_or_predictions": jnp.zeros(4, bool)}, TypeError, "floats or integers"),
        ({"labels": jnp.zeros(4)}, TypeError, "labels must hold integers"),
        ({"k": 0}, ValueError, "k must be an integer in"),
        ({"k": 4}, ValueError, "k must be an integer in"),
        ({"k": 1.5}, ValueError, "k must be an integer in"),
        ({"logits_or_predictions": LABELS, "k": 2}, ValueError, "k must be 1"),
        ({"where": jnp.ones(3, bool)}, ValueError, "where must have shape"),
        ({"where": jnp.ones(4)}, TypeError, "where must be boolean"),
    ],
)
def test_accuracy_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        accuracy(**{"logits_or_predictions": LOGITS, "labels": LABELS, **change})


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (jnp.ones(2, int), TypeError, "values must be floating point"),
        (jnp.ones((2, 0)), ValueError, "at least one entry"),
        (jnp.array(1.0), ValueError, "at least one entry"),
    ],
)
def test_harmonic_mean_bad_input(values, error, words):
    with pytest.raises(error, match=words):
        harmonic_mean(values)
