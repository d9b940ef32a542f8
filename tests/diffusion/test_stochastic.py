"""Steps that draw noise: the distributions they reach on exact scores, and single steps by hand."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion
from jaxlab.diffusion import ancestral, euler_maruyama, langevin, predictor_corrector, reverse_diffusion, sample
from tests.diffusion import mixtures

COUNT, STEPS = 10_000, 200
VE = diffusion.ve(sigma_min=0.02, sigma_max=8.0)
VP = diffusion.vp()
FLOW = diffusion.linear_flow()
SAMPLERS = {
    "euler_maruyama vp": (VP, lambda p: euler_maruyama(p), 1.0, 1e-3),
    "euler_maruyama ve": (VE, lambda p: euler_maruyama(p), 1.0, 1e-3),
    "euler_maruyama flow": (FLOW, lambda p: euler_maruyama(p, diffusion=lambda t: jnp.sqrt(2 * t)), 0.999, 0.01),
    "reverse_diffusion vp": (VP, reverse_diffusion, 1.0, 1e-3),
    "reverse_diffusion ve": (VE, reverse_diffusion, 1.0, 1e-3),
    "ancestral vp forward": (VP, lambda p: ancestral(p, variance="forward"), 1.0, 1e-3),
    "ancestral vp posterior": (VP, ancestral, 1.0, 1e-3),
    "ancestral ve": (VE, ancestral, 1.0, 1e-3),
    "ddim eta 1": (VP, lambda p: diffusion.ddim(p, kind="score", eta=1.0), 1.0, 1e-3),
    "corrected ve": (VE, lambda p: predictor_corrector(reverse_diffusion(p), langevin(p)), 1.0, 1e-3),
    "corrected vp": (VP, lambda p: predictor_corrector(ancestral(p), langevin(p, snr=0.1)), 1.0, 1e-3),
    "corrected as published": (
        VE,
        lambda p: predictor_corrector(reverse_diffusion(p), langevin(p, pace="batch")),
        1.0,
        1e-3,
    ),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_mean_and_covariance_of_a_mixture(name):
    process, make, high, low = SAMPLERS[name]
    keys = jax.random.split(jax.random.key(1), COUNT)
    x = process.prior_sample(keys, (2,))
    ts = diffusion.time_grid(STEPS, high=high, low=low)
    given = {"cond_fn": mixtures.score(mixtures.TWO, process), "step": make(process), "denoise": True}
    result = jax.jit(lambda keys, x: sample(keys, x, ts, **given))(keys, x).x
    mean, covariance = mixtures.moments(mixtures.TWO)
    # Monte-Carlo error of 10,000 draws of variance 1.8 is .013 for the mean, .03 for the variance; the rest is the
    # discretisation of 200 steps.
    np.testing.assert_allclose(np.mean(result, 0), mean, atol=0.08)
    np.testing.assert_allclose(np.cov(result.T), covariance, atol=0.13)


def one(step, x, t, t_next, score, seed=0, **given):
    keys = jax.random.split(jax.random.key(seed), x.shape[0])
    ts = jnp.array([t, t_next])
    return sample(keys, x, ts, cond_fn=lambda x, t: score(x), step=step, **given)


X = jnp.asarray(np.random.default_rng(6).normal(size=(3, 2)), jnp.float32)


@pytest.mark.parametrize("process", [VP, VE], ids=["vp", "ve"])
def test_ancestral_is_the_exact_posterior_of_a_point(process):
    """q(x' | x, x0) of the forward chain, from Bayes' rule in numpy."""
    t, t_next, data = 0.6, 0.5, 2.0
    a_t, a_s = float(process.alpha(t)), float(process.alpha(t_next))
    s_t, s_s = float(process.std(t)), float(process.std(t_next))
    ratio, forward = a_t / a_s, s_t**2 - (a_t / a_s) ** 2 * s_s**2
    precision = 1 / s_s**2 + ratio**2 / forward
    mean = (a_s * data / s_s**2 + ratio * np.asarray(X) / forward) / precision
    score = lambda x: -(x - a_t * data) / s_t**2  # noqa: E731
    np.testing.assert_allclose(one(ancestral(process), X, t, t_next, score, denoise=True).x, mean, rtol=1e-3, atol=1e-3)
    many = jnp.tile(X[:1], (20_000, 1))
    drawn = one(ancestral(process), many, t, t_next, score).x
    np.testing.assert_allclose(np.std(drawn, 0), precision**-0.5, rtol=0.03)
    same = one(diffusion.ddim(process, kind="score", eta=1.0), X, t, t_next, score, denoise=True).x
    np.testing.assert_allclose(same, mean, rtol=1e-3, atol=1e-3)


def test_ancestral_to_zero_noise_returns_the_point():
    alpha, std = float(VP.alpha(0.1)), float(VP.std(0.1))
    score = lambda x: -(x - alpha * 2.0) / std**2  # noqa: E731
    np.testing.assert_allclose(one(ancestral(VP), X, 0.1, 0.0, score).x, 2.0, rtol=1e-4)
    # The forward variance leaves noise there, as published; the mean has none.
    noisy = ancestral(VP, variance="forward")
    np.testing.assert_allclose(one(noisy, X, 0.1, 0.0, score, denoise=True).x, 2.0, rtol=1e-4)
    assert float(jnp.abs(one(noisy, X, 0.1, 0.0, score).x - 2.0).max()) > 0.05


def test_steps_by_hand():
    t, h = 0.5, 0.01
    beta = 0.1 + t * 19.9
    score = lambda x: -0.7 * x  # noqa: E731
    x = np.asarray(X, np.float64)
    mean = one(euler_maruyama(VP), X, t, t - h, score, denoise=True).x
    np.testing.assert_allclose(mean, x + h * (0.5 * beta * x - beta * 0.7 * x), rtol=1e-4)
    ratio = float(VP.alpha(t) / VP.alpha(t - h))  # the square root of 1 - beta_i
    mean = one(reverse_diffusion(VP), X, t, t - h, score, denoise=True).x
    np.testing.assert_allclose(mean, (2 - ratio) * x - (1 - ratio**2) * 0.7 * x, rtol=1e-4)
    mean = one(reverse_diffusion(VP, ode=True), X, t, t - h, score).x
    np.testing.assert_allclose(mean, (2 - ratio) * x - 0.5 * (1 - ratio**2) * 0.7 * x, rtol=1e-4)
    many = jnp.tile(X[:1], (20_000, 1))
    drawn = one(euler_maruyama(VP), many, t, t - h, score).x
    np.testing.assert_allclose(np.std(drawn, 0), np.sqrt(beta * h), rtol=0.03)


def test_no_diffusion_is_euler():
    score = mixtures.score(mixtures.TWO, VP)
    keys, ts = jax.random.split(jax.random.key(0), 3), diffusion.time_grid(8)
    steps = euler_maruyama(VP, diffusion=lambda t: 0.0), diffusion.euler(VP, kind="score")
    got, want = (sample(keys, X, ts, cond_fn=score, step=step).x for step in steps)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("pace", "damped"), [("norm", True), ("batch", False), ("std", True), ("std", False)])
def test_langevin_by_hand(pace, damped):
    t, t_next, rho = 0.5, 0.45, 0.2
    score = lambda x: -0.7 * x  # noqa: E731
    step = langevin(VP, snr=rho, pace=pace, damped=damped)
    full, mean = (one(step, X, t, t_next, score, denoise=denoise).x for denoise in (False, True))
    eta = (np.asarray(mean) - np.asarray(X)) / (-0.7 * np.asarray(X))
    np.testing.assert_allclose(eta, np.broadcast_to(eta[:, :1], eta.shape), rtol=1e-3)  # one size per sample
    assert (np.ptp(eta[:, 0]) > 1e-3 * eta.max()) == (pace == "norm")
    noise = (np.asarray(full) - np.asarray(mean)) / np.sqrt(2 * eta)
    factor = float(VP.alpha(t) / VP.alpha(t_next)) ** 2 if damped else 1.0
    if pace == "std":
        expected = np.full((3, 1), 2 * factor * (rho * float(VP.std(t))) ** 2)
    else:
        lengths = [np.linalg.norm(value, axis=1) for value in (noise, 0.7 * np.asarray(X))]
        ratio = lengths[0].mean() / lengths[1].mean() if pace == "batch" else (lengths[0] / lengths[1])[:, None]
        expected = 2 * factor * (rho * ratio) ** 2
    np.testing.assert_allclose(eta, np.broadcast_to(expected, eta.shape), rtol=1e-3)


def test_langevin_leaves_the_right_distribution_alone():
    t = jnp.float32(0.5)  # where the noise of VE has deviation 0.4
    data = mixtures.draw(jax.random.key(5), mixtures.TWO, COUNT)
    start = data + VE.std(t) * jax.random.normal(jax.random.key(4), data.shape)
    keys, ts = jax.random.split(jax.random.key(6), COUNT), jnp.array([0.5, 0.4])
    given = {"cond_fn": mixtures.score(mixtures.TWO, VE), "step": langevin(VE, num_steps=50)}
    moved = jax.jit(lambda x: sample(keys, x, ts, **given).x)(start)
    mean, covariance = mixtures.moments(mixtures.TWO)
    assert float(jnp.abs(moved - start).mean()) > 0.3
    np.testing.assert_allclose(np.mean(moved, 0), mean, atol=0.08)
    np.testing.assert_allclose(np.cov(moved.T), covariance + float(VE.std(t)) ** 2 * np.eye(2), atol=0.13)


def test_a_zero_score_moves_nothing():
    got = one(langevin(VE, pace="norm"), X, 0.5, 0.4, jnp.zeros_like).x
    np.testing.assert_array_equal(got, X)


def test_corrector_first_at_t_then_predictor():
    seen = []

    def cond_fn(x, t):
        jax.debug.callback(lambda t: seen.append(round(float(t[0]), 3)), t)
        return -x

    keys, ts = jax.random.split(jax.random.key(0), 3), jnp.array([0.9, 0.5])
    step = predictor_corrector(reverse_diffusion(VP), langevin(VP, num_steps=2), project=lambda x, t, keys: 0 * x)
    mean = sample(keys, X, ts, cond_fn=cond_fn, step=step, denoise=True).x
    jax.effects_barrier()
    assert seen == [0.9, 0.9, 0.9]
    np.testing.assert_array_equal(mean, 0.0)  # the projection stands between the two


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ancestral(VP, variance="large"), ValueError, "variance must be one of"),
        (lambda: langevin(VP, snr=0.0), ValueError, "snr must be > 0"),
        (lambda: langevin(VP, num_steps=0), ValueError, "num_steps must be at least 1"),
        (lambda: langevin(VP, pace="ald"), ValueError, "pace must be one of"),
        (lambda: predictor_corrector(langevin(VP), VP), TypeError, "corrector must be a diffusion.Step"),
        (lambda: euler_maruyama(VP, kind="noise"), ValueError, "kind must be one of"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
