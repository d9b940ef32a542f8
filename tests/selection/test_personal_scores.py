"""Candidates drawn by their loss: limits, frequencies, masks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxlab import selection

LOSSES = np.array([[0.1, 0.2, 0.9], [1.3, 1.2, 1.25]], np.float32)


def test_probabilities_equal_scipy():
    found = selection.personal_loss_probabilities(LOSSES)
    np.testing.assert_allclose(found, special.softmax(-LOSSES / 0.1, axis=1), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    shifted = selection.personal_loss_probabilities(LOSSES + np.array([[0.0], [5.0]], np.float32))
    np.testing.assert_allclose(shifted, found, rtol=1e-4, atol=1e-7)


def test_limits():
    hot = selection.personal_loss_probabilities(LOSSES, temperature=1e6)
    np.testing.assert_allclose(hot, 1 / 3, rtol=1e-5)
    cold = selection.personal_loss_probabilities(LOSSES, temperature=1e-4)
    np.testing.assert_array_equal(cold.argmax(1), LOSSES.argmin(1))
    np.testing.assert_allclose(cold.max(1), 1)
    np.testing.assert_allclose(selection.personal_loss_probabilities(jnp.full((1, 4), 0.7)), 0.25)
    assert selection.personal_loss_sample(jax.random.key(0), LOSSES[:, :1]).tolist() == [0, 0]


def test_frequencies():
    many = jnp.broadcast_to(jnp.asarray(LOSSES), (50_000, 2, 3))
    drawn = np.asarray(selection.personal_loss_sample(jax.random.key(0), many, temperature=0.5))
    frequency = np.stack([np.bincount(drawn[:, row], minlength=3) / 50_000 for row in range(2)])
    expected = selection.personal_loss_probabilities(LOSSES, temperature=0.5)
    np.testing.assert_allclose(frequency, expected, atol=0.01)
    assert drawn.dtype == np.int32


def test_candidates_that_are_not_there():
    where = np.array([[True, False, True], [False, False, False]])
    dirty = np.where(where, LOSSES, np.nan)
    found = np.asarray(selection.personal_loss_probabilities(dirty, where=where))
    np.testing.assert_allclose(found[0, [0, 2]], special.softmax(-LOSSES[0, [0, 2]] / 0.1), rtol=1e-4)
    assert found[0, 1] == 0
    assert (found[1] == 0).all()
    drawn = jax.vmap(lambda k: selection.personal_loss_sample(k, dirty, temperature=100.0, where=where))(
        jax.random.split(jax.random.key(1), 200)
    )
    assert set(np.asarray(drawn)[:, 0].tolist()) == {0, 2}
    assert set(np.asarray(drawn)[:, 1].tolist()) == {0}


def test_no_gradient():
    slope = jax.grad(lambda x: selection.personal_loss_probabilities(x)[0, 0])(jnp.asarray(LOSSES))
    assert (np.asarray(slope) == 0).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"losses": jnp.zeros((2, 0))}, ValueError, "with k >= 1"),
        ({"losses": jnp.zeros(())}, ValueError, "with k >= 1"),
        ({"losses": jnp.zeros((2, 3), int)}, TypeError, "losses must be floating point"),
        ({"temperature": 0.0}, ValueError, "temperature must be > 0"),
        ({"where": jnp.ones((2, 2), bool)}, ValueError, "where must have shape"),
        ({"where": jnp.ones((2, 3))}, TypeError, "where must be boolean"),
    ],
)
def test_bad_input(change, error, words):
    call = {"losses": LOSSES, **change}
    with pytest.raises(error, match=words):
        selection.personal_loss_probabilities(**call)
    with pytest.raises(error, match=words):
        selection.personal_loss_sample(jax.random.key(0), **call)
