"""Numbers as waves."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nn

rng = np.random.default_rng(0)


def test_the_waves_are_those_of_the_formula():
    t = np.array([[0.0, 1.0, 17.5], [250.0, 999.0, -3.0]])
    got = nn.sinusoidal_embedding(t, dim=10, max_period=500.0)
    omega = 500.0 ** (-np.arange(5) / 5)
    expected = np.concatenate([np.sin(t[..., None] * omega), np.cos(t[..., None] * omega)], -1)
    assert got.shape == (2, 3, 10)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(got, axis=-1), 5**0.5, rtol=1e-5)


def test_places_in_space_as_published():
    """Axis by axis in the order y, x, z; at every wavelength the sine, then the cosine."""
    features, temperature = 6, 1e4
    coords = np.random.default_rng(1).uniform(size=(4, 3))
    wanted = []
    for axis in (1, 0, 2):
        angles = 2 * np.pi * coords[:, axis, None] / temperature ** (2 * (np.arange(features) // 2) / features)
        wanted.append(np.where(np.arange(features) % 2, np.cos(angles), np.sin(angles)))
    places = 2 * jnp.pi * jnp.float32(coords)[:, jnp.array([1, 0, 2])]
    got = nn.sinusoidal_embedding(places, dim=features, interleaved=True).reshape(4, 3 * features)
    np.testing.assert_allclose(got, np.concatenate(wanted, axis=1), atol=1e-5)


def test_shifts_are_rotations():
    """The inner product of two positions depends on their distance alone."""
    waves = np.asarray(nn.sinusoidal_embedding(jnp.arange(20), dim=16))
    gram = waves @ waves.T
    for distance in (1, 7):
        products = np.diagonal(gram, distance)
        np.testing.assert_allclose(products, products[0], atol=1e-3)
        assert products[0] < gram[0, 0] - 0.1


def test_integers_and_narrow_floats_are_computed_in_float32():
    np.testing.assert_array_equal(
        nn.sinusoidal_embedding(jnp.arange(5), dim=4), nn.sinusoidal_embedding(jnp.arange(5.0), dim=4)
    )
    assert nn.sinusoidal_embedding(jnp.ones(2, jnp.bfloat16), dim=4).dtype == jnp.float32


def test_fourier_features_are_the_formula_for_points_and_for_numbers():
    x, basis = rng.normal(size=(6, 3)), rng.normal(size=(3, 8))
    got = nn.fourier_features(x.astype(np.float32), basis.astype(np.float32))
    turns = 2 * np.pi * x @ basis
    np.testing.assert_allclose(got, np.concatenate([np.cos(turns), np.sin(turns)], -1), atol=1e-5)
    w = np.linspace(0.0, 4.0, 6, dtype=np.float32)
    numbers = nn.fourier_features(w, basis[0].astype(np.float32))
    np.testing.assert_allclose(numbers[:, :8], np.cos(2 * np.pi * w[:, None] * basis[0]), atol=1e-5)
    np.testing.assert_allclose(numbers, nn.fourier_features(w[:, None], basis[:1].astype(np.float32)), atol=1e-6)


def test_fourier_features_of_normal_frequencies_are_a_gaussian_kernel():
    basis = 0.3 * jax.random.normal(jax.random.key(0), (2, 20000))
    x = np.array([[0.0, 0.0], [0.5, -0.2], [1.0, 1.0]], np.float32)
    features = np.asarray(nn.fourier_features(x, basis), np.float64)
    distance = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.testing.assert_allclose(
        features @ features.T / 20000, np.exp(-0.5 * (2 * np.pi * 0.3) ** 2 * distance), atol=0.02
    )


BAD = {
    "odd": (lambda: nn.sinusoidal_embedding(1.0, dim=5), ValueError, "dim must be a multiple of 2"),
    "no dim": (lambda: nn.sinusoidal_embedding(1.0, dim=0), ValueError, "dim must be"),
    "period": (lambda: nn.sinusoidal_embedding(1.0, dim=2, max_period=1.0), ValueError, "max_period must be > 1"),
    "boolean": (lambda: nn.sinusoidal_embedding(True, dim=2), TypeError, "t must be floating"),
    "frequencies": (lambda: nn.fourier_features(jnp.ones(2), 1.0), ValueError, "frequencies must have shape [F] or [D"),
    "columns": (lambda: nn.fourier_features(jnp.ones((2, 3)), jnp.ones((2, 4))), ValueError, "[..., 2]"),
    "a number": (lambda: nn.fourier_features(1.0, jnp.ones((1, 4))), ValueError, "x must have shape [..., 1]"),
    "integers": (lambda: nn.fourier_features(jnp.arange(3), jnp.ones(4)), TypeError, "x must be floating"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
