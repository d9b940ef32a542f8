"""Hard decisions with soft gradients."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import numerics

rng = np.random.default_rng(0)


def test_value_is_hard_to_the_bit_and_gradient_is_soft():
    logits, weights = rng.normal(size=(50, 4)).astype(np.float32) * 3, rng.normal(size=4).astype(np.float32)

    def through(z):
        hard = jax.nn.one_hot(jnp.argmax(z, -1), 4)
        return numerics.straight_through(hard, jax.nn.softmax(z))

    hard = np.eye(4, dtype=np.float32)[logits.argmax(1)]
    np.testing.assert_array_equal(through(logits), hard)
    soft = jax.grad(lambda z: jnp.sum(jax.nn.softmax(z) @ weights))(logits)
    np.testing.assert_allclose(jax.grad(lambda z: jnp.sum(through(z) @ weights))(logits), soft, rtol=1e-6, atol=1e-7)
    # A nonlinear function sees the hard value: its slope there times the soft gradient.
    cubed = jax.grad(lambda z: jnp.sum(through(z) ** 3 @ weights))(logits)
    slope = jax.vjp(jax.nn.softmax, jnp.asarray(logits))[1](jnp.asarray(3 * hard**2 * weights))[0]
    np.testing.assert_allclose(cubed, slope, rtol=1e-5, atol=1e-6)


def test_large_soft_values_do_not_round_the_hard_one():
    assert numerics.straight_through(jnp.float32(1.0), jnp.float32(3e7)) == 1.0
    assert (jnp.float32(3e7) + (jnp.float32(1.3) - jnp.float32(3e7))) != jnp.float32(1.3)  # the usual form does
    assert numerics.straight_through(jnp.float32(1.3), jnp.float32(3e7)) == jnp.float32(1.3)


def test_hard_gets_no_gradient_and_may_be_a_mask():
    grads = jax.grad(lambda h, s: jnp.sum(numerics.straight_through(h, s)), argnums=(0, 1))(jnp.ones(3), jnp.zeros(3))
    np.testing.assert_array_equal(grads[0], 0.0)
    np.testing.assert_array_equal(grads[1], 1.0)
    mask = numerics.straight_through(jnp.array([True, False]), jnp.array([0.25, 0.75], jnp.bfloat16))
    assert mask.dtype == jnp.bfloat16
    np.testing.assert_array_equal(mask.astype(float), [1.0, 0.0])


BAD = {
    "shapes": (lambda: numerics.straight_through(jnp.ones(3), jnp.ones(2)), ValueError, "same shape"),
    "integers": (lambda: numerics.straight_through(jnp.ones(2), jnp.arange(2)), TypeError, "soft must be floating"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
