"""Replay of a training run in another order: exact where it must be, and better than no expansion elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import metrics, optim

RNG = np.random.default_rng(0)
T, D = 6, 3


def quadratic(params, batch):
    """Gradient of |A w - b|^2 / 2."""
    return {"w": batch["a"].T @ (batch["a"] @ params["w"] - batch["b"])}


def curved(params, batch):
    """Gradient of a loss with third derivatives."""
    return jax.grad(lambda p: jnp.sum(jnp.tanh(batch["a"] @ p["w"] - batch["b"]) ** 2))(params)


BATCHES = {
    "a": RNG.standard_normal((T, 4, D)).astype(np.float32),
    "b": RNG.standard_normal((T, 4)).astype(np.float32),
}
START = {"w": jnp.array([0.3, -0.2, 0.1])}
ORDER = jnp.array([3, 0, 5, 1, 4, 2])


def trained(grad_fn, optimizer, order):
    batches = jax.tree.map(lambda leaf: leaf[np.asarray(order)], BATCHES)
    return optim.record_trajectory(grad_fn, START, batches, optimizer=optimizer).last["w"]


def replayed(grad_fn, optimizer, order=ORDER, **options):
    run = optim.record_trajectory(grad_fn, START, BATCHES, optimizer=optimizer)
    return optim.replay_order(run, grad_fn, BATCHES, order, optimizer=optimizer, **options)["w"]


@pytest.mark.parametrize("expand", ["gradient", "update"])
@pytest.mark.parametrize("taylor_order", [0, 1, 2])
def test_the_same_order_gives_the_same_run(expand, taylor_order):
    optimizer = optax.adam(0.03)
    same = replayed(curved, optimizer, jnp.arange(T), expand=expand, taylor_order=taylor_order)
    np.testing.assert_allclose(same, trained(curved, optimizer, range(T)), rtol=1e-5)


@pytest.mark.parametrize("expand", ["gradient", "update"])
def test_first_order_is_exact_for_sgd_on_quadratics(expand):
    optimizer = optax.sgd(0.05)
    truth = trained(quadratic, optimizer, ORDER)
    np.testing.assert_allclose(replayed(quadratic, optimizer, expand=expand), truth, rtol=1e-4)
    assert jnp.abs(replayed(quadratic, optimizer, taylor_order=0) - truth).max() > 1e-2


def test_momentum_follows_the_new_order():
    optimizer = optax.sgd(0.03, momentum=0.9)
    truth = trained(quadratic, optimizer, ORDER)
    np.testing.assert_allclose(replayed(quadratic, optimizer), truth, rtol=1e-4)
    assert jnp.abs(replayed(quadratic, optimizer, expand="update") - truth).max() > 1e-2


def test_every_order_of_the_expansion_gains_a_power_of_the_step():
    def error(taylor_order, rate):
        optimizer = optax.sgd(rate)
        return float(
            jnp.abs(replayed(curved, optimizer, taylor_order=taylor_order) - trained(curved, optimizer, ORDER)).max()
        )

    for taylor_order in (0, 1, 2):
        ratio = error(taylor_order, 0.04) / error(taylor_order, 0.02)
        assert ratio > 0.8 * 2 ** (taylor_order + 2)
    assert error(2, 0.02) < error(1, 0.02) < error(0, 0.02)


def test_adam_expanded_in_the_gradient_is_closer_than_without():
    optimizer = optax.adam(0.01)
    truth = trained(curved, optimizer, ORDER)
    errors = [float(jnp.linalg.norm(replayed(curved, optimizer, taylor_order=k) - truth)) for k in (0, 1)]
    assert errors[1] < 0.5 * errors[0]


def test_parameters_without_a_gradient_stay_where_they_are():
    unused = START | {"bias": jnp.array([2.0])}
    grad_fn = lambda p, batch: curved({"w": p["w"]}, batch) | {"bias": 0.0 * p["bias"]}  # noqa: E731
    optimizer = optax.adam(0.01)
    run = optim.record_trajectory(grad_fn, unused, BATCHES, optimizer=optimizer)
    for expand in ("gradient", "update"):
        found = optim.replay_order(run, grad_fn, BATCHES, ORDER, optimizer=optimizer, expand=expand)
        assert found["bias"] == 2.0
        assert jnp.all(jnp.isfinite(found["w"]))


def test_many_orders_at_once_repeats_and_unknown_batches():
    orders = jnp.stack([ORDER, jnp.zeros(T, int), ORDER.at[2].set(T)])
    many = jax.vmap(lambda order: replayed(quadratic, optax.sgd(0.05), order))(orders)
    np.testing.assert_allclose(many[1], trained(quadratic, optax.sgd(0.05), np.zeros(T, int)), rtol=1e-4)
    assert bool(jnp.all(jnp.isnan(many[2])))


def test_random_projection_keeps_squared_lengths_on_average():
    x = RNG.standard_normal(40).astype(np.float32)
    lengths = jax.vmap(lambda key: jnp.sum((optim.random_projection(key, 40, 8) @ x) ** 2))(
        jax.random.split(jax.random.key(0), 2000)
    )
    np.testing.assert_allclose(lengths.mean() / np.sum(x**2), 1.0, atol=4 * (2 / 8 / 2000) ** 0.5)
    np.testing.assert_allclose(lengths.std() / np.sum(x**2), (2 / 8) ** 0.5, rtol=0.1)


def test_relative_error_of_an_estimate():
    truth, base = {"w": jnp.array([3.0, 4.0])}, {"w": jnp.zeros(2)}
    assert metrics.order_estimate_error(truth, truth, base) == 0.0
    assert metrics.order_estimate_error(base, truth, base) == 1.0
    assert metrics.order_estimate_error({"w": jnp.array([3.0, 3.0])}, truth, base) == pytest.approx(0.2)
    assert jnp.isnan(metrics.order_estimate_error(base, base, base))
    with pytest.raises(ValueError, match="estimate must have the structure"):
        metrics.order_estimate_error({"w": jnp.zeros(3)}, truth, base)


def test_budget_is_spent_and_the_ratio_kept():
    params, tokens = optim.size_iteration_adjustment(jnp.array([1e6, 4e8]), ratio=20.0)
    np.testing.assert_allclose(params * tokens, [1e6, 4e8], rtol=1e-5)
    np.testing.assert_allclose(tokens / params, 20.0, rtol=1e-5)
    with pytest.raises(ValueError, match="budget"):
        optim.size_iteration_adjustment(-1.0)


def test_bad_input():
    run = optim.record_trajectory(quadratic, START, BATCHES, optimizer=optax.sgd(0.1))

    def replay(**changed):
        return optim.replay_order(run, quadratic, BATCHES, **{"order": ORDER, "optimizer": optax.sgd(0.1)} | changed)

    with pytest.raises(ValueError, match=r"order must have shape \[6\]"):
        replay(order=ORDER[:4])
    with pytest.raises(TypeError, match="order"):
        replay(order=jnp.ones(T))
    with pytest.raises(ValueError, match="taylor_order"):
        replay(taylor_order=3)
    with pytest.raises(ValueError, match="expand"):
        replay(expand="hessian")
    with pytest.raises(ValueError, match=r"batches must hold arrays \[T, \.\.\.\] of one T"):
        optim.record_trajectory(quadratic, START, BATCHES | {"b": jnp.ones((5, 4))}, optimizer=optax.sgd(0.1))
    with pytest.raises(ValueError, match="k"):
        optim.random_projection(jax.random.key(0), 3, 0)
