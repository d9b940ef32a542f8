"""Boxes (x0, y0, x1, y1): how much two of them share."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["box_iou"]


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
    a, b = checks.floating(a, "a"), checks.floating(b, "b")
    for value, name in ((a, "a"), (b, "b")):
        if value.ndim == 0 or value.shape[-1] != 4 or (pairwise and value.ndim != 2):
            wanted = "[N, 4]" if pairwise else "[..., 4]"
            raise ValueError(f"{name} must have shape {wanted} as (x0, y0, x1, y1), got {list(value.shape)}")
    dtype = accumulation_dtype(a, b)
    a, b = a.astype(dtype), b.astype(dtype)
    if pairwise:
        a = a[:, None]
    extra = 1.0 if inclusive else 0.0

    def area(low: Array, high: Array) -> Array:
        sides = jnp.maximum(high - low + extra, 0.0)
        return sides[..., 0] * sides[..., 1]

    shared = area(jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:]))
    union = area(a[..., :2], a[..., 2:]) + area(b[..., :2], b[..., 2:]) - shared
    iou = jnp.where(union > 0, shared / jnp.where(union > 0, union, 1.0), 0.0)
    if kind == "iou":
        return iou
    hull = area(jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:]))
    return iou - jnp.where(hull > 0, (hull - union) / jnp.where(hull > 0, hull, 1.0), 0.0)
