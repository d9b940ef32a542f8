"""Calibration error: a loop over bins, limits, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import metrics

RNG = np.random.default_rng(0)
PROBS = RNG.dirichlet(np.ones(4), 200).astype(np.float32)
LABELS = RNG.integers(0, 4, 200)


def by_loop(probs, labels, num_bins):
    sure, right = probs.max(-1), probs.argmax(-1) == labels
    total = 0.0
    for low, high in zip(np.linspace(0, 1, num_bins + 1)[:-1], np.linspace(0, 1, num_bins + 1)[1:], strict=True):
        inside = (sure > low) & (sure <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return total


@pytest.mark.parametrize("num_bins", [1, 7, 15])
def test_equals_a_loop(num_bins):
    found = metrics.expected_calibration_error(PROBS, LABELS, num_bins=num_bins)
    np.testing.assert_allclose(found, by_loop(PROBS, LABELS, num_bins), rtol=1e-5)


def test_limits():
    sure = np.eye(4, dtype=np.float32)[LABELS]
    assert metrics.expected_calibration_error(sure, LABELS) == 0
    assert metrics.expected_calibration_error(sure, (LABELS + 1) % 4) == 1
    # Half sure and half right, in one bin; in two bins errors of both signs do not cancel.
    half = np.float32([[0.5, 0.5]] * 4)
    assert metrics.expected_calibration_error(half, np.array([0, 1, 0, 1])) == 0
    mixed = np.float32([[0.6, 0.4], [0.9, 0.1]])
    np.testing.assert_allclose(metrics.expected_calibration_error(mixed, np.array([0, 1])), 0.65, rtol=1e-6)
    np.testing.assert_allclose(metrics.expected_calibration_error(mixed, np.array([0, 1]), num_bins=1), 0.25, rtol=1e-6)


def test_masks_and_unknowns():
    where = np.arange(200) % 3 > 0
    dirty = np.where(where[:, None], PROBS, np.nan)
    found = metrics.expected_calibration_error(dirty, np.where(where, LABELS, 99), where=where)
    np.testing.assert_allclose(found, by_loop(PROBS[where], LABELS[where], 15), rtol=1e-5)
    assert metrics.expected_calibration_error(dirty, LABELS, where=np.zeros(200, bool)) == 0
    assert np.isnan(metrics.expected_calibration_error(dirty, LABELS))
    assert metrics.expected_calibration_error(jnp.ones((2, 1)), np.array([0, 5])) == 0.5  # not a class: an error


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"probs": PROBS[:3]}, ValueError, "probs must have shape"),
        ({"probs": PROBS[:, :0]}, ValueError, "probs must have shape"),
        ({"probs": LABELS}, TypeError, "probs must be floating"),
        ({"labels": PROBS[:, 0]}, TypeError, "labels must hold integers"),
        ({"num_bins": 0}, ValueError, "num_bins"),
        ({"where": np.ones(200)}, TypeError, "where must be boolean"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        metrics.expected_calibration_error(**{"probs": PROBS, "labels": LABELS, **change})
