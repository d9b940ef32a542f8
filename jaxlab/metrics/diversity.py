"""How different the members of one sample are from each other."""

import math

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import cosine_similarity, pairwise_sq_dists
from jaxlab.numerics.norms import accumulation_dtype, safe_sqrt
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "effective_rank",
    "mean_pairwise_distance",
    "min_pairwise_distance",
    "renyi_entropy",
]


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
        distances = safe_sqrt(pairwise_sq_dists(wide))
    return jnp.sum(jnp.where(pairs, distances, 0.0)) / jnp.maximum(jnp.sum(pairs), 1)


def min_pairwise_distance(distances: ArrayLike, subset: ArrayLike) -> Array:
    r"""Smallest distance between two members of a subset (larger is more diverse), what max-min dispersion maximises.

    .. math:: \min_{i \neq j \in S} d_{ij}

    Args:
      distances: float [N, N], symmetric.
      subset: int [K], K >= 2, places in [0, N); a place that stands twice has the distance of a member from itself.
    Returns:
      float32 (wider if distances are) scalar; NaN for a place outside.
    Raises:
      ValueError: distances are not [N, N], or subset is not [K] with K >= 2.
      TypeError: distances are not floating point, or subset does not hold integers.

    >>> line = jnp.abs(jnp.array([0.0, 1.0, 2.0, 10.0])[:, None] - jnp.array([0.0, 1.0, 2.0, 10.0]))
    >>> print(min_pairwise_distance(line, jnp.array([3, 0, 2])))
    2.0

    Reference: standard; the objective of Alvar et al., "DivPrune: Diversity-based Visual Token Pruning for Large
    Multimodal Models" (2025).
    """
    wide = square(distances, "distances")
    places = checks.rank(checks.integer(subset, "subset"), "subset", 1, layout="[K]")
    if places.shape[0] < 2:
        raise ValueError(f"subset must hold at least 2 places, got {list(places.shape)}")
    size = wide.shape[0]
    places = jnp.where(places >= 0, places, size)  # a negative one would count from the end
    between = wide.at[places[:, None], places].get(mode="fill", fill_value=jnp.nan)
    return jnp.min(jnp.where(jnp.eye(places.shape[0], dtype=bool), jnp.inf, between))


def renyi_entropy(probs: ArrayLike, *, q: float = 1.0) -> Array:
    r"""Entropy of order q of a distribution, in nats.

    .. math:: H_1 = -\sum_i p_i \log p_i, \quad H_\infty = -\log \max_i p_i,
              \quad H_q = \frac{1}{1 - q} \log \sum_i p_i^q

    It does not increase with q: small orders count what is rare, large ones what is frequent; order 0 is the logarithm
    of the number of entries above 0.

    Args:
      probs: float [..., K], with sum 1; entries of at most 0 count as 0.
      q: the order, >= 0 or infinity, static.
    Returns:
      float32 (wider if probs are) [...]; 0 where no entry is above 0. Gradients are finite, 0 at entries of at most 0.
    Raises:
      ValueError: probs is a scalar, or q < 0.
      TypeError: probs is not floating point, or q no number.

    >>> print(renyi_entropy(jnp.array([0.5, 0.25, 0.25]), q=2).round(4))
    0.9808

    Reference: standard.
    """
    probs = checks.floating(probs, "probs")
    if probs.ndim < 1:
        raise ValueError("probs must have shape [..., K], got a scalar")
    order = entropy_order(q)
    wide = probs.astype(accumulation_dtype(probs))
    some = wide > 0
    logs = jnp.log(jnp.where(some, wide, 1.0))
    any_ = jnp.any(some, axis=-1)
    top = jnp.where(any_, jnp.max(jnp.where(some, logs, -jnp.inf), axis=-1, initial=-jnp.inf), 0.0)
    if math.isinf(order):
        return -top
    if order == 1:
        return -jnp.sum(jnp.where(some, wide * logs, 0.0), axis=-1)
    # Relative to the largest: powers of a large order would vanish.
    base = jax.lax.stop_gradient(top)
    total = jnp.sum(jnp.where(some, jnp.exp(order * (logs - base[..., None])), 0.0), axis=-1)
    return jnp.where(any_, jnp.log(jnp.where(any_, total, 1.0)) + order * base, 0.0) / (1.0 - order)


def effective_rank(x: ArrayLike, *, where: ArrayLike | None = None) -> Array:
    r"""Number of directions that a set of vectors fills: the exponential of an entropy (larger is more diverse).

    .. math:: \exp\Big(-\sum_i p_i \log p_i\Big), \quad p_i = \sigma_i / \textstyle\sum_j \sigma_j

    with the singular values of the whole array; the rows are not centred. In [1, min(N, D)].

    Args:
      x: float [N, D], a row per vector.
      where: bool [N], True where a row counts.
    Returns:
      float32 (wider if x is) scalar; 0 for an array of zeros.
    Raises:
      ValueError: x is not [N, D], or where is not [N].
      TypeError: x is not floating point, or where is not boolean.

    >>> print(effective_rank(jnp.array([[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]])).round(4))
    2.0

    Reference: Roy and Vetterli, "The effective rank: A measure of effective dimensionality" (2007). Standard.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    mask = checks.mask(where, "where", x.shape[:1])
    wide = x.astype(accumulation_dtype(x))
    wide = wide if mask is None else jnp.where(mask[:, None], wide, 0.0)
    # Not by the Gram matrix: a root of its rounding would pass for a direction.
    values = jnp.linalg.svd(wide, compute_uv=False)
    total = jnp.sum(values)
    some = total > 0
    shares = values / jnp.where(some, total, 1.0)
    return jnp.where(some, jnp.exp(renyi_entropy(shares, q=1)), 0.0)


def entropy_order(q: float) -> float:
    """The order of an entropy, checked."""
    return float(checks.at_least(q, "q", 0.0))


def square(matrix: ArrayLike, name: str) -> Array:
    """The matrix [N, N] in the dtype of its sums, checked."""
    array = checks.floating(matrix, name)
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise ValueError(f"{name} must have shape [N, N], got {list(array.shape)}")
    return array.astype(accumulation_dtype(array))
