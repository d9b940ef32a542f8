"""Which anchor answers for which object: assigners on padded boxes, the level of an object, and suppression.

All of them see one image; ``jax.vmap`` over boxes and masks takes many. ``box_where`` says which boxes exist: the
others are padding and may hold anything. An assignment is an index of a box per anchor, -1 for background.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import segment_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike
from jaxlab.vision.boxes import box_iou, center_sq_distance

__all__ = [
    "CenterRegion",
    "Kept",
    "assign_atss",
    "assign_center_region",
    "assign_iou",
    "non_max_suppression",
    "select_feature_level",
    "selected_mask",
]

INSIDE = 0.01
"""Pixels that an anchor's centre must be away from the sides of its box."""
OVERLAP = 0.01
"""Share of a cell that must lie in a region."""


class CenterRegion(NamedTuple):
    """Of every cell: int [P], the box it answers for, or -1; and bool [P, M], the boxes it must not be blamed for."""

    owner: Array
    ignore: Array


class Kept(NamedTuple):
    """The boxes that are left, best first: int [K] places, 0 where there is none; and bool [K], whether there is."""

    indices: Array
    valid: Array


def assign_iou(
    anchors: ArrayLike,
    boxes: ArrayLike,
    *,
    positive: ArrayLike = 0.5,
    negative: ArrayLike = 0.4,
    low_quality: bool = True,
    box_where: ArrayLike | None = None,
) -> Array:
    r"""Anchors answer for the box they overlap most, if by enough: the matcher of RetinaNet and Faster R-CNN.

    .. math:: a_n = \begin{cases} g = \arg\max_m \mathrm{IoU}_{nm} & \mathrm{IoU}_{ng} \ge t_+ \\
              -2 & t_- \le \mathrm{IoU}_{ng} < t_+ \\ -1 & \mathrm{IoU}_{ng} < t_- \end{cases}

    Args:
      anchors: float [N, 4] as (x0, y0, x1, y1).
      boxes: float [M, 4].
      positive: t_+, from here on an anchor is positive.
      negative: t_- <= t_+, below it is background; in between it is ignored.
      low_quality: static; an anchor that no other surpasses on some box is positive whatever the overlap, if there is
        any. It answers for the box that it overlaps most itself.
      box_where: bool [M], True where a box exists.
    Returns:
      int32 [N]: the box, -1 for background, -2 for ignored. Equal overlaps go to the lower index.
    Raises:
      ValueError: anchors or boxes are not [N, 4], box_where is not [M], or static thresholds are not in [0, 1] and in
        order.
      TypeError: an array is not floating point, or box_where not boolean.

    >>> anchors = jnp.array([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0], [9.0, 0.0, 13.0, 4.0]])
    >>> print(assign_iou(anchors, jnp.array([[0.0, 0.0, 4.0, 3.0]])))
    [ 0 -1 -1]

    Reference: the matcher of Ren et al., "Faster R-CNN" (2015), in the code of Chen et al., "Is Heuristic Sampling
    Necessary in Training Deep Object Detectors?" (2021), checked; there a box that overlaps nothing turns every anchor
    without overlap positive, here none.
    """
    checks.in_range(positive, "positive", 0.0, 1.0)
    checks.in_range(negative, "negative", 0.0, 1.0)
    if checks.is_static(positive) and checks.is_static(negative) and negative > positive:
        raise ValueError(f"negative must be at most positive ({positive!r}), got {negative!r}")
    anchors, boxes, exists = _inputs(anchors, boxes, box_where)
    overlaps = jnp.where(exists, box_iou(anchors, boxes), -1.0)
    if boxes.shape[0] == 0 or anchors.shape[0] == 0:
        return jnp.full(anchors.shape[0], -1, jnp.int32)
    best, owner = jnp.max(overlaps, axis=1), jnp.argmax(overlaps, axis=1).astype(jnp.int32)
    assigned = jnp.where(best >= positive, owner, jnp.where(best < negative, -1, -2))
    if not low_quality:
        return jnp.where(best >= 0, assigned, -1)
    highest = jnp.max(overlaps, axis=0)
    unsurpassed = jnp.any((overlaps == highest) & (highest > 0), axis=1)
    return jnp.where(unsurpassed, owner, jnp.where(best >= 0, assigned, -1))


