"""Summaries of the accuracy matrix against loops over the published formulas; one task; what is not read."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.metrics import (
    average_accuracy,
    average_incremental_accuracy,
    backward_transfer,
    communication_floats,
    forgetting,
)


def matrix(tasks=5, seed=0):
    return np.tril(np.random.default_rng(seed).uniform(size=(tasks, tasks))).astype(np.float32)


def incremental_by_loop(R, weights):
    means = [sum(weights[i] * R[t, i] for i in range(t + 1)) / sum(weights[: t + 1]) for t in range(len(R))]
    return sum(means) / len(R)


def from_best_by_loop(R):
    T = len(R)
    return sum(max(R[t, i] for t in range(i, T)) - R[T - 1, i] for i in range(T - 1)) / (T - 1)


def stepwise_by_loop(R):
    T = len(R)
    drops = [sum(R[t - 1, i] - R[t, i] for i in range(t)) / t for t in range(1, T)]
    return sum(drops) / (T - 1)


def transfer_by_loop(R):
    T = len(R)
    return sum(R[T - 1, i] - R[i, i] for i in range(T - 1)) / (T - 1)


COUNTS = np.array([30, 10, 20, 5, 50])
SUMMARIES = {
    "average_accuracy": (average_accuracy, lambda R: R[-1].mean()),
    "average_incremental_accuracy": (average_incremental_accuracy, lambda R: incremental_by_loop(R, np.ones(5))),
    "weighted": (
        functools.partial(average_incremental_accuracy, weights=COUNTS),
        lambda R: incremental_by_loop(R, COUNTS),
    ),
    "from_best": (forgetting, from_best_by_loop),
    "stepwise": (functools.partial(forgetting, kind="stepwise"), stepwise_by_loop),
    "backward_transfer": (backward_transfer, transfer_by_loop),
}


@pytest.mark.parametrize("name", SUMMARIES)
def test_equals_the_loop_over_the_formula(name):
    summary, by_loop = SUMMARIES[name]
    for seed in range(3):
        R = matrix(seed=seed)
        np.testing.assert_allclose(summary(R), by_loop(R), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_upper_triangle_is_not_read_and_gets_no_gradient(name):
    summary, _ = SUMMARIES[name]
    R = matrix()
    upper = np.triu(np.ones_like(R, bool), 1)
    for junk in (np.nan, 0.99, 1e30):
        dirty = np.where(upper, junk, R)
        np.testing.assert_array_equal(summary(dirty), summary(R))
    gradient = jax.grad(summary)(jnp.where(upper, jnp.nan, R))
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[upper] == 0).all()


@pytest.mark.parametrize("name", SUMMARIES)
def test_leading_axes_are_kept(name):
    summary, _ = SUMMARIES[name]
    stack = np.stack([matrix(seed=s) for s in range(3)])
    np.testing.assert_allclose(summary(stack), [summary(R) for R in stack], rtol=1e-6, atol=1e-7)


def test_one_task():
    R = jnp.array([[0.75]])
    assert average_accuracy(R) == average_incremental_accuracy(R) == 0.75
    for nothing in (forgetting(R), forgetting(R, kind="stepwise"), backward_transfer(R)):
        assert nothing == 0
    assert forgetting(R[None]).shape == (1,)


def test_weights_by_test_examples_give_the_accuracy_over_all_of_them():
    """Three right of 30 and all of 10: 13 / 40 at the end, not the mean of 0.1 and 1."""
    R = jnp.array([[0.5, 0.0], [0.1, 1.0]])
    weighted = average_incremental_accuracy(R, weights=jnp.array([30, 10]))
    np.testing.assert_allclose(weighted, (0.5 + 13 / 40) / 2, rtol=1e-6)
    assert np.isnan(average_incremental_accuracy(R, weights=jnp.array([1.0, -1.0])))


def test_the_two_definitions_differ_and_know_no_forgetting_of_a_constant():
    constant = np.tril(np.full((4, 4), 0.5, np.float32))
    assert forgetting(constant) == forgetting(constant, kind="stepwise") == backward_transfer(constant) == 0
    recovered = jnp.array([[1.0, 0, 0], [0.0, 1.0, 0], [1.0, 1.0, 1.0]])  # lost, and won back
    assert forgetting(recovered) == 0
    np.testing.assert_allclose(forgetting(recovered, kind="stepwise"), (1 / 1 - 1 / 2) / 2)
    better = jnp.array([[0.5, 0], [0.75, 1.0]])  # a later task helped: only from_best may not be negative
    assert forgetting(better) == 0
    assert forgetting(better, kind="stepwise") == -backward_transfer(better) == -0.25


def test_communication_counts_every_number_of_the_message():
    message = {"counts": jnp.zeros(10, jnp.int32), "means": jnp.zeros((10, 64), jnp.bfloat16), "none": None}
    assert communication_floats(message) == 10 * (64 + 1)
    assert communication_floats(jax.eval_shape(lambda: message)) == 650
    assert communication_floats([jnp.zeros(()), np.zeros((2, 3))]) == 7
    assert communication_floats(()) == 0
    assert isinstance(communication_floats(message), int)


R = jnp.zeros((3, 3))


@pytest.mark.parametrize("name", SUMMARIES)
@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (jnp.zeros((3, 2)), ValueError, "R must have shape"),
        (jnp.zeros(3), ValueError, "R must have shape"),
        (jnp.zeros((0, 0)), ValueError, "R must have shape"),
        (jnp.zeros((3, 3), int), TypeError, "R must be floating point"),
    ],
)
def test_bad_matrix(name, bad, error, words):
    with pytest.raises(error, match=words):
        SUMMARIES[name][0](bad)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: forgetting(R, kind="worst"), ValueError, "kind must be one of"),
        (lambda: average_incremental_accuracy(R, weights=jnp.ones(2)), ValueError, "weights must have shape"),
        (lambda: communication_floats({"name": "client"}), TypeError, "message must hold arrays of numbers"),
        (lambda: communication_floats(jax.random.key(0)), TypeError, "message must hold arrays of numbers"),
        (lambda: communication_floats(jnp.ones(3, bool)), TypeError, "message must hold arrays of numbers"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
