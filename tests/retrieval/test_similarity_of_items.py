"""Stacked embeddings, sets of tags, and scores by words."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer

from jaxlab import kernels, metrics, retrieval, text

RNG = np.random.default_rng(0)


def units(*shape):
    x = RNG.normal(size=shape)
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


LANGUAGE, VISION = units(8, 3), units(8, 4)


def test_cosines_of_the_stack():
    for c in (0.0, 0.7, 1e4):
        stacked = kernels.cosine_similarity(retrieval.stack_embeddings(LANGUAGE, VISION, scale=c))
        expected = (c**2 * LANGUAGE @ LANGUAGE.T + VISION @ VISION.T) / (1 + c**2)
        np.testing.assert_allclose(stacked, expected, atol=1e-5)


def test_the_tuned_scale_is_the_best_of_the_grid_on_the_items_it_may_use():
    truth = (0.3 * LANGUAGE @ LANGUAGE.T + VISION @ VISION.T + 0.1 * RNG.normal(size=(8, 8))).astype(np.float32)
    truth = truth + truth.T
    grid, where = np.float32([0, 0.3, 0.6, 1, 2, 1000]), np.arange(8) < 6
    truth[6:] = np.nan
    upper = np.triu(where[:, None] & where, 1)
    scores = [
        metrics.pearson(
            kernels.cosine_similarity(retrieval.stack_embeddings(LANGUAGE, VISION, scale=c)), truth, where=upper
        )
        for c in grid
    ]
    found = retrieval.tune_stack_scale(LANGUAGE, VISION, truth, grid, where=where)
    assert found == grid[np.argmax(scores)]
    assert max(scores) >= max(scores[0], scores[-1])


def test_tag_sets():
    tags, where = units(3, 4, 5), np.arange(4) < np.array([[4], [2], [0]])
    dirty = np.where(where[..., None], tags, np.nan)
    for kind in ("mean", "best"):
        found = np.asarray(text.tag_set_similarity(dirty, where=where, kind=kind))
        for i in range(2):
            for j in range(2):
                cosines = tags[i][where[i]] @ tags[j][where[j]].T
                expected = cosines.mean() if kind == "mean" else (cosines.max(0).mean() + cosines.max(1).mean()) / 2
                np.testing.assert_allclose(found[i, j], expected, atol=1e-6)
        np.testing.assert_array_equal(found[2], 0)
        np.testing.assert_array_equal(found[:, 2], 0)


def test_idf_equals_scikit_learn():
    counts = RNG.integers(0, 3, (6, 5))
    counts[0] = 1
    fitted = TfidfTransformer().fit(counts)
    found = retrieval.idf(jnp.asarray((counts > 0).sum(0)), 6)
    np.testing.assert_allclose(found, fitted.idf_, rtol=1e-5)
    np.testing.assert_allclose(retrieval.idf(jnp.array([0, 2]), 4, variant="plain"), [0, np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(
        retrieval.idf(jnp.array([1, 4]), 4, variant="bm25"), np.log1p([3.5 / 1.5, 0.5 / 4.5]), rtol=1e-5
    )


def test_bm25_term_by_term():
    documents, queries = (RNG.integers(0, 4, (n, 5)).astype(np.float32) for n in (6, 2))
    documents[3] = 0
    weights = RNG.uniform(size=5).astype(np.float32)
    found = retrieval.bm25(queries, documents, weights, k1=1.5, b=0.6)
    length = documents.sum(1)
    for q in range(2):
        for d in range(6):
            below = documents[d] + 1.5 * (1 - 0.6 + 0.6 * length[d] / length.mean())
            expected = np.sum(queries[q] * weights * documents[d] * 2.5 / below)
            np.testing.assert_allclose(found[q, d], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: retrieval.stack_embeddings(LANGUAGE, VISION[:3], scale=1.0), ValueError, "language and vision"),
        (lambda: retrieval.tune_stack_scale(LANGUAGE, VISION, VISION, jnp.ones(2)), ValueError, "similarity must have"),
        (lambda: text.tag_set_similarity(LANGUAGE), ValueError, "embeddings must have shape"),
        (lambda: text.tag_set_similarity(LANGUAGE[None], kind="worst"), ValueError, "kind must be one of"),
        (lambda: retrieval.idf(jnp.ones(2), 3, variant="other"), ValueError, "variant must be one of"),
        (lambda: retrieval.bm25(LANGUAGE, VISION, jnp.ones(4)), ValueError, "queries must have 4 words"),
        (lambda: retrieval.bm25(VISION, VISION, jnp.ones(4), b=2.0), ValueError, "b must lie in"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
