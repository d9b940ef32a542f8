"""The key-value bottleneck over a stream, and heads put together."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import cdist

from jaxlab import continual, nn

rng = np.random.default_rng(0)
CENTRES = 4 * np.eye(4, dtype=np.float32)
LABELS = np.repeat(np.arange(4), 30)
X = (CENTRES[LABELS] + 0.5 * rng.normal(size=(120, 4))).astype(np.float32)
PROJECTION = np.asarray(nn.random_projection_heads(jax.random.key(0), 4, heads=8, key_dim=3))
KEYS = np.asarray(continual.fit_keys(jax.random.key(1), X, PROJECTION, num_keys=10))


def test_keys_lie_among_the_queries():
    queries = np.einsum("nd,hdk->hnk", X, PROJECTION)
    for head in range(8):
        random_rows = cdist(queries[head], queries[head][:10]).min(1).mean()
        assert cdist(queries[head], KEYS[head]).min(1).mean() < random_rows
    start = continual.fit_keys(jax.random.key(1), X, PROJECTION, num_keys=10, num_iters=0)
    for head in range(8):  # the same key starts from the same rows, and the updates leave them
        before, after = (cdist(queries[head], keys[head]).min(1).mean() for keys in (start, KEYS))
        assert after < 0.9 * before
    few = continual.fit_keys(jax.random.key(1), X, PROJECTION, num_keys=3, num_iters=0, where=np.arange(120) < 3)
    for head in range(8):  # three rows for three keys: each is taken once
        np.testing.assert_allclose(cdist(queries[head][:3], few[head]).min(1), 0, atol=1e-3)


@pytest.mark.parametrize("decay", [0.0, 0.8])
def test_an_update_by_hand(decay):
    fit = partial(continual.fit_keys, jax.random.key(2), X, PROJECTION[:1], num_keys=3, decay=decay)
    start, once = np.asarray(fit(num_iters=0))[0], fit(num_iters=1)[0]
    rows = X @ PROJECTION[0]
    near = np.eye(3)[cdist(rows, start).argmin(1)]
    count = decay + (1 - decay) * near.sum(0)  # every key counts as one row at first
    expected = (decay * start + (1 - decay) * near.T @ rows) / count[:, None]
    np.testing.assert_allclose(once, expected, atol=1e-3)
    assert np.abs(expected - start).max() > 0.5


def test_a_key_that_serves_no_row_is_moved():
    rows, one = np.zeros((8, 1), np.float32), np.ones((1, 1, 1), np.float32)
    rows[5:7, 0] = 9.0, 20.0  # keys that start at 0, 0 and 9 stay: one serves both of these rows, and one serves none

    @jax.jit
    def fit(threshold):
        options = {"num_keys": 3, "num_iters": 100, "decay": 0.0, "threshold": threshold}
        keys = jax.random.split(jax.random.key(0), 20)
        return jax.vmap(lambda key: jnp.sort(continual.fit_keys(key, rows, one, **options)[0, :, 0]))(keys)

    np.testing.assert_allclose(fit(0.5), np.tile([0.0, 9.0, 20.0], (20, 1)), atol=1e-3)
    assert np.any(np.all(np.abs(fit(0.0) - jnp.array([0.0, 0.0, 14.5])) < 1e-3, axis=1))


def test_a_stream_of_classes_is_kept():
    learner = continual.key_value_bottleneck(4, PROJECTION, KEYS, num_passes=20, batch_size=10)
    x, y = X.reshape(4, 30, 4), LABELS.reshape(4, 30)
    accuracy = jax.jit(lambda key: continual.run_stream(learner, key, x, y, x, y).accuracy)(jax.random.key(0))
    np.testing.assert_array_equal(accuracy[0, 1:], 0)  # classes that were not seen
    assert np.min(accuracy[-1]) > 0.9


def test_one_step_by_hand_and_locality():
    learner = continual.key_value_bottleneck(4, PROJECTION, KEYS, learning_rate=2.0, batch_size=2)
    start = learner.init(jax.random.key(0))
    update = jax.jit(learner.update)
    state = update(start, X[:2], jnp.array([0, 3]))

    def loss(values):
        logits = nn.kv_bottleneck_logits(X[:2], PROJECTION, KEYS, values)
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, jnp.array([0, 3])))

    np.testing.assert_allclose(state.values, -2.0 * jax.grad(loss)(start.values), atol=1e-6)
    np.testing.assert_array_equal(np.any(state.values != 0, axis=-1), state.used)
    np.testing.assert_array_equal(state.seen, [True, False, False, True])
    # Rows of a class that fetches other keys: nothing that they read has moved.
    later = update(state, X[-2:], jnp.array([3, 3]))
    untouched = ~(np.asarray(later.used) & np.any(np.asarray(later.values != state.values), axis=-1))
    np.testing.assert_array_equal(later.values[untouched], state.values[untouched])
    index = np.asarray(nn.nearest_keys(np.einsum("nd,hdk->hnk", X[:30], PROJECTION), KEYS))[..., 0]
    changed = np.any(np.asarray(later.values != state.values), axis=-1)
    apart = ~np.any(changed[np.arange(8)[:, None], index], axis=0)
    assert np.any(apart)
    before, after = (learner.predict(learner.solve(one), X[:30][apart]) for one in (state, later))
    np.testing.assert_array_equal(before, after)


def test_hidden_rows_and_foreign_labels_are_not_learned():
    learner = continual.key_value_bottleneck(4, PROJECTION, KEYS, batch_size=4)
    start = learner.init(jax.random.key(0))
    dirty = np.concatenate([X[:4], np.full((3, 4), np.nan, np.float32)])
    labels, where = np.array([0, 1, 2, 3, 0, -1, 9]), np.array([True] * 4 + [False, True, True])
    clean, padded = learner.update(start, X[:4], labels[:4]), learner.update(start, dirty, labels, where=where)
    for a, b in zip(clean, padded, strict=True):
        np.testing.assert_array_equal(a, b)


def test_keys_never_fetched_can_be_left_out():
    options = {"num_passes": 5, "batch_size": 8}
    learner = continual.key_value_bottleneck(4, PROJECTION, KEYS, used_only=True, **options)
    state = learner.update(learner.init(jax.random.key(0)), X[:1], LABELS[:1])
    logits = learner.predict(learner.solve(state), X)
    np.testing.assert_allclose(logits[:, 0], logits[0, 0], rtol=1e-6)  # the only keys there are
    everywhere = continual.key_value_bottleneck(4, PROJECTION, KEYS, **options).predict(state, X)
    assert np.min(everywhere[:, 0]) < logits[0, 0]


def test_block_diagonal_logits():
    each = rng.normal(size=(3, 5, 4)).astype(np.float32)
    tasks = np.array([2, 0, 0, -1])
    got = continual.block_diagonal_logits(each, tasks)
    np.testing.assert_array_equal(got[:, :3], np.stack([each[2, :, 0], each[0, :, 1], each[0, :, 2]], 1))
    assert np.all(np.isneginf(got[:, 3]))
    gradient = jax.grad(lambda each: jnp.sum(continual.block_diagonal_logits(each, tasks)[:, :3]))(jnp.asarray(each))
    expected = np.zeros_like(each)
    expected[2, :, 0] = expected[0, :, 1] = expected[0, :, 2] = 1
    np.testing.assert_array_equal(gradient, expected)


ONE_OF_EACH, CHUNK = np.arange(4), X[::30]
BAD_CHUNKS = {
    "rank": (CHUNK[0], ONE_OF_EACH, None, ValueError, "x must have shape [N, D]"),
    "width": (CHUNK[:, :3], ONE_OF_EACH, None, ValueError, "x must have shape [N, 4], got [4, 3]"),
    "integers": (CHUNK.astype(int), ONE_OF_EACH, None, TypeError, "x must be floating point"),
    "floats": (CHUNK, ONE_OF_EACH.astype(float), None, TypeError, "labels must hold integers"),
    "column": (CHUNK, ONE_OF_EACH[:, None], None, ValueError, "labels must have shape [N]"),
    "fewer": (CHUNK[:1], ONE_OF_EACH, None, ValueError, "x and labels must agree"),
    "where": (CHUNK, ONE_OF_EACH, np.ones(4, int), TypeError, "where must be boolean"),
    "length": (CHUNK, ONE_OF_EACH, np.ones(1, bool), ValueError, "where must have shape [4]"),
}


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks(name):
    x, labels, where, error, message = BAD_CHUNKS[name]
    learner = continual.key_value_bottleneck(4, PROJECTION, KEYS)
    with pytest.raises(error, match=re.escape(message)):
        learner.update(learner.init(jax.random.key(0)), x, labels, where=where)


BAD = {
    "classes": (lambda: continual.key_value_bottleneck(0, PROJECTION, KEYS), ValueError, "num_classes"),
    "heads": (lambda: continual.key_value_bottleneck(4, PROJECTION[:2], KEYS), ValueError, "agree in H and d"),
    "k": (lambda: continual.key_value_bottleneck(4, PROJECTION, KEYS, k=11), ValueError, "k must lie in [1, 10]"),
    "rate": (lambda: continual.key_value_bottleneck(4, PROJECTION, KEYS, learning_rate=0), ValueError, "learning_rate"),
    "flat": (lambda: continual.key_value_bottleneck(4, PROJECTION[0], KEYS), ValueError, "[H, D, d]"),
    "rows": (
        lambda: continual.fit_keys(jax.random.key(0), X[:, :2], PROJECTION, num_keys=2),
        ValueError,
        "projection must have shape [H, 2, d]",
    ),
    "logits": (lambda: continual.block_diagonal_logits(jnp.ones((2, 3)), jnp.zeros(4, int)), ValueError, "[T, ..., 4]"),
    "tasks": (lambda: continual.block_diagonal_logits(jnp.ones((2, 3)), jnp.zeros(3)), TypeError, "task_of_class"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
