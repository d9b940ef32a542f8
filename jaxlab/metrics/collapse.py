"""Neural collapse: how far features, classifier and logits are from the geometry that long training leads to."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.metrics.geometry import class_scatter
from jaxlab.numerics.norms import accumulation_dtype, normalize, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = ["nc1", "nc2_etf", "nc2_orthogonal", "nc3", "self_duality"]


def nc1(features: ArrayLike, labels: ArrayLike, *, num_classes: int, where: ArrayLike | None = None) -> Array:
    r"""Variability within classes relative to that between their means (smaller is more collapsed).

    .. math:: \frac1K \operatorname{tr}(\Sigma_W \Sigma_B^+)

    with the covariances of ``class_scatter``. It does not change with the scale or by a rotation of the features.

    Args:
      features: float [N, D].
      labels: int [N]; rows with a label outside [0, num_classes) are left out.
      num_classes: K, static.
      where: bool [N], True for the rows that count.
    Returns:
      float32 (wider if features are) scalar >= 0, over the classes that have rows; 0 where every row is its class
      mean, and inf where it is not while all means coincide (one class alone, for instance).
    Raises:
      ValueError: shapes do not agree, or num_classes < 1.
      TypeError: features are not floating point, labels not integers, or where not boolean.

    >>> features = jnp.array([[0.0], [2.0], [5.0], [5.0]])
    >>> print(f"{nc1(features, jnp.array([0, 0, 1, 1]), num_classes=2):.4f}")
    0.0625

    Reference: Dang et al., "Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced Data" (2023). Checked
    against the authors' code.
    """
    scatter = class_scatter(features, labels, num_classes=num_classes, where=where)
    present = scatter.count > 0
    center = jnp.sum(scatter.means, axis=0) / jnp.maximum(jnp.sum(present), 1)
    means = jnp.where(present[:, None], scatter.means - center, 0.0)
    # The K x K side has the same spectrum as the D x D one, and is the smaller where classes are few. The gradient of a
    # pseudo-inverse knows no eigenvalues, of which those of collapsed means are equal.
    with jax.default_matmul_precision("highest"):
        gram = means @ means.T
        directions = jnp.linalg.pinv(gram, rtol=10 * num_classes * jnp.finfo(gram.dtype).eps, hermitian=True) @ means
        ratio = jnp.sum((directions @ scatter.within) * directions)
    alone = jnp.where(jnp.trace(scatter.within) > 0, jnp.inf, 0.0)
    return jnp.where(jnp.trace(gram) > 0, jnp.maximum(ratio, 0.0), alone)


def nc2_etf(a: ArrayLike) -> Array:
    r"""Distance of vectors from a simplex equiangular tight frame (0 at the frame; smaller is more collapsed).

    .. math:: \Big\| \frac{A A^\top}{\|A A^\top\|_F} - \frac{I - 1 1^\top / K}{\sqrt{K - 1}} \Big\|_F

    Args:
      a: float [K, D], K >= 2, a vector per class: rows of the classifier, or class means minus their mean.
    Returns:
      float32 (wider if a is) scalar in [0, 2]; the same for any scale and rotation of a, and 1 for zeros.
    Raises:
      ValueError: a is not [K, D] with K >= 2.
      TypeError: a is not floating point.

    >>> print(nc2_etf(jnp.array([[1.0, 0.0], [-1.0, 0.0]])).round(4))
    0.0

    Reference: Dang et al., "Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced Data" (2023). Checked
    against the authors' code.
    """
    a = _vectors(a, "a")
    return _distance(_product(a, a), _frame(a.shape[0], "etf", None))


def nc2_orthogonal(a: ArrayLike, *, diagonal: ArrayLike | None = None) -> Array:
    r"""Distance of vectors from an orthogonal frame (0 at the frame; smaller is more collapsed).

    .. math:: \Big\| \frac{A A^\top}{\|A A^\top\|_F} - \frac{\operatorname{diag}(t)}{\|t\|_2} \Big\|_F

    It is where a network without a last bias goes under squared error. For classes of different size the lengths
    differ: t are then the squares of ``analytic.deep_linear_collapse_solution``.

    Args:
      a: float [K, D], K >= 2, a vector per class: rows of the classifier, or class means as they are.
      diagonal: float [K], t >= 0, the squared lengths up to a scale; None takes them equal.
    Returns:
      float32 (wider if a is) scalar in [0, 2]; the same for any scale and rotation of a.
    Raises:
      ValueError: a is not [K, D] with K >= 2, or diagonal is not [K].
      TypeError: a or diagonal is not floating point.

    >>> frame = jnp.diag(jnp.array([2.0, 1.0]))
    >>> print(f"{nc2_orthogonal(frame):.4f} {nc2_orthogonal(frame, diagonal=jnp.array([4.0, 1.0])):.4f}")
    0.5339 0.0000

    Reference: Dang et al., "Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced Data" (2023). Checked
    against the authors' code.
    """
    a = _vectors(a, "a")
    return _distance(_product(a, a), _frame(a.shape[0], "orthogonal", diagonal))


def nc3(w: ArrayLike, means: ArrayLike, *, target: str = "etf", diagonal: ArrayLike | None = None) -> Array:
    r"""Distance of the class means' logits from the collapsed ones (0 when collapsed).

    .. math:: \Big\| \frac{W \bar H}{\|W \bar H\|_F} - T \Big\|_F

    with T the normalised target of ``nc2_etf`` or ``nc2_orthogonal``.

    Args:
      w: float [K, D], K >= 2, the classifier; for several linear layers, their product.
      means: float [K, D], the class means of the features that w is applied to, centred for "etf".
      target: "etf" or "orthogonal", static.
      diagonal: float [K] >= 0, the logits of the classes on their own means up to a scale, for "orthogonal".
    Returns:
      float32 or wider scalar in [0, 2].
    Raises:
      ValueError: shapes do not agree, K < 2, an unknown target, or a diagonal for "etf".
      TypeError: an array is not floating point.

    >>> print(nc3(2.0 * jnp.eye(3), jnp.eye(3), target="orthogonal").round(4))
    0.0

    Reference: Dang et al., "Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced Data" (2023). Checked
    against the authors' code.
    """
    w, means = _vectors(w, "w"), _vectors(means, "means")
    checks.same_shape(w, "w", means, "means")
    return _distance(_product(w, means), _frame(w.shape[0], target, diagonal))


def self_duality(w: ArrayLike, means: ArrayLike, *, scales: ArrayLike | None = None) -> Array:
    r"""Distance between the directions of a classifier and of the class means (0 when collapsed).

    .. math:: \Big\| \frac{W}{\|W\|_F} - \frac{S \bar H^\top}{\|S \bar H^\top\|_F} \Big\|_F

    Args:
      w: float [K, D], K >= 2, the classifier.
      means: float [K, D], the class means of the features that w is applied to.
      scales: float [K], the diagonal of S: for classes of different size a row of w is the mean times
        :math:`s_k^{2M} + N \lambda_H`; None takes 1.
    Returns:
      float32 or wider scalar in [0, 2].
    Raises:
      ValueError: shapes do not agree, or K < 2.
      TypeError: an array is not floating point.

    >>> print(self_duality(jnp.eye(2), 3.0 * jnp.eye(2)).round(4))
    0.0

    Reference: Dang et al., "Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced Data" (2023). Checked
    against the authors' code; the scales are the paper's theorem for imbalanced data.
    """
    w, means = _vectors(w, "w"), _vectors(means, "means")
    checks.same_shape(w, "w", means, "means")
    if scales is not None:
        means = _lengths(scales, "scales", w.shape[0])[:, None] * means
    return _distance(w, _unit(means))


def _vectors(x: ArrayLike, name: str) -> Array:
    x = checks.rank(checks.floating(x, name), name, 2, layout="[K, D]")
    if x.shape[0] < 2:
        raise ValueError(f"{name} must have shape [K, D] with at least 2 classes, got {list(x.shape)}")
    return x.astype(accumulation_dtype(x))


def _lengths(x: ArrayLike, name: str, size: int) -> Array:
    x = checks.floating(x, name)
    if x.shape != (size,):
        raise ValueError(f"{name} must have shape {[size]}, one number per class, got {list(x.shape)}")
    return x.astype(accumulation_dtype(x))


def _product(a: Array, b: Array) -> Array:
    """a b', of rows brought to length 1 together first, so that nothing overflows."""
    return jnp.matmul(_unit(a), _unit(b).T, precision="highest")


def _unit(x: Array) -> Array:
    return normalize(x.reshape(-1), eps=0.0).reshape(x.shape)


def _frame(size: int, target: str, diagonal: ArrayLike | None) -> Array:
    """The normalised target, [K, K]."""
    checks.one_of(target, "target", ("etf", "orthogonal"))
    if target == "etf":
        if diagonal is not None:
            raise ValueError("diagonal must be None for the target 'etf', which has one length for all classes")
        return (jnp.eye(size) - 1.0 / size) / jnp.sqrt(size - 1.0)
    lengths = jnp.ones(size) if diagonal is None else _lengths(diagonal, "diagonal", size)
    return jnp.diag(normalize(lengths, eps=0.0))


def _distance(x: Array, unit: Array) -> Array:
    squares = jnp.sum((_unit(x) - unit) ** 2)
    return safe_sqrt(squares)
