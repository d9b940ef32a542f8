"""Patches: each holds its own square, and the way back is exact."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import vision


def test_patches_are_squares_row_by_row():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    patches = vision.patchify(x, size=2)
    assert patches.shape == (2, 6, 12)
    np.testing.assert_array_equal(patches[:, 4], x[:, 2:4, 2:4].reshape(2, -1))
    np.testing.assert_array_equal(vision.unpatchify(patches, size=2, shape=(4, 6)), x)


def test_bad_input():
    with pytest.raises(ValueError, match="height of x"):
        vision.patchify(jnp.ones((5, 4, 1)), size=2)
    with pytest.raises(ValueError, match="6 patches"):
        vision.unpatchify(jnp.ones((5, 4)), size=2, shape=(4, 6))
    with pytest.raises(ValueError, match="x must have"):
        vision.patchify(jnp.ones((4, 4)), size=2)
