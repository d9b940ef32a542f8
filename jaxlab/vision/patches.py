"""Images as sequences of patches, and back."""

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["patchify", "unpatchify"]


def patchify(x: ArrayLike, *, size: int) -> Array:
    """Cuts images into square patches, row by row.

    Args:
      x: [..., H, W, C], any dtype.
      size: side of a patch, static; divides H and W.
    Returns:
      [..., H / size * W / size, size * size * C] in the dtype of x.
    Raises:
      ValueError: x has fewer than three axes, or size does not divide height and width.

    >>> import jax.numpy as jnp
    >>> print(patchify(jnp.arange(16.0).reshape(4, 4, 1), size=2)[1])
    [2. 3. 6. 7.]

    Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), standard.
    """
    x = checks.rank(x, "x", range(3, 9), layout="[..., H, W, C]")
    checks.at_least(size, "size", 1)
    *lead, height, width, channels = x.shape
    checks.divisible(height, "the height of x", size)
    checks.divisible(width, "the width of x", size)
    rows, columns = height // size, width // size
    cut = x.reshape(*lead, rows, size, columns, size, channels).swapaxes(-4, -3)
    return cut.reshape(*lead, rows * columns, size * size * channels)


def unpatchify(patches: ArrayLike, *, size: int, shape: tuple[int, int]) -> Array:
    """Puts patches together again: the inverse of ``patchify``.

    Args:
      patches: [..., P, size * size * C], any dtype.
      size: side of a patch, static.
      shape: (H, W) of the image, static.
    Returns:
      [..., H, W, C] in the dtype of patches.
    Raises:
      ValueError: sizes do not agree.

    >>> import jax.numpy as jnp
    >>> x = jnp.arange(12.0).reshape(2, 6, 1)
    >>> bool((unpatchify(patchify(x, size=2), size=2, shape=(2, 6)) == x).all())
    True

    Reference: standard.
    """
    patches = checks.rank(patches, "patches", range(2, 9), layout="[..., P, size * size * C]")
    checks.at_least(size, "size", 1)
    height, width = shape
    checks.divisible(height, "the height in shape", size)
    checks.divisible(width, "the width in shape", size)
    *lead, count, length = patches.shape
    checks.divisible(length, "the length of a patch", size * size)
    rows, columns = height // size, width // size
    if count != rows * columns:
        raise ValueError(f"shape {height} x {width} holds {rows * columns} patches of side {size}, got {count}")
    cut = patches.reshape(*lead, rows, columns, size, size, length // (size * size)).swapaxes(-4, -3)
    return cut.reshape(*lead, height, width, -1)
