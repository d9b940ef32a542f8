"""Features of a region of an image."""

import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics import masked_mean
from jaxlab.typing import Array, ArrayLike

__all__ = ["masked_average_pool"]


def masked_average_pool(features: ArrayLike, mask: ArrayLike) -> Array:
    r"""Mean feature of the pixels of a region.

    .. math:: \frac{\sum_{hw} m_{hw} f_{hw}}{\sum_{hw} m_{hw}}

    Args:
      features: float [..., H, W, D].
      mask: bool [..., H, W], True inside the region.
    Returns:
      float32 or wider [..., D]; 0 for an empty region.
    Raises:
      ValueError: shapes do not agree.
      TypeError: features are not floating point, or mask is not boolean.

    >>> print(masked_average_pool(jnp.array([[[1.0], [3.0], [8.0]]]), jnp.array([[True, True, False]])))
    [2.]

    Reference: standard; the prototype of Boudiaf et al., "Few-Shot Segmentation Without Meta-Learning: A Good
    Transductive Inference Is All You Need?" (2021).
    """
    features = checks.floating(features, "features")
    if features.ndim < 3:
        raise ValueError(f"features must have shape [..., H, W, D], got {list(features.shape)}")
    inside = checks.mask(mask, "mask", features.shape[:-1])
    return masked_mean(features, jnp.asarray(inside)[..., None], axis=(-3, -2))
