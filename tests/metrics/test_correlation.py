"""Correlations and rank agreement against scipy."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxlab import metrics


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize(("ours", "theirs"), [("spearman", "spearmanr"), ("kendall_tau", "kendalltau")])
def test_ranks_equal_scipy_with_and_without_ties(ours, theirs, levels):
    a, b = np.random.default_rng(0).integers(0, levels, (2, 40)).astype(np.float32)
    where = np.arange(40) % 3 > 0
    wanted = getattr(scipy.stats, theirs)(a[where], b[where]).statistic
    spoiled = np.where(where, a, np.nan).astype(np.float32)
    np.testing.assert_allclose(getattr(metrics, ours)(spoiled, b, where=where), wanted, atol=1e-6)


@pytest.mark.parametrize("measure", [metrics.spearman, metrics.kendall_tau])
def test_infinities_have_a_rank_nan_shows_and_constants_agree_with_nothing(measure):
    a = jnp.array([-jnp.inf, 0.0, 1.0, jnp.inf, jnp.inf])
    assert measure(a, jnp.exp(jnp.clip(a, -5, 5))) == pytest.approx(1.0, abs=1e-6)
    masked = measure(jnp.append(a, 3.0), jnp.append(jnp.clip(a, -5, 5), -7.0), where=jnp.arange(6) < 5)
    assert masked == pytest.approx(1.0, abs=1e-6)
    assert jnp.isnan(measure(a.at[1].set(jnp.nan), a))
    assert measure(jnp.ones(5), a) == 0.0
    assert measure(jnp.ones(0), jnp.ones(0)) == 0.0


def test_precision_at_t():
    values = jnp.array([0.1, 0.5, 0.9, 0.7])
    for t in (1, 2, 3, 4):
        assert metrics.precision_at_t(3.0 * values - 1.0, values, t) == 1.0
        assert metrics.precision_at_t(-values, values, t) == max(0, 2 * t - 4) / t
    # NaN is the worst, also below -inf of a candidate that counts.
    assert metrics.precision_at_t(jnp.array([jnp.nan, -jnp.inf, 1.0]), jnp.array([0.0, 1.0, 2.0]), 2) == 0.5
    assert metrics.precision_at_t(values, values, 2, where=jnp.array([True, False, False, True])) == 1.0


def test_bad_input():
    with pytest.raises(ValueError, match=r"t must be at most the number of candidates 3, got 4"):
        metrics.precision_at_t(jnp.ones(3), jnp.ones(3), 4)
    with pytest.raises(ValueError, match="b"):
        metrics.kendall_tau(jnp.ones(3), jnp.ones(4))
    with pytest.raises(ValueError, match=r"a must have shape \[N\]"):
        metrics.spearman(jnp.ones((3, 2)), jnp.ones((3, 2)))
    with pytest.raises(TypeError, match="values"):
        metrics.precision_at_t(jnp.ones(3), jnp.ones(3, jnp.int32), 1)
