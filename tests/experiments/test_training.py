"""The training loop: its batches, its equality with a loop written out, seeds through vmap, optimisers of all kinds."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.training import batch_indices, fit

KEY = jax.random.key(0)


def _data(num_rows=24, width=3):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num_rows, width)).astype(np.float32)
    return {"x": x, "y": x @ np.arange(1.0, width + 1, dtype=np.float32) + 1}


def squared_error(params, state, batch, key):
    error = batch["x"] @ params["w"] + params["b"] - batch["y"]
    return jnp.mean(error**2), state


START = {"w": jnp.zeros(3), "b": jnp.zeros(())}
SGD = optax.sgd(0.1, momentum=0.5)


def test_rounds_without_mask_hold_every_row_once():
    index = np.asarray(batch_indices(KEY, 12, num_steps=7, batch_size=4))
    assert index.shape == (7, 4)
    assert index.dtype == np.int32
    for start in (0, 3):
        assert sorted(index[start : start + 3].ravel()) == list(range(12))
    assert not np.array_equal(index[:3], index[3:6])


def test_a_round_that_does_not_divide_repeats_no_row():
    index = np.asarray(batch_indices(KEY, 13, num_steps=30, batch_size=4))
    rounds = index.reshape(10, 12)
    assert all(len(set(r)) == 12 for r in rounds)
    assert set(index.ravel()) == set(range(13))


@pytest.mark.parametrize("count", [1, 3, 7, 19])
def test_masked_rows_are_never_drawn_and_the_others_equally_often(count):
    where = np.zeros(20, bool)
    where[np.random.default_rng(count).permutation(20)[:count]] = True
    draw = jax.jit(lambda w: batch_indices(KEY, 20, num_steps=40, batch_size=5, where=w))
    rounds = np.asarray(draw(where)).reshape(10, 20)
    assert where[rounds].all()
    for one in rounds:
        times = np.bincount(one, minlength=20)[where]
        assert times.max() - times.min() <= 1
    if count >= 5:
        assert all(len(set(batch)) == 5 for batch in rounds.reshape(40, 5))


def test_no_row_allowed_is_loud():
    where = np.zeros(24, bool)
    assert (np.asarray(batch_indices(KEY, 24, num_steps=2, batch_size=3, where=where)) == 24).all()
    result = fit(squared_error, START, None, SGD, _data(), KEY, num_steps=2, batch_size=3, where=where)
    assert np.isnan(result.losses).all()


def test_padding_is_never_seen():
    data, where = _data(), np.arange(24) < 17
    poisoned = {name: np.where(where.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan) for name, a in data.items()}
    options = {"num_steps": 30, "batch_size": 4, "where": where}
    clean = fit(squared_error, START, None, SGD, data, KEY, **options)
    padded = fit(squared_error, START, None, SGD, poisoned, KEY, **options)
    np.testing.assert_array_equal(clean.losses, padded.losses)
    assert np.isfinite(padded.losses).all()


def test_the_scan_is_the_loop_written_out():
    data, num_steps = _data(), 9

    def loss_fn(params, state, batch, key):
        noise = jax.random.normal(key, ())
        loss = squared_error(params, None, batch, key)[0] + noise * params["b"]
        return loss, {"seen": state["seen"].at[batch["index"]].add(1), "steps": state["steps"] + 1}

    state = {"seen": jnp.zeros(24, int), "steps": jnp.zeros((), int)}
    result = fit(loss_fn, START, state, SGD, data, KEY, num_steps=num_steps, batch_size=5)

    batch_key, loss_key = jax.random.split(KEY)
    index = batch_indices(batch_key, 24, num_steps=num_steps, batch_size=5)
    params, opt_state = START, SGD.init(START)
    for i, key in enumerate(jax.random.split(loss_key, num_steps)):
        batch = {name: jnp.asarray(array)[index[i]] for name, array in data.items()} | {"index": index[i]}
        (loss, state), grad = jax.value_and_grad(loss_fn, has_aux=True)(params, state, batch, key)
        np.testing.assert_allclose(result.losses[i], loss, rtol=1e-5)
        updates, opt_state = SGD.update(grad, opt_state, params)
        params = optax.apply_updates(params, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), result.params, params)
    jax.tree.map(np.testing.assert_array_equal, result.state, state)
    assert result.state["steps"] == num_steps
    assert result.state["seen"].sum() == num_steps * 5


def test_same_key_same_result_and_other_key_another():
    def run(key):
        return fit(squared_error, START, None, SGD, _data(), key, num_steps=5, batch_size=4).losses

    np.testing.assert_array_equal(run(KEY), run(KEY))
    assert not np.allclose(run(KEY), run(jax.random.key(1)))


def test_seeds_through_vmap_and_map_are_the_seeds_one_by_one():
    keys, where = jax.random.split(KEY, 3), np.random.default_rng(1).random((3, 24)) < 0.7

    def run(key, where):
        return fit(squared_error, START, None, SGD, _data(), key, num_steps=12, batch_size=4, where=where)

    together = jax.vmap(run)(keys, where)
    in_turn = jax.lax.map(lambda pair: run(*pair), (keys, jnp.asarray(where)))
    for i in range(3):
        alone = run(keys[i], where[i])
        for many in (together, in_turn):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6), many, alone)  # noqa: B023


@pytest.mark.parametrize("optimizer", [optax.lbfgs(), optax.contrib.momo(1.0)])
def test_optimisers_that_want_the_value_get_it(optimizer):
    result = fit(squared_error, START, None, optimizer, _data(), KEY, num_steps=25, batch_size=24)
    assert result.losses[-1] < 0.1 * result.losses[0]


def test_value_fn_is_the_loss_of_the_batch_at_hand():
    def update(updates, opt_state, params, *, value, value_fn, **extra):
        return jax.tree.map(jnp.zeros_like, updates), opt_state + jnp.abs(value_fn(params) - value)

    probe = optax.GradientTransformationExtraArgs(lambda params: jnp.zeros(()), update)
    result = fit(squared_error, START, None, probe, _data(), KEY, num_steps=6, batch_size=4)
    assert result.opt_state < 1e-6
    assert np.ptp(result.losses) > 0.1


def test_a_second_fit_goes_on_where_the_first_stopped():
    options = {"data": _data(), "num_steps": 4, "batch_size": 24}
    first = fit(squared_error, START, None, SGD, key=KEY, **options)
    second = fit(squared_error, first.params, None, SGD, key=KEY, opt_state=first.opt_state, **options)
    whole = fit(squared_error, START, None, SGD, _data(), KEY, num_steps=8, batch_size=24)
    np.testing.assert_allclose(second.losses, whole.losses[4:], rtol=1e-4)
    restarted = fit(squared_error, first.params, None, SGD, key=KEY, **options)
    assert not np.allclose(restarted.losses, whole.losses[4:], rtol=1e-3)


def test_a_sweep_of_learning_rates_is_a_vmap():
    optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)

    def final_loss(rate):
        opt_state = optimizer.init(START)
        opt_state.hyperparams["learning_rate"] = rate
        options = {"num_steps": 5, "batch_size": 24, "opt_state": opt_state}
        return fit(squared_error, START, None, optimizer, _data(), KEY, **options).losses[-1]

    with jax.checking_leaks():
        swept = jax.vmap(final_loss)(jnp.array([0.01, 0.1]))
    fixed = fit(squared_error, START, None, optax.sgd(0.1), _data(), KEY, num_steps=5, batch_size=24).losses[-1]
    np.testing.assert_allclose(swept[1], fixed, rtol=1e-5)
    assert swept[0] > swept[1]


def test_equal_calls_compile_once():
    def run():
        return fit(squared_error, START, None, SGD, _data(), KEY, num_steps=3, batch_size=2)

    run()
    before = fit._cache_size()
    run()
    assert fit._cache_size() == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": {}}, ValueError, "at least one array"),
        ({"data": {"index": np.zeros(3)}}, ValueError, "none named 'index'"),
        ({"data": {"x": np.zeros((3, 3)), "y": np.zeros(4)}}, ValueError, "share their first axis"),
        ({"data": {"x": np.zeros(())}}, ValueError, "share their first axis"),
        ({"data": {"x": np.zeros((0, 3))}}, ValueError, "num_rows must be at least 1"),
        ({"num_steps": 0}, ValueError, "num_steps must be at least 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"where": np.ones(5, bool)}, ValueError, "where must have shape"),
        ({"where": np.ones(24)}, TypeError, "where must be boolean"),
    ],
)
def test_bad_input_is_named(change, error, message):
    arguments = {"data": _data(), "num_steps": 2, "batch_size": 4, "where": None} | change
    with pytest.raises(error, match=message):
        fit(squared_error, START, None, SGD, key=KEY, **arguments)
