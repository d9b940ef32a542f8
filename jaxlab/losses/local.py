"""What a part of a network is trained towards when it does not see the loss of the whole."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["pseudo_residuals"]


def pseudo_residuals(predictions: ArrayLike, targets: ArrayLike, *, loss: str, where: ArrayLike | None = None) -> Array:
    r"""Minus the gradient of a loss by the predictions: what the next stage of gradient boosting fits.

    .. math:: r = y - F, \qquad r = \frac{2 s}{1 + e^{2 s F}}, \qquad r_c = [c = y] - \operatorname{softmax}(F)_c

    for the losses "squared", :math:`(y - F)^2 / 2`, "binary", :math:`\log(1 + e^{-2 s F})` with s = -1 for label 0 and
    +1 for label 1 (so 2 F is a logit), and "multiclass", the cross entropy of softmax(F).

    Args:
      predictions: F, float [...], or [..., C] where loss is "multiclass".
      targets: float [...] where loss is "squared", else int [...]: 0 or 1, or a class in [0, C). Other labels give NaN
        for that example.
      loss: "squared", "binary" or "multiclass", static.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if an input is), the shape of predictions.
    Raises:
      ValueError: shapes do not agree, or loss is unknown.
      TypeError: predictions or targets are not of the types above.

    >>> print(pseudo_residuals(jnp.zeros(2), jnp.array([0, 1]), loss="binary"))
    [-1.  1.]

    Reference: Emami and Martinez-Munoz, "Sequential Training of Neural Networks with Gradient Boosting" (2023). Checked
    against the authors' code, which writes the two labels as -1 and +1.
    """
    checks.one_of(loss, "loss", ("squared", "binary", "multiclass"))
    scores = checks.floating(predictions, "predictions")
    y = checks.floating(targets, "targets") if loss == "squared" else checks.integer(targets, "targets")
    if scores.ndim != y.ndim + (loss == "multiclass") or scores.shape[: y.ndim] != y.shape:
        wanted = [*y.shape, "C"] if loss == "multiclass" else list(y.shape)
        raise ValueError(f"predictions must have shape {wanted} to match targets, got {list(scores.shape)}")
    mask = checks.mask(where, "where", y.shape)
    counts = jnp.ones(y.shape, bool) if mask is None else mask
    dtype = accumulation_dtype(scores, y)
    scores = jnp.where(counts[..., None] if loss == "multiclass" else counts, scores.astype(dtype), 0.0)
    if loss == "squared":
        return jnp.where(counts, y, 0.0) - scores
    num_classes = scores.shape[-1] if loss == "multiclass" else 2
    known = (y >= 0) & (y < num_classes)
    if loss == "binary":
        signs = jnp.where(y == 1, 1.0, -1.0).astype(dtype)
        residuals = 2 * signs * jax.nn.sigmoid(-2 * signs * scores)
    else:
        residuals = jax.nn.one_hot(y, num_classes, dtype=dtype) - jax.nn.softmax(scores, axis=-1)
        known, counts = known[..., None], counts[..., None]
    return jnp.where(counts, jnp.where(known, residuals, jnp.nan), 0.0)
