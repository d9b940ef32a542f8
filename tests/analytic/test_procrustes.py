"""The closest rotation against scipy, with the gradient that the singular vectors alone would not give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from jaxlab import analytic

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(2, 12, 4)).astype(np.float32)
procrustes = jax.jit(analytic.procrustes)


def error(q):
    return np.sum((X @ np.asarray(q, np.float64) - Y) ** 2)


def test_equals_scipy_and_beats_every_other_rotation():
    q = procrustes(X, Y)
    np.testing.assert_allclose(q, orthogonal_procrustes(X, Y)[0], atol=1e-5)
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-5)
    others = ortho_group.rvs(4, size=200, random_state=1)
    assert error(q) < min(map(error, others))
    assert error(q) < min(error(q @ (np.eye(4) + 0.05 * (b - b.T))) for b in rng.normal(size=(50, 4, 4)))


def test_recovers_a_planted_rotation_or_reflection():
    for seed in range(3):
        planted = ortho_group.rvs(4, random_state=seed) * np.array([1, 1, 1, (-1) ** seed])
        np.testing.assert_allclose(procrustes(X, (X @ planted).astype(np.float32)), planted, atol=1e-5)


def test_hidden_rows_do_not_count():
    where = np.arange(12) < 8
    x = np.where(where[:, None], X, np.nan)
    np.testing.assert_allclose(analytic.procrustes(x, Y, where=where), procrustes(X[:8], Y[:8]), atol=1e-5)
    np.testing.assert_array_equal(jnp.abs(analytic.procrustes(X, Y, where=np.zeros(12, bool))), np.eye(4))


def test_less_than_full_rank_still_gives_a_rotation():
    flat = X * np.float32([1, 1, 0, 0])
    q = procrustes(flat, Y)
    np.testing.assert_allclose(q.T @ q, np.eye(4), atol=1e-5)
    best = orthogonal_procrustes(flat, Y)[0]
    np.testing.assert_allclose(np.sum((flat @ q - Y) ** 2), np.sum((flat @ best - Y) ** 2), rtol=1e-5)


def test_gradient():
    weight = rng.normal(size=(4, 4))
    direction = rng.normal(size=X.shape)
    slope = jax.grad(lambda x: jnp.vdot(weight.astype(np.float32), analytic.procrustes(x, Y)))(X)
    value = lambda h: np.vdot(weight, orthogonal_procrustes(X + h * direction, Y.astype(np.float64))[0])  # noqa: E731
    np.testing.assert_allclose(np.vdot(slope, direction), (value(1e-5) - value(-1e-5)) / 2e-5, rtol=1e-3)


@pytest.mark.parametrize("x", [np.eye(4), np.diag([1.0, 1, 1, 0]), np.diag([1.0, 0, 0, 0])])
def test_gradient_where_singular_values_are_equal(x):
    """Q of the polar decomposition is smooth there; its change is skew, and 0 along what is not determined."""
    x = x.astype(np.float32)
    jacobian = jax.jacobian(lambda x: analytic.procrustes(x, np.eye(4, dtype=np.float32)))(x)
    assert np.isfinite(jacobian).all()
    sums = np.add.outer(np.diag(x), np.diag(x))
    skew = np.zeros((4, 4, 4, 4))  # dQ_ij = (dM_ij - dM_ji) / (s_i + s_j), M = x' I
    for i in range(4):
        for j in range(4):
            if sums[i, j] > 0:
                skew[i, j, j, i] += 1 / sums[i, j]
                skew[i, j, i, j] -= 1 / sums[i, j]
    np.testing.assert_allclose(jacobian, skew, atol=1e-5)


BAD = {
    "shapes": (lambda: analytic.procrustes(X, Y[:, :3]), ValueError, "x and y must have the same shape"),
    "vectors": (lambda: analytic.procrustes(X[0], Y[0]), ValueError, r"x must have shape \[N, D\]"),
    "integers": (lambda: analytic.procrustes(X, np.ones((12, 4), int)), TypeError, "y must be floating point"),
    "mask": (lambda: analytic.procrustes(X, Y, where=np.ones(11, bool)), ValueError, r"where must have shape \[12\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
