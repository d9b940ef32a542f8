"""Algebra of pytrees of arrays, and memories of them.

- **Several models made one**: `average` (weighted mean over members)
- **A memory of past examples**: `buffer_init` (empty, for items like one), `buffer_add` (the latest, or a uniform
  sample), `buffer_sample` (draws with replacement), `buffer_filled` (which slots hold something); [152]
- **Only some of the parameters**: `path_mask` (by name and shape, for `optax.masked`)

Types: `Buffer`, `BufferSample`.
"""

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
