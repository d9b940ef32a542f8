"""Rules that spare the unconditional call: the latch, and predictions from the history."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import guidance
from jaxlab.guidance import LinearAGCoeffs, adaptive, cfg, chain, guide, interval, linear_ag, linear_ag_fit

B, D, STEPS = 2, 3, 6
rng = np.random.default_rng(3)


def turned(angle):
    """A condition that agrees with the reference (1, 0, 0) by the cosine of the angle."""
    return jnp.array([[np.cos(angle), np.sin(angle), 0.0]], jnp.float32)


def latch(rule, angles):
    uncond, state, out = turned(0.0), rule.init(turned(0.0)), []
    for step, angle in enumerate(angles):
        cond = turned(angle)
        prediction, state = guide(rule, state, cond, uncond, x=cond, t=0.5, step=step, num_steps=len(angles))
        out.append(not np.array_equal(prediction, cond))
    return out


def test_the_step_that_crosses_is_guided_and_none_after_it():
    rule = chain(adaptive(0.9), cfg(3.0))
    assert latch(rule, [1.0, 0.8, 0.1, 1.0, 1.0]) == [True, True, True, False, False]


def test_thresholds_at_both_ends():
    assert latch(chain(adaptive(1.1), cfg(3.0)), [0.5, 0.1, 0.2]) == [True, True, True]
    assert latch(chain(adaptive(-1.0), cfg(3.0)), [0.5, 0.1, 0.2]) == [True, False, False]


def test_early_steps_do_not_latch():
    assert latch(chain(adaptive(0.9, min_steps=2), cfg(3.0)), [0.1, 0.1, 0.1, 0.1]) == [True, True, True, False]


def test_the_space_of_comparison_is_the_callers():
    # In the second coordinate alone these predictions have opposite signs.
    flipped = adaptive(0.9, space=lambda prediction, x, t: prediction[:, 1:2] - 0.05)
    assert latch(chain(flipped, cfg(3.0)), [0.1, 0.1, 0.1]) == [True, True, True]
    assert latch(chain(adaptive(0.9), cfg(3.0)), [0.1, 0.1, 0.1]) == [True, False, False]


def test_samples_latch_apart():
    rule = chain(adaptive(0.9), cfg(3.0))
    cond, uncond = jnp.concatenate([turned(0.1), turned(1.2)]), jnp.concatenate([turned(0.0)] * 2)
    _, state = guide(rule, rule.init(cond), cond, uncond, x=cond, t=0.5)
    np.testing.assert_array_equal(rule.needs_uncond(state, jnp.float32(0.5), 1), [False, True])


def linear_trajectories(runs=40):
    """Unconditional predictions that are an exact linear function of what came before."""
    weights_c = np.tril(rng.normal(size=(STEPS, STEPS))) * 0.5
    weights_u = np.tril(rng.normal(size=(STEPS, STEPS)), -1) * 0.3
    cond = rng.normal(size=(runs, STEPS, D)).astype(np.float32)
    uncond = np.zeros_like(cond)
    for step in range(STEPS):
        uncond[:, step] = np.einsum("i,rid->rd", weights_c[step], cond) + np.einsum(
            "i,rid->rd", weights_u[step], uncond
        )
    return cond, uncond


def test_fit_recovers_an_exact_linear_history():
    cond, uncond = linear_trajectories()
    coeffs = linear_ag_fit(cond, uncond)
    predicted = np.einsum("si,rid->rsd", coeffs.cond, cond) + np.einsum("si,rid->rsd", coeffs.uncond, uncond)
    np.testing.assert_allclose(predicted, uncond, atol=2e-3)
    np.testing.assert_array_equal(coeffs.cond, np.tril(coeffs.cond))
    np.testing.assert_array_equal(coeffs.uncond, np.tril(coeffs.uncond, -1))


def test_fit_is_ridge_regression_on_what_is_known():
    cond, uncond = (rng.normal(size=(7, STEPS, D)).astype(np.float32) for _ in range(2))
    coeffs = linear_ag_fit(cond, uncond, ridge=0.3, trace_scaled=False)
    scaled = linear_ag_fit(cond, uncond, ridge=0.3 / np.mean(np.concatenate([cond, uncond], 1) ** 2 * 7 * D))
    np.testing.assert_allclose(scaled.cond, coeffs.cond, rtol=1e-4, atol=1e-5)
    for step in (0, 3):
        known = np.concatenate([cond[:, : step + 1], uncond[:, :step]], axis=1)
        rows = np.moveaxis(known, 1, 2).reshape(-1, 2 * step + 1).astype(np.float64)
        target = uncond[:, step].reshape(-1)
        weights = np.linalg.solve(rows.T @ rows + 0.3 * np.eye(2 * step + 1), rows.T @ target)
        got = np.concatenate([coeffs.cond[step, : step + 1], coeffs.uncond[step, :step]])
        np.testing.assert_allclose(got, weights, rtol=1e-4, atol=1e-5)


def test_predicted_steps_are_guided_as_if_the_prediction_were_true():
    cond, uncond = linear_trajectories()
    coeffs = linear_ag_fit(cond, uncond)
    rule = chain(linear_ag(coeffs, share=1.0), cfg(3.0))
    state = rule.init(jnp.zeros((B, D)))
    for step in range(STEPS):
        c, u = jnp.asarray(cond[:B, step]), jnp.asarray(uncond[:B, step])
        shown = u if step % 2 == 0 else jnp.full_like(u, jnp.nan)  # the call that is not made
        prediction, state = guide(rule, state, c, shown, x=c, t=0.5, step=step, num_steps=STEPS)
        np.testing.assert_allclose(prediction, u + 3.0 * (c - u), atol=1e-2)


def test_policy_alternates_then_stops():
    rule = linear_ag(LinearAGCoeffs(jnp.zeros((20, 20)), jnp.zeros((20, 20))))
    state = rule.init(jnp.zeros((1, 2)))
    called = [bool(rule.needs_uncond(state, jnp.float32(0.5), step)) for step in range(20)]
    valid = [bool(rule.predict_uncond(state, jnp.zeros((1, 2)), jnp.float32(0.5), step)[1]) for step in range(20)]
    assert called == [step < 10 and step % 2 == 0 for step in range(20)]
    assert valid == [step < 10 and step % 2 == 1 for step in range(20)]
    assert 20 + sum(called) == 25


def test_an_interval_also_ends_predicted_guidance():
    coeffs = LinearAGCoeffs(jnp.zeros((4, 4)), jnp.zeros((4, 4)))
    rule = chain(interval(0.0, 0.4), linear_ag(coeffs, share=1.0), cfg(3.0))
    cond = jnp.ones((1, 2))
    for t, expected in ((0.3, 3.0), (0.5, 1.0)):
        prediction, _ = guide(rule, rule.init(cond), cond, cond, x=cond, t=t, step=1, num_steps=4)
        np.testing.assert_array_equal(prediction, expected)


BAD = {
    "coefficients": (
        lambda: linear_ag(LinearAGCoeffs(jnp.zeros((4, 3)), jnp.zeros((4, 4)))),
        ValueError,
        "two matrices [S, S]",
    ),
    "period": (lambda: linear_ag(LinearAGCoeffs(*[jnp.eye(2)] * 2), period=0), ValueError, "period must be at least 1"),
    "share": (lambda: linear_ag(LinearAGCoeffs(*[jnp.eye(2)] * 2), share=1.5), ValueError, "share must lie in"),
    "steps": (
        lambda: guide(
            chain(linear_ag(LinearAGCoeffs(*[jnp.eye(2)] * 2)), cfg(2.0)),
            (guidance.History(*[jnp.zeros((2, 1, 2))] * 2), ()),
            *[jnp.ones((1, 2))] * 2,
            x=jnp.ones((1, 2)),
            t=0.5,
            num_steps=3,
        ),
        ValueError,
        "fitted to 2 steps",
    ),
    "trajectories": (lambda: linear_ag_fit(jnp.ones((2, 3)), jnp.ones((2, 3))), ValueError, "[R, S, D]"),
    "ridge": (lambda: linear_ag_fit(*[jnp.ones((2, 3, 4))] * 2, ridge=0.0), ValueError, "ridge must be > 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
