"""Boxes (x0, y0, x1, y1): how much two of them share, how far apart they lie, and losses on both."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = ["box_center_distance", "box_iou", "giou_loss", "iou_loss"]


def box_iou(a: ArrayLike, b: ArrayLike, *, pairwise: bool = True, kind: str = "iou", inclusive: bool = False) -> Array:
    r"""Intersection over union of boxes (larger is more alike).

    .. math:: \mathrm{IoU} = \frac{|A \cap B|}{|A \cup B|}, \qquad
              \mathrm{GIoU} = \mathrm{IoU} - \frac{|H| - |A \cup B|}{|H|}, \quad H \text{ the hull of both}

    Args:
      a: float [N, 4] as (x0, y0, x1, y1) with x0 <= x1, y0 <= y1; without ``pairwise`` [..., 4].
      b: float [M, 4]; without ``pairwise`` [..., 4] that broadcasts with a.
      pairwise: every box of a with every box of b, static.
      kind: "iou" in [0, 1] or "giou" in (-1, 1].
      inclusive: corners are pixels that belong to the box, so a side is x1 - x0 + 1 long.
    Returns:
      float32 (wider if an input is) [N, M], or [...]. Two empty boxes have IoU 0; a box whose corners are swapped is
      empty.
    Raises:
      ValueError: the last axis is not 4, a or b is not [N, 4] with pairwise, or an unknown kind.
      TypeError: an array is not floating point.

    >>> print(box_iou(jnp.array([[0.0, 0.0, 2.0, 2.0]]), jnp.array([[0.0, 0.0, 2.0, 1.0], [5.0, 5.0, 6.0, 6.0]])))
    [[0.5 0. ]]

    Reference: Rezatofighi et al., "Generalized Intersection over Union" (2019), standard; inclusive as in GenEval,
    checked against the code.
    """
    checks.one_of(kind, "kind", ("iou", "giou"))
    a, b = _boxes(a, "a", flat=pairwise), _boxes(b, "b", flat=pairwise)
    dtype = accumulation_dtype(a, b)
    # Coordinate by coordinate: arrays with an axis of two behind the pairs are slow to work on.
    ax0, ay0, ax1, ay1 = (a[..., i, None] if pairwise else a[..., i] for i in range(4))
    ax0, ay0, ax1, ay1 = (side.astype(dtype) for side in (ax0, ay0, ax1, ay1))
    bx0, by0, bx1, by1 = (b[..., i].astype(dtype) for i in range(4))
    extra = 1.0 if inclusive else 0.0

    def area(x0: Array, y0: Array, x1: Array, y1: Array) -> Array:
        return jnp.maximum(x1 - x0 + extra, 0.0) * jnp.maximum(y1 - y0 + extra, 0.0)

    shared = area(jnp.maximum(ax0, bx0), jnp.maximum(ay0, by0), jnp.minimum(ax1, bx1), jnp.minimum(ay1, by1))
    union = area(ax0, ay0, ax1, ay1) + area(bx0, by0, bx1, by1) - shared
    iou = jnp.where(union > 0, shared / jnp.where(union > 0, union, 1.0), 0.0)
    if kind == "iou":
        return iou
    hull = area(jnp.minimum(ax0, bx0), jnp.minimum(ay0, by0), jnp.maximum(ax1, bx1), jnp.maximum(ay1, by1))
    return iou - jnp.where(hull > 0, (hull - union) / jnp.where(hull > 0, hull, 1.0), 0.0)


def box_center_distance(a: ArrayLike, b: ArrayLike) -> Array:
    r"""Distance between the centres of boxes, every one of a from every one of b.

    .. math:: d_{nm} = \|c_n - c'_m\|, \qquad c = \tfrac12 (x_0 + x_1,\; y_0 + y_1)

    Args:
      a: float [N, 4] as (x0, y0, x1, y1).
      b: float [M, 4].
    Returns:
      float32 or wider [N, M]; the gradient is 0 where two centres coincide.
    Raises:
      ValueError: a or b is not [N, 4].
      TypeError: an array is not floating point.

    >>> print(box_center_distance(jnp.array([[0.0, 0.0, 2.0, 2.0]]), jnp.array([[3.0, 4.0, 5.0, 6.0]])))
    [[5.]]

    Reference: standard; what Zhang et al., "Bridging the Gap Between Anchor-based and Anchor-free Detection via
    Adaptive Training Sample Selection" (2020) choose candidates by.
    """
    return safe_sqrt(center_sq_distance(_boxes(a, "a", flat=True), _boxes(b, "b", flat=True)))


def center_sq_distance(a: Array, b: Array) -> Array:
    """The squares of ``box_center_distance``."""
    dtype = accumulation_dtype(a, b)
    a, b = a.astype(dtype), b.astype(dtype)
    across, down = (0.5 * (a[:, i] + a[:, i + 2])[:, None] - 0.5 * (b[:, i] + b[:, i + 2]) for i in (0, 1))
    return across**2 + down**2


def iou_loss(
    prediction: ArrayLike, target: ArrayLike, *, eps: ArrayLike = 1e-6, where: ArrayLike | None = None
) -> Array:
    r"""Negative logarithm of the overlap of a predicted box with its target (one value per box; larger is worse).

    .. math:: \ell = -\log \max(\mathrm{IoU}, \epsilon)

    Boxes that do not touch have no gradient: ``giou_loss`` moves those too.

    Args:
      prediction: float [..., 4] as (x0, y0, x1, y1).
      target: float [..., 4], the same shape.
      eps: > 0, the overlap below which nothing is told apart.
      where: bool [...], True where a box counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], in [0, -log eps]; the same for boxes scaled alike.
    Raises:
      ValueError: shapes do not agree, the last axis is not 4, or a static eps <= 0.
      TypeError: an array is not floating point, or where not boolean.

    >>> print(iou_loss(jnp.array([0.0, 0.0, 2.0, 1.0]), jnp.array([0.0, 0.0, 2.0, 2.0])).round(4))
    0.6931

    Reference: Yu et al., "UnitBox: An Advanced Object Detection Network" (2016), as used by Zhu et al., "Feature
    Selective Anchor-Free Module for Single-Shot Object Detection" (2019); checked against mmdetection.
    """
    checks.positive(eps, "eps")
    a, b, counts = _pair(prediction, target, where)
    return jnp.where(counts, -jnp.log(jnp.maximum(box_iou(a, b, pairwise=False), eps)), 0.0)


def giou_loss(prediction: ArrayLike, target: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""One minus the generalised overlap of a predicted box with its target (one value per box; larger is worse).

    .. math:: \ell = 1 - \mathrm{GIoU}

    Args:
      prediction: float [..., 4] as (x0, y0, x1, y1).
      target: float [..., 4], the same shape.
      where: bool [...], True where a box counts; the others give 0 and no gradient.
    Returns:
      float32 or wider [...], in [0, 2): 1 for neighbours that share a whole side, more for boxes apart.
    Raises:
      ValueError: shapes do not agree, or the last axis is not 4.
      TypeError: an array is not floating point, or where not boolean.

    >>> print(giou_loss(jnp.array([0.0, 0.0, 1.0, 1.0]), jnp.array([3.0, 0.0, 4.0, 1.0])))
    1.5

    Reference: Rezatofighi et al., "Generalized Intersection over Union" (2019), standard.
    """
    a, b, counts = _pair(prediction, target, where)
    return jnp.where(counts, 1.0 - box_iou(a, b, pairwise=False, kind="giou"), 0.0)


def _boxes(value: ArrayLike, name: str, *, flat: bool) -> Array:
    array = checks.floating(value, name)
    if array.ndim == 0 or array.shape[-1] != 4 or (flat and array.ndim != 2):
        wanted = "[N, 4]" if flat else "[..., 4]"
        raise ValueError(f"{name} must have shape {wanted} as (x0, y0, x1, y1), got {list(array.shape)}")
    return array


def _pair(prediction: ArrayLike, target: ArrayLike, where: ArrayLike | None) -> tuple[Array, Array, Array]:
    """Both boxes, equal where they do not count, and which do."""
    a, b = _boxes(prediction, "prediction", flat=False), _boxes(target, "target", flat=False)
    checks.same_shape(a, "prediction", b, "target")
    mask = checks.mask(where, "where", a.shape[:-1])
    if mask is None:
        return a, b, jnp.ones(a.shape[:-1], bool)
    unit = jnp.array([0.0, 0.0, 1.0, 1.0], a.dtype)
    return jnp.where(mask[..., None], a, unit), jnp.where(mask[..., None], b, unit.astype(b.dtype)), mask
