"""The logistic loss of pairs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import selfsup

A, B = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
TARGETS = np.array([0, 1, 1, 0, 1, 0])


def test_equals_optax_on_inner_products():
    expected = optax.losses.sigmoid_binary_cross_entropy(np.sum(A * B, axis=1), TARGETS)
    np.testing.assert_allclose(selfsup.pair_logistic(A, B, TARGETS), expected, rtol=1e-5)


def test_masks_and_strange_targets():
    where = np.arange(6) < 4
    dirty = np.where(where[:, None], A, np.inf)
    targets = np.where(where, TARGETS, 7)
    targets[0] = 2
    found = selfsup.pair_logistic(dirty, B, targets, where=where)
    assert np.isnan(found[0])
    assert np.all(found[4:] == 0)
    grad = jax.grad(lambda b: jnp.sum(selfsup.pair_logistic(dirty, b, TARGETS, where=where)))(B)
    assert np.all(np.isfinite(grad))
    assert np.all(grad[4:] == 0)


def test_bad_input():
    with pytest.raises(ValueError, match="targets must have shape"):
        selfsup.pair_logistic(A, B, TARGETS[:2])
    with pytest.raises(TypeError, match="targets must hold integers"):
        selfsup.pair_logistic(A, B, TARGETS.astype(float))