def assign_atss(
    anchors: ArrayLike,
    boxes: ArrayLike,
    *,
    level_sizes: Sequence[int],
    k: int = 9,
    box_where: ArrayLike | None = None,
) -> Array:
    r"""Every box sets its own threshold of overlap, from the anchors around its centre.

    .. math:: t_m = \operatorname{mean}_{n \in C_m} \mathrm{IoU}_{nm} + \operatorname{std}_{n \in C_m} \mathrm{IoU}_{nm}

              a_n = \arg\max_{m:\, n \in C_m,\; \mathrm{IoU}_{nm} \ge t_m,\; c_n \in m} \mathrm{IoU}_{nm}

    C_m are the k anchors of every level whose centres are nearest to that of box m. Large and small boxes get about as
    many positive anchors.

    Args:
      anchors: float [N, 4] as (x0, y0, x1, y1), level after level.
      boxes: float [M, 4].
      level_sizes: how many anchors each level has, static; they add up to N.
      k: candidates per level, static; all of a level that has fewer. With several anchors per place, k times as many.
      box_where: bool [M], True where a box exists.
    Returns:
      int32 [N]: the box, -1 for background. An anchor that several boxes want answers for the one it overlaps most;
      equal distances and overlaps go to the lower index.
    Raises:
      ValueError: anchors or boxes are not [N, 4], box_where is not [M], k < 1, or level_sizes do not add up to N.
      TypeError: an array is not floating point, or box_where not boolean.

    >>> anchors = jnp.array([[0.0, 0.0, 4.0, 4.0], [2.0, 0.0, 6.0, 4.0], [9.0, 0.0, 13.0, 4.0]])
    >>> print(assign_atss(anchors, jnp.array([[0.0, 0.0, 4.0, 3.0]]), level_sizes=[3]))
    [ 0 -1 -1]

    Reference: Zhang et al., "Bridging the Gap Between Anchor-based and Anchor-free Detection via Adaptive Training
    Sample Selection" (2020), checked against the authors' code and mmdetection (the standard deviation divides by the
    number of candidates less one). A single candidate has deviation 0 here, NaN there.
    """
    checks.size(k, "k")
    anchors, boxes, exists = _inputs(anchors, boxes, box_where)
    count, ends = anchors.shape[0], _level_ends(level_sizes, anchors.shape[0])
    if boxes.shape[0] == 0 or count == 0:
        return jnp.full(count, -1, jnp.int32)
    distances = center_sq_distance(boxes, anchors)  # [M, N]
    candidates = jnp.concatenate(
        [
            start + jax.lax.top_k(-distances[:, start:end], min(k, end - start))[1]
            for start, end in itertools.pairwise((0, *ends))
            if end > start
        ],
        axis=1,
    )
    near, whole = anchors[candidates], boxes[:, None]  # [M, K, 4]
    overlaps = box_iou(near, whole, pairwise=False)
    # From the first one on, so that equal overlaps have a mean that no rounding lifts above them.
    ahead = overlaps - overlaps[:, :1]
    spread = jnp.std(ahead, axis=1, ddof=1) if candidates.shape[1] > 1 else jnp.zeros(boxes.shape[0])
    enough = ahead >= (jnp.mean(ahead, axis=1) + spread)[:, None]
    center = 0.5 * (near[..., :2] + near[..., 2:])
    margin = jnp.minimum(jnp.min(center - whole[..., :2], axis=-1), jnp.min(whole[..., 2:] - center, axis=-1))
    chosen = enough & (margin > INSIDE) & exists[:, None]
    # Only candidates can be positive, so no table of all anchors and boxes: the best overlap, then who has it.
    best = jnp.full(count, -1.0, overlaps.dtype).at[candidates].max(jnp.where(chosen, overlaps, -1.0))
    wins = chosen & (overlaps == best[candidates])
    rows = jnp.broadcast_to(jnp.arange(boxes.shape[0], dtype=jnp.int32)[:, None], candidates.shape)
    owner = jnp.full(count, boxes.shape[0], jnp.int32).at[candidates].min(jnp.where(wins, rows, boxes.shape[0]))
    return jnp.where(owner < boxes.shape[0], owner, -1)


