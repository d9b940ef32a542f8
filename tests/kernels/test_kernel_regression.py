"""Kernel ridge regression, Gaussian processes and their sampled errors against scikit-learn and by closed form."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge

from jaxlab import kernels

RNG = np.random.default_rng(0)
TRAIN, QUERY = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (12, 7))
TARGETS = RNG.normal(size=(12, 2)).astype(np.float32)
SUPPORT, CROSS, PRIOR = (kernels.gaussian_kernel(*pair, bandwidth=1.3) for pair in ((TRAIN,), (QUERY, TRAIN), (QUERY,)))


def test_ridge_equals_scikit_learn():
    peer = KernelRidge(alpha=0.3, kernel="rbf", gamma=1 / (2 * 1.3**2)).fit(TRAIN, TARGETS)
    np.testing.assert_allclose(
        kernels.kernel_ridge(CROSS, SUPPORT, TARGETS, ridge=0.3), peer.predict(QUERY), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        kernels.kernel_ridge(CROSS, SUPPORT, TARGETS[:, 0], ridge=0.3), peer.predict(QUERY)[:, 0], rtol=1e-4, atol=1e-5
    )


def test_ridge_in_units_of_the_trace_equals_the_primal_solution():
    penalty = 0.01 * np.sum(TRAIN.astype(np.float64) ** 2)
    weight = np.linalg.solve(TRAIN.T @ TRAIN + penalty * np.eye(3), TRAIN.T @ TARGETS)
    dual = kernels.kernel_ridge(QUERY @ TRAIN.T, TRAIN @ TRAIN.T, TARGETS, ridge=0.01, trace_scaled=True)
    np.testing.assert_allclose(dual, QUERY @ weight, rtol=1e-4, atol=1e-5)
    larger = kernels.kernel_ridge(9 * QUERY @ TRAIN.T, 9 * TRAIN @ TRAIN.T, TARGETS, ridge=0.01, trace_scaled=True)
    np.testing.assert_allclose(larger, dual, rtol=1e-4, atol=1e-5)


def test_no_gradient_passes_through_the_trace():
    def loss(x, scaled):
        gram = x @ x.T
        ridge = 0.1 if scaled else 0.1 * jnp.trace(jax.lax.stop_gradient(gram))
        return jnp.sum(kernels.kernel_ridge(gram, gram, TARGETS, ridge=ridge, trace_scaled=scaled) ** 2)

    np.testing.assert_allclose(jax.grad(loss)(TRAIN, True), jax.grad(loss)(TRAIN, False), rtol=1e-3, atol=1e-4)


def test_without_ridge_the_targets_are_interpolated_and_duplicates_give_nan():
    np.testing.assert_allclose(kernels.kernel_ridge(SUPPORT, SUPPORT, TARGETS, ridge=0.0), TARGETS, atol=1e-3)
    double = np.ones((2, 2), np.float32)
    assert np.isnan(kernels.kernel_ridge(double, double, np.ones(2, np.float32), ridge=0.0)).all()
    np.testing.assert_allclose(
        kernels.kernel_ridge(double, double, np.ones(2, np.float32), ridge=1.0), 2 / 3, rtol=1e-5
    )


def test_identity_as_targets_gives_the_smoother():
    smoother = kernels.kernel_ridge(CROSS, SUPPORT, jnp.eye(12), ridge=0.3)
    np.testing.assert_allclose(
        smoother @ TARGETS, kernels.kernel_ridge(CROSS, SUPPORT, TARGETS, ridge=0.3), rtol=1e-4, atol=1e-5
    )


def test_posterior_equals_scikit_learn():
    peer = GaussianProcessRegressor(RBF(1.3), alpha=0.1, optimizer=None).fit(TRAIN, TARGETS[:, 0])
    mean, covariance = peer.predict(QUERY, return_cov=True)
    found = kernels.gp_posterior(CROSS, SUPPORT, TARGETS[:, 0], PRIOR, ridge=0.1)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.covariance, found.covariance.T)
    both = kernels.gp_posterior(CROSS, SUPPORT, TARGETS, PRIOR, ridge=0.1).mean
    np.testing.assert_allclose(both, kernels.kernel_ridge(CROSS, SUPPORT, TARGETS, ridge=0.1), rtol=1e-4, atol=1e-5)


def test_posterior_of_the_training_points_is_certain():
    mean, covariance = kernels.gp_posterior(SUPPORT, SUPPORT, TARGETS, SUPPORT)
    np.testing.assert_allclose(mean, TARGETS, atol=2e-3)
    np.testing.assert_allclose(covariance, 0, atol=2e-4)


def test_more_training_points_never_raise_the_variance():
    traces = []
    for n in (0, 3, 6, 12):
        found = kernels.gp_posterior(CROSS[:, :n], SUPPORT[:n, :n], TARGETS[:n], PRIOR, ridge=1e-4)
        traces.append(float(jnp.trace(found.covariance)))
    assert traces[0] == pytest.approx(7.0, rel=1e-5)
    assert all(later < earlier for earlier, later in itertools.pairwise(traces))


def test_errors_have_the_moments_of_their_chi_square():
    mean, covariance = kernels.gp_posterior(CROSS, SUPPORT, TARGETS, PRIOR, ridge=0.1)
    targets = RNG.normal(size=(7, 2)).astype(np.float32)
    errors = np.asarray(kernels.sample_errors(jax.random.key(0), mean, covariance, targets, num_samples=4000))
    gap, spread = np.asarray(mean - targets, np.float64), np.asarray(covariance, np.float64)
    expected = (np.sum(gap**2) + 2 * np.trace(spread)) / 14
    variance = (4 * np.trace(gap.T @ spread @ gap) + 4 * np.trace(spread @ spread)) / 14**2
    assert errors.mean() == pytest.approx(expected, abs=4 * np.sqrt(variance / 4000))
    assert errors.var() == pytest.approx(variance, rel=0.1)
    # a plain draw through the Cholesky factor has the same quantiles
    draws = np.linalg.cholesky(spread + 1e-9 * np.eye(7)) @ RNG.normal(size=(4000, 7, 2))
    plain = np.mean((gap + draws) ** 2, axis=(1, 2))
    np.testing.assert_allclose(np.quantile(errors, [0.1, 0.5, 0.9]), np.quantile(plain, [0.1, 0.5, 0.9]), rtol=0.08)


def test_a_certain_posterior_has_one_error_and_negative_eigenvalues_count_as_zero():
    mean, targets = np.float32([1.0, 2.0]), np.float32([0.0, 0.0])
    for covariance in (np.zeros((2, 2)), -1e-3 * np.eye(2)):
        errors = kernels.sample_errors(jax.random.key(1), mean, covariance.astype(np.float32), targets, num_samples=5)
        np.testing.assert_allclose(errors, 2.5, rtol=1e-6)


Y, GRAM = np.ones(12, np.float32), np.eye(12, dtype=np.float32)
BAD = [
    (lambda: kernels.kernel_ridge(GRAM[:, :5], GRAM, Y, ridge=0.1), ValueError, "support_gram must have shape"),
    (lambda: kernels.kernel_ridge(GRAM, GRAM, Y[:5], ridge=0.1), ValueError, "targets must have 12 rows"),
    (lambda: kernels.kernel_ridge(GRAM, GRAM, Y, ridge=-0.1), ValueError, "ridge must be at least 0"),
    (lambda: kernels.kernel_ridge(GRAM, GRAM, np.arange(12), ridge=0.1), TypeError, "targets must be floating"),
    (lambda: kernels.kernel_ridge(GRAM[0], GRAM, Y, ridge=0.1), ValueError, "query_gram"),
    (lambda: kernels.gp_posterior(GRAM, GRAM, Y, GRAM[:5, :5]), ValueError, "prior must have shape"),
    (lambda: kernels.sample_errors(jax.random.key(0), Y, GRAM, Y[:5]), ValueError, "mean and targets"),
    (lambda: kernels.sample_errors(jax.random.key(0), Y, GRAM[:5, :5], Y), ValueError, "covariance must have shape"),
    (lambda: kernels.sample_errors(jax.random.key(0), Y, GRAM, Y, num_samples=0), ValueError, "num_samples"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
