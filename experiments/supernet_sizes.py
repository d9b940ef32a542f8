"""Transformers of many sizes in one super-network that learns a teacher's relations, and the same ones alone."""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.supernet_networks import (
    Space,
    adam,
    elastic_forward,
    elastic_init,
    elastic_space,
    relation_loss,
    subnetwork,
)
from experiments.training import fit
from jaxlab import metrics, nas
from jaxlab.typing import Array, PyTree

__all__ = ["BANDS", "SHARED", "AloneConfig", "Patched", "Split", "accuracies_alone", "ranked_by_size"]

BANDS = 3
"""Groups of similar size in which architectures compete."""
SHARED = ("teacher_slices", "one_space", "three_spaces")


@dataclasses.dataclass(frozen=True)
class AloneConfig:
    """What decides the accuracies of transformers trained alone, together with the data."""

    name: ClassVar[str] = "supernet_alone"
    version: ClassVar[int] = 1
    widths: tuple[int, ...]
    ratios: tuple[int, ...]
    depths: tuple[int, ...]
    steps: int
    runs: int
    batch: int
    num_classes: int


class Split(NamedTuple):
    """Rows to learn from, to choose by, to judge by."""

    train: Any
    validation: Any
    test: Any


class Patched(NamedTuple):
    """What the transformers see; accuracies of all architectures alone [n], and their groups by size [n]."""

    x: Split
    y: Split
    alone: Any
    band: Any


def _space(config: Any) -> Space:
    return elastic_space(config.widths, config.ratios, config.depths)


def _whole(config: Any) -> tuple[int, int, int]:
    return max(config.widths), max(config.widths) * max(config.ratios), max(config.depths)


def _of(space: Space, index: Array) -> tuple[Array, Array, Array]:
    width, hidden, depth = (jnp.asarray(field)[index] for field in space[:3])
    return width, hidden, depth


def _classify(params: PyTree, state: PyTree, batch: dict[str, Array], key: Array) -> tuple[Array, PyTree]:
    """The state is an architecture: its width, hidden width and depth."""
    logits = elastic_forward(subnetwork(params, *state), batch["x"], state[0]).logits
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"])), state


def _fit_labels(params: PyTree, own: Any, x: Array, y: Array, key: Array, *, steps: int, batch: int) -> PyTree:
    data = {"x": x, "y": y}
    return fit(_classify, params, own, adam(3e-3, steps), data, key, num_steps=steps, batch_size=batch).params


def _accuracy(params: PyTree, own: Any, x: Array, y: Array) -> Array:
    return metrics.accuracy(elastic_forward(subnetwork(params, *own), x, own[0]).logits, y)


def accuracies_alone(config: AloneConfig, x: Split, y: Split) -> Array:
    """Test accuracy [n] of every architecture trained by itself on labels, the mean of several runs.

    A program per width, in arrays of that width; depth and perceptron are masks inside.
    """
    space = _space(config)
    found = jnp.zeros(len(space.width))
    for width in config.widths:
        (chosen,) = np.nonzero(space.width == width)
        size = {"pixels": x.train.shape[-1], "width": width, "hidden": width * max(config.ratios)}
        size |= {"depth": max(config.depths), "num_classes": config.num_classes}

        def one(key: Array, hidden: Array, depth: Array, size: Any = size) -> Array:
            init, fitting = jax.random.split(key)
            own = (jnp.int32(size["width"]), hidden, depth)
            params = elastic_init(init, **size)
            params = _fit_labels(params, own, x.train, y.train, fitting, steps=config.steps, batch=config.batch)
            return _accuracy(params, own, x.test, y.test)

        keys = jax.random.split(jax.random.key(1000 + width), (config.runs, len(chosen)))
        every = jax.vmap(jax.vmap(one), in_axes=(0, None, None))
        scores = jax.jit(every)(keys, jnp.asarray(space.hidden[chosen]), jnp.asarray(space.depth[chosen]))
        found = found.at[chosen].set(jnp.mean(scores, axis=0))
    return found


def _distance(space: Space, params: PyTree, target: Array, index: Array, x: Array) -> Array:
    """Of the last layer of an architecture from the relations in ``target``."""
    width, hidden, depth = _of(space, index)
    qkv = elastic_forward(subnetwork(params, width, hidden, depth), x, width).qkv[depth - 1]
    return jnp.mean(relation_loss(qkv, target, width))


def _distill(space: Space, params: PyTree, state: PyTree, batch: dict[str, Array], key: Array) -> tuple[Array, PyTree]:
    """The sandwich rule; the state is the teacher, and which architectures there are."""
    teacher, where = state
    target = elastic_forward(teacher, batch["x"]).qkv[-1]
    chosen = nas.sandwich_sample(key, space.params, where=where)
    return jnp.mean(jax.vmap(lambda index: _distance(space, params, target, index, batch["x"]))(chosen)), state


