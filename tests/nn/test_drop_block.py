"""Blocks that are dropped: their shape, their number, and that the mean stays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.nn import drop_block

ONES = jnp.ones((400, 7, 9, 3))


@pytest.fixture(scope="module")
def dropped():
    return np.asarray(drop_block(jax.random.key(0), ONES, rate=0.15, block_size=3))


def covered_by_blocks(zero, side):
    """Every dropped place lies in a square of dropped places, [H, W] bool."""
    found = np.zeros_like(zero)
    for i in range(zero.shape[0] - side + 1):
        for j in range(zero.shape[1] - side + 1):
            if zero[i : i + side, j : j + side].all():
                found[i : i + side, j : j + side] = True
    return (found == zero).all()


def test_what_is_dropped_is_made_of_blocks(dropped):
    for example in dropped[:40]:
        assert all(covered_by_blocks(example[..., channel] == 0, 3) for channel in range(3))


def test_a_little_less_than_the_rate_is_dropped(dropped):
    zero = dropped == 0
    gamma = 0.15 / 9 * 63 / (5 * 7)
    inner = 1 - (1 - gamma) ** 9  # a place that nine blocks can cover
    assert abs(zero[:, 2:5, 2:7].mean() - inner) < 0.01
    assert abs(zero[:, 0, 0].mean() - gamma) < 0.015  # a corner: one block alone
    assert 0.1 < zero.mean() < 0.15


def test_the_sum_of_every_example_stays(dropped):
    np.testing.assert_allclose(dropped.sum((1, 2, 3)), 7 * 9 * 3, rtol=1e-5)
    x = jax.random.normal(jax.random.key(1), (1, 4, 4, 2)) + 2.0
    many = jax.vmap(lambda key: drop_block(key, x, rate=0.1, block_size=1))(jax.random.split(jax.random.key(2), 4000))
    np.testing.assert_allclose(many.mean(0), x, rtol=0.05)


def test_limits():
    key = jax.random.key(0)
    np.testing.assert_array_equal(drop_block(key, ONES[:2], rate=0.0, block_size=3), ONES[:2])
    zero = drop_block(key, ONES, rate=0.3, block_size=1) == 0
    assert abs(zero.mean() - 0.3) < 0.01  # dropout
    whole = np.asarray(drop_block(key, ONES, rate=0.5, block_size=99))  # the shorter side
    assert all(covered_by_blocks(example[..., 0] == 0, 7) for example in whole[:20])
    none = drop_block(jax.random.key(0), jnp.ones((50, 2, 2, 1)), rate=0.9, block_size=2)
    emptied = np.asarray(none == 0).all((1, 2, 3))
    assert emptied.mean() > 0.7
    assert np.isfinite(none).all()


def test_gradients_pass_where_nothing_is_dropped():
    x = ONES[:2]
    fn = lambda x: drop_block(jax.random.key(0), x, rate=0.3, block_size=2)  # noqa: E731
    gradient = jax.grad(lambda x: jnp.sum(fn(x)))(x)
    np.testing.assert_allclose(gradient, fn(x), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": jnp.zeros((2, 3, 4))}, ValueError, r"\[B, H, W, C\]"),
        ({"x": jnp.zeros((2, 0, 4, 1))}, ValueError, "H, W >= 1"),
        ({"x": jnp.zeros((2, 3, 4, 1), int)}, TypeError, "x must be floating"),
        ({"rate": 1.0}, ValueError, r"rate must lie in \[0, 1\)"),
        ({"rate": -0.1}, ValueError, r"rate must lie in \[0, 1\)"),
        ({"block_size": 0}, ValueError, "block_size must be an integer of at least 1"),
        ({"block_size": 1.5}, TypeError, "block_size must be a static integer"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        drop_block(jax.random.key(0), **{"x": ONES[:2], "rate": 0.1, "block_size": 2, **change})
