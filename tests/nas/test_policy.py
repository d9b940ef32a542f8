"""Soft policies, against hard ones and against their derivative by hand."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from jaxlab import diffusion, guidance, nas

rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(4, 3)).astype(np.float32)
OPTIONS = rng.normal(size=(3, 5, 2)).astype(np.float32)
COSTS = np.array([1.0, 1.0, 2.0], np.float32)


def test_the_mixture_is_the_formula_at_every_step_and_temperature():
    for step in range(4):
        for temperature in (0.3, 1.0, 4.0):
            shares = softmax(LOGITS[step] / temperature)
            got = nas.soft_guidance_policy(LOGITS, OPTIONS, step=step, temperature=temperature)
            np.testing.assert_allclose(got, np.einsum("f,fbd->bd", shares, OPTIONS), rtol=1e-5, atol=1e-6)


def test_a_cold_policy_is_the_discrete_one():
    choice = nas.discrete_policy(LOGITS)
    np.testing.assert_array_equal(choice, LOGITS.argmax(1))
    for step in range(4):
        cold = nas.soft_guidance_policy(LOGITS, OPTIONS, step=step, temperature=1e-3)
        np.testing.assert_allclose(cold, OPTIONS[choice[step]], atol=1e-6)
    np.testing.assert_allclose(
        nas.expected_policy_cost(LOGITS, COSTS, temperature=1e-3), COSTS[choice].sum(), rtol=1e-5
    )


def test_the_gradient_of_the_cost_is_the_softmax_jacobian_times_the_costs():
    temperature = 0.7
    got = jax.grad(lambda a: nas.expected_policy_cost(a, COSTS, temperature=temperature))(LOGITS)
    for row, step in zip(got, LOGITS, strict=True):
        p = softmax(step / temperature)
        np.testing.assert_allclose(row, (np.diag(p) - np.outer(p, p)) @ COSTS / temperature, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(nas.expected_policy_cost(LOGITS, COSTS), (softmax(LOGITS, 1) @ COSTS).sum(), rtol=1e-5)


def test_a_policy_of_conditional_and_guided_is_guidance_at_a_smaller_scale():
    """With shares p and 1 - p the mixture of cond and cfg(w) is cfg(1 + (1 - p) (w - 1))."""
    cond, uncond = OPTIONS[0], OPTIONS[1]
    options = np.stack([cond, guidance.combine(cond, uncond, scale=5.0)])
    logits = np.log(np.array([[0.25, 0.75]], np.float32))
    got = nas.soft_guidance_policy(logits, options, step=0)
    np.testing.assert_allclose(got, guidance.combine(cond, uncond, scale=4.0), rtol=1e-5, atol=1e-5)


def test_the_search_finds_the_step_that_needs_guidance():
    """The unconditional model differs at one step only; with a price on calls the search guides there alone."""
    process, ts = diffusion.linear_flow(), jnp.linspace(1.0, 0.0, 5)
    step = diffusion.euler(process, kind="v")
    keys, x = jax.random.split(jax.random.key(0), 4), jax.random.normal(jax.random.key(1), (4, 2))
    cond = lambda x, t: 0.5 * x  # noqa: E731
    uncond = lambda x, t: jnp.where((jnp.abs(t - 0.5) < 0.1)[:, None], -x, cond(x, t))  # noqa: E731

    def soft(logits):
        def predict(x, t):
            c, u = cond(x, t), uncond(x, t)
            index = jnp.round((1.0 - t[0]) * 4).astype(jnp.int32)
            return nas.soft_guidance_policy(logits, jnp.stack([c, guidance.combine(c, u, scale=3.0)]), step=index)

        return diffusion.sample(keys, x, ts, cond_fn=predict, step=step).x

    @jax.jit
    def search(logits):
        target = diffusion.sample(keys, x, ts, cond_fn=cond, uncond_fn=uncond, rule=guidance.cfg(3.0), step=step).x

        def objective(a):
            return jnp.mean((soft(a) - target) ** 2) + 0.01 * nas.expected_policy_cost(a, jnp.array([1.0, 2.0]))

        return jax.lax.fori_loop(0, 60, lambda _, a: a - 20.0 * jax.grad(objective)(a), logits)

    np.testing.assert_array_equal(nas.discrete_policy(search(jnp.zeros((4, 2)))), [0, 0, 1, 0])


def test_a_step_outside_is_loud():
    assert jnp.isnan(nas.soft_guidance_policy(LOGITS, OPTIONS, step=4)).all()
    assert jnp.isnan(nas.soft_guidance_policy(LOGITS, OPTIONS, step=-1)).all()


BAD = {
    "logits": (lambda: nas.discrete_policy(LOGITS[0]), ValueError, "logits must have shape [S, F]"),
    "empty": (lambda: nas.discrete_policy(LOGITS[:0]), ValueError, "S, F >= 1"),
    "options": (lambda: nas.soft_guidance_policy(LOGITS, OPTIONS[:2], step=0), ValueError, "each of the 3 options"),
    "costs": (lambda: nas.expected_policy_cost(LOGITS, COSTS[:2]), ValueError, "costs must have shape [3]"),
    "integers": (lambda: nas.expected_policy_cost(LOGITS, jnp.array([1, 1, 2])), TypeError, "costs must be floating"),
    "step": (lambda: nas.soft_guidance_policy(LOGITS, OPTIONS, step=0.5), TypeError, "step must hold integers"),
    "temperature": (
        lambda: nas.soft_guidance_policy(LOGITS, OPTIONS, step=0, temperature=0.0),
        ValueError,
        "temperature must be > 0",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
