"""metrics.oscr, pearson, confusion_matrix, mean_iou and local_outlier_factor against scipy and scikit-learn."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from sklearn.datasets import load_digits
from sklearn.neighbors import LocalOutlierFactor

from jaxlab import metrics

RNG = np.random.default_rng(0)


def curve_area(scores, correct, known):
    """Trapezoids under CCR over FPR, at every threshold."""
    thresholds = np.concatenate([[np.inf], np.unique(scores)[::-1], [-np.inf]])
    ccr = [np.mean(correct[known == 1] & (scores[known == 1] >= t)) for t in thresholds]
    fpr = [np.mean(scores[known == 0] >= t) for t in thresholds]
    return np.trapezoid(ccr, fpr)


def test_oscr_is_the_area_under_the_curve_with_ties():
    scores = np.round(RNG.standard_normal(60), 1).astype(np.float32)
    known, correct = RNG.integers(0, 2, 60), RNG.random(60) < 0.7
    assert len(np.unique(scores)) < 50
    np.testing.assert_allclose(metrics.oscr(scores, correct, known), curve_area(scores, correct, known), rtol=1e-5)


def test_oscr_of_a_perfect_classifier_is_auroc_and_never_above_accuracy():
    scores, known = RNG.standard_normal(50).astype(np.float32), RNG.integers(0, 2, 50)
    perfect = metrics.oscr(scores, np.ones(50, bool), known)
    np.testing.assert_allclose(perfect, sklearn.metrics.roc_auc_score(known, scores), rtol=1e-5)
    correct = RNG.random(50) < 0.6
    assert metrics.oscr(scores, correct, known) <= correct[known == 1].mean()
    assert np.isnan(metrics.oscr(scores, correct, np.ones(50, int)))
    assert np.isnan(metrics.oscr(scores, correct, np.zeros(50, int)))


def test_pearson_equals_scipy():
    a, b = RNG.standard_normal((2, 30)).astype(np.float32)
    b = b + 0.5 * a + 1000
    where = RNG.random(30) < 0.7
    np.testing.assert_allclose(metrics.pearson(a, b), scipy.stats.pearsonr(a, b)[0], atol=1e-4)
    masked = metrics.pearson(np.where(where, a, np.nan), b, where=where)
    np.testing.assert_allclose(masked, scipy.stats.pearsonr(a[where], b[where])[0], atol=1e-4)


def test_pearson_of_what_does_not_vary_is_zero():
    assert metrics.pearson(np.full(5, 0.1, np.float32), np.arange(5, dtype=np.float32)) == 0
    assert metrics.pearson(np.ones(1, np.float32), np.ones(1, np.float32)) == 0


def test_confusion_equals_scikit_learn():
    labels, predictions = RNG.integers(0, 4, (2, 3, 20))
    expected = sklearn.metrics.confusion_matrix(labels.ravel(), predictions.ravel(), labels=range(4))
    np.testing.assert_array_equal(metrics.confusion_matrix(predictions, labels, num_classes=4), expected)
    ignored = np.where(labels == 3, 255, labels)
    seen = metrics.confusion_matrix(predictions, ignored, num_classes=4)
    np.testing.assert_array_equal(seen, np.where(np.arange(4)[:, None] < 3, expected, 0))


def test_mean_iou_equals_jaccard():
    labels, predictions = RNG.integers(0, 4, (2, 200))
    table = metrics.confusion_matrix(predictions, labels, num_classes=5)  # class 4 never occurs
    jaccard = sklearn.metrics.jaccard_score(labels, predictions, average=None)
    np.testing.assert_allclose(metrics.mean_iou(table), jaccard.mean(), rtol=1e-6)
    foreground = np.arange(5) > 0
    np.testing.assert_allclose(metrics.mean_iou(table, class_where=foreground), jaccard[1:].mean(), rtol=1e-6)
    assert metrics.mean_iou(np.diag([3, 2])) == 1
    assert metrics.mean_iou(np.array([[0, 3], [2, 0]])) == 0
    assert metrics.mean_iou(np.zeros((2, 2), int)) == 0


def test_local_outlier_factor_equals_scikit_learn():
    x = load_digits().data[:150].astype(np.float32) / 16
    x[7] += 5
    x += 1e-3 * RNG.normal(size=x.shape).astype(np.float32)  # digits are integers: rounding would decide ties
    expected = -LocalOutlierFactor(20).fit(x).negative_outlier_factor_
    np.testing.assert_allclose(metrics.local_outlier_factor(x, k=20), expected, rtol=1e-5)
    assert np.argmax(expected) == 7
    where = np.arange(150) < 100
    masked = metrics.local_outlier_factor(np.where(where[:, None], x, np.nan), k=20, where=where)
    subset = -LocalOutlierFactor(20).fit(x[:100]).negative_outlier_factor_
    np.testing.assert_allclose(masked[:100], subset, rtol=1e-5)
    np.testing.assert_array_equal(masked[100:], 0)


def test_local_outlier_factor_inside_a_grid_is_one():
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), -1).reshape(-1, 2).astype(np.float32)
    inner = np.all((grid > 2) & (grid < 6), axis=1)
    np.testing.assert_allclose(np.asarray(metrics.local_outlier_factor(grid, k=4))[inner], 1.0, atol=1e-5)


def test_local_outlier_factor_of_few_rows():
    np.testing.assert_array_equal(metrics.local_outlier_factor(np.ones((1, 2), np.float32)), [1.0])
    few = metrics.local_outlier_factor(RNG.standard_normal((5, 2)).astype(np.float32), k=20)
    assert np.all(np.isfinite(few))
    alone = metrics.local_outlier_factor(np.ones((3, 2), np.float32), where=np.array([True, False, False]))
    np.testing.assert_array_equal(alone, [1.0, 0.0, 0.0])
    np.testing.assert_allclose(metrics.local_outlier_factor(np.ones((4, 2), np.float32), k=2), 1.0)


def test_bad_input():
    with pytest.raises(ValueError, match="correct must have shape"):
        metrics.oscr(jnp.ones(3), np.ones(4, bool), np.ones(3, int))
    with pytest.raises(TypeError, match="correct must be boolean"):
        metrics.oscr(jnp.ones(3), np.ones(3, int), np.ones(3, int))
    with pytest.raises(ValueError, match="same shape"):
        metrics.pearson(jnp.ones(3), jnp.ones(4))
    with pytest.raises(ValueError, match="confusion must have shape"):
        metrics.mean_iou(np.ones((2, 3)))
    with pytest.raises(TypeError, match="predictions must hold integers"):
        metrics.confusion_matrix(np.ones(3), np.ones(3, int), num_classes=2)
    with pytest.raises(ValueError, match="k must be"):
        metrics.local_outlier_factor(jnp.ones((3, 2)), k=0)
