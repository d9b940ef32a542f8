"""Decompositions of ensemble losses, disagreement per example, and examples that only the average gets right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from jaxlab import metrics

RNG = np.random.default_rng(0)
M, N, K = 3, 8, 4
LOGITS = RNG.normal(scale=2.0, size=(M, N, K)).astype(np.float32)
LABELS = RNG.integers(0, K, N)
PROBS = softmax(LOGITS.astype(np.float64), axis=-1)
WHERE = np.arange(N) % 3 > 0


@pytest.mark.parametrize("score", ["nll", "brier"])
def test_decomposition(score):
    def loss(probs):
        if score == "nll":
            return log_loss(LABELS, probs, labels=range(K))
        return np.mean(np.sum((probs - np.eye(K)[LABELS]) ** 2, axis=-1))

    found = metrics.ensemble_decomposition(LOGITS, LABELS, score=score)
    np.testing.assert_allclose(found.ensemble, loss(PROBS.mean(0)), rtol=1e-5)
    np.testing.assert_allclose(found.members, np.mean([loss(probs) for probs in PROBS]), rtol=1e-5)
    np.testing.assert_allclose(found.ensemble, found.members - found.diversity, rtol=1e-5)
    assert found.diversity > 0.01
    same = metrics.ensemble_decomposition(LOGITS[[0, 0]], LABELS, score=score)
    np.testing.assert_allclose(same.diversity, 0.0, atol=1e-6)
    if score == "brier":
        np.testing.assert_allclose(found.diversity, PROBS.var(axis=0).sum(-1).mean(), rtol=1e-5)


@pytest.mark.parametrize("score", ["nll", "brier"])
def test_masked_and_unknown_labels(score):
    spoiled = np.where(WHERE[:, None], LOGITS, np.nan)
    labels = np.where(WHERE, LABELS, -1)

    def ensemble(z):
        return metrics.ensemble_decomposition(z, labels, score=score, where=WHERE).ensemble

    value, gradient = jax.value_and_grad(ensemble)(jnp.asarray(spoiled, jnp.float32))
    wanted = metrics.ensemble_decomposition(LOGITS[:, WHERE], LABELS[WHERE], score=score)
    np.testing.assert_allclose(value, wanted.ensemble, rtol=1e-5)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[:, ~WHERE] == 0).all()
    unknown = metrics.ensemble_decomposition(LOGITS, labels, score=score)
    assert np.isnan([unknown.ensemble, unknown.members]).all()


def test_decomposition_of_huge_logits():
    huge = np.float32([[[1e3, -1e3]], [[-1e3, 1e3]]])
    found = metrics.ensemble_decomposition(huge, np.array([1]))
    np.testing.assert_allclose(found, (np.log(2), 1000.0, 1000 - np.log(2)), rtol=1e-6)


def test_disagreement_by_example():
    probs = PROBS.astype(np.float32)
    for kind in ("kl", "l1", "argmax"):
        each = metrics.pairwise_disagreement(probs, kind=kind, reduce=False)
        assert each.shape == (M, M, N)
        np.testing.assert_allclose(each.mean(-1), metrics.pairwise_disagreement(probs, kind=kind), atol=1e-6)
    # The published score by which examples are picked, up to the classes it averages over.
    l1 = metrics.pairwise_disagreement(probs, kind="l1", reduce=False).mean((0, 1))
    np.testing.assert_allclose(l1, np.abs(PROBS[:, None] - PROBS).mean((0, 1, 3)), atol=1e-6)
    masked = metrics.pairwise_disagreement(jnp.where(WHERE[:, None], probs, jnp.nan), where=WHERE, reduce=False)
    np.testing.assert_array_equal(masked[..., ~WHERE], 0.0)


def test_only_the_average_is_right():
    one, other = RNG.normal(size=(2, 2000, K)).astype(np.float32)
    labels = RNG.integers(0, K, 2000)
    mean = (one + other) / 2
    choices = [z.argmax(1) for z in (one, other, mean)]
    wanted = (choices[0] != labels) & (choices[1] != labels) & (choices[2] == labels)
    assert wanted.sum() > 5
    np.testing.assert_allclose(metrics.false_false_true(one, other, mean, labels), wanted.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics.false_false_true(other, one, mean, labels), wanted.mean(), rtol=1e-6)
    assert metrics.false_false_true(one, one, one, labels) == 0
    kept = np.arange(2000) % 2 > 0
    masked = metrics.false_false_true(one, other, mean, np.where(kept, labels, -1), where=kept)
    np.testing.assert_allclose(masked, wanted[kept].mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.ensemble_decomposition(LOGITS[0], LABELS), ValueError, r"\[M, N, K\]"),
        (lambda: metrics.ensemble_decomposition(LOGITS, LABELS[:2]), ValueError, "labels must have shape"),
        (lambda: metrics.ensemble_decomposition(LOGITS, LABELS, score="mse"), ValueError, "score must be one of"),
        (lambda: metrics.false_false_true(LOGITS[0], LOGITS[1], LOGITS, LABELS), ValueError, "average must have shape"),
        (lambda: metrics.false_false_true(LOGITS[0], LABELS, LOGITS[0], LABELS), TypeError, "logits1"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
