"""Scores of composed images: what counts, where it lies, what was found, what the worst of several marks is."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["bottleneck_score", "clause_correct", "detection_average_precision", "relative_position"]


def relative_position(box: ArrayLike, other: ArrayLike, *, threshold: float = 0.1) -> Array:
    r"""Where a box lies as seen from another: left of it, right of it, above it, below it.

    .. math:: r = \operatorname{sign}(o) \max\big(|o| - \tau (d + d'), 0\big), \qquad o = c - c'

    with centres c and sizes d. A relation holds where r / |o| is beyond 1/2 on its axis, so both of two may hold, and
    none where the boxes nearly share a centre.

    Args:
      box: float [..., 4] as (x0, y0, x1, y1); y grows downwards.
      other: float [..., 4], broadcasts with box.
      threshold: tau >= 0, the share of both sizes that a centre must be away.
    Returns:
      bool [..., 4]: left, right, above, below. Swapping the boxes swaps left with right and above with below.
    Raises:
      ValueError: the last axis is not 4, or threshold < 0.
      TypeError: a box is not floating point.

    >>> print(relative_position(jnp.array([0.0, 0.0, 2.0, 2.0]), jnp.array([6.0, 0.0, 8.0, 2.0])))
    [ True False False False]

    Reference: the position rule of GenEval as used by Ye et al., "Echo-4o" (2025), checked against the authors' code.
    """
    checks.at_least(threshold, "threshold", 0)
    first, second = (_boxes(value, name) for value, name in ((box, "box"), (other, "other")))
    dtype = accumulation_dtype(first, second)
    first, second = first.astype(dtype), second.astype(dtype)
    offset = 0.5 * (first[..., :2] + first[..., 2:] - second[..., :2] - second[..., 2:])
    sizes = first[..., 2:] - first[..., :2] + second[..., 2:] - second[..., :2]
    revised = jnp.sign(offset) * jnp.maximum(jnp.abs(offset) - threshold * sizes, 0.0)
    length = jnp.sqrt(jnp.sum(offset**2, axis=-1, keepdims=True))
    apart = jnp.any(jnp.abs(revised) >= 1e-3, axis=-1, keepdims=True)
    share = jnp.where(apart, revised / jnp.where(apart, length, 1.0), 0.0)
    dx, dy = share[..., 0], share[..., 1]
    return jnp.stack([dx < -0.5, dx > 0.5, dy < -0.5, dy > 0.5], axis=-1)


def _boxes(value: ArrayLike, name: str) -> Array:
    array = checks.floating(value, name)
    if array.ndim == 0 or array.shape[-1] != 4:
        raise ValueError(f"{name} must have shape [..., 4] as (x0, y0, x1, y1), got {list(array.shape)}")
    return array


def clause_correct(counts: ArrayLike, required: ArrayLike, *, kind: str = "include") -> Array:
    """Whether an image holds what a clause asks for.

    Args:
      counts: int [...], how many objects of the clause were found.
      required: int, broadcasts with counts: how many the clause names.
      kind: "include" (at least so many) or "exclude" (fewer than so many). Exactly n is both: include n, exclude n + 1.
    Returns:
      bool [...]; an image is right where all its clauses are.
    Raises:
      ValueError: an unknown kind.
      TypeError: an argument is not of integers.

    >>> print(clause_correct(jnp.array([1, 2, 3]), 2), clause_correct(jnp.array([1, 2, 3]), 3, kind="exclude"))
    [False  True  True] [ True  True False]

    Reference: GenEval as used by Ye et al., as in ``relative_position``; checked.
    """
    checks.one_of(kind, "kind", ("include", "exclude"))
    found, wanted = checks.integer(counts, "counts"), checks.integer(required, "required")
    return found >= wanted if kind == "include" else found < wanted


def detection_average_precision(
    scores: ArrayLike,
    overlaps: ArrayLike,
    *,
    threshold: ArrayLike = 0.5,
    where: ArrayLike | None = None,
    target_where: ArrayLike | None = None,
) -> Array:
    r"""Average precision of detections over all images, AP50 unless told otherwise (larger is better).

    .. math:: \frac{1}{G} \sum_{i\ \text{hit}} \max_{j \ge i} \frac{\text{hits among the first } j}{j}

    G objects; i runs over the detections of all images by falling score. In its image a detection hits the object that
    it overlaps most among those that no better one has hit, if by the threshold.

    Args:
      scores: float [I, P], of P detections in each of I images; equal scores keep their order.
      overlaps: float [I, P, G], such as the IoU of every detection with every object of its image.
      threshold: the overlap that is enough.
      where: bool [I, P], True where there is a detection.
      target_where: bool [I, G], True where there is an object.
    Returns:
      float32 or wider scalar in [0, 1]; NaN without objects.
    Raises:
      ValueError: shapes do not agree.
      TypeError: scores or overlaps are not floating point, or a mask is not boolean.

    >>> overlaps = jnp.array([[[0.9, 0.1], [0.8, 0.2], [0.0, 0.6]]])
    >>> print(detection_average_precision(jnp.array([[0.9, 0.8, 0.7]]), overlaps).round(4))
    0.8333

    Reference: Everingham et al., "The Pascal Visual Object Classes Challenge" (2010), with the matching of COCO;
    standard. COCO's own number reads the curve at 101 recalls instead of all.
    """
    scores, overlaps = checks.floating(scores, "scores"), checks.floating(overlaps, "overlaps")
    if scores.ndim != 2 or overlaps.ndim != 3 or overlaps.shape[:2] != scores.shape:
        raise ValueError(
            f"scores and overlaps must be [I, P] and [I, P, G], got {list(scores.shape)} and {list(overlaps.shape)}"
        )
    found = checks.broadcast_mask(where, "where", scores.shape)
    objects = checks.broadcast_mask(target_where, "target_where", (overlaps.shape[0], overlaps.shape[2]))
    dtype = accumulation_dtype(scores, overlaps)
    if 0 in overlaps.shape:
        return jnp.where(jnp.any(objects), jnp.zeros((), dtype), jnp.nan)
    enough = jnp.where(objects[:, None] & found[..., None], overlaps.astype(dtype), -1.0)
    enough = jnp.where(enough >= threshold, enough, -1.0)
    order = jnp.argsort(jnp.where(found, -scores.astype(dtype), jnp.inf), axis=1, stable=True)

    def match(free: Array, row: Array) -> tuple[Array, Array]:
        """One detection of every image, by falling score; row [I, G]."""
        usable = jnp.where(free, row, -1.0)
        best = jnp.argmax(usable, axis=1)
        hit = jnp.max(usable, axis=1) >= 0
        return free & ~(hit[:, None] & (jnp.arange(row.shape[1]) == best[:, None])), hit

    rows = jnp.moveaxis(jnp.take_along_axis(enough, order[..., None], axis=1), 1, 0)
    hits = jnp.moveaxis(jax.lax.scan(match, objects, rows)[1], 0, 1)
    ranked, counts = (jnp.take_along_axis(array, order, axis=1).reshape(-1) for array in (scores.astype(dtype), found))
    every = jnp.argsort(jnp.where(counts, -ranked, jnp.inf), stable=True)
    hits, counts = hits.reshape(-1)[every], counts[every]
    precision = jnp.cumsum(hits) / jnp.maximum(jnp.cumsum(counts), 1).astype(dtype)
    envelope = jax.lax.cummax(jnp.where(counts, precision, 0.0), reverse=True)
    total = jnp.sum(objects)
    return jnp.where(total > 0, jnp.sum(jnp.where(hits, envelope, 0.0)) / jnp.maximum(total, 1), jnp.nan)


def bottleneck_score(
    fulfilment: ArrayLike, identity: ArrayLike, aesthetic: ArrayLike, *, weights: tuple[float, float] = (0.8, 0.2)
) -> Array:
    r"""A mark that is as good as the worse of two, and a little of a third (larger is better).

    .. math:: w_0 \min(f, i) + w_1\, a

    Args:
      fulfilment: float [...], how well the wish is met.
      identity: float [...], how well the subject is kept.
      aesthetic: float [...], how it looks.
      weights: w_0 and w_1, static.
    Returns:
      float32 or wider [...], on the scale of the marks.
    Raises:
      TypeError: a mark is not floating point.

    >>> print(bottleneck_score(jnp.array([9.0]), jnp.array([5.0]), jnp.array([10.0])))
    [6.]

    Reference: the rule of Imagine-Bench, Ye et al., as in ``relative_position``; checked. Its total is a mean over
    groups of wishes, of which the released code leaves one out by a misspelt name.
    """
    marks = [
        checks.floating(value, name)
        for value, name in ((fulfilment, "fulfilment"), (identity, "identity"), (aesthetic, "aesthetic"))
    ]
    dtype = accumulation_dtype(*marks)
    first, second, third = (mark.astype(dtype) for mark in marks)
    return weights[0] * jnp.minimum(first, second) + weights[1] * third
