"""Re-dilated and dispersed convolutions against loops, scipy and published numbers, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from jaxlab import nn

RNG = np.random.default_rng(2)
X = RNG.normal(size=(2, 6, 8, 3)).astype(np.float32)
W = RNG.normal(size=(3, 3, 3, 4)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)


def correlate(x, w, dilation=1):
    """SAME correlation by scipy, the kernel filled up with zeros."""
    spread = np.zeros((2 * dilation + 1, 2 * dilation + 1, *w.shape[2:]))
    spread[::dilation, ::dilation] = w
    out = np.zeros((*x.shape[:3], w.shape[3]))
    for b, i, o in np.ndindex(x.shape[0], *w.shape[2:]):
        out[b, :, :, o] += scipy.signal.correlate2d(x[b, :, :, i], spread[:, :, i, o], mode="same")
    return out


def bilinear(x, sides):
    """Linear interpolation at pixel centres, clamped at the border, as torch does with align_corners=False."""
    for axis, new in zip((1, 2), sides, strict=True):
        old = x.shape[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        high, share = np.minimum(low + 1, old - 1), place - low
        share = share.reshape((-1,) + (1,) * (3 - axis))
        x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
    return x


def test_factor_one_is_the_plain_convolution():
    got = nn.redilate_conv(X, W, BIAS, factor=1)
    np.testing.assert_allclose(got, correlate(X, W) + BIAS, rtol=1e-4, atol=1e-4)
    lax = jax.lax.conv_general_dilated(X, W, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(nn.redilate_conv(X, W, factor=1), lax, rtol=1e-4, atol=1e-5)


def test_an_integer_factor_is_a_dilated_convolution():
    for factor in (2, 3.0):
        expected = correlate(X, W, int(factor))
        np.testing.assert_allclose(nn.redilate_conv(X, W, factor=factor), expected, rtol=1e-4, atol=1e-4)


def test_an_enlarged_input_gives_the_small_answer():
    enlarged = X.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(
        nn.redilate_conv(enlarged, W, factor=2)[:, ::2, ::2], nn.redilate_conv(X, W, factor=1), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("factor", [1.5, 1.25, 0.5])
def test_a_fraction_enlarges_the_input_first(factor):
    dilation = int(np.ceil(factor))
    sides = [round(side * dilation / factor) for side in X.shape[1:3]]
    expected = bilinear(correlate(bilinear(X.astype(float), sides), W, dilation), X.shape[1:3]) + BIAS
    np.testing.assert_allclose(nn.redilate_conv(X, W, BIAS, factor=factor), expected, rtol=1e-4, atol=1e-4)


def test_strides_and_larger_kernels():
    got = nn.redilate_conv(X, W, factor=2, stride=2)
    np.testing.assert_allclose(got, correlate(X, W, 2)[:, ::2, ::2], rtol=1e-4, atol=1e-4)
    odd = nn.redilate_conv(X[:, :5, :7], W, factor=1, stride=2)  # 3 x 4 results brought to 2 x 3
    assert odd.shape == (2, 2, 3, 4)
    np.testing.assert_allclose(odd, bilinear(correlate(X[:, :5, :7], W)[:, ::2, ::2], (2, 3)), rtol=1e-4, atol=1e-4)
    large = RNG.normal(size=(5, 5, 3, 2)).astype(np.float32)
    lax = jax.lax.conv_general_dilated(
        X, large, (1, 1), ((4, 4), (4, 4)), rhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    np.testing.assert_allclose(nn.redilate_conv(X, large, factor=2), lax, rtol=1e-4, atol=1e-4)


# Rows of the matrix in the authors' repository (R20to1_new): corners, edges and the middle of the large kernel.
PUBLISHED = {
    0: [0.64879, -0.00286, -0.02628, -0.00286, 0.0, -0.0003, -0.02628, -0.0003, 0.00141],
    1: [0.27579, 0.00607, 0.06166, 0.00365, 0.0, 0.00086, -0.01389, 0.00066, -0.00333],
    2: [-0.10723, 0.79576, -0.10723, -0.00175, 0.0, -0.00175, 0.00576, -0.03517, 0.00576],
    7: [-0.05489, 0.36048, -0.05489, 0.00375, 0.0, 0.00375, -0.01349, 0.08268, -0.01349],
    12: [0.02297, -0.14332, 0.02297, -0.14332, 1.0, -0.14332, 0.02297, -0.14332, 0.02297],
}


def test_the_dispersion_is_the_published_one():
    matrix = np.asarray(nn.dispersion_matrix())
    for row, numbers in PUBLISHED.items():
        np.testing.assert_allclose(matrix[row], numbers, atol=5e-5)


def test_what_the_terms_of_the_dispersion_do():
    # A heavy second term asks for the same result on the same image: the small kernel in a frame of zeros.
    framed = np.zeros((25, 9))
    framed[[5 * a + b for a in (1, 2, 3) for b in (1, 2, 3)], range(9)] = 1
    np.testing.assert_allclose(nn.dispersion_matrix(eta=1e3), framed, atol=1e-3)
    np.testing.assert_allclose(nn.dispersion_matrix(out_size=3, scale=1, input_size=4), np.eye(9), atol=1e-4)
    # A light one asks for the small image's result on the enlarged image.
    image = RNG.normal(size=(1, 3, 3, 1)).astype(np.float32)
    weights = np.maximum(1 - np.abs(np.arange(5)[:, None] / 2 - np.arange(3)), 0)
    enlarge = lambda x: np.einsum("ia,nabc,jb->nijc", weights, x, weights).astype(np.float32)  # noqa: E731
    kernel = RNG.normal(size=(3, 3, 1, 1)).astype(np.float32)
    wanted = enlarge(np.asarray(nn.redilate_conv(image, kernel, factor=1)))
    error = {}
    for eta in (0.05, 1e3):
        spread = nn.disperse_kernel(kernel, nn.dispersion_matrix(eta=eta))
        error[eta] = np.square(nn.redilate_conv(enlarge(image), spread, factor=1) - wanted).mean()
    assert error[0.05] < 0.2 * error[1e3]


def test_dispersing_is_linear_and_a_frame_of_zeros_changes_nothing():
    framed = np.zeros((25, 9), np.float32)
    framed[[5 * a + b for a in (1, 2, 3) for b in (1, 2, 3)], range(9)] = 1
    same = nn.redilate_conv(X, nn.disperse_kernel(W, framed), factor=1)
    np.testing.assert_allclose(same, nn.redilate_conv(X, W, factor=1), rtol=1e-4, atol=1e-5)
    matrix, other = np.asarray(nn.dispersion_matrix()), RNG.normal(size=W.shape).astype(np.float32)
    both = nn.disperse_kernel(2.0 * W + other, matrix)
    apart = 2.0 * nn.disperse_kernel(W, matrix) + nn.disperse_kernel(other, matrix)
    np.testing.assert_allclose(both, apart, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        both[..., 1, 2].ravel(), matrix @ (2 * W + other)[..., 1, 2].ravel(), rtol=1e-4, atol=1e-5
    )


def test_the_dilation_falls_to_twice_the_usual_and_ends():
    steps = np.arange(50)
    expected = [max(int(np.ceil(4 * (35 - i) / 35)), 2) if i < 35 else 1 for i in steps]
    np.testing.assert_array_equal(nn.progressive_dilation(steps, factor=4, tau=35), expected)
    np.testing.assert_array_equal(nn.progressive_dilation(steps, factor=1.5, tau=10), np.where(steps < 10, 2, 1))
    np.testing.assert_array_equal(nn.progressive_dilation(steps, factor=8, tau=0), 1)
    assert nn.progressive_dilation(0, factor=2.5, tau=3) == 3


def test_the_scale_of_attention():
    assert nn.attention_entropy_scale(64, 64) == 1
    expected = np.sqrt([np.log(256) / np.log(64), np.log(16) / np.log(64)])
    np.testing.assert_allclose(nn.attention_entropy_scale(jnp.array([256, 16]), 64), expected, rtol=1e-6)


BAD = {
    "image": (lambda: nn.redilate_conv(X[0], W, factor=2), ValueError, r"x must have shape \[B, H, W, I\]"),
    "even": (lambda: nn.redilate_conv(X, W[:2, :2], factor=2), ValueError, r"kernel must be square with an odd .*2, 2"),
    "oblong": (lambda: nn.redilate_conv(X, W[:1], factor=2), ValueError, r"kernel must be square .*1, 3"),
    "channels": (lambda: nn.redilate_conv(X[..., :2], W, factor=2), ValueError, r"inputs \(3\), got 2"),
    "bias": (lambda: nn.redilate_conv(X, W, BIAS[:2], factor=2), ValueError, r"bias must have shape \[4\]"),
    "factor": (lambda: nn.redilate_conv(X, W, factor=0.0), ValueError, "factor must be > 0"),
    "traced": (lambda: nn.redilate_conv(X, W, factor=jnp.float32(2)), TypeError, "factor must be a static number"),
    "stride": (
        lambda: nn.redilate_conv(X, W, factor=1, stride=7),
        ValueError,
        r"stride must be at most .*\(6\), got 7",
    ),
    "integers": (lambda: nn.redilate_conv(X.astype(int), W, factor=1), TypeError, "x must be floating"),
    "even size": (lambda: nn.dispersion_matrix(size=4), ValueError, "size must be odd, got 4"),
    "smaller": (lambda: nn.dispersion_matrix(out_size=1), ValueError, "out_size must be an integer of at least 3"),
    "eta": (lambda: nn.dispersion_matrix(eta=0.0), ValueError, "eta must be > 0"),
    "matrix": (lambda: nn.disperse_kernel(W, jnp.ones((25, 8))), ValueError, r"matrix must have shape \[k'\^2, 9\]"),
    "rows": (lambda: nn.disperse_kernel(W, jnp.ones((24, 9))), ValueError, r"matrix must have .*24, 9"),
    "tau": (lambda: nn.progressive_dilation(0, factor=2, tau=-1), ValueError, "tau must be an integer of at least 0"),
    "small factor": (lambda: nn.progressive_dilation(0, factor=0.5, tau=1), ValueError, "factor must be at least 1"),
    "step": (lambda: nn.progressive_dilation(0.5, factor=2, tau=1), TypeError, "step must hold integers"),
    "tokens": (lambda: nn.attention_entropy_scale(4, 1), ValueError, "n_train must be at least 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
