"""Losses of a single layer: their values, their derivatives, and that nothing crosses a layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from jaxlab import losses, nn

RNG = np.random.default_rng(0)
POS, NEG = RNG.normal(size=(2, 6, 4)).astype(np.float32)
AXIS = RNG.normal(size=4).astype(np.float32)


def cosine(a, b):
    return (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))


def test_noprop_is_the_weighted_square():
    gain = RNG.uniform(0.5, 2.0, 6).astype(np.float32)
    found = losses.noprop_dt(POS, NEG, gain, num_blocks=10, eta=0.3)
    np.testing.assert_allclose(found, 0.5 * 10 * 0.3 * gain * ((POS - NEG) ** 2).sum(1), rtol=1e-5)


def test_gradients_of_noprop_never_cross_blocks():
    """Of every block's loss by every block's parameters, only the diagonal is not zero, and there it is exactly."""
    make = lambda key: nn.noprop_block_init(key, inputs=4, embedding=3, width=5, num_classes=3)  # noqa: E731
    params = jax.jit(jax.vmap(make))(jax.random.split(jax.random.key(0), 3))
    z, u = RNG.normal(size=(3, 6, 3)).astype(np.float32), np.eye(3, dtype=np.float32)[np.arange(6) % 3]

    def block_losses(params):
        logits = jax.vmap(nn.noprop_block, in_axes=(0, None, 0))(params, POS, z)
        guess = jax.nn.softmax(logits)
        return jax.vmap(lambda guess: jnp.mean(losses.noprop_dt(guess, u, 1.0, num_blocks=3)))(guess)

    for leaf in jax.tree.leaves(jax.jit(jax.jacrev(block_losses))(params)):
        size = np.abs(np.asarray(leaf)).reshape(3, 3, -1).max(-1)
        assert (size[~np.eye(3, dtype=bool)] == 0).all()
        assert (np.diag(size) > 0).all()


def test_forward_forward_value_and_slope():
    g_pos, g_neg = np.abs(POS[:, 0]), np.abs(NEG[:, 0])
    expected = np.log1p(np.exp(1.5 - g_pos)) + np.log1p(np.exp(g_neg - 1.5))
    np.testing.assert_allclose(losses.forward_forward(g_pos, g_neg, threshold=1.5), expected, rtol=1e-5)
    slope = jax.grad(lambda g: jnp.sum(losses.forward_forward(g, g_neg)))(g_pos)
    np.testing.assert_allclose(slope, -1 / (1 + np.exp(-(2.0 - g_pos))), rtol=1e-5)
    np.testing.assert_allclose(losses.forward_forward(jnp.array(1e30), jnp.array(-1e30)), 0.0)


def test_contrastive_cosine_by_pairs():
    np.testing.assert_allclose(
        losses.contrastive_cosine(POS, NEG, scale=3.0), np.log1p(np.exp(3 * cosine(POS, NEG))), rtol=1e-5
    )
    opposite, orthogonal = (
        losses.contrastive_cosine(POS, -2 * POS),
        losses.contrastive_cosine(POS[:1] * [1, 0, 0, 0], AXIS[None] * [0, 1, 1, 1]),
    )
    np.testing.assert_allclose(opposite, np.log1p(np.exp(-5.0)), rtol=1e-4)
    np.testing.assert_allclose(orthogonal, np.log(2), rtol=1e-5)


def test_contrastive_cosine_along_a_direction():
    delta = cosine(POS, AXIS) - cosine(NEG, AXIS)
    found = losses.contrastive_cosine(POS, NEG, AXIS, scale=4.0)
    np.testing.assert_allclose(found, np.log1p(np.exp(-4 * delta)), rtol=1e-5)
    # The better the right label fits and the worse the wrong one, the smaller.
    assert (np.argsort(found) == np.argsort(-delta)).all()
    np.testing.assert_allclose(losses.contrastive_cosine(POS, POS, AXIS), np.full(6, np.log(2)), rtol=1e-6)


@pytest.mark.parametrize("direction", [None, AXIS])
def test_contrastive_cosine_ignores_the_scale_of_responses(direction):
    plain = losses.contrastive_cosine(POS, NEG, direction)
    np.testing.assert_allclose(losses.contrastive_cosine(7 * POS, 1e-3 * NEG, direction), plain, rtol=1e-5)
    zero = np.zeros_like(POS)
    value, slope = jax.value_and_grad(lambda y: jnp.sum(losses.contrastive_cosine(y, NEG, direction)))(zero)
    assert np.isfinite(value)
    np.testing.assert_array_equal(slope, zero)


def test_gaussian_kl_equals_a_sample_mean_and_is_accurate_when_small():
    mean, log_var = POS[0], np.array([0.3, -0.5, 0.0, 0.8], np.float32)
    law = multivariate_normal(mean, np.diag(np.exp(log_var)))
    drawn = law.rvs(200_000, random_state=0)
    estimate = (law.logpdf(drawn) - multivariate_normal(np.zeros(4)).logpdf(drawn)).mean()
    assert float(losses.gaussian_kl(mean, log_var)) == pytest.approx(estimate, rel=0.01)
    assert float(losses.gaussian_kl(jnp.zeros(2), jnp.full(2, 1e-3))) == pytest.approx(0.5e-6, rel=1e-2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: losses.noprop_dt(POS, NEG[:2], 1.0, num_blocks=2), ValueError, "same shape"),
        (lambda: losses.noprop_dt(POS, NEG, 1.0, num_blocks=0), ValueError, "num_blocks"),
        (lambda: losses.noprop_dt(jnp.array(1.0), jnp.array(1.0), 1.0, num_blocks=1), ValueError, r"\[..., D\]"),
        (lambda: losses.noprop_dt(jnp.arange(3), POS[0], 1.0, num_blocks=1), TypeError, "prediction must be float"),
        (lambda: losses.forward_forward(POS, NEG[0]), ValueError, "same shape"),
        (lambda: losses.forward_forward(jnp.arange(3), NEG), TypeError, "g_pos must be floating point"),
        (lambda: losses.contrastive_cosine(POS, NEG[:3]), ValueError, "same shape"),
        (lambda: losses.contrastive_cosine(POS, NEG, AXIS[:2]), ValueError, r"direction must have shape \[4\]"),
        (lambda: losses.contrastive_cosine(jnp.array(1.0), jnp.array(1.0)), ValueError, r"\[..., D\]"),
        (lambda: losses.gaussian_kl(POS, NEG[:2]), ValueError, "roadcast"),
        (lambda: losses.gaussian_kl(jnp.arange(3), AXIS), TypeError, "mean must be floating point"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
