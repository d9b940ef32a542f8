"""Reliability of ratings, and pairs of similarity matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import metrics

RNG = np.random.default_rng(0)


def test_spearman_brown():
    np.testing.assert_allclose(metrics.spearman_brown(jnp.array([0.0, 0.5, 1.0, -0.2])), [0, 2 / 3, 1, -0.5], rtol=1e-6)
    np.testing.assert_allclose(metrics.spearman_brown(jnp.array(0.2), factor=5.0), 1 / 1.8, rtol=1e-6)
    assert np.isnan(metrics.spearman_brown(jnp.array(-1.0)))
    with pytest.raises(ValueError, match="factor must be > 0"):
        metrics.spearman_brown(jnp.array(0.5), factor=0.0)


def test_reliability_is_the_share_of_variance_that_is_not_noise():
    truth = RNG.normal(size=400)
    ratings = (truth + 2 * RNG.normal(size=(6, 400))).astype(np.float32)
    found = metrics.split_half_reliability(jax.random.key(0), ratings, num_splits=20)
    np.testing.assert_allclose(found, 1 / (1 + 4 / 6), atol=0.06)
    few = np.arange(6)[:, None] < 2 + RNG.integers(0, 2, 400)
    dirty = np.where(few, ratings, np.nan)
    fewer = metrics.split_half_reliability(jax.random.key(0), dirty, few, num_splits=20)
    assert np.isfinite(fewer)
    assert fewer < found - 0.1


def test_items_with_one_rating_are_left_out():
    ratings = RNG.normal(size=(2, 9)).astype(np.float32)
    where = np.ones((2, 9), bool)
    where[1, 6:] = False
    key = jax.random.key(1)
    expected = metrics.split_half_reliability(key, np.tile(ratings[:1], (2, 1)), num_splits=3)
    np.testing.assert_allclose(expected, 1, rtol=1e-5)
    changed = ratings.copy()
    changed[0, 6:] = 100
    found = [metrics.split_half_reliability(key, r, where, num_splits=3) for r in (ratings, changed)]
    assert found[0] == found[1]


def test_upper_triangles_correlate_whatever_the_order_and_the_units():
    a, b = RNG.normal(size=(2, 6, 6)).astype(np.float32)
    a, b = a + a.T, b + b.T
    upper = np.triu(np.ones((6, 6), bool), 1)
    found = metrics.pearson(a, b, where=upper)
    np.testing.assert_allclose(found, np.corrcoef(a[upper], b[upper])[0, 1], rtol=1e-4)
    order = RNG.permutation(6)
    moved = metrics.pearson(3 * a[order][:, order] + 2, b[order][:, order], where=upper)
    np.testing.assert_allclose(moved, found, rtol=1e-4)


def test_bad_input():
    with pytest.raises(ValueError, match="ratings must have shape"):
        metrics.split_half_reliability(jax.random.key(0), jnp.ones(3))
    with pytest.raises(ValueError, match="num_splits must be"):
        metrics.split_half_reliability(jax.random.key(0), jnp.ones((3, 3)), num_splits=0)
