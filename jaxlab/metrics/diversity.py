"""How different the members of one sample are from each other."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import cosine_similarity, pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["mean_pairwise_distance"]


def mean_pairwise_distance(x: ArrayLike, *, metric: str = "euclidean", where: ArrayLike | None = None) -> Array:
    r"""Mean distance between two different members of a sample (larger is more diverse).

    .. math:: \frac{1}{n(n-1)} \sum_{i \neq j} d(x_i, x_j)

    Args:
      x: float [N, D], a row per member.
      metric: "euclidean", or "cosine" for 1 - cosine.
      where: bool [N], True for the members that count.
    Returns:
      float32 (wider if x is) scalar >= 0; 0 for fewer than two members. Its gradient is finite for equal members.
    Raises:
      ValueError: x is not [N, D], an unknown metric, or where is not [N].
      TypeError: x is not floating point, or where is not boolean.

    >>> print(mean_pairwise_distance(jnp.array([[0.0], [1.0], [3.0]])))
    2.0

    Reference: standard.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    checks.one_of(metric, "metric", ("euclidean", "cosine"))
    mask = checks.mask(where, "where", x.shape[:1])
    counts = jnp.ones(x.shape[0], bool) if mask is None else mask
    wide = jnp.where(counts[:, None], x.astype(accumulation_dtype(x)), 0.0)
    pairs = counts[:, None] & counts & ~jnp.eye(x.shape[0], dtype=bool)
    if metric == "cosine":
        distances = 1.0 - cosine_similarity(wide)
    else:
        squared = jnp.maximum(pairwise_sq_dists(wide), 0.0)
        apart = squared > 0
        distances = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)
    return jnp.sum(jnp.where(pairs, distances, 0.0)) / jnp.maximum(jnp.sum(pairs), 1)
