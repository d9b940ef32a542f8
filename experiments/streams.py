"""Streams of classes: which rows come in which task or client, padded to one length, for many seeds at once.

Chosen on the host with numpy: the sizes are the same for every seed, so the seeds stack and one program serves all.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.errors import UserError
from jaxlab import continual
from jaxlab.typing import Array, PyTree

__all__ = [
    "ClassStream",
    "Padded",
    "Rows",
    "class_stream",
    "client_rows",
    "first_of_each",
    "gather",
    "head_distance",
    "stratified_split",
    "tail_sizes",
]


class Padded(NamedTuple):
    """Groups of row numbers padded with row 0, and which are real; [S, T, N] each, for S seeds."""

    index: np.ndarray
    where: np.ndarray


class Rows(NamedTuple):
    """Padded groups of rows of one seed: tasks, test sets or clients."""

    x: Array  # [T, N, D]
    y: Array  # [T, N]
    where: Array  # [T, N]

    def flat(self) -> tuple[Array, Array, Array]:
        """All rows as one group."""
        return self.x.reshape(-1, self.x.shape[-1]), self.y.reshape(-1), self.where.reshape(-1)


class ClassStream(NamedTuple):
    """A data set as a stream: disjoint tasks, tasks that mix classes, the test rows of each task's classes."""

    tasks: Padded
    blurred: Padded
    tests: Padded
    train_rows: np.ndarray  # bool [S, N]


