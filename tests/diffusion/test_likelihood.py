"""The likelihood equals the analytic one; the solvers have their orders."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion
from jaxlab.diffusion import bits_per_dim, log_likelihood, solve_ode
from tests.diffusion import mixtures

VP = diffusion.vp()
UP = jnp.linspace(1e-3, 1.0, 129)
DATA = mixtures.draw(jax.random.key(0), mixtures.TWO, 16)


def likelihood(ts=UP, process=VP, kind="score", **given):
    model_fn = mixtures.predictor(mixtures.TWO, process, kind)
    return jax.jit(lambda x: log_likelihood(x, ts, process=process, model_fn=model_fn, kind=kind, **given))(DATA)


@pytest.mark.parametrize("kind", ["score", "v"])
def test_exact_divergence_gives_the_density_of_a_mixture(kind):
    result = likelihood(kind=kind)
    exact = mixtures.log_density(mixtures.TWO, VP, DATA, 1e-3)
    np.testing.assert_allclose(result.log_prob, exact, atol=0.02)  # the prior at t = 1 is standard normal to .007
    np.testing.assert_array_equal(result.evaluations, 4 * 128)
    assert float(jnp.std(result.latent)) > 0.5


def test_adaptive_solver_agrees():
    adaptive = likelihood(ts=jnp.array([1e-3, 1.0]), method="dopri5")
    np.testing.assert_allclose(adaptive.log_prob, likelihood().log_prob, atol=2e-3)
    np.testing.assert_array_equal(adaptive.evaluations, -1)


def test_other_processes_and_methods():
    flow = diffusion.cosine_flow()
    got = likelihood(ts=jnp.linspace(1e-3, 0.999, 257), process=flow, kind="v", method="heun").log_prob
    np.testing.assert_allclose(got, mixtures.log_density(mixtures.TWO, flow, DATA, 1e-3), atol=0.02)


@pytest.mark.parametrize("probe", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased(probe):
    """Many probes of one point average to the exact value; a single one does not hit it."""
    point = jnp.tile(DATA[:1], (600, 1))
    keys = jax.random.split(jax.random.key(1), 600)
    model_fn, ts = mixtures.score(mixtures.TWO, VP), jnp.linspace(1e-3, 1.0, 17)
    given = {"process": VP, "model_fn": model_fn}
    estimates = jax.jit(lambda x: log_likelihood(x, ts, keys=keys, probe=probe, **given).log_prob)(point)
    exact = log_likelihood(DATA[:1], ts, **given).log_prob[0]
    spread = float(estimates.std())
    assert spread > 1e-3
    np.testing.assert_allclose(estimates.mean(), exact, atol=4 * spread / np.sqrt(600) + 1e-3)


def test_hutchinson_keys_belong_to_samples():
    keys = jax.random.split(jax.random.key(2), 16)
    given = {"process": VP, "model_fn": mixtures.score(mixtures.TWO, VP)}
    ts = jnp.linspace(1e-3, 1.0, 9)
    whole = log_likelihood(DATA, ts, keys=keys, **given).log_prob
    part = log_likelihood(DATA[5:7], ts, keys=keys[5:7], **given).log_prob
    np.testing.assert_allclose(part, whole[5:7], rtol=1e-5)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("heun", 2), ("rk4", 4)])
def test_solvers_have_their_orders(method, order):
    """y' = (cos t) y: y = exp(sin t); also backwards in time."""
    with jax.enable_x64(True):
        for start, stop in ((0.0, 2.0), (2.0, 0.0)):
            exact = np.exp(np.sin(stop) - np.sin(start))
            errors = [
                abs(
                    float(
                        solve_ode(
                            lambda y, t: jnp.cos(t) * y, jnp.ones(()), jnp.linspace(start, stop, n + 1), method=method
                        )
                    )
                    - exact
                )
                for n in (32, 64)
            ]
            np.testing.assert_allclose(np.log2(errors[0] / errors[1]), order, atol=0.25)


def test_adaptive_solver_runs_both_ways_and_on_trees():
    y = {"a": jnp.ones(3), "b": jnp.full(2, 2.0)}
    fn = lambda y, t: jax.tree.map(lambda leaf: jnp.cos(t) * leaf, y)  # noqa: E731
    for start, stop in ((0.0, 2.0), (2.0, 0.0)):
        got = solve_ode(fn, y, jnp.array([start, stop]), method="dopri5", rtol=1e-6, atol=1e-6)
        factor = np.exp(np.sin(stop) - np.sin(start))
        np.testing.assert_allclose(got["a"], factor, rtol=1e-4)
        np.testing.assert_allclose(got["b"], 2 * factor, rtol=1e-4)


def test_adaptive_sampling_solves_the_flow():
    x = jax.random.normal(jax.random.key(3), (4, 2))
    velocity = mixtures.predictor(mixtures.ONE, VP, "v")
    fn = lambda x, t: velocity(x, jnp.broadcast_to(t, x.shape[:1]))  # noqa: E731
    got = solve_ode(fn, x, jnp.array([1.0, 1e-3]), method="dopri5")
    mean, variance = mixtures.ONE.means[0], mixtures.ONE.variances[0]
    deviation = lambda t: jnp.sqrt(VP.alpha(t) ** 2 * variance + VP.std(t) ** 2)  # noqa: E731
    expected = VP.alpha(1e-3) * mean + deviation(1e-3) / deviation(1.0) * (x - VP.alpha(1.0) * mean)
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_bits_of_uniform_pixels():
    """256 equally likely levels are 8 bits, however they were scaled; half the range is one bit less."""
    for width, levels in ((256.0, 1.0), (2.0, 128.0), (1.0, 256.0)):
        log_prob = jnp.array([-12 * np.log(width), -12 * np.log(width / 2)], jnp.float32)
        np.testing.assert_allclose(bits_per_dim(log_prob, dim=12, levels_per_unit=levels), [8.0, 7.0], rtol=1e-6)


GIVEN = {"process": VP, "model_fn": lambda x, t: -x}
KEYS = jax.random.split(jax.random.key(0), 3)
BAD = {
    "decreasing": (lambda: log_likelihood(DATA, UP[::-1], **GIVEN), ValueError, "strictly increasing"),
    "keys": (lambda: log_likelihood(DATA, UP, keys=KEYS, **GIVEN), ValueError, "keys must have shape [16]"),
    "probe": (lambda: log_likelihood(DATA, UP, probe="sphere", **GIVEN), ValueError, "probe must be one of"),
    "method": (lambda: log_likelihood(DATA, UP, method="rk45", **GIVEN), ValueError, "method must be one of"),
    "kind": (lambda: log_likelihood(DATA, UP, kind="noise", **GIVEN), ValueError, "kind must be one of"),
    "rank": (lambda: log_likelihood(DATA[:, 0], UP, **GIVEN), ValueError, "at least two axes"),
    "integers": (lambda: solve_ode(lambda y, t: y, jnp.arange(3), UP), TypeError, "y must be floating"),
    "dim": (lambda: bits_per_dim(jnp.zeros(2), dim=0), ValueError, "dim must be at least 1"),
    "levels": (
        lambda: bits_per_dim(jnp.zeros(2), dim=3, levels_per_unit=0.0),
        ValueError,
        "levels_per_unit must be > 0",
    ),
    "solver": (lambda: solve_ode(lambda y, t: y, DATA, UP, method="rk3"), ValueError, "method must be one of"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
