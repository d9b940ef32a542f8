"""Losses between the colours that a model renders and those of photographs."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.metrics import ssim
from jaxlab.typing import Array, ArrayLike

__all__ = ["s3im"]


def s3im(
    key: Array,
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    patch: Sequence[int] = (64, 64),
    repeats: int = 10,
    window: int = 4,
    stride: int = 4,
    axis_name: str | None = None,
) -> Array:
    r"""Structural dissimilarity of random rays that are laid out as one virtual image (couples the batch).

    .. math:: \ell = 1 - \mathrm{SSIM}\big( [\hat C_{\pi_1}, \dots, \hat C_{\pi_M}], [C_{\pi_1}, \dots, C_{\pi_M}] \big)

    The rays follow each other in M orders, the first as they come and the others random, and fill the virtual image row
    by row. So every window holds rays from anywhere, and the loss sees what groups of them have in common; add it to
    the mean square. Every place of the image needs a ray: there is no mask.

    Args:
      key: typed PRNG key of the orders.
      predictions: float [R, C], colours in [0, 1].
      targets: float [R, C], of the photograph; no gradient passes.
      patch: (h, w) with h * w = R, the virtual image of one order, static; all M form an image of h by w * M.
      repeats: M >= 1, static; with 1 the key plays no part.
      window: side of the Gaussian window, static.
      stride: its step, static.
      axis_name: the mapped axis over which the rays are split; those of all members, R in number, form the image.
    Returns:
      float32 or wider scalar, in [0, 2]; 0 where both agree.
    Raises:
      ValueError: shapes do not agree, R is not h * w, or a size is below 1.
      TypeError: predictions or targets are not floating point.

    >>> x = jnp.linspace(0.0, 1.0, 16)[:, None]
    >>> print(f"{s3im(jax.random.key(0), x, x, patch=(4, 4)):.4f}")
    0.0000

    Reference: Xie et al., "S3IM: Stochastic Structural SIMilarity and Its Unreasonable Effectiveness for Neural Fields"
    (2023). Checked against the authors' code.
    """
    checks.size(repeats, "repeats")
    rendered = checks.rank(checks.floating(predictions, "predictions"), "predictions", 2, layout="[R, C]")
    wanted = checks.floating(targets, "targets")
    checks.same_shape(rendered, "predictions", wanted, "targets")
    if axis_name is not None:
        rendered, wanted = (jax.lax.all_gather(x, axis_name, tiled=True) for x in (rendered, wanted))
    rays = rendered.shape[0]
    height, width = (checks.size(side, "patch") for side in patch)
    if height * width != rays:
        raise ValueError(f"patch must hold all {rays} rays, got {height} x {width}")
    # By sorting: much quicker to compile than permutations.
    shuffled = jnp.argsort(jax.random.uniform(key, (repeats - 1, rays)), axis=1)
    order = jnp.concatenate([jnp.arange(rays)[None], shuffled])
    return _in_order(rendered, wanted, order, patch=(height, width), window=window, stride=stride)


def _in_order(
    predictions: Array, targets: Array, order: Array, *, patch: tuple[int, int], window: int, stride: int
) -> Array:
    """The loss under given orders of the rays, int [M, R]."""
    height, width = patch
    rows = order.ravel()

    def image(colours: Array) -> Array:
        # The long vector of all orders is cut into rows of the image, so that a row may hold two of them.
        return colours[rows].reshape(height, width * order.shape[0], colours.shape[-1])

    virtual = image(predictions), jax.lax.stop_gradient(image(targets))
    return 1.0 - ssim(*virtual, window=window, sigma=1.5, stride=stride)
