"""A learner, and the one loop that drives it over a stream of tasks."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = ["Learner", "StreamResult", "run_stream"]


class Learner(NamedTuple):
    """A class-incremental learner as pure functions; states and heads are NamedTuples of arrays.

    ``init(key) -> state``; ``update(state, x [N, D], labels [N], where=None) -> state``, for rows of any classes in any
    order; ``solve(state) -> head``; ``predict(head, x [..., D]) -> logits [..., C]``, -inf for classes never seen.
    ``merge(a, b)`` and ``forget(a, b)`` add and subtract the data of two states made with the same key; None where the
    learner has none.
    """

    init: Callable[[Array], PyTree]
    update: Callable[..., PyTree]
    solve: Callable[[PyTree], PyTree]
    predict: Callable[[PyTree, Array], Array]
    merge: Callable[[PyTree, PyTree], PyTree] | None = None
    forget: Callable[[PyTree, PyTree], PyTree] | None = None


class StreamResult(NamedTuple):
    """What ``run_stream`` returns: accuracy[t, i] on test set i after task t, and the last state and head."""

    accuracy: Array  # [T, I]
    state: PyTree
    head: PyTree


def run_stream(
    learner: Learner,
    key: Array,
    x: ArrayLike,
    labels: ArrayLike,
    x_test: ArrayLike,
    labels_test: ArrayLike,
    *,
    where: ArrayLike | None = None,
    where_test: ArrayLike | None = None,
) -> StreamResult:
    """Learns tasks one after the other, solves once after each, and fills the accuracy matrix; one compiled loop.

    Tasks are padded to one length: ``where`` tells real rows from padding. Call it under ``jit``, and ``vmap`` it over
    keys and streams for many seeds.

    Args:
      learner: the learner.
      key: PRNG key for ``learner.init``.
      x: float [T, N, ...], rows of each task.
      labels: int [T, N].
      x_test: float [I, M, ...], rows of each test set; one per task for ``metrics.forgetting`` and its relatives.
      labels_test: int [I, M].
      where: bool [T, N], True where a training row counts.
      where_test: bool [I, M], True where a test row counts; a test set without rows has accuracy 0.
    Returns:
      StreamResult. Entries of accuracy for classes not yet seen are those of a learner that cannot predict them.
    Raises:
      ValueError: shapes do not agree.
      TypeError: x is not floating point or labels are not integers.

    >>> from jaxlab import analytic, continual
    >>> learner = continual.class_stats_learner(analytic.nearest_mean, num_classes=2, dim=1)
    >>> x, y = jnp.array([[[0.0], [1.0]], [[5.0], [6.0]]]), jnp.array([[0, 0], [1, 1]])
    >>> print(continual.run_stream(learner, jax.random.key(0), x, y, x, y).accuracy)
    [[1. 0.]
     [1. 1.]]

    Reference: the standard protocol of class-incremental learning.
    """
    x, x_test = checks.floating(x, "x"), checks.floating(x_test, "x_test")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 2, layout="[T, N]")
    labels_test = checks.rank(checks.integer(labels_test, "labels_test"), "labels_test", 2, layout="[I, M]")
    checks.batch_match(x, "x", labels, "labels", axes=2)
    checks.batch_match(x_test, "x_test", labels_test, "labels_test", axes=2)
    mask = checks.mask(where, "where", labels.shape)
    mask = jnp.ones(labels.shape, bool) if mask is None else mask
    mask_test = checks.mask(where_test, "where_test", labels_test.shape)
    mask_test = jnp.ones(labels_test.shape, bool) if mask_test is None else mask_test
    rows_test = x_test.reshape(-1, *x_test.shape[2:])
    counts_test = jnp.maximum(jnp.sum(mask_test, axis=1), 1)

    def learn(carry: tuple[PyTree, PyTree], task: tuple[Array, Array, Array]) -> tuple[tuple[PyTree, PyTree], Array]:
        state = learner.update(carry[0], task[0], task[1], where=task[2])
        head = learner.solve(state)
        predicted = jnp.argmax(learner.predict(head, rows_test), axis=-1).reshape(labels_test.shape)
        return (state, head), jnp.sum((predicted == labels_test) & mask_test, axis=1) / counts_test

    state = learner.init(key)
    head = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(learner.solve, state))
    (state, head), accuracy = jax.lax.scan(learn, (state, head), (x, labels, mask))
    return StreamResult(accuracy, state, head)
