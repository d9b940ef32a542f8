"""The scaled noncentral chi-square against scipy: its fit, its distribution function far out, and nats."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxlab import metrics

ERRORS = 0.03 * np.random.default_rng(0).noncentral_chisquare(6.0, 9.0, 50_000).astype(np.float32)


def moments(df, nc, scale):
    return scale * (df + nc), 2 * scale**2 * (df + 2 * nc), 8 * scale**3 * (df + 3 * nc)


def test_fit_has_the_moments_of_the_sample():
    fit = metrics.scaled_ncx2_fit_moments(ERRORS)
    wide = ERRORS.astype(np.float64)
    wanted = wide.mean(), wide.var(), np.mean((wide - wide.mean()) ** 3)
    np.testing.assert_allclose(moments(*(float(part) for part in fit)), wanted, rtol=1e-3)
    assert float(fit.scale) == pytest.approx(0.03, rel=0.1)
    small = metrics.scaled_ncx2_fit_moments(ERRORS * 1e-12)
    np.testing.assert_allclose([small.df, small.nc, small.scale * 1e12], fit, rtol=1e-3)


def test_fit_beyond_the_family_keeps_mean_and_variance():
    for errors, df, nc in (([1.0] * 19 + [2.0], None, 0.0), ([1.0, 3.0, 3.0, 3.0], 0.0, None)):
        fit = metrics.scaled_ncx2_fit_moments(jnp.array(errors))
        assert df is None or float(fit.df) == pytest.approx(df, abs=1e-4)
        assert nc is None or float(fit.nc) == pytest.approx(nc, abs=1e-4)
        mean, variance, _ = moments(*(float(part) for part in fit))
        assert mean == pytest.approx(np.mean(errors), rel=1e-4)
        assert variance == pytest.approx(np.var(errors), rel=1e-4)


log_cdf = jax.jit(metrics.ncx2_log_cdf_approx)
CASES = [(10.0, 5.0), (200.0, 50.0), (1.0, 300.0), (50.0, 0.0), (3.0, 1.0)]


@pytest.mark.parametrize(("df", "nc"), CASES)
def test_saddlepoint_equals_scipy(df, nc):
    mean, spread = df + nc, np.sqrt(2 * (df + 2 * nc))
    x = mean + spread * np.array([-6, -4, -2, -1, -0.1, -1e-3, 0, 1e-3, 0.1, 1, 2])
    x = np.append(np.maximum(x, 0.1 * mean), [0.05 * mean, 0.3 * mean]).astype(np.float32)
    wanted = stats.ncx2.logcdf(x, df, nc) if nc else stats.chi2.logcdf(x, df)
    np.testing.assert_allclose(log_cdf(x, df, nc, 1.0), wanted, rtol=0.02 if df == 3 else 3e-3)
    np.testing.assert_allclose(log_cdf(0.1 * x, df, nc, 0.1), wanted, rtol=0.02)


def test_no_underflow_where_scipy_has_it():
    x = np.float32([70.0, 700.0])
    assert np.isinf(stats.ncx2.logcdf(x, 2000, 1500)).all()
    far = np.asarray(metrics.ncx2_log_cdf_approx(x, 2000.0, 1500.0))
    assert np.isfinite(far).all()
    # Chernoff's bound, which is sharp up to the logarithm of the number of standard deviations.
    u = 2 * x / (2000 + np.sqrt(2000**2 + 4 * 1500 * x))
    bound = -0.5 * (1500 * (u - 1) ** 2 + 2000 * (u - 1 - np.log(u)))
    assert (far < bound).all()
    np.testing.assert_allclose(far, bound, rtol=0.02)


def test_sankaran_is_the_published_formula():
    df, nc, x = 20.0, 12.0, np.array([2.0, 5.0, 12.0])
    h = 1 - 2 / 3 * (df + nc) * (df + 3 * nc) / (df + 2 * nc) ** 2
    p = (df + 2 * nc) / (df + nc) ** 2
    m = (h - 1) * (1 - 3 * h)
    z = ((x / (df + nc)) ** h - (1 + h * p * (h - 1 - 0.5 * (2 - h) * m * p))) / (
        h * np.sqrt(2 * p) * (1 + 0.5 * m * p)
    )
    found = metrics.ncx2_log_cdf_approx(x.astype(np.float32), df, nc, method="sankaran")
    np.testing.assert_allclose(found, -(z**2) / 2, rtol=1e-4)
    exact = stats.ncx2.logcdf(x, df, nc)
    assert np.all(np.asarray(found) > 0.9 * exact)  # rough, and always on the same side
    assert metrics.ncx2_log_cdf_approx(jnp.array(60.0), df, nc, method="sankaran") == 0


def test_log_cdf_at_zero_and_its_slope():
    assert metrics.ncx2_log_cdf_approx(jnp.array(0.0), 3.0, 1.0) == -jnp.inf
    assert metrics.ncx2_log_cdf_approx(jnp.array(-1.0), 3.0, 1.0) == -jnp.inf
    x = np.float32([3.0, 14.9, 15.0, 15.1, 25.0])
    slope = jax.jit(jax.vmap(jax.grad(lambda x: metrics.ncx2_log_cdf_approx(x, 10.0, 5.0))))(
        np.append(x, np.float32(0))
    )
    assert slope[-1] == 0
    slope = slope[:-1]
    np.testing.assert_allclose(slope, stats.ncx2.pdf(x, 10, 5) / stats.ncx2.cdf(x, 10, 5), rtol=0.02)


@pytest.mark.parametrize("target", [0.05, 0.1, 0.2, 0.5])
def test_nats_equal_scipy_on_errors_of_the_family(target):
    wanted = -stats.ncx2.logcdf(target / 0.03, 6.0, 9.0)
    assert float(metrics.inductive_bias_from_errors(ERRORS, target)) == pytest.approx(wanted, rel=0.1)
    if target == 0.5:
        counted = np.mean(target >= ERRORS)
        assert wanted == pytest.approx(-np.log(counted), rel=0.05)


def test_nats_fall_with_the_target():
    nats = np.asarray([metrics.inductive_bias_from_errors(ERRORS, t) for t in (1e-6, 0.01, 0.1, 1.0, 100.0)])
    assert np.all(np.diff(nats) < 0)
    assert nats[-1] == pytest.approx(0, abs=1e-5)
    batch = metrics.inductive_bias_from_errors(np.stack([ERRORS[:999], 2 * ERRORS[:999]]), jnp.array([0.1, 0.2]))
    np.testing.assert_allclose(batch[0], batch[1], rtol=1e-3)


def test_errors_that_are_all_the_same():
    same = jnp.full(20, 0.3)
    assert metrics.inductive_bias_from_errors(same, 0.4) == 0
    assert metrics.inductive_bias_from_errors(same, 0.2) == jnp.inf
    fit = metrics.scaled_ncx2_fit_moments(same)
    assert fit.scale == 0
    assert np.isnan([fit.df, fit.nc]).all()


BAD = [
    (lambda: metrics.scaled_ncx2_fit_moments(jnp.array(1.0)), ValueError, "errors must have shape"),
    (lambda: metrics.scaled_ncx2_fit_moments(jnp.arange(3)), TypeError, "errors must be floating"),
    (
        lambda: metrics.ncx2_log_cdf_approx(jnp.array(1.0), 1.0, 1.0, method="exact"),
        ValueError,
        "method must be one of",
    ),
    (lambda: metrics.ncx2_log_cdf_approx(jnp.ones(2), jnp.ones(3), 1.0), ValueError, "must broadcast"),
    (lambda: metrics.ncx2_log_cdf_approx(1, 1.0, 1.0), TypeError, "x must be floating"),
    (lambda: metrics.inductive_bias_from_errors(jnp.ones(3), 1.0, method="exact"), ValueError, "method"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
