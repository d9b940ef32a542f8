"""weaksup.transduction: the bound optimiser, k-means as a special case, masks and missing classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from jaxlab import weaksup


@pytest.fixture(scope="module")
def episode():
    """Three classes of digits: two labelled rows each, then 60 queries."""
    digits = load_digits()
    rows = np.concatenate([np.flatnonzero(digits.target == c)[:22] for c in range(3)])
    x = digits.data[rows].astype(np.float32) / 16
    x = x - x.mean(0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = digits.target[rows]
    shot = np.arange(66) % 22 < 2
    return x[shot], y[shot], x[~shot], y[~shot]


def test_neighbours_are_those_of_the_distances(episode):
    x = episode[2][:12]
    distances = ((x[:, None] - x) ** 2).sum(-1) + 1e9 * np.eye(12)
    expected = np.zeros((12, 12))
    np.put_along_axis(expected, np.argsort(distances, axis=1)[:, :3], 1.0, axis=1)
    np.testing.assert_array_equal(weaksup.knn_affinity(x, k=3, symmetric=False), expected)
    np.testing.assert_array_equal(weaksup.knn_affinity(x, k=3), (expected + expected.T) / 2)


def test_hidden_rows_have_no_neighbours(episode):
    x, where = episode[2][:12], np.arange(12) < 9
    masked = np.asarray(weaksup.knn_affinity(np.where(where[:, None], x, np.nan), k=2, where=where))
    np.testing.assert_array_equal(masked[:9, :9], weaksup.knn_affinity(x[:9], k=2))
    assert not masked[9:].any()
    assert not masked[:, 9:].any()


def test_energy_never_rises_for_a_semidefinite_affinity():
    rng = np.random.default_rng(0)
    for seed in range(3):
        half = rng.random((15, 15))
        affinity = jnp.asarray(half @ half.T / 4, jnp.float32)
        unary = jnp.asarray(rng.normal(size=(15, 4)) * 3, jnp.float32)
        steps = [weaksup.laplacian_assignments(unary, affinity, num_iters=n, tol=0.0) for n in range(8)]
        energies = np.array([weaksup.laplacian_energy(s, unary, affinity) for s in steps])
        assert np.all(np.diff(energies) <= 1e-4 * np.abs(energies[:-1])), (seed, energies)
        assert energies[-1] < energies[0] - 0.1


def test_energy_is_the_formula():
    rng = np.random.default_rng(2)
    s = rng.dirichlet(np.ones(3), size=6).astype(np.float32)
    unary, w = rng.random((6, 3)).astype(np.float32), rng.random((6, 6)).astype(np.float32)
    agreement = sum(w[p, q] * s[p] @ s[q] for p in range(6) for q in range(6))
    expected = np.sum(s * (unary + np.log(s))) - 0.7 / 2 * agreement
    np.testing.assert_allclose(weaksup.laplacian_energy(s, unary, w, strength=0.7), expected, rtol=1e-5)


def test_an_update_is_the_formula():
    rng = np.random.default_rng(1)
    unary, affinity = rng.random((6, 3)).astype(np.float32), rng.random((6, 6)).astype(np.float32)
    start = jax.nn.softmax(-unary)
    np.testing.assert_allclose(weaksup.laplacian_assignments(unary, affinity, strength=0.0), start, atol=1e-6)
    expected = jax.nn.softmax(-unary + 0.7 * affinity @ start)
    once = weaksup.laplacian_assignments(unary, affinity, strength=0.7, num_iters=1)
    np.testing.assert_allclose(once, expected, atol=1e-6)


def test_labelled_rows_stay_and_spread():
    chain = np.eye(5, k=1, dtype=np.float32) + np.eye(5, k=-1, dtype=np.float32)
    labels = np.array([1, -1, -1, -1, -1])
    soft = weaksup.laplacian_assignments(
        np.zeros((5, 2), np.float32), chain, strength=30.0, num_iters=50, labels=labels
    )
    np.testing.assert_array_equal(soft[0], [0.0, 1.0])
    assert np.all(np.asarray(soft)[:, 1] > 0.99)  # consensus along the chain
    alone = weaksup.laplacian_assignments(np.zeros((5, 2), np.float32), chain, strength=30.0, labels=labels * 0 - 1)
    np.testing.assert_allclose(alone, 0.5)


def test_assignments_are_those_of_scaled_distances(episode):
    support, labels, queries, _ = episode
    result = weaksup.transductive_clustering(support, labels, queries, num_classes=3, scale=2.5, num_outer=0)
    means = np.stack([support[labels == c].mean(0) for c in range(3)])
    distances = ((queries[:, None] - means) ** 2).sum(-1)
    np.testing.assert_allclose(result.prototypes, means, atol=1e-6)
    np.testing.assert_allclose(result.assignments, jax.nn.softmax(-2.5 * distances), atol=1e-5)


def test_without_support_it_is_k_means(episode):
    support, labels, queries, _ = episode
    start = np.stack([support[labels == c].mean(0) for c in range(3)])
    ours = weaksup.transductive_clustering(
        support, labels, queries, num_classes=3, hard=True, keep_support=False, num_outer=50
    )
    theirs = KMeans(3, init=start, n_init=1, tol=0).fit(queries)
    np.testing.assert_allclose(ours.prototypes, theirs.cluster_centers_, atol=1e-5)
    np.testing.assert_array_equal(ours.assignments.argmax(1), theirs.labels_)


def test_support_anchors_the_prototypes(episode):
    support, labels, queries, truth = episode
    result = weaksup.transductive_clustering(support, labels, queries, num_classes=3, hard=True, num_outer=50)
    chosen = np.asarray(result.assignments)
    for c in range(3):
        members = np.concatenate([support[labels == c], queries[chosen[:, c] == 1]])
        np.testing.assert_allclose(result.prototypes[c], members.mean(0), atol=1e-5)
    assert np.mean(chosen.argmax(1) == truth) > 0.9


def test_neighbours_change_the_result_by_their_strength(episode):
    support, labels, queries, _ = episode
    none = weaksup.transductive_clustering(support, labels, queries, num_classes=3, num_outer=3)
    some = weaksup.transductive_clustering(support, labels, queries, num_classes=3, num_outer=3, strength=1.0)
    assert np.asarray(some.assignments.max(1)).mean() > np.asarray(none.assignments.max(1)).mean() + 0.01
    traced = jax.jit(
        lambda s: weaksup.transductive_clustering(support, labels, queries, num_classes=3, num_outer=3, strength=s)
    )(0.0)
    np.testing.assert_allclose(traced.assignments, none.assignments, atol=1e-5)


def test_a_class_without_rows_gets_no_query(episode):
    support, labels, queries, _ = episode
    result = weaksup.transductive_clustering(support, np.where(labels == 1, -1, labels), queries, num_classes=4)
    assert np.all(np.isfinite(result.assignments))
    np.testing.assert_array_equal(np.asarray(result.assignments)[:, [1, 3]], 0.0)
    np.testing.assert_allclose(result.assignments.sum(1), 1.0, rtol=1e-6)


def test_one_query(episode):
    support, labels, queries, truth = episode
    result = weaksup.transductive_clustering(support, labels, queries[:1], num_classes=3, strength=1.0)
    assert result.assignments.argmax() == truth[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: weaksup.knn_affinity(np.ones((3, 2), np.float32), k=3), ValueError, "k must be at most 2"),
        (
            lambda: weaksup.laplacian_assignments(np.ones((3, 2)), np.ones((3, 2))),
            ValueError,
            "affinity must have shape",
        ),
        (
            lambda: weaksup.laplacian_assignments(np.ones((3, 2)), np.ones((3, 3)), strength=-1.0),
            ValueError,
            "strength must be at least",
        ),
        (
            lambda: weaksup.laplacian_energy(np.ones((2, 2)), np.ones((3, 2)), np.ones((3, 3))),
            ValueError,
            "same shape",
        ),
        (
            lambda: weaksup.transductive_clustering(np.ones((2, 2)), np.zeros(3, int), np.ones((2, 2)), num_classes=1),
            ValueError,
            "must agree",
        ),
        (
            lambda: weaksup.transductive_clustering(np.ones((2, 2)), np.zeros(2), np.ones((2, 2)), num_classes=1),
            TypeError,
            "labels must hold integers",
        ),
        (
            lambda: weaksup.transductive_clustering(
                np.ones((2, 2)), np.zeros(2, int), np.ones((2, 2)), num_classes=1, scale=0.0
            ),
            ValueError,
            "scale must be > 0",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
