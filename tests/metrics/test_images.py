"""Decibels of images and signals: numpy, known numbers, invariances, limits, masks, bad input."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_squared_error

from jaxlab.metrics import psnr, si_sdr

RNG = np.random.default_rng(0)


def test_psnr_against_the_mean_squared_error():
    a, b = RNG.uniform(-1, 1, (5, 4, 6)).astype(np.float32), RNG.uniform(-1, 1, (5, 4, 6)).astype(np.float32)
    errors = np.array([mean_squared_error(x.ravel(), y.ravel()) for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(psnr(a, b, data_range=2.0), 20 * np.log10(2.0) - 10 * np.log10(errors), rtol=1e-5)
    np.testing.assert_allclose(psnr(a, b), -10 * np.log10(errors), rtol=1e-5)
    np.testing.assert_allclose(psnr(255 * a, 255 * b, data_range=255.0), psnr(a, b), rtol=1e-5)


def test_psnr_of_known_noise():
    a = np.zeros((1, 10), np.float32)
    for decibels in (0.0, 20.0, 40.0):
        np.testing.assert_allclose(psnr(a, a + 10 ** (-decibels / 20)), decibels, atol=1e-4)


def test_psnr_counts_what_is_marked():
    a, b = RNG.normal(size=(3, 4, 2)).astype(np.float32), RNG.normal(size=(3, 4, 2)).astype(np.float32)
    pixels = np.array([[True, True, False, True], [True] * 4, [False] * 4])
    b[~pixels] = np.array([np.nan, 1e30])
    got = psnr(a, b, where=pixels)
    np.testing.assert_allclose(got[:2], [psnr(a[i : i + 1, pixels[i]], b[i : i + 1, pixels[i]])[0] for i in range(2)])
    assert got[2] == 0
    np.testing.assert_array_equal(psnr(a, b, where=np.array([False, True, False])) != 0, [False, True, False])
    gradient = jax.grad(lambda b: jnp.sum(psnr(a, b, where=pixels)))(b)
    np.testing.assert_array_equal(gradient[~pixels], 0.0)
    assert np.isfinite(gradient).all()


def test_the_limits():
    a = RNG.normal(size=(2, 9)).astype(np.float32)
    np.testing.assert_array_equal(psnr(a, a), 100.0)
    np.testing.assert_array_equal(psnr(a, a + 1e-3, limit=40.0), 40.0)
    np.testing.assert_array_equal(si_sdr(3.0 * a, a), 100.0)
    np.testing.assert_array_equal(si_sdr(3.0 * a, a, limit=60.0), 60.0)
    right, zero = jnp.array([[1.0, 0.0]]), jnp.zeros((1, 2))
    for pair in ((right, right[:, ::-1]), (zero, right), (right, zero), (zero, zero)):
        assert si_sdr(*pair) == -100
        for gradient in jax.grad(lambda e, r: jnp.sum(si_sdr(e, r)), argnums=(0, 1))(*pair):
            assert np.isfinite(gradient).all()
    assert np.all(jax.grad(lambda b: jnp.sum(psnr(a, b)))(a) == 0)


def by_hand(e, r):
    e, r = e.astype(np.float64), r.astype(np.float64)
    target = (e @ r) / (r @ r) * r
    return 10 * np.log10((target @ target) / ((target - e) @ (target - e)))


def test_si_sdr_by_hand():
    r = RNG.normal(size=(6, 50)).astype(np.float32)
    e = 0.7 * r + np.geomspace(1e-3, 10.0, 6)[:, None].astype(np.float32) * RNG.normal(size=(6, 50)).astype(np.float32)
    np.testing.assert_allclose(si_sdr(e, r), [by_hand(*pair) for pair in zip(e, r, strict=True)], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(si_sdr(e.reshape(6, 5, 10), r.reshape(6, 5, 10)), si_sdr(e, r), rtol=1e-5)


@pytest.mark.parametrize("scale", [-1.0, 1e-20, 1e20])
def test_si_sdr_does_not_see_scales(scale):
    """Nor signs; squares of these would not fit into float32."""
    r = RNG.normal(size=(3, 20)).astype(np.float32)
    e = r + 0.3 * RNG.normal(size=(3, 20)).astype(np.float32)
    np.testing.assert_allclose(si_sdr(np.float32(scale) * e, r), si_sdr(e, r), rtol=1e-4)
    np.testing.assert_allclose(si_sdr(e, np.float32(scale) * r), si_sdr(e, r), rtol=1e-4)


def test_psnr_sees_scales():
    r = RNG.normal(size=(1, 20)).astype(np.float32)
    assert psnr(2.0 * r, r) < 20
    assert psnr(r, r + 0.1) < psnr(r, r + 0.01)


def test_bad_values_spoil_their_own_row_only():
    a = RNG.normal(size=(3, 4)).astype(np.float32)
    b = a + 0.1
    b[1, 2] = np.nan
    for fn in (psnr, si_sdr):
        np.testing.assert_array_equal(np.isnan(fn(a, b)), [False, True, False])


ONES = jnp.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: psnr(ONES, jnp.ones((2, 4))), ValueError, "a and b must have the same shape"),
        (lambda: psnr(jnp.ones(3), jnp.ones(3)), ValueError, "a must have shape [B, ...]"),
        (lambda: psnr(jnp.ones((2, 0)), jnp.ones((2, 0))), ValueError, "a must have shape [B, ...]"),
        (lambda: psnr(ONES, ONES.astype(int)), TypeError, "b must be floating point"),
        (lambda: psnr(ONES, ONES, data_range=0.0), ValueError, "data_range must be > 0"),
        (lambda: psnr(ONES, ONES, limit=-1.0), ValueError, "limit must be > 0"),
        (lambda: psnr(ONES, ONES, where=jnp.ones(3, bool)), ValueError, "where must have shape [2]"),
        (lambda: psnr(ONES, ONES, where=True), ValueError, "where must have shape [B] or [B, ...]"),
        (lambda: psnr(ONES, ONES, where=jnp.ones(2)), TypeError, "where must be boolean"),
        (lambda: si_sdr(ONES, jnp.ones((3, 3))), ValueError, "estimate and reference must have the same shape"),
        (lambda: si_sdr(ONES.astype(int), ONES), TypeError, "estimate must be floating point"),
        (lambda: si_sdr(ONES, ONES, limit=0.0), ValueError, "limit must be > 0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
