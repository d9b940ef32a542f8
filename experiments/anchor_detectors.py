"""A tiny detector on three levels of cells, what its anchors are to learn by several assigners, and how it is trained.

The network, the boxes and their loss are the same for every row, so that the assignment (or the loss of the classes)
alone differs. All rows share one compiled training: what differs is data (the assignment) or a number (``Rule``).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from experiments.assets.canvases import SIDE, Canvases
from experiments.networks import Conv2d, pure
from experiments.training import fit
from jaxlab import losses, metrics, vision
from jaxlab.numerics import segment_mean
from jaxlab.typing import Array, PyTree

__all__ = ["ASSIGNERS", "SIZE_EDGES", "Rule", "Seed", "assign", "count_positives", "learned"]

STRIDES = (4, 8, 16)
SHAPES = tuple((SIDE // stride, SIDE // stride) for stride in STRIDES)
LEVEL_SIZES = tuple(height * width for height, width in SHAPES)
SIZE = 4.0
"""Side of an anchor in strides."""
CHANNELS = 16
SHOWN = 8
"""Detections of a canvas."""
SIZE_EDGES = (10.0, 14.0, 20.0, 28.0)
"""Between the groups of sizes by which levels are averaged."""
OPTIMIZER = optax.adam(2e-3)
IGNORED = -2

# By the counts: larger canvases and a level more.
COUNT_SIDE, COUNT_STRIDES = 128, (4, 8, 16, 32)
COUNT_SHAPES = tuple((COUNT_SIDE // stride, COUNT_SIDE // stride) for stride in COUNT_STRIDES)


class Rule(NamedTuple):
    """How anchors become a loss; numbers, so that all rules share a program.

    plain, focal, harmonized, sampled, guided: the weight of each loss of the classes, 1 for one of them.
    online: 1 where the level of an object is the one that learns it best.
    """

    plain: float = 0.0
    focal: float = 0.0
    harmonized: float = 0.0
    sampled: float = 0.0
    guided: float = 0.0
    online: float = 0.0


class Pyramid(nnx.Module):
    """Features at three strides, each with what the coarser ones know, and one head for all of them."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Linear(STRIDES[0] ** 2, CHANNELS, rngs=rngs)
        self.down = nnx.Dict(
            {f"conv{i}": Conv2d(CHANNELS, CHANNELS, stride=min(i, 1) + 1, rngs=rngs) for i in range(len(STRIDES))}
        )
        self.tower = Conv2d(CHANNELS, CHANNELS, rngs=rngs)
        self.score = nnx.Linear(CHANNELS, 1, kernel_init=nnx.initializers.normal(0.01), rngs=rngs)
        self.delta = nnx.Linear(CHANNELS, 4, kernel_init=nnx.initializers.normal(0.01), rngs=rngs)

    def __call__(self, images: Array) -> tuple[Array, Array]:
        """[B, S, S] -> logits [B, P] and deltas [B, P, 4] of all anchors."""
        count, (height, width) = images.shape[0], SHAPES[0]
        x = vision.patchify(images[..., None], size=STRIDES[0]).reshape(count, height, width, -1)
        x, features = nnx.relu(self.stem(x)), []
        for i in range(len(STRIDES)):
            x = nnx.relu(self.down[f"conv{i}"](x))
            features.append(x)
        for i in reversed(range(len(STRIDES) - 1)):
            features[i] = features[i] + features[i + 1].repeat(2, axis=1).repeat(2, axis=2)
        towers = [nnx.relu(self.tower(x)).reshape(count, -1, CHANNELS) for x in features]
        rows = jnp.concatenate(towers, axis=1)
        return self.score(rows)[..., 0], self.delta(rows)


init, network = pure(lambda rngs: Pyramid(rngs=rngs))


def anchors() -> Array:
    """The anchors of the detector: [P, 4]."""
    return vision.make_anchors(SHAPES, STRIDES, size=SIZE)


def _by_size(boxes: Array, strides: tuple[int, ...]) -> Array:
    """The level whose anchors are nearest in size, as pyramids are used without a choice."""
    side = jnp.sqrt(jnp.prod(jnp.maximum(boxes[..., 2:] - boxes[..., :2], 1e-3), axis=-1))
    level = jnp.round(jnp.log2(side / (SIZE * strides[0])))
    return jnp.clip(level, 0, len(strides) - 1).astype(jnp.int32)


def _overlap(shapes: tuple, strides: tuple, boxes: Array, where: Array, **options: Any) -> Array:
    return vision.assign_iou(vision.make_anchors(shapes, strides, size=SIZE), boxes, box_where=where, **options)


