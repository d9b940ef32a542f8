"""The DVERGE loss against numpy: the own inputs of a network play no part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxlab.losses import dverge


def drawn():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 3, 5, 4)).astype(np.float32), rng.integers(0, 4, 5)


def test_equals_numpy():
    logits, labels = drawn()
    each = -special.log_softmax(logits.astype(float), axis=-1)[:, :, np.arange(5), labels]
    expected = np.stack([sum(each[i, j] for j in range(3) if j != i) for i in range(3)])
    np.testing.assert_allclose(dverge(logits, labels), expected, rtol=1e-5)
    alike = np.broadcast_to(logits[0, 0], logits.shape)
    np.testing.assert_allclose(dverge(alike, labels), np.broadcast_to(2 * each[0, 0], (3, 5)), rtol=1e-5)
    rows = dverge(logits.reshape(3, 3, 5, 1, 4), labels[:, None])  # any axes between
    np.testing.assert_allclose(rows[..., 0], expected, rtol=1e-5)


def test_the_diagonal_may_hold_anything():
    logits, labels = drawn()
    own = np.eye(3, dtype=bool)[:, :, None, None]
    dirty = np.where(own, np.nan, logits)
    np.testing.assert_array_equal(dverge(dirty, labels), dverge(logits, labels))
    gradient = np.asarray(jax.grad(lambda z: jnp.sum(dverge(z, labels)))(dirty))
    assert (gradient[own[..., 0, 0]] == 0).all()
    assert (np.abs(gradient[~own[..., 0, 0]]).max(-1) > 0).all()


def test_where_and_unknown_labels():
    logits, labels = drawn()
    where = np.array([True, False, True, True, False])
    dirty = np.where(where[:, None], logits, np.nan)
    found = dverge(dirty, np.where(where, labels, 99), where=where)
    np.testing.assert_allclose(found, np.where(where, dverge(logits, labels), 0), rtol=1e-6)
    gradient = jax.grad(lambda z: jnp.sum(dverge(z, labels, where=where)))(dirty)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[:, :, ~where] == 0).all()
    np.testing.assert_array_equal(
        np.isnan(dverge(logits, jnp.array([0, 4, -1, 1, 2])))[0], [False, True, True, False, False]
    )


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"logits": jnp.zeros((3, 2, 5, 4))}, ValueError, r"logits must have shape \[M, M"),
        ({"logits": jnp.zeros((3, 3, 4, 4))}, ValueError, r"logits must have shape \[M, M"),
        ({"logits": jnp.zeros((1, 1, 5, 4))}, ValueError, "number of networks"),
        ({"logits": jnp.zeros((3, 3, 5, 4), int)}, TypeError, "logits must be floating"),
        ({"labels": jnp.zeros(5)}, TypeError, "labels must hold integers"),
        ({"where": jnp.ones(4, bool)}, ValueError, "where must have shape"),
        ({"where": jnp.ones(5)}, TypeError, "where must be boolean"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        dverge(**{"logits": jnp.zeros((3, 3, 5, 4)), "labels": jnp.zeros(5, int), **change})
