"""Codebooks and the key-value bottleneck: distances, moving means, locality."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import cdist

from jaxlab import nn

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3)).astype(np.float32)
CODES = rng.normal(size=(6, 3)).astype(np.float32)
HEADS, KEYS, CLASSES = 4, 8, 3
PROJECTION = np.asarray(nn.random_projection_heads(jax.random.key(0), 3, heads=HEADS, key_dim=2))
KV_KEYS = rng.normal(size=(HEADS, KEYS, 2)).astype(np.float32)
VALUES = rng.normal(size=(HEADS, KEYS, CLASSES)).astype(np.float32)


def test_the_nearest_code_is_that_of_scipy():
    code, index = nn.vector_quantize(X, CODES)
    np.testing.assert_array_equal(index, cdist(X, CODES).argmin(axis=1))
    np.testing.assert_array_equal(code, CODES[index])
    assert nn.vector_quantize(jnp.zeros((1, 1)), jnp.array([[1.0], [-1.0]]))[1] == 0  # a tie goes to the first
    to_x, to_codes = jax.grad(lambda x, codes: jnp.sum(nn.vector_quantize(x, codes)[0] ** 2), argnums=(0, 1))(X, CODES)
    assert not np.any(to_x)
    counts = np.bincount(index, minlength=len(CODES))
    np.testing.assert_allclose(to_codes, 2 * CODES * counts[:, None], rtol=1e-5)


def reference_update(state, x, decay, eps):
    """The published rule, in numpy."""
    near = np.eye(len(state.codes))[cdist(x, state.codes).argmin(axis=1)]
    count = decay * np.asarray(state.count) + (1 - decay) * near.sum(0)
    total = decay * np.asarray(state.sum) + (1 - decay) * near.T @ x
    smoothed = (count + eps) / (count.sum() + len(count) * eps) * count.sum()
    return near.sum(0) > 0, count, total, total / smoothed[:, None]


def test_moving_means():
    state = nn.codebook_init(jax.random.key(1), 6, 3, samples=X)
    start = state
    for decay, eps in ((0.0, 1e-5), (0.9, 1e-5), (0.5, 0.3)):
        used, count, total, codes = reference_update(state, X, decay, eps)
        assert used.any()
        before, state = state, nn.codebook_update(state, X, decay=decay, eps=eps)
        np.testing.assert_allclose(state.count, count, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state.sum, total, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state.codes[used], codes[used], rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(state.codes[~used], before.codes[~used])
    # Without memory of the past a code is the mean of its rows, up to the smoothing.
    assigned = np.asarray(nn.vector_quantize(X, start.codes)[1])
    means = [X[assigned == code].mean(0) for code in range(6)]
    np.testing.assert_allclose(nn.codebook_update(start, X, decay=0.0).codes, means, atol=1e-4)


def test_updates_lower_the_distortion_and_an_unused_code_stays():
    far = jnp.concatenate([CODES, jnp.full((1, 3), 100.0)])
    state = nn.Codebook(far, jnp.ones(7), far)
    update = jax.jit(nn.codebook_update)
    for _ in range(100):
        state = update(state, X)
    np.testing.assert_array_equal(state.codes[-1], 100.0)
    assert cdist(X, state.codes).min(1).mean() < 0.9 * cdist(X, CODES).min(1).mean()


def test_dead_codes_come_back_as_rows():
    state = nn.Codebook(CODES, jnp.array([0.1, 5, 0.2, 5, 5, 5]), CODES)
    replaced = nn.codebook_replace_dead(jax.random.key(0), state, X, threshold=1.0)
    for code in (0, 2):
        assert np.any(np.all(replaced.codes[code] == X, axis=1))
    np.testing.assert_array_equal(replaced.codes[jnp.array([1, 3, 4, 5])], CODES[[1, 3, 4, 5]])
    np.testing.assert_array_equal(replaced.count, [1, 5, 1, 5, 5, 5])
    np.testing.assert_array_equal(replaced.sum[0], replaced.codes[0])
    untouched = nn.codebook_replace_dead(jax.random.key(0), state, X, threshold=0.0)
    np.testing.assert_array_equal(untouched.codes, CODES)


def test_samples_are_drawn_without_repetition():
    codes = nn.codebook_init(jax.random.key(0), 40, 3, samples=X).codes
    assert len(np.unique(codes, axis=0)) == 40
    assert np.std(nn.codebook_init(jax.random.key(0), 999, 3).codes) == pytest.approx(1.0, abs=0.1)


def queries(x=X):
    return np.einsum("nd,hdk->hnk", x, PROJECTION)


def test_projections_have_unit_columns():
    np.testing.assert_allclose(np.linalg.norm(PROJECTION, axis=1), 1.0, rtol=1e-5)


def test_nearest_keys_are_those_of_scipy():
    index = nn.nearest_keys(queries(), KV_KEYS, k=3)
    for head in range(HEADS):
        np.testing.assert_array_equal(index[head], cdist(queries()[head], KV_KEYS[head]).argsort(axis=1)[:, :3])


def test_unused_keys_are_not_found():
    used = np.zeros((HEADS, KEYS), bool)
    used[:, 5] = True
    index = nn.nearest_keys(queries(), KV_KEYS, k=2, key_where=used)
    np.testing.assert_array_equal(index[..., 0], 5)
    np.testing.assert_array_equal(index[..., 1], KEYS)  # there is no second one
    np.testing.assert_array_equal(nn.kv_lookup(index, VALUES)[:, :, 1], 0.0)
    none = nn.kv_bottleneck_logits(X, PROJECTION, KV_KEYS, VALUES, key_where=np.zeros((HEADS, KEYS), bool))
    np.testing.assert_array_equal(none, 0.0)


def test_logits_are_means_of_what_is_fetched():
    index = np.asarray(nn.nearest_keys(queries(), KV_KEYS, k=2))
    expected = np.mean([[VALUES[h, index[h, :, j]] for j in range(2)] for h in range(HEADS)], axis=(0, 1))
    np.testing.assert_allclose(nn.kv_bottleneck_logits(X, PROJECTION, KV_KEYS, VALUES, k=2), expected, atol=1e-6)
    everything = nn.kv_bottleneck_logits(X, PROJECTION, KV_KEYS, VALUES, k=KEYS)
    np.testing.assert_allclose(everything, np.broadcast_to(VALUES.mean((0, 1)), everything.shape), atol=1e-6)
    order = rng.permutation(KEYS)
    permuted = nn.kv_bottleneck_logits(X, PROJECTION, KV_KEYS[:, order], VALUES[:, order], k=2)
    np.testing.assert_allclose(permuted, expected, atol=1e-6)


def mean_loss(values, x, labels):
    logits = nn.kv_bottleneck_logits(x, PROJECTION, KV_KEYS, values)
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))


def test_gradients_reach_what_was_fetched_and_nothing_else():
    labels = jnp.zeros(2, int)
    by_values, by_x = jax.grad(mean_loss, argnums=(0, 1))(VALUES, X[:2], labels)
    assert not np.any(by_x)
    fetched = np.zeros((HEADS, KEYS), bool)
    index = np.asarray(nn.nearest_keys(queries(X[:2]), KV_KEYS))
    for head in range(HEADS):
        fetched[head, index[head]] = True
    np.testing.assert_array_equal(np.any(by_values != 0, axis=-1), fetched)


def test_what_is_learned_of_one_input_leaves_the_other_bit_for_bit():
    one, other = np.full((1, 3), 0.0, np.float32), None
    taken = nn.nearest_keys(queries(one), KV_KEYS)
    candidates = np.asarray(nn.nearest_keys(queries(4 * X), KV_KEYS))[..., 0]
    apart = np.flatnonzero(np.all(candidates != np.asarray(taken)[:, :, 0], axis=0))
    other = 4 * X[apart[:1]]
    logits = jax.jit(lambda values, x: nn.kv_bottleneck_logits(x, PROJECTION, KV_KEYS, values))
    before, values = logits(VALUES, other), jnp.asarray(VALUES)
    step = jax.jit(lambda values: values - 3.0 * jax.grad(mean_loss)(values, one, jnp.zeros(1, int)))
    for _ in range(20):
        values = step(values)
    np.testing.assert_array_equal(logits(values, other), before)
    assert np.argmax(logits(values, one)) == 0
    assert np.max(np.abs(logits(values, one) - logits(VALUES, one))) > 0.5


BAD = {
    "widths": (lambda: nn.vector_quantize(X, CODES[:, :2]), ValueError, "codebook [J, D]"),
    "no code": (lambda: nn.vector_quantize(X, CODES[:0]), ValueError, "J >= 1"),
    "decay": (lambda: nn.codebook_update(nn.Codebook(CODES, CODES[:, 0], CODES), X, decay=1.5), ValueError, "decay"),
    "no sample": (lambda: nn.codebook_init(jax.random.key(0), 2, 3, samples=X[:0]), ValueError, "[N, 3] with N >= 1"),
    "rows": (lambda: nn.codebook_update(nn.Codebook(CODES, CODES[:, 0], CODES), X[:, :2]), ValueError, "[..., 3]"),
    "heads": (lambda: nn.nearest_keys(queries()[:2], KV_KEYS), ValueError, "agree in heads and width"),
    "k": (lambda: nn.nearest_keys(queries(), KV_KEYS, k=9), ValueError, "k must be at most 8"),
    "used": (lambda: nn.nearest_keys(queries(), KV_KEYS, key_where=KV_KEYS[..., 0]), TypeError, "must be boolean"),
    "index": (lambda: nn.kv_lookup(np.ones((HEADS, 2, 1)), VALUES), TypeError, "index must hold integers"),
    "features": (lambda: nn.kv_bottleneck_logits(X[:, :2], PROJECTION, KV_KEYS, VALUES), ValueError, "[..., 3]"),
    "no head": (lambda: nn.random_projection_heads(jax.random.key(0), 3, heads=0, key_dim=2), ValueError, "heads"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
