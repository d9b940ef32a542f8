"""Resampling, and the density that corrected particles reach where guidance alone does not."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion, guidance
from jaxlab.diffusion import ess, fkc_anneal_coeffs, fkc_log_weight, fkc_sample, systematic_resample, time_grid
from tests.diffusion.mixtures import Mixture, log_density, score

COUNT = 4096
VE = diffusion.ve(sigma_min=0.02, sigma_max=20.0)
NARROW = Mixture(np.array([0.5, 0.5]), np.array([[-1.0], [1.5]]), np.array([0.15, 0.1]))
BROAD = Mixture(np.array([0.6, 0.4]), np.array([[-0.5], [1.0]]), np.array([1.0, 0.8]))


def test_counts_are_those_of_the_comb():
    rng = np.random.default_rng(7)
    for seed in range(20):
        weights = rng.dirichlet(np.full(37, 0.3))
        with np.errstate(divide="ignore"):
            ids = systematic_resample(jax.random.key(seed), jnp.log(jnp.asarray(weights, jnp.float32)))
        counts = np.bincount(ids, minlength=37)
        assert counts.sum() == 37
        assert np.all(counts >= np.floor(37 * weights - 1e-4))
        assert np.all(counts <= np.ceil(37 * weights + 1e-4))
        assert np.all(np.diff(ids) >= 0)


def test_resampling_is_unbiased():
    weights = np.array([0.05, 0.3, 0.0, 0.65])
    with np.errstate(divide="ignore"):
        log_weights = jnp.log(jnp.asarray(weights, jnp.float32)) + 100.0
    ids = jax.vmap(lambda key: systematic_resample(key, log_weights))(jax.random.split(jax.random.key(0), 4000))
    counts = np.bincount(np.asarray(ids).ravel(), minlength=4) / 4000
    np.testing.assert_allclose(counts, 4 * weights, atol=0.03)
    assert counts[2] == 0


def test_equal_or_no_weights_keep_every_particle():
    for log_weights in (jnp.full(9, -3.0), jnp.full(9, -jnp.inf)):
        np.testing.assert_array_equal(systematic_resample(jax.random.key(3), log_weights), np.arange(9))
        np.testing.assert_allclose(ess(log_weights), 9.0, rtol=1e-6)
    np.testing.assert_allclose(ess(jnp.array([-1e9, 0.0, -1e9])), 1.0)
    weights = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(ess(jnp.log(jnp.asarray(weights)) - 7.0), 1 / np.sum(weights**2), rtol=1e-5)


def test_log_weight_special_cases():
    scores = jnp.asarray(np.random.default_rng(8).normal(size=(2, 5, 3)), jnp.float32)
    apart = np.sum((np.asarray(scores[0]) - np.asarray(scores[1])) ** 2, axis=1)
    for w in (0.0, 1.0, 3.0, -1.0):
        got = fkc_log_weight(scores, jnp.array([1 - w, w]), g2=1.7, div_f=11.0)
        np.testing.assert_allclose(got, 0.5 * 1.7 * w * (w - 1) * apart, rtol=1e-4, atol=1e-4)
    product = fkc_log_weight(scores, jnp.ones(2), g2=1.7, div_f=11.0)
    np.testing.assert_allclose(product, 11.0 + 1.7 * np.sum(np.asarray(scores[0] * scores[1]), 1), rtol=1e-4)
    same = jnp.stack([scores[0], scores[0]])
    np.testing.assert_array_equal(fkc_log_weight(same, jnp.array([-2.0, 3.0]), g2=1.7), 0.0)
    b = np.array([0.7, 1.6])
    mixed = np.einsum("m,mkd->kd", b, scores)
    expected = (b.sum() - 1) * 2.0 + 0.5 * 1.7 * (np.sum(mixed**2, 1) - b @ np.sum(np.asarray(scores) ** 2, 2))
    np.testing.assert_allclose(fkc_log_weight(scores, jnp.asarray(b), g2=1.7, div_f=2.0), expected, rtol=1e-4)


def distance(x, weights, target):
    """Kolmogorov-Smirnov distance of weighted particles to a density on a grid."""
    grid = np.linspace(-8, 8, 8001)
    density = np.exp(target(grid) - target(grid).max())
    exact = np.cumsum(density) / density.sum()
    order = np.argsort(x)
    empirical = np.cumsum(weights[order])
    return np.abs(np.interp(x[order], grid, exact) - empirical).max()


def tilted(coeffs):
    def target(grid):
        x = jnp.asarray(grid, jnp.float32)[:, None]
        parts = [np.asarray(log_density(q, VE, x, 0.0), np.float64) for q in (BROAD, NARROW)]
        return coeffs[0] * parts[0] + coeffs[1] * parts[1]

    return target


def test_corrected_guidance_reaches_the_tilted_density_and_guidance_alone_does_not():
    ts, w = time_grid(200, low=0.0), 3.0
    keys = jax.random.split(jax.random.key(4), COUNT)
    x = VE.prior_sample(keys, (1,))
    coeffs = jnp.array([1 - w, w])
    fns = [score(q, VE) for q in (BROAD, NARROW)]
    run = jax.jit(lambda x: fkc_sample(jax.random.key(5), x, ts, score_fns=fns, coeffs=coeffs, process=VE))
    particles = run(x)
    rule, step = guidance.cfg(w), diffusion.euler_maruyama(VE)
    guided = jax.jit(lambda x: diffusion.sample(keys, x, ts, cond_fn=fns[1], uncond_fn=fns[0], rule=rule, step=step).x)(
        x
    )
    target = tilted([1 - w, w])
    corrected = distance(np.asarray(particles.x[:, 0]), np.asarray(jax.nn.softmax(particles.log_weights)), target)
    plain = distance(np.asarray(guided[:, 0]), np.full(COUNT, 1 / COUNT), target)
    assert corrected < 0.04
    assert corrected < 0.5 * plain
    assert float(particles.ess.min()) < 0.6 * COUNT  # it did resample
    assert int(particles.evaluations) == 400


@pytest.mark.parametrize("process", [VE, diffusion.vp()], ids=["ve", "vp"])
def test_a_product_of_gaussians_has_the_sum_of_precisions(process):
    a = Mixture(np.ones(1), np.array([[-1.0]]), np.array([0.5]))
    b = Mixture(np.ones(1), np.array([[1.0]]), np.array([1.5]))
    precision = 1 / 0.5 + 1 / 1.5
    mean = (-1.0 / 0.5 + 1.0 / 1.5) / precision
    # The product of two priors N(0, s^2) is N(0, s^2 / 2): start there.
    x = process.prior_sample(jax.random.split(jax.random.key(6), 8192), (1,)) / np.sqrt(2.0)
    fns = [score(q, process) for q in (a, b)]
    ts = time_grid(300, low=1e-3)
    run = jax.jit(lambda x: fkc_sample(jax.random.key(7), x, ts, score_fns=fns, coeffs=jnp.ones(2), process=process))
    particles = run(x)
    weights = np.asarray(jax.nn.softmax(particles.log_weights), np.float64)
    values = np.asarray(particles.x[:, 0], np.float64)
    got_mean = weights @ values
    np.testing.assert_allclose(got_mean, mean, atol=0.05)
    np.testing.assert_allclose(weights @ (values - got_mean) ** 2, 1 / precision, rtol=0.12)


def test_annealing_coefficients():
    for beta in (0.5, 1.0, 2.5):
        for a in (0.0, 0.25, 0.5):
            eta, zeta = fkc_anneal_coeffs(beta, a=a)
            np.testing.assert_allclose(eta, beta * (1 + float(zeta) ** 2) / 2, rtol=1e-6)
        np.testing.assert_allclose(fkc_anneal_coeffs(beta), (beta, 1.0), rtol=1e-6)
        np.testing.assert_allclose(fkc_anneal_coeffs(beta, a=0.5), ((1 + beta) / 2, beta**-0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("coeffs", "noise_scale"),
    [([-2.0, 3.0], 1.0), ([1.0, 1.0], 1.0), ([0.7, 1.6], 0.6), ([0.0, 2.5], 0.0), ([0.0, 2.5], 2.5**-0.5)],
)
def test_the_weighted_density_solves_its_equation(coeffs, noise_scale):
    """The product's own change in time is transport by the drift, diffusion by the noise, and growth by the weight."""
    process = diffusion.vp()
    with jax.enable_x64(True):
        b = jnp.asarray(coeffs)
        points = jnp.asarray(np.random.default_rng(12).normal(size=(5, 1)))
        t = jnp.asarray(0.3)

        def log_target(x, t):
            return sum(b[i] * log_density(q, process, x[None], t)[0] for i, q in enumerate((BROAD, NARROW)))

        def drift(x):
            mixed = jax.grad(log_target)(x, t)
            return -process.drift(x, t) + 0.5 * (1 + noise_scale**2) * process.diffusion(t) ** 2 * mixed

        def gap(x):
            slope = jax.grad(log_target)(x, t)
            curve = jnp.trace(jax.hessian(log_target)(x, t))
            moved = -jnp.trace(jax.jacfwd(drift)(x)) - jnp.sum(drift(x) * slope)
            spread = 0.5 * (noise_scale * process.diffusion(t)) ** 2 * (curve + jnp.sum(slope**2))
            scores = jnp.stack([score(q, process)(x[None], t) for q in (BROAD, NARROW)])
            divergence = jnp.trace(jax.jacfwd(lambda x: process.drift(x, t))(x))
            grown = fkc_log_weight(scores, b, g2=process.diffusion(t) ** 2, div_f=divergence)[0]
            return -jax.grad(log_target, argnums=1)(x, t) - (moved + spread + grown), grown

        gaps, grown = (np.asarray(value) for value in jax.jit(jax.vmap(gap))(points))
    np.testing.assert_allclose(gaps, 0.0, atol=1e-9 * max(1.0, np.abs(grown).max()))
    assert np.ptp(grown) > 0.1


