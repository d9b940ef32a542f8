"""Loki: a classifier of a few labels predicts any label of a metric space, by the Frechet mean instead of argmax.

Costs come for any metric (a table of squared distances), and in memory linear in the labels for two kinds of metric:
paths in a tree, and distances between embeddings. The label with the smallest cost is the prediction;
``softmax(-costs)`` is a soft one.
"""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.kernels.rooted_trees import path_sum, refuted, rooted, strict_subtree_sum, subtree_sum, tree_locus
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = [
    "embedding_frechet_costs",
    "frechet_costs",
    "frechet_mean_predict",
    "locus_mask",
    "tree_frechet_costs",
]


def frechet_costs(probs: ArrayLike, sq_dist: ArrayLike) -> Array:
    r"""Expected squared distance of every label from the observed ones (per example; smaller is better).

    .. math:: c_y = \sum_k p_k\, d(y, \lambda_k)^2

    Args:
      probs: float [..., K], >= 0, the classifier's probabilities of the K observed labels. Calibrate them first: a
        classifier that is too sure of itself never predicts what lies between.
      sq_dist: float [K, Y], SQUARED distances of the observed labels from all labels.
    Returns:
      float32 or wider [..., Y]. Where sq_dist is traced, an infinite distance costs +inf if its probability is
      positive and nothing otherwise, never NaN.
    Raises:
      ValueError: probs and sq_dist disagree in K, there is no label, or sq_dist is not traced and holds an infinite
        distance (a label graph in pieces), a negative one or NaN.
      TypeError: probs or sq_dist are not floating point.

    >>> bins = jnp.arange(5.0)
    >>> print(frechet_costs(jnp.array([0.5, 0.5]), (bins[jnp.array([0, 4])][:, None] - bins) ** 2))
    [8. 5. 4. 5. 8.]

    Reference: Roberts et al., "Geometry-Aware Adaptation for Pretrained Models" (2023). Checked against the authors'
    code.
    """
    probs, sq_dist = _probabilities(probs), checks.floating(sq_dist, "sq_dist")
    checks.rank(sq_dist, "sq_dist", 2, layout="[K, Y]")
    if sq_dist.shape[0] != probs.shape[-1] or 0 in sq_dist.shape:
        raise ValueError(f"sq_dist must have shape [{probs.shape[-1]}, Y] as probs ask, got {list(sq_dist.shape)}")
    if refuted(jnp.all((sq_dist >= 0) & jnp.isfinite(sq_dist))):
        raise ValueError("sq_dist must be finite and >= 0: labels that no path connects have no Frechet mean")
    dtype = accumulation_dtype(probs, sq_dist)
    apart = jnp.isposinf(sq_dist)
    reachable = jnp.where(apart, 0.0, sq_dist).astype(dtype)
    costs = jnp.matmul(probs.astype(dtype), reachable, precision="highest")
    return jnp.where(jnp.matmul((probs > 0).astype(dtype), apart.astype(dtype)) > 0, jnp.inf, costs)


def frechet_mean_predict(probs: ArrayLike, sq_dist: ArrayLike) -> Array:
    r"""Loki: the label with the smallest expected squared distance from the observed ones.

    .. math:: \hat y = \arg\min_y \sum_k p_k\, d(y, \lambda_k)^2

    With the 0-1 distance it is argmax. For trees and embeddings without a table take the argmin of
    ``tree_frechet_costs`` or ``embedding_frechet_costs``.

    Args:
      probs: float [..., K], >= 0, probabilities of the K observed labels.
      sq_dist: float [K, Y], SQUARED distances of the observed labels from all labels.
    Returns:
      int32 [...], in [0, Y); ties go to the lower index. Probabilities with a NaN give label 0.
    Raises:
      ValueError: as ``frechet_costs``.
      TypeError: probs or sq_dist are not floating point.

    >>> bins = jnp.arange(5.0)
    >>> sq_dist = (bins[jnp.array([0, 4])][:, None] - bins) ** 2
    >>> print(frechet_mean_predict(jnp.array([[0.5, 0.5], [0.8, 0.2], [1.0, 0.0]]), sq_dist))
    [2 1 0]

    Reference: as ``frechet_costs``.
    """
    return jnp.argmin(frechet_costs(probs, sq_dist), axis=-1).astype(jnp.int32)


