"""Attention over a sequence of chunks: softmax inside a chunk, a decaying linear memory across chunks."""

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["gated_linear_attention_step", "hybrid_chunk_attention"]


def gated_linear_attention_step(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, gate: ArrayLike, state: ArrayLike
) -> tuple[Array, Array]:
    r"""What the tokens of one chunk read from the memory, and the memory after the chunk.

    .. math:: o_j = e^{\sum_{i \le j} g_i}\, q_j S,
              \qquad S' = e^{\frac1T \sum_j g_j}\, S + \tfrac{1}{\sqrt d}\, K^\top V

    A chunk reads what came before it, not itself. The memory decays by the mean gate of the chunk, the readings by
    the sum of the gates so far, as published.

    Args:
      q: float [..., T, d].
      k: float [..., T, d], not scaled.
      v: float [..., T, e].
      gate: float [..., T], logarithms of the decay, <= 0; 0 forgets nothing.
      state: float [..., d, e], S; zeros at first.
    Returns:
      (out [..., T, e] in the dtype of v, state [..., d, e] in float32 or wider).
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> q = k = v = jnp.ones((2, 1))
    >>> out, state = gated_linear_attention_step(q, k, v, jnp.zeros(2), jnp.full((1, 1), 3.0))
    >>> print(out[:, 0], state)
    [3. 3.] [[5.]]

    Reference: Hui et al., "ARFlow: Autoregressive Flow with Hybrid Linear Attention" (2025); checked against the
    authors' code.
    """
    q, k, v, gate = _check(q, k, v, gate, 2)
    state = _check_state(state, q, v, q.shape[:-2])
    dtype = accumulation_dtype(q, k, v, gate, state)
    wide = [array.astype(dtype) for array in (q, k, v, gate)]
    out = _read(wide[0], wide[3], state.astype(dtype))
    return out.astype(v.dtype), _remember(wide[1], wide[2], wide[3], state.astype(dtype))


def hybrid_chunk_attention(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, gate: ArrayLike, state: ArrayLike | None = None
) -> tuple[Array, Array]:
    r"""Full softmax attention inside every chunk, plus linear attention to a memory of the chunks before.

    .. math:: O_n = \mathrm{softmax}\big(\tfrac{1}{\sqrt d} Q_n K_n^\top\big) V_n
              + e^{\mathrm{cumsum}(g_n)} \odot Q_n S_n

    with S as in ``gated_linear_attention_step``. A chunk is one image of a sequence; chunks attend backwards only. The
    layer around it normalises q, k and v, and the result again, by their root mean square.

    Args:
      q: float [B, H, C, T, d]: C chunks of T tokens.
      k: float [B, H, C, T, d], not scaled: 1 / sqrt(d) is applied here.
      v: float [B, H, C, T, e].
      gate: float [B, H, C, T], logarithms of the decay, <= 0; logsigmoid(...) / 16 in the paper.
      state: float [B, H, d, e], the memory so far; None is empty. It belongs to one sequence under one condition: the
        two branches of guidance keep one each.
    Returns:
      (out [B, H, C, T, e] in the dtype of v, state [B, H, d, e] in float32 or wider). Chunk by chunk with the state
      handed on gives the same as all chunks at once.
    Raises:
      ValueError: shapes do not agree.
      TypeError: an array is not floating point.

    >>> q, gate = jnp.ones((1, 1, 3, 2, 4)), jnp.zeros((1, 1, 3, 2))
    >>> out, state = hybrid_chunk_attention(q, q, q, gate)
    >>> print(out[0, 0, :, 0, 0], state[0, 0, 0, 0])
    [1. 5. 9.] 3.0

    Reference: Hui et al., as in ``gated_linear_attention_step``; checked against the authors' code, training and
    inference.
    """
    q, k, v, gate = _check(q, k, v, gate, 5)
    dtype = accumulation_dtype(q, k, v, gate)
    lead = q.shape[:2]
    if state is None:
        memory = jnp.zeros((*lead, q.shape[-1], v.shape[-1]), dtype)
    else:
        memory = _check_state(state, q, v, lead)
        dtype = accumulation_dtype(q, k, v, gate, memory)
        memory = memory.astype(dtype)
    q_wide, k_wide, v_wide, g_wide = (array.astype(dtype) for array in (q, k, v, gate))
    logits = jnp.einsum("...td,...sd->...ts", q_wide, k_wide) * q.shape[-1] ** -0.5
    inner = jnp.einsum("...ts,...se->...te", jax.nn.softmax(logits, axis=-1), v_wide)

    def advance(memory: Array, chunk: tuple[Array, ...]) -> tuple[Array, Array]:
        q_now, k_now, v_now, g_now = chunk
        return _remember(k_now, v_now, g_now, memory), _read(q_now, g_now, memory)

    chunks = tuple(jnp.moveaxis(array, 2, 0) for array in (q_wide, k_wide, v_wide, g_wide))
    memory, cross = jax.lax.scan(advance, memory, chunks)
    return (inner + jnp.moveaxis(cross, 0, 2)).astype(v.dtype), memory


def _read(q: Array, gate: Array, memory: Array) -> Array:
    return jnp.einsum("...td,...de->...te", q * jnp.exp(jnp.cumsum(gate, axis=-1))[..., None], memory)


def _remember(k: Array, v: Array, gate: Array, memory: Array) -> Array:
    written = jnp.einsum("...td,...te->...de", k, v) * k.shape[-1] ** -0.5
    return jnp.exp(jnp.mean(gate, axis=-1))[..., None, None] * memory + written


def _check(q: ArrayLike, k: ArrayLike, v: ArrayLike, gate: ArrayLike, least: int) -> tuple[Array, ...]:
    arrays = [checks.floating(value, name) for value, name in ((q, "q"), (k, "k"), (v, "v"), (gate, "gate"))]
    query, key, value, decay = arrays
    layout = "[B, H, C, T, d]" if least == 5 else "[..., T, d]"
    if query.ndim < least or (least == 5 and query.ndim != 5) or 0 in query.shape[-2:]:
        raise ValueError(f"q must have shape {layout}, got {list(query.shape)}")
    checks.same_shape(query, "q", key, "k")
    if value.ndim != query.ndim or value.shape[:-1] != query.shape[:-1]:
        raise ValueError(f"v must have shape {[*query.shape[:-1], 'e']}, got {list(value.shape)}".replace("'", ""))
    if decay.shape != query.shape[:-1]:
        raise ValueError(f"gate must have shape {list(query.shape[:-1])}, one per token, got {list(decay.shape)}")
    return query, key, value, decay


def _check_state(state: ArrayLike, q: Array, v: Array, lead: tuple[int, ...]) -> Array:
    memory = checks.floating(state, "state")
    expected = (*lead, q.shape[-1], v.shape[-1])
    if memory.shape != expected:
        raise ValueError(f"state must have shape {list(expected)}, got {list(memory.shape)}")
    return memory
