"""Hybrid attention over chunks against a token-by-token loop in float64, causality, streaming, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nn

RNG = np.random.default_rng(1)
B, H, C, T, D, E = 2, 3, 4, 5, 6, 7
Q, K = (RNG.normal(size=(B, H, C, T, D)).astype(np.float32) for _ in range(2))
V = RNG.normal(size=(B, H, C, T, E)).astype(np.float32)
GATE = -RNG.uniform(0.0, 0.6, (B, H, C, T)).astype(np.float32)
S0 = RNG.normal(size=(B, H, D, E)).astype(np.float32)


def by_loop(q, k, v, gate, state):
    """The formula, one head, one chunk and one token at a time."""
    q, k, v, gate, state = (np.asarray(a, np.float64) for a in (q, k, v, gate, state))
    out, last = np.zeros(v.shape), np.zeros(state.shape)
    for b, h in np.ndindex(B, H):
        memory = state[b, h]
        for n in range(q.shape[2]):
            decay = 0.0
            for j in range(T):
                weights = np.exp([q[b, h, n, j] @ k[b, h, n, i] / np.sqrt(D) for i in range(T)])
                decay += gate[b, h, n, j]
                out[b, h, n, j] = weights / weights.sum() @ v[b, h, n] + np.exp(decay) * q[b, h, n, j] @ memory
            written = sum(np.outer(k[b, h, n, i], v[b, h, n, i]) for i in range(T)) / np.sqrt(D)
            memory = np.exp(gate[b, h, n].mean()) * memory + written
        last[b, h] = memory
    return out, last


def test_equals_the_loop_over_tokens():
    out, state = nn.hybrid_chunk_attention(Q, K, V, GATE, S0)
    expected, last = by_loop(Q, K, V, GATE, S0)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(state, last, rtol=1e-4, atol=1e-4)
    empty, _ = nn.hybrid_chunk_attention(Q, K, V, GATE)
    np.testing.assert_allclose(empty, by_loop(Q, K, V, GATE, np.zeros_like(S0))[0], rtol=1e-4, atol=1e-4)


def test_one_chunk_is_ordinary_attention():
    out, _ = nn.hybrid_chunk_attention(Q[:, :, :1], K[:, :, :1], V[:, :, :1], GATE[:, :, :1])
    query, key, value = (jnp.swapaxes(a[:, :, 0], 1, 2) for a in (Q, K, V))  # [B, T, H, d]
    ordinary = jax.nn.dot_product_attention(query, key, value[..., :D])
    np.testing.assert_allclose(jnp.swapaxes(out[:, :, 0], 1, 2)[..., :D], ordinary, rtol=1e-4, atol=1e-5)


def test_chunks_see_backwards_only():
    changed = [a.copy() for a in (Q, K, V, GATE)]
    for array in changed:
        array[:, :, 2] = RNG.normal(size=array[:, :, 2].shape)
    before, after = (np.asarray(nn.hybrid_chunk_attention(*given)[0]) for given in ((Q, K, V, GATE), changed))
    np.testing.assert_array_equal(after[:, :, :2], before[:, :, :2])
    assert np.abs(after[:, :, 3] - before[:, :, 3]).max() > 0.1
    jacobian = jax.jacobian(lambda v: nn.hybrid_chunk_attention(Q, K, v, GATE)[0][0, 0, :, 0, 0])(V)[:, 0, 0, :, :, 0]
    seen = np.abs(jacobian).sum(axis=-1) > 0  # [chunk that looks, chunk it looks at]
    np.testing.assert_array_equal(seen, np.tri(C, dtype=bool))


def test_a_stream_of_chunks_gives_the_same():
    whole, last = nn.hybrid_chunk_attention(Q, K, V, GATE)
    state, parts = None, []
    for n in range(C):
        out, state = nn.hybrid_chunk_attention(*(a[:, :, n : n + 1] for a in (Q, K, V, GATE)), state)
        parts.append(out)
    np.testing.assert_allclose(np.concatenate(parts, axis=2), whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state, last, rtol=1e-5, atol=1e-5)


def test_the_gate_decides_how_long_the_memory_lasts():
    written = np.einsum("bhctd,bhcte->bhde", K, V) / np.sqrt(D)
    _, kept = nn.hybrid_chunk_attention(Q, K, V, np.zeros_like(GATE), S0)
    np.testing.assert_allclose(kept, S0 + written, rtol=1e-4, atol=1e-4)
    out, forgotten = nn.hybrid_chunk_attention(Q, K, V, np.full_like(GATE, -1e4), S0)
    np.testing.assert_allclose(
        forgotten, np.einsum("bhtd,bhte->bhde", K[:, :, -1], V[:, :, -1]) / np.sqrt(D), rtol=1e-4
    )
    alone = [nn.hybrid_chunk_attention(*(a[:, :, n : n + 1] for a in (Q, K, V, GATE)))[0] for n in (0, 3)]
    np.testing.assert_allclose(out[:, :, :1], alone[0], rtol=1e-5)
    np.testing.assert_allclose(out[:, :, 3:], alone[1], rtol=1e-5)


def test_the_step_is_the_linear_part_of_a_chunk():
    chunk = [a[:, :, 0] for a in (Q, K, V, GATE)]
    out, state = nn.gated_linear_attention_step(*chunk, S0)
    whole, last = nn.hybrid_chunk_attention(*(a[:, :, :1] for a in (Q, K, V, GATE)), S0)
    inner, _ = nn.hybrid_chunk_attention(*(a[:, :, :1] for a in (Q, K, V, GATE)))
    np.testing.assert_allclose(out, (whole - inner)[:, :, 0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(state, last, rtol=1e-5, atol=1e-5)


def test_half_precision_keeps_a_wide_memory():
    half = [jnp.asarray(a, jnp.bfloat16) for a in (Q, K, V, GATE)]
    out, state = nn.hybrid_chunk_attention(*half)
    assert (out.dtype, state.dtype) == (jnp.bfloat16, jnp.float32)
    wide, _ = nn.hybrid_chunk_attention(*(a.astype(jnp.float32) for a in half))
    np.testing.assert_allclose(out.astype(jnp.float32), wide, rtol=1e-2, atol=1e-2)


BAD = {
    "axes": (lambda: nn.hybrid_chunk_attention(Q[0], K[0], V[0], GATE[0]), ValueError, r"q must have shape \[B, H, C"),
    "keys": (
        lambda: nn.hybrid_chunk_attention(Q, K[:, :, :3], V, GATE),
        ValueError,
        "q and k must have the same shape",
    ),
    "values": (lambda: nn.hybrid_chunk_attention(Q, K, V[..., :3, :], GATE), ValueError, r"v must have .*4, 5, e\]"),
    "gate": (lambda: nn.hybrid_chunk_attention(Q, K, V, GATE[..., 0]), ValueError, "gate must have .* one per token"),
    "state": (
        lambda: nn.hybrid_chunk_attention(Q, K, V, GATE, S0[..., :2]),
        ValueError,
        r"state must have .*2, 3, 6, 7",
    ),
    "integers": (lambda: nn.hybrid_chunk_attention(Q, K, V, np.zeros((B, H, C, T), int)), TypeError, "gate must be"),
    "step": (lambda: nn.gated_linear_attention_step(Q, K, V, GATE, S0), ValueError, r"state must have .*2, 3, 4, 6, 7"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
