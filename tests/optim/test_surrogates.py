"""Gradients of gradient norms, and the surrogate training on them: exact forms, limits, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import optim

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3)).astype(np.float32)
PARAMS = {"a": RNG.standard_normal((3, 4)).astype(np.float32), "b": RNG.standard_normal(4).astype(np.float32)}
FIT = jax.tree.map(lambda leaf: RNG.standard_normal(leaf.shape).astype(np.float32), PARAMS)


def mean_prediction(params):
    return jnp.mean(jnp.tanh(X @ params["a"]) @ params["b"])


def length(params):
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(jax.grad(mean_prediction)(params))))


def check(found, expected, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), found, expected)


def test_the_exact_form_differentiates_the_norm():
    norm, gradient = optim.norm_gradient(mean_prediction, PARAMS, step=None)
    np.testing.assert_allclose(norm, length(PARAMS), rtol=1e-5)
    check(gradient, jax.grad(length)(PARAMS), rtol=1e-4, atol=1e-6)


def test_small_differences_approach_it():
    exact = optim.norm_gradient(mean_prediction, PARAMS, step=None).gradient
    size = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(exact))

    def error(step):
        near = optim.norm_gradient(mean_prediction, PARAMS, step=step).gradient
        return max(float(jnp.abs(x - y).max()) for x, y in zip(*map(jax.tree.leaves, (near, exact)), strict=True))

    assert error(0.01) < 0.05 * size
    assert error(0.01) < 0.2 * error(0.1)  # of first order


def test_a_function_linear_in_its_parameters_has_no_sharpness():
    target = jnp.ones(3)
    for step in (0.05, None):
        norm, gradient = optim.norm_gradient(lambda p: p @ target, jnp.zeros(3), step=step)
        np.testing.assert_allclose(norm, np.sqrt(3), rtol=1e-6)
        np.testing.assert_allclose(gradient, 0, atol=1e-6)
        grads, _ = optim.ignite_gradient(optim.ignite_init(multiplier=5.0), target, lambda p: p @ target, jnp.zeros(3))
        np.testing.assert_allclose(grads, 1, atol=1e-5)


def test_a_flat_function_gives_zeros():
    for step in (0.05, None):
        norm, gradient = optim.norm_gradient(lambda p: jnp.sum(p**2), jnp.zeros(3), step=step)
        assert norm == 0
        np.testing.assert_array_equal(gradient, 0)


def test_what_is_added_to_the_gradient_of_the_fit():
    state = optim.ignite_init(multiplier=0.3)
    grads, _ = optim.ignite_gradient(state, FIT, mean_prediction, PARAMS, rho=0.2, step=0.1)
    near = optim.norm_gradient(mean_prediction, PARAMS, step=0.1).gradient
    check(grads, jax.tree.map(lambda fit, sharp: fit + 0.3 * 0.2 * sharp, FIT, near), rtol=1e-5, atol=1e-6)
    plain, _ = optim.ignite_gradient(optim.ignite_init(multiplier=0.0), FIT, mean_prediction, PARAMS)
    check(plain, FIT, rtol=0)


def test_steps_lower_the_norm():
    """Without a fit to keep, descent on it flattens the mean prediction."""
    params, state = PARAMS, optim.ignite_init(multiplier=1.0)
    zeros = jax.tree.map(jnp.zeros_like, FIT)
    for _ in range(5):
        grads, state = optim.ignite_gradient(state, zeros, mean_prediction, params, rho=1.0, multiplier_rate=0.0)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    assert length(params) < length(PARAMS) - 0.1
    assert state.multiplier == 1.0


@pytest.mark.parametrize("threshold", [0.0, 100.0])
def test_the_multiplier_grows_where_the_bound_is_broken(threshold):
    state = optim.ignite_init()
    _, after = optim.ignite_gradient(state, FIT, mean_prediction, PARAMS, rho=0.5, threshold=threshold)
    expected = max(0.0, 1e-3 + 1e-3 * (0.5 * float(length(PARAMS)) - threshold))
    np.testing.assert_allclose(after.multiplier, expected, rtol=1e-5)
    assert (after.multiplier > state.multiplier) == (threshold == 0.0)


def test_narrow_leaves_keep_their_type():
    narrow = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), FIT)
    grads, _ = optim.ignite_gradient(optim.ignite_init(), narrow, mean_prediction, PARAMS)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: optim.norm_gradient(jnp.sum, jnp.arange(3)), TypeError, "params must be floating"),
        (lambda: optim.norm_gradient(jnp.sum, jnp.ones(3), step=0.0), ValueError, "step must be > 0"),
        (lambda: optim.ignite_init(multiplier=-1.0), ValueError, "multiplier must be at least"),
        (
            lambda: optim.ignite_gradient(optim.ignite_init(), FIT, mean_prediction, PARAMS, rho=-1.0),
            ValueError,
            "rho must be at least",
        ),
        (
            lambda: optim.ignite_gradient(optim.ignite_init(), FIT, mean_prediction, PARAMS, multiplier_rate=-1.0),
            ValueError,
            "multiplier_rate must be at least",
        ),
        (
            lambda: optim.ignite_gradient(optim.ignite_init(), [jnp.ones(3)], jnp.sum, jnp.ones(3)),
            ValueError,
            "structure",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
