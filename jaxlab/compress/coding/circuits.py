"""Discrete examples through a tractable density: as many bits as their likelihood asks for."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxlab import checks
from jaxlab.analytic.circuits import (
    HiddenTree,
    PrefixState,
    hclt_next_log_probs,
    hclt_observe,
    hclt_prefix_init,
)
from jaxlab.compress.coding.rans import WORD, quantize_cdf, rans_decode, rans_encode, rans_open
from jaxlab.typing import Array, ArrayLike

__all__ = ["circuit_decode", "circuit_encode"]


def circuit_encode(tree: HiddenTree, x: ArrayLike, *, precision: int = 16) -> bytes:
    r"""Writes examples in about the number of bits that the density asks for.

    .. math:: \text{bits} \approx -\sum_n \log_2 p(x_n)

    All examples share a stream, variable by variable. Writer and reader run the same compiled step, so that the tables
    of counts agree bit by bit: a stream can be read with the same tree on the same kind of device, by the same version
    of jax.

    Args:
      tree: HiddenTree.
      x: int [N, D], values in [0, V), concrete.
      precision: bits of the counts, 1 to 24; 2^precision >= V.
    Returns:
      The stream, for ``circuit_decode``.
    Raises:
      ValueError: x is not [N, D], empty, or holds a value outside [0, V).
      TypeError: x does not hold integers, or is traced.

    >>> from jaxlab import analytic
    >>> tree = analytic.hclt_init(jax.random.key(0), jnp.array([-1, 0]), num_states=2, num_values=3)
    >>> circuit_decode(tree, circuit_encode(tree, jnp.array([[2, 1]])), 1).tolist()
    [[2, 1]]

    Reference: Liu, Mandt and Van den Broeck, "Lossless Compression with Probabilistic Circuits" (2022). Recalled; the
    coder is checked in an excerpt of the authors' code.
    """
    checks.rank(checks.integer(x, "x"), "x", 2, layout="[N, D]")
    if isinstance(x, jax.core.Tracer):
        raise TypeError("x must be concrete, got a traced array: coding happens on the host")
    values = np.asarray(x)
    num, dim = values.shape
    num_values = tree.log_emission.shape[-1]
    if dim != tree.order.shape[0] or num == 0:
        raise ValueError(f"x must have shape [N, {tree.order.shape[0]}] with N >= 1, got {list(values.shape)}")
    if np.any((values < 0) | (values >= num_values)):
        raise ValueError(f"x must hold values in [0, {num_values}), got {values.min()} to {values.max()}")
    state, starts, sizes = hclt_prefix_init(tree, num), [], []
    for node in np.asarray(tree.order):
        cdf, state = _next_cdf(tree, state, precision)
        chosen = np.asarray(cdf)
        ends = [np.take_along_axis(chosen, values[:, node, None] + side, axis=1)[:, 0] for side in (0, 1)]
        starts.append(ends[0])
        sizes.append(ends[1] - ends[0])
        state = _observe(tree, state, jnp.asarray(values[:, node], jnp.int32))
    return rans_encode(np.concatenate(starts), np.concatenate(sizes), precision=precision)


def circuit_decode(tree: HiddenTree, stream: bytes, num_examples: int, *, precision: int = 16) -> np.ndarray:
    r"""Reads what ``circuit_encode`` has written, bit for bit.

    .. math:: \mathrm{decode}(\mathrm{encode}(x)) = x

    Args:
      tree: HiddenTree, the writer's.
      stream: of ``circuit_encode``.
      num_examples: N, as written.
      precision: as written.
    Returns:
      int32 [N, D].
    Raises:
      ValueError: the stream is cut off, or has words left, as with another tree or N than the writer's.

    >>> from jaxlab import analytic
    >>> tree = analytic.hclt_init(jax.random.key(0), jnp.array([-1, 0, 1]), num_states=2, num_values=4)
    >>> x = jnp.array([[3, 0, 1], [2, 2, 2]])
    >>> bool((circuit_decode(tree, circuit_encode(tree, x), 2) == x).all())
    True

    Reference: as ``circuit_encode``.
    """
    state, reader = hclt_prefix_init(tree, num_examples), rans_open(stream)
    x = np.zeros((num_examples, tree.order.shape[0]), np.int32)
    for node in np.asarray(tree.order):
        cdf, state = _next_cdf(tree, state, precision)
        x[:, node], reader = rans_decode(reader, cdf, precision=precision)
        state = _observe(tree, state, jnp.asarray(x[:, node]))
    if reader.used != len(reader.words) or reader.number != 1 << WORD:
        raise ValueError("stream holds more than was read: tree, num_examples and precision must be the writer's")
    return x


# The tables must agree bit by bit between writer and reader: both call these two programs and no others.


def _table(tree: HiddenTree, state: PrefixState, precision: int) -> tuple[Array, PrefixState]:
    log_probs, state = hclt_next_log_probs(tree, state)
    return quantize_cdf(jnp.exp(log_probs), precision=precision), state


_next_cdf = jax.jit(_table, static_argnums=2)
_observe = jax.jit(hclt_observe)
