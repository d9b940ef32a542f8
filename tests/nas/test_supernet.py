"""Sub-networks by slices and by masks, the sandwich rule, and the narrowing of a space by value and diversity."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from jaxlab import metrics, nas

rng = np.random.default_rng(0)
WIDTH, HIDDEN, CLASSES = 6, 8, 3
PARAMS = {
    "in": rng.normal(size=(5, WIDTH)).astype(np.float32),
    "layer": {
        "up": rng.normal(size=(2, WIDTH, HIDDEN)).astype(np.float32),
        "down": rng.normal(size=(2, HIDDEN, WIDTH)).astype(np.float32),
        "scale": rng.normal(size=(2, WIDTH)).astype(np.float32),
    },
    "out": rng.normal(size=(WIDTH, CLASSES)).astype(np.float32),
}
X = rng.normal(size=(4, 5)).astype(np.float32)


def dims(width, hidden, depth):
    layer = {"up": (depth, width, hidden), "down": (depth, hidden, width), "scale": (depth, width)}
    return {"in": (None, width), "layer": layer, "out": (width,)}


def forward(params, width=None):
    """A residual perceptron with a normal layer; width says how many units exist, None that all do."""
    where = None if width is None else jnp.arange(params["in"].shape[1]) < width
    x = X @ params["in"]
    for up, down, scale in zip(*(params["layer"][name] for name in ("up", "down", "scale")), strict=True):
        x = x + jnp.tanh((jax.nn.standardize(x, where=where, epsilon=1e-6) * scale) @ up) @ down
    return x @ params["out"]


def test_whole_sizes_change_nothing():
    for fn in (nas.slice_subnetwork, nas.mask_subnetwork):
        for whole in (dims(WIDTH, HIDDEN, 2), dims(99, 99, 99), jax.tree.map(lambda _: (), PARAMS)):
            jax.tree.map(np.testing.assert_array_equal, fn(PARAMS, whole), PARAMS)


def test_slices_are_nested():
    a, b = (4, 7, 1), (5, 3, 2)
    twice = nas.slice_subnetwork(nas.slice_subnetwork(PARAMS, dims(*a)), dims(*b))
    once = nas.slice_subnetwork(PARAMS, dims(*map(min, a, b)))
    jax.tree.map(np.testing.assert_array_equal, twice, once)


@pytest.mark.parametrize("sizes", [(4, 5, 2), (2, 8, 1), (6, 1, 0)])
def test_a_masked_network_computes_what_the_sliced_one_does(sizes):
    masked = nas.mask_subnetwork(PARAMS, dims(*sizes))
    sliced = nas.slice_subnetwork(PARAMS, dims(*sizes))
    np.testing.assert_allclose(forward(masked, sizes[0]), forward(sliced), rtol=1e-5, atol=1e-5)
    if sizes[0] < WIDTH and sizes[2]:  # a normal layer that averages over absent units is another network
        assert np.abs(forward(masked) - forward(sliced)).max() > 1e-2


def test_one_program_serves_all_sizes_and_gradients_stay_inside():
    @jax.jit
    @jax.vmap
    def slope(sizes):
        width, hidden, depth = sizes

        def loss(params):
            return jnp.sum(forward(nas.mask_subnetwork(params, dims(width, hidden, depth)), width) ** 2)

        return jax.grad(loss)(PARAMS)

    sizes = np.array([[4, 5, 2], [2, 8, 1]])
    for i, (width, hidden, depth) in enumerate(sizes):
        up = np.array(slope(sizes)["layer"]["up"][i])
        assert np.all(up[:depth, :width, :hidden] != 0)
        up[:depth, :width, :hidden] = 0
        np.testing.assert_array_equal(up, 0)


def test_what_is_masked_may_hold_anything():
    masked = nas.mask_subnetwork({"w": jnp.array([1.0, jnp.nan, jnp.inf])}, {"w": (1,)})
    np.testing.assert_array_equal(masked["w"], [1, 0, 0])
    assert nas.mask_subnetwork({"w": jnp.ones(3, jnp.bfloat16)}, {"w": (1,)})["w"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"w": (1, 1)}, ValueError, "dims must hold a tuple of at most 1 sizes for an array of shape [3], got (1, 1)"),
        ({"w": 2}, ValueError, "dims must hold a tuple"),
        ({"v": (2,)}, ValueError, "dims must have the structure of params"),
        ({"w": (1.5,)}, TypeError, "dims must"),
        ({"w": (-1,)}, ValueError, "dims must be an integer of at least 0, got -1"),
    ],
)
def test_sizes_that_do_not_fit(bad, error, message):
    for fn in (nas.slice_subnetwork, nas.mask_subnetwork):
        with pytest.raises(error, match=re.escape(message)):
            fn({"w": jnp.ones(3)}, bad)


@pytest.mark.parametrize(("count", "k"), [(27, 3), (10, 3), (7, 7), (5, 1)])
def test_groups_are_contiguous_in_cost_and_of_equal_size(count, k):
    costs = rng.permutation(count).astype(np.float32)
    groups = np.asarray(nas.partition_space(costs, k))
    sizes = np.bincount(groups, minlength=k)
    assert sizes.max() - sizes.min() <= 1
    assert (np.diff(groups[np.argsort(costs)]) >= 0).all()


def test_equal_costs_are_split_in_order():
    assert nas.partition_space(jnp.zeros(4), 2).tolist() == [0, 0, 1, 1]
    assert nas.partition_space(jnp.array([jnp.nan, 1.0]), 2).tolist() == [1, 0]
    with pytest.raises(ValueError, match="k must be at most the 4 architectures in costs, got 5"):
        nas.partition_space(jnp.zeros(4), 5)


def test_the_sandwich_holds_both_ends_and_uniform_draws():
    costs = np.array([5, 1, 4, 9, 0, 7])
    where = np.array([True, True, True, False, False, True])
    drawn = np.asarray(nas.sandwich_sample(jax.random.key(0), costs, num_random=4000, where=where))
    assert drawn[:2].tolist() == [5, 1]
    counts = np.bincount(drawn[2:], minlength=6)
    assert (counts[~where] == 0).all()
    np.testing.assert_allclose(counts[where], 1000, atol=5 * np.sqrt(750))
    assert nas.sandwich_sample(jax.random.key(0), costs, num_random=0).tolist() == [3, 4]
    assert nas.sandwich_sample(jax.random.key(0), costs, where=np.zeros(6, bool)).tolist() == [6] * 4
    with pytest.raises(ValueError, match="num_random must be an integer of at least 0"):
        nas.sandwich_sample(jax.random.key(0), costs, num_random=-1)
    with pytest.raises(ValueError, match="the number of architectures in costs must be"):
        nas.sandwich_sample(jax.random.key(0), jnp.zeros(0))


PATHS = rng.integers(0, 3, (12, 2))
VALUES = rng.uniform(size=12).astype(np.float32)
MEMBERS = softmax(rng.normal(size=(12, 9, 4)), axis=-1).astype(np.float32)
APART = np.asarray(metrics.pairwise_disagreement(MEMBERS))


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_operator_scores_are_the_means_of_the_formula(weight):
    got = nas.operator_scores(PATHS, VALUES, APART + 100 * np.eye(12), num_ops=4, weight=weight, min_count=2)
    for layer, op in itertools.product(range(2), range(4)):
        through = [p for p in range(12) if PATHS[p, layer] == op]
        diversity = [np.mean([APART[p, q] for q in range(12) if q != p]) for p in through]
        expected = VALUES[through].mean() + weight * np.mean(diversity) if len(through) >= 2 else -np.inf
        np.testing.assert_allclose(got[layer, op], expected, rtol=1e-5)
    assert np.isneginf(np.asarray(got)[:, 3]).all()


def test_diversity_decides_between_operators_of_equal_value():
    paths = np.array([[0], [0], [1], [1]])
    twins = MEMBERS[[0, 0, 1, 2]]  # those of operator 0 agree with each other
    apart = metrics.pairwise_disagreement(twins)
    scores = nas.operator_scores(paths, jnp.ones(4), apart, num_ops=2)
    assert scores[0, 1] > scores[0, 0]
    np.testing.assert_array_equal(nas.operator_scores(paths, jnp.ones(4), apart, num_ops=2, weight=0.0), 1.0)


def test_bad_scores_are_refused():
    with pytest.raises(ValueError, match="values and pair_div must have shapes"):
        nas.operator_scores(PATHS, VALUES[:5], APART, num_ops=3)
    with pytest.raises(ValueError, match="weight must be at least 0"):
        nas.operator_scores(PATHS, VALUES, APART, num_ops=3, weight=-1.0)
    assert nas.operator_scores([[0]], jnp.ones(1), jnp.ones((1, 1)), num_ops=1).tolist() == [[1.0]]


def test_shrinking_drops_the_worst_and_never_empties_a_layer():
    scores = rng.normal(size=(3, 4)).astype(np.float32)
    scores[1] -= 10  # the whole second layer is worse than everything else
    alive = np.ones((3, 4), bool)
    alive[0, np.argmin(scores[0])] = False
    for drop in range(12):
        left = np.asarray(nas.shrink(scores, alive, drop=drop))
        assert left.sum() == max(11 - drop, 3)
        assert left.any(axis=1).all()
        assert not (left & ~alive).any()
    np.testing.assert_array_equal(left, scores == np.where(alive, scores, -np.inf).max(axis=1, keepdims=True))
    worst = np.asarray(nas.shrink(scores, alive, drop=1))
    assert np.argwhere(alive & ~worst).tolist() == [[1, scores[1].argmin()]]


def test_shrinking_at_the_edges():
    ones = np.ones((2, 2), bool)
    assert nas.shrink(jnp.zeros((2, 2)), ones, drop=2).tolist() == [[False, True], [False, True]]
    assert nas.shrink(jnp.array([[jnp.nan, 1.0], [-jnp.inf, -5.0]]), ones, drop=2).tolist() == [
        [True, False],
        [False, True],
    ]
    dead = np.array([[False, False], [True, True]])
    assert nas.shrink(jnp.zeros((2, 2)), dead, drop=3).tolist() == [[False, False], [False, True]]
    with pytest.raises(TypeError, match="alive must be"):
        nas.shrink(jnp.zeros((2, 2)), None, drop=1)


WEIGHTS = rng.normal(size=(3, 2, 4, 4)).astype(np.float32)


def run_layers(path, h, first, last):
    for layer in range(3):
        inside = (first <= layer) & (layer < last)
        h = jnp.where(inside, jnp.tanh(h @ jnp.asarray(WEIGHTS)[layer, path[layer]]), h)
    return h


@pytest.mark.parametrize("split", [0, 2, 3])
def test_an_ensemble_shares_its_stem(split):
    paths, x = np.array([[0, 1, 0], [1, 1, 1]]), rng.normal(size=(5, 4)).astype(np.float32)
    got = jax.jit(
        lambda split: nas.shared_stem_ensemble(
            lambda path, x, split: run_layers(path, x, 0, split),
            lambda path, h, split: run_layers(path, h, split, 3),
            paths,
            x,
            split=split,
        )
    )(split)
    members = []
    for path in paths:
        h = x
        for layer in range(3):
            h = np.tanh(h @ WEIGHTS[layer, paths[0, layer] if layer < split else path[layer]])
        members.append(log_softmax(h, axis=-1))
    np.testing.assert_allclose(got, np.log(np.mean(np.exp(members), axis=0)), atol=1e-5)
    labels = rng.integers(0, 4, 5)
    own = -np.mean([member[np.arange(5), labels] for member in members])
    assert -np.mean(np.asarray(got)[np.arange(5), labels]) <= own + 1e-6
    if split == 3:  # nothing is left to differ in
        np.testing.assert_allclose(members[0], members[1])


def test_an_ensemble_needs_members():
    with pytest.raises(ValueError, match="the number of members in paths"):
        nas.shared_stem_ensemble(None, None, jnp.zeros((0, 3), int), jnp.ones(2), split=1)
