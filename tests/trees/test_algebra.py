"""Weighted means of trees against numpy, weights of zero, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.trees import average


def stacked(m=4):
    rng = np.random.default_rng(0)
    return {"w": rng.normal(size=(m, 3, 2)).astype(np.float32), "b": (rng.normal(size=m).astype(np.float32),)}


def test_equals_numpy():
    tree, weights = stacked(), np.array([1.0, 0.0, 3.0, 0.5], np.float32)
    for given in (None, weights):
        result = average(tree, weights=given)
        np.testing.assert_allclose(result["w"], np.average(tree["w"], axis=0, weights=given), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(result["b"][0], np.average(tree["b"][0], weights=given), rtol=1e-5, atol=1e-6)


def test_counts_as_weights_give_the_mean_of_the_union():
    """The classic error of federated averaging is to forget the counts."""
    rng = np.random.default_rng(1)
    parts = [rng.normal(size=(n, 3)).astype(np.float32) for n in (1, 10, 100)]
    means = np.stack([part.mean(0) for part in parts])
    union = np.concatenate(parts).mean(0)
    np.testing.assert_allclose(average(means, weights=jnp.array([1, 10, 100])), union, rtol=1e-4, atol=1e-6)
    assert np.abs(average(means) - union).max() > 0.1


def test_only_the_ratio_of_the_weights_counts():
    tree, weights = stacked(), jnp.array([1.0, 2.0, 3.0, 4.0])
    for one, other in zip(*(jax.tree.leaves(average(tree, weights=w)) for w in (weights, 1e-6 * weights)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_all_zero_weights_give_zeros_with_finite_gradient():
    tree = stacked()
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(average(tree, weights=jnp.zeros(4))))
    gradient = jax.grad(lambda w: jnp.sum(average(tree, weights=w)["w"]))(jnp.zeros(4))
    assert np.isfinite(gradient).all()


def test_an_entry_of_weight_zero_may_be_broken():
    leaf = jnp.array([[1.0], [jnp.nan], [3.0], [jnp.inf]])
    weights = jnp.array([1.0, 0.0, 1.0, 0.0])
    assert average(leaf, weights=weights) == 2
    gradient = jax.grad(lambda x: jnp.sum(average(x, weights=weights)))(leaf)
    np.testing.assert_allclose(gradient[:, 0], [0.5, 0, 0.5, 0])


def test_gradient_by_a_weight_that_is_zero():
    leaf, weights = jnp.array([1.0, 5.0]), jnp.array([2.0, 0.0])
    np.testing.assert_allclose(jax.grad(lambda w: average(leaf, weights=w))(weights), [0.0, (5 - 1) / 2])


def test_negative_weights_give_nan_and_bfloat16_float32():
    assert np.isnan(average(jnp.ones((2, 3)), weights=jnp.array([1.0, -1.0]))).all()
    many = jnp.ones((1000, 2), jnp.bfloat16)  # summed in bfloat16 this stops at 256
    assert average(many).dtype == jnp.float32
    np.testing.assert_allclose(average(many), 1.0, rtol=1e-6)
    assert average({}) == {}


LEAF = jnp.zeros((2, 3))


@pytest.mark.parametrize(
    ("tree", "weights", "error", "words"),
    [
        ({"w": LEAF, "b": jnp.zeros((3, 1))}, None, ValueError, r"stacked\['w'\].* leading axis"),
        ({"w": jnp.array(1.0)}, None, ValueError, r"stacked\['w'\] must have a leading axis"),
        ({"w": jnp.zeros((0, 2))}, None, ValueError, r"stacked\['w'\] must have a leading axis"),
        ({"w": jnp.zeros((2, 3), int)}, None, TypeError, r"stacked\['w'\] must be floating point"),
        (LEAF, jnp.ones(3), ValueError, "weights must have shape"),
        (LEAF, jnp.ones((2, 1)), ValueError, "weights must have shape"),
    ],
)
def test_bad_input(tree, weights, error, words):
    with pytest.raises(error, match=words):
        average(tree, weights=weights)
