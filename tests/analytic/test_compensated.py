"""The compensated Gram matrix: which sums are exact, and float64 answers from float32 on ill-conditioned features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxlab import analytic
from jaxlab.analytic import refine
from tests.analytic import formulas
from tests.analytic.formulas import relative

WIDTH, ROWS = 600, 1600  # more than one block of the refinement (512) and of the accumulation (1024)
RIDGE = float(np.float32(0.02))

update = jax.jit(analytic.gram_update)
merge, forget = jax.jit(analytic.gram_merge), jax.jit(analytic.gram_forget)
solve = jax.jit(analytic.gram_solve, static_argnames="num_refinements")


def start(dim, out, accumulate="compensated"):
    return analytic.gram_init(dim, out, accumulate=accumulate)


def normal_equations(state):
    """X'X and X'Y as the words hold them, in float64."""
    half, cross = (
        np.asarray(high, np.float64) + np.asarray(low, np.float64)
        for high, low in ((state.gram, state.gram_low), (state.cross, state.cross_low))
    )
    return half + half.T, cross


def error(actual, x, y):
    """The largest error of an entry of X'Y, relative to the largest sum of absolute products."""
    return np.abs(actual - x.T @ y).max() / (np.abs(x).T @ np.abs(y)).max()


def stream(x, targets, size, accumulate="compensated"):
    state = start(x.shape[1], targets.shape[1], accumulate)
    for i in range(0, len(x), size):
        state = update(state, x[i : i + size], targets[i : i + size])
    return state


# --- the words --------------------------------------------------------------------------------------------------


def test_bits_are_as_many_as_keep_a_sum_exact():
    for rows in range(1, refine.ROWS_PER_SUM + 1):
        bits = refine._bits(rows)
        assert rows * 4**bits <= 2**24
        assert bits == 8 or rows * 4 ** (bits + 1) > 2**23  # and one more would not fit (rows count as a power of two)
        assert bits <= 8  # what bfloat16 holds
    assert refine.COLUMNS_PER_SUM * 4 ** refine._bits(refine.COLUMNS_PER_SUM) <= 2**24


@pytest.mark.parametrize("rows", [1024, 300, 256])
def test_sums_are_exact_at_their_worst(rows):
    """Eight-bit entries at the top of the grid, odd and even: with a bit too many a float32 sum would have to round."""
    rng = np.random.default_rng(rows)
    x = rng.integers(248, 257, (rows, 12))
    x[:, 0] = x[0] = 256  # every entry is the largest of its column
    x[:, 1] = 255
    x[0, 1] = 256
    state = update(start(12, 3), (x / 256).astype(np.float32), (x[:, :3] / 256).astype(np.float32))
    gram, cross = normal_equations(state)
    np.testing.assert_array_equal(2**16 * gram, x.T @ x)
    np.testing.assert_array_equal(2**16 * cross, x.T @ x[:, :3])


def test_entries_of_full_precision_at_the_top_of_the_grid():
    rng = np.random.default_rng(0)
    x = rng.uniform(0.96, 1.0, (1024, 12)).astype(np.float32)
    x[:, 0] = x[0] = 1 - 2**-24  # rounds up to a power of two
    gram, cross = normal_equations(update(start(12, 3), x, x[:, :3]))
    wide = x.astype(np.float64)
    assert error(gram, wide, wide) < 1e-9
    assert error(cross, wide, wide[:, :3]) < 1e-9


def test_rows_on_the_grid_leave_nothing_to_the_low_words():
    rng = np.random.default_rng(0)
    x, targets = rng.integers(-127, 128, (1024, 12)), rng.integers(-127, 128, (1024, 3))
    state = update(start(12, 3), x.astype(np.float32), targets.astype(np.float32))
    np.testing.assert_array_equal(2 * state.gram, x.T @ x)
    np.testing.assert_array_equal(state.cross, x.T @ targets)
    assert not np.asarray(state.gram_low).any()
    assert not np.asarray(state.cross_low).any()


