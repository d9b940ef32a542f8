"""The question of samplers: its mixtures, its distances, and a quick run from end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest, norm

from experiments import samplers as question
from experiments.assets.mixtures import (
    Mixture,
    characteristic,
    draw,
    four_modes,
    log_density,
    narrow_and_broad,
    score,
)
from experiments.command_line import answer
from jaxlab import diffusion

VP = diffusion.vp()
KEY = jax.random.key(3)


def test_the_density_of_a_mixture():
    """Against scipy at time t, and its score against the gradient."""
    mixture, t = four_modes(KEY), 0.2
    x = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
    weights, means, variances = (np.asarray(value, np.float64) for value in mixture)
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)
    alpha, std = float(VP.alpha(t)), float(VP.std(t))
    spread = np.sqrt(alpha**2 * variances + std**2)[:, None]
    density = weights @ np.prod(norm.pdf(x[:, None], alpha * means, spread), axis=2).T
    np.testing.assert_allclose(log_density(mixture, VP, x, t), np.log(density), rtol=1e-4, atol=1e-5)
    gradient = jax.grad(lambda x: jnp.sum(log_density(mixture, VP, x, t)))(x)
    np.testing.assert_allclose(score(mixture, VP)(x, jnp.full(9, t)), gradient, rtol=1e-4, atol=1e-5)


def test_draws_have_the_characteristic_function():
    mixture = four_modes(KEY)
    frequencies = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    x = np.asarray(draw(jax.random.key(4), mixture, 40_000))
    cosine, sine = characteristic(mixture, frequencies)
    np.testing.assert_allclose(np.cos(x @ frequencies.T).mean(0), cosine, atol=0.02)
    np.testing.assert_allclose(np.sin(x @ frequencies.T).mean(0), sine, atol=0.02)
    assert np.abs(sine).max() > 0.1


def test_distance_is_chance_for_draws_and_grows_with_a_shift():
    mixture = four_modes(KEY)
    x = draw(jax.random.key(5), mixture, 8192)
    apart = [float(question.distance(x + shift, mixture)) for shift in (0.0, 0.1, 0.3)]
    assert apart[0] < 1.5 / np.sqrt(8192)
    assert 3 * apart[0] < apart[1] < apart[2]


@pytest.mark.parametrize("seed", range(3))
def test_powers_of_the_broad_density_can_be_divided_by(seed):
    narrow, broad = narrow_and_broad(jax.random.key(seed))
    assert float(narrow.variances.max()) < float(broad.variances.min())


def test_target_and_its_distance_equal_those_of_scipy():
    """Powers of Gaussians are Gaussian; whole weights are repeated particles."""
    narrow = Mixture(jnp.ones(1), jnp.array([[1.0]]), jnp.array([0.2]))
    broad = Mixture(jnp.ones(1), jnp.array([[-0.5]]), jnp.array([1.5]))
    process = diffusion.ve(sigma_min=1e-3, sigma_max=20.0)
    density = question.target_density((narrow, broad), jnp.array([-2.0, 3.0]), process)
    precision = 3 / 0.2 - 2 / 1.5
    exact = norm((3 * 1.0 / 0.2 - 2 * -0.5 / 1.5) / precision, precision**-0.5)
    np.testing.assert_allclose(density, exact.pdf(question.GRID), atol=1e-3)

    x = exact.rvs(300, random_state=0).astype(np.float32) + 0.05
    counts = np.random.default_rng(2).integers(1, 5, size=300)
    got = question.kolmogorov_smirnov(jnp.asarray(x), jnp.asarray(counts / counts.sum(), jnp.float32), density)
    np.testing.assert_allclose(got, kstest(np.repeat(x, counts), exact.cdf).statistic, atol=1e-3)


def test_quick_run(quick_run):
    found = quick_run(question)
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged"}
    rows = {metric: {name: np.array(v) for name, v in row.items()} for metric, row in found["rows"].items()}
    names = [method.name for method in question.METHODS]
    of_samplers = names[1 : names.index("likelihood")]
    assert list(rows["distance_ve_few"]) == ["exact", *of_samplers]
    assert {name: set(rows["score_evaluations"][name]) for name in of_samplers} == {
        name: {20.0} for name in of_samplers
    }
    assert list(rows["flow_error_vp_many"]) == ["euler", "heun", "ddim", "dpm_solver_pp", "mr_ode_3"]
    # The flow on the noise scale is nearly a straight line: what integrates it exactly wins there.
    assert (rows["distance_ve_few"]["dpm_solver_pp"] < 0.5 * rows["distance_ve_few"]["euler"]).all()
    assert (rows["nats_gaussian"]["likelihood"] < 0.1).all()
    assert (rows["nats_flow_mixture"]["likelihood"] < 0.01).all()
    assert (rows["nats_mixture"]["likelihood"] < 0.2 * rows["nats_mixture"]["hutchinson"]).all()
    assert (rows["ks_guided_2"]["fkc"] < rows["ks_guided_2"]["cfg"]).all()
    assert set(rows["ks_power_2.5"]) == {"cfg", "fkc", "fkc_clipped"}
    histogram = np.array(found["curves"]["histogram"]["fkc"])
    np.testing.assert_allclose(histogram.sum(1) * np.diff(question.BINS)[0], 1.0, atol=0.01)


def test_evaluations_that_cannot_be_shared(tmp_path, capsys):
    assert answer(question, ["--evaluations", "10", "15", "--out", str(tmp_path)]) == 2
    assert "must be two or more even numbers, got (10, 15)" in capsys.readouterr().err
