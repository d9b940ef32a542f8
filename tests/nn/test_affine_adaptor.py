"""The affine map of latents."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nn

W = np.random.default_rng(8).normal(size=(4, 3)).astype(np.float32)


def test_every_coordinate_has_its_own_scale_and_bias():
    params = {"scale": jnp.array([1.0, -2.0, 0.5]), "bias": jnp.array([0.0, 3.0, -1.0])}
    np.testing.assert_allclose(nn.affine_adaptor(params, W), W * [1.0, -2.0, 0.5] + [0.0, 3.0, -1.0], rtol=1e-6)
    one = {"scale": jnp.ones(3), "bias": jnp.zeros(3)}
    np.testing.assert_array_equal(nn.affine_adaptor(one, W), W)
    layers = {"scale": jnp.ones((2, 3)), "bias": jnp.array([[0.0], [5.0]])}
    shifted = nn.affine_adaptor(layers, jnp.zeros((4, 2, 3)))
    np.testing.assert_array_equal(shifted[:, 1] - shifted[:, 0], 5.0)


def test_bad_input():
    with pytest.raises(ValueError, match="'scale' and 'bias'"):
        nn.affine_adaptor({"a": jnp.ones(3)}, W)
    with pytest.raises(ValueError, match="bias must broadcast"):
        nn.affine_adaptor({"scale": jnp.ones(3), "bias": jnp.ones(2)}, W)
    with pytest.raises(ValueError, match="scale must broadcast"):
        nn.affine_adaptor({"scale": jnp.ones((2, 4, 3)), "bias": jnp.zeros(3)}, W)
    with pytest.raises(TypeError, match="w must be floating"):
        nn.affine_adaptor({"scale": jnp.ones(3), "bias": jnp.zeros(3)}, jnp.ones((4, 3), int))
