"""Anchors: boxes on a grid of several strides, how objects are written relative to them, and what they start from."""

import math
from collections.abc import Sequence

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "centerness",
    "decode_deltas",
    "decode_tblr",
    "effective_region",
    "encode_deltas",
    "encode_tblr",
    "make_anchors",
    "prior_bias",
]


def make_anchors(shapes: Sequence[tuple[int, int]], strides: Sequence[int], *, size: float = 8.0) -> Array:
    r"""One square anchor about the middle of every cell of every level, row by row, level after level.

    .. math:: \big((j + \tfrac12) s,\; (i + \tfrac12) s\big) \pm \tfrac12\, a\, s

    With size 1 the anchors are the cells themselves.

    Args:
      shapes: (height, width) of every level, in cells; static.
      strides: s, pixels from cell to cell of every level; static.
      size: a > 0, the side of an anchor in strides; static.
    Returns:
      float32 [N, 4] as (x0, y0, x1, y1), N the cells of all levels. ``[h * w for h, w in shapes]`` are the
      ``level_sizes`` that assigners take.
    Raises:
      ValueError: no level, as many strides as shapes are not given, or a size or stride is not positive.
      TypeError: a shape is not of static integers.

    >>> print(make_anchors([(1, 2)], [4], size=2.0))
    [[-2. -2.  6.  6.]
     [ 2. -2. 10.  6.]]

    Reference: Lin et al., "Focal Loss for Dense Object Detection" (2017), standard, with the one anchor per cell of
    Zhang et al. (ATSS, 2020). Anchors stand about the middle of their cells; some codes put them on the corner.
    """
    if not shapes or len(shapes) != len(strides):
        raise ValueError(f"strides must hold one number per level of shapes, got {len(strides)} for {len(shapes)}")
    if not size > 0 or not all(stride > 0 for stride in strides):
        raise ValueError(f"size and strides must be > 0, got {size!r} and {tuple(strides)}")
    levels = []
    for (height, width), stride in zip(shapes, strides, strict=True):
        rows, columns = (jnp.arange(checks.size(side, "shapes"), dtype=jnp.float32) for side in (height, width))
        y, x = jnp.meshgrid((rows + 0.5) * stride, (columns + 0.5) * stride, indexing="ij")
        half = 0.5 * size * stride
        levels.append(jnp.stack([x - half, y - half, x + half, y + half], axis=-1).reshape(-1, 4))
    return jnp.concatenate(levels)


def encode_deltas(anchors: ArrayLike, boxes: ArrayLike) -> Array:
    r"""Boxes relative to anchors: shifts in sizes of the anchor, and logarithms of the sizes' ratios.

    .. math:: \Big(\frac{x - x_a}{w_a},\; \frac{y - y_a}{h_a},\; \log \frac{w}{w_a},\; \log \frac{h}{h_a}\Big)

    Args:
      anchors: float [..., 4] as (x0, y0, x1, y1), of positive sizes; (x_a, y_a) is the centre.
      boxes: float [..., 4] that broadcasts, of positive sizes.
    Returns:
      float32 or wider [..., 4]; not finite for an empty anchor or box.
    Raises:
      ValueError: the last axis is not 4, or shapes do not broadcast.
      TypeError: an array is not floating point.

    >>> print(encode_deltas(jnp.array([0.0, 0.0, 4.0, 4.0]), jnp.array([1.0, 0.0, 5.0, 4.0])))
    [0.25 0.   0.   0.  ]

    Reference: Girshick et al., "Rich feature hierarchies for accurate object detection" (2014), standard.
    """
    anchors, boxes = _wide(anchors, "anchors", 4), _wide(boxes, "boxes", 4)
    low, high = anchors[..., :2], anchors[..., 2:]
    shift = 0.5 * (boxes[..., :2] + boxes[..., 2:] - low - high) / (high - low)
    return jnp.concatenate([shift, jnp.log((boxes[..., 2:] - boxes[..., :2]) / (high - low))], axis=-1)


