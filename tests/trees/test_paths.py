"""Leaves by path."""

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxlab import trees

PARAMS = {"dense": [{"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}], "scale": jnp.ones(())}


def test_paths_of_dicts_and_lists():
    seen = []

    def kernels(path, leaf):
        seen.append(path)
        return path.endswith("kernel") and leaf.ndim == 2

    found = trees.path_mask(PARAMS, kernels)
    assert found == {"dense": [{"kernel": True, "bias": False}], "scale": False}
    assert seen == ["dense/0/bias", "dense/0/kernel", "scale"]
    decay = optax.masked(optax.set_to_zero(), found)
    updates, _ = decay.update(PARAMS, decay.init(PARAMS))
    assert [float(leaf.sum()) for leaf in jax.tree.leaves(updates)] == [3.0, 0.0, 1.0]


def test_shapes_will_do_and_values_will_not():
    shapes = jax.eval_shape(lambda: PARAMS)
    assert trees.path_mask(shapes, lambda path, leaf: leaf.ndim == 0)["scale"] is True
    assert trees.path_mask({}, lambda path, leaf: True) == {}
    with pytest.raises(TypeError, match="for the leaf 'dense/0/bias', got"):
        trees.path_mask(PARAMS, lambda path, leaf: leaf.sum() > 1)
