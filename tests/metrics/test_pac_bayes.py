"""PAC-Bayes bounds: identities, their order, and how often they fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import rel_entr

from jaxlab import metrics

RATES = np.float32([0.0, 0.1, 0.5, 0.93, 1.0])


def kl(q, p):
    return rel_entr(q, p) + rel_entr(1 - q, 1 - p)


def test_binary_kl_equals_scipy():
    found = metrics.binary_kl(RATES[:, None], RATES)
    np.testing.assert_allclose(found, kl(np.float64(RATES)[:, None], np.float64(RATES)), rtol=1e-4, atol=1e-6)
    grad = jax.grad(lambda p: metrics.binary_kl(jnp.array(0.3), p))(0.6)
    np.testing.assert_allclose(grad, -0.3 / 0.6 + 0.7 / 0.4, rtol=1e-5)


def test_kl_inverse():
    np.testing.assert_array_equal(metrics.kl_inverse(RATES, jnp.zeros(5)), RATES)
    bounds = np.float32([0.01, 0.1, 1.0])
    np.testing.assert_allclose(metrics.kl_inverse(jnp.array(0.0), bounds), 1 - np.exp(-bounds), rtol=1e-5)
    found = metrics.kl_inverse(RATES[1:4, None], bounds)
    for q, row in zip(np.float64(RATES[1:4]), found, strict=True):
        expected = [brentq(lambda p, q=q, c=c: kl(q, p) - c, q, 1 - 1e-12) for c in bounds]
        np.testing.assert_allclose(row, expected, rtol=1e-4)
    assert np.all(np.diff(found, axis=1) > 0)
    assert np.all(found <= RATES[1:4, None] + np.sqrt(bounds / 2) + 1e-6)  # Pinsker
    assert metrics.kl_inverse(jnp.array(1.0), jnp.array(0.5)) == 1


def test_bounds_by_hand():
    error, kl_, n = jnp.array(0.1), jnp.array(20.0), 10_000
    np.testing.assert_allclose(metrics.occam_bound(error, kl_, n), 0.133908, atol=1e-6)
    np.testing.assert_allclose(
        metrics.mcallester_bound(error, kl_, n), 0.1 + np.sqrt((20 + np.log(n / 0.05) + 2) / (2 * n - 1)), rtol=1e-5
    )
    level = (20 + np.log(2 * np.sqrt(n) / 0.05)) / n
    np.testing.assert_allclose(kl(0.1, float(metrics.seeger_bound(error, kl_, n))), level, rtol=1e-3)


@pytest.mark.parametrize("bound", [metrics.mcallester_bound, metrics.seeger_bound, metrics.occam_bound])
def test_bounds_move_as_they_should(bound):
    error = jnp.array(0.2)
    for options in ({"num_examples": np.float32([100, 1000, 10_000])}, {"delta": np.float32([0.01, 0.05, 0.5])}):
        found = bound(error, jnp.array(5.0), **({"num_examples": 500} | options))
        assert np.all(np.diff(found) < 0)
    assert np.all(np.diff(bound(error, np.float32([0, 5, 50]), 500)) > 0)


def test_bounds_fail_as_seldom_as_they_say():
    rng, n, delta = np.random.default_rng(0), 50, 0.2
    truth = np.linspace(0.05, 0.6, 20)
    prior = rng.dirichlet(np.ones(20))
    observed = (rng.binomial(n, truth, (2000, 20)) / n).astype(np.float32)
    penalty = jnp.asarray(-np.log(prior), jnp.float32)
    for bound in (metrics.occam_bound, metrics.seeger_bound):
        found = np.asarray(bound(observed, penalty, n, delta=delta))
        chosen = np.argmin(found, axis=1)  # the hypothesis that promises most
        assert np.mean(truth[chosen] > found[np.arange(2000), chosen]) <= delta
    naive = np.argmin(observed, axis=1)
    assert np.mean(truth[naive] > observed[np.arange(2000), naive]) > delta  # the training error promises too much


@pytest.mark.parametrize("bound", [metrics.mcallester_bound, metrics.seeger_bound, metrics.occam_bound])
def test_a_divergence_that_is_not_known_bounds_nothing(bound):
    assert np.isnan(bound(jnp.array([0.1]), jnp.array([jnp.nan]), 100)).all()


def test_bad_input():
    with pytest.raises(ValueError, match="delta must"):
        metrics.occam_bound(jnp.array(0.1), jnp.array(1.0), 10, delta=0.0)
    with pytest.raises(ValueError, match="num_examples must be at least"):
        metrics.seeger_bound(jnp.array(0.1), jnp.array(1.0), 0)
    with pytest.raises(TypeError, match="error must be floating"):
        metrics.mcallester_bound(0, jnp.array(1.0), 10)
    with pytest.raises(ValueError, match="must broadcast"):
        metrics.binary_kl(jnp.ones(2), jnp.ones(3))
    with pytest.raises(ValueError, match="must broadcast"):
        metrics.kl_inverse(jnp.ones(2), jnp.ones(3))