def _atss(shapes: tuple, strides: tuple, boxes: Array, where: Array) -> Array:
    places = vision.make_anchors(shapes, strides, size=SIZE)
    return vision.assign_atss(places, boxes, level_sizes=[h * w for h, w in shapes], box_where=where)


def _center(shapes: tuple, strides: tuple, boxes: Array, where: Array, *, by_size: bool = False) -> Array:
    cells = vision.make_anchors(shapes, strides, size=1.0)
    owner, ignore = vision.assign_center_region(cells, boxes, box_where=where)
    background = jnp.where(jnp.any(ignore, axis=1), IGNORED, -1)
    owner = jnp.where(owner < 0, background, owner)
    if not by_size:
        return owner
    chosen = vision.selected_mask(owner, _by_size(boxes, strides), level_sizes=[h * w for h, w in shapes])
    return jnp.where((owner >= 0) & ~chosen, IGNORED, owner)


Assigner = Callable[[tuple, tuple, Array, Array], Array]
ASSIGNERS: dict[str, Assigner] = {
    "iou": functools.partial(_overlap, low_quality=False),
    "iou_best": _overlap,
    "best_only": functools.partial(_overlap, positive=1.0),
    "atss": _atss,
    "all_levels": _center,
    "level_by_size": functools.partial(_center, by_size=True),
}


@functools.partial(jax.jit, static_argnames="name")
def assign(boxes: Array, where: Array, *, name: str) -> Array:
    """The box of every anchor, -1 for background, -2 for ignored: int [B, P]."""
    return jax.vmap(functools.partial(ASSIGNERS[name], SHAPES, STRIDES))(boxes, where)


@functools.partial(jax.jit, static_argnames=("name", "sizes", "count"))
def count_positives(key: Array, *, name: str, sizes: tuple[float, ...], count: int) -> Array:
    """Positive anchors of single square boxes at random places of a larger canvas: int [len(sizes), count]."""
    assigner = functools.partial(ASSIGNERS[name], COUNT_SHAPES, COUNT_STRIDES)
    side = jnp.array(sizes)[:, None, None]
    corner = jax.random.uniform(key, (len(sizes), count, 2)) * (COUNT_SIDE - side)
    boxes = jnp.concatenate([corner, corner + side], axis=-1)
    one = lambda box: jnp.sum(assigner(box[None], jnp.ones(1, bool)) >= 0)  # noqa: E731
    return jax.lax.map(one, boxes.reshape(-1, 4), batch_size=count).reshape(len(sizes), count)


def initial(key: Array, bias: Array) -> PyTree:
    """Parameters whose scores start at the bias."""
    params = init(key)
    return params | {"score": params["score"] | {"bias": jnp.full(1, bias)}}


def _class_losses(logits: Array, positive: Array, valid: Array, key: Array) -> dict[str, Array]:
    """The losses of the classes that a rule mixes."""
    truth = positive.astype(logits.dtype)
    plain = optax.losses.sigmoid_binary_cross_entropy(logits, truth)
    focal = optax.losses.sigmoid_focal_loss(logits, truth, alpha=0.25, gamma=2.0)
    weights = losses.gradient_harmonized_weights(logits, truth, where=valid)
    number = jnp.maximum(jnp.sum(positive), 1)
    total = jnp.maximum(jnp.sum(valid), 1)
    # Three negatives for a positive, drawn anew for every batch.
    rate = 3 * number / jnp.maximum(jnp.sum(valid & ~positive), 1)
    taken = positive | (valid & jax.random.bernoulli(key, jnp.minimum(rate, 1.0), valid.shape))
    return {
        "plain": jnp.sum(jnp.where(valid, plain, 0.0)) / number,
        "focal": jnp.sum(jnp.where(valid, focal, 0.0)) / number,
        "harmonized": jnp.sum(weights * plain) / total,
        "sampled": jnp.sum(jnp.where(taken, plain, 0.0)) / jnp.maximum(jnp.sum(taken), 1),
        "guided": jnp.sum(jnp.where(valid, plain, 0.0)) / total,
    }


def _paid(logits: Array, deltas: Array, owner: Array, boxes: Array) -> tuple[Array, Array]:
    """What every anchor pays for its box, [B, P], and the level that is cheapest for every object, int [B, M]."""
    target = jnp.take_along_axis(boxes, jnp.maximum(owner, 0)[..., None], axis=1)
    positive = owner >= 0
    box = vision.giou_loss(vision.decode_deltas(anchors(), deltas), target, where=positive)
    both = box + optax.losses.sigmoid_focal_loss(logits, positive, alpha=0.25, gamma=2.0)
    select = functools.partial(vision.select_feature_level, level_sizes=LEVEL_SIZES, num_boxes=boxes.shape[1])
    return box, jax.vmap(select)(both, owner)


