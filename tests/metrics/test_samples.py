"""Distances of samples: the Frechet distance against a matrix square root, precision and recall against neighbours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.neighbors import NearestNeighbors

from jaxlab.metrics import frechet_distance, precision_recall_knn

rng = np.random.default_rng(3)
MIX = rng.normal(size=(5, 5))
X = rng.normal(size=(40, 5)).astype(np.float32)
Y = (rng.normal(size=(30, 5)) @ MIX + 0.5).astype(np.float32)


def by_square_root(x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    cx, cy = np.cov(x.T), np.cov(y.T)
    root = sqrtm(cx @ cy)
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(cx + cy - 2 * np.real(root))


def test_frechet_distance_is_that_of_the_matrix_square_root():
    np.testing.assert_allclose(frechet_distance(X, Y), by_square_root(X, Y), rtol=1e-5)
    np.testing.assert_allclose(frechet_distance(Y, X), frechet_distance(X, Y), rtol=1e-5)


def test_frechet_distance_of_the_same_rows_is_zero():
    assert frechet_distance(Y, Y[::-1]) < 1e-5 * np.trace(np.cov(Y.T))


def test_a_shift_and_a_stretch_are_hand_computed():
    # A shift adds its squared length; a stretch by s of one coordinate adds (s - 1)^2 times its variance.
    shifted = X + np.array([3.0, 4.0, 0.0, 0.0, 0.0], np.float32)
    np.testing.assert_allclose(frechet_distance(X, shifted), 25.0, rtol=1e-5)
    axes = np.float32([[1, 0], [-1, 0], [0, 1], [0, -1]])  # uncorrelated, so the other coordinate adds nothing
    np.testing.assert_allclose(frechet_distance(axes, axes * np.float32([3, 1])), 4 * 2 / 3, rtol=1e-5)


def test_fewer_rows_than_columns_and_constant_columns():
    few, flat = X[:3], np.concatenate([Y, np.full((30, 2), 7.0, np.float32)], axis=1)
    # A pseudo covariance of rank two: the square root in float64 is only good to about 1e-7 there.
    np.testing.assert_allclose(frechet_distance(few, Y), by_square_root(few, Y), rtol=1e-4)
    wide = np.concatenate([X, np.full((40, 2), 7.0, np.float32)], axis=1)
    np.testing.assert_allclose(frechet_distance(wide, flat), frechet_distance(X, Y), rtol=1e-5)


def test_small_directions_are_not_lost_in_rounding():
    # From covariances in float32 the 1e-3 would come out of a square root of noise of that size.
    scale = np.array([1000.0, 1, 1e-2, 1e-2, 1e-2], np.float32)
    np.testing.assert_allclose(
        frechet_distance(X * scale, Y[:30] * scale), by_square_root(X * scale, Y * scale), rtol=1e-4
    )
    same = frechet_distance(X * scale, X * scale * np.float32([1, 1, 1, 1, 3]))
    assert same < 1.0  # of a total variance of 1e6


def test_precision_and_recall_are_those_of_the_neighbours():
    fake = (0.7 * Y + 0.3).astype(np.float32)
    ours = precision_recall_knn(X, fake, k=3)

    def covered(points, centres):
        radius = NearestNeighbors(n_neighbors=4).fit(centres).kneighbors(centres)[0][:, -1]
        distance = np.linalg.norm(points[:, None] - centres, axis=-1)
        return np.mean(np.any(distance <= radius, axis=1))

    np.testing.assert_allclose(ours, [covered(fake, X), covered(X, fake)], rtol=1e-6)
    assert 0 < ours.precision < 1
    assert 0 < ours.recall < 1


def test_a_collapsed_generator_is_precise_and_covers_little():
    collapsed = (X[:1] + 1e-3 * rng.normal(size=(20, 5))).astype(np.float32)
    result = precision_recall_knn(X, collapsed, k=2)
    assert result.precision == 1.0
    assert result.recall <= 1 / 40
    np.testing.assert_array_equal(precision_recall_knn(X, X, k=2), [1.0, 1.0])
    spoilt = X.copy()
    spoilt[:10] = np.nan
    assert precision_recall_knn(X, spoilt, k=2).precision == 0.75


def test_half_precision_comes_out_in_float32():
    halves = [jnp.asarray(a, jnp.bfloat16) for a in (X, Y)]
    result = frechet_distance(*halves)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, frechet_distance(*(h.astype(jnp.float32) for h in halves)), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: frechet_distance(X[0], Y), ValueError, "x must have shape"),
        (lambda: frechet_distance(X, Y[:, :4]), ValueError, "same width D, got 5 and 4"),
        (lambda: frechet_distance(X, Y[:1]), ValueError, "y must hold at least 2 rows"),
        (lambda: frechet_distance(X.astype(int), Y), TypeError, "x must be floating"),
        (lambda: precision_recall_knn(X, Y[:3], k=3), ValueError, "fake must hold at least 4 rows"),
        (lambda: precision_recall_knn(X, Y, k=0), ValueError, "k must be an integer of at least 1"),
        (lambda: jax.jit(precision_recall_knn)(X, Y, k=2), TypeError, "k must be a static integer"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
