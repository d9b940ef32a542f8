"""The converter: round trips, analytic scores, and where it is not finite."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion
from jaxlab.diffusion import KINDS, convert
from tests.diffusion import mixtures
from tests.diffusion.test_noising import PROCESSES

B = 3
T = jnp.array([0.21, 0.52, 0.83])
rng = np.random.default_rng(4)
CENTER = jnp.asarray(rng.normal(size=(B, 2)), jnp.float32)
X = jnp.asarray(rng.normal(size=(B, 2)), jnp.float32)


def process_named(name):
    if name in ("ou_ve", "mean_reverting"):
        return getattr(diffusion, name)(CENTER)
    return PROCESSES[name]


@pytest.mark.parametrize("name", PROCESSES)
def test_every_kind_is_the_analytic_one(name):
    process = process_named(name)
    x = process.alpha(T)[:, None] * X + process.std(T)[:, None] * CENTER
    exact = {kind: mixtures.predictor(mixtures.TWO, process, kind)(x, T) for kind in KINDS}
    gradient = jax.grad(lambda z: jnp.sum(mixtures.log_density(mixtures.TWO, process, z, T)))(x)
    np.testing.assert_allclose(exact["score"], gradient, rtol=1e-3, atol=1e-4)
    for kind_in, kind_out in itertools.product(KINDS, KINDS):
        got = convert(exact[kind_in], x, T, process=process, kind_in=kind_in, kind_out=kind_out)
        scale = float(jnp.abs(exact[kind_out]).max())
        np.testing.assert_allclose(got, exact[kind_out], rtol=1e-3, atol=1e-3 * scale, err_msg=f"{kind_in}->{kind_out}")


@pytest.mark.parametrize("name", PROCESSES)
def test_velocity_is_that_of_the_probability_flow(name):
    process = process_named(name)
    score = mixtures.score(mixtures.TWO, process)(X, T)
    expected = process.drift(X, T) - 0.5 * process.diffusion(T)[:, None] ** 2 * score
    got = convert(score, X, T, process=process, kind_in="score", kind_out="v")
    np.testing.assert_allclose(got, expected, rtol=2e-3, atol=1e-4 * float(jnp.abs(expected).max()))


def test_formulas_of_the_flows():
    v = jnp.asarray(rng.normal(size=(B, 2)), jnp.float32)
    linear, t = PROCESSES["linear_flow"], T[:, None]
    for kind, expected in {"x0": X - t * v, "eps": X + (1 - t) * v, "score": -((1 - t) * v + X) / t}.items():
        got = convert(v, X, T, process=linear, kind_in="v", kind_out=kind)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    rotation = convert(v, X, T, process=PROCESSES["cosine_flow"], kind_in="v", kind_out="rotation")
    np.testing.assert_allclose(rotation, v * 2 / np.pi, rtol=1e-4, atol=1e-5)


def test_the_velocity_of_mean_reverting_processes_is_published():
    """D = alpha x - (sigma / lambda) v + (1 - alpha) mu."""
    process, v = process_named("mean_reverting"), jnp.asarray(rng.normal(size=(B, 2)), jnp.float32)
    alpha, std = process.alpha(T)[:, None], process.std(T)[:, None]
    got = convert(v, X, T, process=process, kind_in="rotation", kind_out="x0")
    np.testing.assert_allclose(got, alpha * X - std / (50 / 255) * v + (1 - alpha) * CENTER, rtol=1e-5, atol=1e-6)


def test_ends_of_time():
    linear, v = PROCESSES["linear_flow"], jnp.ones((1, 2))
    np.testing.assert_allclose(convert(v, X[:1], 1.0, process=linear, kind_in="v", kind_out="x0"), X[:1] - 1, atol=1e-6)
    np.testing.assert_allclose(convert(v, X[:1], 0.0, process=linear, kind_in="v", kind_out="x0"), X[:1], atol=1e-6)
    assert not bool(jnp.any(jnp.isfinite(convert(v, X[:1], 1.0, process=linear, kind_in="eps", kind_out="x0"))))
    assert not bool(jnp.any(jnp.isfinite(convert(v, X[:1], 0.0, process=linear, kind_in="x0", kind_out="score"))))


def test_dtype_is_that_of_the_prediction():
    got = convert(X.astype(jnp.bfloat16), X, T, process=PROCESSES["vp"], kind_in="eps", kind_out="x0")
    assert got.dtype == jnp.bfloat16
    wide = convert(
        X.astype(jnp.bfloat16).astype(jnp.float32), X, T, process=PROCESSES["vp"], kind_in="eps", kind_out="x0"
    )
    np.testing.assert_allclose(got.astype(jnp.float32), wide, rtol=2**-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind_in": "noise"}, "kind_in must be one of"),
        ({"kind_out": "data"}, "kind_out must be one of"),
        ({"prediction": X[:, :1]}, "same shape"),
        ({"t": T[:2]}, "t must be a number or have shape [3]"),
    ],
)
def test_bad_input(change, message):
    given = {"prediction": X, "x": X, "t": T, "process": PROCESSES["vp"], "kind_in": "eps", "kind_out": "x0"} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        convert(given.pop("prediction"), given.pop("x"), given.pop("t"), **given)
