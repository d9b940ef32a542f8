"""Solvers of mean-reverting diffusion: the published formulas in numpy, their order, other names for them, grids."""

import fractions
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion
from jaxlab.diffusion import lambda_grid, mr_solver, sample
from jaxlab.diffusion.mean_reversion import log_snr, phis
from tests.diffusion import mixtures

START = np.random.default_rng(5).normal(size=(4, 2))
CENTRE = np.random.default_rng(6).normal(size=(4, 2))
KEYS = jax.random.split(jax.random.key(0), 4)
ALL = [
    (variant, parameterization, order)
    for variant, most in (("ode", 3), ("sde", 2))
    for parameterization in ("data", "noise")
    for order in range(1, most + 1)
]


def eps_fn(x, t):
    """A model with curvature in both arguments."""
    return jnp.sin(1.3 * x) + 0.4 * jnp.cos(3.0 * t)[:, None] * x


def run(step, ts, x=START, cond_fn=eps_fn, **given):
    return sample(KEYS, jnp.asarray(x), jnp.asarray(ts), cond_fn=cond_fn, step=step, **given).x


def by_hand(process, ts, x, orders, variant, parameterization, halved):
    """The formulas of the paper, one after the other; ``halved`` is the weight that order 3 was released with."""
    mu = np.asarray(process.center)
    alpha, sigma = (np.asarray(f(jnp.asarray(ts))) for f in (process.alpha, process.std))
    lam = np.log(alpha / sigma)
    q, factor = [], 1.0 if halved else 2.0
    for i in range(1, len(ts)):
        eps = np.asarray(eps_fn(jnp.asarray(x), jnp.full(len(x), ts[i - 1])))
        a, s, at, st = alpha[i - 1], sigma[i - 1], alpha[i], sigma[i]
        h = lam[i] - lam[i - 1]
        q.insert(0, eps if parameterization == "noise" else (x - s * eps) / a - (1 - a) / a * mu)
        d1 = d2 = 0.0
        if orders[i - 1] > 1:
            r = (lam[i - 1] - lam[i - 2]) / h
            d1 = d10 = (q[0] - q[1]) / r
        if orders[i - 1] > 2:
            r1 = (lam[i - 2] - lam[i - 3]) / h
            d11 = (q[1] - q[2]) / r1
            d1 = d10 + (d10 - d11) * r / (r + r1)
            d2 = factor * (d10 - d11) / (r + r1)
        keys = jax.vmap(lambda key, step=i - 1: jax.random.fold_in(key, step))(KEYS)
        z = np.asarray(jax.vmap(lambda key: jax.random.normal(key, (2,), jnp.float64))(keys))
        if parameterization == "data" and variant == "ode":
            phi1 = np.exp(-h) - 1
            phi2 = phi1 / h + 1
            phi3 = phi2 / h - 0.5
            x = st / s * x - at * (phi1 * q[0] - phi2 * d1 + phi3 * d2) + mu * (1 - st / s + st / s * a - at)
        elif parameterization == "data":
            p = 1 - np.exp(-2 * h)
            x = st / s * np.exp(-h) * x + at * p * q[0] + at * (1 - p / (2 * h)) * d1 + st * np.sqrt(p) * z
            x = x + mu * (1 - at / a * np.exp(-2 * h) - at * p)
        else:
            phi1 = np.exp(h) - 1
            phi2 = phi1 / h - 1
            phi3 = phi2 / h - 0.5
            twice = 2 if variant == "sde" else 1
            x = at / a * x - twice * st * (phi1 * q[0] + phi2 * d1 + phi3 * d2) + mu * (1 - at / a)
            x = x + (st * np.sqrt(np.exp(2 * h) - 1) * z if variant == "sde" else 0)
    return x


