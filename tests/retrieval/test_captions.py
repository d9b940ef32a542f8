"""Borrowed captions: numpy, the threshold, who may lend, and what is refused."""

import numpy as np
import pytest

from jaxlab.retrieval import pseudo_caption

RNG = np.random.default_rng(0)
NOISY, CLEAN = RNG.dirichlet(np.ones(4), 6).astype(np.float32), RNG.dirichlet(np.ones(4), 5).astype(np.float32)


def cosines(a, b):
    return (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T


def test_the_most_similar_clean_example_lends():
    scores = cosines(NOISY, CLEAN)
    index, label = pseudo_caption(NOISY, CLEAN, threshold=0.9)
    np.testing.assert_array_equal(index, scores.argmax(1))
    np.testing.assert_allclose(label, np.where(scores.max(1) >= 0.9, scores.max(1), 0), rtol=1e-5)
    assert 0 < np.count_nonzero(label) < 6


def test_the_same_set_gives_itself():
    index, label = pseudo_caption(CLEAN, CLEAN)
    np.testing.assert_array_equal(index, np.arange(5))
    np.testing.assert_allclose(label, 1, rtol=1e-5)


def test_only_those_marked_may_lend():
    where = np.array([False, True, False, True, True])
    index, _ = pseudo_caption(NOISY, np.where(where[:, None], CLEAN, np.nan), where=where)
    np.testing.assert_array_equal(index, np.where(where, cosines(NOISY, CLEAN), -2).argmax(1))
    index, label = pseudo_caption(NOISY, CLEAN, where=np.zeros(5, bool))
    assert not np.any(index)
    assert not np.any(label)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pseudo_caption(NOISY, CLEAN[:, :3]), ValueError, "clean_probs must have shape"),
        (lambda: pseudo_caption(NOISY, CLEAN[:0]), ValueError, "M >= 1"),
        (lambda: pseudo_caption(NOISY[0], CLEAN), ValueError, r"noisy_probs must have shape \[B, C\]"),
        (lambda: pseudo_caption(NOISY, CLEAN, where=np.ones(4, bool)), ValueError, "where must have shape"),
        (lambda: pseudo_caption(NOISY.astype(int), CLEAN), TypeError, "noisy_probs must be floating point"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
