"""Mean pairwise distance against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from jaxlab import metrics


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_scipy_gives_the_same(metric):
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_allclose(
        metrics.mean_pairwise_distance(x, metric=metric), distance.pdist(x, metric).mean(), rtol=1e-5
    )
    where = np.arange(9) % 2 == 0
    masked = metrics.mean_pairwise_distance(np.where(where[:, None], x, np.nan), metric=metric, where=where)
    np.testing.assert_allclose(masked, distance.pdist(x[where], metric).mean(), rtol=1e-5)


def test_equal_members_and_too_few():
    same = jnp.ones((3, 2))
    assert metrics.mean_pairwise_distance(same) == 0
    assert np.isfinite(jax.grad(metrics.mean_pairwise_distance)(same)).all()
    assert metrics.mean_pairwise_distance(same[:1]) == 0
    assert metrics.mean_pairwise_distance(same, where=jnp.array([True, False, False])) == 0


def test_bad_input():
    with pytest.raises(ValueError, match="metric"):
        metrics.mean_pairwise_distance(jnp.ones((3, 2)), metric="taxicab")
    with pytest.raises(ValueError, match="x must have"):
        metrics.mean_pairwise_distance(jnp.ones(3))


# --- entropies, ranks, the closest pair


@pytest.mark.parametrize("q", [0, 0.1, 0.5, 1, 2, 60, np.inf])
def test_entropies_equal_the_formula(q):
    probs = np.random.default_rng(1).dirichlet(np.ones(6), 4).astype(np.float32)
    probs[0, :3], probs[1] = 0, np.eye(6)[2]
    probs /= probs.sum(1, keepdims=True)
    wide = np.float64(probs)
    some = np.where(wide > 0, wide, 1)
    if q == 1:
        expected = -np.sum(np.where(wide > 0, wide * np.log(some), 0), 1)
    elif q == np.inf:
        expected = -np.log(wide.max(1))
    else:
        expected = np.log(np.sum(np.where(wide > 0, some**q, 0), 1)) / (1 - q)
    found = jax.jit(lambda p: metrics.renyi_entropy(p, q=q))
    np.testing.assert_allclose(found(probs), expected, atol=1e-5)
    np.testing.assert_allclose(found(np.where(probs > 0, probs, -1e-9)), expected, atol=1e-5)
    assert np.isfinite(jax.grad(lambda p: found(p).sum())(probs)).all()
    assert found(jnp.zeros(6)) == 0


def test_effective_rank():
    x = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
    shares = np.linalg.svd(np.float64(x), compute_uv=False)
    shares /= shares.sum()
    np.testing.assert_allclose(metrics.effective_rank(x), np.exp(-np.sum(shares * np.log(shares))), rtol=1e-5)
    where = np.arange(9) < 6
    dirty = np.where(where[:, None], x, np.nan)
    np.testing.assert_allclose(metrics.effective_rank(dirty, where=where), metrics.effective_rank(x[:6]), rtol=1e-5)
    np.testing.assert_allclose(metrics.effective_rank(5 * jnp.eye(7)[:, :4]), 4, rtol=1e-5)
    line = np.outer(np.arange(1.0, 50), np.arange(1.0, 30)).astype(np.float32)
    np.testing.assert_allclose(metrics.effective_rank(line), 1, rtol=1e-4)  # rounding is no direction
    assert metrics.effective_rank(jnp.zeros((3, 2))) == 0


def test_the_closest_pair_of_a_subset():
    x = np.random.default_rng(3).normal(size=(8, 2)).astype(np.float32)
    distances = distance.cdist(x, x).astype(np.float32)
    subset = np.array([6, 1, 4])
    np.testing.assert_allclose(metrics.min_pairwise_distance(distances, subset), distance.pdist(x[subset]).min(), 1e-5)
    assert metrics.min_pairwise_distance(distances, np.array([6, 1, 6])) == 0
    assert np.isnan(metrics.min_pairwise_distance(distances, np.array([6, -1])))
    with pytest.raises(ValueError, match="at least 2"):
        metrics.min_pairwise_distance(distances, np.array([6]))


def test_bad_orders_and_shapes():
    with pytest.raises(ValueError, match="q must be at least 0"):
        metrics.renyi_entropy(jnp.ones(2) / 2, q=-0.5)
    with pytest.raises(ValueError, match="probs must have"):
        metrics.renyi_entropy(jnp.array(1.0))
    with pytest.raises(ValueError, match="x must have"):
        metrics.effective_rank(jnp.ones(3))
    with pytest.raises(ValueError, match="distances must have"):
        metrics.min_pairwise_distance(jnp.ones((2, 3)), jnp.array([0, 1]))
