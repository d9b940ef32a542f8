"""The algebra of guidance rules: neutrality, activity, and what a chain refuses."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import guidance
from jaxlab.guidance import Rule, cfg, chain, guide, interval, schedule

B, SHAPE = 3, (2, 4)
rng = np.random.default_rng(0)
COND, UNCOND, X = (jnp.asarray(rng.normal(size=(B, *SHAPE)), jnp.float32) for _ in range(3))


def lag():
    return guidance.linear_ag(guidance.LinearAGCoeffs(jnp.eye(4), jnp.zeros((4, 4))))


ANY = {
    "momentum": lambda: guidance.momentum(-0.5),
    "clip_norm": lambda: guidance.clip_norm(0.1),
    "clip_rms": lambda: guidance.clip_norm(0.1, norm="rms"),
    "project": lambda: guidance.project(0.0),
    "interval": lambda: interval(0.9, 1.0),
    "schedule": lambda: schedule(lambda context: 0.3),
    "adaptive": lambda: guidance.adaptive(-1.0),
    "linear_ag": lag,
}
NEUTRAL = {
    "momentum": lambda: guidance.momentum(0.0),
    "clip_norm": lambda: guidance.clip_norm(jnp.inf),
    "clip_rms": lambda: guidance.clip_norm(jnp.inf, norm="rms"),
    "project": lambda: guidance.project(1.0),
    "interval": lambda: interval(-jnp.inf, jnp.inf),
    "schedule": lambda: schedule(lambda context: 1.0),
    "adaptive": lambda: guidance.adaptive(1.1),
}


def run(rule, steps=3):
    """The predictions of several steps with the state carried along."""
    state, out = rule.init(X), []
    for step in range(steps):
        prediction, state = guide(rule, state, COND + step, UNCOND * (1 + step), x=X, t=0.5, step=step, num_steps=4)
        out.append(prediction)
    return jnp.stack(out)


@pytest.mark.parametrize("name", ANY)
def test_scale_one_is_the_conditional_prediction(name):
    expected = jnp.stack([COND + step for step in range(3)])
    np.testing.assert_array_equal(run(chain(ANY[name](), cfg(1.0))), expected)


@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_rules_leave_cfg_alone(name):
    np.testing.assert_array_equal(run(chain(NEUTRAL[name](), cfg(4.0))), run(cfg(4.0)))


def test_rescaling_stands_after_cfg_and_has_both_neutral_settings():
    np.testing.assert_array_equal(run(chain(cfg(1.0), guidance.rescale_std(0.7))), run(cfg(1.0)))
    np.testing.assert_array_equal(run(chain(cfg(4.0), guidance.rescale_std(0.0))), run(cfg(4.0)))


@pytest.mark.parametrize("name", [name for name in ANY if name not in ("schedule",)])
def test_no_rule_is_neutral_at_its_other_setting(name):
    assert not np.allclose(run(chain(ANY[name](), cfg(4.0))), run(cfg(4.0)))


def test_cfg_is_the_usual_formula_with_any_scale():
    scales = jnp.array([-1.0, 0.0, 7.5])
    expected = np.asarray(UNCOND) + np.asarray(scales)[:, None, None] * np.asarray(COND - UNCOND)
    for rule in (cfg(scales), cfg(lambda context: scales)):
        np.testing.assert_allclose(guide(rule, (), COND, UNCOND, x=X, t=0.5)[0], expected, rtol=1e-5, atol=1e-5)


def test_rules_vmap_over_scales():
    scales = jnp.array([1.0, 2.0, 5.0])
    apg = lambda w: chain(guidance.momentum(-0.5), guidance.clip_norm(1.0), guidance.project(0.0), cfg(w))  # noqa: E731
    got = jax.vmap(lambda w: run(apg(w)))(scales)
    np.testing.assert_allclose(got, jnp.stack([run(apg(w)) for w in scales]), rtol=1e-5, atol=1e-5)


def test_rules_take_any_shape_and_dtype():
    for shape in [(3,), (3, 1), (3, 2, 1, 2)]:
        cond, uncond = jnp.ones(shape, jnp.bfloat16), jnp.zeros(shape, jnp.bfloat16)
        rule = chain(
            guidance.momentum(-0.5), guidance.clip_norm(9.0), guidance.project(1.0), cfg(3.0), guidance.rescale_std(0.0)
        )
        prediction, _ = guide(rule, rule.init(cond), cond, uncond, x=cond, t=0.5)
        assert prediction.shape == shape
        assert prediction.dtype == jnp.bfloat16
        np.testing.assert_array_equal(prediction.astype(jnp.float32), 3.0)


def test_interval_counts_both_ends_and_needs_no_call_outside():
    rule = chain(interval(0.2, 0.7), guidance.momentum(-0.5), cfg(3.0))
    t = jnp.array([0.2, 0.7, 0.71], jnp.float32)
    np.testing.assert_array_equal(rule.needs_uncond(rule.init(X), t, 0), [True, True, False])
    prediction, state = guide(rule, rule.init(X), COND, UNCOND, x=X, t=t)
    np.testing.assert_array_equal(prediction[2], COND[2])
    np.testing.assert_allclose(prediction[:2], UNCOND[:2] + 3 * (COND - UNCOND)[:2], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(state[1][2], 0.0)  # the memory of an inactive sample stays
    np.testing.assert_allclose(state[1][:2], (COND - UNCOND)[:2], rtol=1e-6)


def test_an_interval_works_wherever_it_stands_in_the_chain():
    members = (guidance.momentum(-0.5), guidance.clip_norm(1.0), interval(0.2, 0.4), cfg(3.0))
    first = chain(members[2], *members[:2], members[3])
    for t in (0.3, 0.5):
        got, want = (guide(rule, rule.init(X), COND, UNCOND, x=X, t=t)[0] for rule in (chain(*members), first))
        np.testing.assert_array_equal(got, want)


def test_what_is_not_needed_is_not_looked_at():
    rule = chain(guidance.momentum(-0.5), cfg(3.0))
    need = jnp.array([True, False, True])
    bad = UNCOND.at[1].set(jnp.nan)

    def total(uncond):
        return jnp.sum(guide(rule, rule.init(X), COND, uncond, x=X, t=0.5, need=need)[0])

    prediction, _ = guide(rule, rule.init(X), COND, bad, x=X, t=0.5, need=need)
    np.testing.assert_array_equal(prediction[1], COND[1])
    assert bool(jnp.all(jnp.isfinite(jax.grad(total)(bad))))


def test_a_prediction_that_is_not_finite_spoils_its_own_sample_only():
    rule = chain(
        guidance.momentum(-0.5), guidance.clip_norm(1.0), guidance.project(0.0), cfg(3.0), guidance.rescale_std(0.5)
    )
    clean, _ = guide(rule, rule.init(X), COND, UNCOND, x=X, t=0.5)
    got, _ = guide(rule, rule.init(X), COND.at[1, 0, 0].set(jnp.nan), UNCOND, x=X, t=0.5)
    np.testing.assert_array_equal(got[0::2], clean[0::2])
    assert bool(jnp.any(jnp.isnan(got[1])))


def test_chains_nest():
    inner = chain(guidance.clip_norm(1.0), cfg(3.0))
    nested, flat = (
        chain(guidance.momentum(-0.5), inner),
        chain(guidance.momentum(-0.5), guidance.clip_norm(1.0), cfg(3.0)),
    )
    np.testing.assert_array_equal(run(nested), run(flat))


def test_order_matters_where_it_should():
    clip, push = guidance.clip_norm(1.0), guidance.momentum(-0.5)
    assert not np.allclose(run(chain(clip, push, cfg(3.0))), run(chain(push, clip, cfg(3.0))))
    np.testing.assert_allclose(run(chain(push, cfg(3.0))), run(chain(cfg(3.0), push)), rtol=1e-5, atol=1e-6)  # linear


def test_extras_reach_the_rules():
    damped = Rule(lambda x: (), lambda d, s, context: (d + context.extras - context.uncond, s))
    got, _ = guide(chain(cfg(3.0), damped), ((), ()), COND, UNCOND, x=X, t=0.5, extras=X)
    np.testing.assert_allclose(got, X + 3.0 * (COND - UNCOND), rtol=1e-4, atol=1e-5)


BAD = {
    "no cfg": (lambda: chain(guidance.momentum(0.0)), ValueError, "exactly one cfg, got 0"),
    "two cfg": (lambda: chain(cfg(1.0), cfg(2.0)), ValueError, "exactly one cfg, got 2"),
    "two cfg, nested": (lambda: chain(chain(cfg(1.0)), cfg(2.0)), ValueError, "exactly one cfg, got 2"),
    "empty": (lambda: chain(), ValueError, "exactly one cfg, got 0"),
    "not a rule": (lambda: chain(cfg(1.0), 3.0), TypeError, "rule 1 of the chain"),
    "two predictors": (lambda: chain(lag(), lag(), cfg(1.0)), ValueError, "at most one rule"),
    "bare rule": (
        lambda: guide(guidance.momentum(0.0), X, COND, UNCOND, x=X, t=0.5),
        ValueError,
        "exactly one cfg",
    ),
    "interval": (lambda: interval(0.5, 0.2), ValueError, "low <= high"),
    "beta": (lambda: guidance.momentum(1.0), ValueError, "beta must lie in (-1, 1)"),
    "beta low": (lambda: guidance.momentum(-1.0), ValueError, "beta must lie in (-1, 1)"),
    "threshold": (lambda: guidance.clip_norm(0.0), ValueError, "threshold must be > 0"),
    "norm": (lambda: guidance.clip_norm(1.0, norm="max"), ValueError, "norm must be one of"),
    "mix": (lambda: guidance.rescale_std(1.5), ValueError, "mix must lie in"),
    "scale length": (
        lambda: guide(cfg(jnp.ones(2)), (), COND, UNCOND, x=X, t=0.5),
        ValueError,
        "scale must be a number or have shape [3]",
    ),
    "factor length": (
        lambda: guide(chain(schedule(lambda c: jnp.ones(2)), cfg(1.0)), ((), ()), COND, UNCOND, x=X, t=0.5),
        ValueError,
        "factor of schedule",
    ),
    "shapes": (lambda: guide(cfg(2.0), (), COND, UNCOND[:, :1], x=X, t=0.5), ValueError, "same shape"),
    "batch": (lambda: guide(cfg(2.0), (), COND, UNCOND, x=X[:2], t=0.5), ValueError, "first 1 axes"),
    "integers": (lambda: guide(cfg(2.0), (), jnp.ones((3, 2), int), UNCOND, x=X, t=0.5), TypeError, "cond must be"),
    "need": (
        lambda: guide(cfg(2.0), (), COND, UNCOND, x=X, t=0.5, need=jnp.ones(2, bool)),
        ValueError,
        "need must return bool",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
