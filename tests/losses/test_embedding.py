"""Directions in a common space of images and texts."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses

rng = np.random.default_rng(5)
MOVED = rng.normal(size=(4, 6)).astype(np.float32)
WANTED = rng.normal(size=(7, 6)).astype(np.float32)


def by_numpy(moved, wanted, weight, normalize_counts):
    moved, wanted = moved.astype(np.float64), wanted.astype(np.float64)
    a, b = moved.mean(0), wanted.mean(0)
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    n, m = (len(moved), len(wanted)) if normalize_counts else (1, 1)
    return 1 - cosine + weight * np.linalg.norm(moved.T @ moved / n - wanted.T @ wanted / m)


def test_the_direction_is_compared_by_its_cosine():
    targets = WANTED[:4]
    cosines = np.sum(MOVED * targets, 1) / np.linalg.norm(MOVED, axis=1) / np.linalg.norm(targets, axis=1)
    np.testing.assert_allclose(losses.clip_directional(MOVED, targets), 1 - cosines, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(losses.clip_directional(MOVED, 3.0 * MOVED), 0.0, atol=1e-6)
    np.testing.assert_allclose(losses.clip_directional(MOVED, -MOVED), 2.0, atol=1e-6)
    one = losses.clip_directional(MOVED, WANTED[0])
    np.testing.assert_allclose(one, losses.clip_directional(MOVED, np.tile(WANTED[:1], (4, 1))), atol=1e-6)


@pytest.mark.parametrize("normalize_counts", [False, True])
@pytest.mark.parametrize("width", [6, 1100])
def test_both_forms_are_the_formula(width, normalize_counts):
    moved, wanted = (rng.normal(size=(n, width)).astype(np.float32) for n in (3, 5))
    got = losses.directional_moment(moved, wanted, weight=2.0, normalize_counts=normalize_counts)
    np.testing.assert_allclose(got, by_numpy(moved, wanted, 2.0, normalize_counts), rtol=1e-4)


@pytest.mark.parametrize("width", [6, 1100])
def test_both_forms_have_the_gradient_of_the_formula(width):
    moved, wanted = (rng.normal(size=(n, width)).astype(np.float32) for n in (3, 5))
    direction = rng.normal(size=moved.shape)
    slope = jnp.vdot(jax.grad(losses.directional_moment)(moved, wanted), direction)
    higher, lower = (by_numpy(moved + h * direction, wanted, 1e3, False) for h in (1e-5, -1e-5))
    np.testing.assert_allclose(slope, (higher - lower) / 2e-5, rtol=1e-3)


def test_equal_sets_in_any_order_cost_nothing_and_give_no_nan():
    unit = WANTED / np.linalg.norm(WANTED, axis=1, keepdims=True)
    value, slope = jax.value_and_grad(losses.directional_moment)(unit[[3, 0, 6, 1, 2, 5, 4]], unit)
    np.testing.assert_allclose(value, 0.0, atol=1e-3)  # of a second term times 1000
    assert np.isfinite(slope).all()


def test_only_the_first_moment_is_free_of_scale():
    mean_term = losses.directional_moment(3.0 * MOVED, WANTED, weight=0.0)
    np.testing.assert_allclose(mean_term, losses.directional_moment(MOVED, WANTED, weight=0.0), atol=1e-6)
    long, short = (losses.directional_moment(s * WANTED, WANTED, weight=1.0) for s in (2.0, 1.0))
    np.testing.assert_allclose(long, 3.0 * np.linalg.norm(WANTED.T @ WANTED), rtol=1e-4)
    np.testing.assert_allclose(short, 0.0, atol=1e-5)


def test_directions_may_lie_on_several_devices():
    split = MOVED.reshape(2, 2, 6)
    where = jnp.array([[True, True], [False, True]])
    over = jax.vmap(
        lambda moved, where: losses.directional_moment(moved, WANTED, where=where, axis_name="x"), axis_name="x"
    )(split, where)
    expected = losses.directional_moment(MOVED[[0, 1, 3]], WANTED)
    np.testing.assert_allclose(over, expected, rtol=1e-5)


BAD = {
    "target": (lambda: losses.clip_directional(MOVED, WANTED), ValueError, "for [4, 6]"),
    "integers": (lambda: losses.clip_directional(MOVED, np.ones(6, int)), TypeError, "targets must be floating"),
    "where": (lambda: losses.clip_directional(MOVED, WANTED[0], where=jnp.ones(3, bool)), ValueError, "[4]"),
    "width": (lambda: losses.directional_moment(MOVED, WANTED[:, :5]), ValueError, "same width"),
    "one direction": (lambda: losses.directional_moment(MOVED[0], WANTED), ValueError, "directions must have shape"),
    "mask": (lambda: losses.directional_moment(MOVED, WANTED, where=jnp.ones(4)), TypeError, "where must be boolean"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
