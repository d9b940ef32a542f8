"""Editing by the difference of two velocities: what stays, what moves, and what the weights of the draws do."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion
from jaxlab.diffusion import flow_edit, flow_edit_step

B, D = 4, 3
KEYS = jax.random.split(jax.random.key(0), B)
X = jax.random.normal(jax.random.key(1), (B, D))
TS = diffusion.time_grid(5, high=0.8, low=0.0)


def gaussian(mean, std):
    """The exact velocity of the linear flow from N(mean, std^2) to noise."""

    def velocity(x, t):
        t = t[:, None]
        alpha = 1.0 - t
        return (t - alpha * std**2) / (alpha**2 * std**2 + t**2) * (x - alpha * mean) - mean

    return velocity


def curved(shift):
    return lambda x, t: jnp.sin(2.0 * x + shift) + t[:, None]


def edited(x=X, keys=KEYS, ts=TS, **options):
    given = {"v_src_fn": curved(0.0), "v_tar_fn": curved(1.0)} | options
    return jax.jit(lambda x, keys: flow_edit(keys, x, ts, **given))(x, keys)


def test_a_gaussian_is_moved_to_the_other_mean():
    start, end = jnp.array([1.0, 0.0, -2.0]), jnp.array([-1.0, 0.5, 2.0])
    given = {"v_src_fn": gaussian(start, 1.0), "v_tar_fn": gaussian(end, 1.0), "ts": diffusion.time_grid(7, low=0.0)}
    np.testing.assert_allclose(edited(**given).x, X + end - start, atol=1e-5)
    # From a time below 1 only a part of the way is gone: d' = c (d - (1 - t) D) - D.
    part = edited(**given | {"ts": diffusion.time_grid(400, high=0.5, low=0.0)}).x - X
    ratio = np.asarray(part / (end - start))
    c = lambda t: (2 * t - 1) / ((1 - t) ** 2 + t**2)  # noqa: E731
    d, grid = 0.0, np.linspace(0.5, 0.0, 4001)
    for t, after in itertools.pairwise(grid):
        d += (after - t) * (c(t) * (d - (1 - t)) - 1.0)
    np.testing.assert_allclose(ratio, d, atol=2e-3)
    assert 0.2 < d < 0.8


def test_equal_velocities_and_closed_masks_change_nothing():
    np.testing.assert_array_equal(edited(v_tar_fn=curved(0.0)).x, X)
    np.testing.assert_array_equal(edited(mask=jnp.zeros(D)).x, X)
    open_first = edited(mask=jnp.arange(D) == 0)
    np.testing.assert_array_equal(open_first.x[:, 1:], X[:, 1:])
    assert float(jnp.abs(open_first.x[:, 0] - X[:, 0]).min()) > 1e-3
    assert int(open_first.calls) == 5 * 2 * 5
    assert open_first.evaluations.tolist() == [50] * B


def by_hand(omega, num_average, num_worse, mask=1.0, t=0.6, t_next=0.5):
    z = X + 0.1
    drawn = np.stack([np.asarray(jax.random.normal(key, (num_average, D))) for key in KEYS], axis=1)
    differences = []
    for noise in drawn:
        noisy = (1 - t) * np.asarray(X) + t * noise
        target = np.asarray(z - X) + noisy
        differences.append(np.sin(2 * target + 1.0) - np.sin(2 * noisy))
    better, worse = np.mean(differences, 0), np.mean(differences[:num_worse], 0) if num_worse else 0.0
    direction = better + (omega - 1) * (better - worse) if num_worse else better
    got = flow_edit_step(
        z,
        X,
        t,
        t_next,
        KEYS,
        v_src_fn=curved(0.0),
        v_tar_fn=curved(1.0),
        omega=omega,
        num_average=num_average,
        num_worse=num_worse,
        mask=mask,
    )
    return np.asarray(got), np.asarray(z) + (t_next - t) * direction * np.asarray(mask)


@pytest.mark.parametrize(("omega", "num_average", "num_worse"), [(3.0, 5, 3), (1.0, 5, 3), (-2.0, 4, 1), (3.0, 1, 0)])
def test_a_step_is_the_formula(omega, num_average, num_worse):
    got, expected = by_hand(omega, num_average, num_worse, mask=np.array([1.0, 0.5, 0.0], np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_omega_one_and_no_worse_draws_are_the_plain_edit():
    np.testing.assert_allclose(by_hand(1.0, 4, 2)[0], by_hand(5.0, 4, 0)[0], atol=1e-7)
    assert np.abs(by_hand(3.0, 4, 2)[0] - by_hand(1.0, 4, 2)[0]).max() > 1e-3


def test_the_worse_mean_adds_variance_and_no_direction():
    # Noise alone in the difference: each of the n draws counts by its weight, and the weights sum to 1.
    n, k, omega = 5, 3, 3.0
    keys, x = jax.random.split(jax.random.key(3), 20_000), jnp.ones((20_000, 1))
    given = {"v_src_fn": lambda x, t: 0.0 * x, "v_tar_fn": lambda x, t: x, "num_average": n, "num_worse": k}
    step = jax.jit(lambda omega: flow_edit_step(x, x, 1.0, 0.0, keys, omega=omega, **given))
    plain, guided = x - step(1.0), x - step(omega)  # z - mean of x_j, at t = 1 of standard normal numbers
    shares = np.array([1 / n - (omega - 1) * (n - k) / (n * k)] * k + [omega / n] * (n - k))
    np.testing.assert_allclose(shares.sum(), 1.0)
    np.testing.assert_allclose([plain.mean(), guided.mean()], 0.0, atol=0.03)
    np.testing.assert_allclose(plain.var(), 1 / n, rtol=0.05)
    np.testing.assert_allclose(guided.var(), (shares**2).sum(), rtol=0.05)


def test_the_mean_over_all_subsets_would_be_nothing():
    draws = np.random.default_rng(0).normal(size=(5, 3))
    worse = [draws[list(some)].mean(0) for some in itertools.combinations(range(5), 3)]
    np.testing.assert_allclose(np.mean([draws.mean(0) - w for w in worse], 0), 0.0, atol=1e-12)
    assert np.abs(draws.mean(0) - worse[0]).max() > 0.1


def test_a_mask_may_look_at_what_the_models_returned():
    seen = {}

    def with_maps(shift):
        return lambda x, t: (curved(shift)(x, t), jnp.abs(x))

    def mask(source, target):
        seen["shapes"] = [part.shape for part in (*source, *target)]
        return jnp.mean(source[1], axis=0) > 0.7

    got = edited(v_src_fn=with_maps(0.0), v_tar_fn=with_maps(1.0), mask=mask, ts=TS[-2:]).x
    free = edited(ts=TS[-2:]).x
    assert seen["shapes"] == [(5, B, D)] * 4
    moved = np.asarray(got != X)
    np.testing.assert_allclose(got, np.where(moved, free, X), atol=1e-6)
    assert 0 < moved.sum() < moved.size


def test_a_sample_is_its_own():
    whole = edited().x
    some = jnp.array([2, 0])
    np.testing.assert_allclose(edited(X[some], KEYS[some]).x, whole[some], atol=1e-6)
    assert float(jnp.abs(edited(keys=KEYS[::-1]).x - whole).min()) > 1e-5
    per_sample = edited(omega=jnp.array([1.0, 3.0, 3.0, 1.0])).x
    np.testing.assert_allclose(per_sample, jnp.where(jnp.array([[1], [0], [0], [1]]), edited(omega=1.0).x, whole), 1e-4)


def test_half_precision_stays_and_the_loop_is_wider():
    seen = {}

    def velocity(x, t):
        seen["dtype"] = x.dtype
        return x

    got = edited(X.astype(jnp.bfloat16), v_src_fn=velocity).x
    assert got.dtype == seen["dtype"] == jnp.bfloat16


GOOD = {"v_src_fn": curved(0.0), "v_tar_fn": curved(1.0)}
BAD = {
    "worse": (lambda: flow_edit(KEYS, X, TS, num_worse=5, **GOOD), ValueError, "num_worse must be below num_average"),
    "average": (lambda: flow_edit(KEYS, X, TS, num_average=0, **GOOD), ValueError, "num_average must be"),
    "keys": (lambda: flow_edit(KEYS[:2], X, TS, **GOOD), ValueError, "keys must have shape [4]"),
    "rising": (lambda: flow_edit(KEYS, X, TS[::-1], **GOOD), ValueError, "strictly decreasing"),
    "integers": (lambda: flow_edit(KEYS, jnp.arange(B), TS, **GOOD), TypeError, "x_src must be floating"),
    "empty": (lambda: flow_edit(KEYS[:0], X[:0], TS, **GOOD), ValueError, "B >= 1"),
    "mask": (lambda: flow_edit(KEYS, X, TS, mask=jnp.ones(2), **GOOD), ValueError, "mask must broadcast to [4, 3]"),
    "shape": (
        lambda: flow_edit(KEYS, X, TS, v_src_fn=lambda x, t: x[:, :1], v_tar_fn=curved(0.0)),
        ValueError,
        "v_src_fn must return shape [4, 3]",
    ),
    "states": (lambda: flow_edit_step(X[:, :2], X, 0.5, 0.4, KEYS, **GOOD), ValueError, "same shape"),
    "omega": (lambda: flow_edit_step(X, X, 0.5, 0.4, KEYS, omega=jnp.ones(3), **GOOD), ValueError, "omega"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
