"""Experts for a stream without boundaries: the monitor, the choice, the pool, pruning."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import continual

rng = np.random.default_rng(0)


def watch(losses, **options):
    """The monitor after every loss."""

    def step(state, loss):
        state = continual.loss_monitor_update(state, loss, **options)
        return state, state

    return jax.jit(partial(jax.lax.scan, step))(continual.loss_monitor_init(), jnp.asarray(losses, jnp.float32))[1]


def test_mean_and_variance_are_those_of_numpy():
    losses, decay = rng.normal(size=60) + 3, 0.8
    states = watch(losses, decay=decay, warmup=1000)
    weights = np.ones(1)
    for count in range(1, 61):
        rate = max(1 - decay, 1 / count)
        weights = np.array([1.0]) if count == 1 else np.append((1 - rate) * weights, rate)
        np.testing.assert_allclose(states.mean[count - 1], np.average(losses[:count], weights=weights), rtol=1e-4)
        if count > 1:
            expected = np.sqrt(np.cov(losses[:count], aweights=weights))
            np.testing.assert_allclose(states.std[count - 1], expected, rtol=1e-3)
    assert states.std[0] == 0


def test_variance_of_noise_is_not_biased():
    runs = rng.normal(scale=2.0, size=(400, 80))
    final = jax.vmap(lambda losses: watch(losses, decay=0.9, warmup=1000).std[-1])(jnp.asarray(runs, jnp.float32))
    assert np.mean(final**2) == pytest.approx(4.0, rel=0.05)  # the plain moving variance would be 5 % below


def test_a_constant_never_triggers():
    assert not np.any(watch(np.full(200, 0.7), margin=1e-3, warmup=0).is_shift)


def test_a_lasting_step_triggers_once_at_its_step():
    losses = 1 + 0.1 * rng.uniform(-1, 1, 300)
    losses[150:] += 2.0
    states = watch(losses, num_std=6.0, margin=0.3, warmup=60)
    np.testing.assert_array_equal(np.flatnonzero(states.is_shift), [150])
    assert states.count[150] == 1
    np.testing.assert_allclose(states.mean[150], losses[150], rtol=1e-6)
    smaller = np.where(np.arange(300) < 150, losses, losses - 1.9)  # inside six deviations and the margin
    assert not np.any(watch(smaller, num_std=6.0, margin=0.3, warmup=60).is_shift)
    assert not np.any(watch(losses[:150], num_std=6.0, margin=0.3, warmup=151).is_shift)


def test_a_smoothed_loss_answers_later_and_forgives_one_bad_batch():
    losses = 1 + 0.1 * rng.uniform(-1, 1, 200)
    losses[100] += 1.0
    options = {"num_std": 3.0, "margin": 0.3, "warmup": 20}
    assert watch(losses, **options).is_shift[100]
    assert not np.any(watch(losses, smoothing=0.9, **options).is_shift)


def test_losses_that_are_not_finite_are_told_and_not_taken_in():
    losses = np.ones(10)
    losses[[4, 6]] = np.nan, np.inf
    states = watch(losses, margin=0.1, warmup=2)
    np.testing.assert_array_equal(np.flatnonzero(states.is_shift), [4, 6])
    assert states.mean[-1] == 1
    assert states.count[-1] == 8


def choose(losses, means, active, **options):
    choice = continual.select_expert(jnp.array(losses), jnp.array(means), jnp.full(3, 0.1), np.array(active), **options)
    return tuple(int(part) for part in choice)


def test_who_takes_over():
    yes, no = True, False
    assert choose([1.0, 0.2, 0.3], [0.1, 0.2, 0.2], [yes, yes, yes]) == (1, 0, 0)
    assert choose([0.6, 0.5, 9.0], [0.5, 0.1, 0.1], [yes, yes, no]) == (0, 0, 0)  # smallest loss, but out of line
    assert choose([0.6, 0.5, 9.0], [0.5, 0.1, 0.1], [yes, yes, no], margin=0.2) == (1, 0, 0)  # by .1: forgiven
    assert choose([1.0, 1.0, 0.1], [0.1, 0.2, 0.1], [yes, yes, no]) == (2, 1, 0)  # who does not exist knows nothing
    assert choose([3.0, 2.0, 4.0], [0.1, 0.2, 0.1], [yes, yes, yes]) == (1, 0, 1)  # full: the best, and it is said
    assert choose([np.nan, 2.0, 4.0], [0.1, 0.2, 0.1], [yes, yes, yes]) == (1, 0, 1)
    assert choose([0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [no, no, no]) == (0, 1, 0)


TASKS = rng.normal(size=(3, 4)).astype(np.float32) * 3


def square_loss(params, batch):
    x, y = batch
    return jnp.mean((x @ params["w"] - y) ** 2)


def stream(order, batches=60):
    """Linear regressions with other weights in every phase."""
    x = rng.normal(size=(len(order) * batches, 16, 4)).astype(np.float32)
    weights = TASKS[np.repeat(order, batches)]
    return x, np.einsum("bnd,bd->bn", x, weights)[..., None] + 0.1 * rng.normal(size=(len(x), 16, 1)).astype(np.float32)


def follow(order, capacity, prune=None):
    optimizer = optax.sgd(0.1)
    update = partial(
        continual.experts_update, loss_fn=square_loss, optimizer=optimizer, num_std=6.0, margin=0.3, warmup=30
    )

    def step(pool, batch):
        pool = update(pool, batch)
        pool = pool if prune is None else continual.experts_prune(pool, prune)
        return pool, (pool.current, pool.is_shift, pool.is_full)

    init = lambda key: {"w": jax.random.normal(key, (4, 1))}  # noqa: E731
    pool = continual.experts_init(jax.random.key(0), init, optimizer, capacity=capacity)
    return jax.jit(partial(jax.lax.scan, step))(pool, stream(order))


def test_the_pool_finds_the_boundaries_and_the_old_experts():
    order = np.array([0, 1, 0, 2, 1])
    pool, (current, is_shift, is_full) = follow(order, capacity=4)
    np.testing.assert_array_equal(np.flatnonzero(is_shift), [60, 120, 180, 240])
    np.testing.assert_array_equal(current, np.repeat(order, 60))
    assert not np.any(is_full)
    np.testing.assert_array_equal(pool.active, [True, True, True, False])
    np.testing.assert_allclose(pool.params["w"][:3, :, 0], TASKS, atol=0.1)


def test_a_full_pool_says_so():
    pool, (current, _, is_full) = follow(np.array([0, 1, 2]), capacity=2)
    np.testing.assert_array_equal(np.flatnonzero(is_full), [120])
    assert set(np.asarray(current)) == {0, 1}
    assert np.all(pool.active)


def test_pruned_weights_stay_out():
    pool, _ = follow(np.array([0, 1]), capacity=2, prune=0.5)
    weights = np.asarray(pool.params["w"])[..., 0]
    np.testing.assert_array_equal(np.sum(weights == 0, axis=1), 2)
    np.testing.assert_array_equal(weights != 0, pool.mask["w"][..., 0])
    again = continual.experts_prune(pool, 0.25)  # less than before changes nothing
    np.testing.assert_array_equal(again.params["w"], pool.params["w"])


def test_pruning_takes_the_smallest():
    weights = {"w": jnp.array([[3.0, -0.1], [0.2, -5.0]]), "b": jnp.array([0.01, 7.0])}
    pool = continual.experts_init(jax.random.key(0), lambda key: weights, optax.sgd(0.1), capacity=2)
    pruned = continual.experts_prune(pool, 0.5)
    np.testing.assert_array_equal(pruned.params["w"][0], [[3, 0], [0, -5]])
    np.testing.assert_array_equal(pruned.params["w"][1], weights["w"])  # the other expert is left alone
    np.testing.assert_array_equal(pruned.params["b"][0], weights["b"])


ONES = jnp.ones(2)
BAD = {
    "losses": (lambda: continual.loss_monitor_update(continual.loss_monitor_init(), ONES), ValueError, "scalar"),
    "decay": (
        lambda: continual.loss_monitor_update(continual.loss_monitor_init(), 1.0, decay=2.0),
        ValueError,
        "decay must lie in",
    ),
    "margin": (
        lambda: continual.loss_monitor_update(continual.loss_monitor_init(), 1.0, margin=-1.0),
        ValueError,
        "margin must be at least 0",
    ),
    "shapes": (lambda: continual.select_expert(ONES, jnp.ones(3), ONES, ONES > 0), ValueError, "means and losses"),
    "mask": (lambda: continual.select_expert(ONES, ONES, ONES, ONES), TypeError, "active must be boolean"),
    "nobody": (lambda: continual.select_expert(ONES[:0], ONES[:0], ONES[:0], ONES[:0] > 0), ValueError, "at least one"),
    "capacity": (
        lambda: continual.experts_init(jax.random.key(0), lambda key: ONES, optax.sgd(0.1), capacity=0),
        ValueError,
        "capacity",
    ),
    "sparsity": (
        lambda: continual.experts_prune(
            continual.experts_init(jax.random.key(0), lambda key: ONES, optax.sgd(0.1), capacity=1), 1.5
        ),
        ValueError,
        "sparsity must lie in",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
