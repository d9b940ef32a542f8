"""Prompts in front of keys and values, and in front of tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from jaxlab import nn

RNG = np.random.default_rng(0)
Q, K, V = (RNG.normal(size=(2, tokens, 2, 3)).astype(np.float32) for tokens in (4, 5, 5))
PK, PV = (RNG.normal(size=(3, 2, 3)).astype(np.float32) for _ in range(2))
attend = jax.jit(nn.prefix_attention)


def by_numpy(q, k, v):
    scores = np.einsum("bthd,bshd->bhts", q, k) / np.sqrt(q.shape[-1])
    return np.einsum("bhts,bshd->bthd", softmax(scores, -1), v)


def with_prompt(prompt, tokens):
    return np.concatenate([np.broadcast_to(prompt, (2, *prompt.shape[-3:])), tokens], 1)


def test_attention_equals_numpy():
    expected = by_numpy(Q, with_prompt(PK, K), with_prompt(PV, V))
    np.testing.assert_allclose(attend(Q, K, V, PK, PV), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(attend(Q[0], K[0], V[0], PK, PV), expected[0], rtol=1e-5, atol=1e-6)  # one sequence
    each = [np.stack([prompt, 2 * prompt]) for prompt in (PK, PV)]
    expected = by_numpy(Q, with_prompt(each[0], K), with_prompt(each[1], V))
    np.testing.assert_allclose(attend(Q, K, V, *each), expected, rtol=1e-5, atol=1e-6)


def test_an_empty_prompt_is_no_prompt():
    np.testing.assert_allclose(attend(Q, K, V, PK[:0], PV[:0]), by_numpy(Q, K, V), rtol=1e-5, atol=1e-6)


def test_keys_decide_how_much_of_the_prompt_is_read():
    far = np.full_like(PK, -1e4)
    away = attend(np.abs(Q), K, V, far, PV)
    np.testing.assert_allclose(away, by_numpy(np.abs(Q), K, V), rtol=1e-5, atol=1e-6)
    same = attend(np.abs(Q), K, V, -far, np.ones_like(PV))  # the prompt's keys win, and its values are read
    np.testing.assert_allclose(same, 1, rtol=1e-5)


def test_order_and_masks():
    np.testing.assert_allclose(attend(Q, K, V, PK[::-1], PV[::-1]), attend(Q, K, V, PK, PV), rtol=1e-5, atol=1e-6)
    where = np.array([[True, True, True, False, False], [True, False, True, True, False]])
    dirty_k, dirty_v = (np.where(where[..., None, None], x, np.nan).astype(np.float32) for x in (K, V))
    masked = attend(Q, dirty_k, dirty_v, PK, PV, where=where)
    short = attend(Q[:1], K[:1, :3], V[:1, :3], PK, PV)
    np.testing.assert_allclose(masked[:1], short, rtol=1e-5, atol=1e-6)
    grad = jax.grad(lambda v: jnp.sum(nn.prefix_attention(Q, dirty_k, v, PK, PV, where=where) ** 2))(dirty_v)
    assert np.isfinite(grad).all()
    assert (np.asarray(grad)[~where] == 0).all()
    alone = attend(Q, K, V, PK[:1], PV[:1], where=np.zeros((2, 5), bool))
    np.testing.assert_allclose(alone, np.broadcast_to(PV[:1], Q.shape), rtol=1e-5)


def test_a_prompted_block_is_the_block_with_more_keys_and_values():
    """With the prompts set to the keys and values of more tokens, the first tokens see all of them."""
    params = nn.transformer_block_init(jax.random.key(0), 6, hidden=8)
    tokens = RNG.normal(size=(2, 5, 6)).astype(np.float32)
    plain = nn.transformer_block(params, tokens[0], heads=2)
    normed = jax.nn.standardize(tokens[0, 3:], axis=-1, epsilon=1e-6)
    _, k, v = jnp.split(normed @ params["qkv"]["kernel"], 3, axis=-1)
    prompts = (k.reshape(2, 2, 3), v.reshape(2, 2, 3))
    found = nn.transformer_block(params, tokens[0, :3], heads=2, prompts=prompts)
    np.testing.assert_allclose(found, plain[:3], rtol=1e-4, atol=1e-5)
    assert np.abs(nn.transformer_block(params, tokens[0, :3], heads=2) - plain[:3]).max() > 1e-2


def test_soft_prompt_stands_in_front():
    tokens, prompt = RNG.normal(size=(2, 4, 3)).astype(np.float32), RNG.normal(size=(2, 3)).astype(np.float32)
    joined = nn.soft_prompt(tokens, prompt)
    np.testing.assert_array_equal(joined[:, 2:], tokens)
    np.testing.assert_array_equal(joined[:, :2], np.stack([prompt, prompt]))
    np.testing.assert_array_equal(nn.soft_prompt(tokens, np.stack([prompt, -prompt]))[1, :2], -prompt)
    assert nn.soft_prompt(tokens.astype(jnp.bfloat16), prompt).dtype == jnp.bfloat16


def test_bad_shapes():
    with pytest.raises(ValueError, match="prefix_k must have shape \\[P, 2, 3\\]"):
        nn.prefix_attention(Q, K, V, PK[:, :1], PV[:, :1])
    with pytest.raises(ValueError, match="prefix_k and prefix_v must have the same shape"):
        nn.prefix_attention(Q, K, V, PK, PV[:2])
    with pytest.raises(ValueError, match="k must have the shape of q"):
        nn.prefix_attention(Q, K[..., :2], V[..., :2], PK, PV)
    with pytest.raises(ValueError, match="q must have shape"):
        nn.prefix_attention(Q[0, 0], K, V, PK, PV)
    with pytest.raises(TypeError, match="v must be floating point"):
        nn.prefix_attention(Q, K, V.astype(int), PK, PV)
    with pytest.raises(ValueError, match="prompt must have shape \\[P, 3\\]"):
        nn.soft_prompt(K[:, 0], PK[0, :, :2])
