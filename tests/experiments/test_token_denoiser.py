"""The transformer denoiser: what it learns, what its hooks see and change, its student, its cache."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import training
from experiments.assets import token_denoiser
from experiments.assets.denoiser import even_times
from experiments.assets.token_denoiser import PROCESS, StudentConfig, TokenDenoiserConfig
from jaxlab import diffusion

CONFIG = TokenDenoiserConfig(
    side=4, sizes=(2, 3), width=16, heads=2, layers=1, num_steps=250, batch_size=64, learning_rate=1e-2
)
rng = np.random.default_rng(0)
CONDITIONS = np.stack([rng.integers(0, 2, 200), rng.integers(0, 3, 200)], axis=1)
# The first condition sets the sign of the upper half, the second one the size of the lower half.
X = np.concatenate([np.repeat(2.0 * CONDITIONS[:, :1] - 1, 8, 1), np.repeat(CONDITIONS[:, 1:] / 2, 8, 1)], 1)
X = X.astype(np.float32)
NOISE = rng.normal(size=(12, 16)).astype(np.float32)
ASKED = jnp.asarray(CONDITIONS[:12])


@pytest.fixture(scope="module")
def params():
    return token_denoiser.train_denoiser(CONFIG, jnp.asarray(X), jnp.asarray(CONDITIONS))


def predictions(params, conditions, t=0.8, **options):
    """Data predictions of the first rows of noise."""
    fn = token_denoiser.model(CONFIG, params, jnp.asarray(conditions), kind="x0", **options)
    return np.asarray(jax.jit(fn)(NOISE[: len(conditions)], jnp.full(len(conditions), t)))


def test_every_condition_is_learned_and_may_be_left_out(params):
    both = np.array([[a, b] for a in (0, 1) for b in (0, 1, 2)])
    upper, lower = np.split(predictions(params, both), 2, axis=1)
    np.testing.assert_allclose(upper, np.repeat(2.0 * both[:, :1] - 1, 8, 1), atol=0.6)
    np.testing.assert_allclose(lower, np.repeat(both[:, 1:] / 2, 8, 1), atol=0.6)
    first = predictions(params, np.tile([1, 3], (12, 1))).mean(0)
    np.testing.assert_allclose(first, np.repeat([1.0, 0.5], 8), atol=0.4)
    none = predictions(params, token_denoiser.null(CONFIG, 12)).mean(0)
    np.testing.assert_allclose(none, np.repeat([0.0, 0.5], 8), atol=0.5)


def test_all_kinds_are_one_prediction(params):
    eps = token_denoiser.model(CONFIG, params, ASKED, kind="eps")(NOISE, jnp.full(12, 0.8))
    x0 = predictions(params, ASKED)
    np.testing.assert_allclose(PROCESS.alpha(0.8) * x0 + PROCESS.std(0.8) * eps, NOISE, atol=1e-4)


def test_hooks_that_do_as_before_change_nothing(params):
    seen = {}

    def cross(layer, q, keys_values, conditions):
        k, v = keys_values(conditions)
        seen["cross"] = layer, q.shape, k.shape, v.shape, conditions.shape
        return token_denoiser.attend(q, k, v)

    def tokens(layer, h, given):
        seen["tokens"] = layer, h.shape, given.shape
        return h

    plain = predictions(params, ASKED)
    np.testing.assert_allclose(predictions(params, ASKED, cross=cross, tokens=tokens), plain, atol=1e-6)
    assert seen["cross"] == (0, (12, 2, 4, 8), (12, 2, 2, 8), (12, 2, 2, 8), (12, 2))
    assert seen["tokens"] == (0, (12, 4, 16), (12, 4, 16))


def test_a_cross_hook_can_look_at_other_conditions(params):
    other = (ASKED + 1) % jnp.asarray(CONFIG.sizes)

    def cross(layer, q, keys_values, conditions):
        return token_denoiser.attend(q, *keys_values(other))

    replaced = predictions(params, ASKED, cross=cross)
    np.testing.assert_allclose(replaced, predictions(params, other), atol=1e-5)
    assert np.abs(replaced - predictions(params, ASKED)).max() > 0.5


def test_a_tokens_hook_changes_the_patches_of_its_own_image_alone(params):
    def tokens(layer, h, given):
        return h.at[0].multiply(-1.0)

    difference = np.abs(predictions(params, ASKED, tokens=tokens) - predictions(params, ASKED)).max(1)
    assert difference[0] > 1e-2
    np.testing.assert_allclose(difference[1:], 0.0, atol=1e-6)


def test_a_tokens_hook_sees_what_the_self_attention_is_given(params):
    """The self-attention of it, by the weights of the layer, is what the hook may change."""
    own = params["blocks"]["block0"]["own"]

    def projected(name, x):
        return x @ own[name]["kernel"] + own[name]["bias"]

    def tokens(layer, h, given):
        q, k, v = (projected(name, given).reshape(12, 4, 2, 8).swapaxes(1, 2) for name in ("query", "key", "value"))
        return projected("out", token_denoiser.attend(q, k, v).swapaxes(1, 2).reshape(12, 4, 16))

    np.testing.assert_allclose(predictions(params, ASKED, tokens=tokens), predictions(params, ASKED), atol=1e-5)


def test_thickness_bins_hold_equally_many():
    rows = rng.normal(size=(30, 4)).astype(np.float32)
    bins = token_denoiser.thickness(rows)
    np.testing.assert_array_equal(np.bincount(bins), [10, 10, 10])
    order = rows.mean(1).argsort()
    assert (np.diff(np.asarray(bins)[order]) >= 0).all()
    np.testing.assert_array_equal(np.bincount(token_denoiser.thickness(rows, bins=2)), [15, 15])


def test_an_asset_comes_back_from_disk(tmp_path, monkeypatch):
    short = dataclasses.replace(CONFIG, num_steps=2)
    made = {"root": tmp_path, "digest": "d"}
    monkeypatch.setattr(
        token_denoiser, "fit", lambda loss_fn, params, *rest, **sizes: types.SimpleNamespace(params=params)
    )
    first = token_denoiser.denoiser_asset(short, jnp.asarray(X), jnp.asarray(CONDITIONS), **made)
    monkeypatch.setattr(token_denoiser, "fit", None)
    again = token_denoiser.denoiser_asset(short, jnp.asarray(X), jnp.asarray(CONDITIONS), **made)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    other = dataclasses.replace(short, seed=1)
    with pytest.raises(TypeError):  # other settings are another asset, which is trained
        token_denoiser.denoiser_asset(other, jnp.asarray(X), jnp.asarray(CONDITIONS), **made)


def test_a_student_learns_the_image_at_which_its_teacher_ends(params, monkeypatch):
    config = StudentConfig(teacher=CONFIG, pairs=40, teacher_steps=3, num_steps=60, batch_size=40, learning_rate=1e-2)
    seen = {}

    def fit(loss_fn, params, state, optimizer, data, key, **sizes):
        seen.update(data)
        return training.fit(loss_fn, params, state, optimizer, data, key, **sizes)

    monkeypatch.setattr(token_denoiser, "fit", fit)
    student = token_denoiser.train_student(config, params, jnp.asarray(CONDITIONS))
    noise, x, given = seen["noise"], seen["x"], seen["given"]
    assert noise.shape == x.shape == (40, 16)
    assert len(np.unique(given, axis=0)) > 6  # conditions are left out here and there

    @jax.jit
    def ends(noise):
        cond_fn = token_denoiser.model(CONFIG, params, given, kind="x0")
        step = diffusion.ddim(PROCESS, kind="x0")
        return diffusion.sample(
            jax.random.split(jax.random.key(0), 40), noise, even_times(3), cond_fn=cond_fn, step=step
        ).x

    np.testing.assert_allclose(x, ends(noise), atol=1e-4)

    @jax.jit
    def error(params):
        return jnp.mean((token_denoiser.model(CONFIG, params, given, kind="x0")(noise, jnp.ones(40)) - x) ** 2)

    assert error(student) < 0.7 * error(params)


def test_conditions_must_be_those_of_the_denoiser(params):
    with pytest.raises(ValueError, match=r"conditions must be \[12, 2\], got \[12, 1\]"):
        predictions(params, np.zeros((12, 1), int))
