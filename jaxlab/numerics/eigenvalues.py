"""Eigenvalues of symmetric matrices without their vectors."""

import math

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jaxlab.typing import Array

__all__ = ["eigvalsh"]

# Below this many rows the vectors cost little, and the loops below would take longer to compile than they save.
LEAST_ROWS = 64
UNROLL = 16


@jax.custom_jvp
def eigvalsh(matrix: Array) -> Array:
    """Eigenvalues [..., N] in ascending order of matrices [..., N, N], taken to be symmetric, in float32 or float64.

    ``jnp.linalg.eigvalsh`` has LAPACK find the vectors too, and drops them. Here a large matrix on a CPU is made
    tridiagonal, and all its eigenvalues are found at once by bisection: twice as fast, and as exact, to a unit of
    rounding of the largest. NaN where an entry is not finite. The first derivative takes the vectors; it is that of
    functions that treat all eigenvalues alike where some repeat.
    """
    if matrix.shape[-1] < LEAST_ROWS:
        return jnp.linalg.eigvalsh(matrix)
    return _eigenvalues_p.bind(matrix)


@eigvalsh.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (matrix,), (change,) = primals, tangents
    values, vectors = jnp.linalg.eigh(matrix)
    return values, jnp.sum(vectors * jnp.matmul(change, vectors, precision="highest"), axis=-2)


def _by_bisection(matrix: Array) -> Array:
    size = matrix.shape[-1]
    largest = jnp.max(jnp.abs(matrix), axis=(-2, -1), keepdims=True)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    _, diagonal, beside, *_ = jax.lax.linalg.tridiagonal(matrix / scale)
    values = jnp.vectorize(_bisect_tridiagonal, signature="(n),(m)->(n)")(diagonal, beside.real)
    values = jnp.where(jnp.isfinite(largest[..., 0]), values * scale[..., 0], jnp.nan)
    return values.reshape(*matrix.shape[:-2], size)


def _bisect_tridiagonal(diagonal: Array, beside: Array) -> Array:
    """By Sturm counts: as many eigenvalues lie below x as the factors of T - x I have negative pivots."""
    size, kind = diagonal.shape[0], jnp.finfo(diagonal.dtype)
    edge = jnp.pad(jnp.abs(beside), 1)
    radius = edge[:-1] + edge[1:]
    squares = jnp.pad(beside**2, (1, 0))
    least_pivot = float(kind.tiny / kind.eps)
    wanted = jnp.arange(size)

    def below(x: Array) -> Array:
        def eliminate(row: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            pivot, count = carry
            pivot = diagonal[row] - x - squares[row] / pivot
            pivot = jnp.where(jnp.abs(pivot) < least_pivot, -least_pivot, pivot)
            return pivot, count + (pivot < 0)

        begin = jnp.ones_like(x), jnp.zeros(x.shape, jnp.int32)
        return jax.lax.fori_loop(0, size, eliminate, begin, unroll=UNROLL)[1]

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        left = below(middle) > wanted
        return jnp.where(left, low, middle), jnp.where(left, middle, high)

    # Counts at evenly spaced places tell all eigenvalues apart at once, as well as log2(size) halvings would.
    least, most = jnp.min(diagonal - radius), jnp.max(diagonal + radius)
    places = least + (most - least) * (jnp.arange(size + 1, dtype=diagonal.dtype) / size)
    right = jnp.clip(jnp.searchsorted(below(places), wanted, side="right", method="compare_all"), 1, size)
    halvings = kind.nmant + 3 - int(math.log2(size))
    low, high = jax.lax.fori_loop(0, halvings, halve, (places[right - 1], places[right]))
    return 0.5 * (low + high)


# A primitive, since the branches of ``lax.platform_dependent`` are lowered for all platforms of an export, and
# tridiagonal form does not lower for TPU.
_eigenvalues_p = Primitive("eigenvalues")
_eigenvalues_p.def_impl(jax.jit(lambda matrix: _eigenvalues_p.bind(matrix)))
_eigenvalues_p.def_abstract_eval(lambda matrix: matrix.update(shape=matrix.shape[:-1]))
mlir.register_lowering(_eigenvalues_p, mlir.lower_fun(jnp.linalg.eigvalsh, multiple_results=False))
mlir.register_lowering(_eigenvalues_p, mlir.lower_fun(_by_bisection, multiple_results=False), platform="cpu")


def _over_batch(operands: tuple[Array], axes: tuple[int]) -> tuple[Array, int]:
    return _eigenvalues_p.bind(jnp.moveaxis(operands[0], axes[0], 0)), 0


batching.primitive_batchers[_eigenvalues_p] = _over_batch
