"""Progressive targets: their limits, the gradient that they give, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, softmax

from jaxlab import distill

RNG = np.random.default_rng(0)
LABELS = np.array([2, 0, 1, 1, 2])
LOGITS = RNG.standard_normal((3, 3)).astype(np.float32)
INDEX = np.array([4, 0, 3])
START = distill.progressive_targets_init(LABELS, 3)
TRAINED = distill.progressive_targets_update(START, INDEX, LOGITS)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_targets_of_the_first_epoch_are_the_labels(alpha):
    found = distill.progressive_targets(START, INDEX, LABELS[INDEX], alpha=alpha)
    np.testing.assert_allclose(found, np.eye(3)[LABELS[INDEX]], atol=1e-7)


def test_later_targets_mix_label_and_the_last_prediction_of_the_same_example():
    order = np.array([1, 2, 0])
    expected = 0.4 * np.eye(3)[LABELS[INDEX]] + 0.6 * softmax(LOGITS, -1)
    found = distill.progressive_targets(TRAINED, INDEX[order], LABELS[INDEX[order]], alpha=0.6)
    np.testing.assert_allclose(found, expected[order], atol=1e-6)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    np.testing.assert_array_equal(TRAINED.table[1:3], START.table[1:3])  # examples that were not seen
    each = distill.progressive_targets(TRAINED, INDEX, LABELS[INDEX], alpha=np.float32([0, 1, 0.6]))
    np.testing.assert_allclose(each, np.stack([np.eye(3)[2], softmax(LOGITS[1]), expected[2]]), atol=1e-6)


def loss(logits, alpha):
    targets = distill.progressive_targets(TRAINED, INDEX, LABELS[INDEX], alpha=alpha)
    return optax.losses.softmax_cross_entropy(logits, targets).sum()


def test_without_alpha_it_is_cross_entropy():
    expected = -log_softmax(LOGITS, -1)[np.arange(3), LABELS[INDEX]].sum()
    np.testing.assert_allclose(loss(LOGITS, 0.0), expected, rtol=1e-6)


def test_of_the_present_prediction_only_the_size_of_the_gradient_falls():
    pull = softmax(LOGITS, -1) - np.eye(3)[LABELS[INDEX]]
    np.testing.assert_allclose(jax.grad(loss)(LOGITS, 0.7), 0.3 * pull, atol=1e-6)


def test_no_gradient_passes_through_the_table():
    def through(logits):
        state = distill.progressive_targets_update(START, INDEX, logits)
        return distill.progressive_targets(state, INDEX, LABELS[INDEX], alpha=0.5)[0, 0]

    np.testing.assert_array_equal(jax.grad(through)(LOGITS), 0)


def test_unknown_rows_are_loud_when_read_and_dropped_when_written():
    found = distill.progressive_targets(TRAINED, np.array([4, 5, -1, 0]), np.array([2, 0, 0, 3]), alpha=0.5)
    np.testing.assert_array_equal(np.isnan(found).any(-1), [False, True, True, True])
    written = distill.progressive_targets_update(START, np.array([5, -1, 1]), LOGITS)
    np.testing.assert_array_equal(np.delete(written.table, 1, 0), np.delete(START.table, 1, 0))
    np.testing.assert_allclose(written.table[1], softmax(LOGITS[2]), atol=1e-6)


def test_hidden_examples_cost_nothing_and_are_not_written():
    where, dirty = np.array([True, False, True]), np.where([[True], [False], [True]], LOGITS, np.nan)
    found = distill.progressive_targets(TRAINED, INDEX, np.array([2, 99, 1]), alpha=0.5, where=where)
    np.testing.assert_array_equal(found[1], 0)
    written = distill.progressive_targets_update(START, INDEX, dirty, where=where)
    np.testing.assert_array_equal(written.table[0], START.table[0])
    np.testing.assert_array_equal(written.table[INDEX[where]], TRAINED.table[INDEX[where]])


def test_a_bfloat16_table():
    state = distill.progressive_targets_init(LABELS, 3, dtype=jnp.bfloat16)
    state = distill.progressive_targets_update(state, INDEX, LOGITS)
    assert state.table.dtype == jnp.bfloat16
    found = distill.progressive_targets(state, INDEX, LABELS[INDEX], alpha=1.0)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, softmax(LOGITS, -1), atol=4e-3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: distill.progressive_targets_init(np.zeros((2, 2), int), 3), ValueError, r"labels must have shape \[N"),
        (lambda: distill.progressive_targets_init(np.zeros(2), 3), TypeError, "labels must hold integers"),
        (lambda: distill.progressive_targets_init(LABELS, 0), ValueError, "num_classes"),
        (lambda: distill.progressive_targets(START, INDEX, LABELS, alpha=0.5), ValueError, "index and labels"),
        (lambda: distill.progressive_targets(START, INDEX, LOGITS[:, 0], alpha=0.5), TypeError, "labels must hold"),
        (lambda: distill.progressive_targets(START, LABELS, LABELS, alpha=1.5), ValueError, "alpha must lie in"),
        (
            lambda: distill.progressive_targets(START, LABELS, LABELS, alpha=0.5, where=np.ones(2, bool)),
            ValueError,
            "where must have shape",
        ),
        (lambda: distill.progressive_targets_update(START, INDEX, LOGITS[:, :2]), ValueError, "logits must have shape"),
        (lambda: distill.progressive_targets_update(START, INDEX, LABELS[INDEX]), TypeError, "logits must be floating"),
        (
            lambda: distill.progressive_targets_update(distill.TargetsState(jnp.zeros(3)), INDEX, LOGITS),
            ValueError,
            "state.table must have shape",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
