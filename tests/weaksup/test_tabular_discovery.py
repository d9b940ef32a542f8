"""Novel classes in tables: seeds away from known classes, the graph's reach, the objective, the number of classes."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import distance
from sklearn.cluster import KMeans
from sklearn.manifold import spectral_embedding as peer_embedding
from sklearn.metrics import adjusted_rand_score, silhouette_score

from jaxlab import analytic, weaksup

KEY = jax.random.key(0)
ncd_kmeans = jax.jit(weaksup.ncd_kmeans, static_argnames=("num_new", "num_restarts", "num_iters", "seeding_power"))
embed = jax.jit(weaksup.spectral_embedding, static_argnames="num_components")
count_classes = jax.jit(
    weaksup.estimate_num_classes, static_argnames=("max_classes", "min_classes", "num_restarts", "num_iters")
)


def blobs(seed, centers, each=12, spread=0.5):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(centers)), each)
    return (np.asarray(centers)[labels] + spread * rng.normal(size=(len(labels), 2))).astype(np.float32), labels


X, LABELS = blobs(0, [[0, 0], [8, 0], [0, 8]])
KNOWN = np.float32([[20, 20], [-9, -9]])


# Clusters beside known ones


def distance_sum(x, centroids):
    return distance.cdist(x, centroids).min(1).sum()


def test_without_known_classes_it_is_k_means():
    found = ncd_kmeans(KEY, X, num_new=3)
    peer = KMeans(3, n_init=10, random_state=0).fit(X)
    assert adjusted_rand_score(found.assignment, peer.labels_) == 1
    np.testing.assert_allclose(np.sort(found.centroids, 0), np.sort(peer.cluster_centers_, 0), atol=1e-5)
    ours = analytic.kmeans(KEY, X, k=3, num_restarts=5)
    assert adjusted_rand_score(found.assignment, ours.assignment) == 1


def test_the_result_is_a_fixed_point_and_its_inertia_a_sum_of_distances():
    x = np.random.default_rng(1).normal(size=(40, 2)).astype(np.float32)
    found = ncd_kmeans(KEY, x, KNOWN, num_new=4)
    assert found.converged
    assert found.centroids.shape == (4, 2)
    np.testing.assert_array_equal(found.assignment, distance.cdist(x, found.centroids).argmin(1))
    for cluster in range(4):
        np.testing.assert_allclose(
            found.centroids[cluster], x[np.asarray(found.assignment) == cluster].mean(0), atol=1e-5
        )
    assert found.inertia == pytest.approx(distance_sum(x, found.centroids), rel=1e-5)


def test_iterations_never_raise_the_sum_of_squares():
    x = np.random.default_rng(2).normal(size=(60, 2)).astype(np.float32)
    runs = [ncd_kmeans(KEY, x, KNOWN, num_new=5, num_restarts=1, num_iters=n) for n in range(1, 7)]
    squares = [(distance.cdist(x, run.centroids).min(1) ** 2).sum() for run in runs]
    assert (np.diff(squares) <= 1e-4).all()
    assert squares[-1] < squares[0]


def lloyd(x, centroids):
    nearest, before = distance.cdist(x, centroids).argmin(1), None
    while not np.array_equal(nearest, before):
        centroids = np.stack([x[nearest == k].mean(0) if (nearest == k).any() else c for k, c in enumerate(centroids)])
        nearest, before = distance.cdist(x, centroids).argmin(1), nearest
    return centroids


def test_of_the_starts_the_smallest_sum_of_distances_is_kept():
    draw = functools.partial(analytic.kmeans_init, k=4, seeding_power=1.0, fixed=KNOWN)
    draw = jax.jit(jax.vmap(draw, in_axes=(0, None)))
    other = 0
    for seed in range(8):
        x = np.random.default_rng(seed).standard_t(2, (30, 2)).astype(np.float32)
        ends = [lloyd(x, start) for start in np.asarray(draw(jax.random.split(KEY, 6), x))]
        sums = [distance_sum(x, end) for end in ends]
        squares = [(distance.cdist(x, end).min(1) ** 2).sum() for end in ends]
        found = ncd_kmeans(KEY, x, KNOWN, num_new=4, num_restarts=6)
        assert found.inertia == pytest.approx(min(sums), rel=1e-4)
        other += sums[np.argmin(squares)] > min(sums) * 1.001
    assert other  # squares would have chosen another start


def test_seeds_keep_away_from_known_classes():
    """Of 51 rows one is far from the known class: it is always a seed, though k-means would often start without it."""
    x = np.float32([[0, 0]] * 50 + [[5, 5]])
    found = [
        ncd_kmeans(key, x, np.zeros((1, 2), np.float32), num_new=2, num_restarts=1) for key in jax.random.split(KEY, 4)
    ]
    # The first seed is the far row whatever the key; the second then is any of the others.
    for run in found:
        assert sorted(np.asarray(run.centroids)[:, 0].tolist()) == [0.0, 5.0]


@pytest.mark.parametrize(("power", "share"), [(1.0, 3 / 4), (2.0, 9 / 10)])
def test_the_power_of_the_seeding(power, share):
    """Rows at distance 1 and 3 of the known class are drawn as 1 : 3 (the authors'), or 1 : 9 (k-means++)."""
    x = np.float32([[1.0, 0.0], [3.0, 0.0]])
    draw = functools.partial(analytic.kmeans_init, x=x, k=1, seeding_power=power, fixed=np.zeros((1, 2), np.float32))
    drawn = jax.vmap(draw)(jax.random.split(KEY, 2000))
    assert np.mean(np.asarray(drawn)[:, 0, 0] == 3) == pytest.approx(share, abs=0.03)


def test_an_empty_cluster_keeps_its_place():
    x = np.zeros((5, 2), np.float32)
    found = ncd_kmeans(KEY, x, KNOWN, num_new=2)
    assert np.isfinite(found.centroids).all()
    assert found.inertia == 0


def test_rows_that_do_not_count_pull_nothing():
    kept = np.arange(len(X)) % 3 > 0
    dirty = np.where(kept[:, None], X, np.nan)
    found = ncd_kmeans(KEY, dirty, KNOWN, num_new=3, where=kept)
    expected = ncd_kmeans(KEY, X[kept], KNOWN, num_new=3)
    np.testing.assert_allclose(np.sort(found.centroids, 0), np.sort(expected.centroids, 0), atol=1e-5)
    assert found.inertia == pytest.approx(float(expected.inertia), rel=1e-5)


# The graph


@pytest.mark.parametrize("min_dist", [0.1, 0.5, 0.9])
def test_the_longest_edge_gets_the_root_of_the_promised_affinity(min_dist):
    squares = distance.squareform(distance.pdist(X, "sqeuclidean")).astype(np.float32)
    longest = minimum_spanning_tree(squares).toarray().max()
    bandwidth = float(weaksup.mst_bandwidth(squares, min_dist=min_dist))
    assert bandwidth == pytest.approx(math.sqrt(-longest / math.log(min_dist)), rel=1e-5)
    affinity = math.exp(-longest / (2 * bandwidth**2))
    assert affinity == pytest.approx(math.sqrt(min_dist), rel=1e-5)
    assert affinity != pytest.approx(min_dist, rel=0.01)


def test_bandwidths_without_an_edge():
    assert weaksup.mst_bandwidth(jnp.zeros((4, 4))) == 1
    twice = np.repeat(X, 2, axis=0)  # duplicates are edges of length 0 and change nothing
    squares = lambda x: distance.squareform(distance.pdist(x, "sqeuclidean")).astype(np.float32)  # noqa: E731
    assert weaksup.mst_bandwidth(squares(twice)) == pytest.approx(float(weaksup.mst_bandwidth(squares(X))), rel=1e-6)


def test_two_far_groups_are_told_apart_by_sign():
    x, labels = blobs(1, [[0, 0], [30, 0]])
    sign = np.sign(embed(x, num_components=2)[:, 0])
    assert abs(sign @ (2 * labels - 1)) == len(x)


def test_columns_are_scikit_learns():
    squares = distance.squareform(distance.pdist(X, "sqeuclidean"))
    bandwidth = float(weaksup.mst_bandwidth(squares.astype(np.float32)))
    affinity = np.exp(-squares / (2 * bandwidth**2)) - np.eye(len(X))
    columns = np.asarray(embed(X, num_components=2))
    np.testing.assert_allclose(np.linalg.norm(columns, axis=0), 1, rtol=1e-5)
    peer = peer_embedding(affinity, n_components=2, drop_first=True, eigen_solver="arpack", random_state=0)
    peer = peer * np.sqrt(affinity.sum(1))[:, None]  # scikit-learn divides by the root of the degrees
    cosine = np.abs(np.sum(columns * peer, axis=0) / np.linalg.norm(peer, axis=0))
    np.testing.assert_allclose(cosine, 1, atol=1e-4)


def test_rows_that_do_not_count_have_no_coordinates():
    kept = np.arange(len(X)) % 3 > 0
    for junk in (np.nan, 1e20):
        columns = np.asarray(embed(np.where(kept[:, None], X, np.float32(junk)), num_components=2, where=kept))
        assert (columns[~kept] == 0).all()
        np.testing.assert_allclose(columns[kept], embed(X[kept], num_components=2), atol=1e-4)
    few = np.asarray(embed(X, num_components=5, where=np.arange(len(X)) < 3))
    assert (few[:, 2:] == 0).all()
    assert np.isfinite(few).all()
    assert np.isfinite(embed(X, num_components=2, where=np.zeros(len(X), bool))).all()


def test_the_first_column_is_left_out():
    """It is the root of the degrees, the same for every group."""
    columns = np.asarray(embed(X, num_components=1))[:, 0]
    assert columns.min() < 0 < columns.max()


# The objective


def parts(seed=1):
    rng = np.random.default_rng(seed)
    x, restored = rng.normal(size=(2, 8, 3)).astype(np.float32)
    return (
        restored,
        x,
        rng.normal(size=(8, 4)).astype(np.float32),
        rng.integers(0, 4, 8),
        np.arange(8) % 5 < 2 + np.arange(8) // 4,
    )


def by_numpy(restored, x, logits, labels, known, weight):
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    entropy = -log_probs[np.arange(8), labels][known].mean()
    return weight * entropy + (1 - weight) * ((restored - x) ** 2).sum() / 8


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_objective_is_its_formula(weight):
    restored, x, logits, labels, known = parts()
    value = weaksup.pbn_loss(restored, x, logits, labels, weight=weight, known=known)
    assert value == pytest.approx(by_numpy(restored, x, logits, labels, known, weight), rel=1e-5)


def test_labels_of_rows_that_have_none_are_not_looked_at():
    restored, x, logits, labels, known = parts()
    loss = functools.partial(weaksup.pbn_loss, restored, x, weight=0.5, known=known)
    for junk in (-1, 3, 99):
        assert loss(logits, np.where(known, labels, junk)) == loss(logits, labels)
    gradient = jax.grad(lambda z: loss(z, labels))(logits)
    assert (np.asarray(gradient)[~known] == 0).all()
    assert (np.asarray(gradient)[known] != 0).any()
    assert np.isnan(loss(logits, np.where(known, 4, labels)))


def test_an_objective_split_over_devices_is_that_of_the_whole_batch():
    restored, x, logits, labels, known = parts()
    whole = weaksup.pbn_loss(restored, x, logits, labels, weight=0.4, known=known)
    halves = [value.reshape(2, 4, *value.shape[1:]) for value in (restored, x, logits, labels, known)]
    split = lambda a, b, c, d, e: weaksup.pbn_loss(a, b, c, d, weight=0.4, known=e, axis_name="i")  # noqa: E731
    assert known[:4].sum() != known[4:].sum()
    np.testing.assert_allclose(jax.vmap(split, axis_name="i")(*halves), whole, rtol=1e-6)


def test_no_known_row_leaves_the_reconstruction():
    restored, x, logits, labels, _ = parts()
    value = weaksup.pbn_loss(restored, x, logits, labels, weight=0.4, known=np.zeros(8, bool))
    assert value == pytest.approx(0.6 * ((restored - x) ** 2).sum() / 8, rel=1e-5)
    every = weaksup.pbn_loss(restored, x, logits, labels, weight=1.0)
    assert every == pytest.approx(by_numpy(restored, x, logits, labels, np.ones(8, bool), 1.0), rel=1e-5)


# The number of classes


@pytest.mark.parametrize("centers", [[[0, 0], [9, 0]], [[0, 0], [9, 0], [0, 9]], [[0, 0], [9, 0], [0, 9], [9, 9]]])
def test_the_number_of_groups_is_found(centers):
    x, labels = blobs(2, centers, each=48 // len(centers))
    found = count_classes(KEY, x, max_classes=6, num_restarts=4)
    assert found.num_classes == len(centers)
    assert adjusted_rand_score(found.assignment, labels) == 1
    assert found.scores.shape == (5,)
    assert found.scores[len(centers) - 2] == pytest.approx(silhouette_score(x, labels), abs=1e-4)


def test_rows_that_do_not_count_are_no_group():
    x, _ = blobs(3, [[0, 0], [9, 0], [0, 9], [9, 9]])
    kept = np.arange(48) < 36
    found = count_classes(KEY, np.where(kept[:, None], x, np.nan), max_classes=6, num_restarts=4, where=kept)
    assert found.num_classes == 3


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: weaksup.ncd_kmeans(KEY, X, KNOWN[:, :1], num_new=2), "fixed must have rows of width 2"),
        (ValueError, lambda: weaksup.ncd_kmeans(KEY, X, num_new=0), "k must be"),
        (ValueError, lambda: weaksup.mst_bandwidth(jnp.eye(3), min_dist=1.0), r"min_dist must lie in \(0, 1\)"),
        (ValueError, lambda: weaksup.spectral_embedding(X[:3], num_components=3), "at most N - 1 = 2"),
        (ValueError, lambda: weaksup.estimate_num_classes(KEY, X, max_classes=2, min_classes=3), "max_classes"),
        (ValueError, lambda: weaksup.pbn_loss(*parts()[:4], weight=2.0), "weight"),
        (TypeError, lambda: weaksup.spectral_embedding(np.eye(3, dtype=int), num_components=1), "x must be floating"),
    ],
)
def test_bad_input(error, call, message):
    with pytest.raises(error, match=message):
        call()
