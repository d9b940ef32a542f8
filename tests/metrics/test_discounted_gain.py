"""Discounted cumulative gain against scikit-learn."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from jaxlab import metrics

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(5, 8)).astype(np.float32)
GAINS = RNG.integers(0, 4, (5, 8))


@pytest.mark.parametrize("k", [1, 3, 8, 20])
def test_equals_scikit_learn(k):
    for gains in (GAINS, GAINS > 2):
        found = metrics.ndcg_at_k(SCORES, gains, k=k)
        expected = [ndcg_score(gains[i : i + 1], SCORES[i : i + 1], k=k) for i in range(5)]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_ends():
    assert metrics.ndcg_at_k(SCORES, np.zeros((5, 8), bool), k=3).tolist() == [0.0] * 5
    np.testing.assert_allclose(metrics.ndcg_at_k(GAINS.astype(np.float32), GAINS, k=5), 1, rtol=1e-6)
    # NaN comes last, equal scores by index.
    scores = jnp.array([[jnp.nan, 1.0, 1.0]])
    np.testing.assert_allclose(metrics.ndcg_at_k(scores, jnp.array([[1, 0, 0]]), k=3), 0.5)
    np.testing.assert_allclose(metrics.ndcg_at_k(scores, jnp.array([[0, 1, 0]]), k=1), 1)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: metrics.ndcg_at_k(SCORES, GAINS[:2], k=1), ValueError, "scores and relevance"),
        (lambda: metrics.ndcg_at_k(SCORES[0], GAINS[0], k=1), ValueError, "scores must have shape"),
        (lambda: metrics.ndcg_at_k(SCORES, GAINS, k=0), ValueError, "k must be an integer of at least 1"),
        (lambda: metrics.ndcg_at_k(SCORES[:, :0], GAINS[:, :0], k=1), ValueError, "at least one candidate"),
        (lambda: metrics.ndcg_at_k(GAINS, GAINS, k=1), TypeError, "scores must be floating point"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
