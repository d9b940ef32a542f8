"""Sums over rooted trees that are given by a parent array, in memory linear in the nodes.

Every pass is pointer doubling: after round k each node knows its ancestor 2^k steps up, so log2(N) rounds of gathers
and scatters reach everything, whatever the shape of the tree. Shapes are fixed and nothing is sorted.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["Rooted", "path_sum", "refuted", "rooted", "strict_subtree_sum", "subtree_sum", "tree_locus"]


class Rooted(NamedTuple):
    """A tree: parents, with N above the root; lengths of the edges above the nodes, 0 at the root; is it a tree?"""

    parent: Array  # int32 [N]
    length: Array  # float32 or wider [N]
    valid: Array  # bool, False where a traced parent array is no tree


def rooted(parent: ArrayLike, length: ArrayLike | None = None) -> Rooted:
    """Checks a parent array.

    Args:
      parent: int [N]; the root is its own parent, or has the parent -1.
      length: float [N], >= 0 and finite, of the edge between a node and its parent; that of the root is ignored. None
        means 1.
    Raises:
      ValueError: parent is not [N] with N >= 1, or length not [N]. Where they are not traced also: a parent does not
        exist, there is a cycle or not one root, or a length is negative, infinite or NaN.
      TypeError: parent does not hold integers, or length is not floating point.
    """
    nodes = checks.rank(checks.integer(parent, "parent"), "parent", 1, layout="[N]")
    num_nodes = checks.at_least(nodes.shape[0], "the number of nodes N in parent", 1)
    edges = jnp.ones(num_nodes) if length is None else checks.floating(length, "length")
    checks.same_shape(edges, "length", nodes, "parent")
    above, edges, exist, acyclic, num_roots, usable = _normalized(nodes, edges)
    if refuted(exist):
        raise ValueError(f"parent must hold nodes in [0, {num_nodes}), and -1 only at the root")
    if refuted(acyclic):
        raise ValueError("parent must be a tree, but it holds a cycle")
    if refuted(num_roots == 1):
        raise ValueError(f"parent must be one tree, got {num_roots} roots: their labels are infinitely far apart")
    if refuted(usable):
        raise ValueError("length must hold finite numbers >= 0: infinite ones would disconnect the labels")
    return Rooted(above, edges, exist & acyclic & (num_roots == 1))


def refuted(flag: Array) -> bool:
    """Whether a condition on values is known to be broken; what is traced is not known."""
    return not isinstance(flag, jax.core.Tracer) and not flag


@jax.jit
def _normalized(nodes: Array, edges: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    num_nodes = nodes.shape[0]
    root = (nodes == jnp.arange(num_nodes)) | (nodes == -1)
    exists = root | ((nodes >= 0) & (nodes < num_nodes))
    above = jnp.where(root | ~exists, num_nodes, nodes).astype(jnp.int32)
    edges = jnp.where(root, 0.0, edges.astype(jnp.promote_types(edges.dtype, jnp.float32)))
    _, top = _doubled(above, jnp.zeros(()), lambda x, jump: x)
    usable = jnp.all((edges >= 0) & jnp.isfinite(edges))
    return above, edges, jnp.all(exists), jnp.all(top == num_nodes), jnp.sum(root), usable


def _doubled(parent: Array, x: Array, add: Callable[[Array, Array], Array]) -> tuple[Array, Array]:
    """``x = add(x, jump)`` for jumps of 1, 2, 4, ... steps up; also where every node has got in the end."""
    num_nodes = parent.shape[0]

    def again(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        x, jump = carry
        # Once every node has left the tree, after log2 of its depth, there is nothing more to add.
        x = jax.lax.cond(jnp.any(jump < num_nodes), add, lambda x, _: x, x, jump)
        return (x, jump.at[jump].get(mode="fill", fill_value=num_nodes)), None

    return jax.lax.scan(again, (x, parent), length=num_nodes.bit_length())[0]


@jax.jit
def path_sum(parent: Array, x: Array) -> Array:
    """For every node the sum of x [N, ...] over the node and all its ancestors."""
    return _doubled(parent, x, lambda x, jump: x + x.at[jump].get(mode="fill", fill_value=0))[0]


@jax.jit
def subtree_sum(parent: Array, x: Array) -> Array:
    """For every node the sum of x [N, ...] over the node and all its descendants."""
    return _doubled(parent, x, lambda x, jump: x.at[jump].add(x, mode="drop"))[0]


@jax.jit
def strict_subtree_sum(parent: Array, x: Array) -> Array:
    """For every node the sum of x [N, ...] over its descendants, itself left out."""
    # Not by a difference: x may be large at the node and small below it.
    return jnp.zeros_like(x).at[parent].add(subtree_sum(parent, x), mode="drop")


@jax.jit
def tree_locus(parent: Array, observed: Array) -> tuple[Array, Array]:
    """Which nodes lie on a path between two observed ones, bool [N]; observed ones in every subtree, int32 [N]."""
    below = subtree_sum(parent, observed.astype(jnp.int32))
    branches = jnp.zeros_like(below).at[parent].add((below > 0).astype(jnp.int32), mode="drop")
    between = (below > 0) & (below < jnp.sum(observed, dtype=jnp.int32))
    return observed | between | (branches >= 2), below
