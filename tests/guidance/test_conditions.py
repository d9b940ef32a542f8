"""Several predictions into one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import guidance

rng = np.random.default_rng(2)
P = rng.normal(size=(3, 4, 5)).astype(np.float32)  # [M, B, D]


def test_combine_is_the_formula_and_exact_at_one():
    scales = np.array([-2.0, 0.0, 1.0, 7.0], np.float32)
    expected = P[1] + scales[:, None] * (P[0] - P[1])
    np.testing.assert_allclose(guidance.combine(P[0], P[1], scale=scales), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(guidance.combine(P[0], P[1], scale=1.0), P[0])


def test_combine_takes_logits_with_excluded_tokens():
    cond, uncond = jnp.array([1.0, -jnp.inf, 0.0]), jnp.array([0.0, -jnp.inf, 2.0])
    np.testing.assert_array_equal(guidance.combine(cond, uncond, scale=3.0), [3.0, -np.inf, -4.0])


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_what_one_side_alone_excludes(scale):
    """A token that cond excludes stays out; one that uncond alone excludes keeps what cond says."""
    cond, uncond = jnp.array([0.0, -jnp.inf, 1.0]), jnp.array([0.0, 1.0, -jnp.inf])
    np.testing.assert_array_equal(guidance.combine(cond, uncond, scale=scale), [0.0, -np.inf, 1.0])
    slopes = jax.grad(lambda c: jnp.sum(jnp.where(c > -jnp.inf, guidance.combine(c, uncond, scale=scale), 0.0)))(cond)
    assert np.isfinite(slopes).all()


def test_the_phase_scale_is_float32_whatever_its_scale_is():
    assert guidance.phase_scale(jnp.arange(3), scale=jnp.bfloat16(1.5)).dtype == jnp.float32


def test_scales_belong_to_the_leading_axes():
    square = rng.normal(size=(2, 4, 4)).astype(np.float32)
    scale = np.arange(4, dtype=np.float32)
    got = guidance.combine(square[0], square[1], scale=scale)
    np.testing.assert_allclose(got, square[1] + scale[:, None] * (square[0] - square[1]), rtol=1e-5, atol=1e-6)


def test_nested_guidance_is_the_three_way_formula():
    expected = P[0] + 4.0 * (P[1] - P[0]) + 2.9 * (P[2] - P[1])
    np.testing.assert_allclose(guidance.combine_nested(P, jnp.array([4.0, 2.9])), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(guidance.combine_nested(P, jnp.ones(2)), P[2])
    np.testing.assert_allclose(
        guidance.combine_nested(P, jnp.full(2, 5.0)), guidance.combine(P[2], P[0], scale=5.0), rtol=1e-4, atol=1e-5
    )
    per_sample = rng.uniform(1.0, 5.0, (2, 4)).astype(np.float32)
    expected = P[0] + per_sample[0][:, None] * (P[1] - P[0]) + per_sample[1][:, None] * (P[2] - P[1])
    np.testing.assert_allclose(guidance.combine_nested(P, per_sample), expected, rtol=1e-4, atol=1e-5)


def test_weighted_guidance_adds_up():
    expected = P[0] + (3.0 - 1) * (P[0] - P[1]) + (1.5 - 1) * (P[0] - P[2])
    got = guidance.combine_weighted(P[0], P[1:], jnp.array([3.0, 1.5]))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    one = guidance.combine_weighted(P[0], P[1:], jnp.array([3.0, 1.0]))
    np.testing.assert_allclose(one, guidance.combine(P[0], P[1], scale=3.0), rtol=1e-5, atol=1e-5)


def test_the_cosine_power_schedule_falls_from_the_scale_to_its_half():
    steps = np.arange(21)
    expected = 4.0 / 2 + 4.0 / 2 * (1 - np.cos(np.pi * ((20 - steps) / 20) ** 5)) / 2
    got = guidance.cosine_power_schedule(steps, 20, scale=4.0)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(got[jnp.array([0, 10, 20])], [4.0, 4 * (0.5 + (1 - np.cos(np.pi / 32)) / 4), 2.0], 1e-6)
    assert (np.diff(got) <= 0).all()
    gentle = guidance.cosine_power_schedule(10, 20, scale=4.0, power=1.0)
    np.testing.assert_allclose(gentle, 3.0, rtol=1e-6)


def test_the_phase_factor_neither_grows_nor_stays():
    factors = np.asarray(guidance.phase_scale(np.arange(6)))
    np.testing.assert_array_equal(factors, [1.5, 1.5, 1.5, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(guidance.phase_scale(np.arange(4), steps=0, scale=3.0), [3.0, 1.0, 1.0, 1.0])
    np.testing.assert_array_equal(guidance.phase_scale(np.arange(4), scale=1.0), 1.0)


BAD = {
    "power": (lambda: guidance.cosine_power_schedule(0, 5, power=0.0), ValueError, "power must be > 0"),
    "no steps": (lambda: guidance.cosine_power_schedule(0, 0), ValueError, "num_steps must be > 0"),
    "shapes": (lambda: guidance.combine(P[0], P[1, :2], scale=1.0), ValueError, "same shape"),
    "scale": (lambda: guidance.combine(P[0], P[1], scale=jnp.ones(5)), ValueError, "leading axes of [4, 5]"),
    "integers": (lambda: guidance.combine(jnp.arange(3), jnp.ones(3), scale=1.0), TypeError, "cond must be floating"),
    "one prediction": (lambda: guidance.combine_nested(P[:1], jnp.ones(0)), ValueError, "M >= 2"),
    "too few scales": (lambda: guidance.combine_nested(P, jnp.ones(3)), ValueError, "[2] or [2, B]"),
    "one scale": (lambda: guidance.combine_nested(P, 2.0), ValueError, "[2] or [2, B]"),
    "references": (lambda: guidance.combine_weighted(P[0], P[1], jnp.ones(1)), ValueError, "[M, 4, 5]"),
    "weights": (lambda: guidance.combine_weighted(P[0], P[1:], jnp.ones(3)), ValueError, "[2] or [2, B]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
