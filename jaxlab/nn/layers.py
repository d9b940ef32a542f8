"""Dense and normal layers on plain dicts of parameters, shared by the blocks of this package."""

import jax

from jaxlab.typing import Array, PyTree

__all__ = ["dense", "layer_norm"]


def dense(params: PyTree, x: Array) -> Array:
    """x [..., D] through "kernel" [D, F] and "bias" [F]."""
    return x @ params["kernel"] + params["bias"]


def layer_norm(params: PyTree, x: Array, *, epsilon: float = 1e-6) -> Array:
    """x [..., D] with mean 0 and variance 1, times "scale" [D], plus "bias" [D]."""
    return jax.nn.standardize(x, axis=-1, epsilon=epsilon) * params["scale"] + params["bias"]
