"""Algebra of pytrees of arrays, and memories of them."""

from jaxlab.trees.algebra import average
from jaxlab.trees.buffer import Buffer, BufferSample, buffer_add, buffer_filled, buffer_init, buffer_sample
from jaxlab.trees.paths import path_mask

__all__ = [
    "Buffer",
    "BufferSample",
    "average",
    "buffer_add",
    "buffer_filled",
    "buffer_init",
    "buffer_sample",
    "path_mask",
]
