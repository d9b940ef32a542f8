"""What embeddings are trained by, one objective a row, and the one program that trains them all."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.networks import mlp
from experiments.training import cosine_adam, fit
from jaxlab import kernels, losses, retrieval
from jaxlab.numerics import normalize
from jaxlab.typing import Array, PyTree

__all__ = ["OBJECTIVES", "Batch", "embed", "train"]


class Batch(NamedTuple):
    """What an objective sees: embeddings [B, E], class vectors [K, E], labels [B], a key."""

    embeddings: Array
    prototypes: Array
    labels: Array
    key: Array


# (loss, (scale, margin) of a head that adapts them, else zeros)
Objective = Callable[[Any, Batch], tuple[Array, Array]]
_cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels


def _plain(fn: Callable[[Any, Batch], Array]) -> Objective:
    return lambda config, batch: (jnp.mean(fn(config, batch)), jnp.zeros(2))


def _softmax(config: Any, batch: Batch) -> Array:
    return _cross_entropy(batch.embeddings @ batch.prototypes.T, batch.labels)


def _simplex(config: Any, batch: Batch) -> Array:
    """Class vectors that never move: some of the vertices of one simplex for all classes there will ever be."""
    num_classes, width = batch.prototypes.shape
    return _cross_entropy(batch.embeddings @ retrieval.simplex_vertices(width + 1)[:num_classes].T, batch.labels)


def _contrastive(config: Any, batch: Batch) -> Array:
    return losses.contrastive_pairs(batch.embeddings, batch.labels)


def _tcm(config: Any, batch: Batch) -> Array:
    return losses.tcm(batch.embeddings, batch.labels)


def _metrix(config: Any, batch: Batch) -> Array:
    """A coin decides at every step whether negatives are mixed with positives or with the anchor."""
    coin, key = jax.random.split(batch.key)
    both = [
        losses.metric_mixup_pairs(key, batch.embeddings, batch.labels, kind=kind)
        for kind in ("positive_negative", "anchor_negative")
    ]
    pairs = jax.tree.map(functools.partial(jnp.where, jax.random.bernoulli(coin)), *both)
    return losses.metrix_contrastive(batch.embeddings, batch.labels, pairs)


def _multi_similarity(config: Any, batch: Batch) -> Array:
    return losses.multi_similarity(batch.embeddings, batch.labels)


def _cosface(config: Any, batch: Batch) -> Array:
    return _cross_entropy(losses.cosface_logits(*batch[:3]), batch.labels)


def _arcface(config: Any, batch: Batch) -> Array:
    return _cross_entropy(losses.arcface_logits(*batch[:3]), batch.labels)


def _unpg(config: Any, batch: Batch) -> Array:
    return losses.unpg(losses.cosface_logits(*batch[:3]), batch.labels, batch.embeddings, whisker=config.whisker)


def _mada_cos(config: Any, batch: Batch) -> tuple[Array, Array]:
    cosine = kernels.cosine_similarity(batch.embeddings, batch.prototypes)
    chosen = losses.mada_cos_parameters(cosine, batch.labels, rho=config.rho)
    return jnp.mean(losses.mada_cos(cosine, batch.labels, rho=config.rho)), jnp.stack(chosen)


def _supervised_contrastive(config: Any, batch: Batch) -> Array:
    units = normalize(batch.embeddings)
    positive, negative = losses.pair_masks(batch.labels)
    return losses.supervised_contrastive(
        units, units, positive, negatives=positive | negative, temperature=config.temperature
    )


def _look(config: Any, batch: Batch) -> Array:
    return losses.look(batch.embeddings, batch.labels, k=config.neighbours, temperature=config.temperature)


def _added(*parts: Callable[[Any, Batch], Array]) -> Objective:
    return _plain(lambda config, batch: sum((jnp.mean(part(config, batch)) for part in parts), jnp.zeros(())))


OBJECTIVES: dict[str, Objective] = {
    "softmax": _plain(_softmax),
    "simplex": _plain(_simplex),
    "contrastive": _plain(_contrastive),
    "contrastive_tcm": _added(_contrastive, _tcm),
    "contrastive_metrix": _plain(_metrix),
    "multi_similarity": _plain(_multi_similarity),
    "cosface": _plain(_cosface),
    "arcface": _plain(_arcface),
    "cosface_contrastive": _added(_cosface, _contrastive),
    "cosface_unpg": _plain(_unpg),
    "cosface_tcm": _added(_cosface, _tcm),
    "mada_cos": _mada_cos,
    "supervised_contrastive": _plain(_supervised_contrastive),
    "look": _plain(_look),
}


def _network(config: Any, dim: int) -> Any:
    return mlp((dim, config.hidden, config.hidden, config.width))


def embed(config: Any, params: PyTree, x: Array) -> Array:
    """Embeddings [N, E] of unit length."""
    return normalize(_network(config, x.shape[-1]).logits(params["body"], x))


@functools.partial(jax.jit, static_argnames=("config", "names", "num_classes"))
def train(
    config: Any,
    names: tuple[str, ...],
    which: Array,
    x: Array,
    labels: Array,
    where: Array,
    keys: Array,
    *,
    num_classes: int,
) -> tuple[PyTree, Array]:
    """Trained parameters of all seeds, and (scale, margin) of every step; one program for several objectives.

    Args:
      config: hashable, with the sizes of networks and steps.
      names: keys of ``OBJECTIVES`` to choose from, static.
      which: int, the place among them.
      x: float [N, D].
      labels: int [N].
      where: bool [S, N], True where a seed may train on a row.
      keys: [S].
      num_classes: K, static.
    """
    network = _network(config, x.shape[1])
    branches = [functools.partial(OBJECTIVES[name], config) for name in names]

    def loss_fn(params: PyTree, state: Any, batch: dict[str, Array], key: Array) -> tuple[Array, Any]:
        step, trace = state
        embeddings = network.logits(params["body"], batch["x"])
        loss, chosen = jax.lax.switch(which, branches, Batch(embeddings, params["prototypes"], batch["y"], key))
        return loss, (step + 1, trace.at[step].set(chosen))

    def one(where: Array, key: Array) -> tuple[PyTree, Array]:
        body_key, head_key, fit_key = jax.random.split(key, 3)
        first = {
            "body": network.init(body_key),
            "prototypes": jax.random.normal(head_key, (num_classes, config.width)) * config.width**-0.5,
        }
        state = (jnp.zeros((), jnp.int32), jnp.zeros((config.steps, 2)))
        optimizer = cosine_adam(config.learning_rate, config.steps)
        sizes = {"num_steps": config.steps, "batch_size": config.batch}
        done = fit(loss_fn, first, state, optimizer, {"x": x, "y": labels}, fit_key, where=where, **sizes)
        return done.params, done.state[1]

    return jax.vmap(one)(where, keys)
