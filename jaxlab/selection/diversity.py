"""Choices and orders by the distances among all examples."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["greedy_nearest_order"]


def greedy_nearest_order(params: ArrayLike, *, start: ArrayLike = 0) -> Array:
    r"""An order in which every example is followed by the nearest of those that are left.

    .. math:: \pi_1 = s, \quad \pi_{t+1} = \arg\min_{j \notin \{\pi_1, \dots, \pi_t\}} \|P_{\pi_t} - P_j\|_F

    One pass over all examples per step, in memory for one row of distances. The order is greedy, not shortest: late
    steps can be long. Sets of many thousands are best cut into groups of neighbours first.

    Args:
      params: float [N, ...], what the distances are taken of; N >= 1.
      start: int, index of the first example, in [0, N); clipped to it.
    Returns:
      int32 [N], a permutation; of equal distances the lower index, and an example that holds NaN comes last.
    Raises:
      ValueError: params has no axis or is empty, or start is no scalar.
      TypeError: params is not floating point, or start not an integer.

    >>> print(greedy_nearest_order(jnp.array([[0.0], [5.0], [1.0], [4.0]])))
    [0 2 3 1]

    Reference: Wang et al., "Accelerating Data Generation for Neural Operators via Krylov Subspace Recycling" (2024),
    paper text (Algorithm 1, without its grouping by a space-filling curve).
    """
    params = checks.floating(params, "params")
    if params.ndim < 1 or params.size == 0:
        raise ValueError(f"params must have shape [N, ...] and not be empty, got {list(params.shape)}")
    start = checks.rank(checks.integer(start, "start"), "start", 0, layout="[]").astype(jnp.int32)
    count = params.shape[0]
    rows = params.reshape(count, -1).astype(accumulation_dtype(params))

    def step(at: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        order, left = carry
        distance = jnp.sum((rows - rows[order[at - 1]]) ** 2, axis=1)
        # What is not a number is far, and what is taken farther still.
        far = jnp.finfo(rows.dtype).max
        nearest = jnp.argmin(jnp.where(left, jnp.nan_to_num(distance, nan=far, posinf=far), jnp.inf))
        return order.at[at].set(nearest.astype(jnp.int32)), left.at[nearest].set(False)

    first = jnp.clip(start, 0, count - 1)
    begin = jnp.zeros(count, jnp.int32).at[0].set(first), jnp.ones(count, bool).at[first].set(False)
    order, _ = jax.lax.fori_loop(1, count, step, begin)
    return order
