"""Two-word sums against exact fractions, grids whose products are exact, and what is refused."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.numerics import exact

two_sum = jax.jit(exact.two_sum)
round_to_grid = jax.jit(exact.round_to_grid, static_argnames=("bits", "axis"))


def wide_range(seed, *shape):
    """Floats of very different sizes and either sign."""
    rng = np.random.default_rng(seed)
    return np.ldexp(rng.uniform(-1, 1, shape), rng.integers(-40, 40, shape)).astype(np.float32)


def test_two_sum_loses_nothing():
    a, b = wide_range(0, 300), wide_range(1, 300)
    b[:3], b[3:6] = -a[:3], a[3:6] * np.float32(1 + 2**-23)  # cancels, and nearly
    total, error = map(np.asarray, two_sum(a, b))
    for x, y, high, low in zip(*(v.astype(float) for v in (a, b, total, error)), strict=True):
        assert Fraction(x) + Fraction(y) == Fraction(high) + Fraction(low)
    np.testing.assert_array_equal(total, a + b)
    assert (error != 0).mean() > 0.5


def test_two_sum_in_either_order_and_broadcast():
    a, b = wide_range(2, 4, 1), wide_range(3, 5)
    for left, right in zip(exact.two_sum(a, b), exact.two_sum(b, a), strict=True):
        assert left.shape == (4, 5)
        np.testing.assert_array_equal(left, right)


def test_a_long_sum_of_words_is_that_of_float64():
    numbers = np.random.default_rng(0).uniform(0, 1, 2000).astype(np.float32)

    def add(words, number):
        high, error = exact.two_sum(words[0], number)
        return (high, words[1] + error), None

    zero = jnp.float32(0)
    (high, low), _ = jax.jit(lambda v: jax.lax.scan(add, (zero, zero), v))(numbers)
    truth = numbers.astype(np.float64).sum()
    assert abs(float(high) + float(low) - truth) < 1e-10 * truth
    assert abs(float(high) - truth) > 1e-9 * truth  # the leading word alone does not know them


def test_two_sum_beyond_the_largest_float():
    total, error = exact.two_sum(np.float32(3e38), np.float32(3e38))
    assert np.isinf(total)
    assert np.isnan(error)  # loud, not a wrong number


def test_two_sum_in_float64():
    with jax.enable_x64(True):
        total, error = exact.two_sum(np.float64(1.0), np.float64(1e-20))
        assert (total, error) == (1.0, 1e-20)


@pytest.mark.parametrize("bits", [1, 3, 8, 23])
@pytest.mark.parametrize("axis", [0, 1, (0, 1)])
def test_a_grid_splits_exactly(bits, axis):
    x = wide_range(4, 6, 5)
    x[:, 1], x[0, 2] = 0, np.float32(1 - 2**-24)  # an empty column, and an entry that rounds up to a power of two
    n, s = (np.asarray(v, np.float64) for v in round_to_grid(x, bits=bits, axis=axis))
    assert s.shape == np.max(x, axis=axis, keepdims=True).shape
    np.testing.assert_array_equal(np.frexp(s)[0], 0.5)  # powers of two
    np.testing.assert_array_equal(n, np.round(n))
    assert np.abs(n).max() <= 2**bits
    rest = x.astype(np.float64) - n * s
    assert (np.abs(rest) <= s / 2).all()
    np.testing.assert_array_equal(rest, (x - n * s).astype(np.float32))  # a float32 holds it
    # No bit is wasted: the largest entry along the axis uses the highest.
    largest, filled = np.abs(n).max(axis=axis, keepdims=True), np.abs(x).max(axis=axis, keepdims=True) > 0
    assert (largest[filled] >= 2 ** (bits - 1)).all()


def test_a_power_of_two_moves_the_grid_only():
    x = wide_range(5, 6, 5)
    n, s = round_to_grid(x, bits=6, axis=0)
    moved, scale = round_to_grid(np.float32(2**-9) * x, bits=6, axis=0)
    np.testing.assert_array_equal(moved, n)
    np.testing.assert_array_equal(scale, np.float32(2**-9) * np.asarray(s))


def test_products_on_the_grid_are_exact_in_any_order():
    x = np.random.default_rng(6).uniform(0.9, 1, (1024, 8)).astype(np.float32)
    n, _ = map(np.asarray, round_to_grid(x, bits=7, axis=0))
    truth = n.astype(np.int64).T @ n.astype(np.int64)
    assert truth.max() > 2**23  # nearly all of the 24 bits are in use
    for order in (slice(None), np.random.default_rng(7).permutation(1024)):
        np.testing.assert_array_equal(jnp.asarray(n[order]).T @ jnp.asarray(n[order]), truth)
    narrow = jnp.asarray(n, jnp.bfloat16)  # what a matrix unit multiplies
    np.testing.assert_array_equal(narrow.astype(jnp.float32), n)


def test_zeros_tiny_numbers_and_nothing():
    n, s = round_to_grid(np.zeros((3, 2), np.float32), bits=8, axis=0)
    assert (np.asarray(n) == 0).all()
    assert (np.asarray(s) > 0).all()
    n, s = map(np.asarray, round_to_grid(np.full((3, 2), 1e-38, np.float32), bits=8, axis=0))
    assert (n == 0).all()  # below the smallest grid: all of it is rest
    assert s.min() >= 2.0**-100
    n, s = round_to_grid(np.zeros((0, 2), np.float32), bits=8, axis=0)
    assert (n.shape, s.shape) == ((0, 2), (1, 2))
    assert np.isfinite(s).all()


def test_the_dtype_is_kept():
    n, s = exact.round_to_grid(jnp.array([1.0, 0.3], jnp.bfloat16), bits=3, axis=0)
    assert n.dtype == s.dtype == jnp.bfloat16
    np.testing.assert_array_equal(n.astype(jnp.float32), [4, 1])
    with jax.enable_x64(True):
        n, s = exact.round_to_grid(np.array([1.0, 0.3]), bits=23, axis=0)
        assert n.dtype == s.dtype == jnp.float64
        assert abs(float(n[1] * s[0]) - 0.3) <= float(s[0]) / 2


ONE = jnp.ones(3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: exact.two_sum(jnp.arange(3), ONE), TypeError, "a must be floating point"),
        (lambda: exact.two_sum(ONE, jnp.ones(3, bool)), TypeError, "b must be floating point"),
        (lambda: exact.two_sum(ONE, ONE.astype(jnp.bfloat16)), TypeError, "one dtype, got float32 and bfloat16"),
        (lambda: exact.two_sum(ONE, "no"), TypeError, "b must be an array of numbers"),
        (lambda: exact.round_to_grid(jnp.arange(3), bits=8, axis=0), TypeError, "x must be floating point"),
        (lambda: exact.round_to_grid(ONE, bits=0, axis=0), ValueError, r"bits must lie in \[1, 23\], got 0"),
        (lambda: exact.round_to_grid(ONE, bits=24, axis=0), ValueError, r"bits must lie in \[1, 23\], got 24"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