@functools.cache
def _distill_in(widths: Any, ratios: Any, depths: Any) -> Any:
    return functools.partial(_distill, elastic_space(widths, ratios, depths))


def _ranking(scores: Array, data: Patched) -> tuple[dict[str, Array], Array]:
    """How well scores rank inside the groups, and the architecture that each group would choose."""
    inside = [data.band == band for band in range(BANDS)]
    taus = jnp.stack([metrics.kendall_tau(scores, data.alone, where=where) for where in inside])
    picked = jnp.stack([jnp.argmax(jnp.where(where, scores, -jnp.inf)) for where in inside])
    best = jnp.stack([jnp.max(jnp.where(where, data.alone, -jnp.inf)) for where in inside])
    found = {
        "band_tau": jnp.mean(taus),
        "overall_tau": metrics.kendall_tau(scores, data.alone),
        "picked_accuracy": jnp.mean(data.alone[picked]),
        "picked_regret": jnp.mean(best - data.alone[picked]),
    }
    return found, picked


def ranked_by_size(config: Any, num_classes: int, key: Array, data: Patched) -> dict[str, dict[str, Array]]:
    """The baselines, and shared weights: slices of the teacher, one super-network, or one for each group.

    All super-networks start from the teacher and learn in three parts. A single one goes on from part to part; of
    three, each begins anew and keeps to its group. So the number of steps is the same.
    """
    space, (width, hidden, depth) = _space(config), _whole(config)
    init, teaching, distilling, tuning = jax.random.split(key, 4)
    size = {"width": width, "hidden": hidden, "depth": depth, "num_classes": num_classes}
    labels = functools.partial(_fit_labels, x=data.x.train, y=data.y.train, batch=config.batch)
    own = (jnp.int32(width), jnp.int32(hidden), jnp.int32(depth))
    start = elastic_init(init, pixels=data.x.train.shape[-1], **size)
    teacher = labels(start, own, key=teaching, steps=config.teacher_steps)
    target = elastic_forward(teacher, data.x.validation).qkv[-1]
    optimizer = _optimizer()

    def trained(apart: Array) -> PyTree:
        """Weights for every group [BANDS, ...]."""

        def part(carry: tuple[PyTree, PyTree], inputs: tuple[Array, Array]) -> tuple[tuple[PyTree, PyTree], PyTree]:
            band, key = inputs
            fresh = (teacher, optimizer.init(teacher))
            params, state = jax.tree.map(lambda new, old: jnp.where(apart, new, old), fresh, carry)
            loss_fn = _distill_in(config.widths, config.ratios, config.depths)
            where = ~apart | (data.band == band)
            batches = {"num_steps": config.super_steps // BANDS, "batch_size": config.batch, "opt_state": state}
            done = fit(loss_fn, params, (teacher, where), optimizer, {"x": data.x.train}, key, **batches)
            return (done.params, done.opt_state), done.params

        inputs = (jnp.arange(BANDS), jax.random.split(distilling, BANDS))
        _, all_parts = jax.lax.scan(part, (teacher, optimizer.init(teacher)), inputs)
        return jax.tree.map(lambda leaf: jnp.where(apart, leaf, leaf[-1:]), all_parts)

    def judged(params: PyTree) -> dict[str, Array]:
        def weights(index: Array) -> PyTree:
            return jax.tree.map(lambda leaf: leaf[data.band[index]], params)

        def score(index: Array) -> Array:
            return -_distance(space, weights(index), target, index, data.x.validation)

        def tune(index: Array, key: Array) -> Array:
            begun = weights(index) | {"head": jnp.zeros_like(teacher["head"])}
            ended = labels(begun, _of(space, index), key=key, steps=config.tune_steps)
            return _accuracy(ended, _of(space, index), data.x.test, data.y.test)

        found, picked = _ranking(jax.lax.map(score, jnp.arange(len(space.width))), data)
        return found | {"tuned_accuracy": jnp.mean(jax.vmap(tune)(picked, jax.random.split(tuning, BANDS)))}

    sliced = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (BANDS, *leaf.shape)), teacher)
    both = jax.vmap(trained)(jnp.array([False, True]))
    every = jax.tree.map(lambda one, two: jnp.concatenate([one[None], two]), sliced, both)
    found = jax.lax.map(judged, every)
    rows = {name: jax.tree.map(lambda leaf, i=i: leaf[i], found) for i, name in enumerate(SHARED)}
    for name, scores in (("num_params", space.params), ("depth", space.depth)):
        rows[name] = _ranking(jnp.asarray(scores, jnp.float32), data)[0]
    return rows


@functools.cache
def _optimizer() -> optax.GradientTransformation:
    return optax.adam(1e-3)
