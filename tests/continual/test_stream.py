"""The compiled loop over tasks against a plain Python loop."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import analytic
from jaxlab.continual import Learner, class_stats_learner, nearest_class_mean, run_stream
from tests.analytic.formulas import blobs, close

NUM_CLASSES, DIM = 6, 3
TASKS, LENGTH = 3, 14
KEY = jax.random.key(0)


def tasks(seed, counts=(9, 6, 8, 5, 4, 7)):
    """Two new classes a task, padded with junk; test sets of their own."""
    x, labels = blobs(seed, counts, DIM)
    x_test, labels_test = blobs(seed, (5,) * NUM_CLASSES, DIM)
    rows = np.full((TASKS, LENGTH + 1, DIM), np.nan, np.float32)
    names, where = np.full((TASKS, LENGTH + 1), -7), np.zeros((TASKS, LENGTH + 1), bool)
    for t in range(TASKS):
        index = np.flatnonzero(labels // 2 == t)
        rows[t, : len(index)], names[t, : len(index)], where[t, : len(index)] = x[index], labels[index], True
    order = np.argsort(labels_test // 2, kind="stable").reshape(TASKS, -1)
    return rows, names, x_test[order], labels_test[order], where


def by_loop(learner, key, x, labels, x_test, labels_test, where):
    """What run_stream does, a task and a test row at a time, without padding."""
    state, matrix, head = learner.init(key), [], None
    for rows, names, counts in zip(x, labels, where, strict=True):
        state = learner.update(state, rows[counts], names[counts])
        head = learner.solve(state)
        scores = [[np.asarray(learner.predict(head, row)).argmax() for row in test] for test in x_test]
        matrix.append([np.mean(np.array(s) == t) for s, t in zip(scores, labels_test, strict=True)])
    return np.array(matrix), state, head


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_equals_a_python_loop(metric):
    learner = nearest_class_mean(NUM_CLASSES, DIM, metric=metric)
    x, labels, x_test, labels_test, where = tasks(0)
    result = jax.jit(lambda *a: run_stream(learner, KEY, *a[:4], where=a[4]))(x, labels, x_test, labels_test, where)
    matrix, state, head = by_loop(learner, KEY, x, labels, x_test, labels_test, where)
    np.testing.assert_allclose(result.accuracy, matrix, atol=1e-7)
    assert result.accuracy.shape == (TASKS, TASKS)
    for part, expected in ((result.state, state), (result.head, head)):
        jax.tree.map(lambda a, b: close(a, b, 1e-5), part, expected)
    assert 0 < matrix[0, 0] <= 1
    assert (matrix[0, 1:] == 0).all()  # classes not yet seen are never predicted


class Steps(NamedTuple):
    key: jax.Array
    tasks: jax.Array
    rows: jax.Array


def counting_learner():
    """Its prediction tells how many updates the state has been through; its head, how many of them were real rows."""

    def update(state, x, labels, *, where):
        return Steps(state.key, state.tasks + 1, state.rows + jnp.sum(where))

    return Learner(
        init=lambda key: Steps(jax.random.randint(key, (), 0, 10**6), jnp.int32(0), jnp.int32(0)),
        update=update,
        solve=lambda state: {"said": state.tasks, "rows": state.rows, "key": state.key},
        predict=lambda head, x: jax.nn.one_hot(jnp.full(x.shape[:-2], head["said"]), 5),
    )


def test_any_learner_on_rows_of_any_shape():
    """Images, heads that are dicts; the accuracy of task t is read after update t, not before it or at the end."""
    x, where = np.zeros((4, 6, 2, 2), np.float32), np.arange(24).reshape(4, 6) % 5 > 0
    x_test, labels_test = np.zeros((3, 4, 2, 2), np.float32), np.array([[1, 1, 2, 2], [3, 3, 3, 4], [0, 0, 0, 0]])
    result = run_stream(counting_learner(), KEY, x, np.zeros((4, 6), int), x_test, labels_test, where=where)
    np.testing.assert_allclose(result.accuracy, [[0.5, 0, 0], [0.5, 0, 0], [0, 0.75, 0], [0, 0.25, 0]])
    assert result.state.tasks == result.head["said"] == 4
    assert result.state.rows == result.head["rows"] == where.sum()
    assert result.head["key"] == counting_learner().init(KEY).key


def test_test_rows_that_do_not_count():
    learner = nearest_class_mean(NUM_CLASSES, DIM)
    x, labels, x_test, labels_test, where = tasks(1)
    keep = np.arange(labels_test.size).reshape(labels_test.shape) % 3 > 0
    keep[2] = False
    result = run_stream(learner, KEY, x, labels, x_test, labels_test, where=where, where_test=keep).accuracy
    dirty = np.where(keep[..., None], x_test, np.nan), np.where(keep, labels_test, -1)
    same = run_stream(learner, KEY, x, labels, *dirty, where=where, where_test=keep).accuracy
    np.testing.assert_array_equal(same, result)
    kept = [[rows[k] for rows, k in zip(test[:2], keep, strict=False)] for test in (x_test, labels_test)]
    matrix, *_ = by_loop(learner, KEY, x, labels, *kept, where)
    np.testing.assert_allclose(result[:, :2], matrix, atol=1e-7)
    np.testing.assert_array_equal(result[:, 2], 0)  # a test set without rows


def test_without_masks_every_row_counts():
    learner = nearest_class_mean(NUM_CLASSES, DIM)
    x, labels, x_test, labels_test, _ = tasks(2)
    rows, names = np.nan_to_num(x[:, :10]), np.maximum(labels[:, :10], 0)
    everything = np.ones(names.shape, bool)
    plain = run_stream(learner, KEY, rows, names, x_test, labels_test)
    masked = run_stream(learner, KEY, rows, names, x_test, labels_test, where=everything)
    np.testing.assert_array_equal(plain.accuracy, masked.accuracy)
    np.testing.assert_array_equal(plain.state.count, np.bincount(names.ravel(), minlength=NUM_CLASSES))


def test_seeds_and_streams_by_vmap():
    learner = class_stats_learner(analytic.lda, num_classes=NUM_CLASSES, dim=DIM, second="shared")
    streams = [tasks(seed) for seed in (3, 4, 5)]
    keys = jax.random.split(KEY, 3)
    one = jax.jit(lambda k, *a: run_stream(learner, k, *a[:4], where=a[4]))
    many = jax.jit(jax.vmap(lambda k, *a: run_stream(learner, k, *a[:4], where=a[4])))
    together = many(keys, *(np.stack(part) for part in zip(*streams, strict=True)))
    for i, stream in enumerate(streams):
        alone = one(keys[i], *stream)
        np.testing.assert_allclose(together.accuracy[i], alone.accuracy, atol=1e-7)
        close(together.head.weight[i], alone.head.weight, 1e-4)
    assert len({together.accuracy[i].tobytes() for i in range(3)}) == 3


def test_a_task_without_rows_leaves_the_row_before():
    learner = nearest_class_mean(NUM_CLASSES, DIM)
    x, labels, x_test, labels_test, where = tasks(6)
    where[1] = False
    accuracy = run_stream(learner, KEY, x, labels, x_test, labels_test, where=where).accuracy
    np.testing.assert_array_equal(accuracy[1], accuracy[0])


X, Y = np.zeros((2, 4, DIM), np.float32), np.zeros((2, 4), int)
GOOD = {"x": X, "labels": Y, "x_test": X, "labels_test": Y}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"x": X.astype(int)}, TypeError, "x must be floating point"),
        ({"x_test": X.astype(int)}, TypeError, "x_test must be floating point"),
        ({"labels": Y.astype(float)}, TypeError, "labels must hold integers"),
        ({"labels": Y[0]}, ValueError, r"labels must have shape \[T, N\]"),
        ({"labels_test": Y[0]}, ValueError, r"labels_test must have shape \[I, M\]"),
        ({"labels_test": Y.astype(float)}, TypeError, "labels_test must hold integers"),
        ({"x": X[:, :3]}, ValueError, "x and labels must agree in their first 2 axes"),
        ({"x_test": X[:1]}, ValueError, "x_test and labels_test must agree in their first 2 axes"),
        ({"where": np.ones((2, 3), bool)}, ValueError, r"where must have shape \[2, 4\]"),
        ({"where": np.ones((2, 4))}, TypeError, "where must be boolean"),
        ({"where_test": np.ones(4, bool)}, ValueError, r"where_test must have shape \[2, 4\]"),
        ({"where_test": np.ones((2, 4), int)}, TypeError, "where_test must be boolean"),
        ({"x": X[..., :2]}, ValueError, r"x must have shape \[N, 3\] to match the state"),
        ({"x_test": X[..., :2]}, ValueError, r"x must have shape \[..., 3\]"),
    ],
)
def test_bad_input(change, error, words):
    learner = nearest_class_mean(NUM_CLASSES, DIM)
    with pytest.raises(error, match=words):
        run_stream(learner, KEY, **{**GOOD, **change})
