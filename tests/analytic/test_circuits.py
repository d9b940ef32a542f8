"""The hidden Chow-Liu tree against sums over everything."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import analytic, kernels, metrics

PARENT = np.array([1, 3, 1, -1, 3])  # root 3; 1 and 4 below it; 0 and 2 below 1
D, V, H = len(PARENT), 2, 3
EVERY = np.array(list(itertools.product(range(V), repeat=D)), np.int32)
TREE = analytic.hclt_init(jax.random.key(0), PARENT, num_states=H, num_values=V)


def brute_force(tree, x):
    """Sums over all hidden states."""
    transition, emission = (np.exp(np.asarray(t, np.float64)) for t in (tree.log_transition, tree.log_emission))
    total = 0.0
    for z in itertools.product(range(emission.shape[1]), repeat=len(x)):
        term = 1.0
        for i, parent in enumerate(np.asarray(tree.parent)):
            term *= transition[i, 0 if parent == len(x) else z[parent], z[i]] * emission[i, z[i], x[i]]
        total += term
    return total


def test_order_is_depth_first():
    assert TREE.order.tolist() == [3, 1, 0, 2, 4]
    chain = analytic.hclt_init(jax.random.key(0), jnp.array([1, 2, -1]), num_states=1, num_values=2)
    assert chain.order.tolist() == [2, 1, 0]


def test_likelihood_is_the_sum_over_hidden_states_and_sums_to_one():
    probs = np.exp(analytic.hclt_log_prob(TREE, EVERY))
    np.testing.assert_allclose(probs.sum(), 1.0, rtol=1e-5)
    np.testing.assert_allclose(probs[[0, 7, 21]], [brute_force(TREE, EVERY[i]) for i in (0, 7, 21)], rtol=1e-5)


def test_marginals_sum_the_other_variables_out():
    where = np.array([True, False, True, False, False])
    given = np.array([[1, -7, 0, 99, 5]], np.int32)
    marginal = np.exp(analytic.hclt_log_prob(TREE, given, where=where[None]))[0]
    probs = np.exp(analytic.hclt_log_prob(TREE, EVERY))
    np.testing.assert_allclose(marginal, probs[(EVERY[:, 0] == 1) & (EVERY[:, 2] == 0)].sum(), rtol=1e-5)
    assert analytic.hclt_log_prob(TREE, given, where=jnp.zeros((1, D), bool))[0] == pytest.approx(0.0, abs=1e-6)


def test_conditionals_are_ratios_of_marginals_and_telescope():
    order = np.asarray(TREE.order)
    log_probs = np.asarray(analytic.hclt_prefix_log_marginals(TREE, EVERY))
    for t in range(D):
        seen = np.isin(np.arange(D), order[:t])
        before = analytic.hclt_log_prob(TREE, EVERY, where=np.broadcast_to(seen, EVERY.shape))
        for v in range(V):
            x = EVERY.copy()
            x[:, order[t]] = v
            both = seen | (np.arange(D) == order[t])
            joint = analytic.hclt_log_prob(TREE, x, where=np.broadcast_to(both, EVERY.shape))
            np.testing.assert_allclose(log_probs[:, t, v], joint - before, atol=1e-5)
    chosen = np.take_along_axis(log_probs, EVERY[:, order, None], axis=2)[..., 0].sum(1)
    np.testing.assert_allclose(chosen, analytic.hclt_log_prob(TREE, EVERY), atol=1e-5)


def test_em_counts_are_expected_counts_and_never_lower_the_likelihood():
    x = np.random.default_rng(0).choice(EVERY.shape[0], 40)
    tree, history = TREE, []
    for _ in range(30):
        tree, fit = analytic.hclt_em_step(tree, EVERY[x], smoothing=0.0)
        history.append(float(fit))
    assert np.all(np.diff(history) > -1e-6)
    assert history[-1] > history[0] + 0.05
    for table in (tree.log_transition, tree.log_emission):
        np.testing.assert_allclose(jnp.exp(table).sum(-1), 1.0, rtol=1e-5)


def test_one_state_is_the_independent_model():
    x = np.random.default_rng(0).integers(0, V, (30, D))
    tree = analytic.hclt_init(jax.random.key(0), PARENT, num_states=1, num_values=V)
    tree, _ = analytic.hclt_em_step(tree, x, smoothing=0.5)
    wanted = (x.mean(0) * 30 + 0.25) / 30.5
    np.testing.assert_allclose(np.exp(tree.log_emission[:, 0, 1]), wanted, rtol=1e-5)


def test_small_steps_and_smoothing():
    x = np.zeros((4, D), np.int32)
    whole, _ = analytic.hclt_em_step(TREE, x, smoothing=0.1)
    half, _ = analytic.hclt_em_step(TREE, x, smoothing=0.1, step_size=0.5)
    between = 0.5 * (np.exp(TREE.log_emission) + np.exp(whole.log_emission))
    np.testing.assert_allclose(np.exp(half.log_emission), between, rtol=1e-5)
    assert np.isfinite(np.asarray(whole.log_emission)).all()
    hard, _ = analytic.hclt_em_step(TREE, x, smoothing=0.0)
    assert analytic.hclt_log_prob(hard, x)[0] == pytest.approx(0.0, abs=1e-5)
    assert analytic.hclt_log_prob(hard, x + 1)[0] == -jnp.inf


def test_states_that_are_the_values_give_chow_and_lius_tree():
    """Deterministic emissions: the likelihood factors over the tree's edges, and no tree has a higher one."""
    rng = np.random.default_rng(1)
    hidden = rng.integers(0, 2, (200, 1))
    x = np.where(rng.random((200, 4)) < [0.1, 0.3, 0.2, 0.15], 1 - hidden, hidden).astype(np.int32)
    information = metrics.pairwise_mutual_information(x, num_values=2, alpha=0.0)

    def fit(parent):
        tree = analytic.hclt_init(jax.random.key(0), parent, num_states=2, num_values=2)
        tree = tree._replace(log_emission=jnp.broadcast_to(jnp.log(jnp.eye(2)), (4, 2, 2)))
        tree, _ = analytic.hclt_em_step(tree, x, smoothing=0.0)
        return float(analytic.hclt_log_prob(tree, x).mean())

    best = fit(kernels.minimum_spanning_tree(-information).parent)
    trees = [p for p in itertools.product(range(4), repeat=3) if all(p[i] != i + 1 for i in range(3))]
    trees = [np.array([-1, *p]) for p in trees if _joined(p)]
    assert len(trees) == 16
    assert best == pytest.approx(max(fit(parent) for parent in trees), abs=1e-5)


