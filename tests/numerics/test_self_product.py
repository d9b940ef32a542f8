"""numerics.linear.row_products and self_product: the same products by halves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.numerics.linear import CHUNK, STRIP, row_products, self_product


@pytest.mark.parametrize(("rows", "dim"), [(4 * CHUNK, 2 * STRIP), (4 * CHUNK + 7, 2 * STRIP + 5), (10, 3)])
def test_equals_the_whole_product(rows, dim):
    x = np.random.default_rng(0).integers(-4, 5, (rows, dim)).astype(np.float32)  # exact in float32
    product = np.asarray(jax.jit(self_product)(x))
    np.testing.assert_array_equal(product, x.T @ x)
    np.testing.assert_array_equal(product, product.T)


def test_gradient():
    x = np.random.default_rng(0).standard_normal((4 * CHUNK + 3, 2 * STRIP + 1)).astype(np.float32)
    weight = np.random.default_rng(1).standard_normal((x.shape[1],) * 2).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(weight * self_product(x))))(x)
    np.testing.assert_allclose(gradient, x @ (weight + weight.T), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("rows", [4 * CHUNK, 4 * CHUNK + 7, 10])
def test_the_cross_product_of_the_same_pass(rows):
    rng = np.random.default_rng(1)
    x, y = (rng.standard_normal((rows, width)).astype(np.float32) for width in (2 * STRIP + 5, 3))
    gram, cross = jax.jit(row_products)(x, y)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(gram, wide.T @ wide, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(cross, wide.T @ y, rtol=1e-4, atol=1e-3)
