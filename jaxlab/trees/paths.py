"""Leaves of a pytree, chosen by where they stand and what they are."""

from collections.abc import Callable
from typing import Any

import jax

from jaxlab.typing import PyTree

__all__ = ["path_mask"]


def path_mask(params: PyTree, predicate: Callable[[str, Any], bool]) -> PyTree:
    """Which leaves are chosen, as a tree of booleans such as ``optax.masked`` and ``optax.partition`` take.

    Args:
      params: pytree of arrays, or of anything that has what the predicate asks for.
      predicate: ``predicate(path, leaf)``; the path joins keys, indices and field names by "/".
    Returns:
      A pytree like params of Python booleans.
    Raises:
      TypeError: the predicate gives anything but a boolean: it may use shapes and dtypes, no values.

    >>> params = {"dense": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}
    >>> path_mask(params, lambda path, leaf: leaf.ndim >= 2 and path.startswith("dense/"))
    {'dense': {'bias': False, 'kernel': True}}

    Reference: standard.
    """

    def chosen(path: Any, leaf: Any) -> bool:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        found = predicate(name, leaf)
        if not isinstance(found, bool):
            raise TypeError(f"predicate must give a boolean for the leaf {name!r}, got {type(found).__name__}")
        return found

    return jax.tree_util.tree_map_with_path(chosen, params)
