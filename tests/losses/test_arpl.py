"""losses.arpl, detect.entropy_score and selection.semantic_difficulty_split."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.special import log_softmax, softmax

from jaxlab import detect, losses, selection

RNG = np.random.default_rng(0)
FEATURES, POINTS = RNG.standard_normal((6, 5)).astype(np.float32), RNG.standard_normal((3, 5)).astype(np.float32)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def test_logits_are_distance_less_product():
    expected = ((FEATURES[:, None] - POINTS) ** 2).mean(-1) - FEATURES @ POINTS.T
    np.testing.assert_allclose(losses.arpl_logits(FEATURES, POINTS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_loss_is_cross_entropy_and_hinge(weight):
    logits = ((FEATURES[:, None] - POINTS) ** 2).mean(-1) - FEATURES @ POINTS.T
    apart = ((FEATURES - POINTS[LABELS]) ** 2).mean(-1)
    expected = -log_softmax(logits / 2, -1)[np.arange(6), LABELS] + weight * np.maximum(0, apart - 1.5 + 1)
    loss = losses.arpl(FEATURES, POINTS, 1.5, LABELS, weight=weight, temperature=2.0)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_gradient_of_the_radius_is_minus_the_weight_where_it_binds():
    apart = ((FEATURES - POINTS[LABELS]) ** 2).mean(-1)
    radius = np.float32(np.median(apart) + 1)
    gradient = jax.vmap(lambda f, y: jax.grad(lambda r: losses.arpl(f, POINTS, r, y, weight=0.3))(radius))(
        FEATURES, LABELS
    )
    np.testing.assert_allclose(gradient, np.where(apart > radius - 1, -0.3, 0.0), atol=1e-6)


def test_unknown_labels_are_loud_and_masks_silent():
    loss = losses.arpl(FEATURES, POINTS, 0.0, np.array([0, 1, 2, 3, -1, 0]))
    np.testing.assert_array_equal(np.isnan(loss), [False, False, False, True, True, False])
    where = np.arange(6) < 3
    masked = losses.arpl(np.where(where[:, None], FEATURES, np.nan), POINTS, 0.0, LABELS, where=where)
    np.testing.assert_allclose(masked[:3], losses.arpl(FEATURES, POINTS, 0.0, LABELS)[:3], rtol=1e-6)
    np.testing.assert_array_equal(masked[3:], 0)


def test_entropy_score_tells_itself_from_the_largest_logit():
    logits = RNG.standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_allclose(
        detect.entropy_score(logits), -scipy.stats.entropy(softmax(logits, -1), axis=-1), rtol=1e-5
    )
    np.testing.assert_allclose(detect.entropy_score(logits + 3), detect.entropy_score(logits), atol=1e-5)
    np.testing.assert_allclose(detect.max_logit(logits + 3), detect.max_logit(logits) + 3, atol=1e-5)
    one = detect.entropy_score(logits, class_where=np.array([True, False, False]))
    np.testing.assert_allclose(one, 0.0, atol=1e-6)


def test_hard_classes_are_the_near_ones():
    distances = np.array([[3.0, 1.0, 5.0, 2.0], [9.0, 8.0, 0.5, 2.0]], np.float32)
    np.testing.assert_array_equal(selection.semantic_difficulty_split(distances), [False, True, True, False])
    assert not np.any(selection.semantic_difficulty_split(distances, hard_share=0.0))
    ties = selection.semantic_difficulty_split(jnp.ones((2, 4)))
    np.testing.assert_array_equal(ties, [True, True, False, False])


def test_bad_input():
    with pytest.raises(ValueError, match="labels must have shape"):
        losses.arpl(FEATURES, POINTS, 0.0, LABELS[:3])
    with pytest.raises(ValueError, match="features must have shape"):
        losses.arpl_logits(FEATURES[:, :4], POINTS)
    with pytest.raises(ValueError, match="temperature must be > 0"):
        losses.arpl(FEATURES, POINTS, 0.0, LABELS, temperature=0.0)
    with pytest.raises(ValueError, match="hard_share must lie in"):
        selection.semantic_difficulty_split(jnp.ones((2, 2)), hard_share=2.0)
    with pytest.raises(ValueError, match="distances must have shape"):
        selection.semantic_difficulty_split(jnp.ones((0, 2)))
