"""Curves through parameter space, connectivity along them, and phases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import metrics

rng = np.random.default_rng(235)


def test_bezier_is_de_casteljau():
    points = rng.normal(size=(4, 3)).astype(np.float32)
    for t in (0.0, 0.3, 1.0):
        level = points.astype(float)
        while len(level) > 1:  # halve the polygon, corner by corner
            level = (1 - t) * level[:-1] + t * level[1:]
        np.testing.assert_allclose(metrics.bezier({"w": points}, t)["w"], level[0], rtol=1e-5, atol=1e-6)


def test_bezier_has_the_derivative_of_its_ends():
    points = jnp.asarray(rng.normal(size=(3, 2)).astype(np.float32))
    slope = jax.jacfwd(lambda t: metrics.bezier(points, t))
    np.testing.assert_allclose(slope(0.0), 2 * (points[1] - points[0]), rtol=1e-4)
    np.testing.assert_allclose(slope(1.0), 2 * (points[2] - points[1]), rtol=1e-4)


def test_mode_connectivity():
    values = np.float32([[1, 3, 1], [3, 1, 3], [1, 2, 3], [0, 5, 1]])
    np.testing.assert_allclose(metrics.mode_connectivity(values), [-2, 2, 1, -4.5])
    np.testing.assert_allclose(metrics.mode_connectivity(values, mode="accuracy"), [2, -2, -1, 4.5])
    assert metrics.mode_connectivity(np.float32([0.5, 0.5, 0.5])) == 0


def test_a_straight_line_between_linear_models_has_no_barrier():
    """The loss is convex, so the middle is never worse than the mean of the ends."""
    x, y = rng.normal(size=(20, 3)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    ends = rng.normal(size=(2, 3)).astype(np.float32)
    line = jax.vmap(lambda t: jnp.mean((x @ metrics.bezier(ends, t) - y) ** 2))(jnp.linspace(0, 1, 5))
    assert metrics.mode_connectivity(line) >= 0
    same = jax.vmap(lambda t: jnp.mean((x @ metrics.bezier(ends[[0, 0]], t) - y) ** 2))(jnp.linspace(0, 1, 5))
    assert abs(metrics.mode_connectivity(same)) < 1e-5


def test_phases():
    thresholds = metrics.PhaseThresholds(loss=0.1, sharpness=10.0, connectivity=0.05, similarity=0.8)
    cells = np.float32(
        [
            [1.0, 50, -1.0, 0.9],
            [1.0, 5, -1.0, 0.9],  # a barrier decides before sharpness
            [1.0, 50, 0.0, 0.9],
            [1.0, 5, 0.0, 0.9],
            [1.0, 50, 1.0, 0.9],
            [0.01, 50, -1.0, 0.9],
            [0.01, 5, 0.04, 0.7],
            [0.01, 5, -0.04, 0.9],
            [0.01, 5, 1.0, 0.9],
            [0.1, 10, -0.05, 0.8],  # at the thresholds
            [np.nan, 5, 0.0, 0.9],
            [0.01, np.nan, 0.0, 0.9],
        ]
    )
    assert metrics.classify_phase(*cells.T, thresholds=thresholds).tolist() == [0, 0, 0, 1, 1, 2, 3, 4, 4, 3, -1, -1]


def test_bad_input():
    for stacked in (jnp.ones((1, 3)), jnp.ones(()), {"a": jnp.ones((2, 3)), "b": jnp.ones((3, 3))}):
        with pytest.raises(ValueError, match="stacked"):
            metrics.bezier(stacked, 0.5)
    with pytest.raises(ValueError, match="t must be a scalar"):
        metrics.bezier(jnp.ones((3, 2)), jnp.ones(2))
    with pytest.raises(ValueError, match="values"):
        metrics.mode_connectivity(jnp.ones(1))
    with pytest.raises(ValueError, match="mode"):
        metrics.mode_connectivity(jnp.ones(3), mode="error")
    with pytest.raises(ValueError, match="must broadcast"):
        metrics.classify_phase(jnp.ones(2), jnp.ones(3), jnp.ones(2), jnp.ones(2))
