"""Learners on additive statistics: incremental equals joint, merged equals central, forgotten equals never seen."""

from functools import partial

import jax
import numpy as np
import pytest
from scipy import special

from jaxlab import analytic
from jaxlab.continual import (
    MahalanobisState,
    analytic_class_incremental,
    class_stats_learner,
    mahalanobis_add_class,
    nearest_class_mean,
    teen,
)
from tests.analytic import formulas
from tests.analytic.formulas import COUNTS, DIM, NUM_CLASSES, blobs, close, one_hot

KEY = jax.random.key(0)
WIDTH, LENGTH = 12, 24
SEEN = np.array(COUNTS) > 0
QUERIES = blobs(99)[0]
BASE = np.array([True, True, False, False])

on_statistics = partial(class_stats_learner, num_classes=NUM_CLASSES, dim=DIM)
random_ridge = partial(analytic_class_incremental, NUM_CLASSES, DIM, width=WIDTH)
LEARNERS = {
    "nearest mean": nearest_class_mean(NUM_CLASSES, DIM),
    "cosine nearest mean": nearest_class_mean(NUM_CLASSES, DIM, metric="cosine"),
    "lda": on_statistics(analytic.lda, second="shared"),
    "ks": on_statistics(partial(analytic.lda, shrinkage="ks"), second="shared"),
    "naive Bayes": on_statistics(analytic.naive_bayes, second="diag"),
    "mahalanobis": on_statistics(lambda stats: stats, second="shared", predict=analytic.mahalanobis),
    "teen": teen(NUM_CLASSES, DIM, base=BASE),
    "gram": random_ridge(ridge=1.0),
    "compensated": random_ridge(ridge=1.0, accumulate="compensated"),
    "gaussian": random_ridge(ridge=1.0, kind="gaussian", centers=QUERIES, bandwidth=3.0),
    "recursive": random_ridge(ridge=1.0, form="recursive"),
    "balanced": random_ridge(ridge=1.0, form="balanced"),
}
ADDITIVE = [name for name in LEARNERS if name != "recursive"]


def compile_once(learner):
    """The learner with its functions compiled, each for one shape: ``where`` is always given."""
    update = jax.jit(learner.update)

    def masked(state, x, labels, where=None):
        return update(state, x, labels, where=np.ones(len(x), bool) if where is None else where)

    return learner._replace(update=masked, predict=jax.jit(learner.predict), solve=jax.jit(learner.solve))


@pytest.fixture(scope="module")
def compiled():
    return {name: compile_once(learner) for name, learner in LEARNERS.items()}


def logits(learner, state, x=QUERIES):
    return learner.predict(learner.solve(state), x)


@pytest.mark.parametrize("name", LEARNERS)
def test_incremental_equals_joint(name, compiled):
    """One class after the other, and in random mixtures in which classes return."""
    learner = compiled[name]
    x, labels = blobs(0)
    joint = learner.update(learner.init(KEY), x, labels)
    expected = np.asarray(logits(learner, joint))
    assert (expected[:, ~SEEN] == -np.inf).all()
    assert np.isfinite(expected[:, SEEN]).all()
    by_class = [np.flatnonzero(labels == c) for c in (2, 0, 1)]
    mixtures = formulas.partition(1, len(x), 5)
    for order in (by_class, mixtures):
        state = learner.init(KEY)
        for index in order:
            pad = LENGTH - 1 - len(index)
            rows, names = np.pad(x[index], ((0, pad), (0, 0)), constant_values=np.nan), np.pad(labels[index], (0, pad))
            state = learner.update(state, rows, names, where=np.arange(LENGTH - 1) < len(index))
        close(logits(learner, state), expected, 2e-4)


@pytest.mark.parametrize("name", ADDITIVE)
def test_merged_equals_central_and_forgotten_equals_never_seen(name, compiled):
    learner = compiled[name]
    x, labels = blobs(2)
    client = np.arange(len(x)) % 3 == 0
    a, b = (learner.update(learner.init(KEY), x, labels, where=where) for where in (~client, client))
    central = learner.update(learner.init(KEY), x, labels)
    close(logits(learner, learner.merge(a, b)), logits(learner, central), 2e-4)
    close(logits(learner, learner.forget(central, b)), logits(learner, a), 2e-3)
    # A class that is forgotten as a whole is not predicted any more.
    one = learner.update(learner.init(KEY), x, labels, where=labels == 0)
    rest = np.asarray(logits(learner, learner.forget(central, one)))
    assert (rest[:, 0] == -np.inf).all()
    assert np.isfinite(rest[:, 1:3]).all()


def test_the_recursion_is_neither_merged_nor_forgotten():
    assert LEARNERS["recursive"].merge is None
    assert LEARNERS["recursive"].forget is None


