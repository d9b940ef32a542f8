"""Choices and orders by the distances among all examples."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.numerics import normalize
from jaxlab.numerics.linear import self_product
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["FarthestPoints", "KeptTokens", "divprune_tokens", "farthest_point", "greedy_nearest_order"]

BLOCK = 256  # rows whose nearest neighbours are sought at a time


class FarthestPoints(NamedTuple):
    """Places [K] in the order of choice; where nothing was left, ``valid`` is False and the place is N.

    ``radius`` is the largest distance of a member from the nearest one chosen.
    """

    index: Array  # type: ignore[assignment]
    valid: Array
    radius: Array


class KeptTokens(NamedTuple):
    """Tokens [..., K, D] in their old order, and their places [..., K].

    Where nothing was left, ``valid`` is False, the place is M and the token 0; those come last.
    """

    tokens: Array
    index: Array  # type: ignore[assignment]
    valid: Array


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


def farthest_point(
    x: ArrayLike,
    *,
    k: int,
    first: str | ArrayLike = "farthest_nearest",
    metric: str = "euclidean",
    where: ArrayLike | None = None,
) -> FarthestPoints:
    r"""A subset spread out as far as greedy choice gets it: always the member farthest from those chosen so far.

    .. math:: s_{t+1} = \arg\max_{j \notin S_t} \min_{i \in S_t} d_{ij}

    A smaller k chooses the beginning of what a larger one does. Where d is a metric, the smallest distance within the
    subset is at least half of the largest possible, and the radius at most twice the smallest possible. 1 - cosine is
    none; the Euclidean distance of unit vectors is, and chooses the same. Every step reads one row of distances and
    keeps the running minimum: "euclidean" and "cosine" compute the row by one pass over x, "precomputed" takes it from
    the matrix. The first choice by nearest neighbours needs all distances once, in blocks.

    Args:
      x: float [N, D], a row per member, or distances [N, N] for "precomputed".
      k: how many, static, in [1, N].
      first: "farthest_nearest" begins with the member whose nearest neighbour is farthest; an int in [0, N) (clipped to
        it) with the member of that place, counted or not.
      metric: "euclidean", "cosine" for 1 - cosine, or "precomputed", static.
      where: bool [N], True for the members that may be chosen.
    Returns:
      FarthestPoints, without gradient. Of equal distances the lower place; a distance that is NaN counts as 0, so rows
      that hold NaN come last. A zero row has the cosine distance 1 from every other.
    Raises:
      ValueError: x is not [N, D] (or [N, N]), k is not in [1, N], an unknown metric or first, or where is not [N].
      TypeError: x is not floating point, first is no integer, or where is not boolean.

    >>> print(farthest_point(jnp.array([[0.0], [1.0], [2.0], [10.0]]), k=3).index)
    [3 0 2]

    Reference: Gonzalez, "Clustering to minimize the maximum intercluster distance" (1985), standard; the first choice
    as Alvar et al., "DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models" (2025), checked
    against the authors' code, which takes the minimum over the whole subset in every step.
    """
    x = checks.rank(checks.floating(x, "x"), "x", 2, layout="[N, D]")
    checks.one_of(metric, "metric", ("euclidean", "cosine", "precomputed"))
    size = x.shape[0]
    if metric == "precomputed" and x.shape[1] != size:
        raise ValueError(f"x must have shape [N, N] for precomputed distances, got {list(x.shape)}")
    if checks.size(k, "k") > size:
        raise ValueError(f"k must be at most N = {size}, got {k}")
    mask = checks.mask(where, "where", (size,))
    counts = jnp.ones(size, bool) if mask is None else mask
    wide = jax.lax.stop_gradient(x.astype(accumulation_dtype(x)))
    if metric != "precomputed":
        wide = jnp.where(counts[:, None], wide, 0.0)
        wide = normalize(wide) if metric == "cosine" else wide
    row = _rows_of_distances(wide, metric)
    if isinstance(first, str):
        checks.one_of(first, "first", ("farthest_nearest",))
        start = _farthest_nearest(wide, metric, counts)
        begins = jnp.any(counts)
    else:
        start = checks.rank(checks.integer(first, "first"), "first", 0, layout="[]")
        start, begins = jnp.clip(start, 0, size - 1), jnp.ones((), bool)
    index, nearest, left = _greedy(row, start.astype(jnp.int32), begins, counts, k)
    radius = jnp.max(jnp.where(left, nearest, 0.0))
    radius = jnp.sqrt(radius) if metric == "euclidean" else radius
    return FarthestPoints(index, index < size, jnp.where(begins, radius, 0.0))


def _rows_of_distances(x: Array, metric: str) -> Callable[[Array], Array]:
    """Distances of all members [N] from one; squared for "euclidean"."""
    if metric == "precomputed":
        distances = lambda at: x[at]  # noqa: E731
    elif metric == "cosine":
        distances = lambda at: 1.0 - jnp.matmul(x, x[at], precision="highest")  # noqa: E731
    else:
        distances = lambda at: jnp.sum((x - x[at]) ** 2, axis=1)  # noqa: E731
    return lambda at: jnp.maximum(jnp.nan_to_num(distances(at), nan=0.0, posinf=jnp.inf), 0.0)


def _farthest_nearest(x: Array, metric: str, counts: Array) -> Array:
    """The member whose nearest neighbour is farthest. A block of rows against all is one matrix product."""
    others = jnp.arange(x.shape[0])

    def nearest(at: Array) -> Array:
        one = x[at][None]
        if metric == "precomputed":
            distances = one[0]
        elif metric == "cosine":
            distances = 1.0 - jnp.matmul(one, x.T, precision="highest")[0]
        else:
            distances = pairwise_sq_dists(one, x)[0]
        distances = jnp.nan_to_num(distances, nan=0.0, posinf=jnp.inf)
        return jnp.min(jnp.where(counts & (others != at), distances, jnp.inf))

    found = jax.lax.map(nearest, others, batch_size=min(BLOCK, x.shape[0]))
    return jnp.argmax(jnp.where(counts, found, -jnp.inf))


def _greedy(
    row: Callable[[Array], Array], start: Array, begins: Array, counts: Array, k: int
) -> tuple[Array, Array, Array]:
    """Places [k], the distances of all members from the nearest chosen, and which members are left."""
    size = counts.shape[0]

    def step(at: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        index, nearest, left = carry
        chosen = jnp.argmax(jnp.where(left, nearest, -jnp.inf)).astype(jnp.int32)
        index = index.at[at].set(jnp.where(left[chosen], chosen, size))
        return index, jnp.minimum(nearest, row(chosen)), left.at[chosen].set(False)

    index = jnp.full(k, size, jnp.int32).at[0].set(jnp.where(begins, start, size))
    return jax.lax.fori_loop(1, k, step, (index, row(start), counts.at[start].set(False)))


def divprune_tokens(tokens: ArrayLike, *, keep: int, where: ArrayLike | None = None) -> KeptTokens:
    r"""The tokens of a sequence that differ most, in their old order; no scores, no training.

    .. math:: S = \text{greedy} \arg\max_{|S| = K} \min_{i \neq j \in S} 1 - \cos(e_i, e_j)

    All pairs are compared once, in memory for M x M numbers; ``farthest_point`` needs less and is slower for many.

    Args:
      tokens: float [..., M, D], embeddings before the model that is to read them.
      keep: how many, static, in [1, M]; published: ``round(0.098 * M)``.
      where: bool [..., M], True for real tokens.
    Returns:
      KeptTokens in the dtype of the tokens. Of equal tokens one is kept while others are left. Gradients pass to the
      tokens kept.
    Raises:
      ValueError: tokens have fewer than two axes, keep is not in [1, M], or where is not [..., M].
      TypeError: tokens are not floating point, or where is not boolean.

    >>> kept = divprune_tokens(jnp.array([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]), keep=2)
    >>> print(kept.index)
    [0 2]

    Reference: Alvar et al., "DivPrune: Diversity-based Visual Token Pruning for Large Multimodal Models" (2025).
    Checked against the authors' code, which gives NaN for a zero token (here at distance 1 from all) and, with fewer
    different tokens than places, the first one again and again.
    """
    tokens = checks.floating(tokens, "tokens")
    if tokens.ndim < 2:
        raise ValueError(f"tokens must have shape [..., M, D], got {list(tokens.shape)}")
    size = tokens.shape[-2]
    if checks.size(keep, "keep") > size:
        raise ValueError(f"keep must be at most M = {size}, got {keep}")
    mask = checks.mask(where, "where", tokens.shape[:-1])
    counts = jnp.ones(tokens.shape[:-1], bool) if mask is None else mask
    rows = jnp.where(counts[..., None], tokens, 0)

    def one(rows: Array, counts: Array) -> KeptTokens:
        # The loop must not multiply again what this product has compared.
        unit = normalize(jax.lax.stop_gradient(rows).astype(accumulation_dtype(rows)))
        distances = jnp.maximum(1.0 - self_product(unit.T), 0.0)
        index = jnp.sort(farthest_point(distances, k=keep, metric="precomputed", where=counts).index)
        return KeptTokens(rows.at[index].get(mode="fill", fill_value=0), index, index < size)

    for _ in range(tokens.ndim - 2):
        one = jax.vmap(one)
    return one(rows, counts)
