"""Losses with bounded or margin-limited influence of single examples."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["squared_hinge_ovr"]


def squared_hinge_ovr(
    logits: ArrayLike, labels: ArrayLike, *, class_where: ArrayLike | None = None, where: ArrayLike | None = None
) -> Array:
    r"""Squared hinge loss of one-versus-rest classifiers, mean over classes (per example; larger is worse).

    .. math:: \ell = \frac{1}{C} \sum_c \max(0,\, 1 - s_c z_c)^2, \quad s_c = +1 \text{ if } c = y \text{ else } -1

    It is the loss of linear support vector machines, one per class: :math:`\|W\|^2 / 2 + a\, C \sum_n \ell_n` is what
    scikit-learn's ``LinearSVC(C=a)`` minimises.

    Args:
      logits: float [..., C], C >= 1.
      labels: int [...], an existing class in [0, C); anything else gives NaN for that example.
      class_where: bool [C] or [..., C], True where a class exists; the others neither cost nor count in the mean.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...].
    Raises:
      ValueError: shapes do not agree, or C = 0.
      TypeError: labels are not integers, logits not floating point, or a mask is not boolean.

    >>> print(squared_hinge_ovr(jnp.array([2.0, 0.0, -0.5]), jnp.array(0)))  # (0 + 1 + 1/4) / 3
    0.41666666

    Reference: the classifier of Petit et al., "FeTrIL: Feature Translation for Exemplar-Free Class-Incremental
    Learning" (2023), a linear SVM; checked against scikit-learn.
    """
    logits, labels = checks.floating(logits, "logits"), checks.integer(labels, "labels")
    if logits.ndim != labels.ndim + 1 or logits.shape[:-1] != labels.shape or logits.shape[-1] == 0:
        raise ValueError(f"logits must have shape {[*labels.shape, 'C']} to match labels, got {list(logits.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    exists = jnp.ones(logits.shape, bool)
    if class_where is not None:
        shape = logits.shape[-1:] if jnp.ndim(class_where) == 1 else logits.shape
        exists &= jnp.asarray(checks.mask(class_where, "class_where", shape))
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    clean = jnp.where(exists & counts[..., None], logits.astype(accumulation_dtype(logits)), 0.0)
    own = jnp.arange(logits.shape[-1]) == labels[..., None]
    known = jnp.any(own & exists, axis=-1)
    hinge = jnp.maximum(0.0, 1.0 - jnp.where(own, clean, -clean))
    losses = masked_mean(hinge**2, exists, axis=-1)
    return jnp.where(counts, jnp.where(known, losses, jnp.nan), 0.0)
