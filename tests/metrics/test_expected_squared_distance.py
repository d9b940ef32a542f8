"""Mean squared distance between predicted and true labels."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import metrics


def test_equals_numpy_and_the_error_rate():
    rng = np.random.default_rng(0)
    predictions, labels, where = rng.integers(5, size=30), rng.integers(5, size=30), rng.random(30) < 0.6
    sq_dist = rng.uniform(size=(5, 5)).astype(np.float32)
    found = metrics.expected_squared_distance(predictions, labels, sq_dist, where=where)
    assert float(found) == pytest.approx(sq_dist[predictions, labels][where].mean(), rel=1e-5)
    errors = metrics.expected_squared_distance(predictions, labels, 1.0 - np.eye(5, dtype=np.float32))
    assert float(errors) == pytest.approx(np.mean(predictions != labels))


def test_labels_out_of_range_and_shapes():
    table = jnp.zeros((3, 3))
    for bad in (3, -1):
        assert np.isnan(metrics.expected_squared_distance(jnp.array([0]), jnp.array([bad]), table))
        assert np.isnan(metrics.expected_squared_distance(jnp.array([bad]), jnp.array([0]), table))
    hidden = metrics.expected_squared_distance(
        jnp.array([0, 9]), jnp.array([0, 0]), table, where=jnp.array([True, False])
    )
    assert hidden == 0
    with pytest.raises(ValueError, match="sq_dist"):
        metrics.expected_squared_distance(jnp.array([0]), jnp.array([0]), jnp.zeros((2, 3)))
