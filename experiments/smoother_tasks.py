"""What ``experiments.kernels_and_smoothers`` asks besides accuracy: the plane, nats, networks from many starts."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import smoother_kernels as smoothers
from experiments.networks import mlp
from experiments.training import cosine_adam, fit
from jaxlab import metrics
from jaxlab.typing import Array, PyTree

__all__ = ["Seed", "networks", "on_plane", "plane_points", "remaining_nats", "two_classes"]

GAP = 0.7  # half the distance of the means of the two Gaussians, whose standard deviation is 1

Measures = tuple[dict[str, Array], dict[str, Array]]


class Seed(NamedTuple):
    """What one seed works on: inputs of length 1, labels, and the training labels of which some lie."""

    key: Array
    train_x: Array
    train_y: Array
    noisy_y: Array
    test_x: Array
    test_y: Array


def plane_points(key: Array, count: int) -> tuple[Array, Array]:
    """Points of two Gaussians in a plane, lifted to the upper half of a sphere, and which Gaussian they are of."""
    first, second = jax.random.split(key)
    labels = jax.random.bernoulli(first, shape=(count,)).astype(jnp.int32)
    points = jax.random.normal(second, (count, 2)).at[:, 0].add(GAP * (2 * labels - 1))
    lifted = jnp.concatenate([0.25 * points, jnp.ones((count, 1))], axis=-1)
    return lifted / jnp.linalg.norm(lifted, axis=-1, keepdims=True), labels


def on_plane(votes: Callable[[Array, Array], Array], key: Array, *, sizes: tuple[int, ...]) -> Measures:
    """How far the error in the plane lies above the Bayes error, over the number of training points.

    The error of a prediction at a test point is its expectation over the label, which is known.
    """
    test, _ = plane_points(jax.random.fold_in(key, 1), 500)
    # The ratio of the two densities; the first coordinate of the plane is that of the sphere over the last.
    probability = jax.nn.sigmoid(2 * GAP * test[:, 0] / test[:, 2] / 0.25)
    excess = []
    for count in sizes:
        train, labels = plane_points(jax.random.fold_in(key, 2), count)
        chosen = jnp.argmax(votes(train, test) @ jax.nn.one_hot(labels, 2), axis=-1)
        risk = jnp.where(chosen == 1, 1 - probability, probability)
        excess.append(jnp.mean(risk - jnp.minimum(probability, 1 - probability)))
    return {"excess_few": excess[0], "excess_many": excess[-1]}, {"excess": jnp.stack(excess)}


def remaining_nats(gram: smoothers.Gram, seed: Seed, *, num_classes: int, **options: Any) -> Measures:
    """Of the whole task, for a Gaussian process; ``options`` as ``smoothers.nats`` takes them."""
    targets, test_targets = (jax.nn.one_hot(y, num_classes) for y in (seed.train_y, seed.test_y))
    found, errors = smoothers.nats(gram, seed.key, seed.train_x, targets, seed.test_x, test_targets, **options)
    return {"nats": found, "sampled_error": jnp.mean(errors)}, {}


def two_classes(
    gram: smoothers.Gram, seed: Seed, rows: tuple[Array, Array], *, dims: tuple[int, ...], **options: Any
) -> Measures:
    """The same on two classes (row numbers to train and to test on) in a few leading directions of the inputs."""
    train, test = rows
    targets, test_targets = jax.nn.one_hot(seed.train_y[train], 2), jax.nn.one_hot(seed.test_y[test], 2)
    known, new = smoothers.directions(seed.train_x[train], seed.test_x[test])

    def count(dim: Array) -> Array:
        seen = jnp.arange(known.shape[1]) < dim  # the others are 0: one program for all
        return smoothers.nats(gram, seed.key, known * seen, targets, new * seen, test_targets, **options)[0]

    found = jax.lax.map(count, jnp.array(dims))
    return {"nats_few_dims": found[0], "nats_many_dims": found[-1]}, {"nats_by_dim": found}


def networks(seed: Seed, *, num_classes: int, count: int, steps: int, error: float) -> Measures:
    """Networks from many starts: accuracy, and nats by the errors of those that learned the true labels."""
    network = mlp((seed.train_x.shape[1], 64, num_classes))
    optimizer = cosine_adam(1e-2, steps)

    def loss(params: PyTree, state: PyTree, batch: dict[str, Any], key: Array) -> tuple[Array, PyTree]:
        return jnp.mean((network.logits(params, batch["x"]) - batch["y"]) ** 2), state

    def outputs(labels: Array, key: Array) -> Array:
        data = {"x": seed.train_x, "y": jax.nn.one_hot(labels, num_classes)}
        first, second = jax.random.split(key)
        size = min(128, len(labels))
        trained = fit(loss, network.init(first), None, optimizer, data, second, num_steps=steps, batch_size=size)
        return network.logits(trained.params, seed.test_x)

    def accuracy(found: Array) -> Array:
        return jnp.mean((jnp.argmax(found, axis=-1) == seed.test_y).astype(jnp.float32))

    # The first few starts once more with the labels that lie, in the same program.
    keys = jax.random.split(seed.key, count)
    few = min(4, count)
    labels = jnp.stack([seed.train_y] * count + [seed.noisy_y] * few)
    found = jax.vmap(outputs)(labels, jnp.concatenate([keys, keys[:few]]))
    clean, noisy = found[:count], found[count:]
    errors = jnp.mean((clean - jax.nn.one_hot(seed.test_y, num_classes)) ** 2, axis=(1, 2))
    measured = {
        "accuracy_clean": accuracy(clean),
        "accuracy_noisy": accuracy(noisy),
        "nats": metrics.inductive_bias_from_errors(errors, error),
        "sampled_error": jnp.mean(errors),
    }
    return measured, {}
