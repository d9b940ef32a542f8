"""Networks that learned known classes and go on without any label: the online setting.

The online rows are half of those of the known classes, the other half having been learned with labels, and all of two
novel classes. Their number is told, what they are is not.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.claims import difference
from experiments.data import Dataset
from experiments.discovery_networks import (
    CLASSIFIER,
    MEMAX,
    Settings,
    Shared,
    contrast,
    cosines,
    features,
    init,
    projected,
    shared_of,
    simgcd,
    teacher_temperature,
    train,
)
from experiments.discovery_splits import Group, Split, accuracies, gather, num_known, split
from experiments.runner import Claim, Method, Run
from jaxlab import analytic, continual, distill, losses, metrics, weaksup
from jaxlab.numerics import normalize
from jaxlab.typing import Array, PyTree

__all__ = ["GROUP", "QUICK", "OnlineSettings"]

OLD, NEW = 0, 1  # groups of classes
WARM_OFFLINE, WARM_ONLINE = 0.3, 1.0  # of the steps; published: 30 epochs, of 100 and of 30
SHOWN = 40  # points of the curve of the new classes' mass


@dataclasses.dataclass(frozen=True)
class OnlineSettings(Settings):
    """How the online stage is trained."""

    offline_steps: int = 300
    """Steps on the labelled rows of the known classes."""
    online_steps: int = 500
    """Steps without labels."""
    online_classes: int = 2
    """Novel classes that come in the online stage."""
    hardness_temperature: float = 0.1
    """Of the draw of classes to rehearse, the paper's."""

    def check_online(self) -> None:
        """Raises ValueError where a setting makes no sense."""
        for name in ("offline_steps", "online_steps", "online_classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


QUICK = {"offline_steps": 60, "online_steps": 60}


class Online(NamedTuple):
    """What one seed works on when the online stage begins."""

    split: Split
    params: PyTree  # after the offline stage, with a vector for every novel class
    prototypes: Array  # [K, width] of the known classes
    radius: Array


def _parts(config: Any, rows: Split, x: Array) -> tuple[tuple[Array, Array], tuple[Array, Array], int]:
    """The offline rows, the online rows, each with their classes, and the number of known classes."""
    known, half = num_known(config.novel_share, rows.train.shape[0]), rows.train.shape[1] // 2
    novel = rows.train[known : known + config.online_classes]
    parts = [gather(x, rows.train[:known, half:]), gather(x, novel, first=known)]
    online = tuple(jnp.concatenate(part) for part in zip(*parts, strict=True))
    return gather(x, rows.train[:known, :half]), (online[0], online[1]), known


def prepare(config: Any, run: Run, data: Dataset) -> tuple[Online, tuple[Shared]]:
    """Networks that learned the known classes, their prototypes, and where the novel classes start."""
    rows = split(data, run, test_share=config.test_share)
    known = num_known(config.novel_share, data.num_classes)
    if config.online_classes > data.num_classes - known:
        raise ValueError(f"online_classes must be at most {data.num_classes - known}, got {config.online_classes}")
    shared = shared_of(data)
    run.progress(f"training networks on {known} classes before the online stage")

    @jax.jit
    @jax.vmap
    def learn(rows: Split) -> Online:
        (x, y), (x_online, _), _ = _parts(config, rows, shared.x)
        params = _offline(config, x, y, known, jax.random.fold_in(rows.key, 5), shared.image)
        unit = normalize(features(config, params, x))
        stats = analytic.class_stats_init(known, config.width, second="diag", shift=unit[0])
        stats = analytic.class_stats_update(stats, unit, y)
        radius = jnp.sqrt(jnp.mean(analytic.class_stats_variance(stats)))
        # Clustering of all online rows; the centres least like a known class stand for the novel ones.
        total = known + config.online_classes
        found = analytic.kmeans(
            jax.random.fold_in(rows.key, 6), normalize(features(config, params, x_online)), k=total, num_restarts=10
        )
        fresh = weaksup.init_novel_heads(found.centroids, params["classes"], num_new=config.online_classes)
        grown = params | {"classes": jnp.concatenate([params["classes"], fresh])}
        return Online(rows, grown, normalize(analytic.class_stats_means(stats)), radius)

    return learn(rows), (shared,)


def _offline(config: Any, x: Array, y: Array, known: int, key: Array, image: Array) -> PyTree:
    """SimGCD on labelled rows alone; the teacher's temperature falls in the first 30 % of the steps."""
    num_steps = config.offline_steps

    def loss(params: PyTree, step: Array, views: Array, labels: Array, key: Array) -> tuple[Array, Array]:
        temperature = teacher_temperature(step, num_steps, share=WARM_OFFLINE)
        return simgcd(config, params, views, labels, temperature)[0], step + 1

    init_key, fit_key = jax.random.split(key)
    start = init(config, init_key, x.shape[1], known)
    return train(config, loss, start, jnp.zeros(()), (x, y), fit_key, image=image, num_steps=num_steps)[0]


class Weights(NamedTuple):
    """Weights of the terms that keep old and new classes in balance."""

    entropy: float = 0.0  # of the mean prediction
    between: float = 0.0  # the same for old classes against new ones
    within: float = 0.0  # and inside each of both
    replay: float = 0.0


def spread(weights: Weights, logits: Array, known: int) -> Array:
    """How far the mean prediction is from even: over all classes, between old and new ones, inside both."""
    total = logits.shape[-1]
    every = losses.mean_entropy(logits, temperature=CLASSIFIER)
    group_ids = jnp.where(jnp.arange(total) < known, OLD, NEW)
    groups = losses.mean_entropy(logits, temperature=CLASSIFIER, group_ids=group_ids, num_groups=2)
    sizes = jnp.array([known, total - known], jnp.float32)
    value = weights.entropy * (math.log(total) - every) + weights.between * (math.log(2) - groups.between)
    return value + weights.within * jnp.sum(jnp.log(sizes) - groups.within)


def happy(
    config: Any, seed: Online, params: PyTree, views: Array, key: Array, *, weights: Weights, temperature: Array
) -> tuple[Array, Array]:
    """The loss of Happy, and the cosines [2, B, C] of the views.

    Self-distillation between views, contrast and feature distillation, with entropy terms and replay by weight.
    """
    logits, z = cosines(config, params, views), projected(config, params, views)
    targets = jax.nn.softmax(logits / temperature)
    value = jnp.mean(weaksup.swapped_prediction(logits, targets, temperature=CLASSIFIER))
    value += contrast(z)
    now, before = (features(config, p, views).reshape(-1, config.width) for p in (params, seed.params))
    value += config.width * jnp.mean(distill.feature_mse(now, before, normalize=True))
    known = len(seed.prototypes)
    value += spread(weights, logits, known) + weights.replay * _rehearse(config, seed, params["classes"], key)
    return value, logits


def online(config: Any, seed: Online, shared: Shared, weights: Weights) -> tuple[dict[str, Array], dict[str, Array]]:
    """Training by the loss of Happy; the teacher's temperature falls over all of the steps."""
    _, rows, known = _parts(config, seed.split, shared.x)
    num_steps = config.online_steps

    def loss(
        params: PyTree, state: tuple[Array, Array], views: Array, labels: Array, key: Array
    ) -> tuple[Array, tuple[Array, Array]]:
        step, masses = state
        temperature = teacher_temperature(step, num_steps, share=WARM_ONLINE)
        value, logits = happy(config, seed, params, views, key, weights=weights, temperature=temperature)
        mass = jnp.mean(jnp.sum(jax.nn.softmax(logits / CLASSIFIER)[..., known:], axis=-1))
        index = (step * SHOWN / num_steps).astype(jnp.int32)
        return value, (step + 1, masses.at[index].set(jax.lax.stop_gradient(mass)))

    state = (jnp.zeros(()), jnp.zeros(SHOWN))
    key = jax.random.fold_in(seed.split.key, 7)
    unlabelled = (rows[0], jnp.full(len(rows[1]), -1))
    params, (_, masses) = train(
        config, loss, seed.params, state, unlabelled, key, image=shared.image, num_steps=num_steps
    )
    measured, confusion = _measure(config, seed, shared, params)
    share = jnp.mean(rows[1] >= known, keepdims=True)
    return measured, confusion | {"new_mass": masses, "new_share": share}


def _rehearse(config: Any, seed: Online, classes: Array, key: Array) -> Array:
    """Cross entropy of features drawn around the prototypes of the old classes."""
    drawn = continual.sample_prototypes(
        key, seed.prototypes, seed.radius, num=2 * config.batch, temperature=config.hardness_temperature
    )
    logits = analytic.prototype_logits(drawn.features, classes, metric="cosine") / CLASSIFIER
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, drawn.labels))


