"""Summaries of tokens, and the pathway of a task beside a frozen transformer."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import continual, nn

rng = np.random.default_rng(0)
D, HEADS, TOKENS = 8, 2, 9
PARAMS = nn.transformer_block_init(jax.random.key(0), D, hidden=16)
X = rng.normal(size=(5, TOKENS, D)).astype(np.float32)
STREAM = rng.normal(size=(5, 4, D)).astype(np.float32)
PROMPTS = tuple(rng.normal(size=(2, 3, HEADS, D // HEADS)).astype(np.float32))


def test_identical_tokens_are_their_own_summary():
    same = np.broadcast_to(X[0, :1], (TOKENS, D))
    np.testing.assert_allclose(nn.summarize_tokens(STREAM[0], same), np.broadcast_to(X[0, 0], (4, D)), rtol=1e-5)


def test_the_order_of_tokens_does_not_matter_and_zero_is_the_mean():
    summaries = nn.summarize_tokens(STREAM, X)
    np.testing.assert_allclose(nn.summarize_tokens(STREAM, X[:, rng.permutation(TOKENS)]), summaries, atol=1e-6)
    mean = nn.summarize_tokens(np.zeros((1, D), np.float32), X[0])[0]
    np.testing.assert_allclose(mean, X[0].mean(0), atol=1e-6)
    # By hand: softmax over tokens of the scaled products.
    scores = STREAM[1] @ X[1].T / np.sqrt(D)
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(summaries[1], weights @ X[1], rtol=1e-4, atol=1e-5)


def test_a_mask_is_the_shorter_sequence():
    where = np.broadcast_to(np.arange(TOKENS) < 6, X.shape[:2])
    dirty = np.where(where[..., None], X, np.nan)
    shorter = nn.summarize_tokens(STREAM, X[:, :6])
    np.testing.assert_allclose(nn.summarize_tokens(STREAM, dirty, where=where), shorter, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(nn.summarize_tokens(STREAM, X, where=np.zeros(X.shape[:2], bool)), 0.0)


def test_tokens_get_no_gradient():
    total = jax.jit(jax.grad(lambda x, stream: jnp.sum(nn.pathway_block(PARAMS, x, stream, heads=HEADS) ** 2), (0, 1)))
    by_x, by_stream = total(X, STREAM)
    assert not np.any(by_x)
    assert np.all(np.any(by_stream, axis=(0, 2)))


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


def reference_block(params, tokens, rows, context, prompts=None):
    """One block in numpy: ``rows`` (normalised) attend to ``context``, ``tokens`` are what is added to."""
    gelu = np.vectorize(lambda t: 0.5 * t * (1 + float(jax.scipy.special.erf(t / np.sqrt(2)))))
    kernel = np.split(np.asarray(params["qkv"]["kernel"]), 3, axis=1)
    q, k, v = rows @ kernel[0], context @ kernel[1], context @ kernel[2]
    heads = []
    for head in range(HEADS):
        part = slice(head * D // HEADS, (head + 1) * D // HEADS)
        keys, values = k[:, part], v[:, part]
        if prompts is not None:
            keys, values = np.concatenate([prompts[0][:, head], keys]), np.concatenate([prompts[1][:, head], values])
        scores = np.exp(q[:, part] @ keys.T / np.sqrt(D // HEADS))
        heads.append(scores / scores.sum(1, keepdims=True) @ values)
    attended = np.concatenate(heads, axis=1) @ np.asarray(params["proj"]["kernel"])

    def finish(tokens, attended):
        x = tokens + attended
        return x + gelu(layer_norm(x) @ params["mlp_in"]["kernel"]) @ np.asarray(params["mlp_out"]["kernel"])

    return attended, finish


def test_frozen_block_by_hand():
    normed = layer_norm(X[0])
    attended, finish = reference_block(PARAMS, X[0], normed, normed)
    np.testing.assert_allclose(nn.transformer_block(PARAMS, X, heads=HEADS)[0], finish(X[0], attended), atol=2e-5)


@pytest.mark.parametrize("prompts", [None, PROMPTS])
def test_pathway_by_hand(prompts):
    stream = layer_norm(STREAM[0])
    scores = np.exp(stream[1:] @ layer_norm(X[0]).T / np.sqrt(D))
    summaries = scores / scores.sum(1, keepdims=True) @ layer_norm(X[0])
    context = np.concatenate([stream[:1], summaries])
    attended, finish = reference_block(PARAMS, STREAM[0], stream[:1], context, prompts)
    # Dropped and replaced: the selectors come back as they went in.
    expected = finish(STREAM[0], np.concatenate([attended, stream[1:]]))
    got = nn.pathway_block(PARAMS, X, STREAM, heads=HEADS, prompts=prompts)[0]
    np.testing.assert_allclose(got, expected, atol=2e-5)


def logits(streams, num_tasks):
    """Logits of all classes: two blocks, a pathway per task, a head of six classes on each class token."""
    task_of_class = jnp.where(jnp.arange(6) // 2 < num_tasks, jnp.arange(6) // 2, -1)
    kernel = jnp.linspace(-1, 1, D * 6).reshape(D, 6)

    def pathway(stream, tokens):
        for _ in range(2):
            stream = nn.pathway_block(PARAMS, tokens, stream, heads=HEADS)
            tokens = nn.transformer_block(PARAMS, tokens, heads=HEADS)
        return stream[:, 0] @ kernel

    each = jnp.stack([pathway(streams[task], X) for task in range(num_tasks)])
    return continual.block_diagonal_logits(each, task_of_class)


def test_a_new_task_leaves_earlier_logits_bit_for_bit():
    streams = jnp.asarray(np.stack([STREAM, STREAM[:, ::-1], 2 * STREAM]))
    two, three = jax.jit(logits, static_argnums=1)(streams, 2), jax.jit(logits, static_argnums=1)(streams, 3)
    np.testing.assert_array_equal(three[:, :4], two[:, :4])
    assert np.all(np.isneginf(two[:, 4:]))
    assert np.all(np.isfinite(three))


def test_no_class_depends_on_the_pathway_of_another_task():
    streams = jnp.asarray(np.stack([STREAM, STREAM[:, ::-1], 2 * STREAM]))
    jacobian = jax.jit(jax.jacrev(lambda streams: jnp.sum(logits(streams, 3), axis=0)))(streams)
    depends = np.any(jacobian != 0, axis=(2, 3, 4))
    np.testing.assert_array_equal(depends, np.repeat(np.eye(3, dtype=bool), 2, axis=0))


BAD = {
    "widths": (lambda: nn.summarize_tokens(STREAM[..., :3], X), ValueError, "selectors must be [..., S, D]"),
    "where": (lambda: nn.summarize_tokens(STREAM, X, where=np.ones(3, bool)), ValueError, "where must have shape"),
    "heads": (lambda: nn.transformer_block(PARAMS, X, heads=3), ValueError, "multiple of 3"),
    "tokens": (lambda: nn.transformer_block(PARAMS, X[..., :4], heads=2), ValueError, "[..., N, 8]"),
    "no selector": (lambda: nn.pathway_block(PARAMS, X, STREAM[:, :1], heads=2), ValueError, "S >= 1"),
    "batch": (lambda: nn.pathway_block(PARAMS, X, STREAM[:2], heads=2), ValueError, "stream must have shape"),
    "prompts": (
        lambda: nn.pathway_block(PARAMS, X, STREAM, heads=2, prompts=(PROMPTS[0][0], PROMPTS[1])),
        ValueError,
        "prompts must have shape [P, 2, 4]",
    ),
    "integers": (lambda: nn.transformer_block(PARAMS, jnp.ones((3, D), int), heads=2), TypeError, "floating point"),
    "sizes": (lambda: nn.transformer_block_init(jax.random.key(0), 0, hidden=2), ValueError, "dim"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
