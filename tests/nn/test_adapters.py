"""Adapters: nothing at the start, and afterwards what the formula says."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from jaxlab import nn

B, T, DIM, H, C, S = 3, 5, 6, 8, 4, 2
rng = np.random.default_rng(3)
X = rng.normal(size=(B, T, DIM)).astype(np.float32)
W = np.array([1.0, 2.5, 6.0], np.float32)
TIME = rng.normal(size=(B, C)).astype(np.float32)
PROMPT = rng.normal(size=(B, S, DIM)).astype(np.float32)


def filled(params, seed=1):
    """The same tree with every zero replaced, so that each part shows in the result."""
    leaves, structure = jax.tree.flatten(params)
    draw = np.random.default_rng(seed)
    return jax.tree.unflatten(structure, [draw.normal(size=leaf.shape).astype(np.float32) for leaf in leaves])


def dense(part, x):
    return x @ np.asarray(part["kernel"], np.float64) + np.asarray(part.get("bias", 0.0), np.float64)


def norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def embedded(params, w, multiplier):
    omega = 1e4 ** (-np.arange(H // 2) / (H // 2))
    angles = np.float64(np.float32(multiplier) * w)[:, None] * omega
    waves = np.concatenate([np.sin(angles), np.cos(angles)], -1)
    return norm(dense(params["scale"]["second"], np.maximum(dense(params["scale"]["first"], waves), 0)))


OFFSET = nn.offset_adapter_init(jax.random.key(0), dim=DIM, hidden=H, condition_dims=(C, DIM))
CROSS = nn.cross_attention_adapter_init(jax.random.key(0), dim=DIM, hidden=H, condition_dims=(C, DIM))


def test_a_fresh_adapter_changes_nothing_but_learns():
    """Only the last layer has a gradient at first; it is the one that opens the rest."""
    offset = lambda p: nn.offset_adapter(p, W, (TIME, PROMPT))  # noqa: E731
    cross = lambda p: nn.cross_attention_adapter(p, X, W, (TIME, PROMPT))  # noqa: E731
    for params, call in ((OFFSET, offset), (CROSS, cross)):
        np.testing.assert_array_equal(call(params), 0.0)
        grad = jax.grad(lambda p, call=call: jnp.sum((call(p) - 1.0) ** 2))(params)
        assert np.abs(grad["out"]["kernel"]).max() > 0
        np.testing.assert_array_equal(grad["scale"]["first"]["kernel"], 0.0)
        opened = filled(params)
        grad = jax.grad(lambda p, call=call: jnp.sum((call(p) - 1.0) ** 2))(opened)
        parts = [grad["scale"]["first"]["kernel"], *(part["kernel"] for part in grad["conditions"].values())]
        assert all(np.abs(part).max() > 0 for part in parts)


def test_the_offset_is_the_formula():
    params = filled(OFFSET)
    conditions = params["conditions"]
    e = embedded(params, W, 1000.0) + dense(conditions["condition0"], TIME)
    e = e + dense(conditions["condition1"], PROMPT.mean(1))
    expected = dense(params["out"], norm(np.maximum(dense(params["hidden"], e), 0)))
    got = nn.offset_adapter(params, W, (TIME, PROMPT))
    assert got.shape == (B, 1, DIM)
    np.testing.assert_allclose(got[:, 0], expected, rtol=1e-3, atol=1e-3)
    assert np.abs(got[1] - nn.offset_adapter(params, W[::-1].copy(), (TIME, PROMPT))[1]).max() < 1e-6
    assert np.abs(got[0] - nn.offset_adapter(params, W[::-1].copy(), (TIME, PROMPT))[0]).max() > 1e-2


def test_the_cross_attention_is_the_formula():
    params = filled(CROSS)
    conditions = params["conditions"]
    tokens = [embedded(params, W, 2 * np.pi)[:, None], dense(conditions["condition0"], TIME)[:, None]]
    tokens = np.concatenate([*tokens, dense(conditions["condition1"], PROMPT)], axis=1)
    omega = 1e4 ** (-np.arange(H // 2) / (H // 2))
    positions = np.arange(tokens.shape[1])[:, None] * omega
    tokens = tokens + np.concatenate([np.sin(positions), np.cos(positions)], -1)
    q, k, v = (dense(params[name], source) for name, source in (("query", X), ("key", tokens), ("value", tokens)))
    weights = softmax(np.einsum("bth,bsh->bts", q, k) / np.sqrt(H), axis=-1)
    expected = dense(params["out"], weights @ v)
    got = nn.cross_attention_adapter(params, X, W, (TIME, PROMPT))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)
    # Unlike an offset, it tells the tokens of an image apart.
    assert np.abs(got[:, 0] - got[:, 1]).max() > 0.1


def test_one_scale_serves_the_batch():
    params = filled(CROSS)
    one = nn.cross_attention_adapter(params, X, 3.0, (TIME, PROMPT))
    each = nn.cross_attention_adapter(params, X, np.full(B, 3.0, np.float32), (TIME, PROMPT))
    np.testing.assert_allclose(one, each, atol=1e-6)
    alone = nn.offset_adapter_init(jax.random.key(0), dim=DIM, hidden=H)
    assert nn.offset_adapter(alone, 3.0).shape == (1, 1, DIM)


def test_adapters_are_small_where_the_network_is_wide():
    size = lambda params: sum(leaf.size for leaf in jax.tree.leaves(params))  # noqa: E731
    assert size(OFFSET) == 9 * H**2 + H * (DIM + C + DIM) + 8 * H + DIM
    base = 28 * 12 * 1152**2  # a transformer of 28 blocks
    added = 28 * size(jax.eval_shape(lambda key: nn.offset_adapter_init(key, dim=1152, hidden=256), jax.random.key(0)))
    assert 0.01 < added / base < 0.06


BAD = {
    "odd": (
        lambda: nn.offset_adapter_init(jax.random.key(0), dim=4, hidden=5),
        ValueError,
        "hidden must be a multiple",
    ),
    "width": (lambda: nn.cross_attention_adapter_init(jax.random.key(0), dim=0), ValueError, "dim must be"),
    "condition": (
        lambda: nn.offset_adapter_init(jax.random.key(0), dim=4, hidden=4, condition_dims=(3, 0)),
        ValueError,
        "condition_dims[1]",
    ),
    "too few": (lambda: nn.offset_adapter(OFFSET, W), ValueError, "2 conditions expected"),
    "shape": (lambda: nn.offset_adapter(OFFSET, W, (TIME, TIME)), ValueError, "conditions[1] must have shape [B, 6]"),
    "batch": (lambda: nn.offset_adapter(OFFSET, W[:2], (TIME, PROMPT)), ValueError, "share their first axis"),
    "tokens": (
        lambda: nn.cross_attention_adapter(CROSS, X[..., :4], W, (TIME, PROMPT)),
        ValueError,
        "x must have shape [B, T, 6]",
    ),
    "flat": (lambda: nn.cross_attention_adapter(CROSS, X[:, 0], W, (TIME, PROMPT)), ValueError, "[B, T, dim]"),
    "integers": (lambda: nn.offset_adapter(OFFSET, jnp.arange(3), (TIME, PROMPT)), TypeError, "scale must be floating"),
    "rank": (lambda: nn.offset_adapter(OFFSET, X, (TIME, PROMPT)), ValueError, "scale must have shape [] or [B]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
