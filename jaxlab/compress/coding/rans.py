"""Probabilities as whole numbers, and a stack coder on them (rANS)."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxlab import checks
from jaxlab.typing import Array, ArrayLike

__all__ = ["RansState", "quantize_cdf", "rans_decode", "rans_encode", "rans_open"]

WORD = 32  # bits that leave the coder's state at once; the state stays in [2^32, 2^64)


class RansState(NamedTuple):
    """A decoder in the middle of a stream: the number it works on, the words that follow, and how many are used."""

    number: int
    words: np.ndarray
    used: int


def quantize_cdf(probs: ArrayLike, *, precision: int = 16) -> Array:
    r"""Cumulative counts of a distribution that a coder can use: whole numbers, and none of them without room.

    .. math:: c_v = 1 + \lfloor p_v (2^b - V) \rfloor, \qquad F_v = \sum_{u < v} c_u, \qquad F_V = 2^b

    What the rounding leaves goes to the most probable value. The cost over the true distribution is at most
    :math:`-\log_2(1 - V 2^{-b})` bits per value.

    Args:
      probs: float [..., V], V <= 2^precision, sums of 1 over the last axis.
      precision: b, static, 1 to 24.
    Returns:
      int32 [..., V + 1], increasing from 0 to 2^b; all as if uniform where probs hold NaN or do not sum to about 1.
    Raises:
      ValueError: precision is out of range or 2^b < V, or probs are a scalar.
      TypeError: probs are not floating point.

    >>> print(quantize_cdf(jnp.array([0.75, 0.25, 0.0]), precision=4))
    [ 0 11 15 16]

    Reference: as the intervals of Liu, Mandt and Van den Broeck, "Lossless Compression with Probabilistic Circuits"
    (2022), checked in an excerpt of the authors' code.
    """
    probs = checks.floating(probs, "probs")
    if probs.ndim < 1:
        raise ValueError("probs must have shape [..., V], got a scalar")
    if not 1 <= checks.size(precision, "precision") <= 24:
        raise ValueError(f"precision must be from 1 to 24 bits, got {precision}")
    num, total = probs.shape[-1], 2**precision
    if num > total:
        raise ValueError(f"precision must leave a count for each of the {num} values, got {precision} bits")
    usable = jnp.abs(jnp.sum(probs, axis=-1, keepdims=True) - 1.0) < 0.01
    safe = jnp.clip(jnp.where(usable, probs.astype(jnp.float32), 1.0 / num), 0.0, 1.0)
    counts = 1 + jnp.floor(safe * (total - num)).astype(jnp.int32)
    # Rounding may have given too much as well as too little; the largest count bears either.
    rest = total - jnp.sum(counts, axis=-1, keepdims=True)
    largest = jnp.argmax(counts, axis=-1, keepdims=True) == jnp.arange(num)
    counts = counts + jnp.where(largest, rest, 0)
    return jnp.concatenate([jnp.zeros_like(counts[..., :1]), jnp.cumsum(counts, axis=-1)], axis=-1)


def rans_encode(starts: Sequence[int] | np.ndarray, sizes: Sequence[int] | np.ndarray, *, precision: int = 16) -> bytes:
    r"""Writes symbols, given as intervals of counts, so that they can be read in the same order.

    .. math:: s \leftarrow \lfloor s / c \rfloor\, 2^b + F + (s \bmod c)

    It works on the host, with whole numbers, from the last symbol to the first: the coder is a stack.

    Args:
      starts: int [n], F of every symbol.
      sizes: int [n], c >= 1 of every symbol, F + c <= 2^precision.
      precision: b, 1 to 24.
    Returns:
      The stream: 8 bytes and then words of 4, about sum(b - log2 c) bits.
    Raises:
      ValueError: starts and sizes differ in length or leave [0, 2^precision], or precision is out of range.

    >>> len(rans_encode([0, 8], [8, 8], precision=4))
    8

    Reference: Duda, "Asymmetric numeral systems" (2013). Standard; the paper's code uses it with 28 bits.
    """
    first, width = (np.asarray(values, np.int64).ravel() for values in (starts, sizes))
    total = _total(precision)
    if first.shape != width.shape:
        raise ValueError(f"starts and sizes must have the same length, got {len(first)} and {len(width)}")
    if np.any((first < 0) | (width < 1) | (first + width > total)):
        raise ValueError(f"starts and sizes must be intervals inside [0, {total}], of at least 1")
    number, words = 1 << WORD, []
    for start, size in zip(first[::-1].tolist(), width[::-1].tolist(), strict=True):
        if number >= size << (2 * WORD - precision):
            words.append(number & 0xFFFFFFFF)
            number >>= WORD
        number = ((number // size) << precision) + start + number % size
    head = np.array([number >> WORD, number & 0xFFFFFFFF], "<u4")
    return head.tobytes() + np.array(words[::-1], "<u4").tobytes()


def rans_open(stream: bytes) -> RansState:
    r"""The decoder at the beginning of a stream.

    .. math:: s_0 \in [2^{32}, 2^{64})

    Args:
      stream: of ``rans_encode``.
    Returns:
      RansState for ``rans_decode``.
    Raises:
      ValueError: the stream is cut off or was not written by ``rans_encode``.

    >>> rans_open(rans_encode([0], [16], precision=4)).used
    2

    Reference: as ``rans_encode``. Standard.
    """
    if len(stream) < 8 or len(stream) % 4:
        raise ValueError(f"stream must hold 8 bytes and words of 4, got {len(stream)} bytes: it is cut off")
    words = np.frombuffer(stream, "<u4")
    number = (int(words[0]) << WORD) | int(words[1])
    if number < 1 << WORD:
        raise ValueError("stream must begin with a state of at least 2^32: it was not written by rans_encode")
    return RansState(number, words, 2)


def rans_decode(state: RansState, cdfs: ArrayLike, *, precision: int = 16) -> tuple[np.ndarray, RansState]:
    r"""Reads the next symbols, one for each table of cumulative counts.

    .. math:: F_v \le s \bmod 2^b < F_{v + 1},
              \qquad s \leftarrow c_v \lfloor s / 2^b \rfloor + (s \bmod 2^b) - F_v

    Args:
      state: RansState.
      cdfs: int [n, V + 1], the tables the symbols were written with, as ``quantize_cdf`` gives them.
      precision: b, as written.
    Returns:
      (symbols int64 [n], the state after them).
    Raises:
      ValueError: the stream ends too early, or precision is out of range.

    >>> stream = rans_encode([8, 0], [8, 8], precision=4)
    >>> rans_decode(rans_open(stream), [[0, 8, 16]] * 2, precision=4)[0].tolist()
    [1, 0]

    Reference: as ``rans_encode``. Standard.
    """
    tables = np.asarray(cdfs, np.int64)
    mask = _total(precision) - 1
    number, used = state.number, state.used
    symbols = np.zeros(len(tables), np.int64)
    for i, table in enumerate(tables):
        slot = number & mask
        symbol = int(np.searchsorted(table, slot, side="right")) - 1
        start, stop = int(table[symbol]), int(table[symbol + 1])
        number = (stop - start) * (number >> precision) + slot - start
        if number < 1 << WORD:
            if used >= len(state.words):
                raise ValueError("state has no words left: the stream is cut off, or the tables are not the writer's")
            number = (number << WORD) | int(state.words[used])
            used += 1
        symbols[i] = symbol
    return symbols, RansState(number, state.words, used)


def _total(precision: int) -> int:
    if not 1 <= checks.size(precision, "precision") <= 24:
        raise ValueError(f"precision must be from 1 to 24 bits, got {precision}")
    return int(2**precision)
