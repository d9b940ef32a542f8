"""Unnormalised densities: the pieces against closed forms, and a quick run of two rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from experiments import density_models, unnormalised_models


def test_densities_of_the_noise():
    x = np.random.default_rng(0).normal(size=(5, 2))
    found = unnormalised_models.normal_log_density(jnp.asarray(x), jnp.float32(2.0))
    np.testing.assert_allclose(found, stats.norm(scale=2.0).logpdf(x).sum(axis=1), rtol=1e-5)
    draws = unnormalised_models.gaussian_draws(jnp.float32(1.0), jnp.array([3.0]), jnp.array([0.0]), jnp.float32(5.0))
    expected = [2.0, stats.norm(scale=5).logpdf(3), 0.5, stats.norm(scale=5).logpdf(0)]
    np.testing.assert_allclose(np.concatenate(draws), expected, rtol=1e-5)


def test_the_constant_of_wells_is_their_volume():
    params = {
        "centers": jnp.array([[0.0, 0.0], [2.0, -1.0], [-3.0, 1.0]]),
        "depths": jnp.array([0.0, 1.0, -0.5]),
        "log_widths": jnp.log(jnp.array([1.0, 0.5, 0.8])),
    }
    volume = np.sum(2 * np.pi * np.array([1.0, 0.25, 0.64]) * np.exp([0.0, 1.0, -0.5]))
    np.testing.assert_allclose(unnormalised_models.log_constant(params, 161), np.log(volume), rtol=1e-4)


def test_wines_are_split_and_standardised():
    train, tests = unnormalised_models.wines(np.random.default_rng(0))
    assert (train.shape, tests.shape) == ((125, 2), (53, 2))
    np.testing.assert_allclose(np.mean(train, axis=0), 0, atol=1e-5)
    assert np.abs(np.mean(tests, axis=0)).max() > 1e-3


def test_quick_run(quick_run):
    found = quick_run(density_models, "--methods", "zlib,nce,meco")
    rows = found["rows"]
    assert np.all(np.less(rows["early_wide"]["meco"], rows["early_wide"]["nce"]))
    assert np.all(np.less(rows["slope"]["nce"], 0.2))
    np.testing.assert_allclose(rows["slope"]["meco"], 1, atol=0.2)
    assert max(map(max, rows["wine_nll"].values())) < 5
    assert np.shape(found["curves"]["path_wide"]["meco"])[1] == 2


def test_bad_settings():
    with pytest.raises(ValueError, match="wine_steps must be positive"):
        density_models.Config(wine_steps=0)


def test_slopes_differ_by_objective_alone():
    exact = unnormalised_models.slope(jax.random.key(0), kind="exact_mle")
    np.testing.assert_allclose(exact, 1, atol=0.02)
