"""InfoNCE and the supervised contrastive loss against optax, numpy and their limits."""

import functools

import jax
import numpy as np
import optax
import pytest

from jaxlab import losses, numerics

RNG = np.random.default_rng(0)
Q, K, NEGATIVES = (RNG.normal(size=(n, 3)).astype(np.float32) for n in (6, 6, 4))
LABELS = np.array([0, 0, 1, 1, 0, 2])

info_nce = jax.jit(losses.info_nce, static_argnames="in_batch")
supcon = jax.jit(losses.supervised_contrastive)


def log_softmax(scores):
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def test_info_nce_equals_numpy():
    in_batch = Q.astype(np.float64) @ K.T / 0.5
    strangers = Q.astype(np.float64) @ NEGATIVES.T / 0.5
    own = np.diag(in_batch)[:, None]
    cases = {
        (True, False): in_batch,
        (True, True): np.concatenate([in_batch, strangers], 1),
        (False, True): np.concatenate([own, strangers], 1),
    }
    for (batch, queue), scores in cases.items():
        place = np.arange(6) if batch else np.zeros(6, int)
        expected = -log_softmax(scores)[np.arange(6), place]
        found = info_nce(Q, K, NEGATIVES if queue else None, temperature=0.5, in_batch=batch)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_info_nce_of_both_directions_bounds_ntxent():
    """optax's form also has the other views of the own side below."""
    both = np.concatenate([numerics.normalize(Q), numerics.normalize(K)])
    peer = optax.losses.ntxent(both, np.tile(np.arange(6), 2), temperature=0.5)
    swapped = [info_nce(a, b, temperature=0.5) for a, b in ((both[:6], both[6:]), (both[6:], both[:6]))]
    assert np.mean(swapped) < float(peer)
    against = [
        info_nce(both[i][None], both[(i + 6) % 12][None], np.delete(both, [i, (i + 6) % 12], 0), temperature=0.5)
        for i in range(12)
    ]
    np.testing.assert_allclose(np.mean(against), peer, rtol=1e-5)


def test_info_nce_masks_and_mapped_axis():
    kept = np.array([True, True, False, True, False, True])
    for junk in (np.nan, 1e30):
        dirty = [np.where(kept[:, None], x, np.float32(junk)) for x in (Q, K)]
        found = info_nce(*dirty, where=kept, temperature=0.5)
        np.testing.assert_allclose(found[kept], info_nce(Q[kept], K[kept], temperature=0.5), rtol=1e-5)
        assert (found[~kept] == 0).all()
    split = jax.vmap(functools.partial(losses.info_nce, temperature=0.5, axis_name="i"), axis_name="i")
    found = split(Q.reshape(2, 3, 3), K.reshape(2, 3, 3)).ravel()
    np.testing.assert_allclose(found, info_nce(Q, K, temperature=0.5), rtol=1e-5)


def by_khosla(z, labels, temperature):
    """The outer form, in loops: every other row below."""
    values = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        below = np.log(sum(np.exp(z[i] @ z[j] / temperature) for j in others))
        own = [j for j in others if labels[j] == labels[i]]
        values.append(np.mean([below - z[i] @ z[j] / temperature for j in own]) if own else 0.0)
    return values


def test_supervised_contrastive_equals_khosla():
    z = np.asarray(numerics.normalize(Q))
    other = ~np.eye(6, dtype=bool)
    same = (LABELS[:, None] == LABELS) & other
    found = supcon(z, z, same, negatives=other, temperature=0.3)
    np.testing.assert_allclose(found, by_khosla(z, LABELS, 0.3), rtol=1e-4)
    assert found[5] == 0  # the only row of its class


def test_by_default_positives_do_not_compete():
    same = LABELS[:, None] == LABELS
    found = supcon(Q, K, same, temperature=0.5)
    scores = Q.astype(np.float64) @ K.T / 0.5
    expected = [
        np.mean([np.log(np.exp(scores[i][~same[i]]).sum() + np.exp(s)) - s for s in scores[i][same[i]]])
        for i in range(6)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    competing = supcon(Q, K, same, negatives=np.ones((6, 6), bool), temperature=0.5)
    assert (np.asarray(competing[:5]) > np.asarray(found[:5])).all()


def test_one_positive_is_info_nce():
    np.testing.assert_allclose(
        supcon(Q, K, np.eye(6, dtype=bool), temperature=0.5), info_nce(Q, K, temperature=0.5), rtol=1e-5
    )


def test_keys_that_play_no_part():
    same = LABELS[:, None] == LABELS
    same[:, 4] = False
    others = ~same
    others[:, 4] = False
    dirty = np.where(np.arange(6)[:, None] == 4, np.nan, K)
    expected = supcon(Q, np.delete(K, 4, 0), np.delete(same, 4, 1), temperature=0.5)
    np.testing.assert_allclose(supcon(Q, dirty, same, negatives=others, temperature=0.5), expected, rtol=1e-5)
    nothing = np.zeros((6, 6), bool)
    for positives, negatives in ((nothing, ~nothing), (~nothing, nothing)):
        of = lambda q: losses.supervised_contrastive(q, K, positives, negatives=negatives).sum()  # noqa: B023, E731
        value, gradient = jax.value_and_grad(of)(Q)
        assert value == 0
        assert (gradient == 0).all()


def test_keys_split_over_a_mapped_axis():
    same = LABELS[:, None] == LABELS
    fn = functools.partial(losses.supervised_contrastive, temperature=0.5, axis_name="i")
    found = jax.vmap(fn, axis_name="i")(Q.reshape(2, 3, 3), K.reshape(2, 3, 3), same.reshape(2, 3, 6))
    np.testing.assert_allclose(found.ravel(), supcon(Q, K, same, temperature=0.5), rtol=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="negatives must be given"):
        losses.info_nce(Q, K, in_batch=False)
    with pytest.raises(ValueError, match="rows of width 3"):
        losses.info_nce(Q, K, NEGATIVES[:, :2])
    with pytest.raises(ValueError, match="queries and keys must have the same shape"):
        losses.info_nce(Q, NEGATIVES)
    with pytest.raises(ValueError, match="temperature must be > 0"):
        losses.info_nce(Q, K, temperature=0)
    with pytest.raises(ValueError, match=r"positives must have shape \[6, 4\]"):
        losses.supervised_contrastive(Q, NEGATIVES, np.eye(6, dtype=bool))
    with pytest.raises(TypeError, match="positives must be boolean"):
        losses.supervised_contrastive(Q, K, np.eye(6))
    with pytest.raises(ValueError, match="keys must have rows of width 3"):
        losses.supervised_contrastive(Q, K[:, :2], np.eye(6, dtype=bool))
