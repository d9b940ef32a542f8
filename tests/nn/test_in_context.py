"""Learners that predict each label from the examples before it, against plain numpy that does the same in a loop."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from jaxlab import envs, nn

D, T = 5, 24
TASK = {
    kind: jax.tree.map(
        np.asarray,
        jax.vmap(lambda key, kind=kind: envs.boolean_task(key, kind, num_dims=D, num_points=T))(
            jax.random.split(jax.random.key(2), 8)
        ),
    )
    for kind in ("conjunction", "parity", "majority")
}


def test_elimination_is_that_of_a_loop_over_literals():
    task = TASK["conjunction"]
    got = np.asarray(jax.vmap(nn.conjunction_elimination)(task.x, task.y))
    for x, y, predicted in zip(task.x, task.y, got, strict=True):
        literals = set(itertools.product(range(D), (1.0, -1.0)))
        for i in range(T):
            assert predicted[i] == (1.0 if all(x[i, j] == s for j, s in literals) else -1.0)
            if y[i] > 0:
                literals = {(j, s) for j, s in literals if x[i, j] == s}
    assert not ((got > 0) & (task.y < 0)).any()
    assert ((got != task.y).sum(1) <= D + 1).all()
    assert (got > 0).any()


def test_a_disjunction_is_a_conjunction_seen_from_the_other_side():
    task = envs.boolean_task(jax.random.key(4), "disjunction", num_dims=D, num_points=60)
    predicted = -nn.conjunction_elimination(-task.x, -task.y)
    assert not np.any((predicted < 0) & (task.y > 0))
    np.testing.assert_array_equal(predicted[-20:], task.y[-20:])


@pytest.mark.parametrize("k", [1, 3])
def test_nearest_neighbors_are_those_of_scikit_learn(k):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(T, 3)).astype(np.float32), rng.integers(0, 4, T)
    votes = np.asarray(nn.nearest_neighbor_icl(x, labels, num_classes=4, k=k))
    np.testing.assert_array_equal(votes[0], 0)
    np.testing.assert_array_equal(votes.sum(1), np.minimum(np.arange(T), k))
    for i in range(k, T):
        peer = KNeighborsClassifier(k).fit(x[:i], labels[:i])
        expected = np.bincount(labels[peer.kneighbors(x[i : i + 1])[1][0]], minlength=4)
        np.testing.assert_array_equal(votes[i], expected)


def test_of_equally_near_points_the_earlier_votes():
    x = jnp.array([[0.0], [2.0], [1.0]])
    assert nn.nearest_neighbor_icl(x, jnp.array([1, 0, 0]), num_classes=2)[2].tolist() == [0.0, 1.0]
    assert nn.nearest_neighbor_icl(x, jnp.array([7, 0, 0]), num_classes=2)[2].tolist() == [0.0, 0.0]


def test_the_perceptron_is_that_of_a_loop():
    task = TASK["majority"]
    got = np.asarray(jax.vmap(nn.averaged_perceptron)(task.x, task.y))
    for x, y, scores in zip(task.x, task.y, got, strict=True):
        weights = [np.zeros(D + 1)]
        for i in range(T):
            row = np.append(x[i], 1.0)
            np.testing.assert_allclose(scores[i], np.mean(weights, axis=0) @ row, atol=1e-5)
            wrong = y[i] * (weights[-1] @ row) <= 0
            weights.append(weights[-1] + wrong * y[i] * row)
    last_alone = np.abs(got[:, -1] - [w @ np.append(x[-1], 1.0) for x, w in [(task.x[-1], weights[-2])] * 8])
    assert last_alone[-1] > 1e-3  # the average is not the last vector


@pytest.mark.parametrize("count", [2, 4, 9])
def test_equations_over_two_elements_by_brute_force(count):
    rng = np.random.default_rng(count)
    every = np.array(list(itertools.product([False, True], repeat=4)))
    solve = jax.jit(nn.gf2_solve)
    for _ in range(20):
        matrix, rhs = rng.random((count, 4)) < 0.5, rng.random(count) < 0.5
        found = solve(matrix, rhs)
        works = [candidate for candidate in every if (((matrix & candidate).sum(1) % 2 == 1) == rhs).all()]
        assert bool(found.consistent) == bool(works)
        sums = {tuple((matrix[list(chosen)].sum(0) % 2).tolist()) for chosen in subsets(count)}
        assert 2 ** int(found.rank) == len(sums)
        if works:
            assert np.asarray(found.x).tolist() in [work.tolist() for work in works]
            assert len(works) == 2 ** (4 - int(found.rank))


def subsets(count):
    return (chosen for size in range(count + 1) for chosen in itertools.combinations(range(count), size))


def test_equations_may_be_masked_and_contradict():
    matrix, rhs = np.array([[True, False], [True, False], [False, True]]), np.array([True, False, True])
    found = nn.gf2_solve(matrix, rhs)
    assert not found.consistent
    assert found.x.tolist() == [True, True]
    found = nn.gf2_solve(matrix, rhs, where=np.array([False, True, True]))
    assert found.consistent
    assert found.x.tolist() == [False, True]
    empty = nn.gf2_solve(np.zeros((0, 2), bool), np.zeros(0, bool))
    assert (int(empty.rank), bool(empty.consistent), empty.x.tolist()) == (0, True, [False, False])
    with pytest.raises(TypeError, match="matrix must be boolean"):
        nn.gf2_solve(np.ones((2, 2)), rhs[:2])
    with pytest.raises(ValueError, match="rhs must have shape"):
        nn.gf2_solve(matrix, rhs[:2])


def test_a_parity_is_known_where_the_points_before_span_the_new_one():
    task = TASK["parity"]
    got = np.asarray(jax.vmap(nn.parity_elimination)(task.x, task.y))
    solve = jax.jit(nn.gf2_solve)
    for x, y, predicted in zip(task.x, task.y, got, strict=True):
        bits = x > 0
        for i in range(T):
            chosen = [s for s in subsets(i) if (bits[list(s)].sum(0) % 2 == bits[i]).all()] if i <= 8 else None
            if chosen is not None:
                assert (predicted[i] != 0) == bool(chosen)
            if predicted[i]:
                assert predicted[i] == y[i]
            if solve(bits, y > 0, where=np.arange(T) < i).rank == D:
                np.testing.assert_array_equal(predicted[i:], y[i:])
                break
    assert (got[:, -1] != 0).all()


def test_tokens_show_each_label_one_step_late():
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    labels = np.array([[0, 2, 1, 0], [1, 1, 5, 2]])
    tokens = np.asarray(nn.in_context_tokens(x, labels, num_classes=3))
    np.testing.assert_array_equal(tokens[..., :3], x)
    np.testing.assert_array_equal(tokens[:, 0, 3:], 0)
    np.testing.assert_array_equal(tokens[0, 1:, 3:], np.eye(3)[[0, 2, 1]])
    np.testing.assert_array_equal(tokens[1, 1:, 3:], [*np.eye(3)[[1, 1]], [0, 0, 0]])
    with pytest.raises(ValueError, match=r"labels must have shape \[2, 4\]"):
        nn.in_context_tokens(x, labels[0], num_classes=3)


def test_a_causal_model_never_sees_the_label_it_predicts():
    x, labels = np.zeros((5, 2), np.float32), np.array([0, 1, 1, 0, 1])

    def model(params, tokens):
        return jnp.cumsum(tokens @ params, axis=0)

    params = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)

    def logits(labels):
        return np.asarray(nn.in_context_logits(model, params, nn.in_context_tokens(x, labels, num_classes=2)))

    for i in range(5):
        flipped = np.where(np.arange(5) == i, 1 - labels, labels)
        same = (logits(flipped) == logits(labels)).all(1)
        assert same.tolist() == [True] * (i + 1) + [False] * (4 - i)


def test_logits_keep_the_arrangement_of_the_sequences():
    tokens = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    got = nn.in_context_logits(lambda params, t: t[:, :2] * params, 2.0, tokens)
    np.testing.assert_allclose(got, 2 * tokens[..., :2])
    with pytest.raises(ValueError, match="tokens must have shape"):
        nn.in_context_logits(None, None, np.ones(3, np.float32))
    for learner in (nn.conjunction_elimination, nn.averaged_perceptron, nn.parity_elimination):
        with pytest.raises(ValueError, match="x and y must agree"):
            learner(jnp.ones((3, 2)), jnp.ones(2))
