"""Proofs of jaxlab.numerics.norms, and what bad input gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxlab.numerics import masked_mean, normalize, segment_mean
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt

LARGEST = float(np.finfo(np.float32).max)
TINY = float(np.finfo(np.float32).tiny)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
# From numbers whose square is a float32 to the ends of the range, and past its lower end.
scales = st.sampled_from([1.0, 1e-10, 1e-30, TINY, 1e-42, 1e10, 1e30, 8e37])


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- normalize --------------------------------------------------------------------------------------------------


@jax.jit
def normalize_and_jacobian(x):
    return normalize(x), jax.jacrev(normalize)(x)


@given(vector=hnp.arrays(np.float32, 3, elements=st.floats(-1, 1, width=32)), scale=scales)
@example(vector=np.zeros(3, np.float32), scale=1.0)
@example(vector=np.array([1, 1e-30, 0], np.float32), scale=1.0)
@settings(deadline=None, max_examples=300)
def test_normalize_gives_unit_length_or_zero_and_a_finite_gradient(vector, scale):
    x = vector * np.float32(scale)
    unit, jacobian = (np.asarray(part, np.float64) for part in normalize_and_jacobian(x))
    length = np.linalg.norm(x.astype(np.float64))
    assert np.isfinite(jacobian).all()
    if length > 1.001e-12:
        np.testing.assert_allclose(np.linalg.norm(unit), 1.0, rtol=3e-7)
        # Coordinates below the smallest normal number may be flushed to zero.
        tiny = np.finfo(np.float32).tiny
        np.testing.assert_allclose(unit, x / length, rtol=1e-6, atol=1e-30 + tiny / length)
    elif length < 0.999e-12:
        assert not unit.any()
        assert not jacobian.any()


@pytest.mark.parametrize("scale", [1e38, LARGEST])
def test_normalize_near_the_largest_float(scale):
    unit, _ = normalize_and_jacobian(np.array([1, -1, 0], np.float32) * np.float32(scale))
    np.testing.assert_allclose(unit, np.array([1, -1, 0]) / np.sqrt(2), rtol=1e-6)


@given(hnp.arrays(np.float32, 3, elements=finite))
@settings(deadline=None, max_examples=300)
def test_normalize_is_finite_for_every_finite_vector(x):
    unit, jacobian = normalize_and_jacobian(x)
    assert np.isfinite(unit).all()
    assert np.isfinite(jacobian).all()
    assert np.linalg.norm(np.asarray(unit, np.float64)) < 1 + 3e-7


def test_normalize_gradient_is_the_projection_off_the_vector_over_its_length():
    x = random(5)
    wide = x.astype(np.float64)
    length = np.linalg.norm(wide)
    expected = (np.eye(5) - np.outer(wide, wide) / length**2) / length
    np.testing.assert_allclose(jax.jacfwd(normalize)(x), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(jax.jacrev(normalize)(x), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(jax.jacrev(normalize)(x * 1e20), expected * 1e-20, rtol=1e-5, atol=1e-27)


def test_normalize_does_not_depend_on_the_length():
    x = random(4, 3)
    for factor in (2.0**-60, 2.0**-20, 2.0**100):
        np.testing.assert_array_equal(normalize(x * np.float32(factor), eps=0.0), normalize(x, eps=0.0))


def test_normalize_cuts_at_eps():
    x = jnp.array([[3e-3, 4e-3], [3e-2, 4e-2]])  # lengths 0.005 and 0.05
    np.testing.assert_allclose(normalize(x, eps=0.01), [[0.0, 0.0], [0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(normalize(x, eps=0.0049), [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(normalize(x, eps=0.0), [[0.6, 0.8], [0.6, 0.8]], rtol=1e-6)


def test_normalize_works_along_any_axis_and_keeps_the_dtype():
    x = random(2, 3, 4)
    expected = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(normalize(x, axis=1), expected, rtol=1e-6)
    for dtype in (jnp.bfloat16, jnp.float16):
        unit = normalize(jnp.asarray(x, dtype), axis=1)
        assert unit.dtype == dtype
        np.testing.assert_allclose(unit.astype(np.float32), expected, atol=1e-2)


def test_normalize_in_bfloat16_sums_in_float32():
    x = jnp.ones(4096, jnp.bfloat16)  # a sum kept in bfloat16 stays at 256
    assert normalize(x)[0] == 1 / 64


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_normalize_shows_a_vector_that_is_not_finite(bad):
    unit = normalize(jnp.array([[bad, 1.0], [3.0, 4.0], [0.0, 0.0]]))
    assert jnp.isnan(unit[0]).any()
    np.testing.assert_allclose(unit[1:], [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


def test_normalize_of_nothing():
    assert normalize(jnp.zeros((2, 0))).shape == (2, 0)
    assert normalize(jnp.zeros((0, 2))).shape == (0, 2)


def test_safe_sqrt_has_a_finite_gradient_where_the_root_has_none():
    value, gradient = jax.vmap(jax.value_and_grad(safe_sqrt))(jnp.array([4.0, 0.0, -1.0, jnp.nan]))
    np.testing.assert_array_equal(value, [2.0, 0.0, 0.0, np.nan])
    np.testing.assert_array_equal(gradient, [0.25, 0.0, 0.0, np.nan])


# --- masked_mean ------------------------------------------------------------------------------------------------


@given(
    x=hnp.arrays(np.float32, (4, 3), elements=st.floats(-1e6, 1e6, width=32)),
    where=hnp.arrays(np.bool_, (4, 3)),
    axis=st.sampled_from([None, 0, 1, (0, 1), -1]),
)
@settings(deadline=None, max_examples=100)
def test_masked_mean_is_the_mean_of_what_is_marked(x, where, axis):
    poisoned = np.where(where, x, np.nan)
    expected = np.ma.masked_array(x.astype(np.float64), ~where).mean(axis=axis)
    expected = np.ma.filled(expected, 0.0)
    np.testing.assert_allclose(masked_mean(poisoned, where, axis=axis), expected, rtol=1e-5, atol=0.2)


def test_masked_mean_without_a_mask_is_the_mean():
    x = random(4, 3)
    np.testing.assert_allclose(masked_mean(x), x.mean(), rtol=1e-5)
    np.testing.assert_allclose(masked_mean(x, axis=(0, 1)), x.mean(), rtol=1e-5)
    np.testing.assert_allclose(masked_mean(x, axis=0), x.mean(0), rtol=1e-5)


def test_masked_mean_broadcasts_its_mask():
    x = random(4, 3)
    rows = np.array([True, False, True, False])
    np.testing.assert_allclose(masked_mean(x, rows[:, None], axis=0), x[rows].mean(0), rtol=1e-6)
    np.testing.assert_allclose(masked_mean(x, rows[:, None]), x[rows].mean(), rtol=1e-6)
    np.testing.assert_allclose(masked_mean(x, np.array([True, False, True])), x[:, [0, 2]].mean(), rtol=1e-6)


def test_masked_mean_gradient_is_one_over_the_count():
    where = np.array([True, False, True, True])
    gradient = jax.grad(lambda x: masked_mean(x, where))(np.array([1, np.nan, 2, 3], np.float32))
    np.testing.assert_allclose(gradient, where / 3, rtol=1e-6)
    assert not jax.grad(lambda x: masked_mean(x, np.zeros(4, bool)))(jnp.ones(4)).any()


def test_masked_mean_of_nothing_is_zero():
    np.testing.assert_array_equal(masked_mean(random(2, 3), np.zeros((2, 3), bool), axis=1), [0, 0])
    assert masked_mean(jnp.zeros(0)) == 0


def test_masked_mean_shows_nan_that_counts():
    assert jnp.isnan(masked_mean(jnp.array([1.0, jnp.nan]), jnp.array([True, True])))


def test_masked_mean_of_bfloat16_sums_in_float32():
    mean = masked_mean(jnp.full(4096, 0.1, jnp.bfloat16))
    assert mean.dtype == jnp.float32
    np.testing.assert_allclose(mean, float(jnp.bfloat16(0.1)), rtol=1e-6)


# --- segment_mean -----------------------------------------------------------------------------------------------


def segment_mean_by_loop(x, ids, num_segments, where):
    means, counts = np.zeros((num_segments, *x.shape[1:])), np.zeros(num_segments, int)
    for segment in range(num_segments):
        rows = x[(ids == segment) & where].astype(np.float64)
        counts[segment] = len(rows)
        means[segment] = rows.mean(0) if len(rows) else 0.0
    return means, counts


@given(
    x=hnp.arrays(np.float32, (6, 2), elements=st.floats(-1e3, 1e3, width=32)),
    ids=hnp.arrays(np.int32, 6, elements=st.integers(-2, 5)),
    where=hnp.arrays(np.bool_, 6),
)
@settings(deadline=None, max_examples=100)
def test_segment_mean_equals_a_loop(x, ids, where):
    poisoned = np.where((where & (ids >= 0) & (ids < 3))[:, None], x, np.nan)
    mean, count = segment_mean(poisoned, ids, 3, where=where)
    expected, counts = segment_mean_by_loop(x, ids, 3, where)
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(count, counts)


@pytest.mark.parametrize("shape", [(6,), (6, 2, 3)])
def test_segment_mean_keeps_trailing_axes(shape):
    x, ids = random(*shape), np.array([2, 0, 2, 2, 0, 1])
    mean, count = segment_mean(x, ids, 4)
    expected, counts = segment_mean_by_loop(x, ids, 4, np.ones(6, bool))
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(count, counts)
    assert count.dtype == jnp.int32


@pytest.mark.parametrize(("dtype", "num_segments"), [(np.int8, 200), (np.uint8, 256), (np.int16, 40000)])
def test_segment_mean_takes_narrow_ids(dtype, num_segments):
    mean, count = segment_mean(jnp.array([1.0, 3.0, 5.0]), np.array([0, 0, 2], dtype), num_segments)
    np.testing.assert_array_equal(mean[:3], [2, 0, 5])
    np.testing.assert_array_equal(count[:3], [2, 0, 1])


def test_segment_mean_gradient_is_one_over_the_count():
    ids = np.array([0, 0, 1, 7])
    gradient = jax.grad(lambda x: segment_mean(x, ids, 3)[0][0])(jnp.array([1.0, 2.0, 3.0, jnp.nan]))
    np.testing.assert_array_equal(gradient, [0.5, 0.5, 0, 0])


def test_segment_mean_of_no_rows():
    mean, count = segment_mean(jnp.zeros((0, 2)), jnp.zeros(0, int), 3)
    np.testing.assert_array_equal(mean, np.zeros((3, 2)))
    np.testing.assert_array_equal(count, np.zeros(3))


def test_segment_mean_of_bfloat16_sums_in_float32():
    mean, count = segment_mean(jnp.full(2048, 0.1, jnp.bfloat16), np.zeros(2048, int), 1)
    assert mean.dtype == jnp.float32
    assert count[0] == 2048
    np.testing.assert_allclose(mean[0], float(jnp.bfloat16(0.1)), rtol=1e-6)


# --- the dtype of sums ------------------------------------------------------------------------------------------


def test_accumulation_dtype_is_float32_or_wider():
    wide = jax.ShapeDtypeStruct((2,), np.float64)
    for arrays, expected in [
        ((), jnp.float32),
        ((jnp.zeros(2, jnp.bfloat16),), jnp.float32),
        ((jnp.zeros(2, jnp.float16), jnp.zeros(2, jnp.bfloat16)), jnp.float32),
        ((jnp.zeros(2, jnp.int32),), jnp.float32),
    ]:
        assert accumulation_dtype(*arrays) == expected
    with jax.enable_x64(True):
        assert accumulation_dtype(jnp.zeros(2, jnp.bfloat16), wide) == jnp.float64


# --- bad input --------------------------------------------------------------------------------------------------

X = np.ones((3, 2), np.float32)
IDS = np.array([0, 1, 1])
ROWS = np.array([True, False, True])

BAD = {
    "normalize an integer array": (normalize, (IDS,), {}, TypeError, "x must be floating point, got int"),
    "normalize booleans": (normalize, (ROWS,), {}, TypeError, "x must be floating point, got bool"),
    "normalize complex numbers": (normalize, (X * 1j,), {}, TypeError, "x must be floating point, got complex"),
    "normalize None": (normalize, (None,), {}, TypeError, "x must be an array of numbers, got NoneType"),
    "normalize a scalar": (normalize, (np.float32(1),), {}, ValueError, "axis"),
    "normalize along a missing axis": (normalize, (X,), {"axis": 2}, ValueError, "axis 2"),
    "mean of integers": (masked_mean, (IDS,), {}, TypeError, "x must be floating point"),
    "mean with an integer mask": (masked_mean, (X, IDS[:, None]), {}, TypeError, "where must be boolean"),
    "mean with a mask of another shape": (masked_mean, (X, ROWS), {}, ValueError, r"where must broadcast to \[3, 2\]"),
    "mean with a larger mask": (masked_mean, (X[0], np.ones((3, 2), bool)), {}, ValueError, "where must broadcast"),
    "mean over a missing axis": (masked_mean, (X,), {"axis": 2}, ValueError, "axis 2"),
    "segments of integers": (segment_mean, (IDS, IDS, 2), {}, TypeError, "x must be floating point"),
    "segments with float ids": (segment_mean, (X, X[:, 0], 2), {}, TypeError, "segment_ids must hold integers"),
    "segments with boolean ids": (segment_mean, (X, ROWS, 2), {}, TypeError, "segment_ids must hold integers"),
    "segments with ids of two axes": (segment_mean, (X, IDS[:, None], 2), {}, ValueError, r"segment_ids .* \[N\]"),
    "segments of other length": (segment_mean, (X, IDS[:2], 2), {}, ValueError, "x and segment_ids must agree"),
    "segments of a scalar": (segment_mean, (X[0, 0], IDS, 2), {}, ValueError, r"x must have shape \[N, ...\]"),
    "no segments": (segment_mean, (X, IDS, 0), {}, ValueError, "num_segments must be an integer of at least 1, got 0"),
    "segments by name": (segment_mean, (X, IDS, "two"), {}, TypeError, "num_segments must be"),
    "segments with an integer mask": (segment_mean, (X, IDS, 2), {"where": IDS}, TypeError, "where must be boolean"),
    "segments with a short mask": (segment_mean, (X, IDS, 2), {"where": ROWS[:2]}, ValueError, r"where .* \[3\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_names_the_argument(name):
    fn, args, options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        fn(*args, **options)
