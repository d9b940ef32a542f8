"""Prodigy and D-Adaptation against the authors' packages, numpy and optax, and reading estimates off their states."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import optim

CURVES, CENTER, START = np.array([1.0, 3.0, 0.2]), np.array([2.0, -1.0, 0.5]), np.array([0.1, -0.3, 0.7])
STEPS = 25

# Parameters and d after 25 steps of the quadratic above, from prodigyopt 1.1.2 and dadaptation 3.2 in float64.
PACKAGES = {
    "prodigy": (
        optim.prodigy,
        {},
        [2.92935512533812, -1.3880313158284459, 0.7302614483553238, 0.39787364966209177],
    ),
    "prodigy_corrected": (
        optim.prodigy,
        {"bias_correction": True, "weight_decay": 0.1},
        [0.11323170387925091, -0.31319466692039316, 0.6865483811262316, 0.006890986693560307],
    ),
    "prodigy_safeguard": (
        optim.prodigy,
        {"learning_rate": 0.5, "safeguard_warmup": True, "growth_rate": 1.5, "d_coef": 2.0},
        [0.17790697798777252, -0.37818811250414547, 0.6205793361404427, 0.0131902602339392],
    ),
    "dadapt": (
        optim.dadapt_adamw,
        {},
        [1.6074161558058646, -0.574348666789438, -0.1575218578592219, 3.132959910887135],
    ),
    "dadapt_corrected": (
        optim.dadapt_adamw,
        {"bias_correction": True, "weight_decay": 0.1, "growth_rate": 1.5},
        [0.10811436259427533, -0.3080066317502976, 0.691574739014629, 0.01268854160349575],
    ),
}


def path(optimizer, steps=STEPS, start=START, center=CENTER):
    """Parameters and estimate after every step, in float64."""
    with jax.enable_x64(True):
        x = {"a": jnp.asarray(start[:1]), "b": jnp.asarray(start[1:])}
        flat = lambda tree: jnp.concatenate([tree["a"], tree["b"]])  # noqa: E731

        def step(carry, _):
            x, state = carry
            g = jnp.asarray(CURVES) * (flat(x) - jnp.asarray(center))
            updates, state = optimizer.update({"a": g[:1], "b": g[1:]}, state, x)
            x = optax.apply_updates(x, updates)
            return (x, state), jnp.append(flat(x), optim.lr_free_state(state)["d"])

        return np.asarray(jax.lax.scan(step, (x, optimizer.init(x)), length=steps)[1])


@pytest.mark.parametrize("name", PACKAGES)
def test_it_equals_the_authors_package(name):
    make, options, last = PACKAGES[name]
    found = path(make(**options))
    np.testing.assert_allclose(found[-1], last, rtol=1e-9)
    assert np.all(np.diff(found[:, -1]) >= 0)


def prodigy_by_numpy(steps):
    d, d0, b1, b2 = 1e-6, 1e-6, 0.9, 0.999
    b3, x, m, v, s, r, trace = np.sqrt(b2), START.copy(), 0.0, 0.0, 0.0, 0.0, []
    for _ in range(steps):
        g, rate = CURVES * (x - CENTER), d
        r = b3 * r + d / d0 * rate * g @ (START - x)
        m, v = b1 * m + (1 - b1) * d * g, b2 * v + (1 - b2) * (d * g) ** 2
        s = b3 * s + d / d0 * rate * g
        d = max(d, r / np.abs(s).sum())
        x = x - rate * m / (np.sqrt(v) + d * 1e-8)
        trace.append([*x, d])
    return np.array(trace)


def test_prodigy_equals_numpy_and_is_not_the_corrected_form():
    np.testing.assert_allclose(path(optim.prodigy()), prodigy_by_numpy(STEPS), rtol=1e-9)
    corrected = path(optim.prodigy(bias_correction=True))
    assert corrected[-1, -1] < 0.02 < 0.3 < prodigy_by_numpy(STEPS)[-1, -1]


@pytest.mark.parametrize(
    ("ours", "theirs"), [(optim.prodigy, optax.contrib.prodigy), (optim.dadapt_adamw, optax.contrib.dadapt_adamw)]
)
def test_with_the_correction_it_is_optax(ours, theirs):
    schedule = optax.linear_schedule(1.0, 0.5, STEPS)
    want = path(theirs(schedule, weight_decay=0.1))
    np.testing.assert_allclose(path(ours(schedule, weight_decay=0.1, bias_correction=True)), want, rtol=1e-8)


def test_the_first_step_has_a_known_size():
    for make in (optim.prodigy, optim.dadapt_adamw):
        moved = path(make(d0=1e-3), steps=1)[0, :3] - START
        np.testing.assert_allclose(np.abs(moved), 1e-3 * 0.1 / np.sqrt(0.001), rtol=1e-4)


@pytest.mark.parametrize("make", [optim.prodigy, optim.dadapt_adamw])
def test_steps_that_move_nothing_are_left_out(make):
    still = path(make(weight_decay=0.1), steps=3, center=START)  # the gradient is 0
    np.testing.assert_array_equal(still, np.tile([*START, 1e-6], (3, 1)))
    # A warm-up that begins at 0 delays the run, and does not stop it.
    late = path(make(lambda count: (count >= 2).astype(float)), steps=7)
    np.testing.assert_allclose(late[2:], path(make(), steps=5), rtol=1e-9)


def test_bfloat16_parameters_keep_their_dtype():
    params = jnp.ones(3, jnp.bfloat16)
    updates, state = optim.prodigy().update(params, optim.prodigy().init(params), params)
    assert updates.dtype == jnp.bfloat16
    assert state.square.dtype == jnp.float32


def test_bad_input():
    for options in ({"d0": 0.0}, {"growth_rate": -1.0}, {"b1": 1.5}):
        with pytest.raises(ValueError, match=next(iter(options))):
            optim.prodigy(**options)
        with pytest.raises(ValueError, match=next(iter(options))):
            optim.dadapt_adamw(**options)
    params = jnp.ones(2)
    with pytest.raises(ValueError, match="params must be given"):
        optim.prodigy().update(params, optim.prodigy().init(params))


def one_step(optimizer):
    params, grads = jnp.array([3.0, 4.0]), jnp.array([0.6, 0.8])
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    return params + updates, grads, updates, state


def test_estimates_of_optax():
    for make in (optax.contrib.dog, optax.contrib.dowg):
        optimizer = optax.chain(optax.clip_by_global_norm(9.0), make())
        _, grads, updates, state = one_step(optimizer)
        step = optim.lr_free_state(state)["step_size"]
        np.testing.assert_allclose(updates, -step * grads, rtol=2e-2)
    assert optim.lr_free_state(optax.contrib.dog().init(jnp.array([3.0, 4.0])))["d"] == pytest.approx(6e-6)
    assert optim.lr_free_state(optax.contrib.dog().init(jnp.ones(2)))["step_size"] == 0
    found = optim.lr_free_state(one_step(optax.contrib.mechanize(optax.sgd(1.0)))[3])
    assert set(found) == {"step_size"}
    wrapped = optax.inject_hyperparams(optax.contrib.prodigy)(estim_lr0=1e-3)
    assert optim.lr_free_state(wrapped.init(jnp.ones(2)))["d"] == pytest.approx(1e-3)
    with pytest.raises(ValueError, match="opt_state must hold"):
        optim.lr_free_state(optax.adam(1e-3).init(jnp.ones(2)))
