"""Random expansions: what is drawn, what is computed, and their kernels."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from jaxlab import analytic
from jaxlab.analytic import RandomFeatures
from tests.analytic.formulas import close

DIM, WIDTH = 16, 400
X = np.random.default_rng(0).normal(size=(30, DIM)).astype(np.float32)


def draw(seed, **options):
    return analytic.random_features_init(jax.random.key(seed), DIM, **{"width": WIDTH, **options})


def test_the_projection_is_uniform_in_the_range_of_a_linear_layer():
    projection = np.asarray(draw(0).projection)
    assert projection.shape == (DIM, WIDTH)
    assert projection.dtype == np.float32
    bound = DIM**-0.5
    assert np.abs(projection).max() <= bound
    assert stats.kstest(projection.ravel(), stats.uniform(-bound, 2 * bound).cdf).pvalue > 0.01
    assert np.abs(np.corrcoef(projection)[~np.eye(DIM, dtype=bool)]).max() < 0.25


def test_one_key_is_one_expansion():
    np.testing.assert_array_equal(draw(1).projection, draw(1).projection)
    assert (np.asarray(draw(1).projection) != np.asarray(draw(2).projection)).mean() > 0.99
    keys = jax.random.split(jax.random.key(3), 2)
    many = jax.vmap(lambda key: analytic.random_features_init(key, DIM, width=WIDTH).projection)(keys)
    np.testing.assert_array_equal(many[1], analytic.random_features_init(keys[1], DIM, width=WIDTH).projection)


def test_relu_features_equal_their_formula():
    params = draw(0)
    expected = np.maximum(X.astype(np.float64) @ params.projection, 0)
    close(analytic.random_features(params, X), expected, 1e-6)
    assert 0.4 < (expected == 0).mean() < 0.6
    close(analytic.random_features(params, 3 * X), 3 * expected, 1e-6)  # no bias
    close(analytic.random_features(params, X.reshape(5, 6, DIM)), expected.reshape(5, 6, WIDTH), 1e-6)
    close(analytic.random_features(params, X[0]), expected[0], 1e-6)
    narrow = jnp.asarray(X, jnp.bfloat16)
    result = analytic.random_features(params, narrow)
    assert result.dtype == jnp.float32
    close(result, np.maximum(np.asarray(narrow, np.float64) @ params.projection, 0), 1e-6)


def test_wide_relu_features_approach_the_arc_cosine_kernel():
    """Projections of many coordinates are nearly Gaussian, of variance 1 / (3 D)."""
    features = np.asarray(analytic.random_features(draw(4, width=20_000), X))
    kernel = features @ features.T / 20_000
    lengths = np.linalg.norm(X, axis=1)
    cosine = np.clip(X @ X.T / np.outer(lengths, lengths), -1, 1)
    angle = np.arccos(cosine)
    expected = np.outer(lengths, lengths) * (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi) / (3 * DIM)
    close(kernel, expected, 0.05)


def test_centers_are_different_rows_of_the_data():
    for seed in range(5):
        params = draw(seed, width=30, kind="gaussian", centers=X, bandwidth=2.0)
        order = [np.flatnonzero((center == X).all(1)).item() for center in np.asarray(params.centers)]
        assert sorted(order) == list(range(30))
        assert params.projection is None
        assert params.bandwidth == 2.0
    few = np.stack([np.asarray(draw(s, width=3, kind="gaussian", centers=X).centers) for s in range(60)])
    drawn = np.array([(row == X).all(1).argmax() for row in few.reshape(-1, DIM)])
    assert len(set(drawn)) == 30  # every row has its chance
    assert np.bincount(drawn).max() < 20


def test_gaussian_features_equal_their_formula():
    params = draw(5, width=8, kind="gaussian", centers=X, bandwidth=2.5)
    distances = ((X[:, None].astype(np.float64) - np.asarray(params.centers)) ** 2).sum(-1)
    result = analytic.random_features(params, X)
    close(result, np.exp(-distances / (2 * 2.5**2)), 1e-5)
    assert (np.isclose(result, 1, atol=1e-6).sum(0) == 1).all()  # every centre finds itself
    close(analytic.random_features(params, X.reshape(5, 6, DIM)), np.asarray(result).reshape(5, 6, 8), 1e-6)
    wide = draw(5, width=8, kind="gaussian", centers=X)
    close(analytic.random_features(wide, X), np.exp(-distances / 200), 1e-5)  # the published bandwidth is 10


def test_float64_where_it_is_enabled():
    with jax.enable_x64(True):
        params = RandomFeatures(projection=np.asarray(draw(0).projection, np.float64))
        result = analytic.random_features(params, X.astype(np.float64))
        assert result.dtype == jnp.float64
        close(result, np.maximum(X.astype(np.float64) @ params.projection, 0), 1e-14)
