"""numerics.random: bit by bit the numbers of jax.random, for every example's own key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.numerics.random import folded, normal

KEYS = jax.random.split(jax.random.key(3), 50)


@pytest.mark.parametrize("data", [0, 1, 2, 2**31 - 1])
def test_folded_keys_are_those_of_jax(data):
    expected = jax.vmap(lambda key: jax.random.fold_in(key, data))(KEYS)
    assert folded(KEYS, data).dtype == KEYS.dtype
    np.testing.assert_array_equal(jax.random.key_data(folded(KEYS, data)), jax.random.key_data(expected))
    traced = jax.jit(folded)(KEYS, jnp.int32(data))
    np.testing.assert_array_equal(jax.random.key_data(traced), jax.random.key_data(expected))


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0,)])
def test_numbers_are_those_of_jax(shape):
    expected = jax.vmap(lambda key: jax.random.normal(key, shape))(KEYS)
    drawn = normal(KEYS, jnp.zeros((50, *shape)))
    assert drawn.dtype == jnp.float32
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_allclose(jax.jit(normal)(KEYS, jnp.zeros((50, *shape))), expected, rtol=1e-6)


@pytest.mark.parametrize("impl", ["rbg", "unsafe_rbg"])
def test_other_generators_are_left_to_jax(impl):
    keys = jax.random.split(jax.random.key(0, impl=impl), 4)
    expected = jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys)
    np.testing.assert_array_equal(normal(keys, jnp.zeros((4, 3))), expected)
    np.testing.assert_array_equal(
        jax.random.key_data(folded(keys, 2)),
        jax.random.key_data(jax.vmap(lambda key: jax.random.fold_in(key, 2))(keys)),
    )


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_other_widths_are_left_to_jax(dtype):
    expected = jax.vmap(lambda key: jax.random.normal(key, (3,), dtype))(KEYS)
    drawn = normal(KEYS, jnp.zeros((50, 3), dtype))
    assert drawn.dtype == dtype
    np.testing.assert_array_equal(drawn.astype(jnp.float32), expected.astype(jnp.float32))
