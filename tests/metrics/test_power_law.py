"""Scaling laws: exact recovery, equivariance, and scipy's answer with a floor."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import curve_fit

from jaxlab import metrics

N = np.geomspace(10, 10_000, 8).astype(np.float32)


def test_a_law_is_recovered():
    law = metrics.fit_power_law(N, np.stack([3.0 * N**-0.4, 0.5 * N**0.1]).astype(np.float32))
    np.testing.assert_allclose(law.a, [3.0, 0.5], rtol=1e-4)
    np.testing.assert_allclose(law.b, [0.4, -0.1], rtol=1e-3)
    np.testing.assert_allclose(law.r2, 1.0, atol=1e-5)
    np.testing.assert_array_equal(law.c, 0.0)


def test_it_is_the_line_through_the_logarithms():
    noisy = (3.0 * N**-0.4 * np.exp(0.1 * np.random.default_rng(0).normal(size=N.size))).astype(np.float32)
    law = metrics.fit_power_law(N, noisy)
    slope, intercept = np.polyfit(np.log(N), np.log(noisy), 1)
    np.testing.assert_allclose([law.a, law.b], [np.exp(intercept), -slope], rtol=1e-4)
    np.testing.assert_allclose(law.r2, np.corrcoef(np.log(N), np.log(noisy))[0, 1] ** 2, rtol=1e-4)
    scaled = metrics.fit_power_law(100.0 * N, noisy)
    np.testing.assert_allclose(scaled.b, law.b, rtol=1e-4)
    np.testing.assert_allclose(scaled.a, law.a * 100.0**law.b, rtol=1e-3)


def test_a_floor_is_found_where_a_line_is_wrong():
    values = 5.0 * N**-0.7 + 0.3
    law = metrics.fit_power_law(N, values, offset=True)
    np.testing.assert_allclose([law.a, law.b, law.c], [5.0, 0.7, 0.3], rtol=5e-3)
    theirs, _ = curve_fit(lambda n, a, b, c: np.log(a * n**-b + c), N, np.log(values), p0=[1.0, 0.5, 0.1])
    np.testing.assert_allclose([law.a, law.b, law.c], theirs, rtol=5e-3)
    assert metrics.fit_power_law(N, values).r2 < 0.99 < law.r2


def test_points_beyond_the_law_are_left_out():
    values = np.where(N > 1000, 99.0, 3.0 * N**-0.4).astype(np.float32)
    law = metrics.fit_power_law(N, np.where(N > 1000, -1.0, values), where=N <= 1000)
    np.testing.assert_allclose(law.b, 0.4, rtol=1e-3)


def test_what_has_no_law_is_nan():
    assert jnp.isnan(metrics.fit_power_law(N[:1], np.ones(1, np.float32)).b)
    assert jnp.isnan(metrics.fit_power_law(N[:2], np.ones(2, np.float32), offset=True).b)
    assert jnp.isnan(metrics.fit_power_law(N, np.zeros(8, np.float32)).a)
    with pytest.raises(ValueError, match=r"values \[\.\.\., T\]"):
        metrics.fit_power_law(N, np.ones(7, np.float32))
    with pytest.raises(TypeError, match="values"):
        metrics.fit_power_law(N, np.ones(8, int))
