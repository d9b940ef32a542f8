"""Depth from bins, and cameras there and back."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxlab import vision


def test_expected_depth():
    np.testing.assert_allclose(vision.expected_depth(jnp.zeros((2, 64))), 31.1, rtol=1e-6)
    logits = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    wanted = special.softmax(logits, axis=-1) @ np.linspace(2, 8, 7)
    np.testing.assert_allclose(vision.expected_depth(logits, start=2.0, stop=8.0), wanted, rtol=1e-5)


@pytest.mark.parametrize("last", [[0, 0, 0, 1], [0.01, 0.02, 0, 1]])
def test_projected_points_come_back(last):
    """A camera, and a projection whose fourth coordinate is not 1."""
    rng = np.random.default_rng(1)
    camera = np.vstack(
        [np.array([[60, 0, 32, 5], [0, 60, 32, -3], [0, 0, 1, 2]]) + 0.1 * rng.normal(size=(3, 4)), last]
    )
    points = np.concatenate([rng.uniform(-3, 3, (9, 2)), rng.uniform(4, 40, (9, 1)), np.ones((9, 1))], axis=1)
    seen = points @ camera.T
    seen = seen[:, :3] / seen[:, 3:]
    uv, depth = seen[:, :2] / seen[:, 2:], seen[:, 2]
    inverse = np.linalg.inv(camera)
    found = vision.unproject(*(np.float32(array) for array in (uv, depth, inverse)))
    np.testing.assert_allclose(found, points[:, :3], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: vision.expected_depth(jnp.ones((2, 1))), ValueError, "logits must have shape"),
        (lambda: vision.expected_depth(jnp.ones(3, int)), TypeError, "logits must be floating"),
        (lambda: vision.unproject(jnp.ones((2, 3)), jnp.ones(2), jnp.eye(4)), ValueError, "uv and depth"),
        (lambda: vision.unproject(jnp.ones((2, 2)), jnp.ones(3), jnp.eye(4)), ValueError, "uv and depth"),
        (lambda: vision.unproject(jnp.ones(2), jnp.ones(()), jnp.eye(3)), ValueError, "inverse_projection must have"),
        (lambda: vision.unproject(jnp.ones(2), jnp.ones((), int), jnp.eye(4)), TypeError, "depth must be floating"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
