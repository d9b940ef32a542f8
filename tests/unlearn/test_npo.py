"""Negative preference optimisation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses, unlearn

rng = np.random.default_rng(0)
LOG_PROB, REF = rng.normal(size=(2, 6)).astype(np.float32) * 20


def slope(log_prob, beta):
    return jax.grad(lambda p: jnp.sum(unlearn.npo(p, REF, beta=beta)))(log_prob)


def test_it_is_the_formula_in_both_of_its_forms():
    ratio = (LOG_PROB - REF).astype(np.float64)
    np.testing.assert_allclose(
        unlearn.npo(LOG_PROB, REF, beta=0.1), 20.0 * np.log1p(np.exp(0.1 * ratio)), rtol=1e-4, atol=1e-5
    )
    weight = 2 * np.exp(0.1 * LOG_PROB) / (np.exp(0.1 * LOG_PROB) + np.exp(0.1 * REF))
    np.testing.assert_allclose(slope(LOG_PROB, 0.1), weight, rtol=1e-4)


def test_at_the_reference():
    np.testing.assert_allclose(unlearn.npo(REF, REF, beta=0.1), 13.862943611, rtol=1e-6)
    np.testing.assert_array_equal(slope(REF, 0.1), 1.0)
    by_ref = jax.grad(lambda r: jnp.sum(unlearn.npo(LOG_PROB, r)))(REF)
    np.testing.assert_array_equal(by_ref, 0.0)


def test_limits_of_beta():
    small = unlearn.npo(LOG_PROB, REF, beta=1e-3) - 2e3 * np.log(2)
    np.testing.assert_allclose(small, LOG_PROB - REF, atol=1e-3 * 60**2 / 4 + 2e-3)  # gradient ascent, plus a constant
    large = unlearn.npo(LOG_PROB, REF, beta=1e3)
    np.testing.assert_allclose(large, 2 * np.maximum(LOG_PROB - REF, 0.0), atol=2e-3)


def test_what_is_forgotten_is_left_alone():
    forgotten = slope(REF - 500.0, 0.1)
    assert (np.asarray(forgotten) < 1e-6).all()
    assert (np.asarray(unlearn.npo(REF - 1e5, REF)) >= 0).all()  # bounded below, unlike gradient ascent
    assert np.isfinite(unlearn.npo(REF + 1e5, REF)).all()


def test_it_is_dpo_without_a_winner():
    nothing = jnp.zeros(6)
    pair = losses.dpo(nothing, nothing, LOG_PROB, REF, beta=0.1) * 2 / 0.1
    np.testing.assert_allclose(unlearn.npo(LOG_PROB, REF, beta=0.1), pair, rtol=1e-5, atol=1e-5)


def test_of_minus_the_error_it_is_the_negative_preference_of_a_denoiser():
    error, ref_error, beta = np.abs(LOG_PROB), np.abs(REF), 0.3

    def negative_dpo(error):
        return 0.5 * beta * unlearn.npo(-error, -ref_error, beta=beta)

    np.testing.assert_allclose(negative_dpo(error), np.log1p(np.exp(-beta * (error - ref_error))), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(negative_dpo(ref_error), np.log(2), rtol=1e-6)
    down = -jax.grad(lambda e: jnp.sum(negative_dpo(e)))(ref_error)  # the direction of descent
    np.testing.assert_allclose(down, beta / 2, rtol=1e-5)  # pushes errors up


BAD = {
    "beta": (lambda: unlearn.npo(LOG_PROB, REF, beta=0.0), ValueError, "beta must be > 0"),
    "shapes": (lambda: unlearn.npo(LOG_PROB, REF[:3]), ValueError, "same shape"),
    "integers": (lambda: unlearn.npo(jnp.arange(6), REF), TypeError, "log_prob must be floating"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
