"""Principal components and the factor model, against scikit-learn and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from jaxlab import analytic

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(40, 3)) @ RNG.normal(size=(3, 6)) + 0.4 * RNG.normal(size=(40, 6)) + 3).astype(np.float32)


@pytest.mark.parametrize("x", [X, X[:5]], ids=["tall", "wide"])
def test_components_equal_scikit_learn(x):
    found, other = analytic.pca(x, rank=3), PCA(3).fit(x)
    np.testing.assert_allclose(found.variance, other.explained_variance_ * (len(x) - 1) / len(x), rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(found.components * other.components_, axis=1)), 1, rtol=1e-4)
    assert np.all(np.take_along_axis(found.components, np.argmax(np.abs(found.components), 1)[:, None], 1) > 0)
    coordinates = analytic.pca_transform(found, x, whiten=True)
    np.testing.assert_allclose(np.cov(coordinates.T, ddof=0), np.eye(3), atol=1e-4)
    whole = analytic.pca_transform(found, x) @ found.components + found.mean
    np.testing.assert_allclose(whole, other.inverse_transform(other.transform(x)), rtol=1e-3, atol=1e-3)


def test_rows_that_do_not_count():
    where = np.arange(40) < 30
    dirty = np.where(where[:, None], X, np.nan)
    for fit in (analytic.pca, analytic.ppca_fit):
        for a, b in zip(fit(dirty, rank=2, where=where), fit(X[:30], rank=2), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_the_factor_model_has_the_largest_likelihood():
    model = analytic.ppca_fit(X, rank=2)
    covariance = np.float64(model.weight @ model.weight.T + model.noise * jnp.eye(6))
    expected = multivariate_normal(np.float64(model.mean), covariance).logpdf(X)
    found = analytic.ppca_log_prob(model, X)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    other = PCA(2).fit(X)
    biased = PCA(2).fit(X)
    biased.explained_variance_, biased.noise_variance_ = (
        value * 39 / 40 for value in (other.explained_variance_, other.noise_variance_)
    )
    np.testing.assert_allclose(np.mean(found), biased.score(X), rtol=1e-4)
    for change in (
        model._replace(noise=model.noise * 1.2),
        model._replace(noise=model.noise / 1.2),
        model._replace(weight=model.weight * 1.1),
        model._replace(mean=model.mean + 0.1),
        model._replace(weight=model.weight + 0.1 * RNG.normal(size=(6, 2)).astype(np.float32)),
    ):
        assert np.mean(analytic.ppca_log_prob(change, X)) < np.mean(found)


def test_the_noise_is_what_the_components_leave():
    model = analytic.ppca_fit(X, rank=5)
    np.testing.assert_allclose(model.noise, np.linalg.eigvalsh(np.cov(X.T, ddof=0))[0], rtol=1e-3)
    clean = (RNG.normal(size=(20, 2)) @ RNG.normal(size=(2, 4))).astype(np.float32)
    exact = analytic.ppca_fit(clean, rank=2)
    assert exact.noise == 0
    # Without noise, regression on the factors is regression on the principal components.
    targets = RNG.normal(size=20)
    factors = np.asarray(analytic.ppca_posterior_mean(exact, clean), np.float64)
    components = np.asarray(analytic.pca_transform(analytic.pca(clean, rank=2), clean), np.float64)
    fits = [a @ np.linalg.lstsq(a, targets, rcond=None)[0] for a in (factors, components)]
    np.testing.assert_allclose(*fits, atol=1e-4)


def test_posterior_mean_is_that_of_the_joint_gaussian():
    model = analytic.ppca_fit(X, rank=2)
    weight = np.float64(model.weight)
    covariance = weight @ weight.T + float(model.noise) * np.eye(6)
    expected = np.linalg.solve(covariance, np.float64(X - model.mean).T).T @ weight
    np.testing.assert_allclose(analytic.ppca_posterior_mean(model, X), expected, rtol=1e-3, atol=1e-4)
    one = analytic.ppca_posterior_mean(model, X[3])
    np.testing.assert_allclose(one, expected[3], rtol=1e-3, atol=1e-4)
    assert np.all(np.isfinite(jax.grad(lambda x: analytic.ppca_log_prob(model, x))(jnp.asarray(X[0]))))


def test_bad_input():
    for rank in (0, 7):
        with pytest.raises(ValueError, match="rank must be"):
            analytic.pca(X, rank=rank)
    with pytest.raises(ValueError, match="rank must be below the width 6"):
        analytic.ppca_fit(X, rank=6)
    with pytest.raises(ValueError, match=r"x must have shape \[\.\.\., 6\]"):
        analytic.pca_transform(analytic.pca(X, rank=2), X[:, :3])
    with pytest.raises(TypeError, match="x must be floating"):
        analytic.pca(X.astype(int), rank=2)
