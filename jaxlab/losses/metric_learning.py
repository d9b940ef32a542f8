"""Losses on how well inputs match templates, each of which stands for a class."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["template_margin"]


def template_margin(
    scores: ArrayLike,
    template_labels: ArrayLike,
    labels: ArrayLike,
    *,
    margin: ArrayLike = 0.3,
    similarity: bool = True,
    where: ArrayLike | None = None,
) -> Array:
    r"""Margin between the best template of another class and the best of the own (per example; larger is worse).

    .. math:: \ell = \max\big(0,\; \max_{m:\, t_m \ne y} s_m - \max_{m:\, t_m = y} s_m + \mu\big)

    For distances (``similarity=False``) s is minus the distance. The authors' code finds the best wrong template by
    subtracting 1 from the right ones, which is the same for scores in [0, 1] only; here they are masked.

    Args:
      scores: float [..., M], one per template: class probabilities, similarities or distances.
      template_labels: int [M], the class of every template.
      labels: int [...]; a class without a template gives NaN for that example.
      margin: mu, a float or an array that broadcasts to [...].
      similarity: static; True where a larger score is a better match, False for distances.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if scores are) [...], >= 0; 0 where every template is of the example's class.
    Raises:
      ValueError: shapes do not agree, or there is no template.
      TypeError: labels are not integers, or scores not floating point.

    >>> print(template_margin(jnp.array([0.75, 0.5, 0.0]), jnp.array([0, 1, 1]), jnp.array(0), margin=0.5))
    0.25

    Reference: Saralajew et al., "A Robust Prototype-Based Network with Interpretable RBF Classifier Foundations"
    (2025). Checked against the authors' code.
    """
    scores, labels = checks.floating(scores, "scores"), checks.integer(labels, "labels")
    templates = checks.rank(checks.integer(template_labels, "template_labels"), "template_labels", 1, layout="[M]")
    if templates.shape[0] == 0:
        raise ValueError("template_labels must name at least one template, got none")
    if scores.shape != (*labels.shape, templates.shape[0]):
        raise ValueError(f"scores must have shape {[*labels.shape, templates.shape[0]]}, got {list(scores.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    counts = jnp.ones(labels.shape, bool) if mask is None else mask
    clean = jnp.where(counts[..., None], scores.astype(accumulation_dtype(scores)), 0.0)
    clean = clean if similarity else -clean
    own = templates == labels[..., None]
    known = jnp.any(own, axis=-1)
    right = jnp.max(clean, axis=-1, where=own, initial=-jnp.inf)
    wrong = jnp.max(clean, axis=-1, where=~own, initial=-jnp.inf)
    losses = jnp.maximum(0.0, wrong - right + jnp.asarray(margin, clean.dtype))
    return jnp.where(counts, jnp.where(known, losses, jnp.nan), 0.0)