def test_the_published_formulas():
    """All ten solvers, and order 3 with its whole weight, over 8 uneven steps."""
    ts = np.array([1.0, 0.9, 0.75, 0.7, 0.5, 0.3, 0.2, 0.05, 0.0])
    with jax.enable_x64(True):
        process = diffusion.mean_reverting(jnp.asarray(CENTRE))
        cases = [(*case, published) for case in ALL for published in (True, False)[: 1 + (case[2] == 3)]]

        def solve(x):
            return [
                run(mr_solver(process, order=n, variant=v, parameterization=p, published=published), ts, x)
                for v, p, n, published in cases
            ]

        for (v, p, n, published), got in zip(cases, jax.jit(solve)(START), strict=True):
            orders = [min(n, i + 1) for i in range(8)]
            want = by_hand(process, ts, START, orders, v, p, published)
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9, err_msg=f"{v} {p} {n} {published}")


def test_a_short_grid_ends_with_low_orders():
    with jax.enable_x64(True):
        process = diffusion.mean_reverting(jnp.asarray(CENTRE))
        short, long = np.linspace(0.9, 0.1, 6), np.linspace(0.9, 0.1, 11)
        step = {n: mr_solver(process, order=3, ts=ts) for n, ts in ((5, short), (10, long))}
        free = mr_solver(process, order=3)
        solved = jax.jit(lambda x: (run(step[5], short, x), run(step[10], long, x), run(free, long, x)))(START)
        want = by_hand(process, short, START, [1, 2, 3, 2, 1], "ode", "data", False)
        np.testing.assert_allclose(solved[0], want, rtol=1e-9)
        np.testing.assert_array_equal(solved[1], solved[2])


@pytest.mark.parametrize("parameterization", ["data", "noise"])
def test_order_of_convergence(parameterization):
    """On the flow of a Gaussian, which is known: orders 1, 2 and 3, and 2 for order 3 as released."""
    mean, variance = mixtures.ONE.means[0], mixtures.ONE.variances[0]
    with jax.enable_x64(True):
        process = diffusion.vp()._replace(center=jnp.asarray(CENTRE))
        apart = jnp.asarray(mean - CENTRE)

        def eps(x, t):
            alpha, std = process.alpha(t)[:, None], process.std(t)[:, None]
            return std * (x - CENTRE - alpha * apart) / (alpha**2 * variance + std**2)

        def flow(t):
            deviation = [jnp.sqrt(process.alpha(s) ** 2 * variance + process.std(s) ** 2) for s in (t, 0.9)]
            return (
                CENTRE
                + process.alpha(t) * apart
                + deviation[0] / deviation[1] * (START - CENTRE - process.alpha(0.9) * apart)
            )

        solvers = [
            mr_solver(process, order=n, parameterization=parameterization, published=published)
            for n, published in ((1, False), (2, False), (3, False), (3, True))
        ]
        errors = []
        for n in (128, 256, 512):
            ts = jnp.interp(
                jnp.linspace(0, 1, n + 1), jnp.linspace(0, 1, 33), lambda_grid(process, 32, high=0.9, low=0.05)
            )
            solve = jax.jit(lambda x, ts: [run(step, ts, x, eps) for step in solvers])
            errors.append([float(jnp.abs(x - flow(ts[-1])).mean()) for x in solve(START, ts)])
        slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    np.testing.assert_allclose(slopes[-1, [0, 1, 3]], [1.0, 2.0, 2.0], atol=0.15)
    assert slopes[-1, 2] > 2.7
    assert errors[-1][2] < 0.1 * errors[-1][3] < 0.1 * errors[-1][1]


def test_what_it_is_called_elsewhere():
    """DDIM and ancestral sampling at order 1, DPM-Solver++ at order 2; with a centre and without."""
    ts = np.linspace(0.95, 0.0, 9)
    with jax.enable_x64(True):
        for process in (diffusion.vp(), diffusion.ou_ve(jnp.asarray(CENTRE))):
            pairs = (
                (mr_solver(process, order=1), diffusion.ddim(process)),
                (mr_solver(process, order=1, parameterization="noise"), diffusion.ddim(process)),
                (mr_solver(process, order=1, variant="sde"), diffusion.ancestral(process, kind="eps")),
                (mr_solver(process, order=2), diffusion.dpm_solver_pp(process, variant="heun")),
            )
            solve = jax.jit(lambda x, pairs=pairs: [[run(step, ts, x) for step in pair] for pair in pairs])
            for ours, theirs in solve(START):
                np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_a_constant_data_prediction_is_solved_exactly():
    """x' = mu + alpha' (D - mu) + std' / std (x - mu - alpha (D - mu)) at every order: the noise is carried on."""
    ts = np.array([0.9, 0.7, 0.6, 0.4, 0.05])
    with jax.enable_x64(True):
        process = diffusion.mean_reverting(jnp.asarray(CENTRE))
        data = jnp.array([2.0, -1.0])
        solve = jax.jit(
            lambda x: [run(mr_solver(process, order=n, kind="x0"), ts, x, lambda x, t: 0 * x + data) for n in (1, 2, 3)]
        )
        alpha, std = ([float(f(t)) for t in (0.9, 0.05)] for f in (process.alpha, process.std))
        noise = (START - CENTRE - alpha[0] * (data - CENTRE)) / std[0]
        for got in solve(START):
            np.testing.assert_allclose(got, CENTRE + alpha[1] * (data - CENTRE) + std[1] * noise, rtol=1e-10)


