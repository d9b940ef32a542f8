"""Attention between examples: an encoder layer written out in numpy, and what a batch must not do."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nn
from jaxlab.nn.batch_attention import _drop

B, C, HEADS = 6, 8, 2
PARAMS = nn.batch_former_init(jax.random.key(0), C, ff_width=5)
former = jax.jit(functools.partial(nn.batch_former, heads=HEADS))
token_former = jax.jit(functools.partial(nn.batch_former_tokens, heads=HEADS))


def noisy(params):
    """Biases and scales that are not 0 and 1."""
    rng = np.random.default_rng(3)
    return jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32), params)


def drawn(*shape):
    return np.random.default_rng(1).normal(size=shape or (B, C)).astype(np.float32)


def encoder_layer(params, x):
    """Post-norm, ReLU, no dropout: head by head, row by row."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    def norm(name, x):
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return centred / spread * params[name]["scale"] + params[name]["bias"]

    q, k, v = np.split(dense("qkv", x), 3, axis=-1)
    attended = np.zeros_like(x)
    for head in np.split(np.arange(C), HEADS):
        for row in range(len(x)):
            scores = k[:, head] @ q[row, head] / np.sqrt(C / HEADS)
            weights = np.exp(scores - scores.max())
            attended[row, head] = weights @ v[:, head] / weights.sum()
    h = norm("norm1", x + dense("proj", attended))
    return norm("norm2", h + dense("mlp_out", np.maximum(dense("mlp_in", h), 0)))


def test_equals_an_encoder_layer_over_the_batch():
    params, x = noisy(PARAMS), drawn()
    np.testing.assert_allclose(former(params, x), encoder_layer(params, x.astype(float)), atol=2e-5)


def test_order_does_not_matter_but_company_does():
    x, order = drawn(), np.random.default_rng(0).permutation(B)
    np.testing.assert_allclose(former(PARAMS, x[order]), former(PARAMS, x)[order], atol=1e-5)
    assert np.abs(former(PARAMS, x[:3]) - former(PARAMS, x)[:3]).max() > 0.01


def test_alone_an_example_attends_to_itself():
    """The softmax over one score is 1: queries and keys play no part."""
    x = drawn()[:1]
    blind = PARAMS | {"qkv": {**PARAMS["qkv"], "kernel": PARAMS["qkv"]["kernel"].at[:, : 2 * C].set(0.0)}}
    np.testing.assert_allclose(former(PARAMS, x), former(blind, x), atol=1e-6)
    several = drawn()
    assert np.abs(former(PARAMS, several) - former(blind, several)).max() > 0.01


@pytest.mark.parametrize("fn", [former, token_former])
def test_where_hides_rows(fn):
    x = drawn() if fn is former else drawn(B, 3, C)
    where = np.array([True, False, True, True, False, True])
    dirty = np.where(where.reshape(B, *(1,) * (x.ndim - 1)), x, np.nan)
    found = fn(PARAMS, dirty, where=where)
    np.testing.assert_allclose(found[where], fn(PARAMS, x[where]), atol=1e-5)
    assert (np.asarray(found)[~where] == 0).all()
    total = lambda p, x: jnp.sum(fn(p, x, where=where) ** 2)  # noqa: E731
    gradients = jax.tree.leaves(jax.jit(jax.grad(total, (0, 1)))(PARAMS, dirty))
    assert all(np.isfinite(leaf).all() for leaf in gradients)
    assert (np.asarray(gradients[-1])[~where] == 0).all()
    assert (np.asarray(fn(PARAMS, x * np.nan, where=np.zeros(B, bool))) == 0).all()


def test_tokens_are_places_apart():
    x = drawn(B, 3, C)
    expected = np.stack([former(PARAMS, x[:, place]) for place in range(3)], axis=1)
    np.testing.assert_allclose(token_former(PARAMS, x), expected, atol=1e-5)


