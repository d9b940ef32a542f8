"""RoBoT: its Gaussian process against scikit-learn, what it proposes, remembers and exploits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern

from jaxlab import nas

RNG = np.random.default_rng(0)
POINTS, QUERY = RNG.uniform(-1, 1, (7, 3)).astype(np.float32), RNG.uniform(-1, 1, (5, 3)).astype(np.float32)
VALUES = RNG.standard_normal(7).astype(np.float32)
process = jax.jit(nas.gaussian_process)


def test_process_equals_scikit_learn():
    peer = GaussianProcessRegressor(Matern(0.7, nu=2.5), alpha=1e-3, optimizer=None).fit(POINTS, VALUES)
    mean, std = peer.predict(QUERY, return_std=True)
    found = process(POINTS, VALUES, QUERY, length_scale=0.7, noise=1e-3)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.std, std, rtol=1e-3)
    np.testing.assert_allclose(found.log_likelihood, peer.log_marginal_likelihood_value_, rtol=1e-3)


def test_points_that_do_not_count():
    where = np.arange(7) < 4
    kept = process(POINTS[:4], VALUES[:4], QUERY, length_scale=0.7, noise=1e-3)
    dirty = [np.where(where.reshape(-1, *[1] * (a.ndim - 1)), a, np.float32(np.nan)) for a in (POINTS, VALUES)]
    hidden = nas.gaussian_process(*dirty, QUERY, length_scale=0.7, noise=1e-3, where=where)
    for ours, theirs in zip(hidden, kept, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    prior = nas.gaussian_process(*dirty, QUERY, length_scale=0.7, where=np.zeros(7, bool))
    assert (prior.mean == 0).all()
    assert (prior.std == 1).all()
    assert float(prior.log_likelihood) == 0.0


METRICS = RNG.standard_normal((3, 12)).astype(np.float32)
TRUTH = jnp.asarray(2 * METRICS[1] + 5)  # the second metric knows it all
propose = jax.jit(functools.partial(nas.robot_propose, num_candidates=500))


@jax.jit
def search(key, metrics, truth):
    """Twelve proposals, and the values of the architectures picked."""

    def step(state, _):
        state, weights, index = nas.robot_propose(state, metrics, num_candidates=500)
        return nas.robot_update(state, weights, index, truth[index]), index

    return jax.lax.scan(step, nas.robot_init(3, budget=12, key=key), None, length=12)


def test_it_finds_the_weights_that_rank_the_best_first():
    for seed in range(3):
        state, picked = search(jax.random.key(seed), METRICS, TRUTH)
        assert int(state.num_tried) == 12
        np.testing.assert_array_equal(state.indices, picked)
        np.testing.assert_allclose(state.values, TRUTH[picked])
        assert (np.abs(state.weights) <= 1).all()
        assert int(jnp.argmax(TRUTH)) in np.asarray(picked)
        assert len(set(np.asarray(picked).tolist())) < 12  # picks of the same cost no query


def test_proposals_use_what_was_learned():
    """With one metric, and its negative known to be bad, the next weight is positive."""
    metric = jnp.arange(5.0)[None]
    state = nas.robot_init(1, budget=4, key=jax.random.key(0))
    for weight, value in ((-1.0, 0.0), (-0.5, 0.1), (0.9, 1.0)):
        state = nas.robot_update(state, jnp.array([weight]), jnp.array(0), jnp.array(value))
    _, weights, index = nas.robot_propose(state, metric, num_candidates=200, kappa=0.0)
    assert float(weights[0]) > 0.5
    assert int(index) == 4


def test_affine_maps_of_a_metric_change_nothing():
    state = nas.robot_init(3, budget=12, key=jax.random.key(5))
    scale, shift = np.array([[3.0], [0.1], [50.0]]), np.array([[1.0], [-2.0], [7.0]])
    first, second = propose(state, METRICS), propose(state, (scale * METRICS + shift).astype(np.float32))
    assert int(first[2]) == int(second[2])
    np.testing.assert_array_equal(first[1], second[1])


def test_metrics_that_say_nothing():
    broken = METRICS.copy()
    broken[0], broken[2] = 4.0, np.nan  # constant, and not known
    broken[1, 3] = -np.inf
    _, weights, index = propose(nas.robot_init(3, budget=4, key=jax.random.key(1)), broken)
    rest = np.delete(np.arange(12), 3)
    assert np.isfinite(weights).all()
    wanted = rest[np.argmax(float(weights[1]) * METRICS[1, rest])]
    assert int(index) in (wanted, 3)


def test_exploitation_goes_down_the_ranking():
    metrics = jnp.array([[1.0, 4.0, 0.0, 3.0, 2.0]])
    state = nas.robot_init(1, budget=3, key=jax.random.key(0))
    for weight, index, value in ((0.5, 2, 0.9), (-1.0, 0, 0.9), (1.0, 4, 0.5)):
        state = nas.robot_update(state, jnp.array([weight]), jnp.array(index), jnp.array(value))
    # The later one of the two best weights counts, and it turns the ranking round.
    assert nas.robot_exploit(state, metrics, num_picks=5).tolist() == [2, 0, 4, 3, 1]
    assert nas.robot_exploit(state, metrics, num_picks=2).tolist() == [2, 0]
    full = nas.robot_update(state, jnp.array([0.1]), jnp.array(1), jnp.array(2.0))
    np.testing.assert_array_equal(full.values, state.values)
    assert int(full.num_tried) == 3


def test_bad_input():
    state = nas.robot_init(3, budget=4, key=jax.random.key(0))
    with pytest.raises(ValueError, match="budget must be an integer of at least 1"):
        nas.robot_init(3, budget=0, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"metrics must have shape \[3, N\]"):
        nas.robot_propose(state, METRICS[:2])
    with pytest.raises(ValueError, match="num_picks must be at most the number of architectures 12, got 13"):
        nas.robot_exploit(state, METRICS, num_picks=13)
    with pytest.raises(ValueError, match=r"weights must have shape \[3\]"):
        nas.robot_update(state, jnp.ones(2), jnp.array(0), jnp.array(1.0))
    with pytest.raises(TypeError, match="index must hold integers"):
        nas.robot_update(state, jnp.ones(3), jnp.array(0.0), jnp.array(1.0))
    with pytest.raises(ValueError, match="query must have 3 columns"):
        nas.gaussian_process(POINTS, VALUES, QUERY[:, :2], length_scale=1.0)
    with pytest.raises(ValueError, match="length_scale must be > 0"):
        nas.gaussian_process(POINTS, VALUES, QUERY, length_scale=0.0)
