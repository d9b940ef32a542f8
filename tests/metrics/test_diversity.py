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
