"""The logistic losses of a game."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses

REAL, FAKE = (np.random.default_rng(i).normal(size=(3, 2)).astype(np.float32) for i in (0, 1))


def test_the_discriminator_tells_real_from_fake():
    peer = optax.losses.sigmoid_binary_cross_entropy
    expected = peer(REAL, jnp.ones(REAL.shape)) + peer(FAKE, jnp.zeros(FAKE.shape))
    np.testing.assert_allclose(losses.gan_discriminator(REAL, FAKE), expected, rtol=1e-5)
    np.testing.assert_allclose(losses.gan_discriminator(jnp.zeros(2), jnp.zeros(2)), 2 * np.log(2), rtol=1e-6)


def test_the_generator_wants_its_own_taken_for_real():
    peer = optax.losses.sigmoid_binary_cross_entropy
    np.testing.assert_allclose(losses.gan_generator(FAKE), peer(FAKE, jnp.ones(FAKE.shape)), rtol=1e-5)
    np.testing.assert_allclose(losses.gan_generator(jnp.zeros(2)), np.log(2), rtol=1e-6)


def test_a_sure_discriminator_still_teaches():
    np.testing.assert_allclose(jax.grad(losses.gan_generator)(-80.0), -1.0, rtol=1e-6)
    extreme = losses.gan_discriminator(jnp.array([1e4, -1e4]), jnp.array([-1e4, 1e4]))
    np.testing.assert_allclose(extreme, [0.0, 2e4])


def test_bad_input():
    with pytest.raises(ValueError, match="same shape"):
        losses.gan_discriminator(REAL, FAKE[:2])
    with pytest.raises(TypeError, match="fake_logits must be floating"):
        losses.gan_generator(np.ones(3, int))
    with pytest.raises(ValueError, match="where must have shape"):
        losses.gan_generator(FAKE, where=jnp.ones(3, bool))
