"""Memories of fixed size: what they keep, and with which probability."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from jaxlab import trees

EMPTY = trees.buffer_init(4, {"x": jnp.zeros(()), "y": jnp.zeros(2, jnp.int32)})


def items(values):
    values = np.asarray(values)
    return {"x": values.astype(np.float32), "y": np.stack([values, -values], 1).astype(np.int32)}


def test_a_ring_keeps_the_latest():
    state = trees.buffer_add(EMPTY, items([1, 2, 3]))
    np.testing.assert_array_equal(trees.buffer_filled(state), [True, True, True, False])
    state = trees.buffer_add(state, items([4, 5, 6]), where=np.array([True, False, True]))
    np.testing.assert_array_equal(state.items["x"], [6, 2, 3, 4])
    np.testing.assert_array_equal(state.items["y"][:, 1], [-6, -2, -3, -4])
    assert state.seen == 5
    # More items than places: the last ones stay, wherever the ring stands.
    state = trees.buffer_add(state, items(np.arange(10, 21)))
    assert sorted(np.asarray(state.items["x"])) == [17, 18, 19, 20]
    assert state.items["x"][state.seen % 4] == 17  # the oldest is the next to go


def reservoir(key, chunks):
    state = EMPTY
    for chunk in chunks:
        state = trees.buffer_add(state, items(chunk), mode="reservoir", key=key)
    return state


def test_a_reservoir_keeps_each_item_equally_often():
    total, runs = 12, 6000
    keys = jax.random.split(jax.random.key(0), runs)
    kept = jax.jit(jax.vmap(lambda key: reservoir(key, [range(5), range(5, total)]).items["x"]))(keys)
    counts = np.bincount(np.asarray(kept, int).ravel(), minlength=total)
    # Four of twelve places: each item is kept in a third of the runs; the draws within a run differ.
    assert np.all(np.abs(counts / runs - 4 / total) < 5 * np.sqrt(2 / 9 / runs))
    assert chisquare(counts).pvalue > 1e-4
    assert all(len(set(row)) == 4 for row in np.asarray(kept[:200]))


def test_chunks_do_not_matter_for_a_reservoir():
    key = jax.random.key(3)
    once = reservoir(key, [range(12)])
    for chunks in ([range(7), range(7, 12)], [[i] for i in range(12)]):
        np.testing.assert_array_equal(reservoir(key, chunks).items["x"], once.items["x"])
    where = np.arange(12) % 3 > 0
    skipped = trees.buffer_add(EMPTY, items(np.arange(12)), where=where, mode="reservoir", key=key)
    np.testing.assert_array_equal(skipped.items["x"], reservoir(key, [np.flatnonzero(where)]).items["x"])


def test_samples():
    key = jax.random.key(0)
    state = trees.buffer_add(EMPTY, items([5, 6, 7]))
    drawn = trees.buffer_sample(state, key, 3000)
    assert np.all(drawn.valid)
    np.testing.assert_array_equal(drawn.items["x"], state.items["x"][drawn.index])
    np.testing.assert_allclose(np.bincount(drawn.index) / 3000, 1 / 3, atol=0.05)
    weighted = trees.buffer_sample(state, key, 3000, weights=jnp.array([0.0, 1.0, 3.0, 99.0])).index
    np.testing.assert_allclose(np.bincount(weighted, minlength=4) / 3000, [0, 0.25, 0.75, 0], atol=0.05)
    for empty in (trees.buffer_sample(EMPTY, key, 2), trees.buffer_sample(state, key, 2, weights=jnp.zeros(4))):
        assert not np.any(empty.valid)
        np.testing.assert_array_equal(empty.items["y"], 0)


BAD = {
    "capacity": (lambda: trees.buffer_init(0, jnp.zeros(2)), ValueError, "capacity"),
    "mode": (lambda: trees.buffer_add(EMPTY, items([1]), mode="heap"), ValueError, "mode must be one of"),
    "no key": (lambda: trees.buffer_add(EMPTY, items([1]), mode="reservoir"), ValueError, "key must be given"),
    "tree": (lambda: trees.buffer_add(EMPTY, {"x": jnp.zeros(1)}), ValueError, "items must be a tree like"),
    "shape": (
        lambda: trees.buffer_add(EMPTY, {"x": jnp.zeros((1, 2)), "y": items([1])["y"]}),
        ValueError,
        "items['x']",
    ),
    "lengths": (lambda: trees.buffer_add(EMPTY, items([1]) | {"x": jnp.zeros(2)}), ValueError, "leading axis"),
    "wider": (lambda: trees.buffer_add(EMPTY, {"x": jnp.zeros(1), "y": jnp.ones((1, 2))}), TypeError, "the buffer"),
    "n": (lambda: trees.buffer_sample(EMPTY, jax.random.key(0), 0), ValueError, "n must be"),
    "weights": (lambda: trees.buffer_sample(EMPTY, jax.random.key(0), 1, weights=jnp.ones(3)), ValueError, "weights"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
