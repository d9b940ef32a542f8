"""Types that signatures share."""

from collections.abc import Callable
from typing import Any

import jax
from jax.typing import ArrayLike as ArrayLike
from jax.typing import DTypeLike as DTypeLike

Array = jax.Array
PyTree = Any
ApplyFn = Callable[..., Any]

__all__ = ["ApplyFn", "Array", "ArrayLike", "DTypeLike", "PyTree"]
