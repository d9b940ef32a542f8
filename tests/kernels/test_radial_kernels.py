"""Laplace and Hilbert kernels against scikit-learn and numpy, where rows coincide, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.gaussian_process.kernels import Matern

from jaxlab.kernels import hilbert_kernel, laplace_kernel, pairwise_sq_dists

RNG = np.random.default_rng(0)
X, Y = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (5, 4))


def test_laplace_equals_scikit_learn():
    np.testing.assert_allclose(laplace_kernel(X, Y, bandwidth=1.7), Matern(1.7, nu=0.5)(X, Y), rtol=1e-5)
    np.testing.assert_array_equal(np.diag(laplace_kernel(X, bandwidth=0.1)), 1.0)


def test_laplace_where_rows_coincide_or_are_bad():
    x = jnp.array([[1.0, 2.0]])
    assert not jax.grad(lambda x: laplace_kernel(x, jnp.array([[1.0, 2.0]]), bandwidth=1.0)[0, 0])(x).any()
    assert np.isnan(laplace_kernel(x * jnp.nan, x, bandwidth=1.0)).all()
    assert np.isnan(laplace_kernel(x, bandwidth=jnp.array(-1.0))).all()


def test_hilbert_equals_the_power_of_the_distance():
    distances = np.sqrt(np.asarray(pairwise_sq_dists(X, Y), np.float64))
    np.testing.assert_allclose(np.exp(hilbert_kernel(X, Y, alpha=2.5)), distances**-2.5, rtol=1e-4)
    alphas = np.float32([[1.0], [2.0], [3.0], [4.0], [5.0]])
    np.testing.assert_allclose(hilbert_kernel(X, Y, alpha=alphas), -alphas * np.log(distances), rtol=1e-4, atol=1e-5)


def test_hilbert_votes_interpolate():
    votes = jax.nn.softmax(hilbert_kernel(X, alpha=4.0))
    np.testing.assert_allclose(votes, np.eye(5), atol=1e-6)
    assert np.isfinite(hilbert_kernel(X, alpha=64.0)).all()
    assert not jax.grad(lambda x: jnp.trace(hilbert_kernel(x, alpha=2.0)))(X).any()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: laplace_kernel(X, Y, bandwidth=0.0), ValueError, "bandwidth must be > 0"),
        (lambda: laplace_kernel(X, Y, bandwidth=jnp.ones(3)), ValueError, "bandwidth must broadcast"),
        (lambda: laplace_kernel(X, Y[:, :2], bandwidth=1.0), ValueError, "width 3"),
        (lambda: hilbert_kernel(X, Y, alpha=0.0), ValueError, "alpha must be > 0"),
        (lambda: hilbert_kernel(X, Y, alpha=jnp.ones(3)), ValueError, "alpha must broadcast"),
        (lambda: hilbert_kernel(X, Y, alpha=1.0, eps=0.0), ValueError, "eps must be > 0"),
        (lambda: hilbert_kernel(np.zeros((2, 3), int), alpha=1.0), TypeError, "x must be floating point"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
