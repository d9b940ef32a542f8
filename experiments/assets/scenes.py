"""Scenes of two real digits on one canvas, their captions, and a detector that slides over them.

A canvas has room for two by two digits; two of its cells that share a side hold one each. A caption names two
different classes and where the first lies as seen from the second. Images are rows of SIDE * SIDE numbers in [-1, 1].
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.assets import denoiser
from experiments.assets.denoiser import ClassifierConfig
from jaxlab import metrics
from jaxlab.typing import Array, PyTree

__all__ = [
    "RELATIONS",
    "SIDE",
    "Captions",
    "Detections",
    "caption_correct",
    "captions",
    "compose",
    "detect",
    "detector_rows",
]

RELATIONS = ("left of", "right of", "above", "below")
"""In the order of ``metrics.relative_position``."""
SIDE, DIGIT = 16, 8
CONFIDENCE = 0.3


class Captions(NamedTuple):
    """What a scene is said to show, int [B] each."""

    first: Array
    second: Array
    relation: Array

    def columns(self) -> Array:
        """As conditions of a denoiser: int [B, 3]."""
        return jnp.stack(self, axis=1)


def captions(key: Array, count: int, *, num_classes: int, shares: Array) -> Captions:
    """Two different classes and a relation, drawn with the given shares."""
    class_key, other_key, relation_key = jax.random.split(key, 3)
    first = jax.random.randint(class_key, (count,), 0, num_classes)
    second = (first + jax.random.randint(other_key, (count,), 1, num_classes)) % num_classes
    relation = jax.random.choice(relation_key, len(RELATIONS), (count,), p=shares)
    return Captions(first, second, relation)


def compose(key: Array, images: Array, labels: Array, wanted: Captions, *, num_classes: int) -> Array:
    """A scene for every caption, from images [N, 64] in [-1, 1] of known classes: [B, SIDE * SIDE]."""
    count = wanted.first.shape[0]
    pick_key, place_key = jax.random.split(key)
    # A random image of each class: the largest of random numbers among those of the class.
    draws = jax.random.uniform(pick_key, (2, count, images.shape[0]))
    classes = jnp.stack([wanted.first, wanted.second])
    chosen = jnp.argmax(jnp.where(labels == classes[..., None], draws, -1.0), axis=-1)
    pair = images[chosen].reshape(2, count, DIGIT, DIGIT)
    side = DIGIT * jax.random.randint(place_key, (count,), 0, 2)
    first_leads = (wanted.relation == 0) | (wanted.relation == 2)
    along = jnp.stack([jnp.where(first_leads, 0, DIGIT), jnp.where(first_leads, DIGIT, 0)])
    horizontal = wanted.relation < 2
    columns, rows = jnp.where(horizontal, along, side), jnp.where(horizontal, side, along)

    def paste(pair: Array, rows: Array, columns: Array) -> Array:
        canvas = jnp.full((SIDE, SIDE), -1.0)
        for image, row, column in zip(pair, rows, columns, strict=True):
            canvas = jax.lax.dynamic_update_slice(canvas, image, (row, column))
        return canvas.reshape(-1)

    return jax.vmap(paste, in_axes=1)(pair, rows, columns)


def _windows(scenes: Array) -> tuple[Array, np.ndarray]:
    """Every window of the size of a digit, [B, P, 64], and its box, float [P, 4]."""
    places = SIDE - DIGIT + 1
    canvas = scenes.reshape(-1, SIDE, SIDE)
    shifted = [
        canvas[:, row : row + places, column : column + places] for row in range(DIGIT) for column in range(DIGIT)
    ]
    windows = jnp.stack(shifted, axis=-1).reshape(canvas.shape[0], places * places, DIGIT * DIGIT)
    top, left = np.divmod(np.arange(places * places), places)
    return windows, np.stack([left, top, left + DIGIT, top + DIGIT], axis=1).astype(np.float32)


def detector_rows(key: Array, images: Array, labels: Array, *, num_classes: int) -> tuple[Array, Array]:
    """What a detector learns from: digits, and as a class of its own windows that hold parts of them or nothing."""
    count = images.shape[0]
    caption_key, scene_key, window_key = jax.random.split(key, 3)
    shares = jnp.full(len(RELATIONS), 1 / len(RELATIONS))
    wanted = captions(caption_key, count, num_classes=num_classes, shares=shares)
    scenes = compose(scene_key, images, labels, wanted, num_classes=num_classes)
    windows, _ = _windows(scenes)
    # A window that shows a whole digit shows all the ink of its surroundings: leave those with the most ink out.
    ink = jnp.sum(windows + 1.0, axis=-1)
    order = jnp.argsort(ink, axis=1)
    place = jax.random.randint(window_key, (count,), 0, int(0.8 * windows.shape[1]))
    rows = jnp.take_along_axis(order, place[:, None], axis=1)
    background = jnp.take_along_axis(windows, rows[..., None], axis=1)[:, 0]
    return jnp.concatenate([images, background]), jnp.concatenate([labels, jnp.full(count, num_classes)])


class Detections(NamedTuple):
    """For every class its most confident window: float [B, K] and [B, K, 4]."""

    confidence: Array
    box: Array


@functools.partial(jax.jit, static_argnames="config")
def detect(config: ClassifierConfig, params: PyTree, scenes: Array) -> Detections:
    """Looks for every class in scenes [B, SIDE * SIDE]."""
    windows, boxes = _windows(scenes)
    network = denoiser.classifier(config)

    def one(windows: Array) -> tuple[Array, Array]:
        probs = jax.nn.softmax(network.logits(params, windows))[:, :-1]
        return jnp.max(probs, axis=0), jnp.argmax(probs, axis=0)

    confidence, place = jax.lax.map(one, windows, batch_size=32)
    return Detections(confidence, jnp.asarray(boxes)[place])


def caption_correct(found: Detections, wanted: Captions) -> Array:
    """Whether both classes are there, and the first where the caption says: bool [B]."""
    at = jnp.arange(wanted.first.shape[0])
    there = (found.confidence > CONFIDENCE).astype(jnp.int32)
    both = metrics.clause_correct(there[at, wanted.first], 1) & metrics.clause_correct(there[at, wanted.second], 1)
    position = metrics.relative_position(found.box[at, wanted.first], found.box[at, wanted.second])
    return both & position[at, wanted.relation]
