"""Distances in trees, and what is no tree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.csgraph import shortest_path

from jaxlab import kernels
from jaxlab.kernels.rooted_trees import path_sum, rooted, strict_subtree_sum, subtree_sum


def random_tree(rng, size, deep=False):
    """A tree with its nodes in any order and its root anywhere; ``deep`` makes it nearly a path."""
    parent = np.array([-1, *(rng.integers(max(0, i - 2) if deep else 0, i) for i in range(1, size))])
    name = rng.permutation(size)
    out = np.empty(size, np.int32)
    out[name] = np.where(parent < 0, -1, name[parent])
    return out


def graph_distances(parent, length):
    graph = np.zeros((len(parent), len(parent)))
    for node, up in enumerate(parent):
        if up not in (-1, node):
            graph[node, up] = length[node]
    return shortest_path(graph, directed=False)


@pytest.mark.parametrize("deep", [False, True])
def test_equals_shortest_paths(deep):
    rng = np.random.default_rng(0)
    for _ in range(3):
        parent, length = random_tree(rng, 40, deep), rng.uniform(0.1, 2.0, 40).astype(np.float32)
        np.testing.assert_array_equal(kernels.tree_distance(parent), graph_distances(parent, np.ones(40)))
        found = kernels.tree_distance(parent, length=length)
        np.testing.assert_allclose(found, graph_distances(parent, length), rtol=1e-5, atol=1e-5)
        assert np.all(np.diagonal(found) == 0)


def test_root_is_its_own_parent_or_has_none():
    np.testing.assert_array_equal(kernels.tree_distance(jnp.array([1, 1, 1])), kernels.tree_distance([1, -1, 1]))
    assert kernels.tree_distance(jnp.array([-1])).tolist() == [[0.0]]


def test_spanning_tree_goes_in():
    points = np.array([[0.0], [1.0], [3.0], [7.0]], np.float32)
    tree = kernels.minimum_spanning_tree(np.abs(points - points.T))
    distances = kernels.tree_distance(tree.parent, length=tree.length)
    np.testing.assert_allclose(distances, np.abs(points - points.T), atol=1e-6)


@pytest.mark.parametrize("deep", [False, True])
def test_sums_equal_loops(deep):
    rng = np.random.default_rng(1)
    parent, x = random_tree(rng, 60, deep), rng.integers(0, 9, (60, 2))
    up, down = np.zeros((60, 2), int), np.zeros((60, 2), int)
    for node in range(60):
        above = node
        while above >= 0:
            up[node] += x[above]
            down[above] += x[node]
            above = parent[above]
    tree = rooted(parent)
    np.testing.assert_array_equal(path_sum(tree.parent, jnp.asarray(x)), up)
    np.testing.assert_array_equal(subtree_sum(tree.parent, jnp.asarray(x)), down)
    np.testing.assert_array_equal(strict_subtree_sum(tree.parent, jnp.asarray(x)), down - x)


BAD = {
    "cycle": ([-1, 2, 1, 0], "holds a cycle"),
    "only a cycle": ([1, 2, 0, 0], "holds a cycle"),
    "forest": ([-1, 0, 2, 2], "got 2 roots"),
    "no such node": ([-1, 0, 4, 0], r"in \[0, 4\)"),
    "below -1": ([-1, 0, -2, 0], "-1 only at the root"),
}


@pytest.mark.parametrize(("parent", "words"), BAD.values(), ids=BAD)
def test_what_is_no_tree(parent, words):
    with pytest.raises(ValueError, match=words):
        kernels.tree_distance(jnp.array(parent))


def test_what_is_no_tree_is_nan_where_it_is_traced():
    distances = jax.jit(jax.vmap(kernels.tree_distance))(jnp.array([bad for bad, _ in BAD.values()] + [[-1, 0, 1, 1]]))
    assert np.isnan(distances).all(axis=(1, 2)).tolist() == [True] * len(BAD) + [False]
    assert np.isfinite(distances[-1]).all()


@pytest.mark.parametrize("length", [[1.0, np.inf], [1.0, -1.0], [1.0, np.nan]])
def test_lengths(length):
    with pytest.raises(ValueError, match="finite numbers >= 0"):
        kernels.tree_distance(jnp.array([-1, 0]), length=jnp.array(length))
    assert kernels.tree_distance(jnp.array([0, 0]), length=jnp.array([np.nan, 2.0]))[0, 1] == 2  # the root's is ignored


def test_shapes_and_types():
    with pytest.raises(ValueError, match=r"parent must have shape \[N\]"):
        kernels.tree_distance(jnp.zeros((2, 2), int))
    with pytest.raises(TypeError, match="parent must hold integers"):
        kernels.tree_distance(jnp.zeros(2))
    with pytest.raises(ValueError, match="number of nodes"):
        kernels.tree_distance(jnp.zeros(0, int))
    with pytest.raises(ValueError, match="length"):
        kernels.tree_distance(jnp.array([-1, 0]), length=jnp.ones(3))
