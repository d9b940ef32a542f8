"""Mean flows: exact average velocities are their own targets, and one step covers the whole path."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import diffusion
from jaxlab.diffusion import (
    mean_flow_guided_velocity,
    mean_flow_sample,
    mean_flow_target,
    mean_flow_times,
    time_grid,
)

KEY = jax.random.key(0)
MEAN, STD = 0.7, 0.4  # of Gaussian data
RNG = np.random.default_rng(0)
Z = jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32)
T = jnp.array([0.3, 0.5, 0.8, 1.0, 0.6])
R = jnp.array([0.0, 0.2, 0.75, 0.0, 0.6])


def spread(t):
    return jnp.sqrt((1 - t) ** 2 * STD**2 + t**2)


def flow_map(z, r, t):
    """Where the flow of Gaussian data takes a point from t to r: quantiles stay quantiles."""
    r, t = r[:, None], t[:, None]
    return (1 - r) * MEAN + spread(r) / spread(t) * (z - (1 - t) * MEAN)


def velocity(z, t):
    """Of Gaussian data: the mean of noise - data at z, by regression."""
    t = t[:, None]
    slope = (t - (1 - t) * STD**2) / spread(t) ** 2
    return -MEAN + slope * (z - (1 - t) * MEAN)


def average(z, r, t):
    """(z - flow_map) / (t - r), and the velocity itself where there is nothing between."""
    length = jnp.where(t == r, 1.0, t - r)[:, None]
    return jnp.where((t == r)[:, None], velocity(z, t), (z - flow_map(z, r, t)) / length)


def test_the_true_average_velocity_is_its_own_target():
    z, r, t = Z[:4], R[:4], T[:4]
    u, target = mean_flow_target(average, z, r, t, velocity(z, t))
    np.testing.assert_allclose(u, average(z, r, t), rtol=1e-6)
    np.testing.assert_allclose(target, u, atol=2e-5)
    wrong = lambda z, r, t: average(z, r, t) + 0.1 * z  # noqa: E731
    u, target = mean_flow_target(wrong, z, r, t, velocity(z, t))
    assert np.abs(u - target).max() > 0.1


def test_the_target_differentiates_along_the_path():
    """Against the derivative by finite differences of u along the straight line that z moves on."""

    def u_fn(z, r, t):
        return jnp.sin(z * t[:, None]) + r[:, None] * z**2

    v, small = jnp.cos(Z), 1e-3
    with jax.enable_x64(True):
        z, r, t, v = (jnp.asarray(np.asarray(a), jnp.float64) for a in (Z, R, T, v))
        ahead, behind = (u_fn(z + s * v, r, t + s) for s in (small, -small))
        expected = v - (t - r)[:, None] * (ahead - behind) / (2 * small)
        u, target = mean_flow_target(u_fn, z, r, t, v)
        np.testing.assert_allclose(target, expected, atol=1e-5)
        np.testing.assert_allclose(u, u_fn(z, r, t))


def test_without_length_it_is_flow_matching():
    steep = lambda z, r, t: jnp.sqrt(jnp.maximum(t - r, 0.0))[:, None] * z  # noqa: E731 - its slope is infinite there
    v = jnp.cos(Z)
    _, target = mean_flow_target(steep, Z, T, T, v)
    np.testing.assert_array_equal(target, v)


def test_no_gradient_flows_through_the_target():
    def total(theta, pick):
        v = theta * jnp.cos(Z)
        u_fn = lambda z, r, t: theta * (z + t[:, None] - r[:, None])  # noqa: E731
        return jnp.sum(mean_flow_target(u_fn, Z, R, T, v)[pick])

    assert jax.grad(total)(1.0, 1) == 0
    np.testing.assert_allclose(jax.grad(total)(1.0, 0), np.sum(Z + (T - R)[:, None]), rtol=1e-5)


def test_one_step_is_exact_and_so_are_many():
    noise = jnp.asarray(RNG.normal(size=(200, 2)), jnp.float32)
    once, four = (
        jax.jit(lambda x, n=n: mean_flow_sample(x, time_grid(n, low=0.0), u_fn=average, trajectory=True))(noise)
        for n in (1, 4)
    )
    np.testing.assert_allclose(once.x, MEAN + STD * noise, atol=1e-5)
    np.testing.assert_allclose(four.x, once.x, atol=1e-5)
    np.testing.assert_allclose(four.trajectory[2], flow_map(noise, jnp.full(200, 0.5), jnp.ones(200)), atol=1e-5)
    np.testing.assert_array_equal(four.trajectory[0], noise)
    assert (once.calls, four.calls) == (1, 4)
    assert (np.asarray(four.evaluations) == 4).all()


def test_a_plain_velocity_is_eulers_method():
    ts = time_grid(3, low=0.0)
    keys = jax.random.split(KEY, 5)
    step = diffusion.euler(diffusion.linear_flow(), kind="v")
    euler, ours = jax.jit(
        lambda x: (
            diffusion.sample(keys, x, ts, cond_fn=velocity, step=step).x,
            mean_flow_sample(x, ts, u_fn=lambda z, r, t: velocity(z, t)).x,
        )
    )(Z)
    np.testing.assert_allclose(ours, euler, rtol=1e-6)


def test_the_network_sees_the_dtype_of_the_samples():
    seen = []

    def u_fn(z, r, t):
        seen.append((z.dtype, r.shape, t.shape))
        return z

    result = mean_flow_sample(Z.astype(jnp.bfloat16), time_grid(2, low=0.0), u_fn=u_fn)
    assert seen[0] == (jnp.bfloat16, (5,), (5,))
    assert result.x.dtype == jnp.bfloat16
    assert result.trajectory is None


@pytest.mark.parametrize(
    ("batch", "ratio", "count"), [(10, 0.3, 3), (8, 0.75, 6), (7, 0.75, 5), (4, 1.0, 4), (4, 0.0, 0)]
)
def test_an_exact_share_is_flow_matching(batch, ratio, count):
    t, r = mean_flow_times(KEY, batch, flow_ratio=ratio)
    assert int(jnp.sum(t == r)) == count
    assert bool(jnp.all((r >= 0) & (r <= t) & (t <= 1)))


def test_times_are_logit_normal_and_the_share_moves_around():
    keys = jax.random.split(KEY, 3000)
    t, r = jax.jit(jax.vmap(lambda key: mean_flow_times(key, 4, mean=-1.0, std=0.5, flow_ratio=0.5)))(keys)
    same = np.asarray(t == r)
    np.testing.assert_allclose(same.mean(axis=0), 0.5, atol=0.04)  # every place as often
    assert (same.sum(axis=1) == 2).all()
    logit = np.log(t[~same] / (1 - t[~same])), np.log(r[~same] / (1 - r[~same]))
    np.testing.assert_allclose(np.mean(logit), -1.0, atol=0.02)
    # The larger and the smaller of two standard normals are 2 / sqrt(pi) apart on average.
    np.testing.assert_allclose(np.mean(logit[0] - logit[1]), 0.5 * 2 / np.sqrt(np.pi), atol=0.02)
    np.testing.assert_allclose(np.log(t[same] / (1 - t[same])).mean(), -1.0 + 0.5 / np.sqrt(np.pi), atol=0.02)


def test_a_curriculum_is_a_schedule_of_the_share():
    schedule = optax.linear_schedule(1.0, 0.5, 4)
    share = jax.jit(lambda step: jnp.mean(jnp.equal(*mean_flow_times(KEY, 40, flow_ratio=schedule(step)))))
    np.testing.assert_allclose([share(step) for step in (0, 2, 4, 9)], [1.0, 0.75, 0.5, 0.5])
    assert share._cache_size() == 1


def test_guidance_settles_at_its_scale():
    """Repeating the target: conditional velocities end at scale w / (1 - k), unconditional ones stay."""
    v = np.array([[1.0], [4.0]])  # of two classes, as likely as each other
    cond, null = np.zeros((2, 1)), np.zeros(1)
    for _ in range(400):
        target = np.asarray(
            mean_flow_guided_velocity(v.astype("f"), cond.astype("f"), np.tile(null, (2, 1)).astype("f"))
        )
        cond, null = target, target.mean(axis=0)  # what a network trained on it would say with and without the class
    np.testing.assert_allclose(null, [2.5], atol=1e-3)
    np.testing.assert_allclose(cond, 2.5 + 3.0 * (v - 2.5), atol=1e-3)


def test_neutral_guidance():
    u, null = jnp.sin(Z), jnp.cos(Z)
    np.testing.assert_array_equal(mean_flow_guided_velocity(Z, u, null, w=1.0, k=0.0), Z)
    np.testing.assert_allclose(mean_flow_guided_velocity(Z, Z, null, w=0.25, k=0.75), Z, rtol=1e-6)
    np.testing.assert_allclose(
        mean_flow_guided_velocity(Z, u, null, w=2.0, k=0.5), 2 * Z + 0.5 * u - 1.5 * null, rtol=1e-5
    )
    gradient = jax.grad(lambda a: mean_flow_guided_velocity(a, a, a).sum())(Z)
    assert (np.asarray(gradient) == 0).all()


TARGET = {"u_fn": average, "z": Z, "r": R, "t": T, "v": Z}
SAMPLE = {"x_init": Z, "ts": jnp.array([1.0, 0.0]), "u_fn": average}
GUIDED = {"v": Z, "u_cond": Z, "u_null": Z}


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mean_flow_times(KEY, 0), ValueError, "batch must be an integer of at least 1"),
        (lambda: mean_flow_times(KEY, 2.0), TypeError, "batch must be a static integer"),
        (lambda: mean_flow_times(KEY, 4, std=0.0), ValueError, "std must be > 0"),
        (lambda: mean_flow_times(KEY, 4, flow_ratio=1.5), ValueError, "flow_ratio must lie in [0.0, 1.0]"),
        (lambda: mean_flow_guided_velocity(**GUIDED, k=1.0), ValueError, "k must be less than 1"),
        (lambda: mean_flow_guided_velocity(**GUIDED, k=1.2), ValueError, "k must lie in"),
        (lambda: mean_flow_guided_velocity(Z, Z[:2], Z), ValueError, "u_cond and v must have the same shape"),
        (lambda: mean_flow_guided_velocity(Z, Z, Z[:, :1]), ValueError, "u_null and v must have the same shape"),
        (lambda: mean_flow_target(**TARGET | {"v": Z[:2]}), ValueError, "v and z must have the same shape"),
        (lambda: mean_flow_target(**TARGET | {"r": R[:2]}), ValueError, "r must have shape [B]"),
        (lambda: mean_flow_target(**TARGET | {"t": jnp.float32(1.0)}), ValueError, "t must have shape [B]"),
        (lambda: mean_flow_target(**TARGET | {"t": jnp.ones(5, int)}), TypeError, "t must be floating point"),
        (lambda: mean_flow_target(**TARGET | {"u_fn": lambda z, r, t: t}), ValueError, "u_fn must return shape [5, 3]"),
        (
            lambda: mean_flow_sample(**SAMPLE | {"ts": jnp.array([0.0, 1.0])}),
            ValueError,
            "ts must be strictly decreasing",
        ),
        (lambda: mean_flow_sample(**SAMPLE | {"x_init": jnp.zeros((0, 2))}), ValueError, "x_init must have shape"),
        (
            lambda: mean_flow_sample(**SAMPLE | {"x_init": jnp.zeros(3, int)}),
            TypeError,
            "x_init must be floating point",
        ),
        (lambda: mean_flow_sample(**SAMPLE | {"u_fn": lambda z, r, t: t}), ValueError, "u_fn must return shape"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=re.escape(words)):
        call()
