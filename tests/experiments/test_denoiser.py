"""The denoiser that the questions about generation share: what it learns, its conditions, its times, its cache."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.assets import denoiser
from experiments.assets.denoiser import PROCESS, ClassifierConfig, DenoiserConfig
from jaxlab import diffusion

CONFIG = DenoiserConfig(dim=4, sizes=(2, 3), hidden=16, num_steps=300, batch_size=64, learning_rate=1e-2)
rng = np.random.default_rng(0)
CONDITIONS = np.stack([rng.integers(0, 2, 200), rng.integers(0, 3, 200)], axis=1)
# The first condition sets the sign of the first two numbers, the second one the size of the others.
X = np.concatenate([np.repeat(2.0 * CONDITIONS[:, :1] - 1, 2, 1), np.repeat(CONDITIONS[:, 1:] / 2, 2, 1)], 1)
X = X.astype(np.float32)


@pytest.fixture(scope="module")
def params():
    return jax.jit(lambda: denoiser.train_denoiser(CONFIG, jnp.asarray(X), jnp.asarray(CONDITIONS)))()


def predictions(params, conditions, t=0.8, kind="x0"):
    conditions = jnp.asarray(conditions)
    noise = jax.random.normal(jax.random.key(1), (len(conditions), 4))
    return jax.jit(denoiser.model(CONFIG, params, conditions, kind=kind))(noise, jnp.full(len(conditions), t))


def test_every_condition_is_learned_and_may_be_left_out(params):
    both = np.array([[a, b] for a in (0, 1) for b in (0, 1, 2)] * 4)
    sign, size = np.split(np.asarray(predictions(params, both)), 2, axis=1)
    np.testing.assert_allclose(sign, np.repeat(2.0 * both[:, :1] - 1, 2, 1), atol=0.35)
    np.testing.assert_allclose(size, np.repeat(both[:, 1:] / 2, 2, 1), atol=0.35)
    none = np.asarray(predictions(params, denoiser.null(CONFIG, 24)))
    np.testing.assert_allclose(none.mean(0), X.mean(0), atol=0.35)
    first = np.asarray(predictions(params, np.tile([1, 3], (24, 1))))
    np.testing.assert_allclose(first.mean(0), [1, 1, 0.5, 0.5], atol=0.35)


def test_all_kinds_are_one_prediction(params):
    conditions = CONDITIONS[:5]
    x0, eps = (predictions(params, conditions, kind=kind) for kind in ("x0", "eps"))
    noisy = jax.random.normal(jax.random.key(1), (5, 4))
    np.testing.assert_allclose(PROCESS.alpha(0.8) * x0 + PROCESS.std(0.8) * eps, noisy, atol=1e-4)


def test_times_turn_by_equal_angles():
    times = denoiser.even_times(10)
    assert times[0] == 1.0
    np.testing.assert_allclose(times[-1], 1e-3, rtol=1e-5)
    turns = np.diff(denoiser.angle(times))
    np.testing.assert_allclose(turns, turns.mean(), rtol=2e-2)
    assert turns.mean() < 0
    np.testing.assert_allclose(np.cos(denoiser.angle(0.3)), PROCESS.alpha(0.3), rtol=1e-5)
    assert np.ptp(np.diff(denoiser.angle(diffusion.time_grid(10)))) > 0.1  # which the process's own times do not


def test_data_are_rows_from_minus_one_to_one():
    images = np.arange(8.0).reshape(2, 2, 2)
    rows = denoiser.scaled(images)
    assert rows.shape == (2, 4)
    np.testing.assert_allclose(rows[:, [0, 3]], [[-1, -1 / 7], [1 / 7, 1]], atol=1e-6)


def test_assets_come_back_from_disk_and_know_their_configuration(tmp_path, monkeypatch):
    short = dataclasses.replace(CONFIG, num_steps=2)
    kinds = ClassifierConfig(dims=(4, 3, 2), num_steps=2)
    x, labels = jnp.asarray(X), jnp.asarray(CONDITIONS[:, 0])
    made = {"root": tmp_path, "digest": "d"}
    first = denoiser.denoiser_asset(short, x, CONDITIONS, **made), denoiser.classifier_asset(kinds, x, labels, **made)
    monkeypatch.setattr(denoiser, "fit", None)
    monkeypatch.setattr(denoiser, "train_classifier", None)
    again = denoiser.denoiser_asset(short, x, CONDITIONS, **made), denoiser.classifier_asset(kinds, x, labels, **made)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    with pytest.raises(TypeError):  # other settings are another asset, which is trained
        denoiser.denoiser_asset(dataclasses.replace(short, seed=1), x, CONDITIONS, **made)
    seen = denoiser.judge(kinds, first[1], x)
    assert seen.features.shape == (200, 3)
    assert seen.logits.shape == (200, 2)


def test_conditions_must_be_those_of_the_denoiser(params):
    with pytest.raises(ValueError, match=r"conditions must have shape \[B, 2\], got \[5, 1\]"):
        denoiser.model(CONFIG, params, jnp.zeros(5, int))


def test_a_gate_lets_noise_through_a_narrow_network():
    """Data that are one point: the noise of all entries is then known, but two hidden units cannot carry eight."""
    x, labels = jnp.full((64, 8), 0.5), jnp.zeros(64, jnp.int32)
    errors = []
    for gated in (False, True):
        config = denoiser.DenoiserConfig(dim=8, sizes=(1,), hidden=2, gated=gated, num_steps=400)
        params = denoiser.train_denoiser(config, x, labels)
        noise = jax.random.normal(jax.random.key(0), x.shape)
        t = jnp.full(64, 0.5)
        noisy = denoiser.PROCESS.alpha(t)[:, None] * x + denoiser.PROCESS.std(t)[:, None] * noise
        errors.append(float(jnp.mean((denoiser.model(config, params, labels)(noisy, t) - noise) ** 2)))
    assert errors[1] < 0.5 * errors[0]


def test_larger_images_have_a_gate():
    assert denoiser.suited(784, (10,)).gated
    assert denoiser.suited(64, (10,)) == denoiser.DenoiserConfig()
    assert denoiser.suited(784, (10,), num_steps=5).num_steps == 5
