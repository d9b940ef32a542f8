"""Losses of unnormalised densities: their minima, formulas in scipy, masks, members of a mesh, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logsumexp

from jaxlab import losses

RNG = np.random.default_rng(0)
DATA, DATA_Q, NOISE, NOISE_Q = (RNG.normal(size=size).astype(np.float32) for size in (6, 6, 8, 8))
nce = jax.jit(losses.nce)
nll = jax.jit(losses.monte_carlo_nll)


def test_equal_their_formulas():
    shift = 0.3 + np.log(2.0)
    on_data, on_noise = expit(-DATA - shift - DATA_Q), expit(-NOISE - shift - NOISE_Q)
    expected = -np.log(on_data).mean() - 2 * np.log(1 - on_noise).mean()
    np.testing.assert_allclose(nce(DATA, DATA_Q, NOISE, NOISE_Q, 0.3, ratio=2.0), expected, rtol=1e-5)
    expected = DATA.mean() + logsumexp(-NOISE - NOISE_Q) - np.log(8)
    np.testing.assert_allclose(nll(DATA, NOISE, NOISE_Q), expected, rtol=1e-5)


def test_a_perfect_density_makes_noise_of_its_own_worthless():
    # The model is the noise: every answer is a coin toss, and the normaliser is found in one draw.
    log_z = np.float32(1.7)
    energy = -NOISE_Q - log_z
    np.testing.assert_allclose(nce(-DATA_Q - log_z, DATA_Q, energy, NOISE_Q, log_z), 2 * np.log(2), rtol=1e-6)
    gradient = jax.grad(nce, argnums=4)(-DATA_Q - log_z, DATA_Q, energy, NOISE_Q, log_z)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    np.testing.assert_allclose(nll(DATA, energy, NOISE_Q) - DATA.mean(), log_z, rtol=1e-5)


def test_the_likelihood_of_a_gaussian():
    rng = np.random.default_rng(1)
    x, z = rng.normal(1.0, 1.0, 50).astype(np.float32), rng.normal(0.0, 3.0, 200_000).astype(np.float32)
    log_q = -(z**2) / 18 - np.log(3 * np.sqrt(2 * np.pi)).astype(np.float32)
    gradient = jax.grad(lambda theta: nll((x - theta) ** 2 / 2, (z - theta) ** 2 / 2, log_q))(0.4)
    np.testing.assert_allclose(gradient, 0.4 - x.mean(), atol=0.02)


def test_energies_far_beyond_the_exponential():
    far = 1e3 * np.sign(NOISE)
    for fn in (lambda e: nll(1e3 * DATA, e, NOISE_Q), lambda e: nce(1e3 * DATA, DATA_Q, e, NOISE_Q, 0.0)):
        value, gradient = jax.value_and_grad(fn)(jnp.asarray(far))
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_rows_that_do_not_count():
    here, drawn = np.arange(6) % 3 > 0, np.arange(8) % 2 > 0
    dirty = [np.where(mask, value, np.nan) for mask, value in ((here, DATA), (here, DATA_Q), (drawn, NOISE))]
    masks = {"where": here, "noise_where": drawn}
    part = nce(DATA[here], DATA_Q[here], NOISE[drawn], NOISE_Q[drawn], 0.3)
    np.testing.assert_allclose(nce(*dirty, NOISE_Q, 0.3, **masks), part, rtol=1e-5)
    part = nll(DATA[here], NOISE[drawn], NOISE_Q[drawn])
    np.testing.assert_allclose(nll(dirty[0], dirty[2], NOISE_Q, **masks), part, rtol=1e-5)
    gradient = jax.grad(lambda e: nll(DATA, e, NOISE_Q, noise_where=drawn))(jnp.asarray(dirty[2]))
    np.testing.assert_array_equal(np.asarray(gradient)[~drawn], 0)
    assert np.isfinite(gradient).all()
    none = {"where": np.zeros(6, bool), "noise_where": np.zeros(8, bool)}
    assert nll(DATA, NOISE, NOISE_Q, **none) == nce(DATA, DATA_Q, NOISE, NOISE_Q, 0.3, **none) == 0


def test_rows_split_over_a_mapped_axis():
    here, drawn = np.arange(6) > 0, np.arange(8) % 3 > 0  # members count unlike many
    halves = [value.reshape(2, -1) for value in (DATA, DATA_Q, NOISE, NOISE_Q, here, drawn)]

    def split(fn, *order):
        return jax.vmap(functools.partial(fn, axis_name="i"), axis_name="i")(*(halves[i] for i in order))

    def classify(e, q, ze, zq, w, nw, axis_name=None):
        return losses.nce(e, q, ze, zq, jnp.float32(0.3), where=w, noise_where=nw, axis_name=axis_name)

    def likelihood(e, ze, zq, w, nw, axis_name=None):
        return losses.monte_carlo_nll(e, ze, zq, where=w, noise_where=nw, axis_name=axis_name)

    whole = classify(DATA, DATA_Q, NOISE, NOISE_Q, here, drawn)
    np.testing.assert_allclose(split(classify, *range(6)), [whole] * 2, rtol=1e-5)
    whole = likelihood(DATA, NOISE, NOISE_Q, here, drawn)
    np.testing.assert_allclose(split(likelihood, 0, 2, 3, 4, 5), [whole] * 2, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data_energy": DATA[:, None]}, ValueError, "data_energy must have"),
        ({"data_log_q": DATA_Q[:5]}, ValueError, "data_log_q and data_energy must have the same shape"),
        ({"noise_log_q": NOISE_Q[:5]}, ValueError, "noise_log_q and noise_energy must have the same shape"),
        ({"noise_energy": np.arange(8)}, TypeError, "noise_energy must be floating point"),
        ({"log_z": jnp.zeros(1)}, ValueError, "log_z must have"),
        ({"ratio": 0.0}, ValueError, "ratio must be > 0"),
        ({"where": np.ones(5, bool)}, ValueError, "where must have shape"),
        ({"noise_where": np.ones(8)}, TypeError, "noise_where must be boolean"),
    ],
)
def test_bad_input(change, error, words):
    given = {"data_energy": DATA, "data_log_q": DATA_Q, "noise_energy": NOISE, "noise_log_q": NOISE_Q, "log_z": 0.0}
    with pytest.raises(error, match=words):
        losses.nce(**(given | change))
    if change.keys() & {"data_log_q", "log_z", "ratio"}:
        return
    given = {name: value for name, value in given.items() if name not in ("data_log_q", "log_z")}
    with pytest.raises(error, match=words):
        losses.monte_carlo_nll(**(given | change))
