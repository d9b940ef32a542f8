"""metrics.clustering: the Hungarian matching against scipy, under jit and vmap."""

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from jaxlab import metrics


def reference(labels, clusters, num):
    table = np.zeros((num, num), int)
    np.add.at(table, (labels, clusters), 1)
    rows, columns = linear_sum_assignment(-table)
    return table[rows, columns].sum() / len(labels)


def test_equals_scipy_under_vmap():
    rng = np.random.default_rng(0)
    labels, clusters = rng.integers(0, 6, (2, 20, 80))
    clusters = np.where(rng.random((20, 80)) < 0.5, (labels + 2) % 6, clusters)
    score = jax.jit(jax.vmap(lambda a, b: metrics.clustering_accuracy(a, b, num_clusters=6)))(labels, clusters)
    np.testing.assert_allclose(score, [reference(a, b, 6) for a, b in zip(labels, clusters, strict=True)], rtol=1e-6)


def test_names_of_clusters_do_not_matter():
    labels = np.arange(30) % 5
    renamed = np.array([3, 4, 0, 2, 1])[labels]
    assert metrics.clustering_accuracy(labels, renamed, num_clusters=5) == 1
    np.testing.assert_array_equal(metrics.match_clusters(labels, renamed, num_clusters=5)[renamed], labels)


def test_more_clusters_than_classes():
    # Two clusters share class 0: only one of them can stand for it.
    labels, clusters = np.array([0, 0, 0, 1]), np.array([0, 0, 2, 1])
    assert metrics.clustering_accuracy(labels, clusters, num_clusters=3) == 0.75
    assert sorted(metrics.match_clusters(labels, clusters, num_clusters=3).tolist()) == [0, 1, 2]


def test_one_cluster_one_class_and_nothing():
    assert metrics.clustering_accuracy(np.zeros(4, int), np.zeros(4, int), num_clusters=1) == 1
    nothing = np.zeros(4, bool)
    assert metrics.clustering_accuracy(np.zeros(4, int), np.zeros(4, int), num_clusters=2, where=nothing) == 0


def test_out_of_range_is_an_error():
    assert metrics.clustering_accuracy(np.array([0, 1, -1, 9]), np.array([0, 1, 0, 1]), num_clusters=2) == 0.5
    assert metrics.clustering_accuracy(np.array([0, 1]), np.array([0, 5]), num_clusters=2) == 0.5


def test_bad_input():
    with pytest.raises(ValueError, match="same shape"):
        metrics.clustering_accuracy(np.zeros(3, int), np.zeros(4, int), num_clusters=2)
    with pytest.raises(ValueError, match="num_clusters"):
        metrics.match_clusters(np.zeros(3, int), np.zeros(3, int), num_clusters=0)
    with pytest.raises(TypeError, match="clusters must hold integers"):
        metrics.match_clusters(np.zeros(3, int), np.zeros(3), num_clusters=2)
