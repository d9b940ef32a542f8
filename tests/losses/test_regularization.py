"""Staying near old parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses

rng = np.random.default_rng(6)
PARAMS, ANCHOR = ({"w": rng.normal(size=(2, 3)).astype(np.float32), "b": np.float32(rng.normal(size=3))} for _ in "ab")
FISHER = {"w": rng.uniform(size=(2, 3)).astype(np.float32), "b": np.array(2.0, np.float32)}


def test_the_penalty_is_weighted_and_has_no_half():
    expected = np.sum(FISHER["w"] * (PARAMS["w"] - ANCHOR["w"]) ** 2) + 2.0 * np.sum((PARAMS["b"] - ANCHOR["b"]) ** 2)
    np.testing.assert_allclose(losses.ewc_penalty(PARAMS, ANCHOR, FISHER), expected, rtol=1e-5)
    assert losses.ewc_penalty(ANCHOR, ANCHOR, FISHER) == 0.0
    hessian = jax.hessian(lambda w: losses.ewc_penalty({"w": w, "b": ANCHOR["b"]}, ANCHOR, FISHER))(PARAMS["w"])
    np.testing.assert_allclose(hessian.reshape(6, 6), 2.0 * np.diag(FISHER["w"].ravel()), atol=1e-6)


def test_only_the_new_parameters_get_a_gradient():
    slopes = jax.grad(losses.ewc_penalty, argnums=(0, 1, 2))(PARAMS, ANCHOR, FISHER)
    np.testing.assert_allclose(slopes[0]["w"], 2 * FISHER["w"] * (PARAMS["w"] - ANCHOR["w"]), rtol=1e-5)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(slopes[1:]))


def test_bad_input():
    with pytest.raises(ValueError, match="fisher must have the structure"):
        losses.ewc_penalty(PARAMS, ANCHOR, {"w": FISHER["w"]})
    with pytest.raises(ValueError, match="same shape"):
        losses.ewc_penalty({"w": jnp.ones(2)}, {"w": jnp.ones(3)}, {"w": jnp.ones(3)})
    with pytest.raises(ValueError, match=r"fisher.*must broadcast"):
        losses.ewc_penalty({"w": jnp.ones(3)}, {"w": jnp.ones(3)}, {"w": jnp.ones((2, 3))})
    with pytest.raises(TypeError, match=r"anchor.*floating"):
        losses.ewc_penalty({"w": jnp.ones(2)}, {"w": jnp.ones(2, int)}, {"w": jnp.ones(2)})
