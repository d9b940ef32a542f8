"""Offline optimisation: the oracle, the climb, training on a gradient that no loss has, and the quick run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from experiments import offline_optimization as question
from experiments.networks import mlp


def test_the_quick_run(quick_run):
    found = quick_run(question)
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged"}
    names = {method.name for method in question.METHODS}
    assert set(found["rows"]["value"]) == set(found["rows"]["value_forest"]) == names
    assert len({tuple(row) for row in found["rows"]["broken_promise"].values()}) == len(names)
    norms = found["rows"]["gradient_norm"]
    assert norms["ignite_2_tenfold"][0] < norms["ignite_2"][0] < norms["ascent"][0]


def test_the_oracle_is_the_mean_of_the_nearest():
    cases = question.load_cases()
    np.testing.assert_allclose([cases.y.mean(), cases.y.std()], [0, 1], atol=1e-5)
    points = np.random.default_rng(0).normal(size=(2, 5, 10)).astype(np.float32)
    peer = KNeighborsRegressor(question.NEIGHBORS).fit(cases.x, cases.y).predict(points.reshape(10, 10))
    np.testing.assert_allclose(question.nearest(cases, jnp.asarray(points)), peer.reshape(2, 5), atol=1e-5)


def test_the_climb_stays_in_its_box():
    config = question.Config(search_steps=30, search_rate=0.1)
    start = jnp.zeros((2, 3, 2))
    path = question.climb(config, lambda x: x @ jnp.array([1.0, -0.5]), start, -jnp.ones(2), 2 * jnp.ones(2))
    assert path.shape == (4, 2, 3, 2)
    np.testing.assert_allclose(path[:, 0, 0], [[0, 0], [1, -0.5], [2, -1], [2, -1]], atol=1e-5)


def test_the_multiplier_flattens_the_surrogate():
    cases = question.Cases(*(part[:40] for part in question.load_cases()))
    config = question.Config(steps=40, batch=20, learning_rate=1e-2)
    network = mlp((10, 8, 8, 1))

    @jax.jit
    def norm(multiplier):
        recipe = question.Recipe(multiplier=multiplier, decay=jnp.float32(0), radius=0.2)
        params = question.surrogate(config, network, jax.random.key(0), cases, recipe)
        mean = lambda p: jnp.mean(question.value(network, p, cases.x))  # noqa: E731
        return question.optim.norm_gradient(mean, params).norm

    norms = [float(norm(jnp.float32(multiplier))) for multiplier in (0.0, 1.0)]
    assert norms[1] < 0.9 * norms[0]


def test_bad_settings():
    with pytest.raises(ValueError, match="known must lie in"):
        question.Config(known=0.0)
    with pytest.raises(ValueError, match="multiple of ten"):
        question.Config(search_steps=15)
