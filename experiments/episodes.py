"""Few-shot episodes: a few classes, a few labelled rows of each, and queries that may be labelled together."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.shots import Measurement, Part, Seed, Shared
from jaxlab import metrics, weaksup
from jaxlab.numerics import masked_mean, normalize
from jaxlab.typing import Array

__all__ = [
    "EPISODE_SHOTS",
    "QUERIES",
    "WAYS",
    "Task",
    "clusters",
    "draw_task",
    "episodes",
    "laplacian_clusters",
    "laplacian_shot",
    "nearest_prototype",
]

WAYS = 5  # classes of an episode, or all there are
QUERIES = 15  # per class
EPISODE_SHOTS = (1, 5)


class Task(NamedTuple):
    """Labelled rows, and queries with the labels to be found; labels are numbers within the episode."""

    support: Array  # [W K, D]
    labels: Array  # [W K]
    queries: Array  # [W Q, D]
    truth: Array  # [W Q]
    where: Array  # bool [W Q], False where a class has too few rows for all its queries


Classify = Callable[[Any, Task], Array]


def draw_task(key: Array, x: Array, labels: Array, train: Array, test: Array, *, num_classes: int, shots: int) -> Task:
    """Random classes, shots from the training rows and queries from the test rows; ``test`` is a mask too."""
    class_key, shot_key, query_key = jax.random.split(key, 3)
    chosen = jax.random.permutation(class_key, num_classes)[: min(WAYS, num_classes)]

    def rows_of(key: Array, allowed: Array, count: int) -> tuple[Array, Array]:
        order = jax.random.uniform(key, (len(chosen), len(labels)))
        own = (labels == chosen[:, None]) & allowed
        score, rows = jax.lax.top_k(jnp.where(own, order, -1.0), count)
        return rows.reshape(-1), score.reshape(-1) >= 0

    support, _ = rows_of(shot_key, train, shots)
    queries, exist = rows_of(query_key, test, QUERIES)
    names = jnp.arange(len(chosen))
    return Task(x[support], jnp.repeat(names, shots), x[queries], jnp.repeat(names, QUERIES), exist)


def episodes(classify: Classify) -> Part:
    """Accuracy on the queries with 1 and with 5 shots per class, mean over episodes; ``classify`` gives predictions.

    Rows are taken relative to the mean of the training rows, and then to unit length.
    """

    def measure(config: Any, seed: Seed, shared: Shared) -> Measurement:
        num_classes = seed.shots.shape[1]
        mean = masked_mean(shared.pixels, seed.train[:, None], axis=0)
        x = normalize(shared.pixels - mean)
        test = jnp.zeros(len(x), bool).at[seed.test].set(True)

        def accuracy(shots: int) -> Array:
            def one(key: Array) -> Array:
                sizes = {"num_classes": num_classes, "shots": shots}
                task = draw_task(key, x, shared.labels, seed.train, test, **sizes)
                return metrics.accuracy(classify(config, task), task.truth, where=task.where)

            keys = jax.random.split(jax.random.fold_in(seed.key, shots), config.episodes)
            return jnp.mean(jax.lax.map(one, keys, batch_size=min(10, config.episodes)))

        return {f"episode_{shots}": accuracy(shots) for shots in EPISODE_SHOTS}, {}

    return measure


def nearest_prototype(config: Any, task: Task) -> Array:
    return _clusters(config, task, num_outer=0, hard=True)


def laplacian_shot(config: Any, task: Task) -> Array:
    return _clusters(config, task, num_outer=0, strength=config.agreement, scale=config.sharpness)


def clusters(config: Any, task: Task) -> Array:
    return _clusters(config, task, hard=True)


def laplacian_clusters(config: Any, task: Task) -> Array:
    return _clusters(config, task, strength=config.agreement, scale=config.sharpness)


def _clusters(config: Any, task: Task, **options: Any) -> Array:
    options = {"num_classes": WAYS, "where": task.where} | options
    found = weaksup.transductive_clustering(task.support, task.labels, task.queries, **options)
    return jnp.argmax(found.assignments, axis=-1)
