"""Inputs that carry another example's features: where they stay, and that they come nearer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.optim import distilled_features

WEIGHTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


def features(x):
    return jnp.tanh(x @ WEIGHTS)


def pair():
    rng = np.random.default_rng(1)
    return rng.random((4, 6)).astype(np.float32), rng.random((4, 6)).astype(np.float32)


def distance(z, target):
    return np.mean((np.asarray(features(z)) - np.asarray(features(target))) ** 2, axis=-1)


def by_numpy(source, target, *, eps, step, num_iters):
    """Sign steps with momentum, the gradient of the mean squared gap by hand, in float64."""
    source, target, weights = (a.astype(np.float64) for a in (source, target, WEIGHTS))
    z, velocity = source.copy(), np.zeros_like(source)
    for _ in range(num_iters):
        now = np.tanh(z @ weights)
        grad = (2 / 3 * (now - np.tanh(target @ weights)) * (1 - now**2)) @ weights.T
        velocity = velocity + grad / np.abs(grad).sum(1, keepdims=True)
        z = np.clip(z - step * np.sign(velocity), source - eps, source + eps).clip(0, 1)
    return z


def test_equals_numpy():
    source, target = pair()
    options = {"eps": 0.07, "step": 0.02, "num_iters": 4}
    np.testing.assert_allclose(
        distilled_features(features, source, target, **options), by_numpy(source, target, **options), atol=1e-5
    )


def test_features_come_nearer_within_the_ball():
    source, target = pair()
    reached = [source]
    for num_iters in (2, 5, 10):
        z = np.asarray(distilled_features(features, source, target, num_iters=num_iters))
        assert np.abs(z - source).max() <= 0.07 + 1e-6
        assert z.min() >= 0
        assert z.max() <= 1
        reached.append(z)
    gaps = np.stack([distance(z, target) for z in reached])
    assert (np.diff(gaps, axis=0) < 0).all()


def test_nothing_to_do_leaves_the_source():
    source, target = pair()
    np.testing.assert_array_equal(distilled_features(features, source, target, num_iters=0), source)
    np.testing.assert_array_equal(distilled_features(features, source, source), source)  # the sign of 0 is 0


def test_networks_see_a_constant():
    source, target = pair()

    def loss(weights):
        z = distilled_features(lambda x: x @ weights, source, target)
        return jnp.sum(z)

    np.testing.assert_array_equal(jax.grad(loss)(jnp.asarray(WEIGHTS)), 0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"target": jnp.zeros((4, 5))}, ValueError, "source and target"),
        ({"source": jnp.zeros((4, 6), int)}, TypeError, "source must be floating"),
        ({"source": jnp.zeros((0, 6)), "target": jnp.zeros((0, 6))}, ValueError, "B >= 1"),
        ({"feature_fn": jnp.sum}, ValueError, "feature_fn must return"),
        ({"eps": -0.1}, ValueError, "eps must be at least 0"),
        ({"num_iters": 2.0}, TypeError, "num_iters must be a static integer"),
        ({"bounds": (1.0, 0.0)}, ValueError, "bounds must be"),
    ],
)
def test_bad_input(change, error, words):
    source, target = pair()
    options = {"feature_fn": features, "source": source, "target": target, **change}
    with pytest.raises(error, match=words):
        functools.partial(distilled_features)(**options)
