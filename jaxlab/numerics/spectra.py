"""The largest eigenvalue of a symmetric matrix, by products alone."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab.typing import Array

__all__ = ["largest_eigenvector"]

# Lanczos vectors that are kept, and how often the search may begin again from the best vector found.
STEPS, CYCLES = 32, 64
FEWEST = 6


class _Lanczos(NamedTuple):
    step: Array
    basis: Array  # [STEPS + 1, N], orthonormal rows, zero where not reached
    inner: Array  # [STEPS, STEPS], the matrix in that basis
    beside: Array  # the entry that joins the next row to it
    best: Array  # coordinates of the best vector [STEPS]
    error: Array  # bound on what its eigenvalue lacks, relative to it


def largest_eigenvector(product: Callable[[Array], Array], size: int, dtype: jnp.dtype) -> Array:
    """A unit vector [size] whose Rayleigh quotient is the largest eigenvalue of a positive semidefinite matrix.

    Lanczos steps with full orthogonalisation, from a fixed random vector. A Rayleigh quotient with residual r and
    distance g to the next one is wrong by at most min(r, r^2 / g): the search ends where that is four units of rounding
    of it, after STEPS * CYCLES products at the latest. There is no derivative.

    Args:
      product: the matrix times a vector [size].
      size: number of rows.
      dtype: of the vector.
    """
    accuracy = 4 * float(jnp.finfo(dtype).eps)

    def step(state: _Lanczos) -> _Lanczos:
        at, basis, inner, beside, _, _ = state
        image = product(basis[at])
        inner = inner.at[at, at].set(jnp.sum(image * basis[at]))
        before = jnp.maximum(at - 1, 0)
        joined = jnp.where(at > 0, beside, inner[0, 0])
        inner = inner.at[before, at].set(joined).at[at, before].set(joined)
        for _ in range(2):  # once leaves what rounding of a long vector leaves
            image = image - _times(_times(basis, image), basis)
        length = jnp.sqrt(jnp.sum(image**2))
        values, vectors = jnp.linalg.eigh(inner)
        top, residual = values[-1], length * jnp.abs(vectors[at, -1])
        gap = top - values[-2] - residual
        error = jnp.where(gap > residual, residual**2 / jnp.where(gap > 0, gap, 1.0), residual)
        error = jnp.where(at + 1 < FEWEST, top, error)  # the next one is not known yet
        # What is left of a vector that lies in the span of the others is rounding.
        ended = length <= accuracy * top
        error = jnp.where(ended, 0.0, error / jnp.where(top > 0, top, 1.0))
        basis = basis.at[at + 1].set(jnp.where(ended, 0.0, image / jnp.where(ended, 1.0, length)))
        return _Lanczos(at + 1, basis, inner, length, vectors[:, -1], error)

    def cycle(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, start, _ = carry
        empty = _Lanczos(
            jnp.zeros((), jnp.int32),
            jnp.zeros((STEPS + 1, size), dtype).at[0].set(start),
            jnp.zeros((STEPS, STEPS), dtype),
            jnp.zeros((), dtype),
            jnp.zeros(STEPS, dtype),
            jnp.full((), jnp.inf, dtype),
        )
        done = jax.lax.while_loop(lambda s: (s.step < STEPS) & (s.error > accuracy), step, empty)
        found = _times(done.best, done.basis[:STEPS])
        # Of a matrix of zeros nothing is found, and every vector is right.
        length = jnp.sqrt(jnp.sum(found**2))
        return count + 1, jnp.where(length > 0, found / jnp.where(length > 0, length, 1.0), start), done.error

    first = jax.random.normal(jax.random.key(0), (size,), dtype)
    begin = jnp.zeros((), jnp.int32), first / jnp.sqrt(jnp.sum(first**2)), jnp.full((), jnp.inf, dtype)
    _, vector, _ = jax.lax.while_loop(lambda c: (c[0] < CYCLES) & (c[2] > accuracy), cycle, begin)
    return vector


def _times(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
