"""Depth from distributions over bins, and points in space from pixels and depths."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["expected_depth", "unproject"]


def expected_depth(logits: ArrayLike, *, start: ArrayLike = 1.0, stop: ArrayLike = 61.2) -> Array:
    r"""Mean of a distribution over evenly spaced depths.

    .. math:: d = \sum_j \mathrm{softmax}(o)_j\, z_j, \qquad z_j = z_0 + j\, \frac{z_{max} - z_0}{D - 1}

    A number predicted directly may be mixed in, ``s * direct + (1 - s) * expected`` with a learned s.

    Args:
      logits: float [..., D], D >= 2.
      start: z_0.
      stop: z_max.
    Returns:
      float32 or wider [...], between start and stop.
    Raises:
      ValueError: D < 2.
      TypeError: logits are not floating point.

    >>> print(f"{expected_depth(jnp.zeros(64)):.1f}")
    31.1

    Reference: Hou et al., "OPEN: Object-wise Position Embedding for Multi-view 3D Object Detection" (2024), checked
    against the authors' code.
    """
    logits = checks.floating(logits, "logits")
    if logits.ndim == 0 or logits.shape[-1] < 2:
        raise ValueError(f"logits must have shape [..., D] with D >= 2, got {list(logits.shape)}")
    dtype = accumulation_dtype(logits)
    depths = jnp.linspace(start, stop, logits.shape[-1], dtype=dtype)
    return jnp.sum(jax.nn.softmax(logits.astype(dtype), axis=-1) * depths, axis=-1)


def unproject(uv: ArrayLike, depth: ArrayLike, inverse_projection: ArrayLike) -> Array:
    r"""Points in space that a camera sees at pixels and depths.

    .. math:: (x, y, z, w) = P^{-1} (u d,\; v d,\; d,\; 1), \qquad \text{point} = (x, y, z) / w

    For cameras, whose projection has the last row (0, 0, 0, 1), w is 1.

    Args:
      uv: float [..., 2], pixels.
      depth: float [...], along the viewing axis.
      inverse_projection: float [4, 4], or [..., 4, 4] that broadcasts, from (u d, v d, d, 1) to space.
    Returns:
      float32 or wider [..., 3]; not finite where w is 0.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> print(unproject(jnp.array([2.0, 3.0]), jnp.array(10.0), jnp.eye(4)))
    [20. 30. 10.]

    Reference: Liu et al., "PETR: Position Embedding Transformation for Multi-View 3D Object Detection" (2022), as used
    by Hou et al. (OPEN, 2024), recalled; their codes take w for 1.
    """
    uv, depth = checks.floating(uv, "uv"), checks.floating(depth, "depth")
    matrix = checks.floating(inverse_projection, "inverse_projection")
    if uv.ndim == 0 or uv.shape[-1] != 2 or uv.shape[:-1] != depth.shape:
        raise ValueError(f"uv and depth must be [..., 2] and [...], got {list(uv.shape)} and {list(depth.shape)}")
    if matrix.shape[-2:] != (4, 4):
        raise ValueError(f"inverse_projection must have shape [..., 4, 4], got {list(matrix.shape)}")
    dtype = accumulation_dtype(uv, depth, matrix)
    depth = depth.astype(dtype)[..., None]
    rays = jnp.concatenate([uv.astype(dtype) * depth, depth, jnp.ones_like(depth)], axis=-1)
    points = jnp.einsum("...ij,...j->...i", matrix.astype(dtype), rays, precision="highest")
    return points[..., :3] / points[..., 3:]
