"""Orthogonal matrices from free parameters against numpy and LAPACK."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import lapack

from jaxlab import nn

rng = np.random.default_rng(0)
A = rng.normal(size=(5, 5)).astype(np.float32)
cayley, householder = jax.jit(nn.cayley), jax.jit(nn.householder_product)


def gap(q):
    q = np.asarray(q, np.float64)
    return np.abs(q.swapaxes(-1, -2) @ q - np.eye(q.shape[-1])).max()


@pytest.mark.parametrize("size", [0.0, 0.1, 1.0, 30.0])
def test_cayley_is_a_rotation_for_every_matrix(size):
    a = np.float32(size) * A
    q = np.asarray(cayley(a), np.float64)
    assert gap(q) < 1e-6 * (1 + size)
    assert np.linalg.det(q) == pytest.approx(1.0, abs=1e-4)
    skew = (a - a.T).astype(np.float64) / 2
    expected = (np.eye(5) - skew) @ np.linalg.inv(np.eye(5) + skew)
    np.testing.assert_allclose(q, expected, atol=1e-6 * (1 + size))


def test_cayley_turns_a_plane_and_never_by_half_a_turn():
    for t in (0.3, 1.0, 1e4):
        q = nn.cayley(jnp.array([[0.0, -t], [t, 0.0]]))
        angle = -2 * np.arctan(t)
        np.testing.assert_allclose(q[:, 0], [np.cos(angle), np.sin(angle)], atol=1e-6)
    # Every rotation without that eigenvalue has a parameter, found by the same map.
    q = np.asarray(cayley(A), np.float64)
    a = (np.eye(5) - q) @ np.linalg.inv(np.eye(5) + q)
    np.testing.assert_allclose(a, (A - A.T) / 2, atol=1e-4)


def test_only_the_skew_part_counts_and_the_gradient_at_the_identity_is_known():
    symmetric = A + A.T
    np.testing.assert_allclose(cayley(symmetric), np.eye(5), atol=1e-6)
    np.testing.assert_allclose(cayley(A + symmetric), cayley(A), atol=1e-5)
    weight = rng.normal(size=(5, 5)).astype(np.float32)
    slope = jax.grad(lambda a: jnp.vdot(weight, nn.cayley(a)))(jnp.zeros((5, 5)))
    np.testing.assert_allclose(slope, weight.T - weight, atol=1e-5)  # Q = I - 2 A + ..., A = (a - a') / 2


def test_stacks_of_matrices():
    stack = np.stack([A, 2 * A, A.T])
    np.testing.assert_allclose(nn.cayley(stack), np.stack([cayley(a) for a in stack]), atol=1e-6)
    np.testing.assert_allclose(nn.householder_product(stack), np.stack([householder(v) for v in stack]), atol=1e-6)


def test_reflections_are_those_of_lapack():
    """QR writes its Q as such a product: the vectors stand below the diagonal, with a 1 on it."""
    packed, tau, _, _ = lapack.dgeqrf(A.astype(np.float64))
    expected, _, _ = lapack.dorgqr(packed, tau)
    vectors = np.where(tau[:, None] != 0, (np.tril(packed, -1) + np.eye(5)).T, 0)  # tau 0: no reflection
    q = householder(vectors.astype(np.float32))
    np.testing.assert_allclose(q, expected, atol=1e-5)
    assert gap(q) < 1e-6


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_determinant_counts_the_reflections(count):
    v = 1e3 * A[:count]
    assert np.linalg.det(np.asarray(householder(v), np.float64)) == pytest.approx((-1) ** count, abs=1e-5)
    np.testing.assert_allclose(householder(v), householder(1e-6 * v), atol=1e-6)


def test_reflections_that_do_nothing():
    v = np.stack([A[0], np.zeros(5), A[1], A[1]]).astype(np.float32)
    np.testing.assert_allclose(householder(v), np.eye(5) - 2 * np.outer(A[0], A[0]) / (A[0] @ A[0]), atol=1e-6)
    slope = jax.grad(lambda v: jnp.sum(nn.householder_product(v)[0]))(v)
    np.testing.assert_array_equal(slope[1], 0.0)
    assert np.isfinite(slope).all()
    assert np.abs(slope[0]).max() > 0.1


BAD = {
    "a, not square": (
        lambda: nn.cayley(jnp.ones((2, 3))),
        ValueError,
        r"a must have shape \[..., D, D\], got \[2, 3\]",
    ),
    "a, vector": (lambda: nn.cayley(jnp.ones(2)), ValueError, "a must have shape"),
    "a, integers": (lambda: nn.cayley(jnp.ones((2, 2), int)), TypeError, "a must be floating point"),
    "v, vector": (lambda: nn.householder_product(jnp.ones(2)), ValueError, r"v must have shape \[..., K, D\]"),
    "v, integers": (lambda: nn.householder_product(jnp.ones((2, 2), int)), TypeError, "v must be floating point"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