def tree_frechet_costs(
    probs: ArrayLike, parent: ArrayLike, *, observed: ArrayLike | None = None, length: ArrayLike | None = None
) -> Array:
    r"""Expected squared path length from every node of a tree to the observed ones (per example; smaller is better).

    .. math:: c_v = \sum_u p_u\, d(u, v)^2,
              \qquad c_v - c_{\pi(v)} = w_v \big(t_v + t_{\pi(v)} - 4 s_v - 2 w_v m_v\big)

    with the mass m and the summed distances s of v's subtree, and t of the whole tree: sums up the tree, then down, in
    memory linear in the nodes and time N log(depth). Equal to ``frechet_costs`` on ``kernels.tree_distance(...) ** 2``.

    Args:
      probs: float [..., K], >= 0, probabilities of the observed labels.
      parent: int [N], the parent of every node; the root is its own parent, or has -1.
      observed: int [K], the nodes that the probabilities belong to; None means all nodes, K = N.
      length: float [N], >= 0 and finite, of the edge between a node and its parent; None means 1.
    Returns:
      float32 or wider [..., N]; the error is about 1e-7 times the largest squared distance from the root. Leave nodes
      that are no classes out by ``jnp.where(is_class, costs, jnp.inf)``. All NaN where a traced parent is no tree, or
      traced observed holds a node outside [0, N).
    Raises:
      ValueError: shapes do not agree. Where it is not traced also: parent holds a node that does not exist, a cycle or
        several roots (a label graph in pieces), observed a node outside [0, N), or length a number that is negative,
        infinite or NaN.
      TypeError: probs or length are not floating point, or parent or observed not integers.

    >>> print(tree_frechet_costs(jnp.array([0.5, 0.5]), jnp.array([-1, 0, 1, 2, 3]), observed=jnp.array([0, 4])))
    [8. 5. 4. 5. 8.]

    Reference: as ``frechet_costs``; the sums over the tree are our own, the authors build the table of distances.
    """
    probs, tree = _probabilities(probs), rooted(parent, length)
    num_nodes = tree.parent.shape[0]
    place, known = _observed(observed, probs, num_nodes)
    dtype = accumulation_dtype(probs, tree.length)
    edge = tree.length.astype(dtype)[:, None]
    rows = probs.reshape(-1, probs.shape[-1]).astype(dtype)
    point = jnp.zeros((num_nodes, len(rows)), dtype).at[place].add(rows.T, mode="drop")
    mass = subtree_sum(tree.parent, point)
    inside = strict_subtree_sum(tree.parent, edge * mass)  # distances of the subtree's mass from its top
    total, depth = jnp.sum(point, axis=0), path_sum(tree.parent, edge)
    step = edge * (total - 2.0 * mass)
    distance = jnp.sum(point * depth, axis=0) + path_sum(tree.parent, step)
    change = edge * (2.0 * distance - step - 4.0 * inside - 2.0 * edge * mass)
    costs = jnp.sum(point * depth**2, axis=0) + path_sum(tree.parent, change)
    return jnp.where(tree.valid & known, costs, jnp.nan).T.reshape(*probs.shape[:-1], num_nodes)


