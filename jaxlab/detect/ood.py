"""Out-of-distribution scores of a classifier's outputs; LARGER means more like the training distribution."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["energy", "max_logit", "max_softmax"]


def _existing(logits: ArrayLike, class_where: ArrayLike | None) -> tuple[Array, Array]:
    """Logits with -inf at classes that do not exist, and whether any does; where none does, all logits are 0."""
    logits = checks.floating(logits, "logits")
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits must have shape [..., C] with C >= 1, got {list(logits.shape)}")
    wide = logits.astype(accumulation_dtype(logits))
    if class_where is None:
        return wide, jnp.ones(logits.shape[:-1], bool)
    shape = logits.shape if jnp.ndim(class_where) != 1 else logits.shape[-1:]
    exists = jnp.broadcast_to(jnp.asarray(checks.mask(class_where, "class_where", shape)), logits.shape)
    some = jnp.any(exists, axis=-1)
    return jnp.where(some[..., None], jnp.where(exists, wide, -jnp.inf), 0.0), some


def max_softmax(logits: ArrayLike, *, class_where: ArrayLike | None = None) -> Array:
    r"""Largest softmax probability (larger = more in-distribution).

    .. math:: \max_k \frac{e^{z_k}}{\sum_j e^{z_j}}

    Args:
      logits: float [..., C].
      class_where: bool [C] or [..., C], True where a class exists; the others are left out of the sum.
    Returns:
      float32 (wider if logits are) [...] in [1/C, 1]; 0 where no class exists.
    Raises:
      ValueError: logits have no class, or class_where another shape.
      TypeError: logits are not floating point, or class_where is not boolean.

    >>> print(max_softmax(jnp.array([0.0, 0.0])))
    0.5

    Reference: the baseline of Vaze et al., "Open-Set Recognition: a Good Closed-Set Classifier is All You Need?"
    (2022); standard.
    """
    clean, some = _existing(logits, class_where)
    return jnp.where(some, jnp.exp(jnp.max(clean, axis=-1) - jax.nn.logsumexp(clean, axis=-1)), 0.0)


def max_logit(logits: ArrayLike, *, class_where: ArrayLike | None = None) -> Array:
    r"""Largest logit (larger = more in-distribution).

    .. math:: \max_k z_k

    Unlike the largest probability it keeps the length of the features, which is smaller on unknown classes.

    Args:
      logits: float [..., C].
      class_where: bool [C] or [..., C], True where a class exists.
    Returns:
      float32 (wider if logits are) [...]; 0 where no class exists.
    Raises:
      ValueError: logits have no class, or class_where another shape.
      TypeError: logits are not floating point, or class_where is not boolean.

    >>> print(max_logit(jnp.array([3.0, 5.0]), class_where=jnp.array([True, False])))
    3.0

    Reference: Vaze et al., "Open-Set Recognition: a Good Closed-Set Classifier is All You Need?" (2022); standard.
    """
    clean, some = _existing(logits, class_where)
    return jnp.where(some, jnp.max(clean, axis=-1), 0.0)


def energy(logits: ArrayLike, *, class_where: ArrayLike | None = None) -> Array:
    r"""Negative free energy of the logits (larger = more in-distribution).

    .. math:: \log \sum_k e^{z_k}

    Args:
      logits: float [..., C].
      class_where: bool [C] or [..., C], True where a class exists.
    Returns:
      float32 (wider if logits are) [...]; 0 where no class exists.
    Raises:
      ValueError: logits have no class, or class_where another shape.
      TypeError: logits are not floating point, or class_where is not boolean.

    >>> print(energy(jnp.zeros(2)))
    0.6931472

    Reference: standard (at temperature 1; the published energy is its negative).
    """
    clean, some = _existing(logits, class_where)
    return jnp.where(some, jax.nn.logsumexp(clean, axis=-1), 0.0)