def test_two_words_hold_what_one_loses():
    """The same chunk a hundred times: the leading word runs out of bits, the low word keeps them."""
    rng = np.random.default_rng(1)
    x, targets = rng.normal(size=(300, 12)).astype(np.float32), rng.normal(size=(300, 3)).astype(np.float32)
    state, plain = start(12, 3), start(12, 3, "plain")
    for _ in range(100):
        state, plain = update(state, x, targets), update(plain, x, targets)
    wide = x.astype(np.float64)
    gram, cross = normal_equations(state)
    assert error(gram / 100, wide, wide) < 1e-8
    assert error(cross / 100, wide, targets) < 1e-8
    assert error(np.asarray(plain.gram, np.float64) / 100, wide, wide) > 1e-7


def test_a_matrix_unit_that_multiplies_bfloat16_gives_the_same_bits(monkeypatch):
    rng = np.random.default_rng(2)
    x, targets = rng.normal(size=(300, 12)).astype(np.float32), rng.normal(size=(300, 3)).astype(np.float32)
    expected = update(start(12, 3), x, targets)

    def narrow(a, b):
        return jnp.matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16), preferred_element_type=jnp.float32)

    monkeypatch.setattr(refine, "_integer_product", narrow)
    again = jax.jit(lambda *args: analytic.gram_update(*args))(start(12, 3), x, targets)
    np.testing.assert_array_equal(again.gram, expected.gram)
    np.testing.assert_array_equal(again.cross, expected.cross)


