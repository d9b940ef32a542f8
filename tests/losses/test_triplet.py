"""The triplet of denoising errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.losses import denoising_triplet

POS, NEG = jnp.array([0.3, 0.2, 0.1, 0.5]), jnp.array([0.3, 0.4, 0.1004, 0.1])


def test_hand_computed():
    np.testing.assert_allclose(denoising_triplet(POS, NEG), [5e-4, 0.0, 1e-4, 0.4005], atol=1e-7)
    np.testing.assert_allclose(denoising_triplet(POS, NEG, margin=0.25), [0.25, 0.05, 0.2496, 0.65], atol=1e-6)


def test_satisfied_pairs_have_no_gradient_and_the_others_pull_apart():
    pos, neg = jax.grad(lambda p, n: denoising_triplet(p, n).sum(), argnums=(0, 1))(POS, NEG)
    np.testing.assert_array_equal(pos, [1, 0, 1, 1])
    np.testing.assert_array_equal(neg, [-1, 0, -1, -1])


def test_a_stopped_positive_moves_the_wrong_prediction_alone():
    # Training on a square: the wrong prediction must move away from the target, the right one stay.
    def loss(prediction):
        stopped = jax.lax.stop_gradient(prediction[0])
        return denoising_triplet((stopped - 1.0) ** 2, (prediction[1] - 1.0) ** 2).sum()

    gradient = jax.grad(loss)(jnp.array([[0.5], [0.7]]))
    np.testing.assert_array_equal(gradient[0], 0.0)
    np.testing.assert_allclose(gradient[1], [-2 * (0.7 - 1.0)], rtol=1e-6)


def test_hidden_examples_and_a_margin_of_their_own():
    where = jnp.array([True, False, True, False])
    bad = POS.at[1].set(jnp.nan)
    np.testing.assert_allclose(denoising_triplet(bad, NEG, where=where), [5e-4, 0.0, 1e-4, 0.0], atol=1e-7)
    gradient = jax.grad(lambda p: denoising_triplet(p, NEG, where=where).sum())(bad)
    np.testing.assert_array_equal(gradient, [1, 0, 1, 0])
    own = denoising_triplet(POS, NEG, margin=jnp.array([0.0, 0.3, 0.0, 0.1]))
    np.testing.assert_allclose(own, [0.0, 0.1, 0.0, 0.5], atol=1e-6)


BAD = {
    "shapes": (lambda: denoising_triplet(POS, NEG[:2]), ValueError, "same shape"),
    "scalar": (lambda: denoising_triplet(0.5, 0.4), ValueError, "err_pos must have shape [B]"),
    "margin": (lambda: denoising_triplet(POS, NEG, margin=jnp.ones(3)), ValueError, "margin must be a number"),
    "where": (lambda: denoising_triplet(POS, NEG, where=jnp.ones(3, bool)), ValueError, "where must have shape [4]"),
    "integers": (lambda: denoising_triplet(jnp.arange(4), NEG), TypeError, "err_pos must be floating"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