def start(config: Any, seed: Online, shared: Shared) -> tuple[dict[str, Array], dict[str, Array]]:
    """As it was when the online stage began."""
    return _measure(config, seed, shared, seed.params)


def _measure(config: Any, seed: Online, shared: Shared, params: PyTree) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracies on test rows, and the mass that the online rows give to new classes."""
    _, (x_online, _), known = _parts(config, seed.split, shared.x)
    total = known + config.online_classes
    x, y = gather(shared.x, seed.split.test[:total])
    predicted = jnp.argmax(cosines(config, params, x), axis=-1)
    found = accuracies(predicted, y, num_classes=total, num_known=known)
    mass = jnp.sum(jax.nn.softmax(cosines(config, params, x_online) / CLASSIFIER)[:, known:], axis=-1)
    matched = metrics.match_clusters(y, predicted, num_clusters=total)[predicted]
    counts = jnp.zeros((total, total)).at[y, matched].add(1.0)
    return {
        "online_all": found["all"],
        "online_old": found["known"],
        "online_new": found["novel"],
        "online_new_mass": jnp.mean(mass),
    }, {"confusion": counts / jnp.sum(counts, axis=1, keepdims=True)}


GROUP = Group(
    (
        Method("online_start", None, start, note="before the online stage: cosines with k-means centres"),
        Method("online_plain", None, online, note="no entropy term"),
        Method("online_entropy", None, online, note="and entropy of the mean prediction"),
        Method("online_grouped", 252, online, note="and entropy between and within old and new classes"),
        Method("happy", 252, online, note="the same, and replay of hard prototypes"),
    ),
    (
        Claim(
            252,
            "Replay of hard prototypes raises the accuracy on old classes",
            difference("online_old", "happy", "online_grouped"),
            ">",
            0.0,
        ),
        Claim(
            252,
            "Group-wise entropy finds new classes that are lost without an entropy term",
            difference("online_new", "online_grouped", "online_plain"),
            ">",
            0.0,
        ),
        Claim(
            252,
            "Without an entropy term less than a tenth of the predicted mass is left to new classes",
            lambda rows: rows["online_new_mass"]["online_plain"],
            "<",
            0.1,
        ),
    ),
    prepare,
    "vmap",
    {
        "online_plain": Weights(),
        "online_entropy": Weights(entropy=MEMAX),
        "online_grouped": Weights(between=MEMAX, within=1.0),
        "happy": Weights(between=MEMAX, within=1.0, replay=1.0),
    },
)
