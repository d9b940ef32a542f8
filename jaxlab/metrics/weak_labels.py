"""Scores that need no true labels, or say how far the labels at hand can be trusted."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "complementary_mixup_noise",
    "complementary_surrogate_score",
    "complementary_unbiased_risk",
    "prediction_oscillation",
]


def _prepare(
    logits: ArrayLike, comp_labels: ArrayLike, matrix: ArrayLike, name: str, where: ArrayLike | None
) -> tuple[Array, Array, Array, Array, Array]:
    """Clean logits, labels in range, the matrix, which examples count, and which labels are known."""
    logits, labels = checks.floating(logits, "logits"), checks.integer(comp_labels, "comp_labels")
    table = checks.floating(matrix, name)
    if logits.ndim != labels.ndim + 1 or logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"logits must have shape {[*labels.shape, 'K']} to match comp_labels, got {list(logits.shape)}"
        )
    num_classes = logits.shape[-1]
    if table.shape != (num_classes, num_classes):
        raise ValueError(f"{name} must have shape {[num_classes, num_classes]}, got {list(table.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(logits, table)
    z = jnp.where(counts[..., None], logits.astype(dtype), 0.0)
    known = (labels >= 0) & (labels < num_classes)
    return z, jnp.where(known, labels, 0), table.astype(dtype), counts, known


def complementary_unbiased_risk(
    logits: ArrayLike, comp_labels: ArrayLike, transition_inverse: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Cross entropy under true labels, estimated from complementary ones alone (smaller is better; may be negative).

    .. math:: \frac1N \sum_i \sum_j Q^{-1}_{\bar y_i j}\, (-\log p_{ij})

    For every class the mean over its complementary labels is the cross entropy of that class, exactly. To choose a
    model by it is to trust a number of large variance.

    Args:
      logits: float [..., K].
      comp_labels: int [...], the class that each example is not of, in [0, K); one outside makes the result NaN.
      transition_inverse: float [K, K], the inverse of Q[y, k] = P(complementary label k | class y).
      where: bool [...], True where an example counts.
    Returns:
      float32 or wider scalar; 0 where nothing counts.
    Raises:
      ValueError: shapes do not agree.
      TypeError: logits or transition_inverse are not floating point, comp_labels not integers, or where not boolean.

    >>> inverse = jnp.ones((3, 3)) - 2.0 * jnp.eye(3)  # of the uniform transition
    >>> print(complementary_unbiased_risk(jnp.zeros((1, 3)), jnp.array([0]), inverse).round(4))  # log 3
    1.0986

    Reference: Ishida et al., "Complementary-Label Learning for Arbitrary Losses and Models" (2019), the URE score of
    Wang et al., "CLImage: Human-Annotated Datasets for Complementary-Label Learning" (2025). Checked against the
    latter's code.
    """
    z, labels, table, counts, known = _prepare(logits, comp_labels, transition_inverse, "transition_inverse", where)
    risks = jnp.sum(table[labels] * -jax.nn.log_softmax(z, axis=-1), axis=-1)
    return masked_mean(jnp.where(known, risks, jnp.nan), counts)


def complementary_surrogate_score(
    logits: ArrayLike,
    comp_labels: ArrayLike,
    transition: ArrayLike,
    *,
    eps: float = 1e-6,
    where: ArrayLike | None = None,
) -> Array:
    r"""SCEL: cross entropy of the complementary labels under what the predicted classes imply (smaller is better).

    .. math:: \frac1N \sum_i -\log\Big( \sum_y p_{iy}\, Q_{y \bar y_i} + \epsilon \Big)

    Args:
      logits: float [..., K].
      comp_labels: int [...], in [0, K); one outside makes the result NaN.
      transition: float [K, K], Q[y, k] = P(complementary label k | class y).
      eps: > 0, static.
      where: bool [...], True where an example counts.
    Returns:
      float32 or wider scalar; 0 where nothing counts.
    Raises:
      ValueError: shapes do not agree, or eps <= 0.
      TypeError: logits or transition are not floating point, comp_labels not integers, or where not boolean.

    >>> print(complementary_surrogate_score(jnp.zeros((1, 2)), jnp.array([0]), 1.0 - jnp.eye(2)).round(4))
    0.6931

    Reference: Lin and Lin, "Reduction from Complementary-Label Learning to Probability Estimates" (2023), as in Wang et
    al., "CLImage: Human-Annotated Datasets for Complementary-Label Learning" (2025). Checked against the latter's code.
    """
    checks.positive(eps, "eps")
    z, labels, table, counts, known = _prepare(logits, comp_labels, transition, "transition", where)
    implied = jnp.sum(jax.nn.softmax(z, axis=-1) * table.T[labels], axis=-1)
    return masked_mean(jnp.where(known, -jnp.log(implied + eps), jnp.nan), counts)


