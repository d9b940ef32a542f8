"""Trained classifiers: digits are learned quickly, masked classes and rows take no part, seeds go through vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from experiments.assets.classifiers import episodic_encoder, penultimate, train_classifier
from experiments.networks import mlp

KEY = jax.random.key(0)
NETWORK = mlp((64, 32, 10))
BASE = np.arange(10) < 6


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    train = np.random.default_rng(0).permutation(len(y)) < 0.8 * len(y)
    return (x / 16).astype(np.float32), y.astype(np.int32), train


def _nearest_class_mean(features, y, train, classes):
    means = np.stack([features[train & (y == c)].mean(0) for c in classes])
    test = ~train & np.isin(y, classes)
    distances = ((features[test][:, None] - means) ** 2).sum(-1)
    return np.mean(np.asarray(classes)[distances.argmin(1)] == y[test])


def _train(x, y, key, **masks):
    # The same sizes everywhere in this file, so that the training compiles once.
    options = {"num_classes": 10, "num_steps": 150, "learning_rate": 5e-3}
    return train_classifier(NETWORK, x, y, key, **options, **masks)


def test_a_short_training_reads_digits(digits):
    x, y, train = digits
    params = _train(x, y, KEY, class_where=np.ones(10, bool), where=train)
    right = NETWORK.logits(params, x).argmax(-1) == y
    assert right[~train].mean() > 0.93


def test_masked_classes_are_neither_drawn_nor_named(digits):
    x, y, train = digits
    params = _train(x, y, KEY, class_where=BASE, where=train)
    # Rows that may not be drawn may hold anything.
    poisoned = np.where((train & BASE[y])[:, None], x, np.nan)
    again = _train(poisoned, np.where(train, y, -1), KEY, class_where=BASE, where=np.ones(len(y), bool))
    jax.tree.map(np.testing.assert_array_equal, params, again)
    # No gradient reaches the logits of the other classes: their columns stay as they were drawn.
    start = jax.tree.map(np.asarray, jax.jit(NETWORK.init)(jax.random.split(KEY)[0])["head"])
    head = jax.tree.map(np.asarray, params["head"])
    np.testing.assert_allclose(head["kernel"][:, ~BASE], start["kernel"][:, ~BASE], atol=1e-7)
    np.testing.assert_array_equal(head["bias"][~BASE], 0)
    assert (np.abs(head["kernel"] - start["kernel"]) > 1e-3)[:, BASE].mean() > 0.9
    test = ~train & BASE[y]
    logits = np.where(BASE, NETWORK.logits(params, x[test]), -np.inf)
    assert (logits.argmax(-1) == y[test]).mean() > 0.95


def test_seeds_and_class_masks_through_vmap_are_separate_runs(digits):
    x, y, train = digits
    keys, masks = jax.random.split(KEY, 2), np.stack([BASE, ~BASE])
    together = jax.vmap(lambda key, mask: _train(x, y, key, class_where=mask, where=train))(keys, masks)
    for i in range(2):
        alone = _train(x, y, keys[i], class_where=masks[i], where=train)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[i], b, atol=1e-3), together, alone)  # noqa: B023


def test_penultimate_is_the_features_in_blocks_without_gradient():
    network = mlp((2, 3, 2))
    params = network.init(KEY)
    x = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    features, gradient = jax.vjp(lambda p: penultimate(network, p, x, block=4), params)
    np.testing.assert_allclose(features, network.features(params, x), atol=1e-6)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient(jnp.ones((10, 3)))))


def test_episodes_on_base_classes_sharpen_class_means(digits):
    x, y, train = digits
    poisoned = np.where((train & BASE[y])[:, None], x, np.nan)
    options = {"num_classes": 10, "num_steps": 100, "ways": 5, "shots": 3, "queries": 5, "learning_rate": 5e-3}
    params = episodic_encoder(NETWORK, poisoned, y, KEY, class_where=BASE, where=train, **options)
    drawn = jax.jit(NETWORK.init)(jax.random.split(KEY)[0])
    before, after = (penultimate(NETWORK, p, x) for p in (drawn, params))
    base = np.flatnonzero(BASE)
    start = _nearest_class_mean(np.asarray(before), y, train, base)
    end = _nearest_class_mean(np.asarray(after), y, train, base)
    assert end > 0.94
    assert end > start + 0.02


def test_episodes_cope_with_small_and_empty_classes():
    network = mlp((2, 4, 3))
    x = jnp.array([[0.0, 0.0], [0.1, 0.0], [1.0, 1.0]])
    options = {"num_classes": 3, "num_steps": 3, "ways": 2, "shots": 2, "queries": 3}
    small = episodic_encoder(network, x, jnp.array([0, 0, 2]), KEY, **options)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(small))
    none = episodic_encoder(network, x, jnp.array([-1, 3, 7]), KEY, **options)
    assert np.isnan(none["hidden"]["dense0"]["kernel"]).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.ones((5, 2), int)}, TypeError, "x must be floating"),
        ({"y": np.ones(5)}, TypeError, "y must hold integers"),
        ({"y": np.ones(4, int)}, ValueError, "must agree in their first"),
        ({"num_classes": 1}, ValueError, "num_classes must be at least 2"),
        ({"num_classes": 4}, ValueError, "network must have num_classes=4 logits, got 3"),
        ({"class_where": np.ones(2, bool)}, ValueError, "class_where must have shape"),
        ({"where": np.ones(3, bool)}, ValueError, "where must have shape"),
    ],
)
def test_bad_input_is_named(change, error, message):
    arguments = {"x": np.ones((5, 2), np.float32), "y": np.ones(5, int), "num_classes": 3} | change
    with pytest.raises(error, match=message):
        train_classifier(mlp((2, 3)), key=KEY, num_steps=1, **arguments)


@pytest.mark.parametrize("change", [{"ways": 4}, {"ways": 0}, {"shots": 0}, {"queries": 0}])
def test_bad_episodes_are_named(change):
    options = {"num_classes": 3, "num_steps": 1, "ways": 2} | change
    with pytest.raises(ValueError, match=next(iter(change))):
        episodic_encoder(mlp((2, 3)), np.ones((5, 2)), np.ones(5, int), KEY, **options)
