"""Labels that lie: matrices of how they do, and drawing from them."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["corrupt_labels", "transition_uniform"]


def transition_uniform(num_classes: int, *, rate: ArrayLike = 1.0) -> Array:
    r"""Labels that are wrong at one rate, every wrong class as likely as any other (symmetric noise).

    .. math:: T_{cc} = 1 - \rho, \qquad T_{ct} = \frac{\rho}{C - 1} \text{ for } t \ne c

    Args:
      num_classes: C >= 2, static.
      rate: rho in [0, 1], how often a label is wrong; 1 leaves no label right, as in relabelling to unlearn. The other
        convention, in which a redrawn label may be right by chance, is ``rate * (C - 1) / C`` here.
    Returns:
      float32 [C, C], rows sum to 1.
    Raises:
      ValueError: num_classes < 2, or a static rate outside [0, 1].
      TypeError: num_classes is not a static integer.

    >>> print(transition_uniform(3, rate=0.5))
    [[0.5  0.25 0.25]
     [0.25 0.5  0.25]
     [0.25 0.25 0.5 ]]

    Reference: standard.
    """
    checks.size(num_classes, "num_classes", 2)
    checks.in_range(rate, "rate", 0.0, 1.0)
    wrong = jnp.asarray(rate, jnp.float32)
    same = jnp.eye(num_classes, dtype=bool)
    return jnp.where(same, 1.0 - wrong, wrong / (num_classes - 1))


def corrupt_labels(key: Array, labels: ArrayLike, transition: ArrayLike) -> Array:
    r"""Noisy labels: each drawn from the row of its class.

    .. math:: P(\tilde y = t \mid y = c) = T_{ct}

    Args:
      key: typed PRNG key.
      labels: int [...]; a label outside [0, C) stays as it is.
      transition: float [C, C], >= 0, rows sum to 1, such as ``transition_uniform``.
    Returns:
      int32 (wider if labels are) [...].
    Raises:
      ValueError: transition is not square.
      TypeError: labels are not integers, or transition is not floating point.

    >>> print(corrupt_labels(jax.random.key(0), jnp.array([0, 1, -1]), transition_uniform(2)))
    [ 1  0 -1]

    Reference: standard.
    """
    labels, table = checks.integer(labels, "labels"), checks.floating(transition, "transition")
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError(f"transition must have shape [C, C], got {list(table.shape)}")
    known = (labels >= 0) & (labels < table.shape[0])
    logits = jnp.log(table.astype(jnp.promote_types(table.dtype, jnp.float32)))
    drawn = jax.random.categorical(key, logits[jnp.where(known, labels, 0)])
    return jnp.where(known, drawn.astype(labels.dtype), labels)