def decode_deltas(anchors: ArrayLike, deltas: ArrayLike, *, max_ratio: float = 1000.0 / 16.0) -> Array:
    r"""Boxes from what ``encode_deltas`` wrote: its inverse.

    .. math:: x = x_a + w_a\, \delta_x, \qquad w = w_a\, e^{\min(\delta_w,\, \log R)}

    Args:
      anchors: float [..., 4] as (x0, y0, x1, y1).
      deltas: float [..., 4] that broadcasts.
      max_ratio: R, static: no box is larger than so many anchors, whatever an untrained network says.
    Returns:
      float32 or wider [..., 4].
    Raises:
      ValueError: the last axis is not 4, shapes do not broadcast, or max_ratio <= 0.
      TypeError: an array is not floating point.

    >>> print(decode_deltas(jnp.array([0.0, 0.0, 4.0, 4.0]), jnp.array([0.25, 0.0, 0.0, 0.0])))
    [1. 0. 5. 4.]

    Reference: as ``encode_deltas``, standard.
    """
    if not max_ratio > 0:
        raise ValueError(f"max_ratio must be > 0, got {max_ratio!r}")
    anchors, deltas = _wide(anchors, "anchors", 4), _wide(deltas, "deltas", 4)
    sides = anchors[..., 2:] - anchors[..., :2]
    center = 0.5 * (anchors[..., :2] + anchors[..., 2:]) + sides * deltas[..., :2]
    half = 0.5 * sides * jnp.exp(jnp.minimum(deltas[..., 2:], math.log(max_ratio)))
    return jnp.concatenate([center - half, center + half], axis=-1)


def encode_tblr(points: ArrayLike, boxes: ArrayLike, *, normalizer: ArrayLike = 1.0) -> Array:
    r"""How far the sides of boxes are from points: up, down, left, right.

    .. math:: \frac{1}{z} \big(y - y_0,\; y_1 - y,\; x - x_0,\; x_1 - x\big)

    Args:
      points: float [..., 2] as (x, y).
      boxes: float [..., 4] that broadcasts with [..., 4] of the points.
      normalizer: z > 0, a number or an array that broadcasts to [...]; 4 strides in the paper.
    Returns:
      float32 or wider [..., 4], all positive for a point inside.
    Raises:
      ValueError: the last axes are not 2 and 4, shapes do not broadcast, or a static normalizer <= 0.
      TypeError: an array is not floating point.

    >>> print(encode_tblr(jnp.array([1.0, 2.0]), jnp.array([0.0, 0.0, 4.0, 4.0]), normalizer=2.0))
    [1.  1.  0.5 1.5]

    Reference: Zhu et al., "Feature Selective Anchor-Free Module for Single-Shot Object Detection" (2019), checked
    against mmdetection, whose order this is.
    """
    checks.positive(normalizer, "normalizer")
    x, y, left, top, right, bottom = _sides(points, boxes)
    return jnp.stack([y - top, bottom - y, x - left, right - x], axis=-1) / jnp.asarray(normalizer)[..., None]


def decode_tblr(points: ArrayLike, distances: ArrayLike, *, normalizer: ArrayLike = 1.0) -> Array:
    r"""Boxes from what ``encode_tblr`` wrote: its inverse.

    .. math:: \big(x - z\, d_l,\; y - z\, d_t,\; x + z\, d_r,\; y + z\, d_b\big)

    Args:
      points: float [..., 2] as (x, y).
      distances: float [..., 4] as (up, down, left, right); keep them positive, by a relu and a floor of 1e-4.
      normalizer: z > 0, as for ``encode_tblr``.
    Returns:
      float32 or wider [..., 4] as (x0, y0, x1, y1).
    Raises:
      ValueError: the last axes are not 2 and 4, shapes do not broadcast, or a static normalizer <= 0.
      TypeError: an array is not floating point.

    >>> print(decode_tblr(jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0, 0.5, 1.5]), normalizer=2.0))
    [0. 0. 4. 4.]

    Reference: as ``encode_tblr``, checked against mmdetection.
    """
    checks.positive(normalizer, "normalizer")
    points, distances = _wide(points, "points", 2), _wide(distances, "distances", 4)
    up, down, left, right = jnp.moveaxis(distances * jnp.asarray(normalizer)[..., None], -1, 0)
    x, y = points[..., 0], points[..., 1]
    return jnp.stack([x - left, y - up, x + right, y + down], axis=-1)


def centerness(points: ArrayLike, boxes: ArrayLike) -> Array:
    r"""How near a point lies to the middle of its box: 1 there, 0 on a side and outside.

    .. math:: \sqrt{\frac{\min(l, r)}{\max(l, r)} \cdot \frac{\min(t, b)}{\max(t, b)}}

    Args:
      points: float [..., 2] as (x, y).
      boxes: float [..., 4] that broadcasts with [..., 4] of the points.
    Returns:
      float32 or wider [...] in [0, 1]; it is a target, and has a steep gradient near the sides.
    Raises:
      ValueError: the last axes are not 2 and 4, or shapes do not broadcast.
      TypeError: an array is not floating point.

    >>> print(centerness(jnp.array([[2.0, 2.0], [0.8, 0.8], [9.0, 2.0]]), jnp.array([0.0, 0.0, 4.0, 4.0])))
    [1.   0.25 0.  ]

    Reference: Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection" (2019), as used by Zhang et al.
    (ATSS, 2020), checked against the authors' code.
    """
    x, y, x0, y0, x1, y1 = _sides(points, boxes)
    left, right, top, bottom = x - x0, x1 - x, y - y0, y1 - y
    inside = jnp.minimum(jnp.minimum(left, right), jnp.minimum(top, bottom)) > 0
    left, right, top, bottom = (jnp.where(inside, side, 1.0) for side in (left, right, top, bottom))
    across = jnp.minimum(left, right) / jnp.maximum(left, right)
    return jnp.where(inside, jnp.sqrt(across * jnp.minimum(top, bottom) / jnp.maximum(top, bottom)), 0.0)


