"""The collapsed optimum of deep linear layers: numbers, stationarity, and what L-BFGS finds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import minimize as scipy_minimize

from jaxlab import analytic, losses, metrics, optim

COUNTS = (20.0, 10.0, 5.0)
LABELS = np.repeat(np.arange(3), (20, 10, 5))
DECAYS = {1: (5e-3, 1e-3), 2: (2e-3, 5e-4), 3: (2e-3, 5e-4)}


def solve(depth, counts=COUNTS, decays=None):
    weight_decay, feature_decay = decays or DECAYS[depth]
    return analytic.deep_linear_collapse_solution(
        jnp.asarray(counts), depth=depth, weight_decay=weight_decay, feature_decay=feature_decay
    )


def objective(depth, labels=LABELS, decays=None):
    weight_decay, feature_decay = decays or DECAYS[depth]
    return lambda params: losses.unconstrained_feature_mse(
        params["h"], params["w"], labels, weight_decay=weight_decay, feature_decay=feature_decay
    )


def at(solution, depth, labels=LABELS):
    """Features and layers of the solution, rotated inside."""
    size = len(solution.singular_values)
    turns = [np.linalg.qr(np.random.default_rng(i).normal(size=(size, size)))[0] for i in range(depth)]
    s = np.diag(np.asarray(solution.singular_values, float))
    ends = [*turns, np.eye(size)]
    layers = [ends[i].T @ s @ ends[i + 1] for i in range(depth)]
    return {"h": (np.diag(np.asarray(solution.feature_norms, float)) @ turns[0])[labels], "w": layers}


def test_numbers():
    np.testing.assert_allclose(solve(1).singular_values, [1.401785, 1.174399, 0.982344], atol=2e-6)
    np.testing.assert_allclose(solve(2).singular_values, [1.305041, 1.161279, 1.032619], atol=2e-6)


@pytest.mark.parametrize("depth", [1, 2])
def test_no_gradient_passes(depth):
    whole = lambda counts, decay: jnp.sum(jnp.stack(solve(depth, counts, (decay, decay))))  # noqa: E731
    for slope in jax.grad(whole, argnums=(0, 1))(jnp.asarray(COUNTS), jnp.float32(1e-3)):
        np.testing.assert_array_equal(slope, 0.0)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_it_is_stationary(depth):
    with jax.enable_x64(True):
        solution = solve(depth)
        params = jax.tree.map(jnp.asarray, at(solution, depth))
        gradient = jax.grad(objective(depth))(params)
        assert max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(gradient)) < 1e-8
        logits = params["h"]
        for layer in params["w"]:
            logits = logits @ layer
        np.testing.assert_allclose(logits, np.diag(np.asarray(solution.logits_diag))[LABELS], atol=1e-9)


def test_lbfgs_finds_it():
    """From a random start, with optax at depth 1 and scipy at depth 3; the smaller classes are no exception."""
    rng = np.random.default_rng(1)
    start = {"h": rng.normal(size=(35, 4)).astype(np.float32), "w": [rng.normal(size=(4, 3)).astype(np.float32)]}
    result = jax.jit(lambda p: optim.minimize(objective(1), p, optax.lbfgs(), num_steps=150))(start)
    solution = solve(1)
    np.testing.assert_allclose(np.linalg.norm(result.params["w"][0], axis=0), solution.singular_values, rtol=1e-3)
    h = np.asarray(result.params["h"])
    np.testing.assert_allclose(np.linalg.norm(h, axis=1), np.asarray(solution.feature_norms)[LABELS], rtol=1e-3)
    assert metrics.nc1(h, LABELS, num_classes=3) < 1e-5

    with jax.enable_x64(True):
        shapes = {"h": (35, 3), "w": [(3, 3)] * 3}
        flat, unravel = jax.flatten_util.ravel_pytree(
            jax.tree.map(lambda shape: jnp.asarray(rng.normal(size=shape)), shapes, is_leaf=lambda x: type(x) is tuple)
        )
        value_and_grad = jax.jit(jax.value_and_grad(lambda x: objective(3)(unravel(x))))
        found = scipy_minimize(
            lambda x: tuple(map(np.asarray, value_and_grad(x))), np.asarray(flat), jac=True, options={"gtol": 1e-9}
        )
        best = objective(3)(jax.tree.map(jnp.asarray, at(solve(3), 3)))
        assert found.fun == pytest.approx(float(best), rel=1e-6)
        last = unravel(jnp.asarray(found.x))["w"][-1]
        np.testing.assert_allclose(jnp.linalg.norm(last, axis=0), solve(3).singular_values, rtol=1e-3)


def test_the_threshold_of_one_layer():
    """N^2 lambda_W lambda_H = 9: of classes with 9 and 10 examples the first is given up."""
    number = 100
    decays = (9.0 / number**2, 1.0)
    below = solve(1, (9, 81, 10), decays)
    assert below.singular_values[0] < 1e-2
    assert below.singular_values[2] > 1
    assert solve(1, (8, 82, 10), decays).singular_values[0] == 0
    assert solve(1, (8, 82, 10), decays).feature_norms[0] == 0


def test_deeper_layers_give_up_where_zero_is_better():
    """Between the point where a root appears and the one where it wins, both are stationary: the loss decides."""
    with jax.enable_x64(True):
        grid = np.linspace(0.0, 4.0, 4001)
        for count in range(1, 60):
            counts = np.array([count, 100.0 - count])
            weight_decay, feature_decay = 0.02, 0.03
            s = np.asarray(solve(2, counts, (weight_decay, feature_decay)).singular_values)[0]
            # A class alone: s of both layers, with the best features for it.
            loss = count / 200 / (1 + grid**4 / (100 * feature_decay)) + weight_decay * grid**2
            assert s == pytest.approx(grid[np.argmin(loss)], abs=2e-3)
    # With 12 examples there are roots, as 12 * max g = 7.8 > 6.9, but zero is better.
    assert solve(2, (12, 88), (0.02, 0.03)).singular_values[0] == 0
    assert solve(2, (16, 84), (0.02, 0.03)).singular_values[0] > 1.4


def test_balanced_classes_are_alike():
    solution = solve(2, (7, 7, 7, 7))
    assert np.ptp(solution.singular_values) == 0
    assert 0 < solution.logits_diag[0] < 1


def test_empty_and_bad_input():
    assert solve(2, (20, 0, 15)).singular_values[1] == 0
    assert not np.any(np.concatenate(solve(3, (0, 0))))
    with pytest.raises(ValueError, match="class_counts"):
        solve(1, np.ones((2, 2)))
    with pytest.raises(ValueError, match="depth"):
        analytic.deep_linear_collapse_solution(jnp.ones(2), depth=0, weight_decay=0.1, feature_decay=0.1)
    with pytest.raises(ValueError, match="feature_decay"):
        solve(1, decays=(0.1, 0.0))
    with pytest.raises(TypeError, match="class_counts"):
        solve(1, np.array([True, False]))
