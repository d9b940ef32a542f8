"""Images by frequency: wavelet bands."""

from typing import NamedTuple

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["HaarBands", "haar_dwt", "haar_idwt", "high_frequency"]


class HaarBands(NamedTuple):
    """One level of the Haar transform, each [..., H / 2, W / 2, C]: first letter vertical, second horizontal."""

    ll: Array  # means times 2
    lh: Array  # what changes from column to column
    hl: Array  # what changes from row to row
    hh: Array  # diagonals


def haar_dwt(x: ArrayLike) -> HaarBands:
    r"""One level of the Haar wavelet transform of images.

    .. math:: L = \tfrac{1}{\sqrt 2} (1, 1), \quad H = \tfrac{1}{\sqrt 2} (-1, 1),
              \qquad B_{ab} = (a^\top b) * x \ \text{with stride 2}, \quad a, b \in \{L, H\}

    The transform is orthogonal: the bands hold the energy of the image.

    Args:
      x: float [..., H, W, C], H and W even.
    Returns:
      HaarBands in the dtype of x.
    Raises:
      ValueError: fewer than three axes, or H or W is odd (pad first).
      TypeError: x is not floating point.

    >>> bands = haar_dwt(jnp.array([[1.0, 1.0], [3.0, 3.0]])[..., None])
    >>> print(*(band.item() for band in bands))
    4.0 0.0 2.0 0.0

    Reference: standard; names and signs as in the code of Zhu et al., "DomainStudio: Fine-Tuning Diffusion Models for
    Domain-Driven Image Generation using Limited Data" (2023), checked.
    """
    x = checks.rank(checks.floating(x, "x"), "x", range(3, 9), layout="[..., H, W, C]")
    checks.divisible(x.shape[-3], "the height of x", 2)
    checks.divisible(x.shape[-2], "the width of x", 2)
    wide = x.astype(accumulation_dtype(x))
    low, high = _split(wide, -3)
    ll, lh = _split(low, -2)
    hl, hh = _split(high, -2)
    return HaarBands(*((0.5 * band).astype(x.dtype) for band in (ll, lh, hl, hh)))


def haar_idwt(bands: HaarBands) -> Array:
    """The image of four bands: the inverse, and the transpose, of ``haar_dwt``.

    Args:
      bands: HaarBands (or four arrays in its order), [..., H, W, C] each.
    Returns:
      [..., 2 H, 2 W, C] in the dtype of the bands.
    Raises:
      ValueError: the bands differ in shape or have fewer than three axes.
      TypeError: a band is not floating point.

    >>> x = jnp.arange(8.0).reshape(2, 4, 1)
    >>> bool(jnp.allclose(haar_idwt(haar_dwt(x)), x, atol=1e-5))
    True

    Reference: standard.
    """
    names = HaarBands._fields
    arrays = [
        checks.rank(checks.floating(band, name), name, range(3, 9), layout="[..., H, W, C]")
        for band, name in zip(bands, names, strict=True)
    ]
    for array, name in zip(arrays[1:], names[1:], strict=True):
        checks.same_shape(arrays[0], names[0], array, name)
    ll, lh, hl, hh = (array.astype(accumulation_dtype(array)) for array in arrays)
    return (0.5 * _join(_join(ll, lh, -2), _join(hl, hh, -2), -3)).astype(jnp.result_type(*arrays))


def high_frequency(x: ArrayLike) -> Array:
    r"""The sum of the three detail bands of the Haar transform: edges, without what is smooth.

    .. math:: B_{LH} + B_{HL} + B_{HH}

    Args:
      x: float [..., H, W, C], H and W even.
    Returns:
      [..., H / 2, W / 2, C] in the dtype of x; 0 for a constant image.
    Raises:
      ValueError: fewer than three axes, or H or W is odd.
      TypeError: x is not floating point.

    >>> print(high_frequency(jnp.array([[1.0, 1.0], [3.0, 3.0]])[..., None]).item())
    2.0

    Reference: Zhu et al., "DomainStudio: Fine-Tuning Diffusion Models for Domain-Driven Image Generation using Limited
    Data" (2023), checked against the authors' code.
    """
    bands = haar_dwt(x)
    return bands.lh + bands.hl + bands.hh


# Both directions together carry a factor of exactly 1/2, which the callers apply.


def _split(x: Array, axis: int) -> tuple[Array, Array]:
    """Sums and differences (second minus first) of neighbours along an axis."""
    pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
    first, second = (jnp.take(pairs, i, axis=axis) for i in (0, 1))
    return first + second, second - first


def _join(low: Array, high: Array, axis: int) -> Array:
    pairs = jnp.stack([low - high, low + high], axis=low.ndim + axis + 1)
    return pairs.reshape(*low.shape[:axis], 2 * low.shape[axis], *low.shape[axis + 1 :])
