"""Measures of streams: summaries, fronts, neighbours as a probe, mean average precision; the loss of their rows."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, log_loss
from sklearn.neighbors import KNeighborsClassifier

from jaxlab import losses, metrics, selection

rng = np.random.default_rng(0)


def test_weighted_mean_is_the_pooled_accuracy():
    counts = rng.integers(1, 30, 6)
    right = [rng.random(n) < 0.6 for n in counts]
    accuracy = np.float32([hits.mean() for hits in right])
    summary = metrics.stream_summary(accuracy, counts, np.ones(6, np.float32))
    np.testing.assert_allclose(summary.example_accuracy, np.concatenate(right).mean(), rtol=1e-6)
    np.testing.assert_allclose(summary.task_accuracy, accuracy.mean(), rtol=1e-6)
    assert abs(summary.example_accuracy - summary.task_accuracy) > 1e-3
    assert metrics.stream_summary(accuracy, np.zeros(6, int), np.ones(6, np.float32)).example_accuracy == 0


def test_flops_of_the_search_count():
    training = np.float32([1, 2, 3])
    search = np.float32([[5, 5], [0, 1], [2, 2]])
    flops = metrics.stream_summary(np.ones(3, np.float32), np.ones(3), np.column_stack([training, search])).flops
    np.testing.assert_array_equal(flops, np.cumsum(training + search.sum(1)))
    assert flops[-1] > metrics.stream_summary(np.ones(3, np.float32), np.ones(3), training).flops[-1]


COST, SCORE = rng.random((2, 40)).astype(np.float32)


def dominated(cost, score):
    others = list(zip(cost, score, strict=True))
    beats = lambda c, s, i: c <= cost[i] and s >= score[i] and (c < cost[i] or s > score[i])  # noqa: E731
    return np.array([any(beats(c, s, i) for c, s in others) for i in range(len(cost))])


def test_the_front_is_what_nobody_beats():
    front = metrics.pareto_front(COST, SCORE)
    np.testing.assert_array_equal(front, ~dominated(COST, SCORE))
    assert 1 < np.sum(front) < 20
    np.testing.assert_array_equal(metrics.pareto_front(np.exp(5 * COST), SCORE**3), front)
    order = rng.permutation(40)
    np.testing.assert_array_equal(metrics.pareto_front(COST[order], SCORE[order]), np.asarray(front)[order])
    # Beaten points can be left out without any change; where one of the front goes, others come up.
    np.testing.assert_array_equal(metrics.pareto_front(COST, SCORE, where=front), front)


def test_ties_and_nan_on_the_front():
    cost, score = jnp.array([1.0, 1.0, 1.0, 2.0, jnp.nan]), jnp.array([0.5, 0.5, 0.4, 0.5, 9.0])
    np.testing.assert_array_equal(metrics.pareto_front(cost, score), [True, True, False, False, False])


X = rng.normal(size=(80, 5)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int32) + (X[:, 1] > 0.5)
TRAIN, TEST = slice(0, 50), slice(50, 80)


@pytest.mark.parametrize("k", [1, 5])
def test_neighbours_vote_as_in_scikit_learn(k):
    expected = KNeighborsClassifier(k).fit(X[TRAIN], Y[TRAIN]).score(X[TEST], Y[TEST])
    got = metrics.knn_accuracy(X[TRAIN], Y[TRAIN], X[TEST], Y[TEST], num_classes=3, k=k, metric="euclidean")
    assert got == pytest.approx(expected)
    # The same where other rows are there and masked.
    dirty = np.where(np.arange(80)[:, None] < 50, X, np.nan)
    masked = metrics.knn_accuracy(
        dirty,
        Y,
        X,
        Y,
        num_classes=3,
        k=k,
        metric="euclidean",
        train_where=np.arange(80) < 50,
        where=np.arange(80) >= 50,
    )
    assert masked == pytest.approx(expected)


def test_fewer_neighbours_than_k_vote_alone():
    one = metrics.knn_accuracy(X, Y, X, Y, num_classes=3, k=5, train_where=np.arange(80) == 0)
    assert one == pytest.approx(np.mean(Y[0] == Y))


def test_transfer_cost_finds_the_source_that_separates_the_classes():
    noise = rng.normal(size=X.shape).astype(np.float32)
    sources = np.stack([noise, X, 0.3 * X + noise])
    costs = selection.knn_transfer_cost(sources[:, TRAIN], Y[TRAIN], sources[:, TEST], Y[TEST], num_classes=3)
    expected = [
        1 - KNeighborsClassifier(5).fit(source[TRAIN], Y[TRAIN]).score(source[TEST], Y[TEST]) for source in sources
    ]
    np.testing.assert_allclose(costs, expected, atol=1e-6)
    assert np.argmin(costs) == 1
    where = np.arange(80) < 50
    masked = selection.knn_transfer_cost(sources, Y, sources, Y, num_classes=3, train_where=where, where=~where)
    np.testing.assert_allclose(masked, costs, atol=1e-6)


def test_mean_average_precision_skips_classes_without_positives():
    targets = rng.random((60, 5)) < [0.5, 0.3, 0.0, 0.1, 0.7]
    scores = rng.normal(size=(60, 5)).astype(np.float32) + targets
    expected = [average_precision_score(targets[:, c], scores[:, c]) for c in (0, 1, 3, 4)]
    assert metrics.mean_average_precision(scores.T, targets.T) == pytest.approx(np.mean(expected), rel=1e-5)
    padded = np.concatenate([scores, np.full((9, 5), np.nan, np.float32)])
    hidden = np.concatenate([targets, np.ones((9, 5), bool)])
    where = np.broadcast_to(np.arange(69) < 60, (5, 69))
    assert metrics.mean_average_precision(padded.T, hidden.T, where=where) == pytest.approx(np.mean(expected), rel=1e-5)
    assert metrics.mean_average_precision(scores.T, np.zeros((5, 60), bool)) == 0
    assert metrics.mean_average_precision(scores.T, np.ones((5, 60), bool)) == 1
    assert np.isnan(metrics.mean_average_precision(padded.T, hidden.T))


LOGITS = rng.normal(size=(20, 4)).astype(np.float32)
TARGETS = rng.random((20, 4)) < 0.4


def test_binary_cross_entropy_weighs_positives():
    got = losses.weighted_binary_cross_entropy(LOGITS, TARGETS, pos_weight=3.0)
    probs = 1 / (1 + np.exp(-LOGITS.astype(float)))
    expected = -3.0 * TARGETS * np.log(probs) - ~TARGETS * np.log(1 - probs)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    plain = losses.weighted_binary_cross_entropy(LOGITS, TARGETS)
    assert np.mean(plain) == pytest.approx(log_loss(TARGETS.ravel(), probs.ravel()), rel=1e-5)
    extreme = losses.weighted_binary_cross_entropy(jnp.array([-1e4, 1e4]), jnp.array([1, 0]))
    np.testing.assert_allclose(extreme, 1e4)


def test_hidden_classes_add_nothing():
    where = np.broadcast_to(np.arange(4) < 2, (20, 4))
    dirty = np.where(where, LOGITS, np.nan)
    value, gradient = jax.value_and_grad(
        lambda logits: jnp.sum(losses.weighted_binary_cross_entropy(logits, TARGETS, where=where))
    )(dirty)
    alone = jnp.sum(losses.weighted_binary_cross_entropy(LOGITS[:, :2], TARGETS[:, :2]))
    np.testing.assert_allclose(value, alone, rtol=1e-6)
    np.testing.assert_array_equal(gradient[:, 2:], 0)
    # Filled with zeros instead, each hidden entry adds log 2.
    zeros = losses.weighted_binary_cross_entropy(np.where(where, LOGITS, 0.0), np.where(where, TARGETS, 0))
    np.testing.assert_allclose(jnp.sum(zeros), alone + 40 * np.log(2), rtol=1e-6)


ONES = jnp.ones(3)
BAD = {
    "stream": (lambda: metrics.stream_summary(ONES, jnp.ones(2), ONES), ValueError, "num_examples and accuracy"),
    "flops": (lambda: metrics.stream_summary(ONES, ONES, jnp.ones(3, int)), TypeError, "flops must be floating point"),
    "runs": (lambda: metrics.stream_summary(ONES, ONES, jnp.ones((2, 3))), ValueError, "flops and accuracy"),
    "front": (lambda: metrics.pareto_front(ONES, jnp.ones(2)), ValueError, "cost and score"),
    "planes": (lambda: metrics.pareto_front(jnp.ones((2, 3)), jnp.ones((2, 3))), ValueError, "[M]"),
    "k": (lambda: metrics.knn_accuracy(X, Y, X, Y, num_classes=3, k=81), ValueError, "k must be at most 80"),
    "labels": (lambda: metrics.knn_accuracy(X, Y[:3], X, Y, num_classes=3), ValueError, "train_labels"),
    "real": (lambda: metrics.knn_accuracy(X, Y, X, X[:, 0], num_classes=3), TypeError, "labels must hold integers"),
    "sources": (lambda: selection.knn_transfer_cost(X, Y, X, Y, num_classes=3), ValueError, "[S, M, D]"),
    "relevant": (lambda: metrics.mean_average_precision(LOGITS, LOGITS), TypeError, "relevant must be boolean"),
    "bce": (lambda: losses.weighted_binary_cross_entropy(LOGITS, TARGETS[:, :2]), ValueError, "logits and targets"),
    "weight": (
        lambda: losses.weighted_binary_cross_entropy(LOGITS, TARGETS, pos_weight=0.0),
        ValueError,
        "pos_weight must be > 0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
