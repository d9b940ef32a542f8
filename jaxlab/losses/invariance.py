"""Losses over several training domains (environments) at once."""

import jax
import jax.numpy as jnp
import optax

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["alignment_penalty", "drm"]


def alignment_penalty(values: ArrayLike, mean: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""How far what each domain measures lies from the common value (per domain; the mean is the caller's).

    .. math:: \ell_e = \|v_e - \mathrm{sg}(\bar v)\|_2^2

    v may be a gradient, a Hessian's diagonal, a feature mean: whatever is to be the same in all domains.

    Args:
      values: float [E, P], a row per domain.
      mean: float [P], the common value. It passes no gradient.
      where: bool [E], True where a domain counts.
    Returns:
      float32 or wider [E]; 0 where a domain does not count.
    Raises:
      ValueError: shapes do not agree.
      TypeError: values or mean are not floating point, or where is not boolean.

    >>> print(alignment_penalty(jnp.array([[1.0, 0.0], [3.0, 0.0]]), jnp.array([2.0, 0.0])))
    [1. 1.]

    Reference: Hemati et al., "Understanding Hessian Alignment for Domain Generalization" (2023). Checked against the
    authors' code.
    """
    values = checks.rank(checks.floating(values, "values"), "values", 2, layout="[E, P]")
    mean = checks.rank(checks.floating(mean, "mean"), "mean", 1, layout="[P]")
    if mean.shape != values.shape[1:]:
        raise ValueError(f"mean must have shape {[values.shape[1]]}, one number per column of values, got {mean.shape}")
    mask = checks.mask(where, "where", values.shape[:1])
    dtype = accumulation_dtype(values, mean)
    common = jax.lax.stop_gradient(mean.astype(dtype))
    wide = values.astype(dtype)
    if mask is not None:
        wide = jnp.where(mask[:, None], wide, common)
    return jnp.sum((wide - common) ** 2, axis=1)


def drm(
    domain_logits: ArrayLike, global_logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None
) -> Array:
    r"""Cross entropy of the head of an example's own domain and of the head of all (per example; larger is worse).

    .. math:: \ell_{eb} = \tfrac12\big(\mathrm{CE}(h_e(x_{eb}), y_{eb}) + \mathrm{CE}(h_0(x_{eb}), y_{eb})\big)

    The heads share their features. At test time ``weaksup.entropy_weights`` says how far to trust each of them.

    Args:
      domain_logits: float [..., K], of the head of the domain that the example comes from; usually [E, B, K].
      global_logits: float [..., K], of the head that all domains train.
      labels: int [...], in [0, K); a label outside gives NaN for that example.
      where: bool [...], True where an example counts.
    Returns:
      float32 or wider [...]; 0 where an example does not count.
    Raises:
      ValueError: shapes do not agree.
      TypeError: logits are not floating point, labels are not integers, or where is not boolean.

    >>> print(drm(jnp.zeros((1, 1, 2)), jnp.zeros((1, 1, 2)), jnp.array([[0]])).round(4))
    [[0.6931]]

    Reference: Zhang et al., "Domain-Specific Risk Minimization for Out-of-Distribution Generalization" (2022). Checked
    against the authors' code.
    """
    own, common = checks.floating(domain_logits, "domain_logits"), checks.floating(global_logits, "global_logits")
    labels = checks.integer(labels, "labels")
    checks.same_shape(own, "domain_logits", common, "global_logits")
    if own.ndim < 1 or own.shape[:-1] != labels.shape:
        raise ValueError(f"labels must have shape {list(own.shape[:-1])}, one per row of logits, got {labels.shape}")
    mask = checks.mask(where, "where", labels.shape)
    dtype = accumulation_dtype(own, common)
    known = (labels >= 0) & (labels < own.shape[-1])
    index = jnp.where(known, labels, 0)
    total = jnp.zeros(labels.shape, dtype)
    for logits in (own, common):
        clean = logits.astype(dtype)
        if mask is not None:
            clean = jnp.where(mask[..., None], clean, 0.0)
        total = total + optax.losses.softmax_cross_entropy_with_integer_labels(clean, index) / 2
    total = jnp.where(known, total, jnp.nan)
    return total if mask is None else jnp.where(mask, total, 0.0)
