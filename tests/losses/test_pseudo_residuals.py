"""Pseudo-residuals are minus the gradients of the losses, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab.losses import pseudo_residuals

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(6, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 2, 1])
NUMBERS = RNG.normal(size=6).astype(np.float32)
LOSSES = {
    "squared": (SCORES[:, 0], NUMBERS, lambda f, y: 0.5 * (y - f) ** 2),
    # 2 F is the logit: log(1 + exp(-2 s F)).
    "binary": (SCORES[:, 0], LABELS % 2, lambda f, y: optax.losses.sigmoid_binary_cross_entropy(2 * f, y)),
    "multiclass": (SCORES, LABELS, optax.losses.softmax_cross_entropy_with_integer_labels),
}


@pytest.mark.parametrize("name", LOSSES)
def test_minus_the_gradient(name):
    predictions, targets, loss = LOSSES[name]
    slope = jax.grad(lambda f: jnp.sum(loss(f, targets)))(predictions)
    np.testing.assert_allclose(pseudo_residuals(predictions, targets, loss=name), -slope, rtol=1e-5, atol=1e-7)


def test_large_scores_do_not_overflow():
    found = pseudo_residuals(jnp.array([-1e30, 1e30, 1e30]), jnp.array([1, 1, 0]), loss="binary")
    np.testing.assert_array_equal(found, [2, 0, -2])


def test_labels_out_of_range_are_loud_and_hidden_rows_silent():
    found = np.asarray(pseudo_residuals(SCORES, np.array([0, 3, -1, 0, 2, 1]), loss="multiclass"))
    np.testing.assert_array_equal(np.isnan(found).any(1), [False, True, True, False, False, False])
    found = pseudo_residuals(SCORES[:2, 0], np.array([2, 2]), loss="binary", where=np.array([True, False]))
    assert np.isnan(found[0])
    assert found[1] == 0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((SCORES, LABELS, "absolute"), ValueError, "loss must be one of"),
        ((SCORES, LABELS, "binary"), ValueError, r"predictions must have shape \[6\]"),
        ((SCORES[:, 0], LABELS, "multiclass"), ValueError, r"predictions must have shape \[6, 'C'\]"),
        ((SCORES[:, 0], LABELS, "squared"), TypeError, "targets must be floating point"),
        ((SCORES[:, 0], NUMBERS, "binary"), TypeError, "targets must hold integers"),
        ((LABELS, LABELS, "binary"), TypeError, "predictions must be floating point"),
    ],
)
def test_bad_input(arguments, error, words):
    predictions, targets, loss = arguments
    with pytest.raises(error, match=words):
        pseudo_residuals(predictions, targets, loss=loss)