def _joined(parents):
    """Whether 1, 2 and 3 all lead to 0."""
    for node in (1, 2, 3):
        for _ in range(3):
            node = 0 if node == 0 else parents[node - 1]
        if node:
            return False
    return True


def test_mutual_information_by_definition():
    x = np.random.default_rng(0).integers(0, 3, (50, 4))
    ours = np.asarray(metrics.pairwise_mutual_information(x, num_values=3, alpha=0.9))
    for i, j in ((0, 1), (2, 3)):
        joint = np.full((3, 3), 0.1)
        np.add.at(joint, (x[:, i], x[:, j]), 1.0)
        joint /= joint.sum()
        wanted = (joint * np.log(joint / joint.sum(1, keepdims=True) / joint.sum(0))).sum()
        np.testing.assert_allclose(ours[i, j], wanted, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(ours, ours.T)
    spoiled = np.vstack([x, [[0, 1, 2, 3], [0, -1, 0, 0]]])
    np.testing.assert_allclose(metrics.pairwise_mutual_information(spoiled, num_values=3, alpha=0.9), ours, atol=1e-6)
    own = metrics.pairwise_mutual_information(x[:, [0, 0]], num_values=3, alpha=0.0)
    np.testing.assert_allclose(own[0, 1], own[0, 0], rtol=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="parent must be one tree, got 2 roots"):
        analytic.hclt_init(jax.random.key(0), jnp.array([-1, -1]), num_states=2, num_values=2)
    with pytest.raises(ValueError, match=r"x must have shape \[N, 5\] to match tree, got \[2, 4\]"):
        analytic.hclt_log_prob(TREE, jnp.zeros((2, 4), jnp.int32))
    with pytest.raises(TypeError, match="x"):
        analytic.hclt_log_prob(TREE, jnp.zeros((2, 5)))
    with pytest.raises(ValueError, match="step_size"):
        analytic.hclt_em_step(TREE, EVERY, step_size=1.5)
    with pytest.raises(ValueError, match="smoothing"):
        analytic.hclt_em_step(TREE, EVERY, smoothing=-0.1)
    with pytest.raises(ValueError, match=r"values must have shape \[3\]"):
        analytic.hclt_observe(TREE, analytic.hclt_prefix_init(TREE, 3), jnp.zeros(4, jnp.int32))
    unknown = analytic.hclt_log_prob(TREE, np.array([[0, 0, 0, 0, 9], [0, 0, 0, 0, 1]]))
    np.testing.assert_array_equal(jnp.isnan(unknown), [True, False])
