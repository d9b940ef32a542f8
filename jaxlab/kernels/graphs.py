"""Trees that span a set of points."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["SpanningTree", "minimum_spanning_tree"]


class SpanningTree(NamedTuple):
    """A tree as one edge per node, which leads towards the root.

    parent: int32 [N], the node at the other end; the root is the first node that counts, and it is its own parent.
    length: [N], the length of that edge; 0 at the root.
    """

    parent: Array
    length: Array


def minimum_spanning_tree(distances: ArrayLike, *, where: ArrayLike | None = None) -> SpanningTree:
    r"""The tree that joins all nodes by edges of the smallest total length (Prim's algorithm).

    .. math:: \min_{T \text{ spanning tree}} \sum_{(i, j) \in T} d_{ij}

    It takes N steps of N operations each. The largest edge is as short as that of any connected graph on the nodes can
    be; a tree of the largest total is that of ``-distances``.

    Args:
      distances: float [N, N], symmetric, negative numbers allowed; infinity or NaN where there is no edge.
      where: bool [N], True where a node counts; the others are their own parents at length 0.
    Returns:
      SpanningTree, lengths in float32 or wider, with the gradient of the N - 1 chosen distances. Parts that no edge
      joins are joined by edges of length infinity. Of equal edges the one to the lower node comes first.
    Raises:
      ValueError: distances are not square, or where is not [N].
      TypeError: distances are not floating point, or where is not boolean.

    >>> tree = minimum_spanning_tree(jnp.array([[0.0, 1.0, 5.0], [1.0, 0.0, 3.0], [5.0, 3.0, 0.0]]))
    >>> print(tree.parent, tree.length)
    [0 0 1] [0. 1. 3.]

    Reference: Prim, "Shortest connection networks and some generalizations" (1957). Standard.
    """
    distances = checks.rank(checks.floating(distances, "distances"), "distances", 2, layout="[N, N]")
    num = distances.shape[0]
    if distances.shape[1] != num or num == 0:
        raise ValueError(f"distances must have shape [N, N] with N >= 1, got {list(distances.shape)}")
    mask = checks.mask(where, "where", (num,))
    kept = jnp.ones(num, bool) if mask is None else mask
    edges = distances.astype(accumulation_dtype(distances))
    known = ~jnp.isnan(edges) & kept[:, None] & kept[None, :]
    edges = jnp.where(known, edges, jnp.inf)
    lengths = jax.lax.stop_gradient(edges)
    root = jnp.argmax(kept).astype(jnp.int32)

    def add(_: int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        outside, nearest, parent = state
        # The mask and not infinity tells who is left: a node that no edge reaches still has to join.
        best = jnp.min(nearest, where=outside, initial=jnp.inf)
        node = jnp.argmax(outside & (nearest == best))
        outside &= jnp.arange(num) != node
        closer = outside & (lengths[node] < nearest)
        return outside, jnp.where(closer, lengths[node], nearest), jnp.where(closer, node, parent)

    start = (kept & (jnp.arange(num) != root), lengths[root], jnp.full(num, root))
    _, _, parent = jax.lax.fori_loop(1, num, add, start)
    own = jnp.arange(num, dtype=jnp.int32)
    joined = kept & (own != root)
    parent = jnp.where(joined, parent, own).astype(jnp.int32)
    # The diagonal has no meaning, so where a node is its own parent the entry is not even looked at.
    safe = jnp.where(joined[:, None], edges, 0.0)
    return SpanningTree(parent, safe[own, parent])
