"""NT-Xent and the loss of CLIP against optax, numpy and their masks."""

import jax
import numpy as np
import optax
import pytest

from jaxlab import losses, numerics

RNG = np.random.default_rng(0)
Z1, Z2 = (RNG.normal(size=(6, 3)).astype(np.float32) for _ in range(2))
KEPT = np.array([True, True, False, True, False, True])


def by_loop(z1, z2, temperature):
    views = np.concatenate([z1, z2]).astype(np.float64)
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    scores, n = views @ views.T / temperature, len(z1)
    each = [
        np.log(sum(np.exp(scores[a, b]) for b in range(2 * n) if b != a)) - scores[a, (a + n) % (2 * n)]
        for a in range(2 * n)
    ]
    return (np.array(each[:n]) + each[n:]) / 2


def test_nt_xent_equals_a_loop_and_optax():
    found = losses.nt_xent(Z1, 3.0 * Z2, temperature=0.3)
    np.testing.assert_allclose(found, by_loop(Z1, Z2, 0.3), rtol=1e-5)
    both = np.concatenate([numerics.normalize(Z1), numerics.normalize(Z2)])
    peer = optax.losses.ntxent(both, np.tile(np.arange(6), 2), temperature=0.3)
    np.testing.assert_allclose(np.mean(found), peer, rtol=1e-5)
    many = [RNG.normal(size=(70, 3)).astype(np.float32) for _ in range(2)]  # more views than are held at a time
    np.testing.assert_allclose(losses.nt_xent(*many), by_loop(*many, 0.1), rtol=1e-4)


def test_clip_loss_equals_numpy():
    c = np.asarray(numerics.normalize(Z1), np.float64) @ np.asarray(numerics.normalize(Z2)).T * 5.0
    below = [np.log(np.exp(c).sum(axis)) for axis in (0, 1)]
    expected = (below[0] + below[1]) / 2 - np.diag(c)
    np.testing.assert_allclose(losses.clip_loss(Z1, 2.0 * Z2, scale=5.0), expected, rtol=1e-5)
    np.testing.assert_allclose(losses.pairwise_matching(np.float32(c)), expected, rtol=1e-5)


CALLS = {
    "nt_xent": losses.nt_xent,
    "clip_loss": lambda a, b, **options: losses.clip_loss(a, b, scale=5.0, **options),
}


@pytest.mark.parametrize("name", CALLS)
def test_hidden_rows_and_split_batches(name):
    loss = CALLS[name]
    for junk in (np.nan, 1e30):
        dirty = [np.where(KEPT[:, None], z, np.float32(junk)) for z in (Z1, Z2)]
        found, slope = jax.value_and_grad(lambda a, b: loss(a, b, where=KEPT).sum())(*dirty)
        np.testing.assert_allclose(found, loss(Z1[KEPT], Z2[KEPT]).sum(), rtol=1e-5)
        np.testing.assert_array_equal(slope[~KEPT], 0.0)
    assert (loss(Z1, Z2, where=np.zeros(6, bool)) == 0).all()
    parts = [a.reshape(2, 3, *a.shape[1:]) for a in (Z1, Z2, KEPT)]
    split = jax.vmap(lambda a, b, w: loss(a, b, where=w, axis_name="i"), axis_name="i")(*parts).ravel()
    np.testing.assert_allclose(split, loss(Z1, Z2, where=KEPT), rtol=1e-5)


def test_hidden_rows_and_columns_of_a_table():
    table = RNG.normal(size=(6, 6)).astype(np.float32)
    dirty = np.where(KEPT[:, None] & KEPT, table, np.nan)
    found, slope = jax.value_and_grad(lambda t: losses.pairwise_matching(t, where=KEPT).sum())(dirty)
    np.testing.assert_allclose(found, losses.pairwise_matching(table[np.ix_(KEPT, KEPT)]).sum(), rtol=1e-5)
    np.testing.assert_array_equal(slope[~(KEPT[:, None] & KEPT)], 0.0)
    assert (losses.pairwise_matching(dirty, where=np.zeros(6, bool)) == 0).all()


BAD = {
    "views": (lambda: losses.nt_xent(Z1, Z2[:3]), ValueError, "z1 and z2 must have the same shape"),
    "temperature": (lambda: losses.nt_xent(Z1, Z2, temperature=0.0), ValueError, "temperature must be > 0"),
    "integers": (lambda: losses.clip_loss(Z1 > 0, Z2, scale=1.0), TypeError, "image_embeddings must be floating"),
    "scale": (lambda: losses.clip_loss(Z1, Z2, scale=-1.0), ValueError, "scale must be > 0"),
    "square": (lambda: losses.pairwise_matching(Z1), ValueError, "logits must be square"),
    "where": (lambda: losses.nt_xent(Z1, Z2, where=KEPT[:2]), ValueError, r"where must have shape \[6\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