def test_annealing_reaches_the_power_of_a_density():
    ts, beta = time_grid(200, low=0.0), 1.5
    uneven = Mixture(np.array([0.3, 0.7]), np.array([[-1.0], [1.5]]), np.array([0.15, 0.5]))
    x = VE.prior_sample(jax.random.split(jax.random.key(12), COUNT), (1,)) / np.sqrt(beta)
    given = {"score_fns": [score(uneven, VE)], "coeffs": jnp.full(1, beta), "process": VE}
    run = jax.jit(lambda share: fkc_sample(jax.random.key(13), x, ts, ess_threshold=share, **given), static_argnums=0)
    corrected, free = run(0.5), run(0.0)

    def target(grid):
        return beta * np.asarray(log_density(uneven, VE, jnp.asarray(grid, jnp.float32)[:, None], 0.0), np.float64)

    weights = np.asarray(jax.nn.softmax(corrected.log_weights))
    assert distance(np.asarray(corrected.x[:, 0]), weights, target) < 0.025
    assert distance(np.asarray(free.x[:, 0]), np.full(COUNT, 1 / COUNT), target) > 0.035


@pytest.mark.parametrize("noise_scale", [0.0, 0.5, 1.0])
def test_without_weights_nothing_is_resampled_and_one_score_is_plain_diffusion(noise_scale):
    ts = time_grid(100, low=0.0)
    x = VE.prior_sample(jax.random.split(jax.random.key(8), COUNT), (1,))
    given = {"score_fns": [score(NARROW, VE)], "coeffs": jnp.ones(1), "process": VE, "noise_scale": noise_scale}
    particles = jax.jit(lambda x: fkc_sample(jax.random.key(9), x, ts, **given))(x)
    np.testing.assert_allclose(particles.log_weights, 0.0, atol=1e-4)
    np.testing.assert_allclose(particles.ess, COUNT, rtol=1e-4)
    assert distance(np.asarray(particles.x[:, 0]), np.full(COUNT, 1 / COUNT), tilted([0.0, 1.0])) < 0.05
    again = jax.jit(lambda x: fkc_sample(jax.random.key(10), x, ts, **given).x)(x)
    assert bool(jnp.all(again == particles.x)) == (noise_scale == 0)


