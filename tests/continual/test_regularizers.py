"""Regularisers of a trained body: what each protects, and what the local softmax leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import continual, distill, losses, optim

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3)).astype(np.float32)
Y = np.array([2, 3, 2, 3, 3, 2, 2, 3])
HEAD = {"kernel": RNG.normal(size=(3, 5)).astype(np.float32), "bias": RNG.normal(size=5).astype(np.float32)}


def cross_entropy(head, x, y, classes):
    logits = x @ head["kernel"] + head["bias"]
    where = jnp.broadcast_to(classes, logits.shape)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y, where=where)


def test_classes_of_a_task():
    classes = continual.task_classes(Y, num_classes=5)
    np.testing.assert_array_equal(classes, [False, False, True, True, False])
    np.testing.assert_array_equal(continual.task_classes(Y, num_classes=5, where=Y == 3), np.arange(5) == 3)
    np.testing.assert_array_equal(continual.task_classes(np.array([-1, 5, 0]), num_classes=5), np.arange(5) == 0)
    tasks = np.array([[0, 1], [4, 4]])
    np.testing.assert_array_equal(continual.task_classes(tasks, num_classes=5), [[1, 1, 0, 0, 0], [0, 0, 0, 0, 1]])
    assert not continual.task_classes(np.zeros(0, int), num_classes=2).any()
    with pytest.raises(TypeError, match="labels must hold integers"):
        continual.task_classes(np.ones(3), num_classes=2)
    with pytest.raises(ValueError, match="labels must have shape"):
        continual.task_classes(np.int32(1), num_classes=2)
    with pytest.raises(ValueError, match="num_classes must be an integer of at least 1"):
        continual.task_classes(Y, num_classes=0)


def test_local_softmax_leaves_other_classes_exactly_alone():
    local = continual.task_classes(Y, num_classes=5)
    grads = jax.grad(lambda head: jnp.mean(cross_entropy(head, X, Y, local)))(HEAD)
    others = np.array([0, 1, 4])
    np.testing.assert_array_equal(np.asarray(grads["kernel"])[:, others], 0)
    np.testing.assert_array_equal(np.asarray(grads["bias"])[others], 0)
    assert (np.abs(grads["bias"])[np.array([2, 3])] > 0).all()
    everyone = jax.grad(lambda head: jnp.mean(cross_entropy(head, X, Y, np.ones(5, bool))))(HEAD)
    assert (np.asarray(everyone["bias"])[others] > 0).all()  # pushed down, though their rows are not there


def test_fisher_of_a_linear_softmax_is_per_example():
    everyone = np.ones(5, bool)
    fisher = optim.fisher_diagonal(
        lambda head, batch: cross_entropy(head, *batch, everyone), HEAD, (jnp.asarray(X), jnp.asarray(Y))
    )
    error = np.asarray(jax.nn.softmax(X @ HEAD["kernel"] + HEAD["bias"])) - np.eye(5)[Y]
    np.testing.assert_allclose(fisher["bias"], (error**2).mean(0), rtol=1e-5)
    np.testing.assert_allclose(fisher["kernel"], (X**2).T @ error**2 / 8, rtol=1e-5)
    batch_mean = (X.T @ error / 8) ** 2
    assert (batch_mean < 0.7 * fisher["kernel"]).mean() > 0.5  # of the mean gradient: something else


def test_penalties_are_flat_at_the_anchor_and_ewc_with_ones_is_l2():
    l2 = lambda head: optax.tree.norm(optax.tree.sub(head, HEAD), squared=True)  # noqa: E731
    ones = jax.tree.map(np.ones_like, HEAD)
    ewc = lambda head: losses.ewc_penalty(head, HEAD, ones)  # noqa: E731
    moved = jax.tree.map(lambda leaf: leaf + 0.5, HEAD)
    np.testing.assert_allclose(ewc(moved), l2(moved), rtol=1e-6)
    np.testing.assert_allclose(l2(moved), 0.25 * 20, rtol=1e-6)
    for penalty in (l2, ewc):
        assert penalty(HEAD) == 0
        assert all((leaf == 0).all() for leaf in jax.tree.leaves(jax.grad(penalty)(HEAD)))


def test_prediction_distillation_sees_old_classes_only():
    old = np.arange(5) < 2
    before, now = (RNG.normal(size=(8, 5)).astype(np.float32) for _ in range(2))

    def penalty(logits, temperature=2.0):
        return jnp.mean(distill.kd(logits, before, where=old, temperature=temperature))

    grad = np.asarray(jax.grad(penalty)(now))
    np.testing.assert_array_equal(grad[:, ~old], 0)
    assert np.abs(grad[:, old]).min() > 0
    elsewhere = np.where(old, now, now + 7)
    np.testing.assert_allclose(penalty(elsewhere), penalty(now), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(penalty)(np.where(old, before, now)), 0, atol=1e-6)
    hot = penalty(now, temperature=300.0)  # the mean squared difference of centred logits, over 2 K
    difference = (now - before)[:, old]
    difference -= difference.mean(1, keepdims=True)
    np.testing.assert_allclose(hot, np.mean(np.sum(difference**2, 1)) / (2 * 2), rtol=0.05)


def test_feature_distillation_is_the_distance_of_features():
    grad = jax.grad(lambda f: jnp.sum(distill.feature_mse(f, X)))(X)
    np.testing.assert_array_equal(grad, 0)
    small, large = (np.asarray(distill.feature_mse(X + move, X)) for move in (1.0, 3.0))
    np.testing.assert_allclose(large, 9 * small, rtol=1e-5)
