"""What the connected components of a point cloud say about its clusters."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import minimum_spanning_tree
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["PersistenceStatistics", "h0_deaths", "persistence_statistics"]


class PersistenceStatistics(NamedTuple):
    """Numbers that move as clusters separate; none of them knows a label."""

    mean_death: Array  # of the scaled deaths; falls as clusters tighten
    entropy: Array  # of the deaths as shares of their sum, in nats; falls
    largest_gap: Array  # between neighbouring scaled deaths; rises
    gap_to_median: Array  # the largest death over the median one; rises
    gap_at_k: Array  # the (K-1)-th largest death over the next; rises, if K clusters are there


def h0_deaths(distances: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Distances at which the components of a growing neighbourhood graph merge (0-dimensional persistence).

    .. math:: t_1 \le \dots \le t_{N-1}, \quad \text{the edge lengths of a minimum spanning tree}

    Every point is a component at distance 0; each merge ends one. They are the merge heights of single linkage. In many
    dimensions distances are nearly equal: reduce and normalise embeddings before.

    Args:
      distances: float [N, N], symmetric; infinity or NaN where points are never joined.
      where: bool [N], True where a point counts.
    Returns:
      float32 (wider if distances are) [N - 1], rising; infinity at the end for components that never merge and for
      points that do not count. The gradient is that of the chosen distances.
    Raises:
      ValueError: distances are not square, or where is not [N].
      TypeError: distances are not floating point, or where is not boolean.

    >>> points = jnp.array([0.0, 1.0, 9.0])
    >>> print(h0_deaths(jnp.abs(points[:, None] - points)))
    [1. 8.]

    Reference: standard; used by Ghalyan et al., "An Unsupervised Method for Estimating Class Separability of Datasets
    with Application to LLMs Fine-Tuning" (2023).
    """
    tree = minimum_spanning_tree(distances, where=where)
    joined = tree.parent != jnp.arange(tree.parent.shape[0])
    return jnp.sort(jnp.where(joined, tree.length, jnp.inf))[:-1]


def persistence_statistics(deaths: ArrayLike, *, quantile: float = 1.0, num_classes: int = 2) -> PersistenceStatistics:
    r"""Measures of how many components die late (their first lines say which way is better separated).

    .. math:: \bar t = \operatorname{mean}_i \tau_i, \quad -\sum_i p_i \log p_i, \quad \max_i (\tau_{i+1} - \tau_i),
              \quad \frac{t_n}{\operatorname{median} t}, \quad \frac{t_{n-K+2}}{t_{n-K+1}}

    for n deaths, with :math:`\tau_i = \min(1, t_i / t_q)`, scaled by a quantile of the deaths, and
    :math:`p_i = t_i / \sum_j t_j`. None changes with the scale of the distances.

    Args:
      deaths: float [M], rising, >= 0, of ``h0_deaths``; what is not finite is left out.
      quantile: q in (0, 1], static; the largest death is that of an outlier where there is one, a quantile below 1 is
        not.
      num_classes: K >= 2, how many clusters are looked for by the last measure, static.
    Returns:
      PersistenceStatistics, float32 or wider scalars; 0 where a measure needs more deaths or all are 0, and ratios to a
      death of 0 are 0.
    Raises:
      ValueError: deaths are not [M], quantile outside (0, 1], or num_classes < 2.
      TypeError: deaths are not floating point.

    >>> print(persistence_statistics(jnp.array([1.0, 1.0, 1.0, 4.0])).largest_gap)
    0.75

    Reference: Ghalyan et al., "An Unsupervised Method for Estimating Class Separability of Datasets with Application to
    LLMs Fine-Tuning" (2023). Inferred: the abstract names the idea, not the measure.
    """
    deaths = checks.rank(checks.floating(deaths, "deaths"), "deaths", 1, layout="[M]")
    checks.in_range(quantile, "quantile", 0.0, 1.0)
    checks.positive(quantile, "quantile")
    checks.size(num_classes, "num_classes", 2)
    dtype = accumulation_dtype(deaths)
    finite = jnp.isfinite(deaths)
    ordered = jnp.sort(jnp.where(finite, deaths.astype(dtype), jnp.inf))
    counts = jnp.isfinite(ordered)
    times, num = jnp.where(counts, ordered, 0.0), jnp.sum(counts)

    def at(place: Array) -> Array:
        """The death of that place, 0 where there is none."""
        inside = (place >= 0) & (place < num)
        return jnp.sum(jnp.where(inside & (jnp.arange(times.shape[0]) == place), times, 0.0))

    def ratio(a: Array, b: Array) -> Array:
        return jnp.where(b > 0, a / jnp.where(b > 0, b, 1.0), 0.0)

    # A share that makes a whole number must not be rounded above it.
    scale = at(jnp.ceil(quantile * num - 1e-4).astype(jnp.int32) - 1)
    scaled = jnp.minimum(ratio(times, scale), 1.0)
    neighbours = counts[1:]
    gap = jnp.max(jnp.where(neighbours, scaled[1:] - scaled[:-1], 0.0), initial=0.0)
    shares = ratio(times, jnp.sum(times))
    safe = jnp.where(shares > 0, shares, 1.0)
    median = 0.5 * (at((num - 1) // 2) + at(num // 2))
    return PersistenceStatistics(
        mean_death=jnp.sum(scaled) / jnp.maximum(num, 1),
        entropy=-jnp.sum(safe * jnp.log(safe) * (shares > 0)),
        largest_gap=gap,
        gap_to_median=ratio(at(num - 1), median),
        gap_at_k=ratio(at(num - num_classes + 1), at(num - num_classes)),
    )