def stratified_split(
    labels: np.ndarray, *, test_fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (train, test) with the same share of every class in the test rows, at least one row on each side.

    Raises:
      UserError: a class has a single row.
    """
    train, test = [], []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) < 2:
            raise UserError(f"Class {label} has a single row: every class needs one to train and one to test on.")
        cut = int(np.clip(round(test_fraction * len(rows)), 1, len(rows) - 1))
        test.append(rows[:cut])
        train.append(rows[cut:])
    return rng.permutation(np.concatenate(train)), rng.permutation(np.concatenate(test))


def tail_sizes(most: int, imbalance: float, num_classes: int) -> np.ndarray:
    """Rows of every class by place, most first, in equal ratios; at least two."""
    sizes = most * imbalance ** (-np.arange(num_classes) / (num_classes - 1))
    return np.maximum(np.round(sizes), 2).astype(int)


def first_of_each(labels: np.ndarray, rows: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Of the row numbers the first ``sizes[c]`` of every class c, class after class.

    Raises:
      UserError: a class has fewer.
    """
    groups = [rows[labels[rows] == c] for c in range(len(sizes))]
    for c, (own, size) in enumerate(zip(groups, sizes, strict=True)):
        if len(own) < size:
            raise UserError(f"Class {c} has {len(own)} training rows: {size} are needed (--most).")
    return np.concatenate([own[:size] for own, size in zip(groups, sizes, strict=True)])


class Split(NamedTuple):
    """Row numbers and labels of one seed; of many with a leading axis."""

    key: Array
    train: Array
    labels: Array
    test: Array
    truth: Array


def split_by_seed(labels: np.ndarray, keys: Array, *, test_fraction: float) -> Split:
    """A stratified split for every key."""
    streams = [np.random.default_rng(np.asarray(jax.random.key_data(key))) for key in keys]
    parts = [stratified_split(labels, test_fraction=test_fraction, rng=rng) for rng in streams]
    train, test = (jnp.asarray(np.stack(side)) for side in zip(*parts, strict=True))
    y = jnp.asarray(labels)
    return Split(keys, train, y[train], test, y[test])


def class_stream(
    labels: np.ndarray,
    *,
    seeds: int,
    base_classes: int,
    classes_per_task: int,
    blur: float = 0.3,
    test_fraction: float = 0.2,
    multiple: int = 1,
) -> ClassStream:
    """The disjoint and the blurred stream of a data set for every seed.

    Args:
      labels: int [N], 0 to C - 1.
      seeds: S; seed i splits and shuffles by ``default_rng(i)``.
      base_classes: classes 0 to base_classes - 1 form the first task; the last task may hold fewer than the others.
      classes_per_task: classes of each later task.
      blur: share of the training rows that come at a random time in the blurred stream, so that classes return.
      test_fraction: share of every class that is held out.
      multiple: pad every group to a multiple of this (the devices of a mesh).
    """
    num_classes = int(labels.max()) + 1
    starts = [0, *range(base_classes, num_classes, classes_per_task), num_classes]
    groups = [np.arange(low, high) for low, high in itertools.pairwise(starts)]
    tasks, blurred, tests, train_rows = [], [], [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        train, test = stratified_split(labels, test_fraction=test_fraction, rng=rng)
        tasks.append([train[np.isin(labels[train], group)] for group in groups])
        tests.append([test[np.isin(labels[test], group)] for group in groups])
        task_of = np.searchsorted(starts, labels[train], side="right") - 1
        moved = rng.permutation(len(train))[: round(blur * len(train))]
        task_of[moved] = rng.integers(len(groups), size=len(moved))
        blurred.append([train[task_of == task] for task in range(len(groups))])
        train_rows.append(np.isin(np.arange(len(labels)), train))
    return ClassStream(*(_pad(parts, multiple) for parts in (tasks, blurred, tests)), np.stack(train_rows))


def client_rows(labels: np.ndarray, train_rows: np.ndarray, *, clients: int, share: float, multiple: int = 1) -> Padded:
    """Training rows dealt to clients: each holds some of the classes, in unequal numbers of rows.

    Args:
      labels: int [N].
      train_rows: bool [S, N].
      clients: number of clients.
      share: share of the classes that a client holds; a class that nobody drew goes to a random client.
      multiple: pad every client to a multiple of this.
    """
    classes = np.unique(labels)
    dealt = []
    for seed, is_train in enumerate(train_rows):
        rng = np.random.default_rng([seed, 1])
        holds = np.stack([rng.permutation(len(classes)) < round(share * len(classes)) for _ in range(clients)])
        owner = np.full(len(labels), -1)
        for column, label in enumerate(classes):
            holders = np.flatnonzero(holds[:, column])
            holders = holders if len(holders) else rng.integers(clients, size=1)
            rows = np.flatnonzero((labels == label) & is_train)
            owner[rows] = rng.choice(holders, size=len(rows), p=rng.dirichlet(np.ones(len(holders))))
        dealt.append([np.flatnonzero(owner == client) for client in range(clients)])
    return _pad(dealt, multiple)


def _pad(parts: list[list[np.ndarray]], multiple: int) -> Padded:
    longest = max(len(rows) for one_seed in parts for rows in one_seed)
    length = -(-longest // multiple) * multiple
    index = np.zeros((len(parts), len(parts[0]), length), np.int32)
    where = np.zeros(index.shape, bool)
    for seed, one_seed in enumerate(parts):
        for group, rows in enumerate(one_seed):
            index[seed, group, : len(rows)] = rows
            where[seed, group, : len(rows)] = True
    return Padded(index, where)


def gather(features: Array, labels: Array, padded: Padded) -> Rows:
    """The rows themselves, [S, T, N, ...], from features [S, N, D] and labels [N]."""
    x = jax.vmap(lambda one, index: one[index])(features, padded.index)
    return Rows(x, labels[padded.index], jnp.asarray(padded.where))


def head_distance(head: PyTree, reference: PyTree) -> Array:
    """Relative Euclidean distance of what two heads have learned; -inf (an unseen class) counts as zero."""
    learned = [
        # The random expansion is the same in both, and would hide a difference.
        [
            jnp.nan_to_num(leaf, neginf=0.0)
            for leaf in jax.tree.leaves(one.head if isinstance(one, continual.AnalyticHead) else one)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
        ]
        for one in (head, reference)
    ]
    return optax.tree.norm(optax.tree.sub(*learned)) / optax.tree.norm(learned[1])
