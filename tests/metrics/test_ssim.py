"""Structural similarity: scipy's filters, limits, and what is refused."""

import numpy as np
import pytest
from scipy import ndimage

from jaxlab import metrics

RNG = np.random.default_rng(0)
A, B = RNG.random((2, 3, 9, 12, 2)).astype(np.float32)


def by_scipy(a, b, window, sigma):
    """The map at stride 1 with zeros around, an odd window."""
    kernel = np.exp(-((np.arange(window) - window // 2) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()

    def mean(x):
        for axis in (1, 2):
            x = ndimage.correlate1d(x, kernel, axis=axis, mode="constant")
        return x

    a, b = a.astype(np.float64), b.astype(np.float64)
    mu, nu = mean(a), mean(b)
    spread, covariance = mean(a * a) - mu**2 + mean(b * b) - nu**2, mean(a * b) - mu * nu
    return (2 * mu * nu + 1e-4) * (2 * covariance + 9e-4) / ((mu**2 + nu**2 + 1e-4) * (spread + 9e-4))


@pytest.mark.parametrize(("window", "sigma"), [(3, 1.5), (7, 0.8)])
def test_equals_scipy(window, sigma):
    expected = by_scipy(A, B, window, sigma)
    found = metrics.ssim(A, B, window=window, sigma=sigma, reduce=False)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(metrics.ssim(A, B, window=window, sigma=sigma), expected.mean((1, 2, 3)), atol=1e-4)
    every_other = metrics.ssim(A, B, window=window, sigma=sigma, stride=2, reduce=False)
    np.testing.assert_allclose(every_other, expected[:, ::2, ::2], rtol=1e-3, atol=1e-4)
    border = (window - 1) // 2
    inner = metrics.ssim(A, B, window=window, sigma=sigma, padding=0, reduce=False)
    np.testing.assert_allclose(inner, expected[:, border:-border, border:-border], rtol=1e-3, atol=1e-4)


def test_an_even_window_by_hand():
    """Window 2 at stride 2: each block of four, its lower right pixel the heaviest."""
    a, b = A[0, :2, :2, :1].astype(np.float64), B[0, :2, :2, :1].astype(np.float64)
    side = np.array([np.exp(-1 / (2 * 1.5**2)), 1.0])
    weights = (np.outer(side, side) / side.sum() ** 2)[..., None]
    mu, nu = (weights * a).sum(), (weights * b).sum()
    spread = (weights * a**2).sum() - mu**2 + (weights * b**2).sum() - nu**2
    covariance = (weights * a * b).sum() - mu * nu
    expected = (2 * mu * nu + 1e-4) * (2 * covariance + 9e-4) / ((mu**2 + nu**2 + 1e-4) * (spread + 9e-4))
    found = metrics.ssim(A[0, :2, :2, :1], B[0, :2, :2, :1], window=2, stride=2)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_equal_images_and_the_scale_of_the_data():
    np.testing.assert_allclose(metrics.ssim(A, A), 1.0, rtol=1e-5)
    np.testing.assert_allclose(metrics.ssim(A, B), metrics.ssim(B, A), rtol=1e-5)
    large = metrics.ssim(255 * A, 255 * B, data_range=255.0)
    np.testing.assert_allclose(large, metrics.ssim(A, B), rtol=1e-3, atol=1e-4)
    assert (metrics.ssim(A, 1 - A) < metrics.ssim(A, 0.9 * A)).all()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"a": A[0]}, ValueError, "a and b must have the same shape"),
        ({"a": A[0, 0], "b": A[0, 0]}, ValueError, r"a must have shape \[..., H, W, C\]"),
        ({"a": A[:, :0], "b": A[:, :0]}, ValueError, "with something in it"),
        ({"b": B.astype(int)}, TypeError, "b must be floating point"),
        ({"window": 12}, ValueError, "window must fit"),
        ({"window": 0}, ValueError, "window must be an integer of at least 1"),
        ({"stride": 0}, ValueError, "stride must be an integer"),
        ({"padding": -1}, ValueError, "padding must be an integer"),
        ({"sigma": 0.0}, ValueError, "sigma must be > 0"),
        ({"data_range": 0.0}, ValueError, "data_range must be > 0"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        metrics.ssim(**({"a": A, "b": B, "padding": 0} | change))