def test_pair_keeps_the_features_and_both_labels():
    x, labels = drawn(), np.arange(B)
    features, both = nn.batch_former_pair(PARAMS, x, labels, heads=HEADS)
    np.testing.assert_array_equal(features[:B], x)
    np.testing.assert_allclose(features[B:], former(PARAMS, x), atol=1e-6)
    np.testing.assert_array_equal(both, [*labels, *labels])
    where = np.arange(B) != 2
    masked, _ = nn.batch_former_pair(PARAMS, x, labels, heads=HEADS, where=where)
    np.testing.assert_allclose(masked[B:], former(PARAMS, x, where=where), atol=1e-6)


def test_a_split_batch_attends_to_all_of_it():
    x, where, tokens = drawn(), np.array([True, True, False, True, True, True]), drawn(B, 2, C)
    split = lambda a: a.reshape(2, 3, *a.shape[1:])  # noqa: E731

    @jax.jit
    @functools.partial(jax.vmap, axis_name="i")
    def both(x, tokens, where):
        options = {"heads": HEADS, "where": where, "axis_name": "i"}
        return nn.batch_former(PARAMS, x, **options), nn.batch_former_tokens(PARAMS, tokens, **options)

    rows, places = both(split(x), split(tokens), split(where))
    np.testing.assert_allclose(rows.reshape(x.shape), former(PARAMS, x, where=where), atol=1e-5)
    np.testing.assert_allclose(places.reshape(tokens.shape), token_former(PARAMS, tokens, where=where), atol=1e-5)


def test_dropout():
    x, keys = drawn(), jax.random.split(jax.random.key(0))
    np.testing.assert_allclose(former(PARAMS, x, key=keys[0], dropout=0.0), former(PARAMS, x), atol=1e-5)
    found = [former(PARAMS, x, key=key, dropout=0.5) for key in keys]
    assert np.abs(found[0] - found[1]).max() > 0.1
    dropped = np.asarray(_drop(keys[0], jnp.ones((100, 100)), 0.3))
    assert abs((dropped == 0).mean() - 0.3) < 0.02
    assert abs(dropped.mean() - 1) < 0.03


def test_bfloat16_comes_back_as_it_came():
    found = former(PARAMS, jnp.asarray(drawn(), jnp.bfloat16))
    assert found.dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("fn", "change", "error", "words"),
    [
        (nn.batch_former_init, {"width": 0}, ValueError, "width must be an integer of at least 1"),
        (nn.batch_former_init, {"width": 4.0}, TypeError, "width must be a static integer"),
        (nn.batch_former_init, {"ff_width": 0}, ValueError, "ff_width must be"),
        (nn.batch_former, {"x": jnp.zeros((B, C, 1))}, ValueError, r"x must have shape \[B, C\]"),
        (nn.batch_former, {"x": jnp.zeros((B, 4))}, ValueError, "rows of width 8"),
        (nn.batch_former, {"x": jnp.zeros((B, C), int)}, TypeError, "x must be floating"),
        (nn.batch_former, {"heads": 3}, ValueError, "heads must divide the width 8"),
        (nn.batch_former, {"dropout": 1.0}, ValueError, r"dropout must lie in \[0, 1\)"),
        (nn.batch_former, {"where": jnp.ones(3, bool)}, ValueError, "where must have shape"),
        (nn.batch_former_tokens, {}, ValueError, r"x must have shape \[B, N, C\]"),
        (nn.batch_former_pair, {"labels": jnp.zeros(3)}, ValueError, "labels must have shape"),
    ],
)
def test_bad_input(fn, change, error, words):
    if fn is nn.batch_former_init:
        options = {"key": jax.random.key(0), "width": 4, **change}
    else:
        extra = {"labels": jnp.zeros(B)} if fn is nn.batch_former_pair else {}
        options = {"params": PARAMS, "x": jnp.zeros((B, C)), **extra, **change}
    with pytest.raises(error, match=words):
        fn(**options)
