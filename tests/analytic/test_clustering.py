"""analytic.clustering: k-means against scikit-learn, its seeding, fixed centroids, empty clusters, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from jaxlab import analytic

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def digits():
    return load_digits().data[:300].astype(np.float32) / 16


def test_equals_scikit_learn_from_the_same_start(digits):
    init = digits[:10]
    ours = analytic.kmeans(KEY, digits, k=10, init=init)
    theirs = KMeans(10, init=init, n_init=1, tol=0, max_iter=100).fit(digits)
    assert bool(ours.converged)
    np.testing.assert_allclose(ours.centroids, theirs.cluster_centers_, atol=1e-5)
    np.testing.assert_array_equal(ours.assignment, theirs.labels_)
    np.testing.assert_allclose(ours.inertia, theirs.inertia_, rtol=1e-5)


def test_offset_costs_nothing(digits):
    init = digits[:10]
    near = analytic.kmeans(KEY, digits, k=10, init=init)
    far = analytic.kmeans(KEY, digits + 1000, k=10, init=init + 1000)
    assert np.mean(np.asarray(near.assignment) == np.asarray(far.assignment)) > 0.99
    np.testing.assert_allclose(far.inertia, near.inertia, rtol=1e-3)


def test_restarts_only_help(digits):
    alone = [analytic.kmeans(key, digits, k=10).inertia for key in jax.random.split(KEY, 3)]
    best = analytic.kmeans(KEY, digits, k=10, num_restarts=3)
    np.testing.assert_allclose(best.inertia, min(map(float, alone)), rtol=1e-6)
    drawn = analytic.kmeans(KEY, digits, k=10, init="random", num_restarts=3)
    np.testing.assert_allclose(best.inertia, drawn.inertia, rtol=0.1)


def test_inertia_never_rises(digits):
    inertias = [float(analytic.kmeans(KEY, digits, k=10, init=digits[:10], num_iters=n).inertia) for n in (1, 2, 4, 8)]
    assert inertias == sorted(inertias, reverse=True)
    assert not bool(analytic.kmeans(KEY, digits, k=10, init=digits[:10], num_iters=1).converged)


def test_fixed_centroids_stay_and_attract(digits):
    fixed = digits[:3]
    result = analytic.kmeans(KEY, digits, k=4, fixed=fixed)
    np.testing.assert_allclose(result.centroids[:3], fixed, atol=1e-6)
    assert result.centroids.shape == (7, 64)
    distances = ((digits[:, None] - np.asarray(result.centroids)) ** 2).sum(-1)
    np.testing.assert_array_equal(result.assignment, distances.argmin(1))
    assert np.asarray(result.assignment).min() < 3
    for cluster in range(3, 7):
        members = digits[np.asarray(result.assignment) == cluster]
        np.testing.assert_allclose(result.centroids[cluster], members.mean(0), atol=1e-5)


def test_an_empty_cluster_takes_the_farthest_row():
    x = jnp.array([[0.0], [1.0], [10.0]])
    result = analytic.kmeans(KEY, x, k=2, init=jnp.array([[0.0], [100.0]]))
    np.testing.assert_allclose(np.sort(result.centroids[:, 0]), [0.5, 10.0])


def test_hidden_rows_pull_nothing(digits):
    where = np.arange(300) < 200
    spoilt = np.where(where[:, None], digits, np.nan)
    part = analytic.kmeans(KEY, digits[:200], k=5, init=digits[:5])
    masked = analytic.kmeans(KEY, spoilt, k=5, init=digits[:5], where=where)
    np.testing.assert_allclose(masked.centroids, part.centroids, atol=1e-5)
    np.testing.assert_allclose(masked.inertia, part.inertia, rtol=1e-5)


def test_cosine_ignores_lengths(digits):
    init = digits[:10]
    lengths = np.linspace(0.1, 10, 300, dtype=np.float32)[:, None]
    plain = analytic.kmeans(KEY, digits, k=10, init=init, metric="cosine")
    scaled = analytic.kmeans(KEY, digits * lengths, k=10, init=init, metric="cosine")
    np.testing.assert_array_equal(plain.assignment, scaled.assignment)
    np.testing.assert_allclose(jnp.linalg.norm(plain.centroids, axis=1), 1, atol=1e-5)


def test_seeding_follows_the_power_of_the_distance():
    # From 0, the rows at 1 and 3: weights 1 : 3 with power 1, 1 : 9 with power 2.
    x, fixed = jnp.array([[0.0], [1.0], [3.0]]), jnp.zeros((1, 1))
    for power, share in ((1.0, 3 / 4), (2.0, 9 / 10), (0.0, 1 / 3)):
        draw = jax.jit(
            jax.vmap(lambda key, p=power: analytic.kmeans_init(key, x, k=1, fixed=fixed, seeding_power=p)[0, 0])
        )
        drawn = np.asarray(draw(jax.random.split(KEY, 4000)))
        assert abs(np.mean(drawn == 3.0) - share) < 0.03, power


def test_seeds_are_different_rows(digits):
    seeds = np.asarray(analytic.kmeans_init(KEY, digits[:12], k=12))
    assert len(np.unique(seeds, axis=0)) == 12
    repeated = analytic.kmeans_init(KEY, jnp.ones((4, 2)), k=3)
    np.testing.assert_array_equal(repeated, np.ones((3, 2)))


def test_works_under_vmap(digits):
    keys = jax.random.split(KEY, 2)
    both = jax.vmap(lambda key: analytic.kmeans(key, digits, k=4, num_iters=20))(keys)
    one = analytic.kmeans(keys[1], digits, k=4, num_iters=20)
    np.testing.assert_array_equal(both.assignment[1], one.assignment)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k must be"),
        ({"k": 5}, "k must be at most 4"),
        ({"k": 3, "fixed": np.ones((2, 2), np.float32)}, "k must be at most 2"),
        ({"init": "far"}, "init must be one of"),
        ({"init": np.ones((1, 2), np.float32)}, "init must have shape"),
        ({"init": np.ones((2, 2), np.float32), "num_restarts": 2}, "num_restarts must be 1"),
        ({"metric": "dot"}, "metric must be one of"),
        ({"fixed": np.ones((1, 3), np.float32)}, "fixed must have rows"),
    ],
)
def test_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        analytic.kmeans(**{"key": KEY, "x": jnp.ones((4, 2)), "k": 2} | change)


def test_bad_types():
    with pytest.raises(TypeError, match="x must be floating"):
        analytic.kmeans(KEY, jnp.ones((4, 2), int), k=2)
    with pytest.raises(TypeError, match="where must be boolean"):
        analytic.kmeans_init(KEY, jnp.ones((4, 2)), k=2, where=jnp.ones(4))
