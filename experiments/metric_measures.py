"""How well embeddings retrieve and verify classes they were not trained on, and what they keep within a class."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import analytic, kernels, losses, metrics
from jaxlab.numerics import normalize
from jaxlab.typing import Array

__all__ = ["Coarse", "Unseen", "finer", "unseen"]


class Unseen(NamedTuple):
    """Rows of one seed where test classes are new: row numbers and labels."""

    train: Array  # int [N]
    train_labels: Array  # int [N]
    test: Array  # int [M]
    test_labels: Array  # int [M], in [0, C)
    key: Array


class Coarse(NamedTuple):
    """Rows of one seed where several classes share a name: row numbers, true classes, names."""

    train: Array
    train_labels: Array
    train_groups: Array
    test: Array
    test_labels: Array
    test_groups: Array


@functools.partial(jax.jit, static_argnames=("num_classes", "far", "thresholds"))
def unseen(
    embeddings: Array, seeds: Unseen, *, num_classes: int, far: float, thresholds: tuple[float, ...]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Metrics [S] and curves [S, ...] from unit embeddings [S, N, E] of all rows."""

    def one(inputs: tuple[Array, Unseen]) -> tuple[dict[str, Array], dict[str, Array]]:
        rows, seed = inputs
        tests, known, labels = rows[seed.test], rows[seed.train], seed.test_labels
        squares = kernels.pairwise_sq_dists(tests)
        distances = jnp.sqrt(squares)
        itself = jnp.eye(len(labels), dtype=bool)
        same = labels[:, None] == labels
        scores = jnp.where(itself, -jnp.inf, -squares)
        upper = jnp.triu(jnp.ones_like(itself), 1)
        pairs = (-squares.ravel(), same.ravel())
        mixed = losses.metric_mixup_pairs(seed.key, known, seed.train_labels, negatives="random")
        both = jnp.concatenate([known, normalize(mixed.mixed)])
        curves = metrics.class_operating_curves(distances, labels, jnp.array(thresholds), num_classes=num_classes)
        found = {
            "recall_at_1": jnp.mean(metrics.hits_at_k(scores, same & ~itself, k=1)),
            "mean_average_precision": metrics.mean_average_precision(-squares, same, where=~itself),
            "tar_at_far": metrics.tpr_at_fpr(*pairs, fpr=far, where=upper.ravel()),
            "opis": metrics.opis(distances, labels, num_classes=num_classes),
            "utilization": metrics.utilization(tests, known),
            "utilization_mixed": metrics.utilization(
                tests, both, reference_where=jnp.concatenate([jnp.ones(len(known), bool), mixed.where])
            ),
        }
        return found, {"accepted": curves.tar, "falsely_accepted": curves.far}

    return jax.lax.map(one, (embeddings, seeds))


@functools.partial(jax.jit, static_argnames=("num_classes", "num_groups", "ridge"))
def finer(embeddings: Array, seeds: Coarse, *, num_classes: int, num_groups: int, ridge: float) -> dict[str, Array]:
    """Accuracy on the true classes and on the names that were trained, from unit embeddings [S, N, E]."""

    def one(inputs: tuple[Array, Coarse]) -> dict[str, Array]:
        rows, seed = inputs
        known, tests = rows[seed.train], rows[seed.test]
        fine = metrics.knn_accuracy(known, seed.train_labels, tests, seed.test_labels, num_classes=num_classes)
        coarse = metrics.knn_accuracy(known, seed.train_groups, tests, seed.test_groups, num_classes=num_groups)
        center = jnp.mean(known, axis=0)
        centered, targets = known - center, jax.nn.one_hot(seed.train_labels, num_classes)
        products = (jnp.matmul(centered.T, of, precision="highest") for of in (centered, targets))
        logits = (tests - center) @ analytic.ridge_solve(*products, ridge=ridge) + jnp.mean(targets, axis=0)
        linear = metrics.accuracy(jnp.argmax(logits, axis=1), seed.test_labels)
        return {"fine_neighbours": fine, "fine_linear": linear, "coarse_neighbours": coarse}

    return jax.lax.map(one, (embeddings, seeds))
