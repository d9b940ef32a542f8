"""Classifiers on features that were learned without labels, from rows that do not stand out, and drawn ones [223].

``noisy_labels`` and ``long_tail`` train by it.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments import discovery_networks
from experiments.discovery_networks import Shared
from experiments.networks import mlp
from experiments.training import cosine_adam, fit
from jaxlab import analytic, metrics
from jaxlab.numerics import masked_mean, normalize
from jaxlab.typing import Array, PyTree

HEAD, MIDDLE, TAIL = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Settings:
    """How features and classifiers are trained."""

    most: int = 100
    """Training rows of the most frequent class."""
    noise: float = 0.2
    """Share of the labels that are wrong, every wrong class as likely as any other."""
    hidden: int = 128
    """Width of the hidden layer."""
    width: int = 64
    """Width of the features."""
    contrast_steps: int = 1000
    """Steps of contrast between two views of a row, without labels."""
    steps: int = 500
    """Steps with labels."""
    learning_rate: float = 1e-3
    """Of Adam."""
    neighbors: int = 20
    """Neighbours of the local outlier factor; a class with fewer rows takes all it has."""
    lenders: int = 3
    """Frequent classes that a rare one borrows from."""
    mix: float = 0.2
    """How far the mean of a rare class moves to theirs."""
    keep_features: float = 1.0
    """Weight of staying near the representation learned without labels."""
    mixup: float = 0.2
    """Parameter of the Beta distribution of mixed rows."""


class Seed(NamedTuple):
    """What one seed works on: row numbers and labels."""

    key: Array
    train: Array  # int [N]
    told: Array  # int [N], noisy
    truth: Array  # int [N]
    test: Array  # int [M]
    test_truth: Array  # int [M]
    group: Array  # int [C]: HEAD, MIDDLE or TAIL


class Representation(NamedTuple):
    """A network and its features of the training rows."""

    params: PyTree
    features: Array  # [N, E], unit vectors


def _network(config: Settings, dim: int) -> Any:
    return mlp((dim, config.hidden, config.width, config.width))


def _features(config: Settings, params: PyTree, x: Array) -> Array:
    return normalize(_network(config, x.shape[-1]).features(params, x))


def contrastive(config: Settings, seed: Seed, shared: Shared) -> Representation:
    """A representation from two views of every row; labels are not looked at."""
    x = shared.x[seed.train]
    init_key, key = jax.random.split(jax.random.fold_in(seed.key, 1))
    network = _network(config, x.shape[1])
    make_views = functools.partial(discovery_networks.views, discovery_networks.Settings())

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        both = make_views(key, batch["x"], shared.image)
        z = normalize(network.logits(params, both))
        return discovery_networks.contrast(z, temperature=0.2), state

    sizes = {"num_steps": config.contrast_steps, "batch_size": min(128, len(x))}
    optimizer = cosine_adam(config.learning_rate, config.contrast_steps)
    params = fit(loss_fn, network.init(init_key), None, optimizer, {"x": x}, key, **sizes).params
    return Representation(params, _features(config, params, x))


def _head(key: Array, width: int, num_classes: int) -> PyTree:
    return {"kernel": 0.01 * jax.random.normal(key, (width, num_classes)), "bias": jnp.zeros(num_classes)}


SHARPNESS = 10.0
"""Multiplies unit features before a linear head, so that its logits can be large."""


def _logits(head: PyTree, features: Array) -> Array:
    return SHARPNESS * features @ head["kernel"] + head["bias"]


def plain(
    config: Settings, seed: Seed, start: Representation | None, shared: Shared, *, balanced: bool = False
) -> tuple[Array, dict[str, Array]]:
    """Body and head from a random start, by cross entropy; balanced weighs rows by one over the size of their class."""
    x, num_classes = shared.x[seed.train], seed.group.shape[0]
    body_key, head_key, key = jax.random.split(seed.key, 3)
    first = {
        "body": _network(config, x.shape[1]).init(body_key),
        "head": _head(head_key, config.width, num_classes),
    }
    weight = 1.0 / jnp.maximum(jnp.bincount(seed.told, length=num_classes), 1) if balanced else jnp.ones(num_classes)
    weight = weight[seed.told] / jnp.mean(weight[seed.told])

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        logits = _logits(params["head"], _features(config, params["body"], batch["x"]))
        entropies = optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"])
        return jnp.mean(batch["weight"] * entropies), state

    data = {"x": x, "y": seed.told, "weight": weight}
    optimizer = cosine_adam(config.learning_rate, config.steps)
    sizes = {"num_steps": config.steps, "batch_size": min(128, len(x))}
    params = fit(loss_fn, first, None, optimizer, data, key, **sizes).params
    tests = _features(config, params["body"], shared.x[seed.test])
    return _logits(params["head"], tests), {}


def clean_rows(config: Settings, seed: Seed, features: Array) -> Array:
    """bool [N]: in every class, as named, the share ``noise`` that stands out most from its neighbours is dropped."""
    num_classes = seed.group.shape[0]

    def outlying(label: Array) -> Array:
        own = seed.told == label
        factor = metrics.local_outlier_factor(features, k=config.neighbors, where=own)
        rank = jnp.argsort(jnp.argsort(jnp.where(own, -factor, jnp.inf)))
        return own & (rank < jnp.floor(config.noise * jnp.sum(own)))

    return ~jnp.any(jax.lax.map(outlying, jnp.arange(num_classes)), axis=0)


def gaussians(config: Settings, seed: Seed, features: Array, where: Array) -> tuple[Array, Array, Array]:
    """Counts, means and covariances of the classes, as named, from the rows that count."""
    empty = analytic.class_stats_init(seed.group.shape[0], features.shape[1], second="full")
    stats = analytic.class_stats_update(empty, features, seed.told, where=where)
    return stats.count, analytic.class_stats_means(stats), analytic.class_stats_covariance(stats)


def mean_error(config: Settings, seed: Seed, features: Array, means: Array) -> Array:
    """Distance of class means from those of the true labels, mean over classes."""
    truth = analytic.class_means(features, seed.truth, num_classes=seed.group.shape[0])
    return jnp.mean(jnp.linalg.norm(means - truth, axis=1))


def recalibrated(config: Settings, params: PyTree, batch: dict[str, Array], key: Array) -> Array:
    """The loss of a head on features z; a body among the parameters follows, near z, on mixed rows."""
    tune = "body" in params
    features, away = batch["z"], jnp.zeros(len(batch["y"]))
    if tune:
        own = _features(config, params["body"], batch["x"])
        away = jnp.where(batch["real"], jnp.sum((own - batch["z"]) ** 2, axis=-1), 0.0)
        features = jnp.where(batch["real"][:, None], own, batch["z"])
    share = jax.random.beta(key, config.mixup, config.mixup) if tune else jnp.ones(())
    mixed = share * features + (1 - share) * features[::-1]  # rows are in random order
    entropy = functools.partial(optax.losses.softmax_cross_entropy_with_integer_labels, _logits(params["head"], mixed))
    named = share * entropy(batch["y"]) + (1 - share) * entropy(batch["y"][::-1])
    return jnp.mean(named) + config.keep_features * masked_mean(away, batch["real"])


def on_contrast(
    config: Settings,
    seed: Seed,
    start: Representation,
    shared: Shared,
    *,
    clean: bool = False,
    recover: bool = False,
    tune: bool = False,
) -> tuple[Array, dict[str, Array]]:
    """A head on the representation learned without labels.

    ``clean`` drops outliers of every class; ``recover`` adds features drawn from Gaussians, so that all classes are
    equally frequent; ``tune`` lets the body follow, near what it was, on mixed rows.
    """
    num_classes = seed.group.shape[0]
    kept = clean_rows(config, seed, start.features) if clean else jnp.ones(len(seed.train), bool)
    count, means, covariances = gaussians(config, seed, start.features, kept)
    facts = {"mean_error": mean_error(config, seed, start.features, means)}
    head_key, draw_key, key = jax.random.split(jax.random.fold_in(seed.key, 2), 3)
    total = num_classes * config.most
    drawn = analytic.ClassSamples(jnp.zeros((1, config.width)), jnp.array([-1]), jnp.array([False]))
    if recover:
        lent = {"tail": seed.group == TAIL, "num_neighbors": config.lenders, "mix": config.mix}
        means, covariances = analytic.borrow_gaussian(means, covariances, count, **lent)
        missing = (jnp.max(count) - count).astype(jnp.int32)
        drawn = analytic.sample_class_gaussians(draw_key, means, covariances, counts=missing, total=total)
    x = jnp.concatenate([shared.x[seed.train], jnp.zeros((len(drawn.labels), shared.x.shape[1]))])
    z = jnp.concatenate([start.features, normalize(drawn.features)])
    real = jnp.arange(len(x)) < len(seed.train)
    data = {"x": x, "z": z, "y": jnp.concatenate([seed.told, drawn.labels]), "real": real}
    allowed = jnp.concatenate([kept, drawn.where])

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        return recalibrated(config, params, batch, key), state

    first: PyTree = {"head": _head(head_key, config.width, num_classes)}
    first |= {"body": start.params} if tune else {}
    optimizer = cosine_adam(config.learning_rate if tune else 10 * config.learning_rate, config.steps)
    sizes = {"num_steps": config.steps, "batch_size": 128}
    params = fit(loss_fn, first, None, optimizer, data, key, where=allowed, **sizes).params
    body = params["body"] if tune else start.params
    return _logits(params["head"], _features(config, body, shared.x[seed.test])), facts
