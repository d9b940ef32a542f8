"""Few-shot settings: which rows a classifier may see, and how it is measured with one to sixteen of them.

``on_shots``: every class is new. ``sessions``: new classes beside known ones. ``without_labels``: no shots at all. Rows
are drawn on the host; how many of them count is a mask, so one program serves every number of shots.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import data as datasets
from experiments.assets.classifiers import penultimate, train_classifier
from experiments.data import Dataset
from experiments.errors import UserError
from experiments.networks import mlp
from jaxlab import analytic, metrics
from jaxlab.continual import Learner
from jaxlab.numerics import masked_mean, normalize
from jaxlab.typing import Array

__all__ = [
    "SESSION_SHOTS",
    "SHOTS",
    "TEXTS_FROM",
    "VALIDATION",
    "Episode",
    "Examples",
    "Measurement",
    "Part",
    "Seed",
    "Shared",
    "combined",
    "cosine_features",
    "draw_shots",
    "first_shots",
    "on_shots",
    "pixels_of",
    "sessions",
    "texts_of",
    "without_labels",
]

SHOTS = (1, 2, 4, 8, 16)  # per class, every class new
SESSION_SHOTS = (1, 2, 5, 10)  # per new class, beside the base classes
VALIDATION = 16  # more rows per class, to choose what a method has to choose, whatever the shots
TEXTS_FROM = {"digits": "mnist5k", "mnist5k": "digits"}  # data sets with the same classes


class Examples(NamedTuple):
    """Labelled rows [N, D] and [N], and which of them count."""

    x: Array
    y: Array
    where: Array


class Seed(NamedTuple):
    """What one seed works on; all but the features are row numbers or masks of rows."""

    key: Array
    shots: Array  # int [T, C, 16], the support of T trials
    validation: Array  # int [T, C, 16]
    train: Array  # bool [N]
    test: Array  # int [M]
    features: Array  # [N, E], frozen, of a network that learned the base classes


class Shared(NamedTuple):
    """What all seeds see."""

    labels: Array  # [N]
    pixels: Array  # [N, D], in [-1, 1]
    text: Any  # [C, D], unit rows; None if there are none


class Episode(NamedTuple):
    """What a classifier may use: labelled shots, validation rows, a vector per class."""

    support: Examples
    validation: Examples
    text: Any
    num_classes: int

    def stats(self, second: str = "none") -> analytic.ClassStats:
        """Class statistics of the shots."""
        empty = analytic.class_stats_init(self.num_classes, self.support.x.shape[1], second=second)
        return analytic.class_stats_update(empty, self.support.x, self.support.y, where=self.support.where)


Measurement = tuple[dict[str, Array], dict[str, Array]]
Part = Callable[[Any, Seed, Shared], Measurement]


def draw_shots(labels: np.ndarray, train: np.ndarray, *, trials: int, per_class: int, seed: int) -> np.ndarray:
    """Row numbers int32 [trials, C, per_class]: different training rows of every class, anew in every trial.

    Raises:
      UserError: a class has fewer training rows.
    """
    rng = np.random.default_rng([seed, 1])
    drawn = []
    for label in range(labels.max() + 1):
        rows = np.flatnonzero(train & (labels == label))
        if len(rows) < per_class:
            raise UserError(f"Class {label} has {len(rows)} training rows: {per_class} of every class are needed.")
        drawn.append([rng.permutation(rows)[:per_class] for _ in range(trials)])
    return np.array(drawn, np.int32).swapaxes(0, 1)


def first_shots(x: Array, labels: Array, rows: Array, shots: Array | int) -> Examples:
    """The rows [C, K] of every class as C K examples, of which the first ``shots`` of each class count."""
    counted = jnp.broadcast_to(jnp.arange(rows.shape[1]) < shots, rows.shape).reshape(-1)
    return Examples(x[rows.reshape(-1)], labels[rows.reshape(-1)], counted)


def pixels_of(data: Dataset) -> np.ndarray:
    """Rows float32 [N, D] in [-1, 1]: features up to their scale, images shrunk to 8 x 8 (the mean of their colours).

    MNIST's empty frame of four pixels is cut off, so that its digits fill the image as those of ``digits`` do.
    """
    x = data.x
    if data.kind == "images":
        x = x if x.ndim == 3 else x.mean(axis=3)
        x = x[:, 4:-4, 4:-4] if data.name == "mnist5k" else x
        x = np.asarray(jax.image.resize(jnp.asarray(x), (len(x), 8, 8), "linear"))
    x = x.reshape(len(x), -1)
    return x / max(float(np.abs(x).max()), 1e-30)


def cosine_features(data: Dataset, keys: Array, train: Array, *, num_base: int, hidden: int, num_steps: int) -> Array:
    """Frozen features [S, N, E] of a one-layer network that learned the base classes, or the user's own.

    The network learns by cosines: its logits are 16 times the cosine of the features with a vector per class.

    Args:
      data: images, or features that stay as they are.
      keys: typed keys [S].
      train: bool [S, N], the rows each network may learn from.
      num_base: classes 0 to num_base - 1 are learned.
      hidden: E.
      num_steps: steps of training.
    """
    x, y, num_classes = jnp.asarray(data.x).reshape(len(data.x), -1), jnp.asarray(data.y), data.num_classes
    if data.kind == "features":
        return jnp.broadcast_to(x, (len(keys), *x.shape))
    plain = mlp((x.shape[1], hidden, num_classes))

    def logits(params: Any, x: Array) -> Array:
        weight = params["head"]["kernel"].T
        return analytic.prototype_logits(plain.features(params, x), weight, metric="cosine", scale=16.0)

    network, base = plain._replace(logits=logits), jnp.arange(num_classes) < num_base
    options: Any = {"num_classes": num_classes, "num_steps": num_steps, "class_where": base}
    learn = lambda key, where: train_classifier(network, x, y, key, where=where, **options)  # noqa: E731
    return jax.lax.map(lambda one: penultimate(network, one, x), jax.vmap(learn)(keys, train))


def texts_of(data: Dataset) -> Array | None:
    """A unit vector per class [C, D], the mean of another data set's unit rows; None where there is no other."""
    if data.name not in TEXTS_FROM or data.kind != "images":
        return None
    other = datasets.load(TEXTS_FROM[data.name])
    means = functools.partial(analytic.class_means, num_classes=other.num_classes, unit=True)
    return jax.jit(means)(pixels_of(other), other.y)


