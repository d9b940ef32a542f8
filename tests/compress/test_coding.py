"""Lossless coding: what is read is what was written, at the length that was promised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlab import analytic
from jaxlab.compress import coding

PARENT = np.array([-1, 0, 0, 1, 1, 2])
TREE = analytic.hclt_init(jax.random.key(0), PARENT, num_states=3, num_values=5)


def samples(num, seed=0):
    """Skewed values."""
    return np.minimum(np.random.default_rng(seed).geometric(0.6, (num, 6)) - 1, 4).astype(np.int32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=200), st.integers(4, 20))
def test_symbols_come_back_in_order(symbols, precision):
    cdf = np.asarray(coding.quantize_cdf(jnp.array([0.7, 0.2, 0.1, 0.0]), precision=precision))
    stream = coding.rans_encode(cdf[symbols], np.diff(cdf)[symbols], precision=precision)
    read, state = coding.rans_decode(coding.rans_open(stream), np.tile(cdf, (len(symbols), 1)), precision=precision)
    assert read.tolist() == symbols
    assert state.used == len(state.words)
    bits = precision * len(symbols) - np.log2(np.diff(cdf)[symbols]).sum()
    assert 8 * len(stream) <= bits + 64 + 32


def test_counts_leave_room_for_everything_and_fill_the_range():
    probs = np.random.default_rng(0).dirichlet(0.05 * np.ones(40), 20).astype(np.float32)
    cdf = np.asarray(coding.quantize_cdf(probs, precision=12))
    assert np.all(np.diff(cdf) >= 1)
    np.testing.assert_array_equal(cdf[:, [0, -1]], [[0, 4096]] * 20)
    counts = np.diff(cdf) / 4096
    cost = -(probs * np.log2(counts / np.maximum(probs, 1e-30))).sum(1)
    assert cost.max() <= -np.log2(1 - 40 / 4096) + 2e-3
    broken = coding.quantize_cdf(jnp.array([[jnp.nan, 1.0], [0.2, 0.2]]), precision=4)
    np.testing.assert_array_equal(broken, [[0, 8, 16]] * 2)


def test_images_come_back_bit_for_bit_at_the_length_of_their_likelihood():
    x = samples(60)
    tree = TREE
    for _ in range(10):
        tree, _ = analytic.hclt_em_step(tree, x)
    stream = coding.circuit_encode(tree, x)
    np.testing.assert_array_equal(coding.circuit_decode(tree, stream, 60), x)
    ideal = -float(analytic.hclt_log_prob(tree, x).sum()) / np.log(2)
    rounding = 60 * 6 * 5 / 2**16 * 2 / np.log(2)
    assert ideal <= 8 * len(stream) <= ideal + 64 + 32 + rounding
    assert len(coding.circuit_encode(TREE, x)) > len(stream)


def test_a_value_of_probability_zero_still_comes_back():
    hard, _ = analytic.hclt_em_step(TREE, np.zeros((4, 6), np.int32), smoothing=0.0)
    x = np.array([[0, 0, 3, 0, 1, 4]], np.int32)
    np.testing.assert_array_equal(coding.circuit_decode(hard, coding.circuit_encode(hard, x), 1), x)


def test_bad_streams_are_told():
    x = samples(20)
    stream = coding.circuit_encode(TREE, x)
    with pytest.raises(ValueError, match="cut off"):
        coding.circuit_decode(TREE, stream[:-4], 20)
    with pytest.raises(ValueError, match="cut off"):
        coding.rans_open(b"1234567")
    with pytest.raises(ValueError, match="more than was read"):
        coding.circuit_decode(TREE, stream, 10)
    with pytest.raises(ValueError, match="not written by rans_encode"):
        coding.rans_open(bytes(8))


def test_bad_input():
    with pytest.raises(ValueError, match=r"x must hold values in \[0, 5\), got 0 to 5"):
        coding.circuit_encode(TREE, np.array([[0, 0, 0, 0, 0, 5]]))
    with pytest.raises(ValueError, match=r"x must have shape \[N, 6\] with N >= 1"):
        coding.circuit_encode(TREE, np.zeros((0, 6), np.int32))
    with pytest.raises(ValueError, match="precision must leave a count for each of the 5 values, got 2 bits"):
        coding.quantize_cdf(jnp.ones(5) / 5, precision=2)
    with pytest.raises(ValueError, match="precision must be from 1 to 24"):
        coding.quantize_cdf(jnp.ones(5) / 5, precision=30)
    with pytest.raises(ValueError, match=r"intervals inside \[0, 16\]"):
        coding.rans_encode([10], [8], precision=4)
    with pytest.raises(ValueError, match="same length"):
        coding.rans_encode([10], [1, 2], precision=4)
    with pytest.raises(TypeError, match="concrete"):
        jax.jit(lambda x: coding.circuit_encode(TREE, x))(jnp.zeros((1, 6), jnp.int32))
