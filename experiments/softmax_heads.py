"""A linear softmax head over the classes that have come so far, trained by gradients."""

from typing import NamedTuple

import jax.numpy as jnp
import optax

from experiments.streams import Rows
from experiments.training import fit
from jaxlab.typing import Array, PyTree

__all__ = ["SoftmaxHead", "new_head", "train_head"]

OPTIMIZER = optax.adam(1e-2)


class SoftmaxHead(NamedTuple):
    """Its weights, which classes exist, and how rows are scaled before it."""

    params: PyTree
    exists: Array
    scale: Array

    def logits(self, x: Array) -> Array:
        """Logits [B, K] of rows [B, D]; a class that has not come yet gets minus infinity."""
        return jnp.where(self.exists, x / self.scale @ self.params["weight"] + self.params["bias"], -jnp.inf)


def new_head(tasks: Rows, num_classes: int) -> SoftmaxHead:
    """A head of no class, scaled by the root mean squared length of the rows of the first task."""
    base = tasks.x[0]
    scale = jnp.sqrt(jnp.sum(base**2) / jnp.sum(tasks.where[0]))
    params = {"weight": jnp.zeros((base.shape[-1], num_classes)), "bias": jnp.zeros(num_classes)}
    return SoftmaxHead(params, jnp.zeros(num_classes, bool), scale)


def _loss(head: PyTree, exists: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
    logits = batch["x"] @ head["weight"] + head["bias"]
    classes = jnp.broadcast_to(exists, logits.shape)
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"], where=classes)), exists


def train_head(head: SoftmaxHead, key: Array, x: Array, y: Array, where: Array, *, steps: int) -> SoftmaxHead:
    """The head after steps of Adam, batches of 128, on rows [N, D]; their classes exist from now on."""
    present = jnp.any((y[:, None] == jnp.arange(head.exists.shape[0])) & where[:, None], axis=0)
    exists = head.exists | present
    data = {"x": x / head.scale, "y": y}
    trained = fit(_loss, head.params, exists, OPTIMIZER, data, key, num_steps=steps, batch_size=128, where=where)
    return head._replace(params=trained.params, exists=exists)
