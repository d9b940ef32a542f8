"""Convolutions at another resolution than they were trained for: dilated, dispersed, and when to stop.

Images are [B, H, W, C] and kernels [k, k, in, out].
"""

import math

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import solve_spd
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["attention_entropy_scale", "disperse_kernel", "dispersion_matrix", "progressive_dilation", "redilate_conv"]


def redilate_conv(
    x: ArrayLike, kernel: ArrayLike, bias: ArrayLike | None = None, *, factor: float, stride: int = 1
) -> Array:
    r"""A convolution whose taps stand ``factor`` times as far apart as in training, also for fractions.

    .. math:: y = \mathrm{resize}_{H / r}\big(K *_{D} \mathrm{resize}_{\lfloor H s \rceil}(x)\big),
              \qquad D = \lceil d \rceil, \; s = D / d

    Convolutions that saw a whole object at the size of training see the whole object again at d times that size. A
    fractional factor is the next integer on an enlarged input. It is computed by slices and one matrix product, on
    every platform alike, which the CPU runs several times faster in a loop than its own convolution.

    Args:
      x: float [B, H, W, I].
      kernel: float [k, k, I, O], k odd.
      bias: float [O], or None.
      factor: d > 0, static; 1 is the plain convolution with padding "SAME".
      stride: r >= 1, static.
    Returns:
      [B, H // r, W // r, O] in the dtype of x, summed in float32 or wider. An integer factor with r = 1 does not
      resize at all.
    Raises:
      ValueError: shapes do not agree, an even or oblong kernel, factor <= 0, or stride not in [1, min(H, W)].
      TypeError: an array is not floating point, or factor is not a static number.

    >>> image, kernel = jnp.arange(9.0).reshape(1, 3, 3, 1), jnp.ones((3, 3, 1, 1))
    >>> print(redilate_conv(image, kernel, factor=2)[0, :, :, 0])
    [[16.  8. 16.]
     [ 8.  4.  8.]
     [16.  8. 16.]]

    Reference: He et al., "ScaleCrafter: Tuning-free Higher-Resolution Visual Generation with Diffusion Models" (2023);
    checked against the authors' code (bilinear, pixel centres, no antialiasing). There a larger kernel than 3 x 3 is
    padded by D (1 + (k - 3) // 2) too, which is the padding that keeps the size.
    """
    x, kernel = checks.floating(x, "x"), checks.floating(kernel, "kernel")
    checks.rank(x, "x", 4, layout="[B, H, W, I]")
    _, height, width, inputs = x.shape
    size = _odd_kernel(kernel)
    if kernel.shape[2] != inputs:
        raise ValueError(f"x must have as many channels as kernel has inputs ({kernel.shape[2]}), got {inputs}")
    if not checks.is_static(factor):
        raise TypeError(f"factor must be a static number, got {type(factor).__name__}")
    checks.positive(factor, "factor")
    checks.size(stride, "stride")
    if stride > min(height, width):
        raise ValueError(f"stride must be at most the smaller side of x ({min(height, width)}), got {stride}")
    dilation = math.ceil(factor)
    enlarged = (max(1, round(height * dilation / factor)), max(1, round(width * dilation / factor)))
    dtype = accumulation_dtype(x, kernel)
    wide = _resize(x.astype(dtype), enlarged)
    reach = dilation * (size // 2)
    padded = jnp.pad(wide, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    rows, columns = (slice(None, side, stride) for side in enlarged)
    taps = [padded[:, a * dilation :, b * dilation :][:, rows, columns] for a in range(size) for b in range(size)]
    y = jnp.concatenate(taps, axis=-1) @ kernel.astype(dtype).reshape(-1, kernel.shape[3])
    y = _resize(y, (height // stride, width // stride))
    if bias is not None:
        bias = checks.floating(bias, "bias")
        if bias.shape != kernel.shape[3:]:
            raise ValueError(f"bias must have shape {list(kernel.shape[3:])}, got {list(bias.shape)}")
        y = y + bias.astype(dtype)
    return y.astype(x.dtype)


def _odd_kernel(kernel: Array) -> int:
    checks.rank(kernel, "kernel", 4, layout="[k, k, in, out]")
    if kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise ValueError(f"kernel must be square with an odd side, got {list(kernel.shape[:2])}")
    return kernel.shape[0]


def _resize(x: Array, sides: tuple[int, int]) -> Array:
    if x.shape[1:3] == sides:
        return x
    return jax.image.resize(x, (x.shape[0], *sides, x.shape[3]), "bilinear", antialias=False, precision="highest")


def progressive_dilation(step: ArrayLike, *, factor: float, tau: int) -> Array:
    r"""How far apart the taps stand at a step of the sampler: far at first, twice the usual at least, then as trained.

    .. math:: d_i = \max\big(\lceil d\,(\tau - i) / \tau \rceil,\, 2\big) \ (i < \tau), \qquad d_i = 1 \ (i \ge \tau)

    A dilation must be static: let a schedule with several values choose by ``lax.switch`` or ``lax.cond``.

    Args:
      step: int [...], i >= 0.
      factor: d >= 1, static: size of the image relative to training.
      tau: how many steps are dilated, static, >= 0 (35 of 50 in the paper).
    Returns:
      int32 [...].
    Raises:
      ValueError: factor < 1 or tau < 0.
      TypeError: step does not hold integers.

    >>> print(progressive_dilation(jnp.arange(6), factor=4, tau=4))
    [4 3 2 2 1 1]

    Reference: He et al., as in ``redilate_conv``; checked against the authors' code.
    """
    step = checks.integer(step, "step")
    checks.at_least(factor, "factor", 1)
    checks.size(tau, "tau", 0)
    # The product first: where the quotient is an integer it is then exact, and the ceiling does not jump.
    dilated = jnp.ceil(factor * (tau - step) / max(tau, 1)).astype(jnp.int32)
    return jnp.where(step < tau, jnp.maximum(dilated, 2), 1).astype(jnp.int32)


def dispersion_matrix(
    *, size: int = 3, out_size: int = 5, scale: int = 2, eta: float = 0.05, input_size: int = 3
) -> Array:
    r"""The fixed linear map that spreads a convolution kernel over a larger one, by least squares.

    .. math:: R = \arg\min_R \sum_x \big\| U(x) * R w - U(x * w) \big\|^2 + \eta^2 \big\| x * R w - x * w \big\|^2

    U enlarges an image by linear interpolation. The large kernel does on the enlarged image what the small one did on
    the small image (first term) and, as far as eta asks, what it does on the same image (second term). The sums run
    over all small kernels w and all images x of one bright pixel; images are padded with zeros.

    Args:
      size: side of the small kernel, odd.
      out_size: side of the large one, odd, >= size.
      scale: how much U enlarges, >= 1; an n x n image becomes scale (n - 1) + 1 wide.
      eta: weight of the second term, > 0.
      input_size: side of the images x, >= 2; 3 is the paper's.
    Returns:
      float32 [out_size^2, size^2]; kernels are flattened row by row.
    Raises:
      ValueError: an even side, out_size < size, or another number out of range.

    >>> spread = (dispersion_matrix() @ jnp.ones(9)).reshape(5, 5)
    >>> print([f"{tap:.3f}" for tap in spread[2]])
    ['0.554', '0.314', '0.519', '0.314', '0.554']

    Reference: He et al., as in ``redilate_conv``; checked: the defaults give the matrix that the authors ship for
    their 2048 x 2048 images.
    """
    for value, name in ((size, "size"), (out_size, "out_size")):
        if checks.size(value, name) % 2 == 0:
            raise ValueError(f"{name} must be odd, got {value}")
    checks.size(out_size, "out_size", size)
    checks.size(scale, "scale")
    checks.size(input_size, "input_size", 2)
    checks.positive(eta, "eta")
    pixels = jnp.eye(input_size**2).reshape(-1, input_size, input_size)
    places = jnp.arange(scale * (input_size - 1) + 1) / scale
    weights = jnp.maximum(1.0 - jnp.abs(places[:, None] - jnp.arange(input_size)), 0.0)

    def enlarge(images: Array) -> Array:
        return jnp.einsum("ia,xab...,jb->xij...", weights, images, weights, precision="highest")

    def responses(images: Array, side: int) -> Array:
        """What each tap of a kernel contributes: [images, height, width, taps]."""
        reach, extent = side // 2, images.shape[1]
        padded = jnp.pad(images, ((0, 0), (reach, reach), (reach, reach)))
        shifted = [padded[:, a : a + extent, b : b + extent] for a in range(side) for b in range(side)]
        return jnp.stack(shifted, axis=-1)

    large = responses(enlarge(pixels), out_size), eta * responses(pixels, out_size)
    small = enlarge(responses(pixels, size)), eta * responses(pixels, size)
    left = jnp.concatenate([rows.reshape(-1, out_size**2) for rows in large])
    right = jnp.concatenate([rows.reshape(-1, size**2) for rows in small])
    gram = jnp.matmul(left.T, left, precision="highest")
    return solve_spd(gram, jnp.matmul(left.T, right, precision="highest"))


def disperse_kernel(kernel: ArrayLike, matrix: ArrayLike) -> Array:
    r"""A kernel spread over a larger one by a linear map of its taps, the same for all channels.

    .. math:: w'_{\cdot io} = R\, w_{\cdot io}

    Args:
      kernel: float [k, k, in, out].
      matrix: float [k'^2, k^2], such as ``dispersion_matrix(size=k, out_size=k')``.
    Returns:
      [k', k', in, out] in the dtype of kernel.
    Raises:
      ValueError: the kernel is not square, or matrix does not fit it or has no square number of rows.
      TypeError: an array is not floating point.

    >>> disperse_kernel(jnp.ones((3, 3, 1, 2)), dispersion_matrix()).shape
    (5, 5, 1, 2)

    Reference: He et al., as in ``redilate_conv``; checked against the authors' code.
    """
    kernel, matrix = checks.floating(kernel, "kernel"), checks.floating(matrix, "matrix")
    size = _odd_kernel(kernel)
    checks.rank(matrix, "matrix", 2, layout="[k'^2, k^2]")
    side = math.isqrt(matrix.shape[0])
    if matrix.shape[1] != size**2 or side**2 != matrix.shape[0]:
        raise ValueError(f"matrix must have shape [k'^2, {size**2}], got {list(matrix.shape)}")
    dtype = accumulation_dtype(kernel, matrix)
    taps = kernel.astype(dtype).reshape(size**2, *kernel.shape[2:])
    spread = jnp.einsum("mn,nio->mio", matrix.astype(dtype), taps, precision="highest")
    return spread.reshape(side, side, *kernel.shape[2:]).astype(kernel.dtype)


def attention_entropy_scale(n_test: ArrayLike, n_train: ArrayLike) -> Array:
    r"""What to multiply attention logits by at another number of tokens, so that attention stays as concentrated.

    .. math:: \sqrt{\log_{n_\mathrm{train}} n_\mathrm{test}}

    Args:
      n_test: number of tokens now, >= 1, an integer or an array [...].
      n_train: number of tokens in training, >= 2, an integer or an array that broadcasts.
    Returns:
      float32 or wider; 1 where both agree.
    Raises:
      ValueError: a static n_test < 1 or n_train < 2.

    >>> print(attention_entropy_scale(4096, 64))
    1.4142135

    Reference: Jin et al., "Training-free Diffusion Model Adaptation for Variable-Sized Text-to-Image Synthesis" (2023),
    a baseline of He et al.; checked against the latter's code.
    """
    checks.at_least(n_test, "n_test", 1)
    checks.at_least(n_train, "n_train", 2)
    test, train = jnp.asarray(n_test), jnp.asarray(n_train)
    dtype = accumulation_dtype(test, train)
    return jnp.sqrt(jnp.log(test.astype(dtype)) / jnp.log(train.astype(dtype)))
