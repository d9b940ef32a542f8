"""Multiclass hinge losses: how far the label's logit is from leading the others by a margin."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.labelled import Labelled, labelled, of_label
from jaxlab.typing import Array, ArrayLike

__all__ = ["crammer_singer", "weston_watkins"]


def leads(rows: Labelled, margin: ArrayLike) -> Array:
    """How far every class leads the label, margin included, [..., K]; 0 for the label itself."""
    lead = rows.logits - of_label(rows.logits, rows.labels)[..., None] + jnp.asarray(margin, rows.logits.dtype)
    own = jnp.arange(rows.logits.shape[-1]) == rows.labels[..., None]
    return jnp.where(own, 0.0, lead)


def crammer_singer(
    logits: ArrayLike, labels: ArrayLike, *, margin: float | Array = 1.0, where: ArrayLike | None = None
) -> Array:
    r"""Hinge loss of the class that leads the label most (per example; larger is worse).

    .. math:: \ell = \max_k \big(f_k - f_y + m\,[k \ne y]\big)

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      margin: m >= 0, a number.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], >= 0.
    Raises:
      ValueError: shapes do not agree, K < 2, or a static margin < 0.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(crammer_singer(jnp.array([2.0, 1.5, 0.0]), jnp.array(0)))
    0.5

    Reference: Crammer and Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines"
    (2001), standard; checked against the code of Zhu et al. (``ldr_kl``).
    """
    checks.at_least(margin, "margin", 0)
    rows = labelled(logits, labels, where)
    return rows.losses(jnp.max(leads(rows, margin), axis=-1))


def weston_watkins(
    logits: ArrayLike, labels: ArrayLike, *, margin: float | Array = 1.0, where: ArrayLike | None = None
) -> Array:
    r"""Mean hinge loss of all classes that lead the label (per example; larger is worse).

    .. math:: \ell = \frac1K \sum_k \max\big(0,\, f_k - f_y + m\,[k \ne y]\big)

    Args:
      logits: float [..., K], K >= 2.
      labels: int [...], in [0, K); outside gives NaN for that example.
      margin: m >= 0, a number.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], >= 0.
    Raises:
      ValueError: shapes do not agree, K < 2, or a static margin < 0.
      TypeError: labels are not integers, logits not floating point, or where is not boolean.

    >>> print(weston_watkins(jnp.array([2.0, 1.5, 1.0, 0.0]), jnp.array(0)))  # (0.5 + 0 + 0) / 4
    0.125

    Reference: Weston and Watkins, "Support Vector Machines for Multi-Class Pattern Recognition" (1999), standard;
    checked against the code of Zhu et al. (``ldr_kl``), which divides by K as here.
    """
    checks.at_least(margin, "margin", 0)
    rows = labelled(logits, labels, where)
    return rows.losses(jnp.mean(jnp.maximum(leads(rows, margin), 0.0), axis=-1))
