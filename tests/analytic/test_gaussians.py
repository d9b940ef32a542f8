"""Samples of class Gaussians: their moments, their number, what covariances they take."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import analytic

RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(3, 4)).astype(np.float32)
HALF = RNG.normal(size=(3, 4, 4))
FULL = (HALF @ HALF.swapaxes(1, 2)).astype(np.float32)
COUNTS = np.array([2, 0, 3], np.int32)

sample = jax.jit(analytic.sample_class_gaussians, static_argnames="total")


def test_how_many_of_which_class():
    found = sample(jax.random.key(0), MEANS, FULL, counts=COUNTS, total=7)
    assert found.labels.tolist() == [0, 0, 2, 2, 2, -1, -1]
    assert found.where.tolist() == [True] * 5 + [False] * 2
    assert (found.features[5:] == 0).all()
    assert len(np.unique(found.features[:5, 0])) == 5
    assert sample(jax.random.key(0), MEANS, FULL, counts=COUNTS, total=3).labels.tolist() == [0, 0, 2]
    none = sample(jax.random.key(0), MEANS, FULL, counts=np.array([0, -3, 0]), total=3)
    assert not none.where.any()


@pytest.mark.parametrize(
    "covariances",
    [FULL, np.abs(MEANS), np.array([0.5, 1, 2], np.float32), np.float32(0.3)],
    ids=["full", "diagonal", "class", "one"],
)
def test_moments(covariances):
    total = 12000
    found = sample(jax.random.key(1), MEANS, covariances, counts=np.full(3, total // 3), total=total)
    spread = np.asarray(covariances)
    if spread.ndim < 3:
        spread = np.broadcast_to(spread.reshape(spread.shape + (1,) * (2 - spread.ndim)), (3, 4))
        spread = spread[:, :, None] * np.eye(4)
    for label in range(3):
        rows = np.asarray(found.features)[np.asarray(found.labels) == label]
        np.testing.assert_allclose(rows.mean(0), MEANS[label], atol=0.15)
        np.testing.assert_allclose(np.cov(rows.T), spread[label], atol=0.1 * max(1, spread[label].max()))


def test_singular_covariances():
    flat = np.diag([1.0, 0, 0, 0]).astype(np.float32)
    line = np.stack([flat, 0 * flat, flat - 1e-6 * np.eye(4, dtype=np.float32)])  # the last is not even semidefinite
    found = sample(jax.random.key(0), MEANS, line, counts=np.array([4, 4, 4]), total=12)
    away = np.asarray(found.features) - MEANS[np.asarray(found.labels)]
    np.testing.assert_allclose(away[:, 1:], 0, atol=1e-6)
    assert (np.abs(away[[0, 1, 2, 3, 8, 9, 10, 11], 0]) > 0).all()
    assert (away[4:8] == 0).all()


def test_counts_may_be_traced_and_states_feed_it():
    x = RNG.normal(size=(30, 4)).astype(np.float32)
    stats = analytic.class_stats_update(analytic.class_stats_init(3, 4, second="diag"), x, np.arange(30) % 3)
    means, variances = analytic.class_stats_means(stats), analytic.class_stats_variance(stats)
    draw = functools.partial(analytic.sample_class_gaussians, jax.random.key(0), means, variances, total=5)
    together = jax.jit(jax.vmap(lambda counts: draw(counts=counts).labels))(jnp.array([[5, 0, 0], [1, 1, 1]]))
    assert together.tolist() == [[0] * 5, [0, 1, 2, -1, -1]]


def test_bad_input():
    call = functools.partial(analytic.sample_class_gaussians, jax.random.key(0), counts=COUNTS, total=3)
    with pytest.raises(ValueError, match="covariances must have one of the shapes"):
        call(MEANS, FULL[0])
    with pytest.raises(ValueError, match="total must be an integer of at least 1"):
        call(MEANS, FULL, total=0)
    with pytest.raises(TypeError, match="counts must hold integers"):
        call(MEANS, FULL, counts=np.ones(3))
    with pytest.raises(ValueError, match=r"counts must have shape \[3\]"):
        call(MEANS, FULL, counts=np.ones(2, int))
