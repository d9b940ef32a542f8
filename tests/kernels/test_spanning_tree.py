"""Prim's tree against scipy, on connected and broken graphs, with masks and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree as peer
from scipy.spatial import distance

from jaxlab import kernels

N = 9
tree_of = jax.jit(kernels.minimum_spanning_tree)
INF = np.inf


def distances(seed, num=N):
    x = np.random.default_rng(seed).normal(size=(num, 3)).astype(np.float32)
    return distance.squareform(distance.pdist(x)).astype(np.float32)


def edges(tree):
    """The edges as sorted pairs, without the root's."""
    parent = np.asarray(tree.parent)
    return sorted(tuple(sorted((i, int(p)))) for i, p in enumerate(parent) if i != p)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_scipys_tree(seed):
    d = distances(seed)
    tree, other = tree_of(d, where=np.ones(N, bool)), peer(d).tocoo()
    assert edges(tree) == sorted(tuple(sorted(pair)) for pair in zip(other.row, other.col, strict=True))
    np.testing.assert_allclose(np.sort(tree.length)[1:], np.sort(other.data), rtol=1e-6)
    assert tree.parent[0] == 0
    assert tree.length[0] == 0


def test_lengths_are_those_of_the_edges_and_every_node_reaches_the_root():
    d = distances(7)
    tree = tree_of(d, where=np.ones(N, bool))
    parent = np.asarray(tree.parent)
    np.testing.assert_array_equal(tree.length, d[np.arange(N), parent])
    for node in range(N):
        for _ in range(N):
            node = parent[node]
        assert node == 0


def test_negated_distances_give_the_largest_tree():
    d = distances(3)
    largest = tree_of(-d, where=np.ones(N, bool))
    shifted = np.where(np.eye(N), 0, 10 - d)  # scipy takes 0 for no edge
    assert -largest.length.sum() == pytest.approx(10 * (N - 1) - peer(shifted).sum(), rel=1e-5)


def test_nodes_that_do_not_count():
    d, kept = distances(4), np.arange(N) % 3 != 0
    for junk in (np.nan, 1e30, -1e30):
        dirty = np.where(kept[:, None] & kept, d, np.float32(junk))
        tree = tree_of(dirty, where=kept)
        part = tree_of(np.where(kept[:, None] & kept, d, INF), where=kept)
        np.testing.assert_array_equal(tree.parent, part.parent)
        np.testing.assert_array_equal(np.asarray(tree.parent)[~kept], np.flatnonzero(~kept))
        assert (np.asarray(tree.length)[~kept] == 0).all()
    own = kernels.minimum_spanning_tree(d[kept][:, kept])
    np.testing.assert_allclose(np.sort(np.asarray(tree.length)[kept]), np.sort(own.length))
    nobody = tree_of(d, where=np.zeros(N, bool))
    np.testing.assert_array_equal(nobody.parent, np.arange(N))
    assert (np.asarray(nobody.length) == 0).all()


def test_parts_without_an_edge_are_joined_by_infinity():
    d = np.full((N, N), INF, np.float32)
    d[:4, :4], d[4:, 4:] = distances(5, 4), distances(6, N - 4)
    for missing in (INF, np.nan):
        tree = tree_of(np.where(np.isinf(d), np.float32(missing), d), where=np.ones(N, bool))
        length = np.asarray(tree.length)
        assert np.isinf(length).sum() == 1
        assert len(edges(tree)) == N - 1
        finite = peer(d[:4, :4]).sum() + peer(d[4:, 4:]).sum()
        assert length[np.isfinite(length)].sum() == pytest.approx(finite, rel=1e-6)


def test_equal_rows_and_equal_edges():
    tree = tree_of(np.zeros((N, N), np.float32), where=np.ones(N, bool))
    assert (np.asarray(tree.parent) == 0).all()
    assert (np.asarray(tree.length) == 0).all()


def test_the_gradient_goes_to_the_chosen_edges():
    d = distances(8)
    grad = np.asarray(jax.grad(lambda d: jnp.sum(kernels.minimum_spanning_tree(d).length ** 2))(d))
    tree = tree_of(d, where=np.ones(N, bool))
    expected = np.zeros((N, N), np.float32)
    expected[np.arange(N), tree.parent] = 2 * np.asarray(tree.length)
    np.testing.assert_allclose(grad, expected, rtol=1e-6)


def test_one_node():
    tree = kernels.minimum_spanning_tree(jnp.array([[jnp.nan]]))
    assert tree.parent.tolist() == [0]
    assert tree.length.tolist() == [0]


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: kernels.minimum_spanning_tree(jnp.zeros((2, 3))), r"distances must have shape \[N, N\]"),
        (ValueError, lambda: kernels.minimum_spanning_tree(jnp.zeros((0, 0))), "N >= 1"),
        (TypeError, lambda: kernels.minimum_spanning_tree(jnp.zeros((2, 2), int)), "distances must be floating point"),
        (ValueError, lambda: kernels.minimum_spanning_tree(jnp.eye(2), where=jnp.ones(3, bool)), "where must have"),
    ],
)
def test_bad_input(error, call, message):
    with pytest.raises(error, match=message):
        call()
