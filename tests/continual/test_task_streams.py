"""Streams of different tasks, and the choice of what to start from."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import continual

TASKS = jnp.array([1.0, 10.0, 1.5, 11.0])


def train(state, task, key):
    return task, (state, task)


def cost(states, task):
    return jnp.abs(states - task)


def test_sources():
    key, start = jax.random.key(0), jnp.zeros(())
    for source, expected in (("independent", [0, 0, 0, 0]), ("previous", [0, 1, 2, 3]), (cost, [0, 1, 1, 2])):
        stream = continual.transfer_stream(key, start, TASKS, train, source=source)
        np.testing.assert_array_equal(stream.source, expected)
        np.testing.assert_array_equal(stream.states, [0, *TASKS])
        # Training started from the state that was chosen.
        np.testing.assert_array_equal(stream.results[0], np.append(0, TASKS)[np.asarray(expected)])
    np.testing.assert_array_equal(stream.costs[1, :2], [10, 9])
    assert np.all(np.isinf(np.triu(stream.costs, 1)[np.triu_indices(4, 1)]))


def test_a_source_that_does_not_exist_yet_is_never_chosen():
    best_is_last = lambda states, task: -jnp.arange(5.0)  # noqa: E731
    stream = continual.transfer_stream(jax.random.key(0), jnp.zeros(()), TASKS, train, source=best_is_last)
    np.testing.assert_array_equal(stream.source, [0, 1, 2, 3])


def test_every_task_has_a_key_of_its_own():
    noisy = lambda state, task, key: (state, jax.random.normal(key))  # noqa: E731
    drawn = continual.transfer_stream(jax.random.key(0), jnp.zeros(()), TASKS, noisy).results
    assert len(set(np.asarray(drawn))) == 4


@pytest.mark.parametrize(
    ("tasks", "source", "message"),
    [
        (TASKS, "best", "source must be one of 'independent', 'previous'"),
        ({"x": jnp.ones(2), "y": jnp.ones(3)}, "previous", "tasks must share their leading axis"),
    ],
)
def test_bad_input(tasks, source, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        continual.transfer_stream(jax.random.key(0), jnp.zeros(()), tasks, train, source=source)