def assign_center_region(
    cells: ArrayLike,
    boxes: ArrayLike,
    *,
    positive_scale: ArrayLike = 0.2,
    ignore_scale: ArrayLike = 0.5,
    box_where: ArrayLike | None = None,
) -> CenterRegion:
    r"""Cells at the middle of a box answer for it; those in a ring around are neither right nor wrong.

    .. math:: a_n = \arg\min_{m \in P_n} |b_m|,
              \; P_n = \big\{ m : c_n \in b_m,\; |\,\text{cell}_n \cap \epsilon_+ b_m| > 0.01\, |\,\text{cell}_n| \big\}

    with :math:`\epsilon b` the box shrunk about its centre. A cell is ignored for the boxes whose ring
    :math:`\epsilon_- b` it touches so, and for those that wanted it but are larger. The published code goes further
    where both are of one class: it makes the cell background, and ignores it for that class.

    Args:
      cells: float [P, 4] as (x0, y0, x1, y1), such as ``make_anchors(..., size=1)``.
      boxes: float [M, 4].
      positive_scale: epsilon_+ >= 0.
      ignore_scale: epsilon_- >= positive_scale; equal leaves no ring.
      box_where: bool [M], True where a box exists.
    Returns:
      ``CenterRegion``: owner int32 [P], the smallest box that wants the cell (the lower index of equals) or -1; ignore
      bool [P, M]. A box smaller than a cell may have none.
    Raises:
      ValueError: cells or boxes are not [P, 4], box_where is not [M], or static scales are negative or out of order.
      TypeError: an array is not floating point, or box_where not boolean.

    >>> cells = jnp.array([[4.0, 4.0, 6.0, 6.0], [6.0, 4.0, 8.0, 6.0], [8.0, 4.0, 10.0, 6.0]])
    >>> owner, ignore = assign_center_region(cells, jnp.array([[0.0, 0.0, 10.0, 10.0]]))
    >>> print(owner, ignore[:, 0])
    [ 0 -1 -1] [False  True False]

    Reference: Zhu et al., "Feature Selective Anchor-Free Module for Single-Shot Object Detection" (2019), checked
    against mmdetection, whose default has no ring (0.2 and 0.2); the ring of 0.5 is the paper's, recalled.
    """
    checks.at_least(positive_scale, "positive_scale", 0)
    checks.at_least(ignore_scale, "ignore_scale", 0)
    if checks.is_static(positive_scale) and checks.is_static(ignore_scale):
        checks.at_least(ignore_scale, "ignore_scale", positive_scale)
    cells, boxes, exists = _inputs(cells, boxes, box_where, name="cells")
    if boxes.shape[0] == 0:
        return CenterRegion(jnp.full(cells.shape[0], -1, jnp.int32), jnp.zeros((cells.shape[0], 0), bool))
    center = 0.5 * (cells[:, None, :2] + cells[:, None, 2:])
    within = jnp.all((center > boxes[:, :2]) & (center < boxes[:, 2:]), axis=-1)
    core = exists & within & (_share_inside(cells, boxes, positive_scale) > OVERLAP)
    ring = exists & (_share_inside(cells, boxes, ignore_scale) > OVERLAP) & ~core
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    owner = jnp.argmin(jnp.where(core, areas, jnp.inf), axis=1).astype(jnp.int32)
    lost = core & (jnp.arange(boxes.shape[0]) != owner[:, None])
    return CenterRegion(jnp.where(jnp.any(core, axis=1), owner, -1), ring | lost)


