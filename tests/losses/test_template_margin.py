"""The margin of templates against a loop and against the published masking, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.losses import template_margin

RNG = np.random.default_rng(0)
TEMPLATES = np.array([0, 1, 1, 2, 0])
LABELS = np.array([0, 1, 2, 0, 2, 1])
SCORES = RNG.uniform(size=(6, 5)).astype(np.float32)


@pytest.mark.parametrize("similarity", [True, False])
def test_equals_a_loop_over_templates(similarity):
    best, other = (max, min) if similarity else (min, max)
    assert best is not other
    expected = []
    for row, label in zip(SCORES, LABELS, strict=True):
        right = best(s for s, t in zip(row, TEMPLATES, strict=True) if t == label)
        wrong = best(s for s, t in zip(row, TEMPLATES, strict=True) if t != label)
        expected.append(max(0, (wrong - right if similarity else right - wrong) + 0.2))
    found = template_margin(SCORES, TEMPLATES, LABELS, margin=0.2, similarity=similarity)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert np.ptp(found) > 0.5


def published(scores, labels, margin):
    """One template per class, the best rival found after 1 is subtracted from the own score."""
    own = np.eye(scores.shape[1])[labels]
    return np.maximum(0, np.max(scores - own, 1) - np.sum(scores * own, 1) + margin)


def test_published_masking_agrees_for_probabilities_and_not_beyond():
    found = template_margin(SCORES, np.arange(5), LABELS)
    np.testing.assert_allclose(found, published(SCORES, LABELS, 0.3), rtol=1e-5, atol=1e-7)
    large, label = np.float32([[5.0, 1.0]]), np.array([0])  # reduced to 4, the own score is still the largest
    assert published(large, label, 2.0) == 1
    assert template_margin(large, np.arange(2), label, margin=2.0) == 0


def test_only_the_best_templates_get_a_gradient():
    slope = np.asarray(jax.grad(lambda s: template_margin(s, TEMPLATES, jnp.array(0), margin=1.0))(SCORES[0]))
    own = np.where(TEMPLATES == 0, SCORES[0], -1).argmax()
    rival = np.where(TEMPLATES == 0, -1, SCORES[0]).argmax()
    expected = np.zeros(5)
    expected[own], expected[rival] = -1, 1
    np.testing.assert_array_equal(slope, expected)


def test_classes_without_a_template_and_without_a_rival():
    found = np.asarray(template_margin(SCORES[:2], TEMPLATES, np.array([3, -1])))
    assert np.isnan(found).all()
    np.testing.assert_array_equal(template_margin(SCORES, np.zeros(5, int), np.zeros(6, int)), np.zeros(6))
    hidden = template_margin(SCORES[:2], TEMPLATES, np.array([3, 0]), where=np.array([False, True]))
    assert hidden[0] == 0
    assert np.isfinite(hidden[1])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"scores": SCORES[:, :4]}, ValueError, r"scores must have shape \[6, 5\]"),
        ({"template_labels": TEMPLATES[:0]}, ValueError, "at least one template"),
        ({"template_labels": TEMPLATES[None]}, ValueError, "template_labels must have shape"),
        ({"labels": LABELS.astype(float)}, TypeError, "labels must hold integers"),
        ({"scores": SCORES > 0}, TypeError, "scores must be floating point"),
        ({"where": np.ones(6)}, TypeError, "where must be boolean"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        template_margin(**{"scores": SCORES, "template_labels": TEMPLATES, "labels": LABELS} | change)
