"""Recognisability and diversity of generated examples, against scikit-learn and numpy."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score

from jaxlab import metrics


def test_scikit_learn_gives_the_same_f1():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 4, 40)
    result = metrics.recognizability(logits, labels)
    seen = logits.argmax(1)
    np.testing.assert_allclose(result.f1, f1_score(labels, seen, average=None), rtol=1e-6)
    np.testing.assert_allclose(result.macro_f1, f1_score(labels, seen, average="macro"), rtol=1e-6)
    np.testing.assert_allclose(result.accuracy, (labels == seen).mean(), rtol=1e-6)
    where = np.arange(40) < 25
    part = metrics.recognizability(logits, np.where(where, labels, -1))
    np.testing.assert_allclose(part.f1, metrics.recognizability(logits, labels, where=where).f1)
    np.testing.assert_allclose(part.f1, f1_score(labels[:25], seen[:25], average=None), rtol=1e-6)


def test_a_row_with_a_nan_is_recognised_as_nothing():
    result = metrics.recognizability(jnp.array([[jnp.nan, 1.0], [0.0, 1.0]]), jnp.array([0, 1]))
    np.testing.assert_allclose(result.accuracy, 0.5)
    np.testing.assert_allclose(result.f1, [0.0, 1.0])


def test_a_class_that_never_occurs_is_left_out():
    result = metrics.recognizability(jnp.array([[1.0, 0.0, -1.0]] * 2), jnp.array([0, 1]))
    np.testing.assert_allclose(result.f1, [2 / 3, 0.0, np.nan], rtol=1e-6)
    np.testing.assert_allclose(result.macro_f1, 1 / 3, rtol=1e-6)


def test_diversity_is_the_spread_within_classes():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 3)).astype(np.float32)
    labels = np.arange(4000) % 2
    apart = features + 100.0 * labels[:, None].astype(np.float32)  # how far classes are apart does not count
    np.testing.assert_allclose(metrics.feature_diversity(apart, labels, num_classes=3), 1.0, rtol=3e-2)
    wanted = np.mean([features[labels == k].std(0).mean() for k in (0, 1)])
    np.testing.assert_allclose(metrics.feature_diversity(features, labels, num_classes=2), wanted, rtol=1e-5)
    assert metrics.feature_diversity(jnp.ones((4, 2)), jnp.array([0, 0, 1, 1]), num_classes=2) == 0.0
    assert metrics.feature_diversity(jnp.ones((2, 2)), jnp.array([-1, 5]), num_classes=2) == 0.0


def test_bad_input():
    with pytest.raises(ValueError, match="logits"):
        metrics.recognizability(jnp.ones(3), jnp.array([0, 1, 2]))
    with pytest.raises(TypeError, match="labels"):
        metrics.feature_diversity(jnp.ones((2, 2)), jnp.ones(2), num_classes=2)
    with pytest.raises(ValueError, match="num_classes"):
        metrics.feature_diversity(jnp.ones((2, 2)), jnp.array([0, 1]), num_classes=0)