def combined(*parts: Part) -> Part:
    """A row that is measured in several settings."""

    def measure(config: Any, seed: Seed, shared: Shared) -> Measurement:
        scalars, curves = zip(*(part(config, seed, shared) for part in parts), strict=True)
        return {k: v for one in scalars for k, v in one.items()}, {k: v for one in curves for k, v in one.items()}

    return measure


def on_shots(classify: Callable[[Any, Episode, Array], Array], *, unit: bool = True) -> Part:
    """Accuracy over all classes with K shots each, mean over trials; ``classify(config, episode, rows) -> logits``."""

    def measure(config: Any, seed: Seed, shared: Shared) -> Measurement:
        x = normalize(shared.pixels) if unit else shared.pixels
        tests, truth = x[seed.test], shared.labels[seed.test]

        def trial(support: Array, validation: Array, shots: Array) -> Array:
            known = first_shots(x, shared.labels, support, shots)
            held_out = first_shots(x, shared.labels, validation, VALIDATION)
            return metrics.accuracy(classify(config, Episode(known, held_out, shared.text, len(support)), tests), truth)

        trials = jax.vmap(trial, in_axes=(0, 0, None))
        accuracy = jax.lax.map(lambda k: jnp.mean(trials(seed.shots, seed.validation, k)), jnp.array(SHOTS))
        return {f"accuracy_{k}": accuracy[SHOTS.index(k)] for k in (1, 4, 8, 16)}, {"accuracy": accuracy}

    return measure


def without_labels(classify: Callable[[Any, Array, Array, Array, Array], Array]) -> Part:
    """Accuracy over all classes; ``classify(config, text, unlabelled rows, their mask, rows) -> logits``."""

    def measure(config: Any, seed: Seed, shared: Shared) -> Measurement:
        x = normalize(shared.pixels)
        logits = classify(config, shared.text, x, seed.train, x[seed.test])
        accuracy = metrics.accuracy(logits, shared.labels[seed.test])
        return {"accuracy_0": accuracy}, {"accuracy": jnp.full(len(SHOTS), accuracy)}

    return measure


def sessions(make: Callable[[int, int, Array], Learner], *, unit: bool = False) -> Part:
    """All base rows, then K shots of every new class: accuracies among ALL classes, mean over trials."""

    def measure(config: Any, seed: Seed, shared: Shared) -> Measurement:
        num_classes, labels = seed.shots.shape[1], shared.labels
        num_base = config.num_base(num_classes)
        x = normalize(seed.features) if unit else seed.features
        learner = make(num_classes, x.shape[1], jnp.arange(num_classes) < num_base)
        base = learner.update(learner.init(seed.key), x, labels, where=seed.train & (labels < num_base))
        tests, truth = x[seed.test], labels[seed.test]
        is_new = truth >= num_base

        def trial(rows: Array, shots: Array) -> tuple[Array, Array]:
            new = first_shots(x, labels, rows[num_base:], shots)
            head = learner.solve(learner.update(base, new.x, new.y, where=new.where))
            predicted = jnp.argmax(learner.predict(head, tests), axis=-1)
            both = [metrics.accuracy(predicted, truth, where=where) for where in (~is_new, is_new)]
            called_base = masked_mean((predicted < num_base).astype(jnp.float32), is_new)
            return metrics.harmonic_mean(jnp.stack(both)), called_base

        at = lambda k: jax.tree.map(jnp.mean, jax.vmap(trial, in_axes=(0, None))(seed.shots, k))  # noqa: E731
        harmonic, called_base = jax.lax.map(at, jnp.array(SESSION_SHOTS))
        curves = {"harmonic_mean": harmonic, "new_to_base": called_base}
        return {f"{name}_{k}": curve[SESSION_SHOTS.index(k)] for name, curve in curves.items() for k in (1, 5)}, curves

    return measure
