"""Votes of the nearest keys against a loop, and against neighbourhood components analysis."""

import functools

import jax
import numpy as np
import pytest

from jaxlab import losses

RNG = np.random.default_rng(0)
S = RNG.normal(size=(6, 9)).astype(np.float32)
OWN, KEYS = np.array([0, 1, 2, 0, 1, 3]), np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
BANNED = RNG.random((6, 9)) < 0.2
X, Y = RNG.normal(size=(8, 3)).astype(np.float32), np.array([0, 1, 0, 1, 2, 2, 0, 1])


def by_loop(scores, own, keys, k, exclude, force):
    values = []
    for row, label, banned in zip(scores.astype(np.float64), own, exclude, strict=True):
        order = [j for j in np.argsort(-row, kind="stable") if not banned[j]]
        nearest, same = order[:k], [j for j in order if keys[j] == label]
        if force and same and same[0] not in nearest:
            nearest = [*nearest, same[0]]
        right = sum(np.exp(row[j]) for j in nearest if keys[j] == label)
        total = sum(np.exp(row[j]) for j in nearest)
        if force:
            values.append(-np.log(right / total) if same else 0.0)
        else:
            values.append(-np.log(right / total + 1e-8))
    return values


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("k", [1, 3, None])
def test_equals_a_loop(k, force):
    found = losses.knn_softmax(S, OWN, KEYS, k=k, exclude=BANNED, force_positive=force)
    np.testing.assert_allclose(found, by_loop(S, OWN, KEYS, k, BANNED, force), rtol=1e-4, atol=1e-6)
    assert losses.knn_softmax(S, OWN, KEYS, k=k)[5] == 0  # no key of its class


def test_keys_that_do_not_vote_get_no_gradient():
    slope = np.asarray(jax.grad(lambda s: losses.knn_softmax(s, OWN, KEYS, k=2).sum())(S))
    for row, grad, label in zip(S, slope, OWN, strict=True):
        voters = set(np.argsort(-row)[:2])
        same = [j for j in np.argsort(-row) if KEYS[j] == label]
        voters |= set(same[:1])
        assert not set(np.flatnonzero(grad)) - voters
    assert np.count_nonzero(slope) > 6
    assert (slope[5] == 0).all()


def test_look_is_neighbourhood_components_with_all_neighbours():
    u = X / np.linalg.norm(X, axis=1, keepdims=True)
    scores = u.astype(np.float64) @ u.T / 0.2
    np.fill_diagonal(scores, -np.inf)
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    expected = -np.log(np.sum(p * (Y[:, None] == Y), 1))
    for k in (None, 7, 8):
        np.testing.assert_allclose(losses.look(X, Y, k=k, temperature=0.2), expected, rtol=1e-4)
    turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    fewer = losses.look(X, Y, k=3)
    np.testing.assert_allclose(losses.look(np.float32(X @ turn), Y, k=3), fewer, rtol=1e-3, atol=1e-4)
    assert np.abs(fewer - losses.look(X, Y, k=None)).max() > 0.1
    np.testing.assert_allclose(losses.look(X, np.zeros(8, int), k=3), 0.0, atol=1e-6)


def test_masks_and_splits():
    where = np.array([True, False, True, True, True, True, False, True])
    dirty = np.where(where[:, None], X, np.nan)
    found = losses.look(dirty, Y, k=3, where=where)
    np.testing.assert_allclose(found[where], losses.look(X[where], Y[where], k=3), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[~where], 0.0)
    split = jax.vmap(functools.partial(losses.look, k=3, axis_name="i"), axis_name="i")
    np.testing.assert_allclose(
        split(X.reshape(2, 4, 3), Y.reshape(2, 4)).ravel(), losses.look(X, Y, k=3), rtol=1e-4, atol=1e-5
    )


BAD = {
    "scores": (lambda: losses.knn_softmax(S, OWN, KEYS[:4]), ValueError, r"scores must have shape \[6, 4\]"),
    "k": (lambda: losses.knn_softmax(S, OWN, KEYS, k=10), ValueError, "k must be at most the number of keys, 9"),
    "no k": (lambda: losses.look(X, Y, k=0), ValueError, "k must be an integer of at least 1"),
    "exclude": (lambda: losses.knn_softmax(S, OWN, KEYS, exclude=S), TypeError, "exclude must be boolean"),
    "labels": (lambda: losses.look(X, Y / 2), TypeError, "labels must hold integers"),
    "temperature": (lambda: losses.look(X, Y, k=2, temperature=0.0), ValueError, "temperature must be > 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
