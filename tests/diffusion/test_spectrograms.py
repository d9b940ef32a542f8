"""Compressed spectrograms: inverses of each other, phases kept, silence."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jaxlab.diffusion import spec_compress, spec_decompress


def spectrogram():
    """The short-time Fourier transform of a chirp, with silent frames before it."""
    signal = np.sin(np.linspace(0.0, 30.0, 400) ** 2) * (np.arange(400) > 150)
    return scipy.signal.stft(signal, nperseg=32)[2].astype(np.complex64)


def test_the_formula():
    x = spectrogram()
    for factor, exponent in ((0.15, 0.5), (0.3, 1.0), (2.0, 0.25)):
        got = spec_compress(x, factor=factor, exponent=exponent)
        want = factor * np.abs(x.astype(complex)) ** exponent * np.exp(1j * np.angle(x.astype(complex)))
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose(spec_decompress(got, factor=factor, exponent=exponent), x, rtol=2e-5, atol=1e-7)
        assert got.dtype == jnp.complex64


def test_the_phase_is_kept_and_quiet_parts_are_raised():
    x = np.exp(1j * np.linspace(-3.0, 3.0, 7)) * np.geomspace(1e-4, 1.0, 7)
    got = np.asarray(spec_compress(x.astype(np.complex64)))
    np.testing.assert_allclose(np.angle(got), np.angle(x), atol=1e-5)
    np.testing.assert_allclose(np.abs(got), 0.15 * np.geomspace(1e-2, 1.0, 7), rtol=1e-5)


def test_silence_stays_silent_and_has_no_gradient():
    x = jnp.array([0.0, 3.0 + 4.0j], jnp.complex64)
    assert spec_compress(x)[0] == 0
    assert spec_decompress(x)[0] == 0
    for fn in (spec_compress, spec_decompress):
        gradient = jax.grad(lambda parts, fn=fn: jnp.sum(jnp.abs(fn(parts[0] + 1j * parts[1]) - 1.0) ** 2))(
            jnp.stack([x.real, x.imag])
        )
        assert np.isfinite(gradient).all()
        np.testing.assert_array_equal(gradient[:, 0], 0.0)
        assert np.abs(gradient[:, 1]).min() > 0


def test_double_precision_is_kept():
    with jax.enable_x64(True):
        x = jnp.asarray(spectrogram().astype(np.complex128))
        there = spec_compress(x)
        assert there.dtype == jnp.complex128
        np.testing.assert_allclose(spec_decompress(there), x, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("fn", [spec_compress, spec_decompress])
def test_bad_input(fn):
    with pytest.raises(TypeError, match="must be complex"):
        fn(jnp.ones(3))
    for name in ("factor", "exponent"):
        with pytest.raises(ValueError, match=re.escape(f"{name} must be > 0")):
            fn(jnp.ones(3, jnp.complex64), **{name: 0.0})
    assert np.isnan(fn(jnp.array([jnp.nan + 0j, 1.0], jnp.complex64))[0])
