"""Sums and solutions of normal equations with two float32 words, from float32 matrix products alone.

The idea in both halves: split every operand on a power-of-two grid into integers of a few bits. A product of such
integers, summed over a block, stays below 2^24, so float32 computes it exactly, in any order, even where the hardware
multiplies bfloat16. Exact pieces are added as two-float numbers; what is left over is small enough for plain float32.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from jaxlab.numerics.exact import round_to_grid, two_sum
from jaxlab.typing import Array

__all__ = ["compensated_products", "refined_solve"]

Words = tuple[Array, Array]  # a number as the sum of a leading and a low float32

ROWS_PER_SUM = 1024  # 7 bits a factor leave 10 for the sum
COLUMNS_PER_SUM = 512  # likewise, and one spare
FINE_BITS = 5  # of the second slice: sums of random sign leave room for so many


def _bits(rows: int) -> int:
    """Bits per factor such that a sum of ``rows`` products of integers is exact; at most 8, what bfloat16 holds."""
    return min(8, (24 - math.ceil(math.log2(max(rows, 2)))) // 2)


def _integer_product(a: Array, b: Array) -> Array:
    # Exact at every precision, so ask for the cheapest one.
    return jnp.matmul(a, b, precision=jax.lax.Precision.DEFAULT)


def _add_term(total: Words, term: Array) -> Words:
    high, error = two_sum(total[0], term)
    return high, total[1] + error


def compensated_products(half_gram: Words, cross: Words, x: Array, y: Array) -> tuple[Words, Words]:
    """Adds a chunk to H (with H + H' = X'X) and to X'Y, both kept as two words.

    With x = c + r + t, c and r on grids: X'X = H + H' for H = c'c / 2 + (c + r / 2)' r + (c + r + t / 2)' t. The first
    term is exact; so is the second, 2^-8 of it, unless remainders of one sign meet entries that are all large; the
    third is 2^-14 of the first, and plain float32 is enough there. It is added, not dropped: fixed-point bits alone are
    too few for columns with one large entry.
    """
    rows = x.shape[0]
    if rows > ROWS_PER_SUM:
        blocks = -(-rows // ROWS_PER_SUM)
        padding = ((0, blocks * ROWS_PER_SUM - rows), (0, 0))
        chunks = [jnp.pad(a, padding).reshape(blocks, ROWS_PER_SUM, -1) for a in (x, y)]
        body = lambda words, chunk: (compensated_products(*words, *chunk), None)  # noqa: E731
        return jax.lax.scan(body, (half_gram, cross), tuple(chunks))[0]

    bits = _bits(rows)
    x_grid, x_scale = round_to_grid(x, bits=bits, axis=0)
    y_grid, y_scale = round_to_grid(y, bits=bits, axis=0)
    x_coarse, y_rest = x_grid * x_scale, y - y_grid * y_scale
    x_rest = x - x_coarse
    fine_scale = x_scale * 0.5 ** (FINE_BITS + 1)
    x_fine = jnp.round(x_rest / fine_scale) * fine_scale
    x_tail = x_rest - x_fine
    with jax.default_matmul_precision("highest"):
        half_gram = _add_term(half_gram, _integer_product(x_grid.T, x_grid) * (0.5 * x_scale) * x_scale.T)
        half_gram = _add_term(half_gram, (x_coarse + 0.5 * x_fine).T @ x_fine)
        half_gram = half_gram[0], half_gram[1] + (x_coarse + x_fine + 0.5 * x_tail).T @ x_tail
        cross = _add_term(cross, _integer_product(x_grid.T, y_grid) * x_scale.T * y_scale)
        cross = cross[0], cross[1] + (x_coarse.T @ y_rest + x_rest.T @ y)
    return half_gram, cross


class _Sliced(NamedTuple):
    """A two-word matrix cut along its rows into blocks and along its digits into slices (integers, scale), and rest."""

    grids: list[Array]  # three of [blocks, COLUMNS_PER_SUM, D]
    scales: list[Array]  # three of [blocks, 1, D]
    rest: Array  # [blocks, COLUMNS_PER_SUM, D]


def _blocks(x: Array) -> Array:
    """Rows padded with zeros and cut into blocks [blocks, COLUMNS_PER_SUM, D]."""
    blocks = -(-x.shape[0] // COLUMNS_PER_SUM)
    return jnp.pad(x, ((0, blocks * COLUMNS_PER_SUM - x.shape[0]), (0, 0))).reshape(blocks, COLUMNS_PER_SUM, -1)


def _slices(x: Array, low: Array | None = None) -> _Sliced:
    grids: list[Array] = []
    scales: list[Array] = []
    rest = _blocks(x)
    for _ in range(3):
        grid, scale = round_to_grid(rest, bits=_bits(COLUMNS_PER_SUM), axis=1)
        grids, scales, rest = [*grids, grid], [*scales, scale], rest - grid * scale
    if low is not None:
        rest = rest + _blocks(low)
    return _Sliced(grids, scales, rest)


def _two_word_product(matrix: _Sliced, w: Array) -> Words:
    """Symmetric two-word matrix times a float32 matrix, to about 2^-46 of the largest products."""
    columns = w.shape[1]
    weight = _slices(w)
    side_by_side = jnp.concatenate(weight.grids, axis=2)

    def add_block(total: Words, block: tuple[_Sliced, _Sliced, Array, Array]) -> tuple[Words, None]:
        rows, weight, side_by_side, whole = block  # rows of the symmetric matrix stand for its columns
        for grid, scale in zip(rows.grids, rows.scales, strict=True):
            product = _integer_product(grid.T, side_by_side)
            for i, weight_scale in enumerate(weight.scales):
                term = product[:, i * columns : (i + 1) * columns] * scale.T * weight_scale
                total = _add_term(total, term)
            total = total[0], total[1] + (grid * scale).T @ weight.rest
        return (total[0], total[1] + rows.rest.T @ whole), None

    zero = jnp.zeros((matrix.rest.shape[2], columns), w.dtype)
    with jax.default_matmul_precision("highest"):
        return jax.lax.scan(add_block, (zero, zero), (matrix, weight, side_by_side, _blocks(w)))[0]


@functools.partial(jax.jit, static_argnames="num_refinements")
def refined_solve(half_gram: Words, cross: Words, *, ridge: Array, prior: Array | None, num_refinements: int) -> Array:
    """(H + H' + ridge I)^-1 (Q + ridge prior): a float32 Cholesky factor, refined against the two-word matrix."""
    high, low = half_gram
    total, error = two_sum(high, high.T)
    gram = two_sum(total, error + (low + low.T))
    factor = jnp.linalg.cholesky(gram[0] + ridge * jnp.eye(high.shape[0], dtype=high.dtype))
    sliced = _slices(*gram)
    pulled = jnp.zeros_like(cross[0]) if prior is None else prior

    def refine(_: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        w, last_size = carry
        product = _two_word_product(sliced, w)
        residual, error = two_sum(cross[0], -product[0])
        residual = residual + (error + cross[1] - product[1] + ridge * (pulled - w))
        with jax.default_matmul_precision("highest"):
            step = jsl.cho_solve((factor, True), residual)
        # Steps that grow lead away (float32 could not factor the matrix well enough): each column stops there for good.
        # Not "size < last_size": a NaN has to come through.
        size = jnp.linalg.norm(step, axis=0)
        onward = ~(size >= last_size)
        return jnp.where(onward, w + step, w), jnp.where(onward, size, 0.0)

    zero = jnp.zeros_like(cross[0])
    start = (zero, jnp.full(zero.shape[1], jnp.inf, zero.dtype))
    return jax.lax.fori_loop(0, num_refinements + 1, refine, start)[0]