def test_one_large_entry_does_not_cost_its_column_the_digits():
    """The grid follows the largest entry, so nearly all of this column is remainder: it must be added, not dropped."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(300, 12)).astype(np.float32)
    targets = rng.normal(size=(300, 3)).astype(np.float32)
    x[7, 4], targets[7, 1] = 3e4, -2e4
    gram, cross = normal_equations(update(start(12, 3), x, targets))
    wide = x.astype(np.float64)
    apart = np.arange(12) != 4
    assert error(gram[np.ix_(apart, apart)], wide[:, apart], wide[:, apart]) < 1e-9
    assert error(gram[4, apart], wide[:, 4], wide[:, apart]) < 1e-9
    for column in (0, 1):
        assert error(cross[apart, column], wide[:, apart], targets[:, column]) < 3e-8


def test_rows_may_be_hidden_weighted_and_bfloat16():
    rng = np.random.default_rng(4)
    x = jnp.asarray(rng.normal(size=(300, 12)), jnp.bfloat16)
    targets = rng.normal(size=(300, 3)).astype(np.float32)
    weights = np.array([0.25, 1.0, 4.0], np.float32)[np.arange(300) % 3]  # their roots are exact
    where = np.arange(300) % 7 > 0
    dirty = [jnp.where(where[:, None], a, jnp.nan) for a in (x, targets)]
    state = update(start(12, 3), *dirty, weights=weights, where=where)
    wide = np.asarray(x, np.float64)[where]
    gram, cross = normal_equations(state)
    assert state.count == where.sum()
    assert error(gram, weights[where, None] * wide, wide) < 1e-9
    assert error(cross, weights[where, None] * wide, targets[where]) < 5e-9


def test_more_rows_than_one_sum_holds():
    rng = np.random.default_rng(5)
    x, targets = rng.normal(size=(2500, 12)).astype(np.float32), rng.normal(size=(2500, 3)).astype(np.float32)
    state = update(start(12, 3), x, targets)
    wide = x.astype(np.float64)
    gram, cross = normal_equations(state)
    assert state.count == 2500
    assert error(gram, wide, wide) < 1e-9
    assert error(cross, wide, targets) < 1e-8
    parts = stream(x[:2048], targets[:2048], 1024)
    parts = update(parts, np.pad(x[2048:], ((0, 572), (0, 0))), np.pad(targets[2048:], ((0, 572), (0, 0))))
    jax.tree.map(np.testing.assert_array_equal, parts._replace(count=state.count), state)


# --- the solution -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """Random ReLU features of digits, one-hot targets, and their float64 solution."""
    x, y = load_digits(return_X_y=True)
    params = analytic.random_features_init(jax.random.key(0), 64, width=WIDTH)
    features = np.asarray(analytic.random_features(params, (x[:ROWS] / 16).astype(np.float32)))
    targets = np.eye(10, dtype=np.float32)[y[:ROWS]]
    spectrum = np.linalg.eigvalsh(features.astype(np.float64).T @ features)
    assert (spectrum[-1] + RIDGE) / (spectrum[0] + RIDGE) > 1e6
    return features, targets, formulas.ridge(features, targets, RIDGE)


@pytest.fixture(scope="module")
def state(digits):
    return stream(*digits[:2], 400)


def test_ill_conditioned_features_are_solved_as_in_float64(digits, state):
    features, targets, expected = digits
    wide = features.astype(np.float64)
    for actual, other in zip(normal_equations(state), (wide, targets), strict=True):
        assert error(actual, wide, other) < 1e-9
    plain = stream(features, targets, 400, "plain")
    assert relative(solve(plain, ridge=RIDGE), expected) > 1e-4
    assert relative(solve(state, ridge=RIDGE), expected) < 1e-6


@pytest.mark.parametrize("word", ["gram_low", "cross_low"])
def test_each_low_word_is_needed(digits, state, word):
    dropped = state._replace(**{word: jnp.zeros_like(getattr(state, word))})
    assert relative(solve(dropped, ridge=RIDGE), digits[2]) > 1e-3


def test_other_chunks_hosts_and_deletions_solve_alike(digits, state):
    features, targets, expected = digits
    at_once = update(start(WIDTH, 10), features, targets)
    assert relative(solve(at_once, ridge=RIDGE), expected) < 1e-6
    a, b = stream(features[:800], targets[:800], 400), stream(features[800:], targets[800:], 400)
    both = merge(a, b)
    assert both.count == ROWS
    assert relative(solve(both, ridge=RIDGE), expected) < 1e-6
    rest = forget(state, b)
    wide = features[:800].astype(np.float64)
    assert error(normal_equations(rest)[0], wide, wide) < 1e-9
    assert relative(solve(rest, ridge=RIDGE), formulas.ridge(wide, targets[:800], RIDGE)) < 3e-6


@pytest.fixture(scope="module")
def smooth():
    """Features that are all positive and nearly constant: remainders of one sign, and a spectrum that falls steeply."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 3)).astype(np.float32)
    params = analytic.random_features_init(jax.random.key(0), 3, width=40, kind="gaussian", centers=x, bandwidth=3.0)
    features, targets = np.asarray(analytic.random_features(params, x)), rng.normal(size=(400, 2)).astype(np.float32)
    return features, targets, update(start(40, 2), features, targets)


def test_smooth_positive_features_and_what_refinement_does(smooth):
    features, targets, state = smooth
    expected = formulas.ridge(features, targets, float(np.float32(0.01)))
    assert relative(solve(update(start(40, 2, "plain"), features, targets), ridge=0.01), expected) > 1e-3
    assert relative(solve(state, ridge=0.01, num_refinements=0), expected) > 1e-3  # the Cholesky factor alone
    assert relative(solve(state, ridge=0.01), expected) < 1e-5


def test_small_weights_beside_large_ones_keep_their_digits():
    """The last bits of a weight are no coarser for the others of its column."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(400, 40)).astype(np.float32)
    targets = (x @ np.logspace([0, -7], [-7, 0], 40)).astype(np.float32)
    weight = solve(update(start(40, 2), x, targets), ridge=1e-6)
    expected = formulas.ridge(x, targets, float(np.float32(1e-6)))
    assert np.abs(expected).min() < 1e-6
    np.testing.assert_allclose(weight, expected, rtol=1e-6, atol=2e-9)


def test_refinement_never_makes_it_worse(smooth):
    features, targets, state = smooth
    expected = formulas.ridge(features, targets, float(np.float32(3e-4)))
    before = relative(solve(state, ridge=3e-4, num_refinements=0), expected)
    after = relative(solve(state, ridge=3e-4), expected)
    assert after < 1.1 * before
