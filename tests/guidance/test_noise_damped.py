"""Noise-damped guidance: the published formula, what it shares with cfg, and in the sampler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion, guidance

RNG = np.random.default_rng(3)
C, U, BASE, X = RNG.normal(size=(4, 5, 6)).astype(np.float32)


def guided(rule, extras=BASE, **given):
    return np.asarray(guidance.guide(rule, rule.init(X), C, U, x=X, t=0.5, extras=extras, **given)[0])


def test_is_the_published_formula():
    np.testing.assert_allclose(guided(guidance.noise_damped(7.5)), BASE + 7.5 * (C - U), rtol=1e-4, atol=1e-5)
    scales = RNG.uniform(1.0, 9.0, 5).astype(np.float32)
    expected = BASE + scales[:, None] * (C - U)
    np.testing.assert_allclose(guided(guidance.noise_damped(scales)), expected, rtol=1e-4, atol=1e-5)


def test_differs_from_cfg_by_the_bases_alone():
    for scale in (1.0, 4.0):
        plain = guided(guidance.cfg(scale))
        np.testing.assert_allclose(guided(guidance.noise_damped(scale)) - plain, BASE - U, rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(guided(guidance.noise_damped(scale), extras=U), plain)


def test_ends_a_chain():
    rule = guidance.chain(guidance.clip_norm(0.5), guidance.noise_damped(3.0))
    clipped = guided(guidance.chain(guidance.clip_norm(0.5), guidance.cfg(3.0)))
    np.testing.assert_allclose(guided(rule), clipped + BASE - U, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="exactly one cfg"):
        guidance.chain(guidance.noise_damped(3.0), guidance.cfg(2.0))


def test_where_guidance_is_off_the_prediction_is_the_conditional_one():
    need = np.array([True, False, True, False, True])
    got = guided(guidance.noise_damped(3.0), need=need)
    np.testing.assert_array_equal(got[~need], C[~need])
    np.testing.assert_allclose(got[need], (BASE + 3.0 * (C - U))[need], rtol=1e-4, atol=1e-5)


def test_the_sampler_hands_the_base_on_and_counts_both_calls():
    keys, ts = jax.random.split(jax.random.key(0), 5), diffusion.time_grid(4, low=0.0)
    cond, uncond, base = (lambda x, t, a=a: a * x + t[:, None] for a in (1.0, 0.4, 0.7))
    rule = guidance.chain(guidance.interval(0.4, 1.0), guidance.noise_damped(3.0))

    @jax.jit
    def run(x):
        result = diffusion.sample(
            keys,
            x,
            ts,
            cond_fn=cond,
            uncond_fn=lambda x, t: (uncond(x, t), base(x, t)),
            rule=rule,
            step=diffusion.euler(diffusion.linear_flow(), kind="v"),
            uncond_cost=2,
        )
        for i in range(4):
            t = jnp.broadcast_to(ts[i], 5)
            off = cond(x, t)
            v = jnp.where(ts[i] >= 0.4, base(x, t) + 3.0 * (cond(x, t) - uncond(x, t)), off)
            x = x + (ts[i + 1] - ts[i]) * v
        return result, x

    result, by_hand = run(X)
    np.testing.assert_allclose(result.x, by_hand, rtol=1e-4, atol=1e-5)
    assert (np.asarray(result.evaluations) == 4 + 2 * 3).all()


@pytest.mark.parametrize("extras", [None, BASE[:, :3], {"base": BASE}])
def test_bad_input(extras):
    with pytest.raises(ValueError, match=r"noise_damped needs uncond_fn to return \(uncond, base\)"):
        guided(guidance.noise_damped(3.0), extras=extras)
