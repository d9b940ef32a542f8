"""The compositional estimator of a likelihood's gradient: its ends, its running mean, and bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses, optim

RNG = np.random.default_rng(0)
DATA, NOISE, NOISE_Q = (RNG.normal(size=size).astype(np.float32) for size in (6, 8, 8))
surrogate = jax.jit(optim.meco_surrogate)


def gradients(fn):
    return jax.grad(fn, argnums=(0, 1))(jnp.asarray(DATA), jnp.asarray(NOISE))


def test_without_memory_it_has_the_gradient_of_the_monte_carlo_likelihood():
    expected = gradients(lambda data, noise: losses.monte_carlo_nll(data, noise, NOISE_Q))
    old = optim.MecoState(jnp.float32(5.0), jnp.int32(7))
    for state, beta in ((old, 1.0), (optim.meco_init(), 0.1)):  # a first step has nothing to remember
        found = gradients(lambda data, noise, s=state, b=beta: optim.meco_surrogate(s, data, noise, NOISE_Q, beta=b)[0])
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_with_memory_the_weights_are_over_the_running_mean():
    weights = np.exp(-NOISE.astype(np.float64) - NOISE_Q)
    u = 0.7 * 5.0 + 0.3 * weights.mean()
    state = optim.MecoState(jnp.log(5.0), jnp.int32(2))
    loss, state = surrogate(state, DATA, NOISE, NOISE_Q, beta=0.3)
    np.testing.assert_allclose(jnp.exp(state.log_u), u, rtol=1e-5)
    np.testing.assert_allclose(loss, DATA.mean() + weights.mean() / u, rtol=1e-5)
    assert state.count == 3
    start = optim.MecoState(jnp.log(5.0), jnp.int32(2))
    gradient = gradients(lambda data, noise: optim.meco_surrogate(start, data, noise, NOISE_Q, beta=0.3)[0])[1]
    np.testing.assert_allclose(gradient, -weights / 8 / u, rtol=1e-5)


def test_noise_from_the_model_itself_has_no_variance():
    log_z = np.float32(2.3)
    loss, state = surrogate(optim.meco_init(), DATA, -NOISE_Q - log_z, NOISE_Q)
    np.testing.assert_allclose(state.log_u, log_z, rtol=1e-6)
    np.testing.assert_allclose(loss, DATA.mean() + 1, rtol=1e-6)


def test_energies_far_beyond_the_exponential():
    state = optim.meco_init()
    for sign in (1, -1, 1):
        fn = lambda noise, s=state: surrogate(s, DATA, noise, NOISE_Q)  # noqa: E731
        (loss, state), gradient = jax.value_and_grad(fn, has_aux=True)(jnp.asarray(sign * 1e3 + NOISE))
        assert np.isfinite([loss, state.log_u]).all()
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).sum() <= 1 / 0.1 + 1e-3  # no weight exceeds M / beta


def test_a_gaussian_mean_is_found():
    def step(carry, key):
        theta, state = carry
        data_key, noise_key = jax.random.split(key)
        x, z = 4 + jax.random.normal(data_key, (16,)), 5 * jax.random.normal(noise_key, (16,))

        def loss_fn(theta):
            log_q = -(z**2) / 50 - jnp.log(5 * jnp.sqrt(2 * jnp.pi))
            return optim.meco_surrogate(state, (x - theta) ** 2 / 2, (z - theta) ** 2 / 2, log_q)

        gradient, state = jax.grad(loss_fn, has_aux=True)(theta)
        theta -= 0.05 * jnp.clip(gradient, -5, 5)
        return (theta, state), (theta, state.log_u)

    keys = jax.random.split(jax.random.key(0), 600)
    _, (thetas, logs) = jax.jit(lambda: jax.lax.scan(step, (jnp.float32(0.0), optim.meco_init()), keys))()
    assert abs(np.mean(thetas[-200:]) - 4) < 0.1
    assert abs(np.mean(logs[-200:]) - 0.5 * np.log(2 * np.pi)) < 0.2


def test_draws_that_do_not_count():
    drawn = np.arange(8) % 2 > 0
    state = optim.MecoState(jnp.float32(0.5), jnp.int32(2))
    loss, after = surrogate(state, DATA, np.where(drawn, NOISE, np.nan), NOISE_Q, noise_where=drawn)
    part, short = surrogate(state, DATA, NOISE[drawn], NOISE_Q[drawn])
    np.testing.assert_allclose([loss, after.log_u], [part, short.log_u], rtol=1e-5)
    loss, after = surrogate(state, DATA, NOISE, NOISE_Q, noise_where=np.zeros(8, bool))
    np.testing.assert_allclose([loss, after.log_u, after.count], [DATA.mean(), 0.5, 2], rtol=1e-5)


def test_draws_split_over_a_mapped_axis():
    state = optim.MecoState(jnp.float32(0.5), jnp.int32(2))
    drawn = np.arange(8) % 3 > 0

    def fn(data, noise, log_q, drawn, axis_name=None):
        return optim.meco_surrogate(state, data, noise, log_q, noise_where=drawn, axis_name=axis_name)

    loss, after = fn(DATA, NOISE, NOISE_Q, drawn)
    halves = (value.reshape(2, -1) for value in (DATA, NOISE, NOISE_Q, drawn))
    split = jax.vmap(functools.partial(fn, axis_name="i"), axis_name="i")(*halves)
    np.testing.assert_allclose(split[0], [loss] * 2, rtol=1e-5)
    np.testing.assert_allclose(split[1].log_u, [after.log_u] * 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"beta": 0.0}, ValueError, "beta must be > 0"),
        ({"beta": 1.5}, ValueError, "beta must lie in"),
        ({"noise_log_q": NOISE_Q[:5]}, ValueError, "noise_log_q and noise_energy must have the same shape"),
        ({"data_energy": DATA[None]}, ValueError, "data_energy must have"),
        ({"noise_energy": np.arange(8)}, TypeError, "noise_energy must be floating point"),
        ({"where": np.ones(6)}, TypeError, "where must be boolean"),
    ],
)
def test_bad_input(change, error, words):
    given = {"state": optim.meco_init(), "data_energy": DATA, "noise_energy": NOISE, "noise_log_q": NOISE_Q}
    with pytest.raises(error, match=words):
        optim.meco_surrogate(**(given | change))


def test_energies_wider_than_the_estimate_are_refused():
    with jax.enable_x64(True):
        wide = [jnp.asarray(value, jnp.float64) for value in (DATA, NOISE, NOISE_Q)]
        with pytest.raises(TypeError, match="make the state with dtype=float64"):
            optim.meco_surrogate(optim.meco_init(), *wide)
        assert optim.meco_surrogate(optim.meco_init(dtype=jnp.float64), *wide)[1].log_u.dtype == jnp.float64
