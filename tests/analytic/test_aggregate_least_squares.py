"""Regression from bags: the closed form against descent, ordinary least squares and numpy, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import analytic, losses, optim

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(7, 3, 4)).astype(np.float32), RNG.normal(size=7).astype(np.float32)
solve = jax.jit(analytic.aggregate_least_squares)


def test_equals_the_closed_form_written_with_the_matrix_of_bags():
    average = np.kron(np.eye(7), np.ones((1, 3)) / 3)
    rows = X.reshape(21, 4).astype(np.float64)
    means = average @ rows
    apart = rows - np.repeat(means, 3, axis=0)
    matrix = means.T @ means / 7 + 0.3 * apart.T @ apart / 21 + 0.05 * np.eye(4)
    expected = np.linalg.solve(matrix, means.T @ Y / 7)
    np.testing.assert_allclose(solve(X, Y, rho=0.3, ridge=0.05), expected, rtol=1e-4)


def test_is_the_minimum_of_the_interpolated_loss():
    def objective(theta):
        return jnp.mean(losses.interpolated_bag_loss(X @ theta, Y, rho=0.3))

    found = jax.jit(lambda theta: optim.minimize(objective, theta, optax.lbfgs(), num_steps=30).params)(jnp.zeros(4))
    np.testing.assert_allclose(solve(X, Y, rho=0.3), found, atol=1e-4)


def test_instances_are_least_squares_of_everybody_at_the_mean_of_the_bag():
    everybody = np.linalg.lstsq(X.reshape(21, 4), np.repeat(Y, 3), rcond=None)[0]
    np.testing.assert_allclose(solve(X, Y, rho=1.0), everybody, rtol=1e-4, atol=1e-5)
    bags = np.linalg.lstsq(X.mean(1), Y, rcond=None)[0]
    np.testing.assert_allclose(solve(X, Y, rho=0.0), bags, rtol=1e-3, atol=1e-4)
    assert np.abs(everybody - bags).max() > 0.1


def test_too_few_bags_need_instances():
    assert np.isnan(solve(X[:2] * 0, Y[:2], rho=0.0)).all()
    assert np.isfinite(solve(X[:2], Y[:2], rho=0.5)).all()


def test_bags_of_several_sizes_and_empty_ones():
    here = np.ones((7, 3), bool)
    here[0, 1:], here[2] = False, False
    dirty, targets = np.where(here[..., None], X, np.nan), np.where(here.any(1), Y, np.nan)
    # A bag of one is three copies of its member; an empty bag is none.
    copied = np.delete(np.concatenate([np.tile(X[:1, :1], (1, 3, 1)), X[1:]]), 2, axis=0)
    expected = solve(copied, np.delete(Y, 2), rho=0.3)
    np.testing.assert_allclose(solve(dirty, targets, rho=0.3, where=here), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": X[0]}, ValueError, "x must have"),
        ({"bag_targets": Y[:6]}, ValueError, "x and bag_targets must agree"),
        ({"bag_targets": Y[:, None]}, ValueError, "bag_targets must have"),
        ({"rho": 1.2}, ValueError, "rho must lie in"),
        ({"ridge": -1.0}, ValueError, "ridge must be at least 0"),
        ({"x": X.astype(int)}, TypeError, "x must be floating point"),
        ({"where": np.ones((7, 2), bool)}, ValueError, "where must have shape"),
        ({"where": np.ones((7, 3))}, TypeError, "where must be boolean"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        analytic.aggregate_least_squares(**({"x": X, "bag_targets": Y, "rho": 0.3} | change))
