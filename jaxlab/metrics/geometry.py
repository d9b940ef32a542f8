"""How the examples of a class lie in feature space, and predictions in a space of labels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype, masked_mean, normalize, safe_sqrt, segment_mean
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "ClassScatter",
    "class_scatter",
    "expected_squared_distance",
    "feature_diversity",
    "fisher_discriminant_ratio",
    "subspace_distance",
]


class ClassScatter(NamedTuple):
    """Covariances within and between classes."""

    within: Array  # [D, D], about the class means, divided by the number of rows
    between: Array  # [D, D], of the class means about their plain mean, divided by the number of classes present
    means: Array  # [K, D], 0 for a class without rows
    count: Array  # type: ignore[assignment]  # int32 [K]


def feature_diversity(
    features: ArrayLike, labels: ArrayLike, *, num_classes: int, where: ArrayLike | None = None
) -> Array:
    r"""Standard deviation of features within a class, averaged over dimensions and classes (larger is more diverse).

    .. math:: \frac1K \sum_k \frac1D \sum_d \sqrt{\operatorname{Var}_{i: y_i = k}(f_{id})}

    Args:
      features: float [N, D].
      labels: int [N]; rows with a label outside [0, num_classes) are left out.
      num_classes: K, static.
      where: bool [N], True for the rows that count.
    Returns:
      float32 (wider if features are) scalar >= 0: divisor N, classes without rows left out, 0 if there are none. 1 for
      independent features of variance 1.
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: features are not floating point, labels not integers, or where not boolean.

    >>> features = jnp.array([[0.0], [2.0], [5.0], [5.0]])
    >>> print(feature_diversity(features, jnp.array([0, 0, 1, 1]), num_classes=2))
    0.5

    Reference: the diversity of Fan et al., "Scaling Laws of Synthetic Images for Model Training ... for Now" (2023),
    recalled.
    """
    wide, index, counts = _labelled(features, labels, num_classes, where)
    mean, _ = segment_mean(wide, index, num_classes, where=counts)
    variance, size = segment_mean((wide - mean[index]) ** 2, index, num_classes, where=counts)
    spread = safe_sqrt(variance)
    present = size > 0
    return jnp.sum(jnp.mean(spread, axis=1) * present) / jnp.maximum(jnp.sum(present), 1)


def expected_squared_distance(
    predictions: ArrayLike, labels: ArrayLike, sq_dist: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Mean squared distance of the predicted from the true label (smaller is better).

    .. math:: \frac1N \sum_n d(\hat y_n, y_n)^2

    Args:
      predictions: int [...], in [0, Y).
      labels: int [...], in [0, Y).
      sq_dist: float [Y, Y], SQUARED distances between the labels; 1 off the diagonal makes it the error rate.
      where: bool [...], True where an example counts.
    Returns:
      float32 (wider if sq_dist is) scalar over all axes; 0 if no example counts, NaN if a counted label or prediction
      does not exist.
    Raises:
      ValueError: shapes do not agree, or sq_dist is not square.
      TypeError: predictions or labels are not integers, sq_dist is not floating point, or where not boolean.

    >>> bins = jnp.arange(4.0)
    >>> sq_dist = (bins[:, None] - bins) ** 2
    >>> print(expected_squared_distance(jnp.array([0, 3]), jnp.array([2, 3]), sq_dist))
    2.0

    Reference: Roberts et al., "Geometry-Aware Adaptation for Pretrained Models" (2023). Checked against the authors'
    code.
    """
    predictions, labels = checks.integer(predictions, "predictions"), checks.integer(labels, "labels")
    checks.same_shape(predictions, "predictions", labels, "labels")
    table = checks.rank(checks.floating(sq_dist, "sq_dist"), "sq_dist", 2, layout="[Y, Y]")
    if table.shape[0] != table.shape[1]:
        raise ValueError(f"sq_dist must have shape [Y, Y], got {list(table.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    wide, size = table.astype(accumulation_dtype(table)), table.shape[0]
    exist = (predictions >= 0) & (predictions < size) & (labels >= 0) & (labels < size)
    squares = jnp.where(exist, wide[jnp.where(exist, predictions, 0), jnp.where(exist, labels, 0)], jnp.nan)
    return masked_mean(squares, mask)


def subspace_distance(a: ArrayLike, b: ArrayLike) -> Array:
    r"""How far the span of some vectors sticks out of the span of others: the sine of the largest principal angle.

    .. math:: \delta(a, b) = \|(I - \Pi_b)\, \Pi_a\|_2

    where the projections are onto the spans of the rows. 0 where the span of b contains that of a, 1 where a vector of
    the one is orthogonal to the other (always so if a has more dimensions). Symmetric for spans of equal dimension.

    Args:
      a: float [..., P, N], rows that span the first subspace; they may depend on each other.
      b: float [..., Q, N], rows that span the second, with the same leading axes.
    Returns:
      float32 or wider [...], in [0, 1] to rounding; small angles are exact to rounding too. Rows of zeros span nothing:
      0 for such an a, 1 for such a b.
    Raises:
      ValueError: shapes do not agree.
      TypeError: a or b is not floating point.

    >>> x = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    >>> print(subspace_distance(x[:1], x), subspace_distance(x, x[:1]))
    0.0 1.0

    Reference: the diagnostic of Wang et al., "Accelerating Data Generation for Neural Operators via Krylov Subspace
    Recycling" (2024), paper text.
    """
    a, b = checks.floating(a, "a"), checks.floating(b, "b")
    if a.ndim < 2 or a.ndim != b.ndim or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-1]:
        raise ValueError(f"a and b must have shapes [..., P, N] and [..., Q, N], got {list(a.shape)}, {list(b.shape)}")
    dtype = accumulation_dtype(a, b)
    with jax.default_matmul_precision("highest"):
        inside, outside = (jnp.vectorize(_orthonormal_rows, signature="(p,n)->(p,n)")(x.astype(dtype)) for x in (a, b))
        left = inside - (inside @ outside.mT) @ outside
        largest = jnp.linalg.eigvalsh(left @ left.mT)[..., -1]
    return jnp.sqrt(jnp.maximum(largest, 0.0))


