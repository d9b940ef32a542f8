"""Whether two examples are of one class, decided by a distance below a threshold: rates per class, and their spread."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["OperatingCurves", "class_operating_curves", "opis", "opis_extremes", "utilization"]


class OperatingCurves(NamedTuple):
    """Rates of every class at every threshold.

    Attributes:
      tar: float32 [C, T], share of the class's own pairs that are accepted.
      far: float32 [C, T], share of its pairs with other classes that are accepted.
      class_where: bool [C], True where the class has pairs of both kinds; the rates of the others are 0.
    """

    tar: Array
    far: Array
    class_where: Array


def class_operating_curves(
    distances: ArrayLike,
    labels: ArrayLike,
    thresholds: ArrayLike,
    *,
    num_classes: int,
    where: ArrayLike | None = None,
) -> OperatingCurves:
    r"""True and false accept rates of every class, by the distance up to which a pair is accepted.

    .. math:: TAR_c(t) = \operatorname{mean}_{i \ne j,\; y_i = y_j = c} [\,d_{ij} \le t\,],
              \quad FAR_c(t) = \operatorname{mean}_{y_i = c \ne y_j} [\,d_{ij} \le t\,]

    Args:
      distances: float [N, N]; the diagonal is not looked at.
      labels: int [N]; examples with a label outside [0, num_classes) are left out.
      thresholds: float [T], not falling.
      num_classes: C, static, >= 1.
      where: bool [N], True where an example counts.
    Returns:
      OperatingCurves, which never fall along T. A pair at a distance that is NaN is never accepted.
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: distances or thresholds are not floating point, or labels are not integers.

    >>> x, labels = jnp.array([0.0, 1.0, 3.0]), jnp.array([0, 0, 1])
    >>> distances, thresholds = jnp.abs(x[:, None] - x), jnp.array([1.0, 2.0])
    >>> curves = class_operating_curves(distances, labels, thresholds, num_classes=2)
    >>> print(curves.tar[0], curves.far[0], curves.class_where)
    [1. 1.] [0.  0.5] [ True False]

    Reference: the rates of Zhang et al., "Threshold-Consistent Margin Loss for Open-World Deep Metric Learning" (2024),
    standard.
    """
    distances, labels, counts = _square(distances, labels, num_classes, where)
    thresholds = checks.rank(checks.floating(thresholds, "thresholds"), "thresholds", 1, layout="[T]")
    steps = thresholds.shape[0]
    positive, negative = _kinds(labels, counts)
    # The first threshold that accepts a pair; a histogram of it, summed up along thresholds, counts what is accepted.
    first = jnp.searchsorted(thresholds.astype(distances.dtype), jnp.where(counts & counts[:, None], distances, 0.0))
    kind = jnp.where(negative, num_classes, 0) + jnp.where(counts, labels, 0)[:, None]
    cell = jnp.where(positive | negative, kind * (steps + 1) + first, 2 * num_classes * (steps + 1))
    cells = 2 * num_classes * (steps + 1)
    histogram = jnp.zeros(cells, jnp.int32).at[cell.ravel()].add(1, mode="drop")
    total = jnp.cumsum(histogram.reshape(2, num_classes, steps + 1), axis=-1)
    number = total[..., -1]
    rates = total[..., :steps] / jnp.maximum(number, 1)[..., None]
    defined = jnp.all(number > 0, axis=0)
    tar, far = jnp.where(defined[:, None], rates, 0.0)
    return OperatingCurves(tar, far, defined)


def opis(
    distances: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    far_range: tuple[float, float] = (1e-2, 1e-1),
    num_thresholds: int = 200,
    c: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""Operating-point inconsistency: how much classes differ at one threshold for all (smaller is better).

    .. math:: \frac1C \sum_c \frac{1}{t_1 - t_0} \int_{t_0}^{t_1} \big(U_c(t) - \bar U(t)\big)^2 dt,
              \quad U = \frac{(1 + c^2)\, (1 - FAR)\, TAR}{c^2 (1 - FAR) + TAR}

    t_0 and t_1 are the distances at which the false accept rate of all classes together reaches the two ends of
    ``far_range``.

    Args:
      distances: float [N, N]; the diagonal is not looked at.
      labels: int [N]; examples with a label outside [0, num_classes) are left out.
      num_classes: C, static, >= 1.
      far_range: static, 0 < low <= high <= 1.
      num_thresholds: static, >= 2, evenly spaced from t_0 to t_1; the integral is that of the trapezoids between them.
      c: > 0, weighs specificity against sensitivity.
      where: bool [N], True where an example counts.
    Returns:
      float32 scalar >= 0, over the classes that have pairs of both kinds; 0 with fewer than two of them.
    Raises:
      ValueError: shapes do not agree, or far_range or a size is out of range.
      TypeError: distances are not floating point, or labels are not integers.

    >>> x, labels = jnp.array([0.0, 1.0, 10.0, 14.0]), jnp.array([0, 0, 1, 1])
    >>> print(opis(jnp.abs(x[:, None] - x), labels, num_classes=2))  # one threshold fits both
    0.0

    Reference: Zhang et al., "Threshold-Consistent Margin Loss for Open-World Deep Metric Learning" (2024), recalled.
    The published range of false accept rates depends on the data set.
    """
    utility, weights, curves = _utilities(distances, labels, num_classes, far_range, num_thresholds, c, where)
    average = masked_mean(utility, curves.class_where[:, None], axis=0)
    spread = masked_mean((utility - average) ** 2, curves.class_where[:, None], axis=0)
    return jnp.sum(weights * spread)


