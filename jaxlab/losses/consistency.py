"""Transformations of an example as part of its label: one head tells the class and what was done to the input.

Layout: axis -2 of the logits counts the M transformations of an example (``vision.rotations`` makes them, the identity
first), axis -1 the K M joint classes, of which y M + i is class y under transformation i. A network that takes flat
batches sees ``x.reshape(-1, ...)`` and gives ``logits.reshape(batch, M, -1)``.
"""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["aggregate_joint_logits", "joint_labels", "sla"]


def joint_labels(labels: ArrayLike, num_transforms: int) -> Array:
    r"""Labels of every transformation of every example.

    .. math:: j_i = y M + i, \quad i = 0, \dots, M - 1

    Args:
      labels: int [...].
      num_transforms: M, static.
    Returns:
      int32 or wider [..., M]; -1 for labels that are negative, or so large that their joint label is no int32.
    Raises:
      ValueError: num_transforms < 1.
      TypeError: labels are not integers, or num_transforms is no static integer.

    >>> print(joint_labels(jnp.array([0, 2]), 4))
    [[ 0  1  2  3]
     [ 8  9 10 11]]

    Reference: Lee et al., "Self-supervised Label Augmentation via Input Transformations" (2020). Checked against the
    authors' code.
    """
    labels = checks.integer(labels, "labels")
    num_transforms = checks.size(num_transforms, "num_transforms")
    known = (labels >= 0) & (labels < jnp.iinfo(labels.dtype).max // num_transforms)
    first = jnp.where(known, labels, 0)[..., None] * num_transforms
    return jnp.where(known[..., None], first + jnp.arange(num_transforms, dtype=labels.dtype), -1)


def aggregate_joint_logits(logits: ArrayLike) -> Array:
    r"""Class logits from the joint logits of all transformations of an example.

    .. math:: s_y = \frac1M \sum_i z_{i,\, y M + i}

    Each transformed input is asked only about its own transformation. ``logits[..., 0, ::M]`` are the logits of the
    input as it is, at a single forward pass.

    Args:
      logits: float [..., M, K M].
    Returns:
      float32 (wider if logits are) [..., K].
    Raises:
      ValueError: the last axis is no multiple of the one before.
      TypeError: logits are not floating point.

    >>> print(aggregate_joint_logits(jnp.array([[1.0, 9.0, 2.0, 9.0], [9.0, 3.0, 9.0, 6.0]])))
    [2. 4.]

    Reference: Lee et al., "Self-supervised Label Augmentation via Input Transformations" (2020). Checked against the
    authors' code.
    """
    logits = _joint(logits)
    *batch, num_transforms, joint = logits.shape
    blocks = logits.reshape(*batch, num_transforms, joint // num_transforms, num_transforms)
    own = jnp.diagonal(blocks, axis1=-3, axis2=-1)  # [..., K, M]
    return jnp.mean(own.astype(accumulation_dtype(own)), axis=-1)


def sla(logits: ArrayLike, labels: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Self-supervised label augmentation: cross entropy of class and transformation (per example; larger is worse).

    .. math:: \ell = -\frac1M \sum_{i=0}^{M-1} \log \mathrm{softmax}(z_i)_{y M + i}

    No invariance is asked for, so transformations that change the class (a 6 turned over is a 9) do no harm. The
    authors' option for large losses multiplies by M.

    Args:
      logits: float [..., M, K M].
      labels: int [...], in [0, K); outside gives NaN for that example.
      where: bool [...], True where an example counts; the others give 0 and no gradient.
    Returns:
      float32 (wider if logits are) [...], >= 0.
    Raises:
      ValueError: shapes do not agree, or the last axis is no multiple of the one before.
      TypeError: logits are not floating point, labels not integers, or where is not boolean.

    >>> print(sla(jnp.zeros((4, 12)), jnp.array(2)).round(4))  # log 12
    2.4849

    Reference: Lee et al., "Self-supervised Label Augmentation via Input Transformations" (2020). Checked against the
    authors' code.
    """
    logits, labels = _joint(logits), checks.integer(labels, "labels")
    if labels.shape != logits.shape[:-2]:
        raise ValueError(f"labels must have shape {list(logits.shape[:-2])} to match logits, got {list(labels.shape)}")
    mask = checks.mask(where, "where", labels.shape)
    num_transforms, joint = logits.shape[-2:]
    wide = logits.astype(accumulation_dtype(logits))
    if mask is not None:
        wide = jnp.where(mask[..., None, None], wide, 0.0)
    known = (labels >= 0) & (labels < joint // num_transforms)
    wanted = joint_labels(jnp.where(known, labels, 0), num_transforms)
    own = jnp.take_along_axis(wide, wanted[..., None], axis=-1)[..., 0]
    losses = jnp.where(known, jnp.mean(jax.nn.logsumexp(wide, axis=-1) - own, axis=-1), jnp.nan)
    return losses if mask is None else jnp.where(mask, losses, 0.0)


def _joint(logits: ArrayLike) -> Array:
    logits = checks.floating(logits, "logits")
    if logits.ndim < 2 or 0 in logits.shape[-2:] or logits.shape[-1] % logits.shape[-2]:
        raise ValueError(f"logits must have shape [..., M, K M], got {list(logits.shape)}")
    return logits
