"""distill.kd, distill.feature_mse and losses.kl_divergence."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from jaxlab import distill, losses

RNG = np.random.default_rng(0)
STUDENT, TEACHER = RNG.standard_normal((2, 6, 5)).astype(np.float32)


def test_divergence_equals_optax():
    expected = optax.losses.kl_divergence_with_log_targets(log_softmax(STUDENT / 3, -1), log_softmax(TEACHER / 3, -1))
    np.testing.assert_allclose(losses.kl_divergence(STUDENT, TEACHER, temperature=3.0), expected, atol=1e-6)
    assert not np.allclose(expected, losses.kl_divergence(TEACHER, STUDENT, temperature=3.0), atol=1e-3)


def test_masked_classes_are_as_if_they_did_not_exist():
    where = np.array([True, False, True, True, False])
    spoilt = np.where(where, STUDENT, np.inf), np.where(where, TEACHER, np.nan)
    expected = losses.kl_divergence(STUDENT[:, where], TEACHER[:, where])
    np.testing.assert_allclose(losses.kl_divergence(*spoilt, where=where), expected, atol=1e-6)
    gradient = jax.grad(lambda s: losses.kl_divergence(s, spoilt[1], where=where).sum())(spoilt[0])
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[:, ~where], 0)
    np.testing.assert_array_equal(losses.kl_divergence(STUDENT, TEACHER, where=np.zeros(5, bool)), 0)


def test_certain_targets_give_the_cross_entropy():
    onehot = jnp.where(jnp.arange(5) == 2, 0.0, -jnp.inf)
    finite = jnp.where(jnp.isinf(onehot), -1e30, onehot)
    expected = -log_softmax(STUDENT, -1)[:, 2]
    np.testing.assert_allclose(losses.kl_divergence(STUDENT, jnp.broadcast_to(finite, (6, 5))), expected, atol=1e-5)


def test_gradients_of_both_sides():
    by_target = jax.grad(lambda t: losses.kl_divergence(STUDENT, t).sum())(TEACHER)
    assert np.abs(by_target).max() > 0.01
    by_teacher = jax.grad(lambda t: distill.kd(STUDENT, t).sum())(TEACHER)
    np.testing.assert_array_equal(by_teacher, 0)
    at_rest = jax.grad(lambda s: distill.kd(s, TEACHER, temperature=2.0).sum())(TEACHER)
    np.testing.assert_allclose(at_rest, 0, atol=1e-6)


def test_kd_scales_with_the_squared_temperature():
    plain = distill.kd(STUDENT, TEACHER, temperature=3.0, scale="none")
    np.testing.assert_allclose(distill.kd(STUDENT, TEACHER, temperature=3.0), 9 * plain, rtol=1e-6)


def test_kd_of_a_hot_temperature_is_the_squared_difference_of_centred_logits():
    centred = [z - z.mean(-1, keepdims=True) for z in (STUDENT, TEACHER)]
    expected = np.square(centred[0] - centred[1]).mean(-1) / 2
    with jax.enable_x64(True):
        hot = distill.kd(STUDENT.astype(np.float64), TEACHER.astype(np.float64), temperature=1e4)
    np.testing.assert_allclose(hot, expected, rtol=1e-3)


def test_feature_mse():
    expected = np.square(STUDENT - TEACHER).mean(1)
    np.testing.assert_allclose(distill.feature_mse(STUDENT, TEACHER), expected, rtol=1e-6)
    weights = np.arange(5, dtype=np.float32)
    weighted = (weights * np.square(STUDENT - TEACHER)).mean(1)
    np.testing.assert_allclose(distill.feature_mse(STUDENT, TEACHER, weights=weights), weighted, rtol=1e-6)
    scaled = distill.feature_mse(7 * STUDENT, 0.1 * TEACHER, normalize=True)
    np.testing.assert_allclose(scaled, distill.feature_mse(STUDENT, TEACHER, normalize=True), rtol=1e-5)
    np.testing.assert_array_equal(jax.grad(lambda t: distill.feature_mse(STUDENT, t).sum())(TEACHER), 0)


def test_bad_input():
    with pytest.raises(ValueError, match="same shape"):
        losses.kl_divergence(STUDENT, TEACHER[:, :4])
    with pytest.raises(ValueError, match="temperature must be > 0"):
        distill.kd(STUDENT, TEACHER, temperature=0.0)
    with pytest.raises(ValueError, match="scale must be one of"):
        distill.kd(STUDENT, TEACHER, scale="T2")
    with pytest.raises(ValueError, match="where must broadcast"):
        losses.kl_divergence(STUDENT, TEACHER, where=np.ones(4, bool))
    with pytest.raises(TypeError, match="where must be boolean"):
        losses.kl_divergence(STUDENT, TEACHER, where=np.ones(5))
    with pytest.raises(ValueError, match="student must have shape"):
        distill.feature_mse(STUDENT[0], TEACHER[0])
    with pytest.raises(ValueError, match="weights must broadcast"):
        distill.feature_mse(STUDENT, TEACHER, weights=np.ones(4, np.float32))
