"""A learner that compares what a network makes of a row with one vector per class, by cosines."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.networks import Network
from experiments.training import fit
from jaxlab import analytic, continual
from jaxlab.continual import Learner
from jaxlab.typing import Array, PyTree

__all__ = ["CosineMemory", "by_cosines", "local_loss"]


class CosineMemory(NamedTuple):
    """What goes from task to task: the network, the vectors [C, E], which classes were seen."""

    params: PyTree
    vectors: Array
    seen: Array
    key: Array


def local_loss(logits: Array, y: Array, classes: Array) -> Array:
    """Cross entropy of every row over some of the classes, bool [C]."""
    where = jnp.broadcast_to(classes, logits.shape)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y, where=where)


def by_cosines(
    network: Network,
    targets: Array,
    optimizer: optax.GradientTransformation,
    *,
    learned: Array | bool = False,
    num_steps: int,
    batch_size: int = 128,
) -> Learner:
    """Trains on the rows of each task, with a softmax over the task's own classes, and keeps none of them.

    Args:
      network: its ``logits`` are embeddings, of the width of the targets.
      targets: float [C, E], where the vectors of the classes start.
      optimizer: of network and vectors, from a fresh start in every task.
      learned: whether the vectors learn, a bool that may be traced; else they never move.
      num_steps: per task.
      batch_size: rows per step.
    """
    num_classes = targets.shape[0]

    def logits(params: PyTree, vectors: Array, x: Array, classes: Array | None = None) -> Array:
        vectors = jnp.where(learned, vectors, jax.lax.stop_gradient(vectors))
        embeddings = network.logits(params, x)
        return analytic.prototype_logits(embeddings, vectors, metric="cosine", scale=16.0, where=classes)

    def loss_fn(both: tuple[PyTree, Array], present: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        return jnp.mean(local_loss(logits(*both, batch["x"]), batch["y"], present)), present

    def init(key: Array) -> CosineMemory:
        return CosineMemory(network.init(key), targets, jnp.zeros(num_classes, bool), key)

    def update(old: CosineMemory, x: Array, y: Array, *, where: Array) -> CosineMemory:
        key, fit_key = jax.random.split(old.key)
        present = continual.task_classes(y, num_classes=num_classes, where=where)
        both, data = (old.params, old.vectors), {"x": x, "y": y}
        found = fit(
            loss_fn, both, present, optimizer, data, fit_key, num_steps=num_steps, batch_size=batch_size, where=where
        )
        params, vectors = found.params
        return CosineMemory(params, vectors, old.seen | present, key)

    def predict(memory: CosineMemory, x: Array) -> Array:
        return logits(memory.params, memory.vectors, x, memory.seen)

    return Learner(init, update, lambda memory: memory, predict)
