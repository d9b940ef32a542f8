"""Replay of prototypes: which classes are hard, how often they come, how far from their prototype."""

import jax
import numpy as np
import pytest
from scipy import special

from jaxlab import analytic, continual

RNG = np.random.default_rng(0)
PROTOTYPES = RNG.normal(size=(5, 6)).astype(np.float32)
TWINS = np.concatenate([PROTOTYPES[:1], PROTOTYPES])  # classes 0 and 1 are the same

hardness = jax.jit(continual.prototype_hardness)
sample = jax.jit(continual.sample_prototypes, static_argnames="num")


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_hardness_equals_numpy():
    cosines = unit(PROTOTYPES) @ unit(PROTOTYPES).T
    expected = (cosines.sum(1) - 1) / 4
    np.testing.assert_allclose(hardness(PROTOTYPES), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(hardness(3 * PROTOTYPES), expected, rtol=1e-4, atol=1e-6)
    exists = np.array([True, True, False, True, True])
    found = hardness(np.where(exists[:, None], PROTOTYPES, np.nan), where=exists)
    np.testing.assert_allclose(found[exists], hardness(PROTOTYPES[exists]), rtol=1e-4, atol=1e-6)
    assert found[2] == 0
    assert hardness(PROTOTYPES[:1]).tolist() == [0]


def shares(labels, num=6):
    return np.bincount(np.asarray(labels), minlength=num) / len(labels)


def test_hard_classes_come_more_often():
    expected = special.softmax(np.asarray(hardness(TWINS)) / 0.1)
    found = shares(sample(jax.random.key(0), TWINS, 0.1, num=8000).labels)
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert set(np.argsort(found)[-2:]) == {0, 1}
    even = shares(sample(jax.random.key(0), TWINS, 0.1, num=8000, temperature=1e6).labels)
    np.testing.assert_allclose(even, 1 / 6, atol=0.02)


def test_radius():
    exact = sample(jax.random.key(1), PROTOTYPES, 0.0, num=50)
    np.testing.assert_allclose(exact.features, unit(PROTOTYPES)[np.asarray(exact.labels)], rtol=1e-5)
    wide = sample(jax.random.key(1), PROTOTYPES, 2.0, num=4000)
    away = np.asarray(wide.features) - unit(PROTOTYPES)[np.asarray(wide.labels)]
    np.testing.assert_allclose(away.std(), 2.0, rtol=0.03)
    assert np.linalg.norm(wide.features, axis=1).mean() > 3  # not normalised again
    by_class = sample(jax.random.key(1), PROTOTYPES, np.float32([0, 0, 5, 0, 0]), num=400)
    away = np.asarray(by_class.features) - unit(PROTOTYPES)[np.asarray(by_class.labels)]
    moved = np.abs(away).max(1) > 1e-6
    np.testing.assert_array_equal(moved, np.asarray(by_class.labels) == 2)


def test_radius_of_the_paper_from_class_statistics():
    x = unit(RNG.normal(size=(60, 6)) + 2).astype(np.float32)
    labels = np.arange(60) % 3
    stats = analytic.class_stats_update(analytic.class_stats_init(3, 6, second="diag", shift=x[0]), x, labels)
    radius = np.sqrt(np.mean(analytic.class_stats_variance(stats)))
    traces = [np.trace(np.cov(x[labels == c].T, ddof=0)) / 6 for c in range(3)]
    np.testing.assert_allclose(radius, np.sqrt(np.mean(traces)), rtol=1e-4)


def test_classes_that_do_not_exist_are_never_drawn():
    exists = np.array([True, False, True, False, True])
    dirty = np.where(exists[:, None], PROTOTYPES, np.nan)
    found = sample(jax.random.key(2), dirty, 0.1, num=500, where=exists)
    assert set(np.asarray(found.labels)) == {0, 2, 4}
    assert found.where.all()
    assert not sample(jax.random.key(2), PROTOTYPES, 0.1, num=5, where=np.zeros(5, bool)).where.any()


def test_bad_input():
    with pytest.raises(ValueError, match=r"radius must be a number or have shape \[5\]"):
        continual.sample_prototypes(jax.random.key(0), PROTOTYPES, np.ones(3), num=2)
    with pytest.raises(ValueError, match="num must be an integer of at least 1"):
        continual.sample_prototypes(jax.random.key(0), PROTOTYPES, 0.1, num=0)
    with pytest.raises(ValueError, match="temperature must be > 0"):
        continual.sample_prototypes(jax.random.key(0), PROTOTYPES, 0.1, num=2, temperature=0.0)
    with pytest.raises(ValueError, match=r"prototypes must have shape \[C, D\]"):
        continual.prototype_hardness(PROTOTYPES[0])
