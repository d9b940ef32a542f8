"""Ridge regression of a stream against scikit-learn and numpy: joint, recursive, merged, forgotten, balanced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from jaxlab import analytic
from tests.analytic import formulas
from tests.analytic.formulas import DIM, NUM_CLASSES, blobs, close, one_hot, relative

GAMMA = 0.3
LENGTH = 24

add, rls_add = jax.jit(analytic.gram_update), jax.jit(analytic.rls_update)
solve = jax.jit(analytic.gram_solve, static_argnames="num_refinements")
merge, forget = jax.jit(analytic.gram_merge), jax.jit(analytic.gram_forget)
balanced = jax.jit(analytic.class_balanced_ridge)


# ``where`` is always given, so that calls of one shape are one program.
def update(state, x, targets, where=None, **weights):
    return add(state, x, targets, where=np.ones(len(x), bool) if where is None else where, **weights)


def rls_update(state, x, targets, where=None):
    return rls_add(state, x, targets, where=np.ones(len(x), bool) if where is None else where)


def start(**options):
    return analytic.gram_init(DIM, NUM_CLASSES, **options)


def float64_rows(seed):
    x, labels = blobs(seed)
    return x.astype(np.float64), one_hot(labels), labels


def same_states(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def chunks(seed, x, targets, parts=5):
    """The rows as a random partition, padded with NaN that ``where`` hides."""
    for rows, index, where in formulas.padded(seed, x, np.arange(len(x)), parts, LENGTH):
        yield rows, np.where(where[:, None], targets[index], np.nan), where


def test_equals_scikit_learn():
    x, targets, _ = float64_rows(0)
    peer = Ridge(alpha=GAMMA, fit_intercept=False, solver="cholesky").fit(x, targets).coef_.T
    with jax.enable_x64(True):
        state = update(start(dtype="float64"), x, targets)
        close(solve(state, ridge=GAMMA), peer, 1e-12)
        close(analytic.ridge_solve(x.T @ x, x.T @ targets, ridge=GAMMA), peer, 1e-12)
    state = update(start(), x.astype(np.float32), targets.astype(np.float32))
    assert state.gram.dtype == jnp.float32
    close(solve(state, ridge=GAMMA), peer, 1e-5)


@pytest.mark.parametrize("accumulate", ["plain", "compensated"])
def test_a_prior_is_what_the_ridge_pulls_to(accumulate):
    x, labels = blobs(1)
    targets = one_hot(labels).astype(np.float32)
    prior = np.random.default_rng(0).normal(size=(DIM, NUM_CLASSES)).astype(np.float32)
    state = update(start(accumulate=accumulate), x, targets)
    close(solve(state, ridge=GAMMA, prior=prior), formulas.ridge(x, targets, GAMMA, prior), 1e-5)
    # The same thing twice: it is ridge regression of what the prior leaves over.
    rest = update(start(accumulate=accumulate), x, targets - x @ prior)
    close(solve(state, ridge=GAMMA, prior=prior), prior + np.asarray(solve(rest, ridge=GAMMA)), 1e-4)
    close(solve(state, ridge=1e8, prior=prior), prior, 1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_recursive_equals_joint_for_any_order_and_partition(seed):
    x, targets, _ = float64_rows(seed)
    with jax.enable_x64(True):
        state = analytic.rls_init(DIM, NUM_CLASSES, ridge=GAMMA, dtype="float64")
        gram = start(dtype="float64")
        seen = np.zeros(len(x), bool)
        for rows, answers, where in chunks(seed, x, targets):
            state, gram = rls_update(state, rows, answers, where=where), update(gram, rows, answers, where=where)
            # At all times the covariance is the inverse, and it is symmetric and positive definite.
            seen[: gram.count] = True
            inverse = np.linalg.inv(np.asarray(gram.gram) + GAMMA * np.eye(DIM))
            close(state.covariance, inverse, 1e-10)
            np.testing.assert_allclose(state.covariance, np.asarray(state.covariance).T, atol=1e-14)
            assert np.linalg.eigvalsh(state.covariance).min() > 0
            close(state.weight, solve(gram, ridge=GAMMA), 1e-8)
        assert gram.count == len(x)
        whole = formulas.ridge(x, targets, GAMMA)
        close(state.weight, whole, 1e-8)
        close(solve(gram, ridge=GAMMA), whole, 1e-10)


def test_a_class_in_two_chunks_with_others_between():
    x, targets, labels = float64_rows(2)
    zeros = np.flatnonzero(labels == 0)
    first, last = zeros[:3], zeros[3:]
    middle = np.flatnonzero(labels != 0)
    results = []
    with jax.enable_x64(True):
        for parts in ([first, middle, last], [zeros, middle]):
            state = analytic.rls_init(DIM, NUM_CLASSES, ridge=GAMMA, dtype="float64")
            for index in parts:
                pad = ((0, LENGTH - len(index)), (0, 0))
                where = np.arange(LENGTH) < len(index)
                state = rls_update(state, np.pad(x[index], pad), np.pad(targets[index], pad), where=where)
            results.append(np.asarray(state.weight))
    close(results[0], results[1], 1e-12)
    close(results[0], formulas.ridge(x, targets, GAMMA), 1e-10)


def test_the_published_split_into_exposed_and_unexposed_classes_is_the_same_update():
    x, targets, labels = float64_rows(3)
    old = np.isin(labels, (0, 1)) & (np.arange(len(x)) < 12)
    exposed = np.isin(np.arange(NUM_CLASSES), labels[old])
    with jax.enable_x64(True):
        state = analytic.rls_init(DIM, NUM_CLASSES, ridge=GAMMA, dtype="float64")
        before = rls_update(state, x, targets, where=old)
        after = rls_update(before, x, targets, where=~old)
    z, y, r, w = x[~old], targets[~old], np.asarray(after.covariance), np.asarray(before.weight)
    np.testing.assert_array_equal(w[:, ~exposed], 0)  # a class that has not appeared is a zero column
    gain = r @ z.T @ np.where(exposed, y, 0)  # of labels of classes that were exposed before
    block = np.where(exposed, w - r @ z.T @ z @ w, r @ z.T @ y) + gain
    close(after.weight, block, 1e-12)


def test_a_single_row_is_the_formula_of_sherman_and_morrison():
    row, target = np.array([[1.0, -2.0, 0.5, 3.0]]), np.array([[1.0, 0.0, 0.0, 0.0]])
    with jax.enable_x64(True):
        state = rls_update(analytic.rls_init(DIM, NUM_CLASSES, ridge=GAMMA, dtype="float64"), row, target)
    r = np.eye(DIM) / GAMMA
    k = 1 / (1 + row @ r @ row.T)
    close(state.covariance, r - r @ row.T * k @ row @ r, 1e-14)
    close(state.weight, row.T @ target / (GAMMA + np.sum(row**2)), 1e-14)


def test_limits_of_the_ridge():
    x, targets, _ = float64_rows(4)
    with jax.enable_x64(True):
        state = update(start(dtype="float64"), x, targets)
        close(1e9 * solve(state, ridge=1e9), x.T @ targets, 1e-6)
        close(solve(state, ridge=1e-10), np.linalg.lstsq(x, targets)[0], 1e-8)


@pytest.mark.parametrize("accumulate", ["plain", "compensated"])
def test_an_unseen_class_is_a_zero_column(accumulate):
    x, labels = blobs(5)
    state = update(start(accumulate=accumulate), x, one_hot(labels).astype(np.float32))
    weight = np.asarray(solve(state, ridge=GAMMA))
    np.testing.assert_array_equal(weight[:, 3], 0)
    assert (np.abs(weight[:, :3]).max(0) > 0).all()


@pytest.mark.parametrize("accumulate", ["plain", "compensated"])
def test_nothing_to_add_changes_nothing(accumulate):
    x, labels = blobs(6)
    targets = one_hot(labels).astype(np.float32)
    nothing = {"where": np.zeros(len(x), bool)}
    state = update(start(accumulate=accumulate), x, targets)
    same_states(update(state, np.full_like(x, np.nan), np.full_like(targets, np.nan), **nothing), state)
    empty = np.zeros((0, DIM), np.float32), np.zeros((0, NUM_CLASSES), np.float32)
    same_states(add(state, *empty), state)
    state = rls_update(analytic.rls_init(DIM, NUM_CLASSES, ridge=1.0), x, targets)
    same_states(rls_update(state, np.full_like(x, np.nan), np.full_like(targets, np.nan), **nothing), state)
    same_states(rls_add(state, *empty), state)


@pytest.mark.parametrize("accumulate", ["plain", "compensated"])
def test_a_state_can_be_donated(accumulate):
    x, labels = blobs(14)
    targets = one_hot(labels).astype(np.float32)
    donating = jax.jit(analytic.gram_update, donate_argnums=0)
    state = donating(start(accumulate=accumulate), x, targets)
    expected = update(start(accumulate=accumulate), x, targets)
    same_states(donating(state, x, targets), update(expected, x, targets))


def test_hosts_and_deletions():
    x, labels = blobs(7)
    targets = one_hot(labels).astype(np.float32)
    first = np.arange(len(x)) < 14
    a, b = (update(start(), x, targets, where=where) for where in (first, ~first))
    both = merge(a, b)
    assert both.count == len(x)
    close(solve(both, ridge=GAMMA), formulas.ridge(x, targets, GAMMA), 1e-5)
    rest = forget(update(start(), x, targets), b)
    assert rest.count == 14
    close(solve(rest, ridge=GAMMA), formulas.ridge(x[first], targets[first], GAMMA), 1e-4)
    # Integers leave no rounding to hide behind.
    whole = np.round(4 * x)
    a, b = (update(start(), whole, targets, where=where) for where in (first, ~first))
    same_states(merge(a, b), update(start(), whole, targets))
    same_states(forget(merge(a, b), b), a)


@pytest.mark.parametrize("accumulate", ["plain", "compensated"])
def test_a_weight_of_four_is_four_rows(accumulate):
    x, labels = blobs(8)
    targets = one_hot(labels).astype(np.float32)
    weights = np.array([0.0, 1.0, 4.0], np.float32)[np.arange(len(x)) % 3]
    repeated = np.repeat(np.arange(len(x)), weights.astype(int))
    hidden = np.arange(len(x)) == 5
    state = update(start(accumulate=accumulate), x, targets, weights=np.where(hidden, np.nan, weights), where=~hidden)
    expected = formulas.ridge(x[repeated[repeated != 5]], targets[repeated[repeated != 5]], GAMMA)
    close(solve(state, ridge=GAMMA), expected, 1e-5)
    assert state.count == len(x) - 1  # rows, not weights
    assert np.isnan(update(start(accumulate=accumulate), x, targets, weights=-weights).gram).any()


def test_one_pass_of_class_statistics_serves_ridge():
    x, labels = blobs(9)
    targets = one_hot(labels)
    expected = update(start(), x, targets.astype(np.float32))
    for second in ("shared", "full"):
        for shift in (None, x[0]):
            stats = analytic.class_stats_init(NUM_CLASSES, DIM, second=second, shift=shift)
            state = analytic.gram_from_class_stats(analytic.class_stats_update(stats, x, labels))
            assert state.count == len(x)
            close(state.gram, expected.gram, 1e-5)
            close(solve(state, ridge=GAMMA), formulas.ridge(x, targets, GAMMA), 1e-4)


@pytest.mark.parametrize("accumulate", ["plain", "compensated"])
def test_a_nan_that_counts_and_a_ridge_below_rounding_are_loud(accumulate):
    x, labels = blobs(10)
    targets = one_hot(labels).astype(np.float32)
    broken = x.copy()
    broken[3, 1] = np.nan
    assert np.isnan(solve(update(start(accumulate=accumulate), broken, targets), ridge=GAMMA)).any()
    singular = np.repeat(100 * x[:, :1], DIM, axis=1)
    assert np.isnan(solve(update(start(accumulate=accumulate), singular, targets), ridge=1e-8)).any()


def test_the_recursion_loses_in_float32_what_the_gram_form_keeps():
    # Nearly collinear regressors: condition 1e6.
    rng = np.random.default_rng(11)
    scales = np.logspace(0, -2.5, 30)
    x = (rng.normal(size=(200, 30)) * scales @ np.linalg.qr(rng.normal(size=(30, 30)))[0]).astype(np.float32)
    targets = x @ rng.normal(size=(30, 2)).astype(np.float32)
    gamma = 1e-4
    spectrum = np.linalg.eigvalsh(x.astype(np.float64).T @ x)
    assert 1e5 < (spectrum[-1] + gamma) / (spectrum[0] + gamma) < 1e7
    expected = formulas.ridge(x, targets, gamma)
    state, gram = analytic.rls_init(30, 2, ridge=gamma), analytic.gram_init(30, 2)
    for i in range(0, 200, 20):
        state, gram = (f(s, x[i : i + 20], targets[i : i + 20]) for f, s in ((rls_update, state), (update, gram)))
    kept, lost = relative(solve(gram, ridge=gamma), expected), relative(state.weight, expected)
    assert kept < 1e-2
    assert not lost < 10 * kept


# --- the balanced form ------------------------------------------------------------------------------------------


def full_stats(x, labels, **options):
    stats = analytic.class_stats_init(NUM_CLASSES, DIM, second="full", **options)
    return analytic.class_stats_update(stats, x, labels)


def balanced_by_numpy(x, labels, gamma):
    """Weighted ridge: 1 / (rows of the class), rescaled so that the weights of seen classes sum to their number."""
    counts = np.bincount(labels, minlength=NUM_CLASSES)
    weight = np.where(counts > 0, 1 / np.maximum(counts, 1), 0)
    weight *= (counts > 0).sum() / weight.sum()
    root = np.sqrt(weight[labels])[:, None]
    return formulas.ridge(root * x.astype(np.float64), root * one_hot(labels), gamma)


@pytest.mark.parametrize("shift", [None, np.array([1.0, -2.0, 0.5, 3.0])])
def test_balanced_ridge_equals_weighted_ridge(shift):
    x, labels = blobs(12)
    expected = balanced_by_numpy(x, labels, GAMMA)
    result = np.asarray(balanced(full_stats(x, labels, shift=shift), ridge=GAMMA))
    close(result, expected, 1e-4)
    np.testing.assert_array_equal(result[:, 3], 0)
    assert relative(formulas.ridge(x, one_hot(labels), GAMMA), expected) > 0.05  # it is not plain ridge
    with jax.enable_x64(True):
        shift = None if shift is None else shift.astype(np.float64)
        stats = full_stats(x.astype(np.float64), labels, shift=shift, dtype="float64")
        close(balanced(stats, ridge=GAMMA), expected, 1e-12)


@pytest.mark.parametrize("counts", [(6, 6, 6, 6), (6, 6, 6, 0)])
def test_balanced_ridge_with_equal_counts_is_ridge(counts):
    x, labels = blobs(13, counts)
    close(balanced(full_stats(x, labels), ridge=GAMMA), formulas.ridge(x, one_hot(labels), GAMMA), 1e-5)


def test_balanced_ridge_of_nothing_is_zero():
    empty = analytic.class_stats_init(NUM_CLASSES, DIM, second="full")
    np.testing.assert_array_equal(balanced(empty, ridge=GAMMA), 0)