def loss_fn(params: PyTree, rule: Rule, batch: dict[str, Array], key: Array) -> tuple[Array, Rule]:
    """The loss of a batch under a rule."""
    logits, deltas = network(params, batch["images"])
    owner = batch["owner"]
    box, level = _paid(logits, deltas, owner, batch["boxes"])
    chosen = jax.vmap(functools.partial(vision.selected_mask, level_sizes=LEVEL_SIZES))(owner, level)
    positive = (owner >= 0) & (chosen | (rule.online == 0))
    valid = positive | (owner == -1)
    boxes = jnp.sum(jnp.where(positive, box, 0.0)) / jnp.maximum(jnp.sum(positive), 1)
    parts = _class_losses(logits, positive, valid, key)
    parts["guided"] = losses.guided_loss_scaling(parts["guided"], boxes)
    classes = sum(getattr(rule, name) * part for name, part in parts.items())
    return classes + boxes, rule


class Seed(NamedTuple):
    """What one seed works on: where the scores start, canvases to learn from and to test on, and their assignments."""

    key: Array
    bias: Array
    train: dict[str, Array]  # images [B, S, S], boxes [B, M, 4], owner [B, P]
    tests: Canvases
    owner: Array  # [B, P], of the canvases to test on


def learned(
    seed: Seed, rule: Rule, *, rounds: int, steps: int, batch_size: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Trains, and measures the scores of anchors after every round, boxes and levels at the end."""
    init_key, key = jax.random.split(seed.key)
    start = initial(init_key, seed.bias)
    sizes = {"num_steps": steps, "batch_size": batch_size}

    def further(carry: tuple[PyTree, PyTree], key: Array) -> tuple[tuple[PyTree, PyTree], tuple[Array, ...]]:
        params, opt_state = carry
        done = fit(loss_fn, params, rule, OPTIMIZER, seed.train, key, opt_state=opt_state, **sizes)
        logits, deltas = network(done.params, seed.tests.images)
        return (done.params, done.opt_state), (anchor_precision(logits, seed.owner), logits, deltas)

    carry = (start, OPTIMIZER.init(start))
    precision, logits, deltas = jax.lax.scan(further, carry, jax.random.split(key, rounds))[1]
    boxes, found = box_precision(logits[-1], deltas[-1], seed.tests)
    agreement, level = levels_chosen(logits[-1], deltas[-1], seed.tests, seed.owner)
    values = {"box_precision": boxes, "level_agreement": agreement}
    values |= {"anchor_precision": precision[-1], "early_precision": precision[0]}
    curves = {"precision": precision, "level": level, "found": found}
    return values, curves | {"canvas": seed.tests.images[0], "truth": seed.tests.boxes[0]}


def box_precision(logits: Array, deltas: Array, canvases: Canvases) -> tuple[Array, Array]:
    """AP50 of the detections, and the boxes of the first canvas that are likelier than not, [SHOWN, 4], others 0."""
    boxes = jnp.clip(vision.decode_deltas(anchors(), deltas), 0.0, float(SIDE))
    kept = jax.vmap(functools.partial(vision.non_max_suppression, max_outputs=SHOWN))(boxes, logits)
    found = jnp.take_along_axis(boxes, kept.indices[..., None], axis=1)
    scores = jnp.take_along_axis(logits, kept.indices, axis=1)
    precision = metrics.detection_average_precision(
        scores, jax.vmap(vision.box_iou)(found, canvases.boxes), where=kept.valid, target_where=canvases.where
    )
    sure = kept.valid[0] & (scores[0] > 0)
    return precision, jnp.where(sure[:, None], found[0], 0.0)


def anchor_precision(logits: Array, owner: Array) -> Array:
    """Average precision of the scores of anchors, positives against background."""
    return metrics.average_precision(logits.reshape(-1), (owner >= 0).reshape(-1), where=(owner != IGNORED).reshape(-1))


def levels_chosen(logits: Array, deltas: Array, canvases: Canvases, owner: Array) -> tuple[Array, Array]:
    """How the cheapest level of an object goes with its size: rank correlation, and the mean level by size."""
    _, level = _paid(logits, deltas, owner, canvases.boxes)
    there = (canvases.where & (level >= 0)).reshape(-1)
    level = level.reshape(-1).astype(jnp.float32)
    size = jnp.sqrt(jnp.prod(canvases.boxes[..., 2:] - canvases.boxes[..., :2], axis=-1)).reshape(-1)
    group = jnp.searchsorted(jnp.array(SIZE_EDGES), size)
    means, _ = segment_mean(level, group, len(SIZE_EDGES) + 1, where=there)
    return metrics.spearman(level, size, where=there), means
