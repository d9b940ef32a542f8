"""Losses of bags: the identities between bags and instances, bags of several sizes, private means, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses

RNG = np.random.default_rng(0)
F, Y = RNG.normal(size=(4, 3)).astype(np.float32), RNG.normal(size=4).astype(np.float32)
HERE = np.array([[True, True, True], [True, False, True], [False, False, True], [False, False, False]])


def test_instances_cost_the_variance_within_bags_more():
    bag, instance = losses.bag_loss(F, Y), losses.instance_loss(F, Y)
    np.testing.assert_allclose(bag, (F.mean(1) - Y) ** 2, rtol=1e-5)
    np.testing.assert_allclose(instance, ((F - Y[:, None]) ** 2).mean(1), rtol=1e-5)
    np.testing.assert_allclose(instance - bag, F.var(1), rtol=1e-4)
    mixed = losses.interpolated_bag_loss(F, Y, rho=0.2)
    np.testing.assert_allclose(mixed, bag + 0.2 * F.var(1), rtol=1e-5)


def test_in_float64_to_the_last_digits():
    with jax.enable_x64(True):
        f, y = jnp.asarray(F, jnp.float64), jnp.asarray(Y, jnp.float64)
        gap = losses.instance_loss(f, y) - losses.bag_loss(f, y)
        np.testing.assert_allclose(gap, np.var(np.asarray(f), 1), rtol=1e-12)


def test_bags_of_one_and_the_ends_of_the_interpolation():
    alone = F[:, :1]
    values = [losses.bag_loss(alone, Y), losses.instance_loss(alone, Y), losses.interpolated_bag_loss(alone, Y)]
    for value in values:
        np.testing.assert_allclose(value, (alone[:, 0] - Y) ** 2, rtol=1e-6)
    for rho, end in ((0.0, losses.bag_loss), (1.0, losses.instance_loss)):
        np.testing.assert_array_equal(losses.interpolated_bag_loss(F, Y, rho=rho), end(F, Y))


def test_any_loss_and_that_jensen_orders_convex_ones():
    def log_cosh(predictions, targets):
        return optax.losses.log_cosh(predictions, targets)

    bag, instance = (fn(F, Y, loss_fn=log_cosh) for fn in (losses.bag_loss, losses.instance_loss))
    np.testing.assert_allclose(bag, np.log(np.cosh(F.mean(1) - Y)), rtol=1e-4)
    assert np.all(instance > bag)


def test_bags_of_several_sizes():
    dirty, targets = np.where(HERE, F, np.nan), np.where(HERE.any(1), Y, np.nan)
    for fn in (losses.bag_loss, losses.instance_loss, losses.interpolated_bag_loss):
        value = np.asarray(fn(dirty, targets, where=HERE))
        for bag in range(3):
            np.testing.assert_allclose(value[bag], fn(F[bag][HERE[bag]][None], Y[bag][None])[0], rtol=1e-5)
        assert value[3] == 0
        gradient = jax.grad(lambda f, fn=fn: jnp.sum(fn(f, targets, where=HERE)))(jnp.asarray(dirty))
        assert np.isfinite(gradient).all()
        assert (np.asarray(gradient)[~HERE] == 0).all()


def test_private_means_are_clipped_means_with_laplace_noise():
    y = np.tile(np.array([[0.5, 9.0, -1.0, -9.0]], np.float32), (4000, 1))
    here = np.array([True, True, True, False])
    means = np.asarray(losses.private_bag_means(jax.random.key(0), y, clip=2.0, epsilon=0.5, where=here & (y == y)))
    center, scale = (0.5 + 2.0 - 1.0) / 3, 2 * 2.0 / (3 * 0.5)
    assert abs(np.median(means) - center) < 0.2
    np.testing.assert_allclose(np.abs(means - center).mean(), scale, rtol=0.06)
    np.testing.assert_allclose(np.sqrt(((means - center) ** 2).mean()), np.sqrt(2) * scale, rtol=0.1)  # Laplace's
    empty = losses.private_bag_means(jax.random.key(0), y[:2], clip=1.0, epsilon=1.0, where=np.zeros((2, 4), bool))
    np.testing.assert_array_equal(empty, 0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.bag_loss(F[0], Y), ValueError, "predictions must have"),
        (lambda: losses.bag_loss(F, Y[:3]), ValueError, "bag_targets must have shape"),
        (lambda: losses.bag_loss(F[:, :0], Y), ValueError, "K >= 1"),
        (lambda: losses.instance_loss(F.astype(int), Y), TypeError, "predictions must be floating point"),
        (lambda: losses.instance_loss(F, Y, where=HERE[:, :2]), ValueError, "where must have shape"),
        (lambda: losses.instance_loss(F, Y, where=HERE * 1.0), TypeError, "where must be boolean"),
        (lambda: losses.interpolated_bag_loss(F, Y, rho=1.5), ValueError, "rho must lie in"),
        (lambda: losses.private_bag_means(jax.random.key(0), F, clip=0.0, epsilon=1.0), ValueError, "clip must be > 0"),
        (
            lambda: losses.private_bag_means(jax.random.key(0), F, clip=1.0, epsilon=0),
            ValueError,
            "epsilon must be > 0",
        ),
        (lambda: losses.private_bag_means(jax.random.key(0), Y, clip=1.0, epsilon=1.0), ValueError, "y must have"),
        (lambda: losses.private_bag_means(jax.random.key(0), F[:, :0], clip=1.0, epsilon=1.0), ValueError, "K >= 1"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
