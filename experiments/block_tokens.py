"""Transformer blocks on tokens of a grid: SOFT's, and the same block with attention over all pairs of tokens."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import kernels, nn
from jaxlab.typing import Array, PyTree

__all__ = ["attend_gaussian", "attend_softmax", "full_block", "soft_block"]


def attend_softmax(block: PyTree, q: Array, v: Array, grid: tuple[int, int]) -> Array:
    """Queries are keys, as in SOFT."""
    scores = jnp.einsum("bhne,bhme->bhnm", q, q)
    return jax.nn.softmax(scores, axis=-1) @ v


def attend_gaussian(block: PyTree, q: Array, v: Array, grid: tuple[int, int]) -> Array:
    return kernels.gaussian_kernel(q, bandwidth=1.0) @ v


def convolved(kernel: Array, v: Array, grid: tuple[int, int]) -> Array:
    """One filter per head over the grid, on values [B, heads, H W, E]: what SOFT's block adds to its attention."""
    half = kernel.shape[0] // 2
    image = jnp.pad(v.reshape(*v.shape[:2], *grid, -1), [(0, 0), (0, 0), (half, half), (half, half), (0, 0)])
    shifted = [
        kernel[i, j][:, None, None, None] * image[:, :, i : i + grid[0], j : j + grid[1]]
        for i, j in np.ndindex(kernel.shape[:2])
    ]
    return sum(shifted, jnp.zeros(())).reshape(v.shape)


def full_block(attend: Callable[..., Array], params: PyTree, tokens: Array, grid: tuple[int, int]) -> Array:
    """SOFT's block, its convolution of the values included, with attention that compares all pairs of tokens.

    The parameters are the same, those of the landmarks unused.
    """
    heads = params["conv"].shape[-1]
    width = tokens.shape[-1] // heads

    def split(name: str) -> Array:
        projected = tokens @ params[name]["kernel"] + params[name]["bias"]
        return jnp.moveaxis(projected.reshape(*tokens.shape[:-1], heads, width), -2, -3)

    q, v = split("q") / width**0.25, split("v")
    attended = attend(params, q, v, grid) + convolved(params["conv"], v, grid)
    attended = jnp.moveaxis(attended, -3, -2).reshape(tokens.shape)
    norm = lambda name, x: jax.nn.standardize(x, epsilon=1e-5) * params[name]["scale"] + params[name]["bias"]  # noqa: E731
    x = norm("norm1", tokens + attended @ params["proj"]["kernel"] + params["proj"]["bias"])
    inner = jax.nn.gelu(x @ params["mlp_in"]["kernel"] + params["mlp_in"]["bias"])
    return norm("norm2", x + inner @ params["mlp_out"]["kernel"] + params["mlp_out"]["bias"])


def soft_block(params: PyTree, tokens: Array, grid: tuple[int, int], *, normalize: bool = False) -> Array:
    return nn.softmax_free_block(params, tokens, grid=grid, normalize=normalize)
