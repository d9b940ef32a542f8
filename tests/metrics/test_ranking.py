"""Rankings and the score of a caption."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import top_k_accuracy_score

from jaxlab import metrics

rng = np.random.default_rng(0)
SCORES = rng.normal(size=(20, 7)).astype(np.float32)


def test_recall_with_one_relevant_is_the_hit_rate():
    labels = rng.integers(0, 7, 20)
    for k in (1, 3, 7):
        got = metrics.recall_at_k(SCORES, np.eye(7, dtype=bool)[labels], k=k)
        assert set(np.unique(got)) <= {0.0, 1.0}
        expected = top_k_accuracy_score(labels, SCORES, k=k, labels=np.arange(7)) if k < 7 else 1.0
        np.testing.assert_allclose(np.mean(got), expected)


def test_recall_with_several_relevant():
    relevant = rng.random((20, 7)) < 0.4
    order = np.argsort(-SCORES, axis=1)[:, :3]
    hits = np.take_along_axis(relevant, order, 1).sum(1)
    expected = hits / np.maximum(relevant.sum(1), 1)
    np.testing.assert_allclose(metrics.recall_at_k(SCORES, relevant, k=3), expected, rtol=1e-6)
    np.testing.assert_array_equal(metrics.recall_at_k(SCORES, np.zeros((20, 7), bool), k=3), 0.0)
    np.testing.assert_array_equal(metrics.recall_at_k(SCORES, np.ones((20, 7), bool), k=99), 1.0)


def test_hits_are_the_cumulative_match_curve():
    relevant = rng.random((20, 7)) < 0.3
    first = np.argmax(np.take_along_axis(relevant, np.argsort(-SCORES, axis=1), 1), axis=1)
    for k in (1, 2, 7):
        np.testing.assert_array_equal(metrics.hits_at_k(SCORES, relevant, k=k), relevant.any(1) & (first < k))
    one = np.eye(7, dtype=bool)[rng.integers(0, 7, 20)]
    np.testing.assert_array_equal(metrics.hits_at_k(SCORES, one, k=3), metrics.recall_at_k(SCORES, one, k=3))


def test_ties_and_nan():
    relevant = np.array([[False, True, False]])
    assert metrics.recall_at_k(jnp.zeros((1, 3)), relevant, k=1) == 0.0  # the first of equals
    assert metrics.recall_at_k(jnp.zeros((1, 3)), relevant, k=2) == 1.0
    assert metrics.recall_at_k(jnp.array([[jnp.nan, -1.0, jnp.nan]]), relevant, k=1) == 1.0


def test_clip_score():
    a, b = rng.normal(size=(2, 5, 8)).astype(np.float32)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(metrics.clip_score(a, b), 2.5 * np.maximum(cosine, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics.clip_score(a, 3.0 * a), 2.5, rtol=1e-5)
    np.testing.assert_array_equal(metrics.clip_score(a, -a), 0.0)
    np.testing.assert_array_equal(metrics.clip_score(a, 0.0 * a), 0.0)
    np.testing.assert_allclose(metrics.clip_score(a, a, scale=1.0), 1.0, rtol=1e-5)


BAD = {
    "shapes": (
        lambda: metrics.recall_at_k(SCORES, np.ones((20, 6), bool), k=1),
        ValueError,
        "relevant must have shape",
    ),
    "grades": (lambda: metrics.recall_at_k(SCORES, np.ones((20, 7)), k=1), TypeError, "relevant must be boolean"),
    "k": (lambda: metrics.recall_at_k(SCORES, SCORES > 0, k=0), ValueError, "k must be an integer of at least 1"),
    "empty": (lambda: metrics.recall_at_k(SCORES[:, :0], SCORES[:, :0] > 0, k=1), ValueError, "at least one candidate"),
    "a row": (lambda: metrics.recall_at_k(SCORES[0], SCORES[0] > 0, k=1), ValueError, "[Q, M]"),
    "spaces": (lambda: metrics.clip_score(jnp.ones((2, 3)), jnp.ones((2, 4))), ValueError, "same shape"),
    "a number": (lambda: metrics.clip_score(1.0, 1.0), ValueError, "[..., D]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=re.escape(message)):
        call()
