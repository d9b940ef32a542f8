"""Losses on the distance from a frozen reference."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_expit

from jaxlab import losses

rng = np.random.default_rng(0)
POS, REF_POS, NEG, REF_NEG = rng.normal(size=(4, 6)).astype(np.float32) * 30
BETA, LAM = 0.02, 300.0


def slopes(loss_fn):
    """Gradients of the summed loss by all four log probabilities."""
    return jax.grad(lambda *a: jnp.sum(loss_fn(*a)), argnums=(0, 1, 2, 3))


def test_cca_is_the_formula():
    mixed = np.arange(6) % 3 == 0
    gap, away = POS - REF_POS, NEG - REF_NEG
    weight, sign = np.where(mixed, 1.0, LAM), np.where(mixed, 1.0, -1.0)
    expected = -log_expit(BETA * gap) - weight * log_expit(BETA * sign * away)
    got = losses.cca(POS, REF_POS, NEG, REF_NEG, beta=BETA, scale=LAM, negative_is_positive=mixed)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    plain = losses.cca(POS, REF_POS, NEG, REF_NEG, beta=BETA, scale=LAM)
    np.testing.assert_allclose(plain, -log_expit(BETA * gap) - LAM * log_expit(-BETA * away), rtol=1e-5)


def test_cca_at_the_reference():
    same = losses.cca(POS, POS, NEG, NEG, beta=BETA, scale=LAM)
    np.testing.assert_allclose(same, (1 + LAM) * np.log(2), rtol=1e-6)
    pos, ref_pos, neg, ref_neg = slopes(lambda *a: losses.cca(*a, beta=BETA, scale=LAM))(POS, POS, NEG, NEG)
    np.testing.assert_allclose(pos, -BETA / 2, rtol=1e-5)
    np.testing.assert_allclose(neg, LAM * BETA / 2, rtol=1e-5)
    np.testing.assert_array_equal(ref_pos, 0.0)  # references are frozen
    np.testing.assert_array_equal(ref_neg, 0.0)
    both = slopes(lambda *a: losses.cca(*a, beta=BETA, scale=LAM, negative_is_positive=np.ones(6, bool)))
    np.testing.assert_allclose(both(POS, POS, NEG, NEG)[2], -BETA / 2, rtol=1e-5)  # attracts, with weight 1


def test_cca_for_small_beta_is_likelihood_against_unlikelihood():
    beta = 1e-5
    pos, _, neg, _ = slopes(lambda *a: losses.cca(*a, beta=beta, scale=LAM) / beta)(POS, REF_POS, NEG, REF_NEG)
    np.testing.assert_allclose(pos, -0.5, rtol=1e-3)
    np.testing.assert_allclose(neg, LAM * 0.5, rtol=1e-3)


def test_the_optimum_of_cca_is_the_posterior_ratio():
    # Of one x under one condition: positive with probability p(x|c), negative with p(x), at one gap.
    given, anyhow, beta, lam = 0.3, 0.05, 0.5, 4.0

    def expected(gap):
        return float(
            given * losses.cca(gap, 0.0, 0.0, 0.0, beta=beta, scale=lam)
            + anyhow * losses.cca(0.0, 0.0, gap, 0.0, beta=beta, scale=lam)
        )

    best = minimize_scalar(expected, bounds=(-10, 10), method="bounded", options={"xatol": 1e-4}).x
    np.testing.assert_allclose(best, np.log(given / (lam * anyhow)) / beta, atol=2e-2)


def test_dpo_is_the_formula_and_couples_the_two_gaps():
    got = losses.dpo(POS, REF_POS, NEG, REF_NEG, beta=0.1)
    np.testing.assert_allclose(got, -log_expit(0.1 * (POS - REF_POS - NEG + REF_NEG)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(losses.dpo(POS, POS, NEG, NEG, beta=0.1), np.log(2), rtol=1e-6)
    moved = losses.dpo(POS + 7.0, REF_POS, NEG + 7.0, REF_NEG, beta=0.1)  # a common shift costs nothing, unlike in CCA
    np.testing.assert_allclose(moved, got, rtol=1e-3, atol=1e-5)
    assert (
        np.abs(losses.cca(POS + 7.0, REF_POS, NEG + 7.0, REF_NEG) - losses.cca(POS, REF_POS, NEG, REF_NEG)) > 1
    ).all()
    pos, ref_pos, neg, ref_neg = slopes(lambda *a: losses.dpo(*a, beta=0.1))(POS, POS, NEG, NEG)
    np.testing.assert_allclose([pos, neg], [[-0.05] * 6, [0.05] * 6], rtol=1e-5)
    np.testing.assert_array_equal([ref_pos, ref_neg], 0.0)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_gaps_stay_finite_and_monotone(size):
    for loss_fn in (losses.cca, losses.dpo):
        values = loss_fn(jnp.full(2, size), jnp.zeros(2), jnp.full(2, -size), jnp.zeros(2), beta=1.0)
        assert np.isfinite(values).all()
        grads = slopes(loss_fn)(jnp.array([size, 0.0]), jnp.zeros(2), jnp.array([size, 0.0]), jnp.zeros(2))
        assert (np.asarray(grads[0]) <= 0).all()
        assert (np.asarray(grads[2]) >= 0).all()


ARGS = (POS, REF_POS, NEG, REF_NEG)
BAD = {
    "beta": (lambda: losses.cca(*ARGS, beta=0.0), ValueError, "beta must be > 0"),
    "scale": (lambda: losses.cca(*ARGS, scale=-1.0), ValueError, "scale must be > 0"),
    "dpo beta": (lambda: losses.dpo(*ARGS, beta=-1.0), ValueError, "beta must be > 0"),
    "reference": (lambda: losses.cca(POS, REF_POS[:2], NEG, REF_NEG), ValueError, "log_prob_pos and ref_pos"),
    "pairs": (lambda: losses.dpo(POS, REF_POS, NEG[:2], REF_NEG[:2]), ValueError, "log_prob_win and log_prob_lose"),
    "mask": (lambda: losses.cca(*ARGS, negative_is_positive=np.ones(6)), TypeError, "must be boolean"),
    "integers": (lambda: losses.dpo(jnp.arange(6), *ARGS[1:]), TypeError, "log_prob_win must be floating"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