@pytest.mark.parametrize("parameterization", ["data", "noise"])
def test_the_sde_keeps_the_marginals(parameterization):
    """With the exact score of a Gaussian, many samples have its mean and variance at the end."""
    process = diffusion.mean_reverting(jnp.full((1, 2), 0.5))
    mean, variance = jnp.array([1.0, -1.0]), 0.09
    keys = jax.random.split(jax.random.key(3), 4096)

    def eps(x, t):
        alpha, std = process.alpha(t)[:, None], process.std(t)[:, None]
        return std * (x - 0.5 - alpha * (mean - 0.5)) / (alpha**2 * variance + std**2)

    @jax.jit
    def draw(keys):
        start = process.prior_sample(keys, (2,))
        ts = diffusion.time_grid(50, low=0.0)
        step = mr_solver(process, variant="sde", parameterization=parameterization)
        return sample(keys, start, ts, cond_fn=eps, step=step).x

    x = np.asarray(draw(keys))
    np.testing.assert_allclose(x.mean(0), mean, atol=0.02)
    np.testing.assert_allclose(x.var(0), variance, rtol=0.1)


def test_the_kind_of_prediction_does_not_matter():
    process, ts = diffusion.vp(), np.linspace(0.9, 0.1, 9, dtype=np.float32)
    kinds = ("eps", "x0", "v")
    fns = [mixtures.predictor(mixtures.TWO, process, kind) for kind in kinds]

    def solve(x):
        return [
            run(mr_solver(process, order=3, kind=kind, parameterization=p), ts, x, fn)
            for p in ("data", "noise")
            for kind, fn in zip(kinds, fns, strict=True)
        ]

    solved = jax.jit(solve)(START.astype(np.float32))
    for got, want in itertools.product(solved[1:3], solved[:1]):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)
    for got in solved[4:]:
        np.testing.assert_allclose(got, solved[3], rtol=1e-3, atol=1e-3)


def test_the_ends_of_the_range():
    """Where std(t') = 0 the last step gives the data prediction; where alpha(1) = 0 the first one is of order 1."""
    flow, process = diffusion.linear_flow(), diffusion.ou_ve(jnp.asarray(CENTRE, jnp.float32))
    ts = np.linspace(1.0, 0.0, 13, dtype=np.float32)
    point = lambda x, t: 0.0 * x + 2.0  # noqa: E731

    def solve(x):
        steps = (
            (mr_solver(flow, order=3, kind="x0"), point),
            (mr_solver(process, order=3, kind="x0"), point),
            (mr_solver(process, order=2, variant="sde", kind="x0"), point),
            (mr_solver(process, order=3), lambda x, t: jnp.tanh(x)),
            (mr_solver(process, order=3, parameterization="noise"), lambda x, t: jnp.tanh(x)),
        )
        return [run(step, ts, x, fn) for step, fn in steps]

    solved = jax.jit(solve)(START.astype(np.float32))
    for got in solved[:3]:
        np.testing.assert_allclose(got, 2.0, atol=1e-5)
    assert all(np.isfinite(got).all() for got in solved)


