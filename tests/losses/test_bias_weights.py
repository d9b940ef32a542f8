"""Weights by the variance of features: limits, running minimum, split batches, masks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jaxlab import losses

B, K = 8, 3
RNG = np.random.default_rng(0)
FEATURES = (RNG.uniform(0.2, 3, (B, 1, 1)) * RNG.standard_normal((B, 4, 2))).astype(np.float32)
LOGITS, LABELS = RNG.standard_normal((B, K)).astype(np.float32), RNG.integers(0, K, B)
VARIANCES = FEATURES.reshape(B, -1).var(1, ddof=1)
ENTROPY = -log_softmax(LOGITS, -1)[np.arange(B), LABELS]


def by_numpy(variances, minimum, alpha=0.3, beta=0.3):
    """As the published module computes them."""
    low = min(minimum, variances.min())
    return np.exp(beta * (variances - low) / (variances.max() - variances.min())) - 1 + alpha


@pytest.mark.parametrize("minimum", [None, 0.01, 1e5])
def test_equals_numpy(minimum):
    expected = by_numpy(VARIANCES, 1e5 if minimum is None else minimum)
    np.testing.assert_allclose(losses.bias_weights(FEATURES, minimum=minimum), expected, rtol=1e-5)
    found = losses.bias_loss(LOGITS, LABELS, FEATURES, minimum=minimum)
    np.testing.assert_allclose(found, expected * ENTROPY, rtol=1e-5)


def test_the_range_of_the_weights():
    weights = np.asarray(losses.bias_weights(FEATURES))
    np.testing.assert_array_equal(np.argsort(weights), np.argsort(VARIANCES))
    np.testing.assert_allclose([weights.min(), weights.max()], [0.3, 0.6498588], rtol=1e-6)
    assert losses.bias_weights(FEATURES, minimum=0.0).max() > 0.65  # the minimum is of all batches, the spread of one
    np.testing.assert_allclose(losses.bias_weights(FEATURES * 7 + 2), weights, rtol=1e-4)


def test_without_beta_it_is_scaled_cross_entropy():
    found = losses.bias_loss(LOGITS, LABELS, FEATURES, alpha=0.7, beta=0.0, minimum=0.1)
    np.testing.assert_allclose(found, 0.7 * ENTROPY, rtol=1e-5)


def test_the_running_minimum():
    running = jnp.inf
    for part in (FEATURES[4:], FEATURES[:4], FEATURES[4:]):
        running = losses.bias_minimum(running, part)
    np.testing.assert_allclose(running, VARIANCES.min(), rtol=1e-6)
    assert losses.bias_minimum(0.01, FEATURES) == jnp.float32(0.01)
    assert losses.bias_minimum(0.5, FEATURES, where=np.zeros(B, bool)) == 0.5


@pytest.mark.parametrize("features", [np.ones((3, 4)), np.arange(8.0)[None] * np.ones((3, 1)), FEATURES[:1]])
def test_equal_variances_get_the_smallest_weight(features):
    np.testing.assert_allclose(losses.bias_weights(np.float32(features)), 0.3, rtol=1e-6)
    np.testing.assert_allclose(losses.bias_weights(np.float32(features), minimum=-1.0), 0.3, rtol=1e-6)


def test_no_gradient_reaches_the_features():
    gradient = jax.grad(lambda f: losses.bias_loss(LOGITS, LABELS, f, minimum=0.1).sum())(FEATURES)
    np.testing.assert_array_equal(gradient, 0)


def test_hidden_examples_decide_nothing():
    where = np.arange(B) < 5
    dirty = np.where(where[:, None, None], FEATURES, np.nan)
    unknown = np.where(where, LABELS, -1)
    found = losses.bias_loss(LOGITS, unknown, dirty, where=where)
    np.testing.assert_allclose(found[:5], losses.bias_loss(LOGITS[:5], LABELS[:5], FEATURES[:5]), rtol=1e-6)
    np.testing.assert_array_equal(found[5:], 0)
    np.testing.assert_array_equal(np.isnan(losses.bias_loss(LOGITS, unknown, FEATURES)), ~where)
    np.testing.assert_array_equal(losses.bias_loss(LOGITS, unknown, dirty, where=np.zeros(B, bool)), 0)


def test_an_empty_batch():
    assert losses.bias_loss(jnp.zeros((0, 3)), jnp.zeros(0, int), jnp.zeros((0, 4))).shape == (0,)


def test_split_equals_whole():
    where = np.arange(B) != 3

    def part(*rows):
        logits, labels, features, where = rows
        each = losses.bias_loss(logits, labels, features, where=where, axis_name="data")
        return each, losses.bias_minimum(jnp.inf, features, where=where, axis_name="data")

    split = [x.reshape(4, 2, *x.shape[1:]) for x in (LOGITS, LABELS, FEATURES, where)]
    each, minimum = jax.vmap(part, axis_name="data")(*split)
    np.testing.assert_allclose(each.reshape(B), losses.bias_loss(LOGITS, LABELS, FEATURES, where=where), rtol=1e-5)
    np.testing.assert_allclose(minimum, VARIANCES[where].min(), rtol=1e-6)
    apart = [losses.bias_loss(*rows[:3], where=rows[3]) for rows in zip(*split, strict=True)]
    assert np.abs(np.concatenate(apart) - each.reshape(B)).max() > 0.01  # each part by itself is another thing


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"logits": LOGITS[0]}, ValueError, r"logits must have shape \[B, K\]"),
        ({"labels": LABELS[:2]}, ValueError, "logits and labels"),
        ({"labels": ENTROPY}, TypeError, "labels must hold integers"),
        ({"features": FEATURES[:2]}, ValueError, "features and labels"),
        ({"features": FEATURES[:, 0, 0]}, ValueError, r"features must have shape \[B, ...\]"),
        ({"features": FEATURES[:, :1, :1]}, ValueError, "two numbers an example"),
        ({"features": np.ones((B, 2), int)}, TypeError, "features must be floating"),
        ({"alpha": -0.1}, ValueError, "alpha must be at least 0"),
        ({"where": np.ones(B)}, TypeError, "where must be boolean"),
        ({"where": np.ones(2, bool)}, ValueError, "where must have shape"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        losses.bias_loss(**{"logits": LOGITS, "labels": LABELS, "features": FEATURES, **change})
