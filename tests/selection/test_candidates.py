"""The best candidate, and bounds on scores."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import selection

NAN = np.nan


def brute(scores, thresholds, weights):
    index, keep = [], []
    for source in scores:
        totals = [-np.inf if np.isnan(marks).any() else float(marks @ weights) for marks in source]
        passing = [m for m, marks in enumerate(source) if (marks >= thresholds).all()]
        keep.append(bool(passing))
        index.append(max(passing or range(len(totals)), key=lambda m: (totals[m], -m)))
    return index, keep


def test_one_by_one_gives_the_same():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (30, 5, 3)).astype(np.float32)  # ties
    scores[rng.random(scores.shape) < 0.1] = NAN
    thresholds, weights = np.array([1.0, 2.0, 1.0], np.float32), np.array([1.0, 2.0, 0.5], np.float32)
    got = selection.best_of_candidates(scores, thresholds=thresholds, weights=weights)
    index, keep = brute(scores, thresholds, weights)
    np.testing.assert_array_equal(got.keep, keep)
    np.testing.assert_array_equal(got.candidate, index)
    assert 0 < np.sum(keep) < 30


def test_thresholds_at_the_ends_and_in_between():
    scores = np.random.default_rng(1).normal(size=(20, 4, 2)).astype(np.float32)
    kept = [
        np.asarray(selection.best_of_candidates(scores, thresholds=bound, weights=1.0).keep)
        for bound in (-np.inf, -0.5, 0.5, np.inf)
    ]
    assert kept[0].all()
    assert not kept[-1].any()
    assert all((more >= fewer).all() for more, fewer in itertools.pairwise(kept))
    everything = selection.best_of_candidates(scores, thresholds=-np.inf, weights=1.0)
    np.testing.assert_array_equal(everything.candidate, scores.sum(-1).argmax(1))


def test_the_order_of_candidates_does_not_matter():
    scores = np.random.default_rng(2).normal(size=(9, 4, 2)).astype(np.float32)
    order = np.array([2, 0, 3, 1])
    plain = selection.best_of_candidates(scores, thresholds=0.0, weights=1.0)
    moved = selection.best_of_candidates(scores[:, order], thresholds=0.0, weights=1.0)
    np.testing.assert_array_equal(order[np.asarray(moved.candidate)], plain.candidate)


def test_an_infinite_mark_without_weight_does_not_count():
    scores = jnp.array([[[-jnp.inf, 1.0], [0.0, 2.0]]])
    best = selection.best_of_candidates(scores, thresholds=-jnp.inf, weights=jnp.array([0.0, 1.0]))
    assert best[0].tolist() == [1]


def test_bounds():
    scores = jnp.array([0.1, 0.5, NAN, 0.9])
    np.testing.assert_array_equal(selection.threshold_filter(scores, low=0.5), [False, True, False, True])
    np.testing.assert_array_equal(selection.threshold_filter(scores, low=0.2, high=0.5), [False, True, False, False])
    two = jnp.array([[0.1, 0.9], [0.6, 0.2]])
    np.testing.assert_array_equal(selection.threshold_filter(two, high=jnp.array([0.5, 1.0])), [True, False])
    np.testing.assert_array_equal(selection.threshold_filter(scores), [True, True, False, True])


def test_bad_input():
    with pytest.raises(ValueError, match="scores must have shape"):
        selection.best_of_candidates(jnp.ones((3, 2)), thresholds=0.0, weights=1.0)
    with pytest.raises(ValueError, match="thresholds must be"):
        selection.best_of_candidates(jnp.ones((3, 2, 2)), thresholds=jnp.ones(3), weights=1.0)
    with pytest.raises(ValueError, match="low must not be above"):
        selection.threshold_filter(jnp.ones(3), low=1.0, high=0.0)
    with pytest.raises(TypeError, match="scores"):
        selection.threshold_filter(jnp.ones(3, int))
