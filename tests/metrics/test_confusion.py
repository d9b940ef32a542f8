"""Counts of two classes and of several, and what is read off them, against scikit-learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jaxlab import metrics
from jaxlab.metrics import Confusion

RNG = np.random.default_rng(0)
TRUTH, GUESS = RNG.integers(0, 4, 60), RNG.integers(0, 4, 60)
TRUTH[:30] = GUESS[:30]
TABLE = metrics.confusion_matrix(GUESS, TRUTH, num_classes=4)
TARGETS, HARD = RNG.integers(0, 2, 40), RNG.integers(0, 2, 40)
PAIR = metrics.soft_confusion(HARD.astype(np.float32), TARGETS)
PROBS = RNG.uniform(size=40).astype(np.float32)

F2 = functools.partial(metrics.f_beta, beta=2.0)
PEERS = [
    (metrics.accuracy_from_confusion, sklearn_metrics.accuracy_score, {}),
    (metrics.f_beta, sklearn_metrics.f1_score, {"average": None}),
    (F2, functools.partial(sklearn_metrics.fbeta_score, beta=2.0), {"average": None}),
    (metrics.balanced_accuracy, sklearn_metrics.balanced_accuracy_score, {}),
    (metrics.matthews, sklearn_metrics.matthews_corrcoef, {}),
    (metrics.cohen_kappa, sklearn_metrics.cohen_kappa_score, {}),
]


@pytest.mark.parametrize(("ours", "theirs", "several"), PEERS)
def test_equal_scikit_learn_on_several_classes_and_on_two(ours, theirs, several):
    np.testing.assert_allclose(ours(TABLE), theirs(TRUTH, GUESS, **several), rtol=1e-5)
    np.testing.assert_allclose(ours(PAIR), theirs(TARGETS, HARD), rtol=1e-5)


def test_geometric_mean_of_the_recalls():
    recalls = sklearn_metrics.recall_score(TRUTH, GUESS, average=None)
    np.testing.assert_allclose(metrics.g_mean(TABLE), np.prod(recalls) ** 0.25, rtol=1e-5)
    np.testing.assert_allclose(metrics.g_mean(TABLE, root=False), np.prod(recalls), rtol=1e-5)
    both = sklearn_metrics.recall_score(TARGETS, HARD, average=None)
    np.testing.assert_allclose(metrics.g_mean(PAIR), np.sqrt(both[0] * both[1]), rtol=1e-5)


def test_soft_counts_add_to_the_number_of_examples():
    counts = metrics.soft_confusion(PROBS, TARGETS)
    np.testing.assert_allclose(sum(counts), 40, rtol=1e-6)
    np.testing.assert_allclose(counts.tp, np.sum(PROBS * TARGETS), rtol=1e-5)
    np.testing.assert_allclose(counts.fp, np.sum(PROBS * (1 - TARGETS)), rtol=1e-5)
    np.testing.assert_allclose(counts.fn, np.sum((1 - PROBS) * TARGETS), rtol=1e-5)
    rows = metrics.soft_confusion(PROBS.reshape(4, 10), TARGETS.reshape(4, 10))
    np.testing.assert_allclose(jnp.sum(rows.tn), counts.tn, rtol=1e-5)


def test_hard_counts_are_those_of_the_table():
    table = metrics.confusion_matrix(HARD, TARGETS, num_classes=2)
    np.testing.assert_array_equal(np.array(PAIR), [table[1, 1], table[0, 1], table[1, 0], table[0, 0]])


def test_where_leaves_out_bad_examples():
    where = np.arange(40) % 3 > 0
    dirty = np.where(where, PROBS, np.nan)
    counts = metrics.soft_confusion(dirty, TARGETS, where=where)
    np.testing.assert_allclose(
        np.array(counts), np.array(metrics.soft_confusion(PROBS[where], TARGETS[where])), rtol=1e-5
    )
    gradient = jax.grad(lambda p: metrics.f_beta(metrics.soft_confusion(p, TARGETS, where=where)))(dirty)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[~where] == 0).all()


def test_devices_add_their_counts():
    split = jax.vmap(functools.partial(metrics.soft_confusion, axis_name="i"), axis_name="i")
    counts = split(PROBS.reshape(4, 10), TARGETS.reshape(4, 10))
    whole = metrics.soft_confusion(PROBS, TARGETS)
    np.testing.assert_allclose(np.array(counts), np.tile(np.array(whole)[:, None], 4), rtol=1e-5)


@pytest.mark.parametrize("ours", [peer[0] for peer in PEERS] + [metrics.g_mean])
def test_nothing_or_one_class_gives_zero_and_finite_gradients(ours):
    empty, one = jnp.zeros((3, 3)), jnp.zeros((3, 3)).at[0, 1].set(5.0)
    for table in (empty, one):
        assert (np.asarray(ours(table)) == 0).all()
        assert np.isfinite(jax.grad(lambda t: jnp.sum(ours(t)))(table)).all()


def test_a_truth_of_one_class_is_chance():
    table = jnp.array([[7, 3, 1], [0, 0, 0], [0, 0, 0]])
    assert float(metrics.matthews(table)) == 0
    np.testing.assert_allclose(metrics.cohen_kappa(table), 0, atol=1e-6)
    np.testing.assert_allclose(metrics.balanced_accuracy(table), 7 / 11, rtol=1e-6)
    np.testing.assert_allclose(metrics.g_mean(table), 7 / 11, rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 1000])
def test_many_examples_keep_their_precision(rows):
    table = rows * np.array([[9500, 300], [120, 80]])
    x = np.repeat([0, 0, 1, 1], table.reshape(-1) // rows)
    y = np.repeat([0, 1, 0, 1], table.reshape(-1) // rows)
    np.testing.assert_allclose(metrics.matthews(table), np.corrcoef(x, y)[0, 1], rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: metrics.soft_confusion(jnp.zeros(3), jnp.zeros(2)), ValueError, "probs and targets"),
        (lambda: metrics.soft_confusion(jnp.zeros(()), jnp.zeros(())), ValueError, "got a scalar"),
        (lambda: metrics.soft_confusion(jnp.zeros(3, int), jnp.zeros(3)), TypeError, "probs must be floating point"),
        (
            lambda: metrics.soft_confusion(jnp.zeros(3), jnp.zeros(3), where=jnp.ones(3)),
            TypeError,
            "where must be bool",
        ),
        (lambda: metrics.f_beta(TABLE, beta=-1.0), ValueError, "beta must be at least 0"),
        (lambda: metrics.f_beta(jnp.zeros((2, 3))), ValueError, "confusion must be a Confusion"),
        (lambda: metrics.balanced_accuracy(jnp.zeros(4)), ValueError, "confusion must be a Confusion"),
        (lambda: metrics.g_mean(jnp.zeros((0, 0))), ValueError, "confusion must be a Confusion"),
        (lambda: metrics.matthews(jnp.zeros(())), ValueError, "confusion must be a Confusion"),
        (lambda: metrics.cohen_kappa(jnp.zeros((3, 2))), ValueError, "confusion must be a Confusion"),
        (lambda: metrics.accuracy_from_confusion(jnp.zeros(3)), ValueError, "confusion must be a Confusion"),
    ],
)
def test_bad_confusions(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_out_of_range_targets_are_taken_as_they_are():
    counts = metrics.soft_confusion(jnp.array([0.5]), jnp.array([2.0]))
    assert [float(c) for c in counts] == [1.0, -0.5, 1.0, -0.5]
    assert isinstance(counts, Confusion)
