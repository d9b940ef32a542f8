"""Class statistics: counts, sums and second moments of a stream, as a group.

They add. So one pass serves every classifier in ``analytic.heads`` at once, ``merge`` is the all-reduce of a mesh and
the server of a federation, ``forget`` is subtraction, and the result does not depend on order, chunking or hosts
(to rounding). Moments are taken about a fixed ``shift``: near the mean of the data it keeps float32 from cancelling.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.linear import self_product
from jaxlab.numerics.norms import accumulation_dtype, normalize, state_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = [
    "ClassStats",
    "class_means",
    "class_stats_covariance",
    "class_stats_forget",
    "class_stats_init",
    "class_stats_means",
    "class_stats_merge",
    "class_stats_update",
    "class_stats_variance",
    "within_scatter",
]

KINDS = ("none", "diag", "shared", "full")


class ClassStats(NamedTuple):
    """Statistics of a labelled stream; a moment that is not kept is None.

    With z = x - shift: count[c] = number of rows, sum[c] = sum of z, diag[c] = sum of z * z, shared = sum of z z' over
    all classes, full[c] = sum of z z'.
    """

    count: Array  # type: ignore[assignment]  # int32 [C]
    sum: Array  # [C, D]
    shift: Array  # [D]
    diag: Array | None = None  # [C, D]
    shared: Array | None = None  # [D, D]
    full: Array | None = None  # [C, D, D]


def class_stats_init(
    num_classes: int,
    dim: int,
    *,
    second: str | Sequence[str] = "none",
    shift: ArrayLike | None = None,
    dtype: DTypeLike | None = None,
) -> ClassStats:
    r"""Empty class statistics: the identity of ``class_stats_merge``.

    Args:
      num_classes: C >= 1, static.
      dim: D >= 1, static.
      second: which second moments to keep: "none", "diag" (C D floats), "shared" (D^2) or "full" (C D^2), or several.
      shift: float [D], the point about which moments are taken; None is zero. The first row or a pilot mean is enough:
        with data at mean 1000 and spread 1, a float32 covariance is off by about 1 without it and 1e-6 with it.
      dtype: float dtype of the moments; None is float32 (float64 where shift is float64).
    Returns:
      ClassStats of zeros.
    Raises:
      ValueError: sizes below 1, an unknown kind, or a shift that is not [D].
      TypeError: dtype is narrower than float32, or not a float.

    >>> class_stats_init(3, 2, second="diag").diag.shape
    (3, 2)

    Reference: standard sufficient statistics; raw moments about a fixed point.
    """
    checks.size(num_classes, "num_classes")
    checks.size(dim, "dim")
    kinds = (second,) if isinstance(second, str) else tuple(second)
    for kind in kinds:
        checks.one_of(kind, "second", KINDS)
    shift = jnp.zeros(dim, jnp.float32) if shift is None else checks.floating(shift, "shift")
    if shift.shape != (dim,):
        raise ValueError(f"shift must have shape [{dim}], got {list(shift.shape)}")
    dtype = state_dtype(dtype, shift)
    return ClassStats(
        count=jnp.zeros(num_classes, jnp.int32),
        sum=jnp.zeros((num_classes, dim), dtype),
        shift=shift.astype(dtype),
        diag=jnp.zeros((num_classes, dim), dtype) if "diag" in kinds else None,
        shared=jnp.zeros((dim, dim), dtype) if "shared" in kinds else None,
        full=jnp.zeros((num_classes, dim, dim), dtype) if "full" in kinds else None,
    )


def _rows(state: ClassStats, x: ArrayLike, labels: ArrayLike | None, where: ArrayLike | None) -> tuple[Array, Array]:
    """Shifted rows [N, D] with ignored rows zeroed, and their class membership, bool [N, C]."""
    num_classes, dim = state.sum.shape
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    if x.shape[1] != dim:
        raise ValueError(f"x must have shape [N, {dim}] to match the state, got {list(x.shape)}")
    checks.not_wider(x, "x", state.sum.dtype)
    if labels is None:
        if num_classes != 1:
            raise ValueError(f"labels may be None only for one class, but the state has {num_classes}")
        labels = jnp.zeros(x.shape[0], jnp.int32)
    labels = checks.rank(checks.integer(labels, "labels"), "labels", 1, layout="[N]")
    checks.batch_match(x, "x", labels, "labels")
    mask = checks.mask(where, "where", labels.shape)
    counted = (labels >= 0) & (labels < num_classes)
    counted = counted if mask is None else counted & mask
    z = jnp.where(counted[:, None], x.astype(state.sum.dtype) - state.shift, 0.0)
    # A one-hot product instead of a scatter: on accelerators it is faster, and scatters there add in no fixed order.
    one_hot = (labels[:, None] == jnp.arange(num_classes)) & counted[:, None]
    return z, one_hot


def class_stats_update(
    state: ClassStats, x: ArrayLike, labels: ArrayLike | None = None, *, where: ArrayLike | None = None
) -> ClassStats:
    """Statistics with a chunk of rows added.

    Args:
      state: from ``class_stats_init`` or an earlier update.
      x: float [N, D], no wider than the state; a row that counts and holds NaN or infinity makes the moments of its
        class (and the shared one) NaN.
      labels: int [N]; rows outside [0, C) are ignored in every statistic. None is allowed for C = 1.
      where: bool [N], True where a row counts; the others may hold anything.
    Returns:
      ClassStats of the same shapes.
    Raises:
      ValueError: shapes do not agree.
      TypeError: x is not floating point or wider than the state, labels are not integers, where is not boolean.

    >>> state = class_stats_update(class_stats_init(2, 1), jnp.array([[1.0], [3.0], [5.0]]), jnp.array([0, 0, 1]))
    >>> print(state.count, state.sum[:, 0])
    [2 1] [4. 5.]

    Reference: standard.
    """
    z, member = _rows(state, x, labels, where)
    # In the product with the one-hot labels a NaN would reach every class: it is taken out, and spoils its own.
    finite = jnp.all(jnp.isfinite(z), axis=1, keepdims=True)
    z = jnp.where(finite, z, 0.0)
    spoiled = jnp.where(jnp.any(member & ~finite, axis=0), jnp.nan, 0.0).astype(z.dtype)  # [C]
    any_spoiled = jnp.sum(spoiled)
    one_hot = member.astype(z.dtype)
    with jax.default_matmul_precision("highest"):
        full = None
        if state.full is not None:
            full = state.full + _scatter_per_class(z, one_hot) + spoiled[:, None, None]
        return ClassStats(
            count=state.count + jnp.sum(member, axis=0, dtype=jnp.int32),
            sum=state.sum + one_hot.T @ z + spoiled[:, None],
            shift=state.shift,
            diag=None if state.diag is None else state.diag + one_hot.T @ (z * z) + spoiled[:, None],
            shared=None if state.shared is None else state.shared + self_product(z) + any_spoiled,
            full=full,
        )


@jax.jit
def _scatter_per_class(z: Array, one_hot: Array) -> Array:
    return jax.lax.map(lambda column: (z * column[:, None]).T @ z, one_hot.T)


def rebase(state: ClassStats, shift: Array) -> ClassStats:
    """The same data with moments about another shift; exact and free of rounding where the shifts are equal."""
    delta = state.shift - shift  # z' = x - shift = z + delta
    count = state.count.astype(state.sum.dtype)[:, None]
    moved = state.sum + count * delta
    diag, shared, full = state.diag, state.shared, state.full
    if diag is not None:
        diag = diag + 2 * delta * state.sum + count * delta**2
    if shared is not None:
        cross = jnp.outer(jnp.sum(state.sum, axis=0), delta)
        shared = shared + cross + cross.T + jnp.sum(count) * jnp.outer(delta, delta)
    if full is not None:
        cross = state.sum[:, :, None] * delta
        full = full + cross + jnp.swapaxes(cross, 1, 2) + count[:, :, None] * jnp.outer(delta, delta)
    return ClassStats(state.count, moved, shift, diag, shared, full)


def class_stats_merge(a: ClassStats, b: ClassStats) -> ClassStats:
    """Statistics of both streams together; b is re-based on a's shift.

    Args:
      a: statistics of one stream.
      b: statistics of another, made with the same sizes, ``second`` and dtype.
    Returns:
      ClassStats with a's shift.
    Raises:
      ValueError: sizes or kept moments differ.
      TypeError: dtypes differ.

    >>> a = class_stats_update(class_stats_init(1, 1), jnp.ones((2, 1)))
    >>> print(class_stats_merge(a, a).count)
    [4]

    Reference: Hendryx et al., "Federated Reconnaissance: Efficient, Distributed, Class-Incremental Learning" (2021):
    its count-weighted average of prototypes is this sum. Recalled; exact by construction.
    """
    checks.same_fields(a, b)
    return jax.tree.map(jnp.add, a, rebase(b, a.shift)._replace(shift=jnp.zeros_like(a.shift)))


def class_stats_forget(a: ClassStats, b: ClassStats) -> ClassStats:
    """Statistics of a's stream without b's rows: exact unlearning by subtraction.

    Args:
      a: statistics of a stream.
      b: statistics of rows that are part of it.
    Returns:
      ClassStats with a's shift, equal to the statistics of the remaining rows up to rounding.
    Raises:
      ValueError: sizes or kept moments differ.
      TypeError: dtypes differ.

    >>> a = class_stats_update(class_stats_init(1, 1), jnp.ones((2, 1)))
    >>> print(class_stats_forget(a, a).count)
    [0]

    Reference: the inverse of ``class_stats_merge``.
    """
    checks.same_fields(a, b)
    moved = rebase(b, a.shift)
    return jax.tree.map(jnp.subtract, a, moved._replace(shift=jnp.zeros_like(a.shift)))


def class_stats_means(state: ClassStats) -> Array:
    """Mean of every class; NaN never, a class without rows gives zero (mask it by ``state.count > 0``).

    Args:
      state: class statistics.
    Returns:
      [C, D] in the dtype of the state.

    >>> state = class_stats_update(class_stats_init(2, 1), jnp.array([[1.0], [3.0]]), jnp.array([0, 0]))
    >>> print(class_stats_means(state)[:, 0])
    [2. 0.]

    Reference: standard.
    """
    mean = state.shift + state.sum / jnp.maximum(state.count, 1).astype(state.sum.dtype)[:, None]
    return jnp.where((state.count > 0)[:, None], mean, 0.0)


def centered_means(state: ClassStats) -> Array:
    """Class means minus the shift: what heads compute with, since it does not cancel."""
    return state.sum / jnp.maximum(state.count, 1).astype(state.sum.dtype)[:, None]


def class_stats_variance(state: ClassStats) -> Array:
    r"""Variance of every feature in every class, with divisor :math:`n_c`.

    Args:
      state: class statistics that keep "diag" or "full".
    Returns:
      [C, D] >= 0 in the dtype of the state; zero for a class with fewer than two rows.
    Raises:
      ValueError: the state keeps neither "diag" nor "full".

    >>> state = class_stats_init(1, 1, second="diag")
    >>> print(class_stats_variance(class_stats_update(state, jnp.array([[1.0], [3.0]]))))
    [[1.]]

    Reference: Zheng et al., "Revisiting Discriminative vs. Generative Classifiers: Theory and Implications" (2023);
    merging states merges variances. Checked against the authors' code.
    """
    if state.diag is not None:
        square = state.diag
    elif state.full is not None:
        square = jnp.diagonal(state.full, axis1=1, axis2=2)
    else:
        raise ValueError('variances need second moments per class: class_stats_init(..., second="diag") or "full"')
    count = jnp.maximum(state.count, 1).astype(state.sum.dtype)[:, None]
    return jnp.maximum(square / count - centered_means(state) ** 2, 0.0)


def class_stats_covariance(state: ClassStats) -> Array:
    r"""Covariance of every class, with divisor :math:`n_c`.

    Args:
      state: class statistics that keep "full".
    Returns:
      [C, D, D], symmetric, in the dtype of the state; zero for a class without rows.
    Raises:
      ValueError: the state does not keep "full".

    >>> state = class_stats_init(1, 2, second="full")
    >>> print(class_stats_covariance(class_stats_update(state, jnp.array([[1.0, 0.0], [3.0, 2.0]]))))
    [[[1. 1.]
      [1. 1.]]]

    Reference: standard.
    """
    if state.full is None:
        raise ValueError('covariances need second moments per class: class_stats_init(..., second="full")')
    count = jnp.maximum(state.count, 1).astype(state.sum.dtype)[:, None, None]
    means = centered_means(state)
    return state.full / count - means[:, :, None] * means[:, None, :]


def second_moment(state: ClassStats) -> Array:
    """Sum of z z' over all rows, z = x - shift [D, D]."""
    if state.shared is not None:
        return state.shared
    if state.full is not None:
        return jnp.sum(state.full, axis=0)
    raise ValueError('second moments over all features are needed: class_stats_init(..., second="shared") or "full"')


