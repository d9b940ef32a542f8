"""The disjoint setting: networks that learned known classes look for novel ones among rows that hold no others."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.data import Dataset
from experiments.discovery_networks import CLASSIFIER, Shared, cosines, features, init, shared_of, supervised, train
from experiments.discovery_splits import Group, Split, gather, num_known, split
from experiments.runner import Claim, Method, Run
from jaxlab import analytic, distill, losses, metrics, weaksup
from jaxlab.numerics import normalize, sinkhorn
from jaxlab.typing import Array, PyTree

__all__ = ["GROUP"]


class Disjoint(NamedTuple):
    """What one seed works on: its rows, and the network that learned the known classes."""

    split: Split
    known: PyTree


def prepare(config: Any, run: Run, data: Dataset) -> tuple[Disjoint, tuple[Shared]]:
    """Splits, and networks trained on the known classes."""
    rows = split(data, run, test_share=config.test_share)
    known = num_known(config.novel_share, data.num_classes)
    shared = shared_of(data)
    run.progress(f"training networks on {known} of {data.num_classes} classes")

    @jax.jit
    @jax.vmap
    def learn(rows: Split) -> PyTree:
        x, y = gather(shared.x, rows.train[:known])
        return supervised(config, x, y, known, jax.random.fold_in(rows.key, 1), shared.image)

    return Disjoint(rows, learn(rows)), (shared,)


def swapped(config: Any, seed: Disjoint, shared: Shared, relation: Array) -> dict[str, Array]:
    """Views predict each other's balanced assignment to novel classes; ``relation`` weighs likeness to known ones."""
    known, total = seed.known["classes"].shape[0], seed.split.train.shape[0]
    (x_known, y_known), (x_novel, y_novel) = (
        gather(shared.x, part) for part in (seed.split.train[:known], seed.split.train[known:])
    )
    init_key, fit_key = jax.random.split(jax.random.fold_in(seed.split.key, 2))
    fresh = init(config, init_key, x_known.shape[1], total - known)["classes"]
    start = {"body": seed.known["body"], "classes": jnp.concatenate([normalize(seed.known["classes"]), fresh])}

    def loss(params: PyTree, state: None, views: Array, labels: Array, key: Array) -> tuple[Array, None]:
        novel, logits = labels < 0, cosines(config, params, views)
        assigned = jax.vmap(functools.partial(sinkhorn, where=novel))(logits[..., known:])
        named = jnp.broadcast_to(jax.nn.one_hot(labels, known), (*logits.shape[:-1], known))  # zeros for -1
        targets = jnp.concatenate([named, assigned], axis=-1)
        value = jnp.mean(weaksup.swapped_prediction(logits, targets, temperature=CLASSIFIER))
        kept = distill.class_relation_kd(
            logits.reshape(-1, total),
            cosines(config, seed.known, views).reshape(-1, known),
            temperature=config.relation_temperature,
            logit_temperature=CLASSIFIER,
            where=jnp.tile(novel, 2),
        )
        return value + relation * jnp.sum(kept) / jnp.maximum(2 * jnp.sum(novel), 1), state

    rows = (jnp.concatenate([x_known, x_novel]), jnp.concatenate([y_known, jnp.full(len(y_novel), -1)]))
    params, _ = train(config, loss, start, None, rows, fit_key, image=shared.image, num_steps=config.discovery_steps)
    new, old = cosines(config, params, x_novel), cosines(config, seed.known, x_novel)
    soft = CLASSIFIER * config.relation_temperature
    x_test, y_test = gather(shared.x, seed.split.test[:known])
    clusters = jnp.argmax(new[:, known:], axis=-1)
    return {
        "ncd_novel": metrics.clustering_accuracy(y_novel, clusters, num_clusters=total - known),
        "ncd_known": metrics.accuracy(cosines(config, params, x_test), y_test),
        "ncd_relation_kl": jnp.mean(losses.kl_divergence(new[:, :known], old, temperature=soft)),
    }


def kmeans_on_features(config: Any, seed: Disjoint, shared: Shared) -> dict[str, Array]:
    """k-means on unit features of the network that knows the known classes only."""
    known, total = seed.known["classes"].shape[0], seed.split.train.shape[0]
    x, y = gather(shared.x, seed.split.train[known:])
    unit = normalize(features(config, seed.known, x))
    found = analytic.kmeans(jax.random.fold_in(seed.split.key, 3), unit, k=total - known, num_restarts=10)
    return {"ncd_novel": metrics.clustering_accuracy(y, found.assignment, num_clusters=total - known)}


def _gain(metric: str) -> Callable[[Any], Any]:
    return lambda rows: rows[metric]["cr_kd"] - rows[metric]["swapped"]


GROUP = Group(
    (
        Method("kmeans_features", None, kmeans_on_features, note="features of a network of the known classes"),
        Method("swapped", None, swapped, note="UNO: balanced swapped prediction"),
        Method("cr_kd", 138, swapped, note="keeps the relation to known classes"),
    ),
    (
        Claim(
            138,
            "Class relations are kept: divergence from those of the first network, with distillation less without",
            _gain("ncd_relation_kl"),
            "<",
            0.0,
        ),
        Claim(138, "Novel classes are found better for it", _gain("ncd_novel"), ">", 0.0),
    ),
    prepare,
    "vmap",
    {"swapped": 0.0, "cr_kd": 0.1},  # the paper's weight
)
