"""Scaled by the box loss, spread over two bins, weighed by quality or against the crowd."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special

from jaxlab import losses, vision

RNG = np.random.default_rng(0)
Z = RNG.normal(size=(6, 4)).astype(np.float32)
T = RNG.integers(2, size=(6, 4)).astype(np.float32)


def test_guided_scaling_has_the_value_of_one_and_the_direction_of_the_other():
    value, gradient = jax.value_and_grad(losses.guided_loss_scaling, (0, 1))(jnp.array(8.0), jnp.array(2.0))
    assert (value, *gradient) == (2.0, 0.25, 0.0)

    # The gradient is that of the class loss with the ratio frozen.
    def total(w):
        return losses.guided_loss_scaling(jnp.sum(w**2), jnp.sum(w[:1] ** 2))

    w = jnp.array([1.0, 2.0])
    np.testing.assert_allclose(jax.grad(total)(w), 2 * w / 5, rtol=1e-6)
    for nothing in ((jnp.zeros(()), jnp.ones(())), (jnp.ones(()), jnp.zeros(()))):
        value, gradient = jax.value_and_grad(losses.guided_loss_scaling)(*nothing)
        assert (value, gradient) == (0, 0)


def test_distribution_focal_is_least_at_the_two_weights():
    u = np.float32([0.0, 1.3, 2.75, 4.0])
    low = np.minimum(np.floor(u).astype(int), 3)
    weights = np.zeros((4, 5))
    weights[np.arange(4), low], weights[np.arange(4), low + 1] = low + 1 - u, u - low
    with np.errstate(divide="ignore"):
        best = np.maximum(np.log(weights), -60.0).astype(np.float32)
    np.testing.assert_allclose(losses.distribution_focal(best, u), special.entr(weights).sum(1), atol=1e-5)
    gradient = jax.grad(lambda x: losses.distribution_focal(x, u).sum())(best)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)
    np.testing.assert_allclose(vision.expected_depth(best, start=0.0, stop=4.0), u, rtol=1e-5, atol=1e-6)
    logits = RNG.normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(
        losses.distribution_focal(logits, u), -(weights * special.log_softmax(logits, 1)).sum(1), rtol=1e-5
    )


def test_whole_bins_are_classes_and_what_lies_outside_is_nan():
    logits, labels = RNG.normal(size=(4, 5)).astype(np.float32), jnp.array([0, 2, 4, 1])
    wanted = optax.losses.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits), labels)
    np.testing.assert_allclose(losses.distribution_focal(logits, labels.astype(float)), wanted, rtol=1e-5)
    outside = losses.distribution_focal(logits, jnp.array([-0.1, 4.0, 4.1, jnp.nan]))
    np.testing.assert_array_equal(np.isnan(outside), [True, False, True, True])
    where = jnp.array([False, True, False, False])
    masked = functools.partial(losses.distribution_focal, targets=jnp.array([-1.0, 2.0, 9.0, jnp.nan]), where=where)
    gradient = jax.grad(lambda x: masked(x).sum())(jnp.asarray(logits).at[0].set(jnp.nan))
    assert np.isfinite(gradient).all()
    assert not np.any(np.asarray(gradient)[~np.asarray(where)])


def test_quality_focal_is_the_focal_loss_at_certain_targets():
    wanted = optax.losses.sigmoid_focal_loss(jnp.asarray(Z), jnp.asarray(T), alpha=0.25, gamma=2.0)
    np.testing.assert_allclose(losses.depth_quality_focal(Z, T), wanted, rtol=1e-4, atol=1e-6)
    q = RNG.uniform(size=Z.shape).astype(np.float32)
    p = special.expit(Z.astype(float))
    bce = -special.xlogy(q, p) - special.xlogy(1 - q, 1 - p)
    np.testing.assert_allclose(
        losses.depth_quality_focal(Z, q), (0.75 - 0.5 * q) * (q - p) ** 2 * bce, rtol=1e-4, atol=1e-6
    )
    at_target = special.logit(q.astype(float)).astype(np.float32)
    gradient = jax.grad(lambda z: losses.depth_quality_focal(z, q).sum())(at_target)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-5)


def harmonized_by_loops(logits, targets, bins, where):
    pull = np.abs(special.expit(logits.astype(np.float64)) - targets)
    place = np.minimum((pull * bins).astype(int), bins - 1)
    count = {b: np.sum(where & (place == b)) for b in range(bins)}
    full = sum(number > 0 for number in count.values())
    weights = np.zeros(logits.shape)
    for at in zip(*np.nonzero(where), strict=True):
        weights[at] = where.sum() / (count[place[at]] * full)
    return weights


def test_harmonized_weights_equal_the_loops():
    where = RNG.random(Z.shape) < 0.8
    weights = losses.gradient_harmonized_weights(np.where(where, Z, np.nan), T, where=where)
    np.testing.assert_allclose(weights, harmonized_by_loops(Z, T, 10, where), rtol=1e-5)
    np.testing.assert_allclose(weights.sum(), where.sum(), rtol=1e-5)
    alone = losses.gradient_harmonized_weights(Z, T, bins=1)
    np.testing.assert_allclose(alone, 1.0)
    assert not np.any(losses.gradient_harmonized_weights(Z, T, where=np.zeros(Z.shape, bool)))
    assert not np.any(jax.grad(lambda z: losses.gradient_harmonized_weights(z, T).sum())(Z))


def test_harmonized_weights_of_a_split_batch():
    split = jax.vmap(functools.partial(losses.gradient_harmonized_weights, axis_name="i"), axis_name="i")
    found = split(Z.reshape(2, 3, 4), T.reshape(2, 3, 4)).reshape(6, 4)
    np.testing.assert_allclose(found, losses.gradient_harmonized_weights(Z, T), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.guided_loss_scaling(jnp.array(1), jnp.array(1.0)), TypeError, "cls_loss must be floating"),
        (lambda: losses.guided_loss_scaling(jnp.ones(()), jnp.ones(()), eps=0.0), ValueError, "eps must be > 0"),
        (lambda: losses.distribution_focal(Z[:, :1], Z[:, 0]), ValueError, "logits and targets must be"),
        (lambda: losses.distribution_focal(Z, Z), ValueError, "logits and targets must be"),
        (lambda: losses.distribution_focal(Z, jnp.zeros(6, int)), TypeError, "targets must be floating"),
        (lambda: losses.distribution_focal(Z, Z[:, 0], where=jnp.ones(4, bool)), ValueError, "where must have"),
        (lambda: losses.depth_quality_focal(Z, T[:3]), ValueError, "targets and logits"),
        (lambda: losses.depth_quality_focal(Z, T, gamma=0.5), ValueError, "gamma must be at least 1"),
        (lambda: losses.depth_quality_focal(Z, T, alpha=2.0), ValueError, "alpha must lie in"),
        (lambda: losses.depth_quality_focal(Z, T > 0), TypeError, "targets must be floating"),
        (lambda: losses.gradient_harmonized_weights(Z, T, bins=0), ValueError, "bins must be"),
        (lambda: losses.gradient_harmonized_weights(Z, T[:3]), ValueError, "logits and targets"),
        (lambda: losses.gradient_harmonized_weights(T > 0, T), TypeError, "logits must be floating"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
