"""The distance of subspaces against principal angles of scipy, small angles, dependent rows and zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxlab.metrics import subspace_distance

RNG = np.random.default_rng(0)


def test_sine_of_the_largest_angle_of_scipy():
    a, b = RNG.normal(size=(2, 3, 9)).astype(np.float32)
    expected = np.sin(scipy.linalg.subspace_angles(a.T.astype(float), b.T.astype(float))[0])
    np.testing.assert_allclose(subspace_distance(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(subspace_distance(b, a), expected, rtol=1e-5)
    mixed = RNG.normal(size=(3, 3)).astype(np.float32) @ a
    np.testing.assert_allclose(subspace_distance(mixed, b), expected, rtol=1e-4)  # of the span, not of the rows


def test_small_angles_are_exact():
    angle = 1e-6
    a = np.array([[1.0, 0.0, 0.0]], np.float32)
    b = np.array([[np.cos(angle), np.sin(angle), 0.0]], np.float32)
    np.testing.assert_allclose(subspace_distance(a, b), np.sin(angle), rtol=1e-5)


def test_containment_and_dimension():
    b = RNG.normal(size=(4, 8)).astype(np.float32)
    assert subspace_distance(b[:2], b) < 1e-5
    np.testing.assert_allclose(subspace_distance(b, b[:2]), 1.0, rtol=1e-5)


def test_dependent_rows_and_zeros():
    x = RNG.normal(size=(2, 6)).astype(np.float32)
    twice = np.concatenate([x, x[:1] + x[1:], np.zeros((1, 6), np.float32)])
    other = RNG.normal(size=(2, 6)).astype(np.float32)
    np.testing.assert_allclose(subspace_distance(twice, other), subspace_distance(x, other), rtol=1e-4)
    np.testing.assert_allclose(subspace_distance(other, twice), subspace_distance(other, x), rtol=1e-4)
    zeros = jnp.zeros((2, 6))
    assert subspace_distance(zeros, x) == 0
    np.testing.assert_allclose(subspace_distance(x, zeros), 1.0, rtol=1e-6)


def test_leading_axes():
    a, b = RNG.normal(size=(2, 5, 2, 7)).astype(np.float32)
    together = subspace_distance(a, b)
    assert together.shape == (5,)
    np.testing.assert_allclose(together[3], subspace_distance(a[3], b[3]), rtol=1e-5)
    assert subspace_distance(a[0].astype(jnp.bfloat16), b[0].astype(jnp.bfloat16)).dtype == jnp.float32
    with jax.enable_x64(True):
        assert subspace_distance(np.eye(3)[:1], np.eye(3)).dtype == jnp.float64


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 3), (2, 4)), ((1, 2, 3), (2, 2, 3)), ((2, 3), (1, 2, 3))])
def test_bad_shapes(shapes):
    with pytest.raises(ValueError, match="a and b must have shapes"):
        subspace_distance(*map(jnp.ones, shapes))


def test_bad_types():
    with pytest.raises(TypeError, match="b must be floating point"):
        subspace_distance(jnp.ones((2, 3)), jnp.ones((2, 3), int))
