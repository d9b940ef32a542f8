"""Flows of tokens on the simplex."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion, guidance

rng = np.random.default_rng(0)
KEY = jax.random.key(0)
LABELS = rng.integers(0, 5, (6, 3)).astype(np.int32)
X = rng.dirichlet(np.ones(5), (6, 3)).astype(np.float32)
P = rng.dirichlet(np.ones(5), (6, 3)).astype(np.float32)


def interpolant(t, **options):
    return diffusion.gumbel_interpolant(KEY, LABELS, t, num_classes=5, **options)


def test_the_temperature():
    t = np.linspace(0, 1, 7)
    np.testing.assert_allclose(diffusion.gumbel_tau(t), 10 * np.exp(-3 * t), rtol=1e-6)
    np.testing.assert_allclose(diffusion.gumbel_tau(1.0), 0.4978707, rtol=1e-6)
    np.testing.assert_allclose(diffusion.gumbel_tau(0.5, tau_max=4.0, decay=2.0), 4 / np.e, rtol=1e-6)


def test_the_interpolant_is_its_formula():
    t = np.linspace(0.0, 1.0, 6).astype(np.float32)
    noise = np.asarray(jax.random.gumbel(KEY, (6, 3, 5)))
    logits = (np.eye(5)[LABELS] + noise / 2.0) / (10 * np.exp(-3 * t))[:, None, None]
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(interpolant(t), expected, rtol=1e-5)
    start = diffusion.gumbel_interpolant(KEY, np.full((6, 3), -1), 0.0, num_classes=5)
    logits = noise / 20.0  # noise alone
    np.testing.assert_allclose(start, np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), rtol=1e-5)


def test_noise_is_flat_and_data_is_not():
    tokens = np.zeros((200, 1), np.int32)
    first, last = (diffusion.gumbel_interpolant(KEY, tokens, t, num_classes=20).max(-1).squeeze() for t in (0.0, 1.0))
    assert np.median(first) < 0.2 < np.median(last)


def test_the_velocity_is_the_derivative_of_the_path_without_noise():
    step = 1e-3
    before, now, after = (
        np.asarray(interpolant(t, noise_scale=0.0), np.float64) for t in (0.6 - step, 0.6, 0.6 + step)
    )
    slope = (after - before) / (2 * step)
    own = np.eye(5, dtype=np.float32)[LABELS]
    np.testing.assert_allclose(diffusion.gumbel_velocity(now.astype(np.float32), own, 0.6), slope, rtol=2e-3, atol=2e-4)


def test_with_noise_it_is_the_exact_path():
    step = 1e-3
    before, now, after = (np.asarray(interpolant(t), np.float64) for t in (0.6 - step, 0.6, 0.6 + step))
    slope, x = (after - before) / (2 * step), now.astype(np.float32)
    own = np.eye(5, dtype=np.float32)[LABELS]
    exact = diffusion.gumbel_velocity(x, own, 0.6, exact_path=True)
    np.testing.assert_allclose(exact, slope, rtol=2e-3, atol=3e-4)
    # It is a function of the state alone: the token does not occur in it, so it cannot be learned from.
    np.testing.assert_array_equal(exact, diffusion.gumbel_velocity(x, P, 0.6, exact_path=True))
    assert np.abs(diffusion.gumbel_velocity(x, own, 0.6) - slope).max() > 0.1
    # Written with the noise: (lambda / tau) x (z - <x, z>), z = e_y + g / beta.
    z = np.eye(5)[LABELS] + np.asarray(jax.random.gumbel(KEY, (6, 3, 5)), np.float64) / 2
    direct = 3.0 / (10 * np.exp(-1.8)) * now * (z - (now * z).sum(-1, keepdims=True))
    np.testing.assert_allclose(exact, direct, rtol=1e-3, atol=1e-5)


def test_facts_of_the_velocity():
    u = diffusion.gumbel_velocity(X, P, 0.3)
    np.testing.assert_allclose(jnp.sum(u, axis=-1), 0.0, atol=1e-6)
    conditional = np.stack(
        [diffusion.gumbel_velocity(X, np.broadcast_to(np.eye(5, dtype=np.float32)[k], X.shape), 0.3) for k in range(5)]
    )
    np.testing.assert_allclose(u, np.einsum("kbtv,btk->btv", conditional, P), atol=1e-6)  # the mean over tokens
    for k in range(5):
        assert (conditional[k][..., k] >= 0).all()
    corners = np.eye(5, dtype=np.float32)[LABELS]
    np.testing.assert_array_equal(diffusion.gumbel_velocity(corners, P, 1.0), 0.0)
    np.testing.assert_array_equal(diffusion.gumbel_velocity(corners, P, 1.0, exact_path=True), 0.0)
    rate = 3.0 / (10 * np.exp(-3 * 0.3))
    own = rate * X * (X - (X**2).sum(-1, keepdims=True))  # p = x
    np.testing.assert_allclose(diffusion.gumbel_velocity(X, X, 0.3), own, rtol=1e-4, atol=1e-7)
    own_times = diffusion.gumbel_velocity(X, P, np.linspace(0, 1, 6).astype(np.float32))
    np.testing.assert_allclose(own_times[3], diffusion.gumbel_velocity(X[3:4], P[3:4], 0.6)[0], rtol=1e-5)


KEYS = jax.random.split(KEY, 5)


def toward(x, t):  # a denoiser that wants each token to follow the last one
    return 4.0 * jnp.roll(x, 1, axis=1) + t[:, None, None] * jnp.arange(4.0)


def test_sampling_is_the_loop_of_euler_steps():
    result = diffusion.simplex_euler_sample(KEYS, (3, 4), denoiser=toward, num_steps=8)
    x = np.asarray(
        jnp.stack(
            [
                diffusion.gumbel_interpolant(jax.random.fold_in(k, 8), -jnp.ones((1, 3), int), 0.0, num_classes=4)[0]
                for k in KEYS
            ]
        ),
        np.float64,
    )
    for step in range(8):
        logits = 4.0 * np.roll(x, 1, axis=1) + step / 8 * np.arange(4.0)
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        x = x + 3.0 / (10 * np.exp(-3 * step / 8)) * x * (p - (p * x).sum(-1, keepdims=True)) / 8
        x = np.maximum(x, 0)
        x /= x.sum(-1, keepdims=True)
    np.testing.assert_allclose(result.x, x, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(result.tokens, x.argmax(-1))
    np.testing.assert_array_equal(result.evaluations, 8)
    assert result.calls == 8


def test_a_sample_depends_on_its_own_key_alone():
    guide = functools.partial(
        guidance.straight_through_guide, score_fn=lambda y: jnp.sum(jnp.cumsum(y, -1) ** 2, (-2, -1))
    )

    def draw(keys):
        return diffusion.simplex_euler_sample(keys, (3, 4), denoiser=toward, num_steps=5, guide_fn=guide, scale=0.3).x

    np.testing.assert_allclose(draw(KEYS)[1:3], draw(KEYS[1:3]), rtol=1e-5, atol=1e-6)


def test_guidance_moves_tokens_and_scale_zero_does_not():
    def draw(scale):
        guide = functools.partial(guidance.straight_through_guide, score_fn=lambda y: jnp.sum(y[..., 2], axis=-1))
        return diffusion.simplex_euler_sample(
            KEYS, (3, 4), denoiser=lambda x, t: jnp.zeros_like(x), num_steps=20, guide_fn=guide, scale=scale
        )

    plain = diffusion.simplex_euler_sample(KEYS, (3, 4), denoiser=lambda x, t: jnp.zeros_like(x), num_steps=20)
    np.testing.assert_array_equal(draw(0.0).x, plain.x)
    per_sample = draw(jnp.array([0.0, 2.0, 2.0, 2.0, 2.0]))
    np.testing.assert_array_equal(per_sample.x[0], plain.x[0])
    np.testing.assert_array_equal(per_sample.tokens[1:], 2)
    x = np.asarray(draw(50.0).x)  # far beyond what Euler can take: still on the simplex
    assert (x >= 0).all()
    np.testing.assert_allclose(x.sum(-1), 1.0, rtol=1e-5)


def test_the_straight_path_ends_at_the_prediction():
    target = jnp.asarray(np.eye(4, dtype=np.float32)[[[1, 3, 0]] * 5])
    result = diffusion.simplex_euler_sample(
        KEYS,
        (3, 4),
        denoiser=lambda x, t: jnp.log(target + 1e-9),
        num_steps=4,
        velocity_fn=lambda x, p, t: (p - x) / (1.0 - t)[:, None, None],
        x_init=jnp.full((5, 3, 4), 0.25),
    )
    np.testing.assert_allclose(result.x, target, atol=1e-6)


def nothing(x, t):
    return jnp.zeros_like(x)


SAMPLE = diffusion.simplex_euler_sample
BAD = {
    "t": (lambda: diffusion.gumbel_tau(1.5), ValueError, "t must lie in [0.0, 1.0]"),
    "tau_max": (lambda: diffusion.gumbel_tau(0.5, tau_max=0.0), ValueError, "tau_max must be > 0"),
    "decay": (lambda: diffusion.gumbel_tau(0.5, decay=-1.0), ValueError, "decay must be > 0"),
    "one token": (lambda: diffusion.gumbel_interpolant(KEY, LABELS, 0.5, num_classes=1), ValueError, "at least 2"),
    "noise": (lambda: interpolant(0.5, noise_scale=-1.0), ValueError, "noise_scale must be at least 0"),
    "soft labels": (lambda: diffusion.gumbel_interpolant(KEY, X, 0.5, num_classes=5), TypeError, "labels must hold"),
    "times": (lambda: interpolant(jnp.ones(4)), ValueError, "t must"),
    "probs": (lambda: diffusion.gumbel_velocity(X, P[:2], 0.5), ValueError, "same shape"),
    "no simplex": (lambda: diffusion.gumbel_velocity(X[..., :1], P[..., :1], 0.5), ValueError, "V >= 2"),
    "keys": (lambda: SAMPLE(KEY, (3, 4), denoiser=nothing), ValueError, "one typed key per sample"),
    "untyped keys": (lambda: SAMPLE(jnp.arange(5), (3, 4), denoiser=nothing), TypeError, "typed keys"),
    "shape": (lambda: SAMPLE(KEYS, (3, 1), denoiser=nothing), ValueError, "shape[1]"),
    "steps": (lambda: SAMPLE(KEYS, (3, 4), denoiser=nothing, num_steps=0), ValueError, "num_steps"),
    "denoiser": (lambda: SAMPLE(KEYS, (3, 4), denoiser=lambda x, t: x[..., 0]), ValueError, "denoiser(x, t) must have"),
    "start": (lambda: SAMPLE(KEYS, (3, 4), denoiser=nothing, x_init=jnp.ones((5, 4))), ValueError, "x_init must have"),
    "guide": (
        lambda: SAMPLE(KEYS, (3, 4), denoiser=nothing, guide_fn=lambda key, logits: logits[0]),
        ValueError,
        "guide_fn(key, logits) must have shape [5, 3, 4]",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
