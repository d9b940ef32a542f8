"""Argument checks: what passes comes back, what does not is named with what was expected and what came."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import checks

X = jnp.ones((2, 3))
ROW = jnp.ones(3)
IDS = jnp.array([0, 1])
YES = jnp.array([True, False])
HALF = jnp.ones(2, jnp.bfloat16)
KEY = jax.random.key(0)


class Pair(NamedTuple):
    sum: jax.Array
    square: jax.Array | None = None


class Other(NamedTuple):
    sum: jax.Array


# name -> (the call, the error, words in its message)
BAD = {
    "rank: too few axes": (lambda: checks.rank(ROW, "x", 2), ValueError, r"x must have shape 2 axes, got float32\[3\]"),
    "rank: none of several": (lambda: checks.rank(ROW, "x", (0, 2)), ValueError, r"x .* 0 or 2 axes, got float32\[3\]"),
    "rank: the layout is told": (
        lambda: checks.rank(ROW, "x", 2, layout="[N, D]"),
        ValueError,
        r"x must have shape \[N, D\], got float32\[3\]",
    ),
    "rank: None": (lambda: checks.rank(None, "x", 1), TypeError, "x must be an array of numbers, got NoneType None"),
    "rank: ragged": (lambda: checks.rank([[1], [1, 2]], "x", 2), TypeError, "x must be an array of numbers, got list"),
    "rank: a dict": (lambda: checks.rank({"a": 1}, "x", 2), TypeError, "x must be an array of numbers, got dict"),
    "rank: strings": (lambda: checks.rank(np.array(["a"]), "x", 1), TypeError, "x must be an array of numbers"),
    "rank: objects": (lambda: checks.rank(np.array([None]), "x", 1), TypeError, "x must be an array of numbers"),
    "floating: integers": (
        lambda: checks.floating(IDS, "x"),
        TypeError,
        r"x must be floating point, got int32\[2\]; convert it with .astype\(jnp.float32\)",
    ),
    "floating: a Python integer": (lambda: checks.floating(3, "x"), TypeError, r"floating point, got int32\[\]"),
    "floating: booleans": (lambda: checks.floating(YES, "x"), TypeError, r"x must be floating point, got bool\[2\]"),
    "floating: complex": (lambda: checks.floating(1j * X, "x"), TypeError, "x must be floating point, got complex64"),
    "floating: keys": (lambda: checks.floating(KEY, "x"), TypeError, r"x must be floating point, got key<fry>\[\]"),
    "integer: floats": (lambda: checks.integer(X, "ids"), TypeError, r"ids must hold integers, got float32\[2, 3\]"),
    "integer: booleans": (lambda: checks.integer(YES, "ids"), TypeError, r"ids must hold integers, got bool\[2\]"),
    "integer: keys": (lambda: checks.integer(KEY, "ids"), TypeError, "ids must hold integers, got key"),
    "broadcast_mask: integers": (
        lambda: checks.broadcast_mask(IDS, "where", (2,)),
        TypeError,
        r"where must be boolean .* got int32\[2\]",
    ),
    "broadcast_mask: another shape": (
        lambda: checks.broadcast_mask(YES, "where", (2, 3)),
        ValueError,
        r"where must broadcast to \[2, 3\], got \[2\]",
    ),
    "broadcasts_to: another length": (
        lambda: checks.broadcasts_to(X, "scale", (2, 4)),
        ValueError,
        r"scale must broadcast to \[2, 4\], got \[2, 3\]",
    ),
    "broadcasts_to: an axis more": (
        lambda: checks.broadcasts_to(X[None], "scale", (2, 3)),
        ValueError,
        r"scale must broadcast to \[2, 3\], got \[1, 2, 3\]",
    ),
    "mask: integers": (lambda: checks.mask(IDS, "where", (2,)), TypeError, r"where must be boolean .* got int32\[2\]"),
    "mask: floats": (lambda: checks.mask(ROW, "where", (3,)), TypeError, "where must be boolean"),
    "mask: another shape": (
        lambda: checks.mask(YES, "where", (3,)),
        ValueError,
        r"where must have shape \[3\], got bool\[2\]",
    ),
    "mask: broadcasts only": (lambda: checks.mask(YES, "where", (1, 2)), ValueError, r"where must have shape \[1, 2\]"),
    "same_shape": (
        lambda: checks.same_shape(X, "x", ROW, "y"),
        ValueError,
        r"x and y must have the same shape, got float32\[2, 3\] and float32\[3\]",
    ),
    "batch_match: one axis": (
        lambda: checks.batch_match(X, "x", ROW, "y"),
        ValueError,
        r"x and y must agree .* got float32\[2, 3\] and float32\[3\]",
    ),
    "batch_match: two axes": (lambda: checks.batch_match(X, "x", X.T, "y", axes=2), ValueError, "first 2 axes"),
    "batch_match: an axis is missing": (lambda: checks.batch_match(X, "x", IDS, "y", axes=2), ValueError, "x and y"),
    "divisible": (lambda: checks.divisible(7, "width", 2), ValueError, "width must be a multiple of 2, got 7"),
    "positive: zero": (lambda: checks.positive(0, "scale"), ValueError, "scale must be > 0, got 0"),
    "positive: negative": (lambda: checks.positive(-1.5, "scale"), ValueError, "scale must be > 0, got -1.5"),
    "positive: NaN": (lambda: checks.positive(float("nan"), "scale"), ValueError, "scale must be > 0, got nan"),
    "positive: False": (lambda: checks.positive(False, "scale"), ValueError, "scale must be > 0, got False"),
    "positive: None": (
        lambda: checks.positive(None, "scale"),
        TypeError,
        "scale must be a number or an array, got None",
    ),
    "positive: a list": (lambda: checks.positive([1], "scale"), TypeError, r"scale must be a number .* got list \[1\]"),
    "positive: text": (lambda: checks.positive("1", "scale"), TypeError, "scale must be a number or an array, got str"),
    "at_least: below": (lambda: checks.at_least(-1, "ridge", 0), ValueError, "ridge must be at least 0, got -1"),
    "at_least: NaN": (lambda: checks.at_least(float("nan"), "ridge", 0), ValueError, "ridge must be at least 0"),
    "at_least: None": (lambda: checks.at_least(None, "ridge", 0), TypeError, "ridge must be a number or an array"),
    "in_range: below": (
        lambda: checks.in_range(-0.1, "rate", 0, 1),
        ValueError,
        r"rate must lie in \[0, 1\], got -0.1",
    ),
    "in_range: above": (lambda: checks.in_range(1.1, "rate", 0, 1), ValueError, r"rate must lie in \[0, 1\], got 1.1"),
    "in_range: NaN": (lambda: checks.in_range(float("nan"), "rate", 0, 1), ValueError, "rate must lie in"),
    "in_range: text": (lambda: checks.in_range("0", "rate", 0, 1), TypeError, "rate must be a number or an array"),
    "one_of": (
        lambda: checks.one_of("max", "kind", ("sum", "mean")),
        ValueError,
        "kind must be one of 'sum', 'mean', got 'max'",
    ),
    "one_of: None": (lambda: checks.one_of(None, "kind", ("sum",)), ValueError, "kind must be one of 'sum', got None"),
    "size: zero": (lambda: checks.size(0, "width"), ValueError, "width must be an integer of at least 1, got 0"),
    "size: True": (lambda: checks.size(True, "width"), ValueError, "width must be an integer of at least 1, got True"),
    "size: a float": (lambda: checks.size(2.5, "width"), TypeError, "width must be a static integer, got float 2.5"),
    "size: None": (lambda: checks.size(None, "width"), TypeError, "width must be a static integer, got NoneType"),
    "positive: a numpy number": (lambda: checks.positive(np.float32(-1), "scale"), ValueError, "scale must be > 0"),
    "not_wider: float32 into bfloat16": (
        lambda: checks.not_wider(X, "x", jnp.bfloat16),
        TypeError,
        r"x is float32\[2, 3\] but the state holds bfloat16: convert .* dtype=float32",
    ),
    "not_wider: float16 into bfloat16": (
        lambda: checks.not_wider(X.astype(jnp.float16), "x", jnp.bfloat16, state="the sum"),
        TypeError,
        "x is float16.* but the sum holds bfloat16",
    ),
    "same_fields: another type": (
        lambda: checks.same_fields(Pair(X), Other(X)),
        TypeError,
        "one type, got Pair and Other",
    ),
    "same_fields: kept by one": (lambda: checks.same_fields(Pair(X, X), Pair(X)), ValueError, "square is kept by one"),
    "same_fields: another shape": (
        lambda: checks.same_fields(Pair(X), Pair(ROW)),
        ValueError,
        r"disagree in sum: float32\[2, 3\] and float32\[3\]",
    ),
    "same_fields: another dtype": (
        lambda: checks.same_fields(Pair(IDS), Pair(IDS.astype(jnp.float32))),
        TypeError,
        r"disagree in sum: int32\[2\] and float32\[2\]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_pass_is_named(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


def test_every_check_has_a_bad_input():
    assert {name.partition(":")[0] for name in BAD} == set(checks.__all__)


@pytest.mark.parametrize("value", [1, 2.5, True, np.float64(3), jnp.float32(-1), jnp.array([1.0, -1.0])])
def test_numbers_and_arrays_come_back_as_they_are(value):
    assert checks.positive(value, "scale") is value
    assert checks.at_least(value, "scale", 0.5) is value
    assert checks.in_range(value, "scale", 0.0, 3.0) is value


def test_bounds_are_inclusive_where_they_say_so():
    assert checks.at_least(0, "ridge", 0) == 0
    assert checks.in_range(0, "rate", 0, 1) == 0
    assert checks.in_range(1, "rate", 0, 1) == 1
    assert checks.in_range(float("inf"), "rate", 0, float("inf")) == float("inf")


def test_arrays_come_back_with_their_dtype():
    for value in (X, np.ones((2, 3), np.float32), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]):
        assert checks.rank(value, "x", 2).shape == (2, 3)
        assert checks.floating(value, "x").dtype == jnp.float32
    assert checks.floating(HALF, "x").dtype == jnp.bfloat16
    assert checks.integer(np.array([1, 2], np.uint8), "ids").dtype == jnp.int32  # 200 classes would wrap in int8
    assert checks.rank(3.0, "x", (0, 1)).shape == ()
    assert checks.rank(X, "x", iter([1, 2])) is X
    np.testing.assert_array_equal(checks.mask([True, False], "where", (2,)), YES)
    assert checks.mask(None, "where", (2,)) is None
    np.testing.assert_array_equal(checks.broadcast_mask(YES, "where", (3, 2)), jnp.tile(YES, (3, 1)))
    assert checks.broadcasts_to(ROW, "scale", (2, 3)) is ROW
    np.testing.assert_array_equal(checks.broadcast_mask(None, "where", (3, 2)), jnp.ones((3, 2), bool))
    assert checks.one_of("sum", "kind", ("sum", "mean")) == "sum"
    assert checks.divisible(6, "width", 3) == 6


def test_agreement_passes_in_silence():
    checks.same_shape(X, "x", 2 * X, "y")
    checks.batch_match(X, "x", IDS, "ids")
    checks.batch_match(X, "x", X, "y", axes=2)
    checks.same_fields(Pair(X), Pair(2 * X))
    checks.same_fields(Pair(X, X), Pair(X, X))


def test_narrow_input_may_enter_a_wider_state():
    assert checks.not_wider(HALF, "x", jnp.float32) is HALF
    assert checks.not_wider(X, "x", jnp.float32) is X
    with jax.enable_x64(True), pytest.raises(TypeError, match="x is float64"):
        checks.not_wider(jnp.ones(2, jnp.float64), "x", jnp.float32)


def test_traced_values_pass_unseen_and_their_shapes_do_not():
    @jax.jit
    def scaled(x, scale):
        checks.floating(x, "x")
        return x * checks.in_range(checks.at_least(checks.positive(scale, "scale"), "scale", 1), "scale", 1, 2)

    np.testing.assert_array_equal(scaled(ROW, -3.0), -3 * ROW)
    with pytest.raises(TypeError, match=r"x must be floating point, got int32\[2\]"):
        scaled(IDS, 1.0)
    with pytest.raises(ValueError, match=r"x must have shape 2 axes, got float32\[3\]"):
        jax.vmap(lambda row: checks.rank(row, "x", 2))(X)


def test_is_key_knows_typed_keys():
    assert checks.is_key(KEY)
    assert checks.is_key(jax.random.split(KEY, 2))
    assert not any(map(checks.is_key, (X, IDS, 1.0, None, jax.random.key_data(KEY))))
