"""Persistence of connected components, and how it goes with what labels say."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from jaxlab import metrics

POINTS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)


def deaths(points, **options):
    return np.asarray(metrics.h0_deaths(squareform(pdist(points)).astype(np.float32), **options))


def test_deaths_are_tree_edges_and_merge_heights():
    found = deaths(POINTS)
    tree = minimum_spanning_tree(squareform(pdist(POINTS))).toarray()
    np.testing.assert_allclose(found, np.sort(tree[tree > 0]), rtol=1e-5)
    np.testing.assert_allclose(found, linkage(POINTS, "single")[:, 2], rtol=1e-5)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(deaths(2 * POINTS[::-1] @ turn + 7), 2 * found, rtol=1e-4)


def test_two_far_clusters_have_one_late_death():
    apart = np.concatenate([POINTS, POINTS + np.float32([50, 0, 0])])
    found = deaths(apart)
    assert np.sum(found > 40) == 1
    near, far = (metrics.persistence_statistics(jnp.asarray(d)) for d in (deaths(np.tile(POINTS, (2, 1))), found))
    assert far.largest_gap > 0.8 > near.largest_gap
    assert far.mean_death < near.mean_death
    assert far.entropy < metrics.persistence_statistics(jnp.ones(23)).entropy


def test_points_that_do_not_count():
    where = np.arange(12) < 9
    dirty = np.where(where[:, None], POINTS, np.nan)
    found = deaths(dirty, where=where)
    np.testing.assert_allclose(found[:8], deaths(POINTS[:9]), rtol=1e-6)
    assert np.all(np.isinf(found[8:]))
    for a, b in zip(metrics.persistence_statistics(found), metrics.persistence_statistics(found[:8]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert deaths(POINTS[:1]).shape == (0,)


def test_statistics_by_hand():
    times = np.float32([0, 1, 1, 2, 6])
    found = metrics.persistence_statistics(times, num_classes=3)
    shares = times[1:] / 10
    expected = [10 / 30, -np.sum(shares * np.log(shares)), 4 / 6, 6.0, 2 / 1]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # Without the outlier's scale: the fourth of five deaths is the unit, and what lies beyond it counts as one.
    cut = metrics.persistence_statistics(times, quantile=0.8)
    np.testing.assert_allclose(cut.mean_death, (0 + 0.5 + 0.5 + 1 + 1) / 5)
    np.testing.assert_allclose(cut.largest_gap, 0.5)
    # 60 % of 25 is 15, although the product is rounded above it.
    steps = metrics.persistence_statistics(jnp.arange(1.0, 26.0), quantile=0.6)
    np.testing.assert_allclose(steps.mean_death, np.mean(np.minimum(np.arange(1, 26) / 15, 1)), rtol=1e-5)
    np.testing.assert_allclose(metrics.persistence_statistics(3 * times, num_classes=3), found, rtol=1e-5)
    for empty in (np.zeros(4, np.float32), np.zeros(0, np.float32), np.full(3, np.inf, np.float32)):
        np.testing.assert_array_equal(metrics.persistence_statistics(empty), np.zeros(5))


def test_fisher_discriminant_ratio():
    labels = np.repeat([0, 1, 3], 4)
    means = np.stack([POINTS[labels == label].mean(0) for label in (0, 1, 3)])
    within = np.mean(
        [np.sum((row - means[[0, 1, 3].index(label)]) ** 2) for row, label in zip(POINTS, labels, strict=True)]
    )
    between = np.mean(np.sum((means - means.mean(0)) ** 2, axis=1))
    found = metrics.fisher_discriminant_ratio(POINTS, labels, num_classes=5)
    np.testing.assert_allclose(found, between / within, rtol=1e-5)
    points = np.float32([[0.0], [0.0], [1.0]])
    assert np.isinf(metrics.fisher_discriminant_ratio(points, np.array([0, 0, 1]), num_classes=2))
    assert metrics.fisher_discriminant_ratio(points[:2], np.array([0, 1]), num_classes=2) == 0


def test_bad_input():
    with pytest.raises(ValueError, match="distances must have shape"):
        metrics.h0_deaths(POINTS)
    with pytest.raises(ValueError, match="quantile must"):
        metrics.persistence_statistics(jnp.ones(3), quantile=0.0)
    with pytest.raises(ValueError, match="num_classes must be"):
        metrics.persistence_statistics(jnp.ones(3), num_classes=1)
    with pytest.raises(ValueError, match="deaths must have shape"):
        metrics.persistence_statistics(jnp.ones((3, 3)))
    with pytest.raises(TypeError, match="labels must hold integers"):
        metrics.fisher_discriminant_ratio(POINTS, np.ones(12), num_classes=2)
