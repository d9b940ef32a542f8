"""Wavelet bands."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from jaxlab import vision

X = np.random.default_rng(7).normal(size=(2, 4, 6, 3)).astype(np.float32)
LOW, HIGH = np.array([1.0, 1.0]) / np.sqrt(2), np.array([-1.0, 1.0]) / np.sqrt(2)


def test_each_band_is_its_filter_with_stride_two():
    bands = vision.haar_dwt(X)
    for name, rows, columns in (("ll", LOW, LOW), ("lh", LOW, HIGH), ("hl", HIGH, LOW), ("hh", HIGH, HIGH)):
        filtered = correlate2d(X[1, :, :, 2], np.outer(rows, columns), mode="valid")[::2, ::2]
        np.testing.assert_allclose(getattr(bands, name)[1, :, :, 2], filtered, rtol=1e-5, atol=1e-6)


def test_the_transform_is_orthogonal():
    bands = vision.haar_dwt(X)
    np.testing.assert_allclose(sum(np.sum(np.square(band)) for band in bands), np.sum(X**2), rtol=1e-5)
    np.testing.assert_allclose(vision.haar_idwt(bands), X, atol=1e-6)
    other = vision.haar_dwt(X[::-1])
    product = sum(np.sum(np.asarray(a) * np.asarray(b)) for a, b in zip(bands, other, strict=True))
    np.testing.assert_allclose(product, np.sum(X * X[::-1]), rtol=1e-4)


def test_high_frequencies_are_the_sum_of_the_details():
    bands = vision.haar_dwt(X)
    np.testing.assert_allclose(vision.high_frequency(X), bands.lh + bands.hl + bands.hh, rtol=1e-6)
    np.testing.assert_allclose(vision.high_frequency(jnp.full((4, 4, 1), 3.0)), 0.0, atol=1e-6)
    ramp = jnp.arange(8.0)[None, :, None] * jnp.ones((8, 1, 1))  # rises by 1 from column to column
    np.testing.assert_allclose(vision.high_frequency(ramp), 1.0, rtol=1e-5)


def test_odd_sides_are_refused():
    with pytest.raises(ValueError, match="height of x"):
        vision.haar_dwt(jnp.ones((3, 4, 1)))
    with pytest.raises(ValueError, match="width of x"):
        vision.high_frequency(jnp.ones((4, 3, 1)))
    with pytest.raises(TypeError, match="x must be floating"):
        vision.haar_dwt(jnp.ones((4, 4, 1), int))
    with pytest.raises(ValueError, match="ll and hh must have the same shape"):
        vision.haar_idwt(vision.HaarBands(*[jnp.ones((2, 2, 1))] * 3, jnp.ones((2, 3, 1))))
