"""The greedy order against a loop in numpy, on a line, with ties and with what is not a number."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.selection import greedy_nearest_order


def in_numpy(params, start):
    order, left = [start], set(range(len(params))) - {start}
    while left:
        order.append(min(sorted(left), key=lambda j: np.linalg.norm(params[j] - params[order[-1]])))
        left.remove(order[-1])
    return order


@pytest.mark.parametrize("start", [0, 7])
def test_numpy_gives_the_same(start):
    params = np.random.default_rng(0).normal(size=(15, 3, 2)).astype(np.float32)
    order = jax.jit(greedy_nearest_order)(params, start=start)
    assert order.dtype == jnp.int32
    assert order.tolist() == in_numpy(params, start)


def test_a_line_from_one_end_and_from_within():
    places = np.random.default_rng(1).permutation(10).astype(np.float32)[:, None] * np.array([1.0, -2.0], np.float32)
    first = int(np.argmin(places[:, 0]))
    assert np.asarray(greedy_nearest_order(places, start=first)).tolist() == np.argsort(places[:, 0]).tolist()
    line = jnp.array([0.0, 1.0, 2.1, 3.3, 10.0])
    assert greedy_nearest_order(line, start=3).tolist() == [3, 2, 1, 0, 4]


def test_ties_and_numbers_that_are_none():
    assert greedy_nearest_order(jnp.array([0.0, 1.0, -1.0, 1.0])).tolist() == [0, 1, 3, 2]
    assert greedy_nearest_order(jnp.zeros((4, 2))).tolist() == [0, 1, 2, 3]
    assert greedy_nearest_order(jnp.array([0.0, jnp.nan, 5.0, jnp.inf, 1.0])).tolist() == [0, 4, 2, 1, 3]
    assert greedy_nearest_order(jnp.ones((1, 3))).tolist() == [0]
    assert greedy_nearest_order(jnp.arange(3.0), start=9).tolist() == [2, 1, 0]


def test_bad_input():
    with pytest.raises(ValueError, match="params must have shape"):
        greedy_nearest_order(jnp.ones(()))
    with pytest.raises(ValueError, match="not be empty"):
        greedy_nearest_order(jnp.ones((0, 3)))
    with pytest.raises(TypeError, match="params must be floating point"):
        greedy_nearest_order(jnp.arange(3))
    with pytest.raises(TypeError, match="start must hold integers"):
        greedy_nearest_order(jnp.ones(3), start=0.5)