@pytest.mark.parametrize("name", LEARNERS)
def test_rows_that_do_not_count(name, compiled):
    learner = compiled[name]
    x, labels = blobs(3)
    where = np.arange(len(x)) % 4 > 0
    expected = logits(learner, learner.update(learner.init(KEY), x, labels, where=where))
    dirty = np.where(where[:, None], x, np.nan)
    close(logits(learner, learner.update(learner.init(KEY), dirty, labels, where=where)), expected, 1e-6)
    for outside in (-1, NUM_CLASSES, 10**6):
        state = learner.update(learner.init(KEY), dirty, np.where(where, labels, outside))
        close(logits(learner, state), expected, 1e-6)
    state = learner.update(learner.init(KEY), x, labels)
    idle = learner.update(state, np.full_like(x, np.nan), labels, where=np.zeros(len(x), bool))
    jax.tree.map(np.testing.assert_array_equal, idle, state)


def test_before_the_first_row_no_class_exists(compiled):
    for name in ("nearest mean", "gram", "balanced", "recursive", "teen", "lda"):
        learner = compiled[name]
        scores = np.asarray(logits(learner, learner.init(KEY)))
        assert (scores == -np.inf).all(), name


def test_nearest_mean_logits_are_distances(compiled):
    x, labels = blobs(4)
    learner = compiled["nearest mean"]
    scores = logits(learner, learner.update(learner.init(KEY), x, labels))
    distances = ((QUERIES[:, None].astype(np.float64) - formulas.means(x, labels)) ** 2).sum(-1)
    close(scores, np.where(SEEN, -distances, -np.inf))


# --- TEEN -------------------------------------------------------------------------------------------------------


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def calibrated(new, base, temperature=16.0, shift=0.5):
    attention = special.softmax(temperature * unit(new) @ unit(base).T, -1)
    return (1 - shift) * unit(new) + shift * unit(attention @ unit(base))


def test_teen_calibrates_new_classes_against_base_classes_alone():
    x, labels = blobs(5, (9, 7, 4, 3))
    learner = compile_once(teen(NUM_CLASSES, DIM, base=BASE, temperature=4.0, shift=0.3, scale=10.0))
    state = learner.update(learner.init(KEY), x, labels)
    head = learner.solve(state)
    means = formulas.means(x, labels)
    expected = np.concatenate([unit(means[:2]), calibrated(means[2:], means[:2], 4.0, 0.3)])
    close(head.prototypes, expected)
    close(learner.predict(head, QUERIES), 10 * unit(QUERIES) @ unit(expected).T)


def test_teen_calibrates_once_however_often_it_solves(compiled):
    x, labels = blobs(6)
    learner = compiled["teen"]
    first = learner.update(learner.init(KEY), x, labels, where=labels < 2)
    learner.solve(first)
    second = learner.update(first, x, labels, where=labels == 2)
    once = learner.solve(second)
    close(learner.solve(learner.update(second, x, labels, where=np.zeros(len(x), bool))).prototypes, once.prototypes)
    # A later novel class does not move an earlier one.
    third = learner.update(second, x, np.full_like(labels, 3), where=labels == 0)
    close(learner.solve(third).prototypes[:3], once.prototypes[:3], 1e-6)


def test_teen_without_shift_is_the_cosine_nearest_mean(compiled):
    x, labels = blobs(7)
    still = compile_once(teen(NUM_CLASSES, DIM, base=BASE, shift=0.0, scale=1.0))
    cosine = compiled["cosine nearest mean"]
    scores = [logits(one, one.update(one.init(KEY), x, labels)) for one in (still, cosine)]
    close(scores[0], scores[1], 1e-6)


def test_teen_mixes_in_base_classes_that_exist_only():
    x, labels = blobs(8)
    learner = compile_once(teen(NUM_CLASSES, DIM, base=np.array([True, False, False, True])))  # class 3 has no rows
    state = learner.update(learner.init(KEY), x, labels)
    means = formulas.means(x, labels)
    close(learner.solve(state).prototypes[1:3], calibrated(means[1:3], means[:1]))
    before = learner.update(learner.init(KEY), x, labels, where=labels == 1)  # no base class yet: its direction stays
    close(unit(learner.solve(before).prototypes[1]), unit(means[1]))


# --- ridge on random features -----------------------------------------------------------------------------------


def features(learner, x):
    return np.asarray(analytic.random_features(learner.init(KEY).features, x), np.float64)


@pytest.mark.parametrize("name", ["gram", "compensated", "recursive", "gaussian"])
def test_the_head_is_ridge_regression_on_the_expansion(name, compiled):
    x, labels = blobs(9)
    learner = compiled[name]
    weight = formulas.ridge(features(learner, x), one_hot(labels), 1.0)
    scores = logits(learner, learner.update(learner.init(KEY), x, labels))
    close(scores, np.where(SEEN, features(learner, QUERIES) @ weight, -np.inf), 1e-4)


