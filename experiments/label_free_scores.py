"""Judging representations without labels: persistence while a network learns, and similarities from words.

Of every seed a small network learns digits, and its hidden layer is looked at again and again: label-free statistics of
its embeddings beside measures that know the labels. What it ends with is the vision that captions are stacked on.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.assets import captions
from experiments.networks import mlp
from experiments.training import fit
from jaxlab import kernels, metrics, numerics, retrieval, text
from jaxlab.typing import Array, PyTree

CHECKS, STEPS_BETWEEN = 16, 6  # how often a network is looked at, and how many steps lie between
SEPARATIONS = tuple(1.0 * step for step in range(13))  # of Gaussian blobs, from one blob to three apart
RATERS, NOISE = 5, 0.3  # ratings of a pair of images, and the deviation of a rating from what it should be
STACK_GRID = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0, 10.0, 100.0)
TUNING_ITEMS = 20
STATISTICS = metrics.PersistenceStatistics._fields


class Seen(NamedTuple):
    """What one seed works on."""

    x: Array  # [N, D]
    y: Array  # [N]
    train: Array  # bool [N]
    items: Array  # int [M], the rows that are judged; none of them is trained on
    bag: Array  # [M, V], how often each word stands in the captions of an item
    truth: Array  # [M, M], how alike two items are
    key: Array


def prepare(x: np.ndarray, y: np.ndarray, num_items: int, writers: int, seed: int) -> Seen:
    """Splits the images [N, H, W] and has captions written for some of them, each by several people."""
    order = np.random.default_rng(seed).permutation(len(x))
    items = order[:num_items]
    written = [captions.write(x, y, 100 * seed + writer) for writer in range(writers)]
    bag = np.zeros((num_items, len(captions.WORDS)), np.float32)
    for caption in written:
        rows = np.repeat(np.arange(num_items), caption.tokens.shape[1])
        counted = (caption.where[items] & (caption.tokens[items] != captions.END)).ravel()
        np.add.at(bag, (rows[counted], caption.tokens[items].ravel()[counted]), 1.0)
    thickness, slant = (value[items] for value in captions.attributes(x))
    label = y[items]
    truth = 0.6 * (label[:, None] == label)
    for value in (thickness, slant):
        truth += 0.2 * (1 - np.abs(value[:, None] - value) / 2)
    return Seen(
        jnp.asarray(x.reshape(len(x), -1)),
        jnp.asarray(y),
        jnp.asarray(np.isin(np.arange(len(x)), order[num_items:])),
        jnp.asarray(items),
        jnp.asarray(bag),
        jnp.asarray(truth, jnp.float32),
        jax.random.key(seed),
    )


# Topology


def measure(embeddings: Array, labels: Array, num_classes: int) -> dict[str, Array]:
    """Statistics of rows [N, D], the first without labels, the last two with them."""
    distances = jnp.sqrt(kernels.pairwise_sq_dists(embeddings))
    found = metrics.persistence_statistics(metrics.h0_deaths(distances), num_classes=num_classes)
    neighbours = distances + jnp.where(jnp.eye(len(distances), dtype=bool), jnp.inf, 0.0)
    return found._asdict() | {
        "mean_distance": metrics.mean_pairwise_distance(embeddings) / jnp.sqrt(jnp.mean(jnp.var(embeddings, axis=0))),
        "fisher": metrics.fisher_discriminant_ratio(embeddings, labels, num_classes=num_classes),
        "neighbour": jnp.mean(labels[jnp.argmin(neighbours, axis=1)] == labels),
    }


@functools.cache
def _network(width: int, num_classes: int, dim: int) -> Any:
    return mlp((dim, width, num_classes))


def watch(seen: Seen, *, width: int, num_classes: int) -> tuple[PyTree, dict[str, Array]]:
    """Trains a network; its last parameters, and the measures of every check, [CHECKS]."""
    network = _network(width, num_classes, seen.x.shape[1])
    optimizer = _adam()

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        logits = network.logits(params, batch["x"])
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"])), state

    def look(carry: tuple[PyTree, PyTree], key: Array) -> tuple[Any, dict[str, Array]]:
        params, opt_state = carry
        embeddings = numerics.normalize(network.features(params, seen.x[seen.items]))
        found = measure(embeddings, seen.y[seen.items], num_classes)
        data = {"x": seen.x, "y": seen.y}
        fitted = fit(
            loss_fn,
            params,
            None,
            optimizer,
            data,
            key,
            num_steps=STEPS_BETWEEN,
            batch_size=128,
            where=seen.train,
            opt_state=opt_state,
        )
        return (fitted.params, fitted.opt_state), found

    params = network.init(seen.key)
    (params, _), found = jax.lax.scan(look, (params, optimizer.init(params)), jax.random.split(seen.key, CHECKS))
    return params, found


@functools.cache
def _adam() -> optax.GradientTransformation:
    return optax.adam(2e-3)


def blobs(key: Array, *, size: int, dim: int = 10, num_classes: int = 3) -> dict[str, Array]:
    """The measures of three Gaussian blobs for every separation."""
    noise_key, center_key = jax.random.split(key)
    labels = jnp.arange(size) % num_classes
    noise = jax.random.normal(noise_key, (size, dim))
    centers = jnp.linalg.qr(jax.random.normal(center_key, (dim, num_classes)))[0].T
    return jax.lax.map(
        lambda apart: measure(noise + apart * centers[labels], labels, num_classes), jnp.array(SEPARATIONS)
    )


def topology(seen: Seen, *, width: int, num_classes: int, size: int) -> dict[str, Any]:
    """Rank correlations of every label-free statistic with measures that know the labels, and its course."""
    params, course = watch(seen, width=width, num_classes=num_classes)
    spread = blobs(seen.key, size=size)
    names = (*STATISTICS, "mean_distance")

    def agreement_with(known: Array, found: dict[str, Array]) -> Array:
        return jax.vmap(lambda values: metrics.spearman(values, known))(jnp.stack([found[name] for name in names]))

    found = {
        "rho_blobs": agreement_with(spread["fisher"], spread),
        "rho_training": agreement_with(course["fisher"], course),
        "rho_neighbour": agreement_with(course["neighbour"], course),
    }
    agreement = {name: {rho: values[at] for rho, values in found.items()} for at, name in enumerate(names)}
    features = mlp((seen.x.shape[1], width, num_classes)).features(params, seen.x[seen.items])
    return {"agreement": agreement, "course": course, "features": features}


# Language


def predictions(seen: Seen, features: Array) -> dict[str, Array]:
    """Similarities [M, M] of the items by their images, their captions, and both."""
    counts = seen.bag
    frequency = jnp.sum(counts > 0, axis=0)
    rare = retrieval.idf(frequency, len(counts))
    words = numerics.normalize(counts * rare)
    vision = numerics.normalize(features - jnp.mean(features, axis=0))
    scores = retrieval.bm25(counts, counts, retrieval.idf(frequency, len(counts), variant="bm25"))
    has = counts > 0
    one_hot = jnp.broadcast_to(rare * jnp.eye(counts.shape[1]), (*counts.shape, counts.shape[1]))
    pixels = seen.x[seen.items]
    tuning = jnp.arange(len(counts)) < TUNING_ITEMS
    scale = retrieval.tune_stack_scale(words, vision, rated(seen)[1], jnp.array(STACK_GRID), where=tuning)
    return {
        "pixels": kernels.cosine_similarity(pixels),
        "vision": kernels.cosine_similarity(vision),
        "overlap": jnp.matmul(has.astype(jnp.float32), has.T.astype(jnp.float32)),
        "bm25": scores + scores.T,
        "tags": text.tag_set_similarity(one_hot, where=has),
        "language": kernels.cosine_similarity(words),
        "stacked": kernels.cosine_similarity(retrieval.stack_embeddings(words, vision, scale=scale)),
    }


def rated(seen: Seen) -> tuple[Array, Array]:
    """Ratings [RATERS, M, M] of all pairs, and their means."""
    noise = NOISE * jax.random.normal(jax.random.fold_in(seen.key, 1), (RATERS, *seen.truth.shape))
    noise = (noise + noise.swapaxes(1, 2)) / np.sqrt(2)
    ratings = seen.truth + noise
    return ratings, jnp.mean(ratings, axis=0)


def language(seen: Seen, features: Array) -> dict[str, dict[str, Array]]:
    """The correlation of every prediction with the ratings, on pairs of items on which nothing was tuned."""
    ratings, mean = rated(seen)
    held_out = jnp.arange(len(mean)) >= TUNING_ITEMS
    pairs = jnp.triu(held_out[:, None] & held_out, 1)
    where = jnp.broadcast_to(pairs.reshape(1, -1), (RATERS, pairs.size))
    ceiling = metrics.split_half_reliability(
        jax.random.fold_in(seen.key, 2), ratings.reshape(RATERS, -1), where, num_splits=5
    )
    found = predictions(seen, features) | {"raters": mean}
    return {
        name: {"r_similarity": ceiling if name == "raters" else metrics.pearson(value, mean, where=pairs)}
        for name, value in found.items()
    }
