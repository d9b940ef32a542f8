"""Several low-rank changes of one kernel, side by side."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.compress.low_rank.lora import LoRA, lora_init, lora_merge
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["grouped_lora_apply", "grouped_lora_init", "grouped_lora_merge"]


def grouped_lora_init(key: Array, weight: ArrayLike, *, num: int = 4, rank: int = 4) -> LoRA:
    r"""The factors of several changes of a kernel, each of them zero.

    .. math:: a_{nir} \sim U\big(-1/\sqrt I,\; 1/\sqrt I\big), \qquad b_n = 0

    Args:
      key: PRNG key.
      weight: float [I, O], the kernel; only its shape and dtype matter.
      num: N >= 1, static.
      rank: R of each, static.
    Returns:
      LoRA(a [N, I, R], b [N, R, O]) in the dtype of weight.
    Raises:
      ValueError: weight is not [I, O], or a size below 1.
      TypeError: weight is not floating point, or a size is not a static integer.

    >>> a, b = grouped_lora_init(jax.random.key(0), jnp.ones((6, 5)), num=3, rank=2)
    >>> print(a.shape, b.shape)
    (3, 6, 2) (3, 2, 5)

    Reference: Hu et al., "Learn to Preserve and Diversify: Parameter-Efficient Group with Orthogonal Regularization
    for Domain Generalization" (2024). Checked against the authors' code.
    """
    weight = checks.rank(checks.floating(weight, "weight"), "weight", 2, layout="[I, O]")
    keys = jax.random.split(key, checks.size(num, "num"))
    return jax.vmap(lambda key: lora_init(key, *weight.shape, rank=rank, dtype=weight.dtype))(keys)


def grouped_lora_apply(params: LoRA, weight: ArrayLike, x: ArrayLike) -> Array:
    r"""What a kernel and all its changes make of inputs, without building the changed kernel.

    .. math:: y = x W + \sum_n (x\, a_n)\, b_n

    Args:
      params: LoRA(a [N, I, R], b [N, R, O]).
      weight: float [I, O].
      x: float [..., I].
    Returns:
      [..., O] in the dtype of x; summed in float32 or wider.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> params = LoRA(jnp.ones((2, 3, 1)), jnp.ones((2, 1, 2)))
    >>> print(grouped_lora_apply(params, jnp.zeros((3, 2)), jnp.ones(3)))
    [6. 6.]

    Reference: Hu et al., "Learn to Preserve and Diversify: Parameter-Efficient Group with Orthogonal Regularization
    for Domain Generalization" (2024). Checked against the authors' code.
    """
    (a, b), weight = _flat(params, weight)
    x = checks.floating(x, "x")
    if x.ndim < 1 or x.shape[-1] != weight.shape[0]:
        raise ValueError(f"x must have shape [..., {weight.shape[0]}], got {list(x.shape)}")
    dtype = accumulation_dtype(a, b, weight, x)
    a, b, kernel, wide = (value.astype(dtype) for value in (a, b, weight, x))
    return (wide @ kernel + (wide @ a) @ b).astype(x.dtype)


def grouped_lora_merge(params: LoRA, weight: ArrayLike) -> Array:
    r"""The kernel with all its changes added, so that using it costs no more than before.

    .. math:: W + \sum_n a_n b_n

    N changes of rank R are one of rank N R, so this is ``lora_merge`` of the factors side by side, without its scale.

    Args:
      params: LoRA(a [N, I, R], b [N, R, O]).
      weight: float [I, O].
    Returns:
      [I, O] in the dtype of weight.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> print(grouped_lora_merge(LoRA(jnp.ones((2, 3, 1)), jnp.ones((2, 1, 2))), jnp.zeros((3, 2))))
    [[2. 2.]
     [2. 2.]
     [2. 2.]]

    Reference: Hu et al., "Learn to Preserve and Diversify: Parameter-Efficient Group with Orthogonal Regularization
    for Domain Generalization" (2024). Checked against the authors' code.
    """
    (a, b), weight = _flat(params, weight)
    return lora_merge(weight, a, b)


def _flat(params: LoRA, weight: ArrayLike) -> tuple[LoRA, Array]:
    """N changes of rank R as one of rank N R, which is the same."""
    weight = checks.rank(checks.floating(weight, "weight"), "weight", 2, layout="[I, O]")
    a, b = (
        checks.rank(checks.floating(value, name), name, 3) for value, name in zip(params, LoRA._fields, strict=True)
    )
    (num, d_in, rank), d_out = a.shape, b.shape[-1]
    if b.shape[:2] != (num, rank) or weight.shape != (d_in, d_out):
        raise ValueError(
            f"params must hold a [N, {weight.shape[0]}, R] and b [N, R, {weight.shape[1]}], got {a.shape} and {b.shape}"
        )
    return LoRA(jnp.moveaxis(a, 0, 1).reshape(d_in, num * rank), b.reshape(num * rank, d_out)), weight