def test_the_balanced_form_weighs_classes_alike(compiled):
    x, labels = blobs(10)
    learner = compiled["balanced"]
    weight = np.array([1 / c if c else 0 for c in COUNTS])
    weight *= 3 / weight.sum()
    root = np.sqrt(weight[labels])[:, None]
    expected = formulas.ridge(root * features(learner, x), root * one_hot(labels), 1.0)
    scores = logits(learner, learner.update(learner.init(KEY), x, labels))
    close(scores, np.where(SEEN, features(learner, QUERIES) @ expected, -np.inf), 1e-4)


def test_the_expansion_is_drawn_from_the_key_and_kept(compiled):
    learner = compiled["gram"]
    x, labels = blobs(11)
    start = learner.init(KEY)
    after = learner.update(start, x, labels)
    np.testing.assert_array_equal(after.features.projection, start.features.projection)
    np.testing.assert_array_equal(learner.init(KEY).features.projection, start.features.projection)
    assert (np.asarray(learner.init(jax.random.key(1)).features.projection) != start.features.projection).any()
    np.testing.assert_array_equal(after.count, COUNTS)


def test_the_default_ridge_and_bandwidth_are_the_published_ones():
    x, labels = blobs(12)
    learner = compile_once(random_ridge(kind="gaussian", centers=QUERIES))
    state = learner.update(learner.init(KEY), x, labels)
    assert state.features.bandwidth == 10
    close(learner.solve(state).head.weight, analytic.gram_solve(state.statistics, ridge=0.1))


def test_seeds_by_vmap(compiled):
    x, labels = blobs(13)
    learner = LEARNERS["gram"]
    keys = jax.random.split(KEY, 3)
    where = np.ones(len(x), bool)
    run = jax.vmap(lambda key: logits(learner, learner.update(learner.init(key), x, labels, where=where)))
    for key, scores in zip(keys, jax.jit(run)(keys), strict=True):
        alone = compiled["gram"]
        close(scores, logits(alone, alone.update(alone.init(key), x, labels)), 1e-3)


@pytest.mark.parametrize("form", ["gram", "recursive"])
def test_float64_where_it_is_enabled(form):
    x, labels = blobs(14)
    with jax.enable_x64(True):
        learner = random_ridge(form=form, dtype="float64")
        state = learner.update(learner.init(KEY), x.astype(np.float64), labels)
        assert state.statistics[0].dtype == state.features.projection.dtype == np.float64


# --- Mahalanobis, a class at a time -----------------------------------------------------------------------------

add_class = jax.jit(mahalanobis_add_class)


def nothing(dtype=np.float32):
    return MahalanobisState(
        np.zeros((NUM_CLASSES, DIM), dtype), np.zeros((DIM, DIM), dtype), np.zeros(NUM_CLASSES, bool)
    )


def class_covariance(x, labels, c):
    return formulas.scatter(x[labels == c], 0 * labels[labels == c], 1) / (labels == c).sum()


@pytest.mark.parametrize("counts", [(6, 6, 6, 6), (9, 7, 4, 5)])
def test_added_covariances_average_over_classes(counts):
    x, labels = blobs(15, counts)
    state = nothing()
    for c in (2, 0, 3, 1):
        mean, covariance = x[labels == c].mean(0), class_covariance(x, labels, c).astype(np.float32)
        state = add_class(state, c, mean, covariance)
    close(state.mean, formulas.means(x, labels))
    close(state.covariance, np.mean([class_covariance(x, labels, c) for c in range(4)], 0))
    assert np.asarray(state.seen).all()
    tied = formulas.scatter(x, labels) / len(x)
    if len(set(counts)) == 1:  # then it is the tied covariance
        close(state.covariance, tied)
    else:
        assert formulas.relative(state.covariance, tied) > 1e-2


def test_a_class_that_exists_or_lies_outside_changes_nothing():
    state = add_class(nothing(), 1, np.ones(DIM, np.float32), np.eye(DIM, dtype=np.float32))
    for label in (1, -1, NUM_CLASSES, 99):
        again = add_class(state, label, np.zeros(DIM, np.float32), 5 * np.eye(DIM, dtype=np.float32))
        jax.tree.map(np.testing.assert_array_equal, again, state)


# --- what is refused --------------------------------------------------------------------------------------------