def _orthonormal_rows(x: Array) -> Array:
    """Orthonormal rows that span what those of x span; zero where a row depends on those before it."""
    least = max(x.shape) * jnp.finfo(x.dtype).eps

    def add(found: Array, item: tuple[Array, Array]) -> tuple[Array, None]:
        at, row = item
        rest = row
        for _ in range(2):  # once is not enough in floating point
            rest = rest - (found @ rest) @ found
        length = jnp.sqrt(jnp.sum(rest**2))
        kept = jnp.where(length > least, rest / jnp.where(length > least, length, 1.0), 0.0)
        return found.at[at].set(kept), None

    return jax.lax.scan(add, jnp.zeros_like(x), (jnp.arange(x.shape[0]), normalize(x)))[0]


def class_scatter(
    features: ArrayLike, labels: ArrayLike, *, num_classes: int, where: ArrayLike | None = None
) -> ClassScatter:
    r"""Covariance of features within classes and of class means.

    .. math:: \Sigma_W = \frac1N \sum_n (h_n - \mu_{y_n})(h_n - \mu_{y_n})^\top, \qquad
              \Sigma_B = \frac1K \sum_k (\mu_k - \mu_G)(\mu_k - \mu_G)^\top, \quad \mu_G = \frac1K \sum_k \mu_k

    Args:
      features: float [N, D].
      labels: int [N]; rows with a label outside [0, num_classes) are left out.
      num_classes: K, static.
      where: bool [N], True for the rows that count.
    Returns:
      ClassScatter in float32 or wider; classes without rows take no part in the sums.
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: features are not floating point, labels not integers, or where not boolean.

    >>> scatter = class_scatter(jnp.array([[0.0], [2.0], [5.0], [5.0]]), jnp.array([0, 0, 1, 1]), num_classes=2)
    >>> print(scatter.within, scatter.between)
    [[0.5]] [[4.]]

    Reference: as in the measures of Dang et al., "Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced
    Data" (2023). Checked against the authors' code.
    """
    wide, index, counts = _labelled(features, labels, num_classes, where)
    means, size = segment_mean(wide, index, num_classes, where=counts)
    away = jnp.where(counts[:, None], wide - means[index], 0.0)
    within = jnp.matmul(away.T, away, precision="highest") / jnp.maximum(jnp.sum(counts), 1)
    present = size > 0
    num = jnp.maximum(jnp.sum(present), 1)
    center = jnp.sum(means, axis=0) / num
    off = jnp.where(present[:, None], means - center, 0.0)
    between = jnp.matmul(off.T, off, precision="highest") / num
    return ClassScatter(within, between, means, size.astype(jnp.int32))


def _labelled(
    features: ArrayLike, labels: ArrayLike, num_classes: int, where: ArrayLike | None
) -> tuple[Array, Array, Array]:
    """Rows in the accumulation dtype (0 where they do not count), labels that index, and which rows count."""
    features = checks.rank(checks.floating(features, "features"), "features", 2, layout="[N, D]")
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.batch_match(features, "features", labels, "labels")
    num_classes = checks.size(num_classes, "num_classes")
    mask = checks.mask(where, "where", labels.shape)
    counts = (labels >= 0) & (labels < num_classes)
    counts = counts if mask is None else counts & mask
    wide = jnp.where(counts[:, None], features.astype(accumulation_dtype(features)), 0.0)
    return wide, jnp.clip(labels, 0, num_classes - 1), counts


def fisher_discriminant_ratio(
    features: ArrayLike, labels: ArrayLike, *, num_classes: int, where: ArrayLike | None = None
) -> Array:
    r"""How far class means lie apart, beside the spread within classes (larger is better separated).

    .. math:: \operatorname{tr} \Sigma_B / \operatorname{tr} \Sigma_W

    with the matrices of ``class_scatter``, where every class weighs the same in the first.

    Args:
      features: float [N, D].
      labels: int [N]; rows with a label outside [0, num_classes) are left out.
      num_classes: K, static.
      where: bool [N], True for the rows that count.
    Returns:
      float32 (wider if features are) scalar >= 0: infinite where classes are single points, 0 where all is one point.
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: features are not floating point, labels not integers, or where not boolean.

    >>> features = jnp.array([[0.0], [1.0], [4.0], [5.0]])
    >>> print(fisher_discriminant_ratio(features, jnp.array([0, 0, 1, 1]), num_classes=2))
    16.0

    Reference: standard.
    """
    scatter = class_scatter(features, labels, num_classes=num_classes, where=where)
    between, within = jnp.trace(scatter.between), jnp.trace(scatter.within)
    ratio = between / jnp.where(within > 0, within, 1.0)
    return jnp.where(within > 0, ratio, jnp.where(between > 0, jnp.inf, 0.0))
