"""Deterministic steps: order of convergence on exact scores, exactness, and their cost."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion
from jaxlab.diffusion import ddim, dpm_solver_pp, euler, heun, sample
from tests.diffusion import mixtures

START = np.random.default_rng(5).normal(size=(4, 2))


def run(step, process, kind, ts, x, mixture=mixtures.TWO, **given):
    keys = jax.random.split(jax.random.key(0), x.shape[0])
    cond_fn = mixtures.predictor(mixture, process, kind)
    return jax.jit(lambda x, ts: sample(keys, x, ts, cond_fn=cond_fn, step=step, **given))(x, ts)


def grid(n, high, low):
    return jnp.linspace(high, low, n + 1)


SOLVERS = {
    "euler": (euler, 1),
    "heun": (heun, 2),
    "ddim": (ddim, 1),
    "dpm_solver_pp(1)": (functools.partial(dpm_solver_pp, order=1), 1),
    "dpm_solver_pp(2)": (dpm_solver_pp, 2),
    "dpm_solver_pp(2, heun)": (functools.partial(dpm_solver_pp, variant="heun"), 2),
}
CASES = [
    ("vp", "eps", 0.9, 0.1),
    ("linear_flow", "v", 0.95, 0.05),
]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("name", "kind", "high", "low"), CASES)
def test_order_of_convergence(solver, name, kind, high, low):
    """Halving the step divides the error on a Gaussian mixture by 2 (order 1) or 4 (order 2)."""
    make, order = SOLVERS[solver]
    with jax.enable_x64(True):
        process, x = getattr(diffusion, name)(), jnp.asarray(START)
        exact = reference(process, kind, high, low, x)
        counts = (64, 128, 256)
        errors = [
            float(jnp.abs(run(make(process, kind=kind), process, kind, grid(n, high, low), x).x - exact).mean())
            for n in counts
        ]
    slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert errors[-1] < (0.03 if order == 1 else 0.002)
    np.testing.assert_allclose(slopes, order, atol=0.2)


@functools.cache
def reference_path(name, kind, high, low):
    process = getattr(diffusion, name)()
    velocity = mixtures.predictor(mixtures.TWO, process, "v")
    fn = lambda x, t: velocity(x, jnp.broadcast_to(t, x.shape[:1]))  # noqa: E731
    return diffusion.solve_ode(fn, jnp.asarray(START), jnp.linspace(high, low, 2001))


def reference(process, kind, high, low, x):
    name = "vp" if float(process.alpha(0.5)) < 0.4 else "linear_flow"
    return reference_path(name, kind, high, low)


def test_the_reference_is_the_exact_flow_of_a_gaussian():
    """For one Gaussian the flow is known: it scales the distance from the mean by the ratio of deviations."""
    with jax.enable_x64(True):
        process, x = diffusion.vp(), jnp.asarray(START)
        mean, variance = mixtures.ONE.means[0], mixtures.ONE.variances[0]
        deviation = lambda t: jnp.sqrt(process.alpha(t) ** 2 * variance + process.std(t) ** 2)  # noqa: E731
        expected = process.alpha(0.1) * mean + deviation(0.1) / deviation(0.9) * (x - process.alpha(0.9) * mean)
        velocity = mixtures.predictor(mixtures.ONE, process, "v")
        fn = lambda x, t: velocity(x, jnp.broadcast_to(t, x.shape[:1]))  # noqa: E731
        got = diffusion.solve_ode(fn, x, jnp.linspace(0.9, 0.1, 401))
        np.testing.assert_allclose(got, expected, atol=1e-8)
        sampled = run(heun(process), process, "eps", grid(512, 0.9, 0.1), x, mixtures.ONE).x
        np.testing.assert_allclose(sampled, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["eps", "score", "x0", "v", "rotation"])
def test_the_kind_of_prediction_does_not_matter(kind):
    process, x = diffusion.vp(), jnp.asarray(START, jnp.float32)
    for make in (euler, heun, ddim, dpm_solver_pp):
        got = run(make(process, kind=kind), process, kind, grid(16, 0.9, 0.1), x).x
        want = run(make(process, kind="eps"), process, "eps", grid(16, 0.9, 0.1), x).x
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make", [ddim, dpm_solver_pp, functools.partial(dpm_solver_pp, variant="heun")])
@pytest.mark.parametrize("name", ["vp", "ve", "cosine_flow", "ou_ve"])
def test_a_constant_data_prediction_is_solved_exactly(make, name):
    """x' = mu + alpha' (D - mu) + std' / std (x - mu - alpha (D - mu)): the noise is carried on unchanged."""
    with jax.enable_x64(True):
        centre = jnp.asarray(START[::-1].copy())
        process = diffusion.ou_ve(centre) if name == "ou_ve" else getattr(diffusion, name)()
        mu = centre if name == "ou_ve" else 0.0
        data, x, ts = jnp.array([2.0, -1.0]), jnp.asarray(START), jnp.array([0.9, 0.7, 0.4, 0.05])
        keys = jax.random.split(jax.random.key(0), 4)
        got = sample(keys, x, ts, cond_fn=lambda x, t: 0 * x + data, step=make(process, kind="x0")).x
        noise = (x - mu - process.alpha(0.9) * (data - mu)) / process.std(0.9)
        expected = mu + process.alpha(0.05) * (data - mu) + process.std(0.05) * noise
        np.testing.assert_allclose(got, expected, rtol=1e-10)


