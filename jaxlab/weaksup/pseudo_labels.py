"""Labels that a model gives to examples without."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["PseudoLabels", "pseudo_label"]


class PseudoLabels(NamedTuple):
    """What every rule that labels examples returns."""

    labels: Array  # int32 [...]
    confidence: Array  # float32 or wider [...]
    where: Array  # bool [...], True where the label is to be used


def pseudo_label(logits: ArrayLike, *, threshold: ArrayLike = 0.95, where: ArrayLike | None = None) -> PseudoLabels:
    r"""The most likely class of every example, to be used where it is likely enough.

    .. math:: \hat y = \arg\max_k p_k, \qquad c = \max_k p_k, \qquad \mathrm{used} = [c \ge \tau]

    Args:
      logits: float [..., K]; they pass no gradient.
      threshold: tau, a float or an array that broadcasts to [...]; above 1 uses none.
      where: bool [...], True where an example counts.
    Returns:
      PseudoLabels(labels int32 [...], confidence [...] in float32 or wider, where bool [...]). An example that does not
      count has label 0, confidence 0 and is not used; of equally likely classes the first is taken.
    Raises:
      ValueError: logits are a scalar, or shapes do not agree.
      TypeError: logits are not floating point, or where is not boolean.

    >>> found = pseudo_label(jnp.array([[0.0, 5.0], [1.0, 0.0]]), threshold=0.9)
    >>> print(found.labels, found.where)
    [1 0] [ True False]

    Reference: Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks"
    (2013), standard; the threshold of Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency and
    Confidence" (2020).
    """
    logits = jax.lax.stop_gradient(checks.floating(logits, "logits"))
    if logits.ndim < 1:
        raise ValueError("logits must have shape [..., K], got a scalar")
    mask = checks.mask(where, "where", logits.shape[:-1])
    wide = logits.astype(accumulation_dtype(logits))
    if mask is not None:
        wide = jnp.where(mask[..., None], wide, 0.0)
    confidence = jnp.max(jax.nn.softmax(wide), axis=-1)
    tau = checks.broadcasts_to(jnp.asarray(threshold, confidence.dtype), "threshold", confidence.shape)
    labels, used = jnp.argmax(wide, axis=-1).astype(jnp.int32), confidence >= tau
    if mask is not None:
        confidence, used = jnp.where(mask, confidence, 0.0), used & mask
    return PseudoLabels(labels, confidence, used)
