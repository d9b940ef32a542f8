"""Combinations of a zero-shot classifier with what a few examples say."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.analytic import Head, ks_precision
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["ensemble_logits", "gda_new_class_classifier"]


def ensemble_logits(a: ArrayLike, b: ArrayLike, *, alpha: ArrayLike) -> Array:
    r"""Weighted sum of the logits of two classifiers.

    .. math:: z = a + \alpha\, b

    Args:
      a: float [..., C], such as zero-shot logits.
      b: float [..., C], same shape, such as the logits of an adapter.
      alpha: weight of b, a float or an array that broadcasts to [..., C]; sweep it with ``vmap``.
    Returns:
      Shape of a, in the wider of the two dtypes (summed in float32 or wider).
    Raises:
      ValueError: a and b have different shapes, or alpha does not broadcast to them.
      TypeError: a or b is not floating point.

    >>> print(ensemble_logits(jnp.array([2.0, 0.0]), jnp.array([0.0, 1.0]), alpha=3.0))
    [2. 3.]

    Reference: Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation" (2024). Formula checked
    against the authors' code.
    """
    a, b = checks.floating(a, "a"), checks.floating(b, "b")
    checks.same_shape(a, "a", b, "b")
    weight = jnp.asarray(checks.at_least(alpha, "alpha", -jnp.inf))
    checks.broadcasts_to(weight, "alpha", a.shape)
    out = jnp.promote_types(a.dtype, b.dtype)
    wide = jnp.promote_types(out, jnp.float32)
    return (a.astype(wide) + weight.astype(wide) * b.astype(wide)).astype(out)


def gda_new_class_classifier(
    features: ArrayLike, text: ArrayLike, *, k: int = 64, copies: int = 16, where: ArrayLike | None = None
) -> Head:
    r"""Gaussian discriminant of classes known by their text alone, from examples of other classes (couples the rows).

    With N_c the k rows of largest dot product with the text t_c:

    .. math:: \mu_c = \frac{\sum_{i \in N_c} f_i + a\, t_c}{k + a},
              S_c = \sum_{i \in N_c} (f_i - t_c)(f_i - t_c)^\top,
              \quad P = \frac1M \sum_c D \Big( S_c + \frac{\operatorname{tr} S_c}{k - 1} I \Big)^{-1}

    and the head is :math:`w_c = P \mu_c`, :math:`b_c = -\log M - \tfrac12 \mu_c^\top P \mu_c`. The scatter is taken
    about the TEXT, not about the mean of the neighbours. The paper adds alpha times these logits to the zero-shot ones
    (``ensemble_logits``), with the alpha that was chosen on the classes that have examples.

    Args:
      features: float [N, D], unit rows: examples of any classes.
      text: float [M, D], unit rows: a text embedding per new class.
      k: neighbours per class, static, in [1, N]; where fewer rows count, those that do.
      copies: a >= 0, how often the text itself enters the mean; static.
      where: bool [N], True where a row counts.
    Returns:
      Head, weight [D, M] and bias [M], float32 or wider. Rows of equal dot product: the lower index is taken. Where no
      row counts, the classes' means are their texts (zero for copies = 0). A counted row that holds NaN makes the head
      NaN.
    Raises:
      ValueError: widths differ, no text, k outside [1, N], or copies < 0.
      TypeError: features or text are not floating point, or where is not boolean.

    >>> rows = jnp.array([[0.6, 0.8], [0.8, 0.6], [-1.0, 0.0]])
    >>> print(jnp.round(gda_new_class_classifier(rows, jnp.eye(2), k=2, copies=2).weight, 2))
    [[1.17 0.7 ]
     [0.7  1.17]]

    Reference: Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation" (2024), its base-to-new
    setting. Checked against the authors' code, which has D = 512 fixed.
    """
    features = checks.rank(checks.floating(features, "features"), "features", 2, layout="[N, D]")
    text = checks.rank(checks.floating(text, "text"), "text", 2, layout="[M, D]")
    num_rows, dim = features.shape
    if text.shape[1] != dim:
        raise ValueError(f"text must have rows of width {dim} as features do, got {list(text.shape)}")
    num_classes = checks.at_least(text.shape[0], "the number of classes M in text", 1)
    checks.in_range(k, "k", 1, num_rows)
    checks.at_least(copies, "copies", 0)
    mask = checks.mask(where, "where", (num_rows,))
    mask = jnp.ones(num_rows, bool) if mask is None else mask
    dtype = accumulation_dtype(features, text)
    rows = jnp.where(mask[:, None], features.astype(dtype), 0.0)

    def add_class(total: Array, anchor: Array) -> tuple[Array, Array]:
        # Gathered by number and masked: rows that do not count stand last and add nothing.
        _, nearest = jax.lax.top_k(jnp.where(mask, rows @ anchor, -jnp.inf), k)
        counted = mask[nearest]
        neighbours, count = rows[nearest], jnp.sum(counted)
        deviations = jnp.where(counted[:, None], neighbours - anchor, 0.0)
        mean = (jnp.sum(neighbours, axis=0) + copies * anchor) / jnp.maximum(count + copies, 1)
        return total + ks_precision(deviations.T @ deviations, count), mean

    # A scan that adds up: one [D, D] matrix at a time, however many classes there are.
    with jax.default_matmul_precision("highest"):
        total, means = jax.lax.scan(add_class, jnp.zeros((dim, dim), dtype), text.astype(dtype))
        weight = total / num_classes @ means.T
    return Head(weight, -jnp.log(jnp.asarray(num_classes, dtype)) - 0.5 * jnp.sum(weight * means.T, axis=0))
