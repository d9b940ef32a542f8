"""Proofs of jaxlab.numerics.linear, and what bad input gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from hypothesis.strategies import floats

from jaxlab.numerics import solve_spd


def spd(*shape, seed=0):
    """Symmetric matrices with eigenvalues between 1 and about 10, in float64."""
    half = np.random.default_rng(seed).normal(size=shape)
    return half @ half.swapaxes(-1, -2) + np.eye(shape[-1])


def random(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape)


def f32(*arrays):
    return [np.asarray(array, np.float32) for array in arrays]


@pytest.mark.parametrize("columns", [(), (1,), (3,)])
def test_equals_scipy(columns):
    matrix, rhs = spd(4, 4), random(4, *columns)
    expected = scipy.linalg.solve(matrix + 0.5 * np.eye(4), rhs, assume_a="pos")
    solution = solve_spd(*f32(matrix, rhs), ridge=0.5)
    assert solution.dtype == jnp.float32
    np.testing.assert_allclose(solution, expected, rtol=1e-4, atol=1e-6)


def test_solves_batches_each_with_its_ridge():
    matrix, rhs, ridge = spd(2, 3, 4, 4), random(2, 3, 4, 2), np.random.default_rng(2).random((2, 3))
    solution = solve_spd(*f32(matrix, rhs), ridge=np.float32(ridge))
    assert solution.shape == rhs.shape
    for at in np.ndindex(2, 3):
        expected = np.linalg.solve(matrix[at] + ridge[at] * np.eye(4), rhs[at])
        np.testing.assert_allclose(solution[at], expected, rtol=1e-4, atol=1e-6)


@given(
    half=hnp.arrays(np.float32, (3, 3), elements=floats(-2, 2, width=32)),
    rhs=hnp.arrays(np.float32, (3, 2), elements=floats(-2, 2, width=32)),
)
@settings(deadline=None, max_examples=100)
def test_the_residual_is_small_for_every_positive_definite_matrix(half, rhs):
    matrix = half @ half.T
    solution = np.asarray(jax.jit(solve_spd)(matrix, rhs, ridge=0.1), np.float64)
    residual = (matrix.astype(np.float64) + 0.1 * np.eye(3)) @ solution - rhs
    # Backward stable: the residual is of the rounding of the product, however ill the condition.
    assert np.abs(residual).max() <= 1e-5 * (1 + np.abs(matrix).max() * np.abs(solution).max())


def test_gradients_are_those_of_the_inverse():
    matrix, rhs, weight = spd(4, 4), random(4, 2), random(4, 2, seed=3)
    gradients = jax.grad(
        lambda a, b, ridge: jnp.sum(solve_spd(a, b, ridge=ridge) * np.float32(weight)), argnums=(0, 1, 2)
    )(*f32(matrix, rhs), jnp.float32(0.3))
    inverse = np.linalg.inv(matrix + 0.3 * np.eye(4))
    solution, adjoint = inverse @ rhs, inverse @ weight
    by_matrix = -(adjoint @ solution.T + solution @ adjoint.T) / 2  # of the symmetric part
    np.testing.assert_allclose(gradients[0], by_matrix, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients[1], adjoint, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradients[2], np.trace(by_matrix), rtol=1e-4)


def test_bfloat16_is_solved_in_float32():
    matrix, rhs = (jnp.asarray(a, jnp.bfloat16) for a in (spd(4, 4), random(4, 2)))
    solution = solve_spd(matrix, rhs)
    assert solution.dtype == jnp.float32
    expected = np.linalg.solve(np.asarray(matrix, np.float64), np.asarray(rhs, np.float64))
    np.testing.assert_allclose(solution, expected, rtol=1e-4, atol=1e-5)


def test_float64_stays_float64():
    matrix = scipy.linalg.hilbert(6)  # condition 1.5e7: float32 keeps no digit
    with jax.enable_x64(True):
        solution = solve_spd(matrix, matrix @ np.ones((6, 1)))
        assert solution.dtype == jnp.float64
        np.testing.assert_allclose(solution, 1.0, rtol=1e-8)


def test_what_is_not_positive_definite_gives_nan_for_itself_alone():
    matrix = jnp.stack([jnp.eye(2), -jnp.eye(2), jnp.zeros((2, 2)), jnp.full((2, 2), jnp.nan)])
    solution = solve_spd(matrix, jnp.ones((4, 2, 1)))
    np.testing.assert_array_equal(jnp.isnan(solution).all((1, 2)), [False, True, True, True])
    np.testing.assert_array_equal(solution[0], 1.0)
    assert jnp.isfinite(solve_spd(matrix[1], jnp.ones(2), ridge=1.5)).all()


def test_of_nothing():
    assert solve_spd(jnp.zeros((0, 0)), jnp.zeros((0, 2))).shape == (0, 2)
    assert solve_spd(jnp.zeros((0, 3, 3)), jnp.zeros((0, 3, 2))).shape == (0, 3, 2)


A, B = np.eye(3, dtype=np.float32), np.ones((3, 2), np.float32)

BAD = {
    "integer matrix": ((A.astype(int), B), {}, TypeError, "matrix must be floating point, got int"),
    "integer rhs": ((A, B.astype(int)), {}, TypeError, "rhs must be floating point, got int"),
    "complex matrix": ((A * 1j, B), {}, TypeError, "matrix must be floating point, got complex"),
    "matrix by name": (("A", B), {}, TypeError, "matrix must be an array of numbers"),
    "matrix not square": ((A[:2], B), {}, ValueError, r"matrix must have shape \[..., D, D\], got \[2, 3\]"),
    "matrix a vector": ((A[0], B), {}, ValueError, r"matrix must have shape \[..., D, D\], got \[3\]"),
    "rhs of other height": ((A, B[:2]), {}, ValueError, r"rhs must have shape \[3, K\] to match matrix, got \[2, 2\]"),
    "negative ridge": ((A, B), {"ridge": -1.0}, ValueError, "ridge must be at least 0"),
    "ridge not a number": ((A, B), {"ridge": float("nan")}, ValueError, "ridge must be at least 0"),
    "ridge by name": ((A, B), {"ridge": "auto"}, TypeError, "ridge must be a number or an array"),
    "no ridge": ((A, B), {"ridge": None}, TypeError, "ridge must be a number or an array"),
    "scalar rhs": ((A, B[0, 0]), {}, ValueError, "rhs must have"),
    "other batches": ((np.stack([A, A]), np.ones((3, 3, 2))), {}, ValueError, "rhs must have"),
    "ridge of another shape": ((A, B), {"ridge": np.ones(3)}, ValueError, "ridge must be a number"),
}


@pytest.mark.parametrize(("args", "options", "error", "message"), BAD.values(), ids=BAD)
def test_bad_input_names_the_argument(args, options, error, message):
    with pytest.raises(error, match=message):
        solve_spd(*args, **options)
