"""Class statistics against numpy: a group that no order, chunking, shift or deletion changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import analytic
from tests.analytic import formulas
from tests.analytic.formulas import COUNTS, DIM, NUM_CLASSES, blobs, close

MOMENTS = ("diag", "shared", "full")
SHIFT = np.array([1.0, -2.0, 0.5, 3.0])
LENGTH = 24

add = jax.jit(analytic.class_stats_update)
merge, forget = jax.jit(analytic.class_stats_merge), jax.jit(analytic.class_stats_forget)
variance, within_scatter = jax.jit(analytic.class_stats_variance), jax.jit(analytic.within_scatter)


def update(state, x, labels, where=None):
    """With ``where`` always given, so that calls of one shape are one program."""
    return add(state, x, labels, where=np.ones(len(x), bool) if where is None else where)


def start(**options):
    return analytic.class_stats_init(NUM_CLASSES, DIM, **{"second": MOMENTS, "shift": SHIFT, **options})


def by_numpy(x, labels, shift=SHIFT):
    """The moments by their definitions."""
    z, member = x.astype(np.float64) - shift, formulas.one_hot(labels)
    full = np.einsum("nc,nd,ne->cde", member, z, z)
    return analytic.ClassStats(member.sum(0), member.T @ z, shift, member.T @ z**2, full.sum(0), full)


def integers(seed, n=LENGTH):
    """Rows and labels whose moments float32 holds exactly."""
    rng = np.random.default_rng(seed)
    return rng.integers(-50, 50, (n, DIM)).astype(np.float32), rng.integers(0, NUM_CLASSES, n)


def close_states(a, b, tol=1e-12):
    np.testing.assert_array_equal(a.count, b.count)
    for left, right in zip(a, b, strict=True):
        close(left, right, tol)


def same_states(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_moments_equal_their_definitions():
    x, labels = blobs(0)
    state = update(start(), x, labels)
    assert state.count.dtype == jnp.int32
    assert state.sum.dtype == jnp.float32
    close_states(state, by_numpy(x, labels), 1e-6)
    with jax.enable_x64(True):
        close_states(update(start(), x.astype(np.float64), labels), by_numpy(x, labels), 1e-14)


@pytest.mark.parametrize("kept", ["none", "diag", "shared", "full"])
def test_only_the_moments_asked_for_are_kept(kept):
    state = analytic.class_stats_init(NUM_CLASSES, DIM, second=kept)
    assert [name for name in MOMENTS if getattr(state, name) is not None] == ([] if kept == "none" else [kept])
    x, labels = blobs(0)
    complete = update(start(shift=None), x, labels)
    for name, value in update(state, x, labels)._asdict().items():
        if value is not None:
            np.testing.assert_allclose(value, getattr(complete, name), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_order_and_chunking_change_nothing(seed):
    x, labels = blobs(0)
    whole = by_numpy(x, labels)
    with jax.enable_x64(True):
        state = start()
        for rows, names, where in formulas.padded(seed, x.astype(np.float64), labels, 5, LENGTH):
            state = update(state, rows, names, where=where)
        close_states(state, whole)


def test_on_integers_every_route_gives_the_same_bits():
    x, labels = integers(0)
    whole = update(start(shift=np.ones(DIM)), x, labels)
    order = np.random.default_rng(1).permutation(LENGTH)
    same_states(update(start(shift=np.ones(DIM)), x[order], labels[order]), whole)
    hidden = np.arange(LENGTH) < 10
    halves = [update(start(shift=np.ones(DIM)), x, labels, where=where) for where in (hidden, ~hidden)]
    same_states(merge(*halves), whole)
    same_states(forget(whole, halves[1]), halves[0])


def test_a_class_in_two_chunks_with_others_between():
    x, labels = blobs(1)
    order = np.argsort(labels, kind="stable")
    first = np.flatnonzero(labels[order] == 0)
    order = np.concatenate([order[first[:3]], np.delete(order, first), order[first[3:]]])
    state = start()
    for index in np.split(order, [3, 9, LENGTH - 5]):
        pad = LENGTH - len(index)
        rows, names = np.pad(x[index], ((0, pad), (0, 0))), np.pad(labels[index], (0, pad))
        state = update(state, rows, names, where=np.arange(LENGTH) < len(index))
    close_states(state, by_numpy(x, labels), 1e-6)


def test_the_online_mean_is_the_batch_mean():
    x, labels = blobs(2)
    mean, count = np.zeros((NUM_CLASSES, DIM)), np.zeros(NUM_CLASSES, int)
    for row, label in zip(x.astype(np.float64), labels, strict=True):
        mean[label] += (row - mean[label]) / (count[label] + 1)
        count[label] += 1
    state = update(start(), x, labels)
    np.testing.assert_array_equal(state.count, count)
    close(analytic.class_stats_means(state), mean, 1e-6)


def test_a_new_class_moves_no_other_prototype():
    x, labels = blobs(3, (5, 5, 5, 5))
    known = update(start(), x, labels, where=labels < 3)
    after = update(known, x, labels, where=labels == 3)
    before, now = analytic.class_stats_means(known), analytic.class_stats_means(after)
    np.testing.assert_array_equal(now[:3], before[:3])
    assert (np.asarray(before)[3] == 0).all()  # unseen
    close(now[3], x[labels == 3].mean(0), 1e-6)


def test_a_shift_near_the_data_keeps_the_digits():
    x, labels = blobs(0, offset=1000.0)
    truth = formulas.scatter(x, labels)
    spread = {}
    for name, shift in (("none", None), ("first row", x[0]), ("pilot mean", x[:8].mean(0))):
        state = update(start(shift=shift), x, labels)
        spread[name] = formulas.relative(within_scatter(state), truth)
        close(analytic.class_stats_means(state), formulas.means(x, labels), 1e-6)
        if name != "none":
            by_class = [x[labels == c].astype(np.float64).var(0) for c in range(3)]
            close(variance(state)[:3], by_class, 1e-5)
    assert spread["first row"] < 1e-5
    assert spread["pilot mean"] < 1e-5
    assert spread["none"] > 1e-2


@pytest.mark.parametrize("operation", ["merge", "forget"])
def test_different_shifts_are_rebased_on_the_first(operation):
    x, labels = blobs(0)
    first = np.arange(len(x)) < 15
    with jax.enable_x64(True):
        rows = x.astype(np.float64)
        other = start(shift=-3 * SHIFT)
        b = update(other, rows, labels, where=~first)
        if operation == "merge":
            result, expected = merge(update(start(), rows, labels, where=first), b), by_numpy(x, labels)
        else:
            result, expected = forget(update(start(), rows, labels), b), by_numpy(x[first], labels[first])
        np.testing.assert_array_equal(result.shift, SHIFT)
        close_states(result, expected)


def test_merging_onto_a_good_shift_keeps_the_digits():
    x, labels = blobs(0, offset=1000.0)
    first = np.arange(len(x)) < 15
    a = update(start(shift=x[0]), x, labels, where=first)
    b = update(start(shift=x[1]), x, labels, where=~first)
    assert formulas.relative(within_scatter(merge(a, b)), formulas.scatter(x, labels)) < 1e-5


def test_merge_weighs_clients_by_their_counts():
    # The average of the two means would be 2, the mean of all rows is 1.5.
    state = analytic.class_stats_init(2, 1)
    a = add(state, np.array([[1.0], [1.0], [1.0]], np.float32), np.zeros(3, int))
    b = add(state, np.array([[3.0]], np.float32), np.zeros(1, int))
    both = merge(a, b)
    np.testing.assert_array_equal(analytic.class_stats_means(both), [[1.5], [0.0]])  # and no division by zero
    np.testing.assert_array_equal(both.count, [4, 0])


def test_a_class_that_one_client_lacks_is_the_other_clients():
    x, labels = blobs(4)
    a, b = (update(start(), x, labels, where=where) for where in (labels == 0, labels != 0))
    means = analytic.class_stats_means(merge(a, b))
    np.testing.assert_allclose(means[0], analytic.class_stats_means(a)[0], rtol=1e-6)
    np.testing.assert_allclose(means[1:], analytic.class_stats_means(b)[1:], rtol=1e-6)


def test_variances_merge_by_the_published_rule():
    x, labels = blobs(5)
    first = np.arange(len(x)) % 3 > 0
    with jax.enable_x64(True):
        rows = x.astype(np.float64)
        a, b = (update(start(), rows, labels, where=where) for where in (first, ~first))
        (n, m), (v, w) = (np.array(s.count)[:3, None] for s in (a, b)), (np.array(variance(s))[:3] for s in (a, b))
        delta = np.array(analytic.class_stats_means(a) - analytic.class_stats_means(b))[:3]
        expected = (n * v + m * w + n * m / (n + m) * delta**2) / (n + m)
        close(variance(merge(a, b))[:3], expected, 1e-12)
        close(expected, [rows[labels == c].var(0) for c in range(3)], 1e-12)


def test_forgetting_gives_back_the_rest():
    x, labels = blobs(6)
    keep = labels != 1
    everything, client = update(start(), x, labels), update(start(), x, labels, where=~keep)
    rest = forget(everything, client)
    np.testing.assert_array_equal(rest.count, [7, 0, 4, 0])
    close_states(rest, update(start(), x, labels, where=keep), 1e-5)
    assert (np.asarray(analytic.class_stats_means(rest))[1] == 0).all()  # whatever rounding left in its sum


def test_variances_and_scatter_equal_numpy():
    x, labels = blobs(7)
    state = update(start(), x, labels)
    expected = [x[labels == c].astype(np.float64).var(0) if COUNTS[c] else np.zeros(DIM) for c in range(NUM_CLASSES)]
    for kept in ("diag", "full"):
        alone = state._replace(**{name: None for name in MOMENTS if name != kept})
        close(variance(alone), expected, 1e-5)
    for kept in ("shared", "full"):
        alone = state._replace(**{name: None for name in MOMENTS if name != kept})
        result = np.asarray(within_scatter(alone))
        close(result, formulas.scatter(x, labels), 1e-5)
        np.testing.assert_allclose(result, result.T, rtol=1e-5, atol=1e-5)
    per_class = sum(formulas.scatter(x[labels == c], 0 * labels[labels == c], 1) for c in range(3))
    close(within_scatter(state), per_class, 1e-5)


def test_one_row_per_class_has_no_variance():
    x = np.random.default_rng(8).normal(size=(NUM_CLASSES, DIM)).astype(np.float32)
    state = update(start(), x, np.arange(NUM_CLASSES))
    assert (np.asarray(variance(state)) == 0).all()
    assert (np.asarray(variance(start())) == 0).all()
    assert (np.asarray(variance(update(start(), 1e4 + x, np.zeros(NUM_CLASSES, int)))) >= 0).all()


def test_what_does_not_count_counts_in_no_statistic():
    x, labels = blobs(9)
    bad = np.arange(len(x)) % 4 == 0
    expected = update(start(), x, labels, where=~bad)
    for junk in (np.nan, np.inf, 1e30):
        dirty = np.where(bad[:, None], np.float32(junk), x)
        same_states(update(start(), dirty, labels, where=~bad), expected)
        for outside in (-1, NUM_CLASSES, 1000):
            same_states(update(start(), dirty, np.where(bad, outside, labels)), expected)


def test_nothing_to_add_changes_nothing():
    x, labels = blobs(10)
    state = update(start(), x, labels)
    same_states(update(state, np.full_like(x, np.nan), labels, where=np.zeros(len(x), bool)), state)
    same_states(add(state, np.zeros((0, DIM), np.float32), np.zeros(0, int)), state)
    same_states(merge(state, start()), state)


def test_a_nan_that_counts_is_not_hidden():
    x, labels = blobs(11)
    x[np.flatnonzero(labels == 1)[0], 2] = np.nan
    state = update(start(), x, labels)
    np.testing.assert_array_equal(state.count, COUNTS)
    assert np.isnan(analytic.class_stats_means(state)[1, 2])
    assert np.isnan(within_scatter(state)).any()


def test_a_nan_that_counts_stays_in_its_class():
    x, labels = blobs(11)
    x[np.flatnonzero(labels == 1)[0], 2] = np.nan
    others = np.arange(NUM_CLASSES) != 1
    assert np.isfinite(update(start(), x, labels).sum[others]).all()


def test_bfloat16_rows_are_summed_in_float32():
    x = jnp.asarray(np.random.default_rng(12).normal(size=(600, DIM)), jnp.bfloat16)
    state = add(analytic.class_stats_init(1, DIM, second="diag"), x)
    assert state.sum.dtype == jnp.float32
    wide = np.asarray(x, np.float64)
    close(state.sum[0], wide.sum(0), 1e-5)
    close(state.diag[0], (wide**2).sum(0), 1e-5)  # bfloat16 sums would be off by 1e-2


def test_counts_are_integers():
    state = start()._replace(count=jnp.full(NUM_CLASSES, 2**24, jnp.int32))
    x, labels = blobs(13)
    np.testing.assert_array_equal(update(state, x, labels).count, 2**24 + np.array(COUNTS))  # float32 would stop


def test_no_labels_mean_one_class():
    x, _ = blobs(14)
    state = analytic.class_stats_init(1, DIM, second=MOMENTS)
    same_states(add(state, x), add(state, x, np.zeros(len(x), int)))


def test_many_streams_by_vmap():
    streams = [blobs(seed) for seed in (0, 1, 2)]
    x, labels = (np.stack(part) for part in zip(*streams, strict=True))
    states = jax.jit(jax.vmap(lambda a, b: analytic.class_stats_update(start(), a, b)))(x, labels)
    for i, (rows, names) in enumerate(streams):
        close_states(jax.tree.map(lambda leaf: leaf[i], states), by_numpy(rows, names), 1e-6)  # noqa: B023


def test_the_dtype_of_a_state():
    assert start().sum.dtype == jnp.float32
    with jax.enable_x64(True):
        assert start(dtype="float32").full.dtype == jnp.float32
        assert start(shift=SHIFT.astype(np.float64)).full.dtype == jnp.float64
        assert start(dtype=jnp.float64, shift=None).diag.dtype == jnp.float64
        rows = np.zeros((2, DIM))
        with pytest.raises(TypeError, match=r"x is float64.* but the state holds float32"):
            analytic.class_stats_update(start(dtype="float32"), rows, np.zeros(2, int))
        wide, narrow = start(dtype="float64"), start(dtype="float32")
        with pytest.raises(TypeError, match=r"the states disagree in sum: float64.* and float32"):
            analytic.class_stats_merge(wide, narrow)


def test_the_default_dtype_is_float32_everywhere():
    with jax.enable_x64(True):
        assert start(shift=None).sum.dtype == analytic.gram_init(DIM, 1).gram.dtype == jnp.float32


def test_a_state_can_be_donated():
    x, labels = blobs(18)
    donating = jax.jit(analytic.class_stats_update, donate_argnums=0)
    same_states(donating(donating(start(), x, labels), x, labels), update(update(start(), x, labels), x, labels))


# --- class_means ------------------------------------------------------------------------------------------------

class_means = jax.jit(analytic.class_means, static_argnames=("num_classes", "unit"))


def test_class_means_from_hard_and_soft_labels():
    x, labels = blobs(15)
    expected = formulas.means(x, labels)
    close(class_means(x, labels, num_classes=NUM_CLASSES), expected, 1e-6)
    soft = formulas.one_hot(labels).astype(np.float32)
    close(class_means(x, soft, num_classes=NUM_CLASSES), expected, 1e-6)
    close(analytic.class_stats_means(update(start(), x, labels)), expected, 1e-6)
    weights = np.random.default_rng(0).uniform(size=(len(x), NUM_CLASSES)).astype(np.float32)
    weights[:, 3] = 0
    by_weight = [np.average(x, axis=0, weights=weights[:, c]) for c in range(3)]
    close(class_means(x, weights, num_classes=NUM_CLASSES), [*by_weight, np.zeros(DIM)], 1e-5)


def test_unit_class_means_ignore_lengths():
    x, labels = blobs(16)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = formulas.means(unit, labels)[:3]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    lengths = np.exp(np.random.default_rng(1).normal(size=(len(x), 1))).astype(np.float32)
    result = class_means(lengths * x, labels, num_classes=NUM_CLASSES, unit=True)
    close(result[:3], expected, 1e-5)
    assert (np.asarray(result)[3] == 0).all()


def test_class_means_of_rows_that_count():
    x, labels = blobs(17)
    where = np.arange(len(x)) % 3 > 0
    expected = formulas.means(x[where], labels[where])
    dirty, unknown = np.where(where[:, None], x, np.nan), np.where(where, labels, 99)
    close(class_means(dirty, unknown, num_classes=NUM_CLASSES, where=where), expected, 1e-6)
    outside = np.where(where, labels, -1)
    close(class_means(x, outside, num_classes=NUM_CLASSES), expected, 1e-6)


def test_class_means_ignore_even_broken_rows_outside():
    x, labels = blobs(17)
    where = np.arange(len(x)) % 3 > 0
    dirty = np.where(where[:, None], x, np.nan)
    result = class_means(dirty, np.where(where, labels, -1), num_classes=NUM_CLASSES)
    close(result, formulas.means(x[where], labels[where]), 1e-6)


def test_covariance_equals_numpy_whatever_the_offset():
    x, labels = blobs(0)
    for offset in (0.0, 1000.0):
        state = update(start(shift=SHIFT + offset), x + np.float32(offset), labels)
        covariance = np.asarray(analytic.class_stats_covariance(state))
        for c in range(NUM_CLASSES):
            own = x[labels == c].astype(np.float64)
            expected = np.cov(own.T, bias=True) if len(own) else np.zeros((DIM, DIM))
            np.testing.assert_allclose(covariance[c], expected, atol=1e-3)
    np.testing.assert_allclose(np.diagonal(covariance, axis1=1, axis2=2), variance(state), atol=1e-4)
