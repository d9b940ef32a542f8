"""NoProp's schedules: the marginals of the chain, the telescope of its weights, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import diffusion, losses

KINDS = ("cosine", "linear")


@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_products_from_the_end_and_grow(kind):
    alpha, alpha_bar = diffusion.noprop_schedule(6, kind=kind)
    products = np.cumprod(np.asarray(alpha)[::-1])[::-1]
    np.testing.assert_allclose(alpha_bar, products, atol=1e-6)
    assert alpha_bar[0] == 0
    assert alpha_bar[-1] == pytest.approx(1 - 1e-4, abs=1e-6)
    snr = np.asarray(alpha_bar / (1 - alpha_bar), float)
    gains = np.diff(snr)
    assert (gains > 0).all()
    assert gains.sum() == pytest.approx(snr[-1], rel=1e-5)


def test_cosine_is_that_of_improved_ddpm_run_backwards():
    _, found = diffusion.noprop_schedule(5)
    np.testing.assert_allclose(found[:-1], np.cos((1 - np.arange(5) / 5) * np.pi / 2) ** 2, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_keep_mean_and_variance(kind):
    alpha, alpha_bar = (np.asarray(part, float) for part in diffusion.noprop_schedule(7, kind=kind))
    output, skip, variance = (np.asarray(part, float) for part in diffusion.noprop_step_coefficients(alpha, alpha_bar))
    np.testing.assert_allclose(output + skip * np.sqrt(alpha_bar[:-1]), np.sqrt(alpha_bar[1:]), atol=1e-6)
    np.testing.assert_allclose(skip**2 * (1 - alpha_bar[:-1]) + variance, 1 - alpha_bar[1:], atol=1e-6)
    assert (variance > 0).all()


def test_blocks_that_know_the_label_walk_through_the_states_they_were_trained_on():
    schedule = diffusion.noprop_schedule(4)
    steps = diffusion.noprop_step_coefficients(*schedule)
    rng, u = np.random.default_rng(0), np.array([1.0, -2.0])
    z = rng.normal(size=(40_000, 2))
    for t, (a, b, c) in enumerate(zip(*map(np.asarray, steps), strict=True), 1):
        z = a * u + b * z + np.sqrt(c) * rng.normal(size=z.shape)
        share = float(schedule.alpha_bar[t])
        np.testing.assert_allclose(z.mean(0), np.sqrt(share) * u, atol=0.02)
        np.testing.assert_allclose(z.std(0), np.sqrt(1 - share), atol=0.02)


def test_prior_term_is_the_kl_of_the_first_state():
    rng, share = np.random.default_rng(1), 0.2
    u = rng.normal(size=(3, 4)).astype(np.float32)
    found = losses.gaussian_kl(np.sqrt(share, dtype=np.float32) * u, jnp.full((1, 4), np.log(1 - share)))
    squares = share * (u**2).sum(1)
    np.testing.assert_allclose(found, 0.5 * (squares + 4 * (1 - share) - 4 - 4 * np.log(1 - share)), rtol=1e-5)
    np.testing.assert_array_equal(losses.gaussian_kl(0.0 * u, jnp.zeros((1, 4))), np.zeros(3))


def test_a_perfect_velocity_reaches_the_embedding_in_one_step():
    rng = np.random.default_rng(2)
    z, u = rng.normal(size=(2, 5, 3)).astype(np.float32)
    velocity = u - z
    # The library's flow runs from data to noise, so the noise of the label comes where it has data.
    np.testing.assert_allclose(diffusion.flow_matching(velocity, z, u), np.zeros(5), atol=1e-12)
    np.testing.assert_allclose(z + velocity, u, rtol=1e-6, atol=1e-6)
    assert float(diffusion.flow_matching(velocity, u, z).min()) > 0


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_learned_schedule_increases_whatever_its_parameters(spread):
    start = diffusion.noprop_noise_init(jax.random.key(0), hidden=5, log_snr=(-3.0, 4.0))
    rng = np.random.default_rng(3)
    params = {name: value + spread * rng.normal(size=value.shape).astype(np.float32) for name, value in start.items()}
    params |= {"low": start["low"], "span": start["span"]}
    t = jnp.linspace(0.0, 1.0, 101)
    noise = diffusion.noprop_noise(params, t)
    assert (np.diff(noise.snr) >= 0).all()
    assert (np.asarray(noise.snr_slope) >= 0).all()
    np.testing.assert_allclose(np.log(noise.snr[jnp.array([0, -1])]), [-3, 4], atol=1e-4)
    np.testing.assert_allclose(noise.alpha_bar, noise.snr / (1 + noise.snr), rtol=1e-4)


def test_slope_is_the_derivative():
    params = diffusion.noprop_noise_init(jax.random.key(1), hidden=4)
    t, h = np.linspace(0.1, 0.9, 5).astype(np.float32), 1e-2
    low, mid, high = (diffusion.noprop_noise(params, t + step) for step in (-h, 0.0, h))
    np.testing.assert_allclose(mid.snr_slope, (high.snr - low.snr) / (2 * h), rtol=1e-2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: diffusion.noprop_schedule(0), ValueError, "num_blocks must be an integer of at least 1"),
        (lambda: diffusion.noprop_schedule(2.0), TypeError, "num_blocks must be a static integer"),
        (lambda: diffusion.noprop_schedule(2, kind="sine"), ValueError, "kind must be one of"),
        (lambda: diffusion.noprop_step_coefficients(jnp.ones(3), jnp.ones(4)), ValueError, "same shape"),
        (lambda: diffusion.noprop_step_coefficients(jnp.ones(1), jnp.ones(1)), ValueError, "T >= 1"),
        (lambda: diffusion.noprop_step_coefficients(jnp.ones(3, int), jnp.ones(3)), TypeError, "alpha must be float"),
        (lambda: diffusion.noprop_noise_init(jax.random.key(0), hidden=0), ValueError, "hidden must be"),
        (lambda: diffusion.noprop_noise_init(jax.random.key(0), log_snr=(2.0, 1.0)), ValueError, "must increase"),
        (
            lambda: diffusion.noprop_noise(diffusion.noprop_noise_init(jax.random.key(0)), jnp.arange(2)),
            TypeError,
            "t must be floating point",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
