"""Virtual outliers and the nearest-neighbour score against scipy, and what the boundary is for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from jaxlab import detect

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
SIZES = {"num_keep": 6, "k": 3, "num_boundary": 4, "samples_per_point": 5}
KEY = jax.random.key(1)

outliers = jax.jit(
    detect.virtual_outliers, static_argnames=("num_keep", "k", "num_boundary", "samples_per_point", "center")
)
score = jax.jit(detect.knn_score, static_argnames="k")


def make(features=X, key=KEY, scale=0.3, where=None, **options):
    where = np.ones(len(features), bool) if where is None else where
    return np.asarray(outliers(key, features, scale=scale, where=where, **SIZES | options))


def by_numpy(features=X, scale=0.3, center="boundary", key=KEY):
    """The same noise, and everything else by scipy's distances."""
    noise = np.asarray(jax.random.normal(key, (4, 5, 3)))
    kth = np.sort(cdist(features, features), axis=1)[:, 2]
    border = np.argsort(-kth, kind="stable")[:4]
    points = features[border][:, None] if center == "boundary" else 0.0
    candidates = (points + scale * noise).reshape(20, 3)
    remote = np.sort(cdist(candidates, features), axis=1)[:, 2]
    order = np.argsort(-remote, kind="stable")
    return candidates[order[:6]], remote[order]


@pytest.mark.parametrize("center", ["boundary", "origin"])
def test_outliers_equal_numpy(center):
    expected, remote = by_numpy(center=center)
    found = make(center=center)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    kept = np.sort(cdist(found, X), axis=1)[:, 2]
    assert kept.min() >= remote[6] - 1e-6  # no rejected candidate is farther than one that was kept
    assert (np.diff(kept) <= 1e-6).all()


def test_without_noise_only_the_most_remote_border_row_is_left():
    kth = np.sort(cdist(X, X), axis=1)[:, 2]
    np.testing.assert_allclose(make(scale=0.0, num_keep=5), np.repeat(X[[kth.argmax()]], 5, 0), rtol=1e-6)
    np.testing.assert_array_equal(make(scale=0.0, center="origin"), 0)


def test_border_is_the_kth_neighbour_not_the_distance_from_the_mean():
    """Of a pair far out each is the other's nearest neighbour: k = 2 calls neither of them remote, k = 3 does."""
    crowd = np.stack([np.linspace(0, 1, 8), np.zeros(8)], 1)
    x = np.concatenate([crowd, [[9.0, 0.0], [9.01, 0.0]], [[4.0, 4.0]]]).astype(np.float32)
    alone = make(x, scale=0.0, k=2, num_boundary=1, num_keep=1)[0]
    np.testing.assert_allclose(alone, [4.0, 4.0])  # k = 2 is the nearest other row
    pair = make(x, scale=0.0, k=3, num_boundary=1, num_keep=1)[0]
    np.testing.assert_allclose(pair, [9.01, 0.0])


def test_around_the_border_they_stay_near_the_features_and_around_the_origin_they_do_not():
    ring = np.stack([np.cos(a := np.linspace(0, 6, 12)), np.sin(a), 0 * a], 1).astype(np.float32) * 5
    near, central = make(ring, scale=0.1), make(ring, scale=0.1, center="origin")
    assert cdist(near, ring).min(1).max() < 1
    assert cdist(central, ring).min() > 4


def test_rotated_features_have_the_same_border():
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0].astype(np.float32)
    np.testing.assert_allclose(make(X @ turn, scale=0.0), make(scale=0.0) @ turn, rtol=1e-4, atol=1e-5)


def test_rows_that_do_not_count():
    where = np.arange(12) < 7
    for junk in (np.nan, 1e30, 0.0):
        dirty = np.where(where[:, None], X, np.float32(junk))
        np.testing.assert_allclose(make(dirty, where=where), make(X[:7]), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(make(where=np.zeros(12, bool)), 0)
    # Two rows, fewer than k and than the border: both serve, and the farther of them is the third neighbour.
    two = make(where=np.arange(12) < 2, scale=0.0, num_keep=20)
    np.testing.assert_allclose(np.unique(two, axis=0), np.unique(X[:2], axis=0), rtol=1e-6)


def test_features_pass_no_gradient():
    grad = jax.grad(lambda x: jnp.sum(detect.virtual_outliers(KEY, x, **SIZES) ** 2))(X)
    np.testing.assert_array_equal(grad, 0)


def test_knn_score_equals_scikit_learn():
    queries = RNG.normal(size=(9, 3)).astype(np.float32)
    distance, _ = NearestNeighbors(n_neighbors=4).fit(X).kneighbors(queries)
    for k in (1, 4):
        np.testing.assert_allclose(score(queries, X, k=k), -distance[:, k - 1], rtol=1e-5)
    np.testing.assert_array_equal(score(X, X, k=1) > -1e-3, True)  # a row finds itself
    where = np.arange(12) % 2 == 0
    dirty = np.where(where[:, None], X, np.nan).astype(np.float32)
    expected = -np.sort(cdist(queries, X[where]), axis=1)
    np.testing.assert_allclose(detect.knn_score(queries, dirty, k=4, where=where), expected[:, 3], rtol=1e-5)
    np.testing.assert_allclose(detect.knn_score(queries, dirty, k=9, where=where), expected[:, 5], rtol=1e-5)
    assert (np.asarray(detect.knn_score(queries, X, k=2, where=np.zeros(12, bool))) == -np.inf).all()


def test_knn_score_gradient():
    grad = jax.grad(lambda q: detect.knn_score(q[None], X[:1], k=1)[0])
    apart = np.float32([1.0, 2.0, 2.0])
    np.testing.assert_allclose(grad(X[0] + apart), -apart / 3, rtol=1e-4)
    np.testing.assert_array_equal(grad(X[0]), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 13}, "k must be at most 12"),
        ({"num_boundary": 13}, "num_boundary must be at most 12"),
        ({"num_keep": 21}, "num_keep must be at most num_boundary"),
        ({"samples_per_point": 0}, "samples_per_point must be an integer of at least 1"),
        ({"center": "mean"}, "center must be one of"),
        ({"scale": -1.0}, "scale must be at least 0"),
    ],
)
def test_bad_sizes(change, message):
    with pytest.raises(ValueError, match=message):
        detect.virtual_outliers(KEY, X, **SIZES | change)
    with pytest.raises(TypeError, match="features must be floating point"):
        detect.virtual_outliers(KEY, np.arange(6).reshape(3, 2), **SIZES)
