"""When a curve reaches a target: by hand, noisy curves, interpolation, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.metrics import time_to_target

STEPS, CURVE = jnp.array([10.0, 20.0, 40.0]), jnp.array([4.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("target", "interpolate", "expected"),
    [
        (2.0, None, 20.0),
        (1.5, None, 40.0),
        (1.5, "linear", 30.0),
        (1.5, "log", np.sqrt(20 * 40)),
        (3.0, "linear", 15.0),
        (4.0, "linear", 10.0),
        (9.0, "log", 10.0),
        (1.0, "log", 40.0),
        (0.5, "linear", np.inf),
        (0.5, None, np.inf),
    ],
)
def test_by_hand(target, interpolate, expected):
    np.testing.assert_allclose(time_to_target(STEPS, CURVE, target, interpolate=interpolate), expected, rtol=1e-6)
    up = time_to_target(STEPS, -CURVE, -target, mode="max", interpolate=interpolate)
    np.testing.assert_allclose(up, expected, rtol=1e-6)


def test_published_number():
    """Scores .9 at 100 examples and 1.0 at 1000: .95 is reached at the geometric mean."""
    found = time_to_target(jnp.array([100, 1000]), jnp.array([0.9, 1.0]), 0.95, mode="max", interpolate="log")
    np.testing.assert_allclose(found, 316.23, rtol=1e-5)


def test_a_noisy_curve_interpolates_from_its_best_value_so_far():
    curve = jnp.array([2.0, 3.0, 0.0])  # best 2 at step 20, then 0 at step 40
    np.testing.assert_allclose(time_to_target(STEPS, curve, 1.0), 30.0)
    rising_again = jnp.array([4.0, 1.0, 4.0])  # the FIRST crossing counts
    assert time_to_target(STEPS, rising_again, 1.0) == 20.0


def test_nan_is_not_reached():
    assert time_to_target(STEPS, jnp.array([jnp.nan, jnp.nan, 1.0]), 2.0) == 40.0
    assert time_to_target(STEPS, jnp.full(3, jnp.nan), 2.0) == np.inf
    assert time_to_target(STEPS, jnp.array([4.0, jnp.nan, 1.0]), 2.5) == 30.0


def test_curves_and_targets_in_batches():
    curves, targets = jnp.stack([CURVE, 2 * CURVE]), jnp.array([1.5, 3.0])
    np.testing.assert_allclose(time_to_target(STEPS, curves, targets), [30.0, 30.0])
    np.testing.assert_allclose(time_to_target(STEPS, curves, 1.5), [30.0, np.inf])


@pytest.mark.parametrize("interpolate", ["linear", "log"])
def test_gradient_moves_with_the_target(interpolate):
    def found(target, curve):
        return time_to_target(STEPS, curve, target, interpolate=interpolate)

    slope = jax.grad(found)(1.5, CURVE)
    difference = (found(1.51, CURVE) - found(1.49, CURVE)) / 0.02
    np.testing.assert_allclose(slope, difference, rtol=1e-3)
    for target in (9.0, 0.5):  # reached at once, or never
        assert all(np.isfinite(g).all() for g in jax.grad(found, (0, 1))(target, CURVE))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"steps": jnp.zeros((3, 1))}, ValueError, "steps must have shape"),
        ({"steps": jnp.zeros(2)}, ValueError, "steps must have shape"),
        ({"steps": jnp.zeros(0), "curve": jnp.zeros(0)}, ValueError, "steps must have shape"),
        ({"steps": jnp.zeros(3, bool)}, TypeError, "steps must hold numbers"),
        ({"curve": jnp.zeros(3, int)}, TypeError, "curve must be floating point"),
        ({"target": jnp.zeros(3)}, ValueError, "target must be"),
        ({"mode": "down"}, ValueError, "mode must be one of"),
        ({"interpolate": "cubic"}, ValueError, "interpolate must be one of"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        time_to_target(**{"steps": STEPS, "curve": CURVE, "target": 1.5, **change})
