"""A place in a program that the compiler does not fuse across.

XLA on a CPU computes a cheap producer again inside each of its consumers. That is what one wants of an addition, not of
a hash or a score with four exponentials: a predictor-corrector step was five times slower for it. Barriers do not help,
the CPU backend drops them before it fuses; a loop whose number of trips is known only at run time does.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxlab.typing import Array, PyTree

__all__ = ["apart"]


def apart(fn: Callable[[PyTree], PyTree], x: PyTree, *, index: Array) -> PyTree:
    """``fn(x)``, not fused with what comes before or after it.

    Args:
      fn: gives a pytree of the structure, shapes and dtypes of x.
      x: pytree of arrays.
      index: a traced number that is never negative, such as the index of a step: the compiler must not know that.
    Returns:
      ``fn(x)``; derivatives of any order and mode, those of fn without the wall.
    """
    leaves, tree = jax.tree.flatten(x)
    # What fn closes over has to pass through the rule of the derivative as arguments, keys and integers included.
    program = jax.make_jaxpr(lambda *leaves: jax.tree.leaves(fn(jax.tree.unflatten(tree, leaves))))(*leaves)

    def inner(consts: list[Array], leaves: list[Array]) -> list[Array]:
        return jax.core.eval_jaxpr(program.jaxpr, consts, *leaves)

    @jax.custom_jvp
    def walled(index: Array, consts: list[Array], leaves: list[Array]) -> list[Array]:
        once = jnp.where(index < 0, 0, 1)
        return jax.lax.fori_loop(0, once, lambda _, value: inner(consts, value), leaves)

    @walled.defjvp
    def _(primals: tuple[PyTree, ...], tangents: tuple[PyTree, ...]) -> tuple[PyTree, PyTree]:
        return jax.jvp(inner, primals[1:], tangents[1:])

    return jax.tree.unflatten(tree, walled(index, list(program.consts), leaves))
