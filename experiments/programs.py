"""Rows that share a program: what differs between them is an argument, so only the first of them compiles."""

import time
from collections.abc import Callable, Hashable
from typing import Any, Literal

import jax
import numpy as np

from experiments.runner import Measured

__all__ = ["Programs"]


class Programs:
    """Compiled programs by name, as ``over_seeds`` would run them."""

    def __init__(self) -> None:
        self._compiled: dict[Hashable, Any] = {}

    def measured(
        self,
        name: Hashable,
        fn: Callable[..., Any],
        seeds: Any,
        *shared: Any,
        mode: Literal["vmap", "map"] = "vmap",
    ) -> Measured:
        """``fn(one seed, *shared)`` -> (metrics, curves) for every seed.

        Args:
          name: of the program; calls of one name must agree in fn and in all shapes and dtypes.
          fn: pure; everything that a row changes comes in through shared.
          seeds: pytree whose leaves all have a leading axis of seeds.
          *shared: pytrees that every seed sees whole.
          mode: ``vmap`` or ``map``, as in ``over_seeds``.
        """
        start = time.perf_counter()
        if name not in self._compiled:

            def over(seeds: Any, *shared: Any) -> Any:
                one = lambda seed: fn(seed, *shared)  # noqa: E731
                return jax.vmap(one)(seeds) if mode == "vmap" else jax.lax.map(one, seeds)

            self._compiled[name] = jax.jit(over).lower(seeds, *shared).compile()
        compiled = time.perf_counter()
        metrics, curves = jax.block_until_ready(self._compiled[name](seeds, *shared))
        timings = {"compile": compiled - start, "run": time.perf_counter() - compiled}
        return Measured(jax.tree.map(np.asarray, metrics), jax.tree.map(np.asarray, curves), timings)