def select_feature_level(loss: ArrayLike, index: ArrayLike, *, level_sizes: Sequence[int], num_boxes: int) -> Array:
    r"""The level on which an object is learned best already: that of the smallest mean loss.

    .. math:: l^*_m = \arg\min_l \operatorname{mean}_{n \in l,\; a_n = m} \ell_n

    Args:
      loss: float [P], what every cell pays for class and box together; its gradient is stopped.
      index: int [P], the box that a cell answers for; negative for none. Their losses may be anything.
      level_sizes: how many cells each level has, static; they add up to P.
      num_boxes: M, static.
    Returns:
      int32 [M], the lower of equals; -1 for a box without a cell on any level.
    Raises:
      ValueError: loss and index are not [P], level_sizes do not add up to P, or num_boxes < 1.
      TypeError: loss is not floating point, or index not of integers.

    >>> loss, index = jnp.array([3.0, 1.0, 1.5]), jnp.array([0, 0, 0])
    >>> print(select_feature_level(loss, index, level_sizes=[2, 1], num_boxes=2))
    [ 1 -1]

    Reference: Zhu et al., "Feature Selective Anchor-Free Module for Single-Shot Object Detection" (2019), checked
    against mmdetection (which gives boxes without a cell to the first level).
    """
    loss = checks.rank(checks.floating(loss, "loss"), "loss", 1, layout="[P]")
    index = checks.integer(index, "index")
    checks.same_shape(index, "index", loss, "loss")
    boxes = checks.size(num_boxes, "num_boxes")
    ends = _level_ends(level_sizes, loss.shape[0])
    groups = jnp.where((index >= 0) & (index < boxes), index * len(ends) + _levels(ends, loss.shape[0]), -1)
    mean, count = segment_mean(jax.lax.stop_gradient(loss), groups, boxes * len(ends))
    mean, count = mean.reshape(boxes, -1), count.reshape(boxes, -1)
    level = jnp.argmin(jnp.where(count > 0, mean, jnp.inf), axis=1).astype(jnp.int32)
    return jnp.where(jnp.any(count > 0, axis=1), level, -1)


def selected_mask(index: ArrayLike, level: ArrayLike, *, level_sizes: Sequence[int]) -> Array:
    """Which cells answer for a box on the level that was selected for it.

    The other cells of a box count neither for it nor against it: leave them out of the loss of its class.

    Args:
      index: int [P], the box that a cell answers for; negative for none.
      level: int [M], of every box, as ``select_feature_level`` gives them.
      level_sizes: how many cells each level has, static; they add up to P.
    Returns:
      bool [P].
    Raises:
      ValueError: index is not [P], level not [M], or level_sizes do not add up to P.
      TypeError: an array is not of integers.

    >>> print(selected_mask(jnp.array([0, -1, 0]), jnp.array([1]), level_sizes=[2, 1]))
    [False False  True]

    Reference: as ``select_feature_level``, checked.
    """
    index = checks.rank(checks.integer(index, "index"), "index", 1, layout="[P]")
    level = checks.rank(checks.integer(level, "level"), "level", 1, layout="[M]")
    ends = _level_ends(level_sizes, index.shape[0])
    if level.shape[0] == 0:
        return jnp.zeros(index.shape, bool)
    known = (index >= 0) & (index < level.shape[0])
    return known & (level[jnp.where(known, index, 0)] == _levels(ends, index.shape[0]))


