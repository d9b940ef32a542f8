"""Average precision of detections against a loop over all of them."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from jaxlab import metrics


def by_loops(scores, overlaps, threshold, where, target_where):
    free, hits = target_where.copy(), []
    for i, p in sorted(zip(*np.nonzero(where), strict=True), key=lambda at: (-scores[at], at)):
        usable = np.where(free[i], overlaps[i, p], -1)
        best = usable.argmax()
        hits.append(usable[best] >= threshold)
        free[i, best] &= not hits[-1]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return np.sum(envelope * hits) / target_where.sum()


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop(seed):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(size=(4, 6)).astype(np.float32)
    overlaps = rng.uniform(size=(4, 6, 3)).astype(np.float32)
    where, target_where = rng.random((4, 6)) < 0.8, rng.random((4, 3)) < 0.8
    dirty = np.where(where, scores, np.nan), np.where(where[..., None] & target_where[:, None], overlaps, np.nan)
    found = metrics.detection_average_precision(*dirty, threshold=0.7, where=where, target_where=target_where)
    np.testing.assert_allclose(found, by_loops(scores, overlaps, 0.7, where, target_where), rtol=1e-5)
    assert 0 < found < 1


def test_one_object_an_image_found_in_full_is_retrieval():
    """Where precision never rises again, this is the area that scikit-learn sums."""
    scores, hit = np.float32([[0.9], [0.8], [0.7], [0.2]]), np.array([True, True, False, False])
    overlaps = hit[:, None, None].astype(np.float32)
    found = metrics.detection_average_precision(scores, overlaps, target_where=hit[:, None])
    np.testing.assert_allclose(found, average_precision_score(hit, scores[:, 0]))


def test_a_second_detection_of_an_object_is_an_error():
    overlaps = jnp.array([[[0.9], [0.95]]])
    assert metrics.detection_average_precision(jnp.array([[0.5, 0.4]]), overlaps) == 1.0
    missing = metrics.detection_average_precision(jnp.array([[0.5, 0.4]]), overlaps.at[0, 0].set(0.4))
    assert missing == 0.5


def test_nothing_there():
    overlaps = jnp.ones((2, 3, 1))
    assert jnp.isnan(
        metrics.detection_average_precision(jnp.ones((2, 3)), overlaps, target_where=jnp.zeros((2, 1), bool))
    )
    assert metrics.detection_average_precision(jnp.ones((2, 3)), overlaps, where=jnp.zeros((2, 3), bool)) == 0
    assert metrics.detection_average_precision(jnp.ones((2, 0)), jnp.ones((2, 0, 1))) == 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda f: f(jnp.ones(3), jnp.ones((1, 3, 1))), ValueError, "scores and overlaps"),
        (lambda f: f(jnp.ones((1, 3)), jnp.ones((1, 2, 1))), ValueError, "scores and overlaps"),
        (lambda f: f(jnp.ones((1, 3), int), jnp.ones((1, 3, 1))), TypeError, "scores must be floating"),
        (
            lambda f: f(jnp.ones((1, 3)), jnp.ones((1, 3, 2)), target_where=jnp.ones((1, 3), bool)),
            ValueError,
            "target_where must broadcast",
        ),
        (
            lambda f: f(jnp.ones((1, 3)), jnp.ones((1, 3, 2)), where=jnp.ones((1, 3))),
            TypeError,
            "where must be boolean",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call(metrics.detection_average_precision)