def test_clipping_bounds_every_increment():
    ts = time_grid(20, low=0.0)
    x = VE.prior_sample(jax.random.split(jax.random.key(10), 64), (1,))
    fns = [score(q, VE) for q in (BROAD, NARROW)]
    given = {"score_fns": fns, "coeffs": jnp.array([-4.0, 5.0]), "process": VE, "ess_threshold": 0.0}
    clipped, free = jax.jit(lambda x: [fkc_sample(jax.random.key(11), x, ts, clip=c, **given) for c in (0.01, None)])(x)
    assert float(jnp.abs(clipped.log_weights).max()) <= 0.2 + 1e-5
    assert float(jnp.ptp(free.log_weights)) > 0.5
    assert float(clipped.ess[-1]) > float(free.ess[-1])


X, TS = jnp.zeros((4, 1)), time_grid(3)
GIVEN = {"score_fns": [lambda x, t: -x], "coeffs": jnp.ones(1), "process": VE}
BAD = {
    "coeffs": (lambda: fkc_sample(jax.random.key(0), X, TS, **GIVEN | {"coeffs": jnp.ones(2)}), ValueError, "coeffs"),
    "no scores": (lambda: fkc_sample(jax.random.key(0), X, TS, **GIVEN | {"score_fns": []}), ValueError, "coeffs"),
    "grid": (lambda: fkc_sample(jax.random.key(0), X, TS[::-1], **GIVEN), ValueError, "strictly decreasing"),
    "threshold": (
        lambda: fkc_sample(jax.random.key(0), X, TS, ess_threshold=2.0, **GIVEN),
        ValueError,
        "ess_threshold must lie in",
    ),
    "clip": (lambda: fkc_sample(jax.random.key(0), X, TS, clip=0.0, **GIVEN), ValueError, "clip must be > 0"),
    "noise": (
        lambda: fkc_sample(jax.random.key(0), X, TS, noise_scale=-1.0, **GIVEN),
        ValueError,
        "noise_scale must be",
    ),
    "beta": (lambda: fkc_anneal_coeffs(0.0), ValueError, "beta must be > 0"),
    "a": (lambda: fkc_anneal_coeffs(2.0, a=0.7), ValueError, "a must lie in"),
    "particles": (lambda: fkc_sample(jax.random.key(0), X[:0], TS, **GIVEN), ValueError, "K >= 1"),
    "log_weights": (lambda: ess(jnp.zeros((2, 2))), ValueError, "log_weights must have shape [K]"),
    "none": (lambda: systematic_resample(jax.random.key(0), jnp.zeros(0)), ValueError, "at least one particle"),
    "scores": (lambda: fkc_log_weight(jnp.ones((2, 3, 1)), jnp.ones(3), g2=1.0), ValueError, "coeffs [M]"),
    "integers": (lambda: ess(jnp.zeros(2, int)), TypeError, "log_weights must be floating"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