def test_encoding_and_decoding_is_the_identity():
    process, fn = diffusion.vp(), mixtures.predictor(mixtures.TWO, diffusion.vp(), "eps")
    up = np.linspace(0.05, 0.9, 65, dtype=np.float32)

    @jax.jit
    def there_and_back(x):
        latent = run(mr_solver(process, order=3, ts=up), up, x, fn)
        return latent, run(mr_solver(process, order=3), up[::-1].copy(), latent, fn)

    x = (0.3 * START).astype(np.float32)
    latent, back = there_and_back(x)
    np.testing.assert_allclose(back, x, atol=5e-3)
    assert np.abs(latent - x).max() > 0.3


def test_phi_functions_do_not_cancel():
    z = np.array([-30.0, -1.5, -1.0, -0.9, -1e-3, -1e-6, 0.0, 1e-6, 1e-2, 0.99, 1.0, 4.0], np.float32)

    def exact(k, value):
        value = fractions.Fraction(float(value))
        return float(sum(value**j / math.factorial(j + k) for j in range(160)))

    for k, got in zip((2, 3), phis(jnp.asarray(z)), strict=True):
        np.testing.assert_allclose(got, [exact(k, value) for value in z], rtol=3e-6)


def test_grids_are_even_in_what_they_say():
    process = diffusion.mean_reverting(jnp.zeros((1, 1)))
    with jax.enable_x64(True):
        for made, low in ((process, 0.0), (diffusion.vp(), 1e-3)):
            ts = lambda_grid(made, 12, low=low)
            karras = lambda_grid(made, 12, low=low, rho=7.0)
            for grid in (ts, karras):
                assert (grid[0], grid[-1], grid.shape, grid.dtype) == (1.0, np.float32(low), (13,), jnp.float32)
                assert np.all(np.diff(grid) < 0)
            wide = [np.asarray(grid, np.float64) for grid in (ts, karras)]
            ratio = [np.asarray(log_snr(made, jnp.asarray(grid))) for grid in wide]
            np.testing.assert_allclose(np.diff(ratio[0]), np.diff(ratio[0]).mean(), rtol=5e-3)
            steps = np.diff(np.exp(-ratio[1]) ** (1 / 7.0))
            np.testing.assert_allclose(steps, steps.mean(), rtol=5e-3)
            assert ts[1] < karras[1]  # even steps of lambda leave the noise sooner


def test_a_grid_without_a_finite_ratio_at_its_ends_is_nan():
    assert np.isnan(lambda_grid(diffusion.linear_flow(), 3)[1:-1]).all()
    assert np.isnan(lambda_grid(diffusion.vp(), 3, low=0.0)[1:-1]).all()
    np.testing.assert_array_equal(lambda_grid(diffusion.vp(), 1), np.array([1.0, 1e-3], np.float32))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mr_solver(diffusion.vp(), order=4), ValueError, "order must be one of 1, 2, 3"),
        (lambda: mr_solver(diffusion.vp(), order=0), ValueError, "order must be one of 1, 2, 3"),
        (lambda: mr_solver(diffusion.vp(), order=3, variant="sde"), ValueError, "order must be one of 1, 2, got 3"),
        (lambda: mr_solver(diffusion.vp(), variant="pde"), ValueError, "variant must be one of"),
        (lambda: mr_solver(diffusion.vp(), parameterization="x0"), ValueError, "parameterization must be one of"),
        (lambda: mr_solver(diffusion.vp(), kind="noise"), ValueError, "kind must be one of"),
        (lambda: mr_solver("vp"), TypeError, "process must be a diffusion.Process"),
        (lambda: mr_solver(diffusion.vp(), ts=[1.0, 0.2, 0.5]), ValueError, "ts must be strictly"),
        (lambda: mr_solver(diffusion.vp(), ts=[2, 1]), TypeError, "ts must be floating point"),
        (lambda: lambda_grid("vp", 3), TypeError, "process must be a diffusion.Process"),
        (lambda: lambda_grid(diffusion.vp(), 0), ValueError, "num_steps must be at least 1"),
        (lambda: lambda_grid(diffusion.vp(), 3, low=1.0), ValueError, "low and high must satisfy"),
        (lambda: lambda_grid(diffusion.vp(), 3, rho=0.0), ValueError, "rho must be > 0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