def test_order_one_is_ddim():
    process, x = diffusion.vp(), jnp.asarray(START, jnp.float32)
    steps = dpm_solver_pp(process, order=1), ddim(process)
    got, want = (run(step, process, "eps", grid(10, 0.9, 0.0), x).x for step in steps)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_two_multistep_variants_by_hand():
    """The second step against the formulas in numpy."""
    process = diffusion.vp()
    ts = np.array([0.8, 0.6, 0.5])
    alpha, std = (np.asarray(f(jnp.asarray(ts, jnp.float32)), np.float64) for f in (process.alpha, process.std))
    lam = np.log(alpha / std)
    q1, q0, x1 = 1.3, -0.4, 0.2  # data predictions of two steps, and the sample between them

    def cond_fn(x, t):
        return jnp.where(t[:, None] > 0.7, q1, q0) + 0.0 * x

    h, r = lam[2] - lam[1], (lam[1] - lam[0]) / (lam[2] - lam[1])
    for variant, weight in (("midpoint", 0.5 * (1 - np.exp(-h))), ("heun", 1 - (1 - np.exp(-h)) / h)):
        x0 = (x1 - alpha[1] * (1 - np.exp(-(lam[1] - lam[0]))) * q1) * std[0] / std[1]  # so that step one gives x1
        got = sample(
            jax.random.split(jax.random.key(0), 1),
            jnp.full((1, 1), x0, jnp.float32),
            jnp.asarray(ts, jnp.float32),
            cond_fn=cond_fn,
            step=dpm_solver_pp(process, kind="x0", variant=variant),
        ).x
        expected = std[2] / std[1] * x1 + alpha[2] * ((1 - np.exp(-h)) * q0 + weight * (q0 - q1) / r)
        np.testing.assert_allclose(got, [[expected]], rtol=1e-4)


def test_heun_skips_the_call_that_it_could_not_use():
    process, x = diffusion.vp(), jnp.asarray(START, jnp.float32)
    to_zero = run(heun(process), process, "eps", grid(8, 0.9, 0.0), x)
    assert int(to_zero.calls) == 15
    assert bool(jnp.all(jnp.isfinite(to_zero.x)))
    assert int(run(heun(process), process, "eps", grid(8, 0.9, 0.1), x).calls) == 16
    flow = diffusion.linear_flow()
    cond_fn = lambda x, t: x + 1.0  # noqa: E731
    keys = jax.random.split(jax.random.key(0), 4)
    assert int(sample(keys, x, grid(8, 1.0, 0.0), cond_fn=cond_fn, step=heun(flow, kind="v")).calls) == 16


def test_flows_start_at_pure_noise_and_end_at_data():
    flow, x = diffusion.linear_flow(), jnp.asarray(START, jnp.float32)
    for step in (euler(flow, kind="v"), ddim(flow, kind="v"), dpm_solver_pp(flow, kind="v")):
        # The exact velocity of the data point 2: (x - 2) / t.
        got = sample(
            jax.random.split(jax.random.key(0), 4),
            x,
            grid(8, 1.0, 0.0),
            cond_fn=lambda x, t: noise_minus(x, t),
            step=step,
        ).x
        np.testing.assert_allclose(got, 2.0, atol=1e-4)


def noise_minus(x, t):
    t = t[:, None]
    return jnp.where(t > 0, (x - 2.0) / jnp.where(t > 0, t, 1.0), 0.0)


def test_encoding_and_decoding_is_the_identity():
    process, x = diffusion.vp(), jnp.asarray(0.3 * START, jnp.float32)
    up = run(heun(process), process, "eps", jnp.linspace(0.05, 0.9, 65), x).x
    down = run(heun(process), process, "eps", jnp.linspace(0.9, 0.05, 65), up).x
    np.testing.assert_allclose(down, x, atol=5e-3)
    assert float(jnp.abs(up - x).max()) > 0.3


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: euler(diffusion.vp(), kind="noise"), ValueError, "kind must be one of"),
        (lambda: heun("vp"), TypeError, "process must be a diffusion.Process"),
        (lambda: ddim(diffusion.vp(), eta=2.0), ValueError, "eta must lie in"),
        (lambda: dpm_solver_pp(diffusion.vp(), order=3), ValueError, "order must be one of"),
        (lambda: dpm_solver_pp(diffusion.vp(), variant="taylor"), ValueError, "variant must be one of"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
