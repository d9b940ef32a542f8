"""Overlapping windows: blending, fading, and functions of short sequences on long ones."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.diffusion import blend_windows, crossfade_weights, window_average

rng = np.random.default_rng(0)


def by_loop(chunks, starts, length, weights, circular):
    total, mass = np.zeros((length, *chunks.shape[2:])), np.zeros(length)
    for chunk, start, row in zip(chunks, starts, weights, strict=True):
        for i, (values, weight) in enumerate(zip(chunk, row, strict=True)):
            place = (start + i) % length if circular else start + i
            total[place] += weight * values
            mass[place] += weight
    return np.where(mass[:, None] > 0, total / np.maximum(mass, 1e-30)[:, None], 0.0)


@pytest.mark.parametrize("circular", [False, True])
def test_blending_is_the_weighted_mean(circular):
    chunks = rng.normal(size=(3, 4, 2)).astype(np.float32)
    weights = rng.uniform(0.1, 2.0, (3, 4)).astype(np.float32)
    starts = [0, 3, 8] if circular else [0, 3, 6]
    got = blend_windows(chunks, jnp.array(starts), 10, weights=weights, circular=circular)
    np.testing.assert_allclose(got, by_loop(chunks, starts, 10, weights, circular), rtol=1e-5, atol=1e-6)
    plain = blend_windows(chunks, jnp.array(starts), 10, circular=circular)
    np.testing.assert_allclose(plain, by_loop(chunks, starts, 10, np.ones((3, 4)), circular), rtol=1e-5, atol=1e-6)


def test_places_without_a_window_are_zero():
    got = blend_windows(jnp.ones((2, 2)), jnp.array([0, 3]), 6)
    np.testing.assert_array_equal(got, [1, 1, 0, 1, 1, 0])
    np.testing.assert_array_equal(
        blend_windows(jnp.ones((1, 2)), jnp.array([1]), 3, weights=jnp.array([0.0, 2.0])), [0, 0, 1]
    )


def test_neighbours_without_overlap_are_put_end_to_end():
    chunks = rng.normal(size=(3, 2, 2)).astype(np.float32)
    weights = crossfade_weights([0, 2, 4], window=2, length=6)
    np.testing.assert_array_equal(weights, 1.0)
    np.testing.assert_array_equal(blend_windows(chunks, jnp.array([0, 2, 4]), 6, weights=weights), chunks.reshape(6, 2))


def test_a_crossfade_is_the_sequential_one():
    window, overlap, starts, length = 7, 3, [0, 4, 8], 15
    chunks = rng.normal(size=(3, window, 2)).astype(np.float32)
    mix = np.linspace(0, 1, overlap)[:, None]
    joined = chunks[0]
    for chunk in chunks[1:]:
        faded = joined[-overlap:] * (1 - mix) + chunk[:overlap] * mix
        joined = np.concatenate([joined[:-overlap], faded, chunk[overlap:]])
    weights = crossfade_weights(starts, window=window, length=length)
    got = blend_windows(chunks, jnp.array(starts), length, weights=weights)
    np.testing.assert_allclose(got, joined, rtol=1e-5, atol=1e-6)
    equal = blend_windows(jnp.full((3, window), 2.5), jnp.array(starts), length, weights=weights)
    np.testing.assert_allclose(equal, 2.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("starts", "window", "length", "circular"),
    [
        ([0, 4, 8], 7, 15, False),
        ([0, 5, 7], 6, 13, False),  # the last window is pushed back
        ([0, 4, 8], 6, 12, True),
        ([1, 4, 7, 10], 4, 12, True),
        ([0], 5, 5, False),
        ([0, 3], 4, 7, False),  # one place shared
    ],
)
def test_fading_weights_sum_to_one(starts, window, length, circular):
    weights = np.asarray(crossfade_weights(starts, window=window, length=length, circular=circular))
    assert weights.shape == (len(starts), window)
    mass = np.zeros(length)
    for start, row in zip(starts, weights, strict=True):
        np.add.at(mass, (start + np.arange(window)) % length, row)
    covered = mass > 0
    np.testing.assert_allclose(mass[covered], 1.0, atol=1e-6)
    assert covered.all()


def test_the_fade_is_linear_and_starts_with_the_earlier_window():
    weights = crossfade_weights([0, 4], window=8, length=12)
    np.testing.assert_allclose(weights[0], [1, 1, 1, 1, 1, 2 / 3, 1 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(weights[1], [0, 1 / 3, 2 / 3, 1, 1, 1, 1, 1], atol=1e-6)
    np.testing.assert_array_equal(crossfade_weights([0, 3], window=4, length=7)[:, jnp.array([0, 3])], [[1, 1], [0, 1]])
    circle = crossfade_weights([0, 4], window=6, length=8, circular=True)
    np.testing.assert_array_equal(circle, [[0, 1, 1, 1, 1, 0]] * 2)


def remember(x):
    """Depends on the whole window: the sum of what came before."""
    return jnp.cumsum(x, axis=0)


def test_a_window_as_long_as_the_sequence_is_the_function_itself():
    x = jnp.asarray(rng.normal(size=(6, 2)), jnp.float32)
    for window in (6, 9):
        np.testing.assert_array_equal(window_average(remember, x, window=window, stride=3), remember(x))


@pytest.mark.parametrize(
    ("stride", "circular", "starts"),
    [(2, False, [0, 2, 4, 6]), (3, False, [0, 3, 6]), (4, False, [0, 4, 6]), (3, True, [0, 3, 6, 9])],
)
def test_windows_are_averaged_where_they_overlap(stride, circular, starts):
    x = rng.normal(size=(10, 2)).astype(np.float32)
    cut = np.stack([np.cumsum(np.take(x, np.arange(s, s + 4), axis=0, mode="wrap"), axis=0) for s in starts])
    expected = by_loop(cut, starts, 10, np.ones((len(starts), 4)), circular)
    got = jax.jit(lambda x: window_average(remember, x, window=4, stride=stride, circular=circular))(x)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_a_pointwise_function_does_not_notice_and_any_axis_will_do():
    x = jnp.asarray(rng.normal(size=(2, 9, 3)), jnp.float32)
    got = window_average(jnp.sin, x, window=4, stride=3, axis=1)
    np.testing.assert_allclose(got, jnp.sin(x), atol=1e-6)
    swapped = window_average(lambda x: jnp.cumsum(x, axis=-2), x, window=4, stride=3, axis=-2)
    own = jax.vmap(lambda row: window_average(remember, row, window=4, stride=3))(x)
    np.testing.assert_allclose(swapped, own, atol=1e-5)


ONES = jnp.ones((2, 3))
STARTS = jnp.array([0, 2])
BAD = {
    "flat": (lambda: blend_windows(jnp.ones(3), STARTS, 5), ValueError, "[W, L, ...]"),
    "short": (lambda: blend_windows(ONES, STARTS, 2), ValueError, "length must be at least 3"),
    "count": (lambda: blend_windows(ONES, jnp.array([0]), 5), ValueError, "starts must have shape [2]"),
    "range": (lambda: blend_windows(ONES, jnp.array([0, 3]), 5), ValueError, "starts must lie in [0, 2]"),
    "weights": (lambda: blend_windows(ONES, STARTS, 5, weights=jnp.ones(2)), ValueError, "weights must broadcast to"),
    "integers": (lambda: blend_windows(ONES.astype(int), STARTS, 5), TypeError, "chunks must be floating"),
    "float starts": (lambda: blend_windows(ONES, jnp.array([0.0, 2.0]), 5), TypeError, "starts must hold integers"),
    "order": (lambda: crossfade_weights([2, 0], window=3, length=5), ValueError, "starts must increase"),
    "three": (lambda: crossfade_weights([0, 1, 2], window=4, length=6), ValueError, "more than two windows"),
    "gap": (lambda: window_average(jnp.sin, ONES, window=1, stride=2), ValueError, "stride must not exceed"),
    "axis": (lambda: window_average(jnp.sin, ONES, window=1, stride=1, axis=2), ValueError, "axis must be"),
    "fn": (lambda: window_average(lambda x: x[:1], jnp.ones(5), window=3, stride=1), ValueError, "return shape [3]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
