"""Minimisation against scipy, what a line search reuses, projections, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

from jaxlab.optim import minimize

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5)).astype(np.float32)
SIGNS = np.where(X @ RNG.normal(size=5) + 0.3 * RNG.normal(size=40) > 0, 1, -1).astype(np.float32)


def logistic(params):
    margins = SIGNS * (X @ params["w"] + params["b"])
    return jnp.mean(jnp.logaddexp(0.0, -margins)) + 0.05 * jnp.sum(params["w"] ** 2)


def zeros():
    return {"w": jnp.zeros(5), "b": jnp.zeros(())}


def optimum():
    x, signs = X.astype(np.float64), SIGNS.astype(np.float64)

    def loss(v):
        return np.mean(np.logaddexp(0, -signs * (x @ v[:5] + v[5]))) + 0.05 * np.sum(v[:5] ** 2)

    return optimize.minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-8})


def test_lbfgs_reaches_the_optimum_of_scipy():
    best = optimum()
    result = jax.jit(lambda p: minimize(logistic, p, optax.lbfgs(), num_steps=25))(zeros())
    np.testing.assert_allclose(result.params["w"], best.x[:5], atol=2e-4)
    np.testing.assert_allclose(result.params["b"], best.x[5], atol=2e-4)
    np.testing.assert_allclose(result.losses[-1], best.fun, rtol=1e-6)


def test_equals_a_loop_of_optax_steps():
    optimizer = optax.adam(0.1)
    params, state, losses = zeros(), optimizer.init(zeros()), []
    for _ in range(4):
        value, grad = jax.value_and_grad(logistic)(params)
        updates, state = optimizer.update(grad, state, params)
        params, losses = optax.apply_updates(params, updates), [*losses, value]
    result = minimize(logistic, zeros(), optimizer, num_steps=4)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), result.params, params)
    assert result.opt_state[0].count == 4


@pytest.mark.parametrize("optimizer", [optax.polyak_sgd(), optax.contrib.momo(0.1)], ids=["polyak", "momo"])
def test_optimisers_that_want_the_value_get_it(optimizer):
    losses = minimize(lambda x: jnp.sum((x - 3.0) ** 2), jnp.zeros(2), optimizer, num_steps=10).losses
    assert losses[-1] < losses[0] / 3


def counted(optimizer):
    """The result, and how often the loss itself was evaluated."""
    calls = []

    def loss_fn(x):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sum(jnp.array([1.0, 5.0]) * (x - 3.0) ** 2)

    result = jax.block_until_ready(minimize(loss_fn, jnp.zeros(2), optimizer, num_steps=5))
    jax.effects_barrier()
    return result, len(calls)


def test_what_the_line_search_evaluated_is_used_again():
    result, calls = counted(optax.lbfgs())
    plain, plain_calls = counted(optax.chain(optax.lbfgs(), optax.scale(1.0)))  # the search is not last: no reuse
    np.testing.assert_allclose(result.losses, plain.losses, rtol=1e-5, atol=1e-6)
    assert calls == plain_calls - 4  # every step but the first


@pytest.mark.parametrize(
    ("optimizer", "project"),
    [
        (optax.chain(optax.lbfgs(), optax.scale(0.5)), None),
        (optax.lbfgs(), lambda x: jnp.minimum(x, 2.0)),
        (optax.chain(optax.sgd(0.4), optax.scale_by_backtracking_linesearch(5)), None),
    ],
    ids=["scaled afterwards", "projected", "no stored gradient"],
)
def test_losses_belong_to_the_parameters_even_if_the_search_saw_others(optimizer, project):
    def loss_fn(x):
        return jnp.sum((x - 3.0) ** 2)

    one = minimize(loss_fn, jnp.zeros(2), optimizer, num_steps=1, project=project)
    two = minimize(loss_fn, jnp.zeros(2), optimizer, num_steps=2, project=project)
    np.testing.assert_allclose(two.losses, [18.0, loss_fn(one.params)], rtol=1e-6, atol=1e-9)


def test_projected_steps_solve_nonnegative_least_squares():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(20, 4)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    expected, _ = optimize.nnls(a.astype(np.float64), b.astype(np.float64))
    assert (expected == 0).any()  # the constraint binds
    result = minimize(
        lambda x: 0.5 * jnp.sum((a @ x - b) ** 2),
        jnp.ones(4),
        optax.sgd(0.02),
        num_steps=300,
        project=optax.projections.projection_non_negative,
    )
    np.testing.assert_allclose(result.params, expected, atol=1e-4)


def test_many_starts_by_vmap_and_gradient_through_the_loop():
    def solve(center, optimizer):
        return minimize(lambda x: jnp.sum((x - center) ** 2), jnp.zeros(2), optimizer, num_steps=5).params

    centers = jnp.array([0.5, 1.0, -2.0])
    found = jax.vmap(lambda c: solve(c, optax.lbfgs()))(centers)
    np.testing.assert_allclose(found, np.repeat(np.asarray(centers)[:, None], 2, 1), atol=1e-5)
    slope = jax.grad(lambda c: solve(c, optax.sgd(0.1))[0])(1.0)
    np.testing.assert_allclose(slope, 1 - 0.8**5, rtol=1e-5)  # x_t = c (1 - (1 - 2 lr)^t)


def test_no_steps_weak_types_and_bfloat16():
    result = minimize(logistic, zeros(), optax.adam(0.1), num_steps=0)
    assert result.losses.shape == (0,)
    assert (np.asarray(result.params["w"]) == 0).all()
    weak = minimize(lambda x: (x - 3.0) ** 2, jnp.asarray(0.0), optax.lbfgs(), num_steps=3)
    np.testing.assert_allclose(weak.params, 3.0, rtol=1e-5)
    for optimizer in (optax.sgd(0.25), optax.lbfgs()):
        narrow = minimize(
            lambda x: jnp.sum((x.astype(jnp.float32) - 3.0) ** 2),
            jnp.zeros(2, jnp.bfloat16),
            optimizer,
            num_steps=4,
        )
        assert narrow.params.dtype == jnp.bfloat16
        assert narrow.losses.dtype == jnp.float32
        assert narrow.losses[-1] < 1


def square(x):
    return jnp.sum(x**2)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"loss_fn": lambda x: x**2}, ValueError, "loss_fn must return one floating-point scalar"),
        ({"loss_fn": lambda x: (jnp.sum(x), x)}, ValueError, "loss_fn must return one floating-point scalar"),
        ({"loss_fn": lambda x: jnp.sum(x > 0)}, ValueError, "loss_fn must return one floating-point scalar"),
        ({"params": jnp.zeros(2, int)}, TypeError, "params must be floating point"),
        ({"optimizer": "adam"}, TypeError, "optimizer must be an optax"),
        ({"num_steps": -1}, ValueError, "num_steps must be at least 0"),
        ({"num_steps": 2.0}, TypeError, "num_steps must be a static integer"),
        ({"num_steps": True}, TypeError, "num_steps must be a static integer"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        minimize(**{"loss_fn": square, "params": jnp.zeros(2), "optimizer": optax.sgd(0.1), "num_steps": 1, **change})
