"""Low-rank adaptation: a change of a frozen kernel as the product of two thin matrices."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike, DTypeLike

__all__ = ["LoRA", "lora_delta", "lora_init", "lora_merge"]


class LoRA(NamedTuple):
    """The factors of a change ``a @ b`` of a kernel [I, O]."""

    a: Array  # [..., I, R]
    b: Array  # [..., R, O]


def lora_init(key: Array, d_in: int, d_out: int, *, rank: int, dtype: DTypeLike = jnp.float32) -> LoRA:
    r"""Factors whose product is zero: uniform numbers into the rank, zeros out of it.

    .. math:: a_{ir} \sim U\big(-1/\sqrt I,\; 1/\sqrt I\big), \qquad b = 0

    Args:
      key: PRNG key.
      d_in: I, width of the input of the kernel [I, O], static.
      d_out: O, static.
      rank: R >= 1, static.
      dtype: of the factors.
    Returns:
      LoRA(a [I, R], b [R, O]).
    Raises:
      ValueError: a size below 1.
      TypeError: a size is not a static integer.

    >>> a, b = lora_init(jax.random.key(0), 3, 2, rank=1)
    >>> print(a.shape, b)
    (3, 1) [[0. 0.]]

    Reference: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), standard; the range is that of
    the authors' code.
    """
    d_in, d_out, rank = checks.size(d_in, "d_in"), checks.size(d_out, "d_out"), checks.size(rank, "rank")
    bound = 1 / math.sqrt(d_in)
    return LoRA(jax.random.uniform(key, (d_in, rank), dtype, -bound, bound), jnp.zeros((rank, d_out), dtype))


def lora_delta(a: ArrayLike, b: ArrayLike, *, alpha: ArrayLike | None = None, rank: ArrayLike | None = None) -> Array:
    r"""The change of a kernel that two factors stand for.

    .. math:: \Delta = \frac{\alpha}{R}\, a\, b

    Args:
      a: float [..., I, R].
      b: float [..., R, O].
      alpha: numerator of the scale; None is the rank, a scale of 1.
      rank: denominator of the scale; None is R. It may be traced, for factors of which some columns are masked.
    Returns:
      float32 or wider [..., I, O].
    Raises:
      ValueError: shapes do not agree, or a static rank <= 0.
      TypeError: a or b is not floating point.

    >>> print(lora_delta(jnp.array([[1.0], [2.0]]), jnp.array([[3.0]]), alpha=2.0))
    [[ 6.]
     [12.]]

    Reference: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), standard.
    """
    a, b = checks.floating(a, "a"), checks.floating(b, "b")
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2]:
        raise ValueError(f"a and b must have shapes [..., I, R] and [..., R, O], got {list(a.shape)}, {list(b.shape)}")
    if rank is not None:
        checks.positive(rank, "rank")
    dtype = accumulation_dtype(a, b)
    product = jnp.matmul(a.astype(dtype), b.astype(dtype), precision="highest")
    if alpha is None and rank is None:
        return product
    size = jnp.asarray(a.shape[-1] if rank is None else rank, dtype)
    return product * (size if alpha is None else jnp.asarray(alpha, dtype)) / size


def lora_merge(
    weight: ArrayLike, a: ArrayLike, b: ArrayLike, *, alpha: ArrayLike | None = None, rank: ArrayLike | None = None
) -> Array:
    r"""The kernel with its change added, so that using it costs no more than before.

    .. math:: W + \frac{\alpha}{R}\, a\, b

    Args:
      weight: float [..., I, O], frozen or not.
      a: float [..., I, R].
      b: float [..., R, O].
      alpha: see ``lora_delta``.
      rank: see ``lora_delta``.
    Returns:
      The shape and dtype of weight.
    Raises:
      ValueError: shapes do not agree, or a static rank <= 0.
      TypeError: an array is not floating point.

    >>> print(lora_merge(jnp.ones((2, 1)), jnp.array([[1.0], [2.0]]), jnp.array([[3.0]])))
    [[4.]
     [7.]]

    Reference: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), standard.
    """
    weight = checks.floating(weight, "weight")
    delta = lora_delta(a, b, alpha=alpha, rank=rank)
    checks.same_shape(weight, "weight", delta, "a @ b")
    return (weight.astype(jnp.promote_types(delta.dtype, weight.dtype)) + delta).astype(weight.dtype)
