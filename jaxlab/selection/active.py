"""Active choice: what to ask about next."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels.rooted_trees import path_sum, rooted, tree_locus
from jaxlab.typing import Array, ArrayLike

__all__ = ["next_class_by_locus"]


def next_class_by_locus(
    parent: ArrayLike, observed: ArrayLike, *, length: ArrayLike | None = None, class_where: ArrayLike | None = None
) -> Array:
    r"""The class whose path to what can already be predicted is longest: the next to collect examples of.

    .. math:: \arg\max_{v} \min_{y \in \text{locus}} d(v, y)

    The locus (``zeroshot.locus_mask``) is the union of the paths between observed classes. Where all edges have one
    length no other class enlarges it more.

    Args:
      parent: int [N], the parent of every node; the root is its own parent, or has -1.
      observed: bool [N], True for the classes that have examples.
      length: float [N], >= 0 and finite, of the edge between a node and its parent; None means 1.
      class_where: bool [N], True for the nodes that may be chosen (such as the leaves); None means all.
    Returns:
      int32 scalar, of equals the lowest index; -1 where no choice enlarges the locus, none is observed, or a traced
      parent is no tree.
    Raises:
      ValueError: shapes do not agree. Where it is not traced also: parent is no tree, or length holds a number that is
        negative, infinite or NaN.
      TypeError: parent does not hold integers, length is not floating point, or a mask is not boolean.

    >>> print(next_class_by_locus(jnp.array([-1, 0, 0, 2, 3]), jnp.array([True, True, False, False, False])))
    4

    Reference: Roberts et al., "Geometry-Aware Adaptation for Pretrained Models" (2023). Checked against the authors'
    code, which measures all pairs of nodes.
    """
    tree = rooted(parent, length)
    shape = tree.parent.shape
    mask, allowed = checks.mask(observed, "observed", shape), checks.mask(class_where, "class_where", shape)
    assert mask is not None
    locus, below = tree_locus(tree.parent, mask)
    total = jnp.sum(mask, dtype=jnp.int32)
    # Walking down from the root the way to the locus gets shorter towards its top, and longer where nothing is observed
    # below.
    towards, away = below == total, below == 0
    edge = tree.length
    change = jnp.where(away, edge, jnp.where(towards, -edge, 0.0))
    distance = jnp.sum(jnp.where(towards, edge, 0.0)) + path_sum(tree.parent, change)
    candidate = ~locus if allowed is None else ~locus & allowed
    candidate &= tree.valid & (total > 0)
    chosen = jnp.argmax(jnp.where(candidate, distance, -1.0))
    return jnp.where(jnp.any(candidate), chosen, -1).astype(jnp.int32)
