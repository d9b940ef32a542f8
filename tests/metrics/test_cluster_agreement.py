"""Agreement of partitions and the silhouette against scikit-learn."""

import jax
import numpy as np
import pytest
from sklearn import metrics as peers

from jaxlab import metrics

K, N = 5, 60
nmi = jax.jit(metrics.normalized_mutual_info, static_argnames="num_clusters")
ari = jax.jit(metrics.adjusted_rand_index, static_argnames="num_clusters")
silhouette = jax.jit(metrics.silhouette, static_argnames=("num_clusters", "block"))
PAIRS = {nmi: peers.normalized_mutual_info_score, ari: peers.adjusted_rand_score}


def partitions(seed, noise):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, N)
    return labels, np.where(rng.random(N) < noise, rng.integers(0, K, N), (labels + 2) % K)


@pytest.mark.parametrize("ours", PAIRS)
@pytest.mark.parametrize("noise", [0.0, 0.2, 0.6, 1.0])
def test_agreement_equals_scikit_learn(ours, noise):
    labels, clusters = partitions(int(10 * noise), noise)
    assert ours(labels, clusters, num_clusters=K) == pytest.approx(PAIRS[ours](labels, clusters), abs=2e-6)
    few = clusters % 2  # fewer clusters than classes
    assert ours(labels, few, num_clusters=K) == pytest.approx(PAIRS[ours](labels, few), abs=2e-6)


@pytest.mark.parametrize("ours", PAIRS)
def test_agreement_does_not_depend_on_names_and_is_symmetric(ours):
    labels, clusters = partitions(1, 0.4)
    value = ours(labels, clusters, num_clusters=K)
    assert ours(clusters, labels, num_clusters=K) == pytest.approx(float(value), abs=1e-6)
    names = np.random.default_rng(2).permutation(K)
    assert ours(names[labels], clusters, num_clusters=K) == pytest.approx(float(value), abs=1e-6)


@pytest.mark.parametrize("ours", PAIRS)
def test_partitions_that_say_nothing(ours):
    one, apart = np.zeros(K, int), np.arange(K)
    for labels, clusters in ((one, one), (apart, apart), (one, apart)):
        assert ours(labels, clusters, num_clusters=K) == pytest.approx(PAIRS[ours](labels, clusters), abs=1e-6)
    assert ours(np.full(K, -1), apart, num_clusters=K) == 1  # no row counts


@pytest.mark.parametrize("ours", PAIRS)
def test_rows_that_do_not_count(ours):
    labels, clusters = partitions(3, 0.3)
    kept = np.arange(N) % 4 > 0
    expected = ours(labels[kept], clusters[kept], num_clusters=K)
    assert ours(labels, clusters, num_clusters=K, where=kept) == pytest.approx(float(expected), abs=1e-6)
    outside = np.where(kept, labels, K)
    assert ours(outside, clusters, num_clusters=K) == pytest.approx(float(expected), abs=1e-6)


def test_many_rows_do_not_cost_precision():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, K, 300_000)
    clusters = np.where(rng.random(300_000) < 0.5, labels, rng.integers(0, K, 300_000))
    assert ari(labels, clusters, num_clusters=K) == pytest.approx(peers.adjusted_rand_score(labels, clusters), abs=1e-6)


def blobs(seed, spread):
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, 3, N)
    x = spread * rng.normal(size=(3, 4))[clusters] + rng.normal(size=(N, 4)) + 100
    return x.astype(np.float32), clusters


@pytest.mark.parametrize("spread", [0.0, 1.0, 5.0])
def test_silhouette_equals_scikit_learn(spread):
    x, clusters = blobs(0, spread)
    expected = peers.silhouette_score(x.astype(np.float64), clusters)
    assert silhouette(x, clusters, num_clusters=3) == pytest.approx(expected, abs=1e-4)
    assert silhouette(x, clusters + 1, num_clusters=K, block=7) == pytest.approx(expected, abs=1e-4)  # empty clusters
    kept = np.arange(N) % 4 > 0
    dirty = np.where(kept[:, None], x, np.nan)
    expected = peers.silhouette_score(x[kept].astype(np.float64), clusters[kept])
    assert silhouette(dirty, clusters, num_clusters=3, where=kept) == pytest.approx(expected, abs=1e-4)


def test_silhouette_of_rows_that_are_alone_or_all_together():
    x = np.float32([[0.0], [1.0], [9.0], [9.0]])
    alone = np.array([0, 0, 1, 2])
    expected = peers.silhouette_score(x, alone)
    assert silhouette(x, alone, num_clusters=3) == pytest.approx(expected, abs=1e-6)
    assert silhouette(x, np.zeros(4, int), num_clusters=3) == 0
    assert silhouette(np.zeros_like(x), alone, num_clusters=3) == 0
    assert silhouette(x, np.full(4, 7), num_clusters=3) == 0


def test_silhouette_is_largest_for_the_true_number():
    x = np.repeat(np.float32([[0, 0], [9, 0], [0, 9]]), 20, axis=0)
    x = x + np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    true = np.repeat(np.arange(3), 20)
    scores = [float(silhouette(x, clusters, num_clusters=K)) for clusters in (true // 2, true, true + (x[:, 0] > 9))]
    assert np.argmax(scores) == 1


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda i: metrics.silhouette(np.zeros((3, 2), np.float32), i, num_clusters=2), "agree in their"),
        (TypeError, lambda i: metrics.silhouette(np.zeros((4, 2), int), i, num_clusters=2), "x must be floating"),
        (ValueError, lambda i: metrics.silhouette(np.zeros((4, 2), np.float32), i, num_clusters=0), "num_clusters"),
        (ValueError, lambda i: metrics.adjusted_rand_index(i[:3], i, num_clusters=2), "same shape"),
        (TypeError, lambda i: metrics.normalized_mutual_info(i * 1.0, i, num_clusters=2), "labels must hold integers"),
    ],
)
def test_bad_input(error, call, message):
    with pytest.raises(error, match=message):
        call(np.arange(4))
