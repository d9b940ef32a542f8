"""Loki: the Frechet mean over any metric, in tables and without, and what can be predicted at all."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import kernels, zeroshot

BINS = np.arange(9.0, dtype=np.float32)
LINE = (BINS[:, None] - BINS) ** 2
PATH = np.arange(-1, 8, dtype=np.int32)  # the same line as a tree with its root at one end


def random_tree(rng, size):
    parent = np.array([-1, *(rng.integers(0, node) for node in range(1, size))])
    name = rng.permutation(size)
    out = np.empty(size, np.int32)
    out[name] = np.where(parent < 0, -1, name[parent])
    return out


def test_zero_one_distance_is_argmax():
    probs = np.random.default_rng(0).dirichlet(np.ones(6), 50).astype(np.float32)
    predicted = zeroshot.frechet_mean_predict(probs, 1.0 - np.eye(6, dtype=np.float32))
    np.testing.assert_array_equal(predicted, probs.argmax(1))


def test_equally_far_labels_that_are_not_observed_are_never_predicted():
    probs = np.random.default_rng(1).dirichlet(np.full(4, 0.3), 50).astype(np.float32)
    costs = zeroshot.frechet_costs(probs, (1.0 - np.eye(7, dtype=np.float32))[:4])
    np.testing.assert_allclose(costs[:, 4:], 1.0, rtol=1e-6)
    assert (costs.argmin(1) < 4).all()


def test_line_rounds_the_mean():
    observed = np.array([0, 3, 8])
    probs = np.random.default_rng(2).dirichlet(np.ones(3), 200).astype(np.float32)
    predicted = zeroshot.frechet_mean_predict(probs, LINE[observed])
    np.testing.assert_array_equal(predicted, np.round(probs @ observed))
    assert len(np.unique(predicted)) > 6  # most of them never observed
    np.testing.assert_array_equal(zeroshot.frechet_mean_predict(np.eye(3, dtype=np.float32), LINE[observed]), observed)


def test_distances_are_squared_once():
    """Plain distances have their least sum at a median, and two ends tie with everything in between."""
    half = jnp.array([0.5, 0.5])
    assert zeroshot.frechet_mean_predict(half, LINE[[0, 8]]) == 4
    assert zeroshot.frechet_mean_predict(half, np.sqrt(LINE[[0, 8]])) == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_tree_costs_equal_the_table(weighted):
    rng = np.random.default_rng(3)
    run = jax.jit(lambda p, tree, seen, w: zeroshot.tree_frechet_costs(p, tree, observed=seen, length=w))
    for size in (30, 30, 30):
        parent, observed = random_tree(rng, size), rng.choice(size, 5, replace=False)
        length = rng.uniform(0.1, 2.0, size).astype(np.float32) if weighted else np.ones(size, np.float32)
        probs = rng.dirichlet(np.ones(5), (2, 3)).astype(np.float32)
        sq_dist = kernels.tree_distance(parent, length=length) ** 2
        costs = run(probs, parent, observed, length)
        np.testing.assert_allclose(costs, zeroshot.frechet_costs(probs, sq_dist[observed]), rtol=1e-4, atol=1e-4)
    everywhere = rng.dirichlet(np.ones(size)).astype(np.float32)
    costs = zeroshot.tree_frechet_costs(everywhere, parent, length=length)
    np.testing.assert_allclose(costs, everywhere @ np.asarray(sq_dist), rtol=1e-4, atol=1e-4)


def test_tree_gradients_equal_the_table():
    rng = np.random.default_rng(4)
    parent, observed = random_tree(rng, 12), jnp.array([3, 7, 11])
    probs, length = rng.dirichlet(np.ones(3)).astype(np.float32), rng.uniform(0.5, 2.0, 12).astype(np.float32)
    weight = jnp.asarray(rng.normal(size=12), jnp.float32)

    def by_tree(probs, length):
        return zeroshot.tree_frechet_costs(probs, parent, observed=observed, length=length) @ weight

    def by_table(probs, length):
        return zeroshot.frechet_costs(probs, kernels.tree_distance(parent, length=length)[observed] ** 2) @ weight

    for mine, theirs in zip(*(jax.jit(jax.grad(f, (0, 1)))(probs, length) for f in (by_tree, by_table)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3)


def test_a_hundred_thousand_classes():
    """Against costs summed in float64 by plain loops, node after node; and no intermediate is larger than the nodes."""
    size, rng = 100_000, np.random.default_rng(5)
    parent = np.array([0, *(rng.integers(0, node) for node in range(1, size))], np.int32)
    observed = np.sort(rng.choice(size, 50, replace=False)).astype(np.int32)
    probs = rng.dirichlet(np.ones(50)).astype(np.float32)
    run = jax.jit(lambda probs: zeroshot.tree_frechet_costs(probs, parent, observed=observed))
    costs = np.asarray(run(probs))

    expected = np.zeros(size)
    for label, p in zip(observed, probs.astype(np.float64), strict=True):
        distance = np.full(size, -1)
        node, steps = label, 0
        while distance[node] < 0:  # from the label up to the root ...
            distance[node], steps, node = steps, steps + 1, parent[node]
        for node in range(1, size):  # ... and from there down: parents come first
            if distance[node] < 0:
                distance[node] = distance[parent[node]] + 1
        expected += p * distance**2
    np.testing.assert_allclose(costs, expected, rtol=1e-4)
    assert expected[costs.argmin()] <= expected.min() * (1 + 1e-5)
    memory = run.lower(probs).compile().memory_analysis()
    if memory is not None:
        assert memory.temp_size_in_bytes < 50 * 4 * size


def test_deep_trees():
    """A path of 5000 nodes: the rounds are counted by depth, not by luck."""
    costs = zeroshot.tree_frechet_costs(jnp.array([0.25, 0.75]), jnp.arange(-1, 4999), observed=jnp.array([1000, 1400]))
    place = np.arange(5000.0)
    np.testing.assert_allclose(costs, 0.25 * (place - 1000) ** 2 + 0.75 * (place - 1400) ** 2, rtol=1e-4, atol=2.0)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_embedding_costs_equal_the_table(offset):
    rng = np.random.default_rng(6)
    embeddings = (rng.normal(size=(40, 3)) + offset).astype(np.float32)
    observed, probs = np.array([4, 7, 30]), rng.dirichlet(np.ones(3), 8).astype(np.float32)
    wide = embeddings.astype(np.float64)
    sq_dist = ((wide[observed][:, None] - wide) ** 2).sum(-1)
    costs = zeroshot.embedding_frechet_costs(probs, embeddings, observed=observed)
    np.testing.assert_allclose(costs, probs @ sq_dist, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(costs, zeroshot.frechet_costs(probs, sq_dist.astype(np.float32)), rtol=1e-3, atol=1e-3)
    doubled = zeroshot.embedding_frechet_costs(2 * probs, embeddings, observed=observed)  # need not sum to 1
    np.testing.assert_allclose(doubled, 2 * costs, rtol=1e-4, atol=1e-3)


def test_soft_predictions_prefer_the_near():
    soft = jax.nn.softmax(-zeroshot.frechet_costs(jnp.array([0.5, 0.5]), LINE[[0, 8]]))
    assert soft.argmax() == 4
    assert np.isfinite(jax.grad(lambda p: zeroshot.frechet_costs(p, LINE[[0, 8]])[4])(jnp.array([1.0, 0.0]))).all()


# Every tree of six nodes up to renaming is among these (node i hangs below one of the earlier).
SMALL = [(-1, *above) for above in itertools.product(*(range(node) for node in range(1, 6)))]


def test_locus_is_what_some_probabilities_predict():
    """Exhaustively: all parent arrays of six nodes, all observed sets, probabilities on a fine grid."""
    trees = jnp.array(SMALL)
    masks = jnp.array(list(itertools.product([False, True], repeat=6))[1:])
    found = jax.jit(jax.vmap(lambda tree: jax.vmap(lambda mask: zeroshot.locus_mask(tree, mask))(masks)))(trees)
    distances = np.asarray(jax.jit(jax.vmap(kernels.tree_distance))(trees))
    through = distances[:, :, :, None] + distances[:, None, :, :] == distances[:, :, None, :]  # [tree, i, y, j]
    pairs = np.asarray(masks)[:, :, None, None] & np.asarray(masks)[:, None, None, :]
    expected = np.stack([(tree[None] & pairs).any(axis=(1, 3)) for tree in through])
    np.testing.assert_array_equal(found, expected)

    grid = np.array([w for w in itertools.product(range(13), repeat=3) if sum(w) == 12]) / 12
    for number in np.random.default_rng(7).choice(len(SMALL), 12, replace=False):
        for chosen in itertools.combinations(range(6), 3):
            costs = grid @ distances[number][list(chosen)] ** 2
            best = np.isclose(costs, costs.min(1, keepdims=True)).any(0)
            mask = int(sum(2 ** (5 - node) for node in chosen)) - 1
            np.testing.assert_array_equal(best, found[number, mask])


def test_locus_of_one_label_and_of_none():
    parent = jnp.array([-1, 0, 0])
    assert zeroshot.locus_mask(parent, jnp.array([False, True, False])).tolist() == [False, True, False]
    assert not zeroshot.locus_mask(parent, jnp.zeros(3, bool)).any()
    assert zeroshot.locus_mask(parent, jnp.array([False, True, True])).all()  # all leaves: everything
    assert not jax.jit(zeroshot.locus_mask)(jnp.array([1, 0, 0]), jnp.ones(3, bool)).any()  # no tree
    with pytest.raises(ValueError, match="cycle"):
        zeroshot.locus_mask(jnp.array([1, 2, 1]), jnp.ones(3, bool))


def test_disconnected_labels():
    apart = jnp.array([[0.0, 1.0, jnp.inf], [jnp.inf, jnp.inf, 0.0]])
    with pytest.raises(ValueError, match="no path connects"):
        zeroshot.frechet_costs(jnp.array([0.5, 0.5]), apart)
    costs = jax.jit(zeroshot.frechet_costs)(jnp.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]), apart)
    inf = np.inf
    np.testing.assert_array_equal(costs, [[inf, inf, inf], [0, 1, inf], [inf, inf, 0]])
    for bad in (jnp.array([[-1.0]]), jnp.array([[jnp.nan]])):
        with pytest.raises(ValueError, match="finite and >= 0"):
            zeroshot.frechet_costs(jnp.ones(1), bad)
    with pytest.raises(ValueError, match="2 roots"):
        zeroshot.tree_frechet_costs(jnp.ones(2) / 2, jnp.array([0, 1]))
    assert np.isnan(jax.jit(zeroshot.tree_frechet_costs)(jnp.ones(2) / 2, jnp.array([0, 1]))).all()
    assert np.isnan(jax.jit(zeroshot.tree_frechet_costs)(jnp.ones(2) / 2, jnp.array([1, 0]))).all()


def test_one_label():
    assert zeroshot.frechet_costs(jnp.ones(1), jnp.zeros((1, 1))).tolist() == [0.0]
    assert zeroshot.tree_frechet_costs(jnp.ones(1), jnp.array([-1])).tolist() == [0.0]
    assert zeroshot.embedding_frechet_costs(jnp.ones(1), jnp.ones((1, 2))).tolist() == [0.0]
    assert zeroshot.tree_frechet_costs(jnp.ones(1), jnp.array([-1, 0, 1]), observed=jnp.array([2])).tolist() == [
        4,
        1,
        0,
    ]


@pytest.mark.parametrize("observed", [[0, 3], [-1, 0]])
def test_labels_out_of_range(observed):
    half, seen = jnp.array([0.5, 0.5]), jnp.array(observed)
    for costs, labels in (
        (zeroshot.tree_frechet_costs, jnp.array([-1, 0, 1])),
        (zeroshot.embedding_frechet_costs, jnp.eye(3)),
    ):
        with pytest.raises(ValueError, match=r"observed must hold labels in \[0, 3\)"):
            costs(half, labels, observed=seen)
        traced = jax.jit(lambda labels, seen, costs=costs: costs(half, labels, observed=seen))
        assert np.isnan(traced(labels, seen)).all()


def test_shapes():
    with pytest.raises(ValueError, match="sq_dist must have shape"):
        zeroshot.frechet_costs(jnp.ones(3) / 3, jnp.zeros((2, 5)))
    with pytest.raises(ValueError, match="column per observed label"):
        zeroshot.tree_frechet_costs(jnp.ones(3) / 3, jnp.array([-1, 0]))
    with pytest.raises(ValueError, match="column per observed label"):
        zeroshot.embedding_frechet_costs(jnp.ones(3) / 3, jnp.eye(4), observed=jnp.array([0, 1]))
    with pytest.raises(ValueError, match="K >= 1"):
        zeroshot.frechet_costs(jnp.zeros((2, 0)), jnp.zeros((0, 5)))