X, Y = np.zeros((5, DIM), np.float32), np.zeros(5, int)
ONE, SQUARE = np.zeros(DIM, np.float32), np.zeros((DIM, DIM), np.float32)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nearest_class_mean(0, DIM), ValueError, "num_classes must be .*at least 1, got 0"),
        (lambda: nearest_class_mean(2, 0), ValueError, "dim must be .*at least 1, got 0"),
        (lambda: nearest_class_mean(2, DIM, metric="dot"), ValueError, "metric must be one of 'euclidean', 'cosine'"),
        (lambda: on_statistics(analytic.lda, second="half"), ValueError, "second must be one of"),
        (lambda: on_statistics(analytic.lda, num_classes=-1), ValueError, "num_classes must be .*at least 1, got -1"),
        (lambda: teen(3, DIM, base=BASE), ValueError, r"base must have shape \[3\]"),
        (lambda: teen(4, DIM, base=[0, 1, 0, 1]), TypeError, "base must be boolean"),
        (lambda: teen(4, DIM, base=BASE, shift=1.5), ValueError, r"shift must lie in \[0.0, 1.0\], got 1.5"),
        (lambda: teen(4, 0, base=BASE), ValueError, "dim must be .*at least 1"),
        (lambda: random_ridge(width=0), ValueError, "width must be .*at least 1, got 0"),
        (lambda: random_ridge(ridge=0.0), ValueError, "ridge must be > 0, got 0.0"),
        (lambda: random_ridge(ridge=-1.0), ValueError, "ridge must be > 0, got -1.0"),
        (lambda: random_ridge(form="block"), ValueError, "form must be one of 'gram', 'recursive', 'balanced'"),
        (lambda: random_ridge(kind="sine"), ValueError, "kind must be one of 'relu', 'gaussian'"),
        (lambda: random_ridge(accumulate="half"), ValueError, "accumulate must be one of 'plain', 'compensated'"),
        (lambda: random_ridge(kind="gaussian"), ValueError, "needs centers"),
        (lambda: random_ridge(centers=QUERIES), ValueError, 'centers are for kind="gaussian"'),
        (lambda: random_ridge(kind="gaussian", centers=QUERIES[:3]), ValueError, "centers must have shape"),
        (lambda: random_ridge(kind="gaussian", centers=QUERIES, bandwidth=0.0), ValueError, "bandwidth must be > 0"),
        (
            lambda: random_ridge(form="recursive", accumulate="compensated"),
            ValueError,
            "accumulate='compensated' is for form=\"gram\", got form='recursive'",
        ),
    ],
)
def test_bad_options_are_refused_when_the_learner_is_made(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("name", ["nearest mean", "gram"])
@pytest.mark.parametrize(
    ("x", "labels", "where", "error", "words"),
    [
        (X.astype(int), Y, None, TypeError, "x must be floating point"),
        (X[:, :2], Y, None, ValueError, "x must have shape"),
        (X, Y.astype(float), None, TypeError, "labels must hold integers"),
        (X, Y[:, None], None, ValueError, r"labels must have shape \[N\]"),
        (X, Y, np.ones(4, bool), ValueError, r"where must have shape \[5\]"),
        (X, Y, np.ones(5), TypeError, "where must be boolean"),
    ],
)
def test_bad_chunks(name, x, labels, where, error, words):
    learner = LEARNERS[name]
    with pytest.raises(error, match=words):
        learner.update(learner.init(KEY), x, labels, where=where)


@pytest.mark.parametrize("x", [X[:1], X[0], X[:3]], ids=["one row", "no rows axis", "three rows"])
@pytest.mark.parametrize(
    "name",
    [
        "nearest mean",
        "gram",
    ],
)
def test_rows_and_labels_must_agree(name, x):
    learner = LEARNERS[name]
    with pytest.raises(ValueError, match=r"x and labels must agree|x must have shape \[N, D\]"):
        learner.update(learner.init(KEY), x, Y)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((1.0, ONE, SQUARE), TypeError, "label must hold integers"),
        ((np.array([1]), ONE, SQUARE), ValueError, "label must have shape"),
        ((1, ONE.astype(int), SQUARE), TypeError, "mean must be floating point"),
        ((1, ONE, SQUARE.astype(int)), TypeError, "covariance must be floating point"),
        ((1, ONE[:2], SQUARE), ValueError, "mean and covariance must have shapes"),
        ((1, ONE, SQUARE[:2]), ValueError, "mean and covariance must have shapes"),
    ],
)
def test_bad_classes(arguments, error, words):
    with pytest.raises(error, match=words):
        mahalanobis_add_class(nothing(), *arguments)


def test_states_of_different_learners_do_not_merge(compiled):
    x, labels = blobs(16)
    plain, compensated = compiled["gram"], compiled["compensated"]
    a, b = (one.update(one.init(KEY), x, labels) for one in (plain, compensated))
    with pytest.raises(ValueError, match="gram_low is kept by one state and not by the other"):
        plain.merge(a, b)
