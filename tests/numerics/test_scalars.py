"""Roots, ranges and spectra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import numerics


def test_bisect_finds_roots_of_many_functions_at_once():
    target = jnp.array([1.0, 8.0, 27.0])
    root = numerics.bisect(lambda x: x**3 - target, jnp.zeros(3), jnp.array(10.0))
    np.testing.assert_allclose(root, [1.0, 2.0, 3.0], rtol=1e-6)
    ends = numerics.bisect(lambda x: x + jnp.array([5.0, -5.0]), jnp.zeros(2), jnp.ones(2))
    np.testing.assert_allclose(ends, [0.0, 1.0], atol=1e-6)
    assert jax.grad(lambda a: numerics.bisect(lambda x: x - a, jnp.array(0.0), jnp.array(4.0)))(1.0) == 0.0


def test_min_max_keeps_constants_masks_nan_and_ignores_affine_maps():
    x = jnp.array([3.0, jnp.nan, 7.0, 100.0, 5.0])
    where = jnp.array([True, True, True, False, True])
    np.testing.assert_array_equal(numerics.min_max(x, where=where), [0.0, 0.0, 1.0, 0.0, 0.5])
    np.testing.assert_array_equal(numerics.min_max(jnp.full(3, 4.0)), 4.0)
    rows = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    np.testing.assert_allclose(numerics.min_max(2.0 * rows + 9.0, axis=1), numerics.min_max(rows, axis=1), atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
def test_gram_spectrum_is_that_of_the_singular_values(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32) + 1.0
    np.testing.assert_allclose(numerics.gram_spectrum(x), np.linalg.svd(x, compute_uv=False) ** 2, rtol=1e-4)
    centered = np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2
    np.testing.assert_allclose(numerics.gram_spectrum(x, center=True), centered, rtol=1e-4, atol=1e-4)


def test_gram_spectrum_has_a_gradient_where_eigenvalues_repeat():
    gradient = jax.grad(lambda x: jnp.sum(numerics.gram_spectrum(x) ** 2))(jnp.eye(3))
    np.testing.assert_allclose(gradient, 4.0 * np.eye(3), atol=1e-6)


def test_bad_input():
    with pytest.raises(ValueError, match="num_iters"):
        numerics.bisect(jnp.sin, jnp.array(0.0), jnp.array(1.0), num_iters=0)
    with pytest.raises(ValueError, match=r"low and high must broadcast, got \[2\] and \[3\]"):
        numerics.bisect(jnp.sin, jnp.zeros(2), jnp.ones(3))
    with pytest.raises(TypeError, match="x"):
        numerics.min_max(jnp.arange(3))
    with pytest.raises(ValueError, match=r"x must have shape \[\.\.\., N, D\]"):
        numerics.gram_spectrum(jnp.ones(3))
