"""Processes: kernels against the numbers of the papers, and against the SDEs they solve."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxlab import diffusion

CENTER = jnp.array([[0.5, -1.0, 2.0]])
PROCESSES = {
    "vp": diffusion.vp(),
    "sub_vp": diffusion.sub_vp(),
    "ve": diffusion.ve(),
    "ou_ve": diffusion.ou_ve(CENTER),
    "mean_reverting": diffusion.mean_reverting(CENTER),
    "linear_flow": diffusion.linear_flow(),
    "cosine_flow": diffusion.cosine_flow(),
}
TIMES = jnp.array([0.123, 0.5049, 0.8765])  # between the nodes of the mean-reverting table


@pytest.mark.parametrize("name", PROCESSES)
def test_kernel_solves_its_sde(name):
    """d mean / dt is the drift of the mean, d var / dt = 2 rate var + g^2: by automatic differentiation."""
    with jax.enable_x64(True):
        process = getattr(diffusion, name)(*([jnp.zeros((3, 1))] if name in ("ou_ve", "mean_reverting") else []))
        t = jnp.asarray(np.asarray(TIMES), jnp.float64)
        slope = lambda fn: jax.vmap(jax.grad(fn))(t)  # noqa: E731
        rate = process.drift(jnp.ones((3, 1)), t)[:, 0]
        np.testing.assert_allclose(slope(process.alpha), rate * process.alpha(t), rtol=1e-6, atol=1e-9)
        variance = lambda s: process.std(s) ** 2  # noqa: E731
        np.testing.assert_allclose(slope(variance), 2 * rate * variance(t) + process.diffusion(t) ** 2, rtol=1e-6)


def test_numbers_of_the_papers():
    vp, sub = PROCESSES["vp"], PROCESSES["sub_vp"]
    np.testing.assert_allclose(vp.alpha(jnp.array([0.5, 1.0])), [0.2811828808, 0.0065715866], rtol=1e-5)
    np.testing.assert_allclose(vp.std(1.0), 0.9999784069, rtol=1e-6)
    np.testing.assert_allclose(sub.std(TIMES), vp.std(TIMES) ** 2, rtol=1e-5)
    np.testing.assert_allclose(vp.alpha(TIMES) ** 2 + vp.std(TIMES) ** 2, 1.0, rtol=1e-6)
    np.testing.assert_allclose(PROCESSES["ve"].std(jnp.array([0.0, 1.0])), [0.01, 50.0], rtol=1e-5)
    ou = PROCESSES["ou_ve"]
    np.testing.assert_allclose(ou.std(1.0), 0.3889826582, rtol=1e-6)
    np.testing.assert_allclose(ou.alpha(1.0), 0.22313, rtol=1e-4)
    assert float(ou.std(0.0)) == 0.0
    slow = diffusion.ou_ve(CENTER, theta=1e-7)
    sigma = 0.05 * 10 ** np.asarray(TIMES)
    np.testing.assert_allclose(slow.std(TIMES) ** 2, sigma**2 - 0.05**2, rtol=1e-4)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_mean_reverting_equals_the_table_at_its_nodes(schedule):
    steps, lam, eps = 100, 50 / 255, 0.005
    if schedule == "cosine":
        grid = np.arange(steps + 3) / (steps + 2)
        bar = np.cos((grid + 0.008) / 1.008 * math.pi / 2) ** 2
        theta = (1 - bar / bar[0])[1:-1]
    else:
        theta = np.linspace(1e-4, 2e-2, steps + 1) if schedule == "linear" else np.ones(steps + 1)
    running = np.cumsum(theta) * -math.log(eps) / theta.sum()
    process = diffusion.mean_reverting(CENTER, schedule=schedule)
    nodes = jnp.arange(steps + 1) / steps
    np.testing.assert_allclose(process.alpha(nodes), np.exp(-running), rtol=2e-5)
    np.testing.assert_allclose(process.std(nodes), lam * np.sqrt(1 - np.exp(-2 * running)), rtol=2e-4)
    np.testing.assert_allclose(process.alpha(1.0), eps, rtol=1e-5)
    np.testing.assert_allclose(process.alpha(TIMES) ** 2 + (process.std(TIMES) / lam) ** 2, 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", PROCESSES)
def test_priors(name):
    process = PROCESSES[name]
    keys = jax.random.split(jax.random.key(0), 4000)
    x = process.prior_sample(keys, (3,))
    centre = np.zeros(3) if process.center is None else np.asarray(CENTER[0])
    scale = float(process.std(1.0)) if name not in ("vp", "sub_vp") else 1.0
    np.testing.assert_allclose(x.mean(0), centre, atol=4 * scale / math.sqrt(4000))
    np.testing.assert_allclose(x.std(0), scale, rtol=0.06)
    expected = scipy.stats.norm(centre, scale).logpdf(np.asarray(x[:5])).sum(1)
    np.testing.assert_allclose(process.prior_logp(x[:5]), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(process.prior_sample(keys[7:9], (3,)), x[7:9])  # by its own key


def test_flows_match_their_paths():
    linear, cosine = PROCESSES["linear_flow"], PROCESSES["cosine_flow"]
    np.testing.assert_allclose(linear.alpha(TIMES) + linear.std(TIMES), 1.0, rtol=1e-6)
    np.testing.assert_allclose(cosine.alpha(TIMES), np.cos(np.pi * np.asarray(TIMES) / 2), rtol=1e-5)


BAD = {
    "beta": (lambda: diffusion.vp(beta_min=2.0, beta_max=1.0), "beta_min <= beta_max"),
    "negative beta": (lambda: diffusion.sub_vp(beta_min=-1.0), "beta_min <= beta_max"),
    "sigma": (lambda: diffusion.ve(sigma_min=1.0, sigma_max=1.0), "0 < sigma_min < sigma_max"),
    "theta": (lambda: diffusion.ou_ve(CENTER, theta=0.0), "theta must be > 0"),
    "schedule": (lambda: diffusion.mean_reverting(CENTER, schedule="square"), "schedule must be one of"),
    "eps": (lambda: diffusion.mean_reverting(CENTER, eps=1.0), "eps must lie in (0, 1)"),
    "time": (lambda: diffusion.vp().drift(jnp.ones((3, 2)), jnp.ones(2)), "t must be a number or have shape [3]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