def within_scatter(state: ClassStats) -> Array:
    r"""Scatter about the class means, pooled over classes.

    .. math:: \sum_i (x_i - \mu_{y_i})(x_i - \mu_{y_i})^\top

    Args:
      state: class statistics that keep "shared" or "full".
    Returns:
      [D, D], symmetric, in the dtype of the state; divide by the total count for the tied covariance.
    Raises:
      ValueError: the state keeps neither "shared" nor "full".

    >>> state = class_stats_init(1, 1, second="shared")
    >>> print(within_scatter(class_stats_update(state, jnp.array([[1.0], [3.0]]))))
    [[2.]]

    Reference: standard.
    """
    total = second_moment(state)
    with jax.default_matmul_precision("highest"):
        return total - centered_means(state).T @ state.sum


def class_means(
    features: ArrayLike, labels: ArrayLike, *, num_classes: int, unit: bool = False, where: ArrayLike | None = None
) -> Array:
    r"""Mean feature of every class, from hard or soft labels.

    .. math:: \mu_c = \sum_i w_{ic} f_i \Big/ \sum_i w_{ic}, \quad w_{ic} = [y_i = c] \text{ or the soft label}

    Args:
      features: float [N, D].
      labels: int [N] (rows outside [0, C) are ignored), or soft labels float [N, C] >= 0.
      num_classes: C, static.
      unit: normalise the rows before and the means after averaging (cosine prototypes).
      where: bool [N], True where a row counts.
    Returns:
      float32 or wider [C, D]; a class without weight gives zero.
    Raises:
      ValueError: shapes do not agree.
      TypeError: features are not floating point.

    >>> print(class_means(jnp.array([[1.0], [3.0]]), jnp.array([0, 0]), num_classes=2)[:, 0])
    [2. 0.]

    Reference: standard.
    """
    features = checks.rank(checks.floating(features, "features"), "features", 2, layout="[N, D]")
    labels = checks.rank(labels, "labels", (1, 2), layout="[N] (int) or [N, C] (float)")
    checks.batch_match(features, "features", labels, "labels")
    checks.size(num_classes, "num_classes")
    mask = checks.mask(where, "where", labels.shape[:1])
    rows = features.astype(accumulation_dtype(features))
    if labels.ndim == 1:
        weight = (checks.integer(labels, "labels")[:, None] == jnp.arange(num_classes)).astype(rows.dtype)
    else:
        weight = checks.floating(labels, "labels").astype(rows.dtype)
        if weight.shape[1] != num_classes:
            raise ValueError(f"soft labels must have {num_classes} columns, got {weight.shape[1]}")
    if mask is not None:
        weight = jnp.where(mask[:, None], weight, 0.0)
    rows = jnp.where(jnp.any(weight != 0, axis=1, keepdims=True), rows, 0.0)
    if unit:
        rows = normalize(rows)
    total = jnp.sum(weight, axis=0)[:, None]
    with jax.default_matmul_precision("highest"):
        means = jnp.where(total > 0, weight.T @ rows / jnp.where(total > 0, total, 1.0), 0.0)
    return normalize(means) if unit else means
