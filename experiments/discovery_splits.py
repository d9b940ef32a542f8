"""Known and novel classes: the rows of a data set for every seed, and groups of methods that see the same of them."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data import Dataset
from experiments.errors import UserError
from experiments.runner import Claim, Method, Run
from jaxlab import metrics
from jaxlab.typing import Array

__all__ = ["Group", "Split", "accuracies", "gather", "inputs", "num_known", "split"]


class Group(NamedTuple):
    """The rows of one setting, with their claims.

    ``prepare(config, run, data) -> (seeds, shared)`` makes what they work on, once: every leaf of ``seeds`` has a
    leading axis of seeds, ``shared`` is a tuple that every seed sees whole. A row is then
    ``fn(config, seed, *shared) -> metrics`` or ``(metrics, curves)``, traced, for one seed. Rows that differ in numbers
    alone name the same ``fn`` and have ``weights``, which it takes as a last argument: one program makes them all.
    """

    rows: tuple[Method, ...]
    claims: tuple[Claim, ...]
    prepare: Callable[[Any, Run, Dataset], tuple[Any, tuple[Any, ...]]]
    mode: Literal["map", "vmap"] = "map"
    weights: Mapping[str, Any] = {}


class Split(NamedTuple):
    """The row numbers of one seed, by class; the known classes come first, and every class has as many rows."""

    key: Array
    classes: Array  # int [C], the label in the data set of each class as it is numbered here
    train: Array  # int [C, n]
    test: Array  # int [C, m]


def num_known(novel_share: float, num_classes: int) -> int:
    """How many classes have labels: two at least, and two are novel."""
    return num_classes - int(np.clip(round(novel_share * num_classes), 2, num_classes - 2))


def split(data: Dataset, run: Run, *, test_share: float) -> Split:
    """Another order of the classes and other rows for every seed; all leaves have a leading axis of seeds.

    Every class gives as many rows as the smallest has, so that the seeds stack.

    Raises:
      UserError: a class has fewer than 8 rows, or there are fewer than 4 classes.
    """
    fewest = int(np.bincount(data.y).min())
    if fewest < 8 or data.num_classes < 4:
        raise UserError(
            f"Known and novel classes need 4 classes of 8 rows at least: {data.name} has {data.num_classes} classes, "
            f"one with {fewest} rows."
        )
    num_test = int(np.clip(round(test_share * fewest), 1, fewest - 4))
    classes, rows = [], []
    keys = run.seed_keys()
    for number in np.asarray(jax.random.key_data(keys))[:, -1]:
        rng = np.random.default_rng([int(number), 2])
        order = rng.permutation(data.num_classes)
        classes.append(order)
        rows.append([rng.permutation(np.flatnonzero(data.y == label))[:fewest] for label in order])
    index = jnp.asarray(np.array(rows, np.int32))
    return Split(keys, jnp.asarray(np.array(classes)), index[:, :, num_test:], index[:, :, :num_test])


def gather(x: Array, index: Array, *, first: int = 0) -> tuple[Array, Array]:
    """The rows [K n, D] with numbers [K, n] and their classes, which count from ``first``."""
    return x[index.reshape(-1)], jnp.repeat(first + jnp.arange(index.shape[0]), index.shape[1])


def inputs(data: Dataset) -> np.ndarray:
    """Rows float32 [N, D] in [0, 1]: features each by its range, images as 8 x 8 pixels.

    Colours are averaged, and MNIST's empty frame of four pixels is cut off.
    """
    x = data.x
    if data.kind == "features":
        low, high = x.min(axis=0), x.max(axis=0)
        return (x - low) / np.where(high > low, high - low, 1)
    x = x if x.ndim == 3 else x.mean(axis=3)
    x = x[:, 4:-4, 4:-4] if data.name == "mnist5k" else x
    x = np.asarray(jax.image.resize(jnp.asarray(x), (len(x), 8, 8), "linear")).reshape(len(x), -1)
    return (x - x.min()) / max(float(np.ptp(x)), 1e-30)


def accuracies(predicted: Array, labels: Array, *, num_classes: int, num_known: int) -> dict[str, Array]:
    """Clustering accuracy of all, of the known and of the novel classes, under the one matching that is best for all.

    Args:
      predicted: int [N], clusters in [0, num_classes).
      labels: int [N], known classes below ``num_known``.
      num_classes: C, static.
      num_known: static.
    """
    matched = metrics.match_clusters(labels, predicted, num_clusters=num_classes)[predicted]
    right, known = matched == labels, labels < num_known
    return {
        "all": jnp.mean(right),
        "known": jnp.mean(right, where=known),
        "novel": jnp.mean(right, where=~known),
    }
