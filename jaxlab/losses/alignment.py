"""Losses that bring features to the direction of others."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.losses.embedding import clip_directional
from jaxlab.numerics import masked_mean
from jaxlab.typing import Array, ArrayLike

__all__ = ["feature_alignment"]


def feature_alignment(features: ArrayLike, targets: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""One minus the cosine of features and targets, averaged over tokens (per example; larger is worse).

    .. math:: \ell_b = 1 - \frac{1}{N} \sum_{n=1}^{N} \frac{\langle h_{bn}, z_{bn} \rangle}{\|h_{bn}\|\,\|z_{bn}\|}

    It is ``clip_directional`` of every token, averaged over the tokens of an example. Representation alignment
    minimises this minus 1, the negative cosine, with the weight 0.5 beside its own loss.

    Args:
      features: float [B, ..., D], the tokens of a network (after its projector), or one vector per example [B, D].
      targets: float, same shape: features of a frozen encoder; they pass no gradient.
      where: bool [B] or [B, ...] (all axes but D), True where an example, or a token, counts.
    Returns:
      float32 or wider [B] in [0, 2]; 0 where nothing counts. A zero vector has cosine 0 and no gradient.
    Raises:
      ValueError: shapes differ or have fewer than two axes, or where has another shape.
      TypeError: features or targets are not floating point, or where is not boolean.

    >>> print(feature_alignment(jnp.array([[[3.0, 0.0], [1.0, 1.0]]]), jnp.array([[[1.0, 0.0], [1.0, -1.0]]])))
    [0.5]

    Reference: Yu et al., "Representation Alignment for Generation: Training Diffusion Transformers Is Easier Than You
    Think" (2024); formula checked against the authors' code, which leaves the 1 out.
    """
    features, targets = checks.floating(features, "features"), checks.floating(targets, "targets")
    checks.same_shape(features, "features", targets, "targets")
    if features.ndim < 2:
        raise ValueError(f"features must have shape [B, ..., D], got {list(features.shape)}")
    tokens = features.shape[:-1]
    if where is None:
        counts = jnp.ones(tokens, bool)
    else:
        checked = checks.mask(where, "where", tokens if jnp.ndim(where) > 1 else tokens[:1])
        assert checked is not None
        counts = jnp.broadcast_to(checked.reshape(checked.shape + (1,) * (len(tokens) - checked.ndim)), tokens)
    gap = clip_directional(features, targets, where=counts)
    return masked_mean(gap, counts, axis=tuple(range(1, gap.ndim)))