def embedding_frechet_costs(probs: ArrayLike, embeddings: ArrayLike, *, observed: ArrayLike | None = None) -> Array:
    r"""Expected squared distance of every label's embedding from the observed ones (per example; smaller is better).

    .. math:: c_y = \sum_k p_k \|e_y - e_k\|^2 = m\, \|e_y - \bar e\|^2 + \sum_k p_k \|e_k - \bar e\|^2,
              \quad m = \sum_k p_k, \quad \bar e = \tfrac1m \sum_k p_k e_k

    so no table of distances between labels is needed. Where no metric is given, embeddings of the class names (unit
    vectors) supply one.

    Args:
      probs: float [..., K], >= 0, probabilities of the observed labels.
      embeddings: float [Y, D], one for every label.
      observed: int [K], the labels that the probabilities belong to; None means all labels, K = Y.
    Returns:
      float32 or wider [..., Y], >= 0. All NaN where traced observed holds a label outside [0, Y).
    Raises:
      ValueError: shapes do not agree; observed is not traced and holds a label outside [0, Y).
      TypeError: probs or embeddings are not floating point, or observed not integers.

    >>> print(jnp.round(embedding_frechet_costs(jnp.array([0.5, 0.5]), jnp.eye(3), observed=jnp.array([0, 1])), 4))
    [1. 1. 2.]

    Reference: as ``frechet_costs``; the sums are our own, the authors build the table of distances.
    """
    probs = _probabilities(probs)
    embeddings = checks.rank(checks.floating(embeddings, "embeddings"), "embeddings", 2, layout="[Y, D]")
    place, known = _observed(observed, probs, embeddings.shape[0])
    dtype = accumulation_dtype(probs, embeddings)
    rows, wide = probs.reshape(-1, probs.shape[-1]).astype(dtype), embeddings.astype(dtype)
    center = jax.lax.stop_gradient(jnp.mean(wide, axis=0))  # distances do not depend on it, their rounding does
    seen = wide[place] - center
    total = jnp.sum(rows, axis=-1, keepdims=True)
    mean = jnp.matmul(rows, seen, precision="highest") / jnp.where(total > 0, total, 1.0)
    spread = jnp.sum(rows * pairwise_sq_dists(mean, seen), axis=-1, keepdims=True)
    costs = spread + total * pairwise_sq_dists(mean, wide - center)
    return jnp.where(known, costs, jnp.nan).reshape(*probs.shape[:-1], -1)


def locus_mask(parent: ArrayLike, observed: ArrayLike) -> Array:
    r"""Which nodes of a tree Loki can predict from the observed ones, whatever the probabilities.

    .. math:: \{ y : d(i, y) + d(y, j) = d(i, j) \text{ for observed } i, j \}

    the union of the paths between observed nodes, found by counting them in every subtree. Everything can be predicted
    once all leaves are observed.

    Args:
      parent: int [N], the parent of every node; the root is its own parent, or has -1.
      observed: bool [N], True for the observed nodes.
    Returns:
      bool [N]; a single observed node is all that can be predicted from it. All False where a traced parent is no tree.
    Raises:
      ValueError: shapes do not agree, or parent is not traced and is no tree.
      TypeError: parent does not hold integers, or observed is not boolean.

    >>> print(locus_mask(jnp.array([-1, 0, 1, 1, 0]), jnp.array([False, False, True, False, True])))
    [ True  True  True False  True]

    Reference: Roberts et al., "Geometry-Aware Adaptation for Pretrained Models" (2023). Checked against the authors'
    code, which walks the paths between all pairs.
    """
    tree = rooted(parent)
    mask = checks.mask(observed, "observed", tree.parent.shape)
    assert mask is not None
    return tree_locus(tree.parent, mask)[0] & tree.valid


def _probabilities(probs: ArrayLike) -> Array:
    probs = checks.floating(probs, "probs")
    if probs.ndim < 1 or probs.shape[-1] < 1:
        raise ValueError(f"probs must have shape [..., K] with K >= 1, got {list(probs.shape)}")
    return probs


def _observed(observed: ArrayLike | None, probs: Array, num_labels: int) -> tuple[Array, Array]:
    """The labels that probabilities belong to, in range, and whether all of them exist."""
    index = jnp.arange(num_labels) if observed is None else checks.integer(observed, "observed")
    if index.shape != probs.shape[-1:]:
        raise ValueError(
            f"probs must have shape [..., {index.size}], a column per observed label, got {list(probs.shape)}"
        )
    exist = (index >= 0) & (index < num_labels)
    known = jnp.all(exist)
    if refuted(known):
        raise ValueError(f"observed must hold labels in [0, {num_labels}), got {index[~exist][0]}")
    return jnp.where(exist, index, 0), known