def opis_extremes(
    distances: ArrayLike,
    labels: ArrayLike,
    *,
    num_classes: int,
    fraction: float = 0.1,
    far_range: tuple[float, float] = (1e-2, 1e-1),
    num_thresholds: int = 200,
    c: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> Array:
    r"""How far apart the classes that are served worst and best lie at one threshold for all (smaller is better).

    .. math:: \frac{1}{t_1 - t_0} \int_{t_0}^{t_1} \big(\bar U_{best}(t) - \bar U_{worst}(t)\big)^2 dt

    Best and worst are the classes of largest and smallest mean utility over the range, see ``opis``.

    Args:
      distances: float [N, N]; the diagonal is not looked at.
      labels: int [N]; examples with a label outside [0, num_classes) are left out.
      num_classes: C, static, >= 1.
      fraction: share of the classes in each group, static, in (0, 0.5]; at least one class.
      far_range: as in ``opis``.
      num_thresholds: as in ``opis``.
      c: as in ``opis``.
      where: bool [N], True where an example counts.
    Returns:
      float32 scalar >= 0; 0 with fewer than two classes that have pairs of both kinds.
    Raises:
      ValueError: shapes do not agree, or fraction, far_range or a size is out of range.
      TypeError: distances are not floating point, or labels are not integers.

    >>> x, labels = jnp.array([0.0, 1.0, 2.0, 4.5]), jnp.array([0, 0, 1, 1])
    >>> print(f"{opis_extremes(jnp.abs(x[:, None] - x), labels, num_classes=2, far_range=(0.2, 0.2)):.4f}")
    0.7347

    Reference: Zhang et al., "Threshold-Consistent Margin Loss for Open-World Deep Metric Learning" (2024), recalled.
    """
    if not 0 < fraction <= 0.5:
        raise ValueError(f"fraction must lie in (0, 0.5], got {fraction!r}")
    utility, weights, curves = _utilities(distances, labels, num_classes, far_range, num_thresholds, c, where)
    defined = curves.class_where
    mean = jnp.sum(weights * utility, axis=1)
    size = jnp.maximum(jnp.floor(fraction * jnp.sum(defined) + 1e-6), 1)

    def group(order: Array) -> Array:
        rank = jnp.argsort(jnp.argsort(jnp.where(defined, order, jnp.inf)))
        return masked_mean(utility, (defined & (rank < size))[:, None], axis=0)

    return jnp.sum(weights * (group(-mean) - group(mean)) ** 2)


def utilization(
    queries: ArrayLike,
    references: ArrayLike,
    *,
    where: ArrayLike | None = None,
    reference_where: ArrayLike | None = None,
) -> Array:
    r"""Mean squared distance of queries to the nearest reference: how well those cover them (smaller is better).

    .. math:: U(Q, X) = \frac{1}{|Q|} \sum_{q \in Q} \min_{x \in X} \|q - x\|^2

    Args:
      queries: float [Q, D], such as embeddings of unseen classes.
      references: float [N, D], such as training embeddings, with mixed ones or without.
      where: bool [Q], True where a query counts.
      reference_where: bool [N], True where a reference counts.
    Returns:
      float32 or wider scalar >= 0; 0 where no query counts, infinite where no reference does. It never rises when
      references are added.
    Raises:
      ValueError: shapes do not agree, or there is no reference.
      TypeError: queries or references are not floating point, or a mask is not boolean.

    >>> print(utilization(jnp.array([[0.0], [4.0]]), jnp.array([[0.0], [1.0]])))
    4.5

    Reference: Venkataramanan et al., "It Takes Two to Tango: Mixup for Deep Metric Learning" (2022), recalled.
    """
    queries = checks.rank(checks.floating(queries, "queries"), "queries", 2, layout="[Q, D]")
    references = checks.rank(checks.floating(references, "references"), "references", 2, layout="[N, D]")
    if references.shape[0] == 0 or references.shape[1] != queries.shape[1]:
        raise ValueError(f"references must have shape [N >= 1, {queries.shape[1]}], got {list(references.shape)}")
    mask = checks.mask(where, "where", queries.shape[:1])
    exist = checks.mask(reference_where, "reference_where", references.shape[:1])
    rows = queries if mask is None else jnp.where(mask[:, None], queries, 0.0)
    kept = references if exist is None else jnp.where(exist[:, None], references, 0.0)
    squares = pairwise_sq_dists(rows, kept)
    squares = squares if exist is None else jnp.where(exist, squares, jnp.inf)
    return masked_mean(jnp.min(squares, axis=1), mask)


def _square(
    distances: ArrayLike, labels: ArrayLike, num_classes: int, where: ArrayLike | None
) -> tuple[Array, Array, Array]:
    distances = checks.rank(checks.floating(distances, "distances"), "distances", 2, layout="[N, N]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    if distances.shape != labels.shape * 2:
        raise ValueError(f"distances must have shape {list(labels.shape * 2)}, got {list(distances.shape)}")
    checks.size(num_classes, "num_classes")
    mask = checks.mask(where, "where", labels.shape)
    counts = (labels >= 0) & (labels < num_classes)
    counts = counts if mask is None else counts & mask
    return distances.astype(accumulation_dtype(distances)), labels, counts


def _kinds(labels: Array, counts: Array) -> tuple[Array, Array]:
    """Which pairs are of one class, and which of two; bool [N, N] each."""
    both, same = counts[:, None] & counts, labels[:, None] == labels
    return both & same & ~jnp.eye(labels.shape[0], dtype=bool), both & ~same


def _utilities(
    distances: ArrayLike,
    labels: ArrayLike,
    num_classes: int,
    far_range: tuple[float, float],
    num_thresholds: int,
    c: ArrayLike,
    where: ArrayLike | None,
) -> tuple[Array, Array, OperatingCurves]:
    """Utility [C, T] over the range, weights [T] of the integral divided by its length, and the curves."""
    distances, labels, counts = _square(distances, labels, num_classes, where)
    if not 0 < far_range[0] <= far_range[1] <= 1:
        raise ValueError(f"far_range must be 0 < low <= high <= 1, got {far_range!r}")
    checks.size(num_thresholds, "num_thresholds", low=2)
    checks.positive(c, "c")
    _, negative = _kinds(labels, counts)
    ordered = jnp.sort(jnp.append(jnp.where(negative, distances, jnp.inf), jnp.inf))
    number = jnp.sum(negative)
    place = jnp.ceil(jnp.array(far_range) * number * (1 - 1e-6)).astype(jnp.int32) - 1
    ends = jnp.where(number > 0, ordered[jnp.clip(place, 0, jnp.maximum(number - 1, 0))], 0.0)
    thresholds = jnp.linspace(ends[0], ends[1], num_thresholds)
    curves = class_operating_curves(distances, labels, thresholds, num_classes=num_classes, where=counts)
    square, specificity = jnp.asarray(c) ** 2, 1.0 - curves.far
    below = square * specificity + curves.tar
    utility = jnp.where(below > 0, (1 + square) * specificity * curves.tar / jnp.where(below > 0, below, 1.0), 0.0)
    weights = jnp.ones(num_thresholds).at[jnp.array([0, -1])].set(0.5) / (num_thresholds - 1)
    return utility, weights, curves
