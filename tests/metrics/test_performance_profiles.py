"""Performance profiles and their area, against a numerical integral and by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import metrics

rng = np.random.default_rng(30)
TIMES = rng.uniform(1, 10, (5, 9)).astype(np.float32)
TIMES[0, 3] = TIMES[2, 1] = np.inf
TIMES[:, 7] = np.inf  # nobody gets there
TIMES[4, 5] = np.nan


def test_the_profile_counts():
    taus = np.float32([1.0, 1.5, 4.0, 1e6])
    reached = np.where(np.isnan(TIMES), np.inf, TIMES)
    want = [[np.mean(np.isfinite(row) & (row <= tau * reached.min(0))) for tau in taus] for row in reached]
    got = metrics.performance_profile(TIMES, taus)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert np.sum(got[:, 0]) >= 8 / 9 - 1e-6
    np.testing.assert_allclose(got[:, -1], np.isfinite(TIMES).mean(1), rtol=1e-6)


def test_the_score_is_the_area():
    taus = np.linspace(1, 4, 3001, dtype=np.float32)
    area = np.mean(np.asarray(metrics.performance_profile(TIMES, taus)), axis=1)
    np.testing.assert_allclose(metrics.algoperf_score(TIMES), area, atol=1e-3)
    shorter = np.mean(np.asarray(metrics.performance_profile(TIMES, taus[:1001])), axis=1)
    np.testing.assert_allclose(metrics.algoperf_score(TIMES, tau_max=2.0), shorter, atol=2e-3)


def test_scores_by_hand():
    times = jnp.array([[1.0, 1.0], [2.0, 5.0], [jnp.inf, 4.0]])
    np.testing.assert_allclose(metrics.algoperf_score(times), [1.0, 1 / 3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(metrics.algoperf_score(1e3 * times), metrics.algoperf_score(times), rtol=1e-6)
    assert metrics.algoperf_score(times[1:])[0] > 1 / 3  # without the fastest


def test_bad_input():
    with pytest.raises(ValueError, match="times"):
        metrics.algoperf_score(jnp.ones(3))
    with pytest.raises(ValueError, match="times"):
        metrics.performance_profile(jnp.ones((0, 3)), jnp.ones(1))
    with pytest.raises(ValueError, match="tau_max must be above 1"):
        metrics.algoperf_score(jnp.ones((2, 2)), tau_max=1.0)
    with pytest.raises(TypeError, match="floating"):
        metrics.algoperf_score(jnp.ones((2, 2), int))
    with pytest.raises(ValueError, match="taus"):
        metrics.performance_profile(jnp.ones((2, 2)), 1.0)