def non_max_suppression(
    boxes: ArrayLike,
    scores: ArrayLike,
    *,
    max_outputs: int,
    threshold: ArrayLike = 0.6,
    labels: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Kept:
    r"""Takes the best box, drops those that overlap it too much, and so on.

    A loop of fixed length that works on N numbers at a time: no table of all pairs.

    Args:
      boxes: float [N, 4] as (x0, y0, x1, y1).
      scores: float [N], larger first; NaN and -inf are never taken.
      max_outputs: K, static.
      threshold: boxes that overlap a better one by more are dropped.
      labels: int [N]; boxes drop only those of their own label. None: all of them are rivals.
      where: bool [N], True where a box may be taken.
    Returns:
      ``Kept``: indices int32 [K] by falling score (the lower index of equals), valid bool [K].
    Raises:
      ValueError: boxes are not [N, 4], scores, labels or where not [N], max_outputs < 1, N is 0, or a static threshold
        is not in [0, 1].
      TypeError: boxes or scores are not floating point, labels not of integers, or where not boolean.

    >>> boxes = jnp.array([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [9.0, 0.0, 13.0, 4.0]])
    >>> indices, valid = non_max_suppression(boxes, jnp.array([0.5, 0.9, 0.1]), max_outputs=3)
    >>> print(indices, valid)
    [1 2 0] [ True  True False]

    Reference: standard.
    """
    checks.in_range(threshold, "threshold", 0.0, 1.0)
    outputs = checks.size(max_outputs, "max_outputs")
    boxes = checks.rank(checks.floating(boxes, "boxes"), "boxes", 2, layout="[N, 4]")
    scores = checks.floating(scores, "scores")
    if boxes.shape[1] != 4 or scores.shape != boxes.shape[:1] or not scores.size:
        raise ValueError(f"boxes and scores must be [N, 4] and [N], got {list(boxes.shape)} and {list(scores.shape)}")
    kinds = None if labels is None else checks.integer(labels, "labels")
    if kinds is not None:
        checks.same_shape(kinds, "labels", scores, "scores")
    mask = checks.mask(where, "where", scores.shape)
    allowed = ~jnp.isnan(scores) if mask is None else mask & ~jnp.isnan(scores)
    clean = jnp.where(allowed[:, None], boxes.astype(accumulation_dtype(boxes)), 0.0)
    left = jnp.where(allowed, scores.astype(accumulation_dtype(scores)), -jnp.inf)

    def take(left: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        best = jnp.argmax(left)
        valid = left[best] > -jnp.inf
        rivals = box_iou(clean, clean[best], pairwise=False) > threshold
        if kinds is not None:
            rivals &= kinds == kinds[best]
        left = jnp.where(rivals | (jnp.arange(left.shape[0]) == best), -jnp.inf, left)
        return left, (jnp.where(valid, best, 0).astype(jnp.int32), valid)

    return Kept(*jax.lax.scan(take, left, None, length=outputs)[1])


def _inputs(
    anchors: ArrayLike, boxes: ArrayLike, box_where: ArrayLike | None, *, name: str = "anchors"
) -> tuple[Array, Array, Array]:
    """Both in one dtype, and which boxes exist; the others are unit boxes."""
    anchors, boxes = checks.floating(anchors, name), checks.floating(boxes, "boxes")
    for value, called in ((anchors, name), (boxes, "boxes")):
        if value.ndim != 2 or value.shape[1] != 4:
            raise ValueError(f"{called} must have shape [N, 4] as (x0, y0, x1, y1), got {list(value.shape)}")
    mask = checks.mask(box_where, "box_where", boxes.shape[:1])
    dtype = accumulation_dtype(anchors, boxes)
    exists = jnp.ones(boxes.shape[0], bool) if mask is None else mask
    unit = jnp.array([0.0, 0.0, 1.0, 1.0], dtype)
    return anchors.astype(dtype), jnp.where(exists[:, None], boxes.astype(dtype), unit), exists


def _level_ends(level_sizes: Sequence[int], total: int) -> tuple[int, ...]:
    """Where each level ends."""
    sizes = [checks.size(size, "level_sizes", 0) for size in level_sizes]
    if not sizes or sum(sizes) != total:
        raise ValueError(f"level_sizes must add up to the {total} places of all levels, got {tuple(sizes)}")
    return tuple(itertools.accumulate(sizes))


def _levels(ends: tuple[int, ...], total: int) -> Array:
    """The level of every place: int32 [total]."""
    return jnp.searchsorted(jnp.asarray(ends), jnp.arange(total), side="right").astype(jnp.int32)


def _share_inside(cells: Array, boxes: Array, scale: ArrayLike) -> Array:
    """Share of every cell that lies in every box shrunk about its centre: [P, M]."""
    center, half = 0.5 * (boxes[:, :2] + boxes[:, 2:]), 0.5 * jnp.asarray(scale) * (boxes[:, 2:] - boxes[:, :2])
    low, high = center - half, center + half
    sides = [
        jnp.maximum(jnp.minimum(cells[:, i + 2, None], high[:, i]) - jnp.maximum(cells[:, i, None], low[:, i]), 0.0)
        for i in (0, 1)
    ]
    area = (cells[:, 2] - cells[:, 0]) * (cells[:, 3] - cells[:, 1])
    return sides[0] * sides[1] / jnp.where(area > 0, area, 1.0)[:, None]
