"""How far an example stands out from its neighbours."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import knn
from jaxlab.numerics import masked_mean
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = ["local_outlier_factor"]


def local_outlier_factor(features: ArrayLike, *, k: int = 20, where: ArrayLike | None = None) -> Array:
    r"""Local outlier factor: how much denser an example's neighbours lie than itself (larger = more of an outlier).

    .. math:: LOF_k(p) = \frac1k \sum_{o \in N_k(p)} \frac{\rho_k(o)}{\rho_k(p)}, \qquad
              \rho_k(p) = \Big( \frac1k \sum_{o \in N_k(p)} \max(d_k(o), d(p, o)) \Big)^{-1}

    with d_k the distance to the k-th neighbour. About 1 inside a cluster of any density, well above it outside.

    Args:
      features: float [N, D].
      k: neighbours, itself not counted, static; at most N - 1 are taken.
      where: bool [N], True where a row counts; an example with fewer neighbours than k takes all there are.
    Returns:
      float32 or wider [N], > 0; 1 for an example without any neighbour, 0 where a row does not count.
    Raises:
      ValueError: features are not [N, D], or k < 1.
      TypeError: features are not floating point, or where is not boolean.

    >>> factors = local_outlier_factor(jnp.array([[0.0], [1.0], [2.0], [9.0]]), k=2)
    >>> print([f"{factor:.2f}" for factor in factors])
    ['0.88', '1.33', '0.88', '4.38']

    Reference: Breunig et al., "LOF: Identifying Density-Based Local Outliers" (2000). Standard; the 1e-10 beside the
    mean reachability is scikit-learn's.
    """
    x = checks.rank(checks.floating(features, "features"), "features", 2, layout="[N, D]")
    checks.size(k, "k")
    mask = checks.mask(where, "where", x.shape[:1])
    counts = jnp.ones(x.shape[0], bool) if mask is None else mask
    dtype = accumulation_dtype(x)
    x = jnp.where(counts[:, None], x, 0).astype(dtype)
    if x.shape[0] < 2:
        return jnp.where(counts, jnp.ones(x.shape[0], dtype), 0.0)
    scores, index = knn(x, x, k=min(k, x.shape[0] - 1), metric="euclidean", exclude_self=True, where=mask)
    found = (scores > -jnp.inf) & counts[:, None]

    # By differences: distances of close neighbours are what the ratio is made of.
    def lengths(pair: tuple[Array, Array]) -> Array:
        row, others = pair
        squares = jnp.sum((x[others] - row) ** 2, axis=-1)
        return safe_sqrt(squares)

    distance = jax.lax.map(lengths, (x, index), batch_size=min(256, x.shape[0]))
    farthest = jnp.max(jnp.where(found, distance, 0.0), axis=1)
    reach = jnp.maximum(farthest[index], distance)
    density = 1.0 / (masked_mean(reach, found, axis=1) + 1e-10)
    factor = masked_mean(density[index], found, axis=1) / density
    return jnp.where(counts, jnp.where(jnp.any(found, axis=1), factor, 1.0), 0.0)
