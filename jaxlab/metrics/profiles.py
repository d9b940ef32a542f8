"""Many methods at once: who is beaten by nobody."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["pareto_front"]


def pareto_front(cost: ArrayLike, score: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Which of several points no other one beats in both cost (smaller) and score (larger).

    .. math:: i \text{ is out} \iff \exists j:\; c_j \le c_i,\; s_j \ge s_i,\; (c_j, s_j) \ne (c_i, s_i)

    Only the order of costs and of scores matters: the front is the same after any increasing map of either.

    Args:
      cost: float [M], smaller is better.
      score: float [M], larger is better.
      where: bool [M], True where a point counts.
    Returns:
      bool [M], True on the front; of equal points all or none are. A point with a NaN is never on it and beats nobody.
    Raises:
      ValueError: cost, score and where are not all [M].
      TypeError: cost or score is not floating point.

    >>> print(pareto_front(jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 0.4, 0.9])))
    [ True False  True]

    Reference: the accuracy-compute plane of Bornschein et al., "NEVIS'22: A Stream of 100 Tasks Sampled from 30 Years
    of Computer Vision Research" (2023), standard.
    """
    cost = checks.rank(checks.floating(cost, "cost"), "cost", 1, layout="[M]")
    score = checks.floating(score, "score")
    checks.same_shape(cost, "cost", score, "score")
    mask = checks.mask(where, "where", cost.shape)
    real = ~jnp.isnan(cost) & ~jnp.isnan(score)
    real = real if mask is None else real & mask
    no_worse = (cost[:, None] <= cost) & (score[:, None] >= score)
    better = (cost[:, None] < cost) | (score[:, None] > score)
    return real & ~jnp.any(no_worse & better & real[:, None], axis=0)