def effective_region(points: ArrayLike, boxes: ArrayLike, *, scale: ArrayLike = 0.2) -> Array:
    r"""Which points lie in the inner part of which boxes.

    .. math:: |x - x_c| < \tfrac12 \epsilon\, w \quad\text{and}\quad |y - y_c| < \tfrac12 \epsilon\, h

    Args:
      points: float [P, 2] as (x, y).
      boxes: float [M, 4].
      scale: epsilon >= 0, the inner part's share of the sides; 1 is the box.
    Returns:
      bool [P, M].
    Raises:
      ValueError: points are not [P, 2], boxes not [M, 4], or a static scale < 0.
      TypeError: an array is not floating point.

    >>> print(effective_region(jnp.array([[5.0, 5.0], [2.0, 5.0]]), jnp.array([[0.0, 0.0, 10.0, 10.0]])))
    [[ True]
     [False]]

    Reference: Zhu et al., "Feature Selective Anchor-Free Module" (2019), paper text.
    """
    checks.at_least(scale, "scale", 0)
    points = checks.rank(_wide(points, "points", 2), "points", 2, layout="[P, 2]")
    boxes = checks.rank(_wide(boxes, "boxes", 4), "boxes", 2, layout="[M, 4]")
    near = [
        jnp.abs(points[:, i, None] - 0.5 * (boxes[:, i] + boxes[:, i + 2]))
        < 0.5 * jnp.asarray(scale) * (boxes[:, i + 2] - boxes[:, i])
        for i in (0, 1)
    ]
    return near[0] & near[1]


def prior_bias(num_positive: ArrayLike, num_valid: ArrayLike, *, num_classes: int = 1) -> Array:
    r"""The bias at which a classifier of anchors starts by saying how rare positives are.

    .. math:: b = \log \frac{\pi}{1 - \pi}, \qquad \pi = \frac{N_+}{N_{valid}\, C}

    The sigmoid of it is the constant that minimises the binary cross entropy, so its gradient starts at 0. At inference
    :math:`C \pi` is the threshold below which nothing is reported.

    Args:
      num_positive: N_+, positive anchors of the whole training set, a number or an array.
      num_valid: N_valid, positive and negative ones, without those that are ignored.
      num_classes: C, classes that share the positives, static.
    Returns:
      float32 or wider, the shape of the counts. Traced counts without positives give -inf, without negatives (and one
      class) inf.
    Raises:
      ValueError: static counts are not 0 < N_+ <= N_valid, or all are positive of one class, or num_classes < 1.

    >>> print(prior_bias(1.0, 101.0).round(4))
    -4.6052

    Reference: Chen et al., "Is Heuristic Sampling Necessary in Training Deep Object Detectors?" (2021), checked against
    the authors' code.
    """
    classes = checks.size(num_classes, "num_classes")
    checks.positive(num_positive, "num_positive")
    checks.positive(num_valid, "num_valid")
    if checks.is_static(num_positive) and checks.is_static(num_valid):
        checks.in_range(num_positive, "num_positive", 0, num_valid)
        if num_positive == classes * num_valid:
            raise ValueError(f"num_positive must be below num_valid, got {num_positive!r} and {num_valid!r}")
    positive, valid = jnp.asarray(num_positive), jnp.asarray(num_valid)
    dtype = accumulation_dtype(positive, valid)
    positive = positive.astype(dtype)
    return jnp.log(positive) - jnp.log(classes * valid.astype(dtype) - positive)


def _wide(value: ArrayLike, name: str, width: int) -> Array:
    array = checks.floating(value, name)
    if array.ndim == 0 or array.shape[-1] != width:
        corners = "(x, y)" if width == 2 else "4 numbers"
        raise ValueError(f"{name} must have shape [..., {width}], {corners} each, got {list(array.shape)}")
    return array.astype(accumulation_dtype(array))


def _sides(points: ArrayLike, boxes: ArrayLike) -> tuple[Array, ...]:
    """x and y of the points, and the four sides of the boxes."""
    points, boxes = _wide(points, "points", 2), _wide(boxes, "boxes", 4)
    return points[..., 0], points[..., 1], boxes[..., 0], boxes[..., 1], boxes[..., 2], boxes[..., 3]
