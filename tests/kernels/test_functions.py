"""The Gaussian kernel against scikit-learn, at extreme bandwidths, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics.pairwise import rbf_kernel

from jaxlab.kernels import gaussian_kernel


def rows(seed, n, d=3):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_equals_scikit_learn():
    x, y = rows(0, 5), rows(1, 4)
    for width in (0.5, 2.0):
        gamma = 1 / (2 * width**2)
        np.testing.assert_allclose(gaussian_kernel(x, y, bandwidth=width), rbf_kernel(x, y, gamma), rtol=1e-5)
        np.testing.assert_allclose(gaussian_kernel(x, bandwidth=width), rbf_kernel(x, None, gamma), rtol=1e-5)


def test_diagonal_is_one_and_values_stay_in_the_unit_interval():
    kernel = np.asarray(gaussian_kernel(rows(0, 6) + 1000, bandwidth=0.01))
    assert (np.diag(kernel) == 1).all()
    assert kernel.min() >= 0
    assert kernel.max() <= 1


@pytest.mark.parametrize(("width", "off_diagonal"), [(1e-25, 0.0), (1e25, 1.0)])
def test_bandwidths_whose_square_leaves_float32(width, off_diagonal):
    kernel = gaussian_kernel(rows(0, 3), bandwidth=width)
    np.testing.assert_array_equal(kernel, np.where(np.eye(3, dtype=bool), 1.0, off_diagonal))


def test_bandwidth_per_row_and_traced():
    x, y, widths = rows(0, 3), rows(1, 4), np.array([0.5, 1.0, 2.0], np.float32)
    result = jax.jit(lambda w: gaussian_kernel(x, y, bandwidth=w))(widths[:, None])
    for i, width in enumerate(widths):
        np.testing.assert_allclose(result[i], gaussian_kernel(x[i : i + 1], y, bandwidth=float(width))[0], rtol=1e-5)


def test_a_bandwidth_that_is_not_positive_gives_nan():
    assert np.isnan(gaussian_kernel(rows(0, 2), bandwidth=jnp.array(0.0))).all()
    assert np.isnan(gaussian_kernel(rows(0, 2), bandwidth=jnp.array(-1.0))).all()


def test_gradient_by_bandwidth():
    x, y = np.array([[0.0]], np.float32), np.array([[2.0]], np.float32)
    slope = jax.grad(lambda w: gaussian_kernel(x, y, bandwidth=w)[0, 0])(1.5)
    np.testing.assert_allclose(slope, np.exp(-4 / (2 * 1.5**2)) * 4 / 1.5**3, rtol=1e-5)


X = jnp.zeros((2, 3))


@pytest.mark.parametrize(
    ("x", "y", "bandwidth", "error", "words"),
    [
        (X, X, 0.0, ValueError, "bandwidth must be > 0"),
        (X, X, "auto", TypeError, "bandwidth must be a number"),
        (X, X, jnp.ones(3), ValueError, "bandwidth must broadcast"),
        (X, X, jnp.ones((5, 2, 2)), ValueError, "bandwidth must broadcast"),
        (X, jnp.zeros((2, 2)), 1.0, ValueError, "width 3"),
        (jnp.zeros((2, 3), int), None, 1.0, TypeError, "x must be floating point"),
    ],
)
def test_bad_input(x, y, bandwidth, error, words):
    with pytest.raises(error, match=words):
        gaussian_kernel(x, y, bandwidth=bandwidth)