def complementary_mixup_noise(
    labels: ArrayLike, comp_labels: ArrayLike, partner: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Share of mixed examples whose complementary labels deny a class that is in the mix (smaller is better).

    .. math:: \frac1B \sum_i \big[ \bar y_i = y_{\pi(i)} \;\lor\; \bar y_{\pi(i)} = y_i \big]

    For random partners and uniform labels of K classes it is about 2 / K, and 0 where partners share their class.

    Args:
      labels: int [B], true classes.
      comp_labels: int [B], the class that each example is said not to be of.
      partner: int [B] in [0, B), which row each is mixed with (``weaksup.intra_cluster_partners``, ``nn.mixup``).
      where: bool [B], True where a row counts.
    Returns:
      float32 scalar in [0, 1]; 0 where nothing counts.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array does not hold integers, or where is not boolean.

    >>> print(complementary_mixup_noise(jnp.array([0, 1, 2]), jnp.array([1, 2, 1]), jnp.array([1, 0, 2])))
    0.6666667

    Reference: Mai and Lin, "Intra-Cluster Mixup: An Effective Data Augmentation Technique for Complementary-Label
    Learning" (2025). Checked against the authors' code, which also counts labels that are wrong before mixing.
    """
    truth, told = checks.integer(labels, "labels"), checks.integer(comp_labels, "comp_labels")
    other = checks.integer(partner, "partner")
    checks.rank(truth, "labels", 1, layout="[B]")
    checks.same_shape(told, "comp_labels", truth, "labels")
    checks.same_shape(other, "partner", truth, "labels")
    mask = checks.mask(where, "where", truth.shape)
    denied = (told == truth[other]) | (told[other] == truth)
    return masked_mean(denied.astype(jnp.float32), mask)


def prediction_oscillation(current: ArrayLike, banked: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""How far a prediction has moved from the one kept before (per example; larger is less steady).

    .. math:: o = \sum_c p_c \log \frac{p_c}{\max(q_c, 10^{-8})}

    Args:
      current: float [..., C], p, probabilities now.
      banked: float [..., C], q, those of an earlier epoch.
      where: bool [...], True where an example counts; the others give 0.
    Returns:
      float32 or wider [...], >= 0 up to 1e-8 for every class; 0, up to that, where nothing has changed.
    Raises:
      ValueError: shapes do not agree.
      TypeError: current or banked are not floating point, or where is not boolean.

    >>> print(prediction_oscillation(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])).round(4))
    0.6931

    Reference: Duan et al., "PC2: Pseudo-Classification Based Pseudo-Captioning for Noisy Correspondence Learning in
    Cross-Modal Retrieval" (2024). Checked against the authors' code.
    """
    now, before = checks.floating(current, "current"), checks.floating(banked, "banked")
    checks.same_shape(now, "current", before, "banked")
    if now.ndim < 1:
        raise ValueError("current must have shape [..., C], got a scalar")
    mask = checks.mask(where, "where", now.shape[:-1])
    counts = jnp.ones(now.shape[:-1], bool) if mask is None else mask
    dtype = accumulation_dtype(now, before)
    p, q = (jnp.where(counts[..., None], x.astype(dtype), 1.0) for x in (now, before))
    terms = jax.scipy.special.xlogy(p, p) - p * jnp.log(jnp.maximum(q, 1e-8))
    return jnp.where(counts, jnp.sum(terms, axis=-1), 0.0)
