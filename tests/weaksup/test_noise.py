"""weaksup.noise and analytic.borrow_gaussian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import analytic, weaksup

RNG = np.random.default_rng(0)
MEANS = RNG.standard_normal((5, 3)).astype(np.float32)
HALF = RNG.standard_normal((5, 3, 3))
COVARIANCES = (HALF @ HALF.swapaxes(1, 2)).astype(np.float32)
COUNTS = np.array([3, 40, 80, 2, 60])
TAIL = np.array([True, False, False, True, False])


def test_noise_follows_its_matrix():
    table = weaksup.transition_uniform(4, rate=0.3)
    np.testing.assert_allclose(table.sum(1), 1.0, rtol=1e-6)
    labels = np.repeat(np.arange(4), 5000)
    noisy = np.asarray(weaksup.corrupt_labels(jax.random.key(0), labels, table))
    for c in range(4):
        np.testing.assert_allclose(np.bincount(noisy[labels == c], minlength=4) / 5000, table[c], atol=0.03)


def test_rate_one_leaves_no_label_right():
    labels = np.arange(300) % 3
    noisy = weaksup.corrupt_labels(jax.random.key(1), labels, weaksup.transition_uniform(3))
    assert not np.any(np.asarray(noisy) == labels)
    clean = weaksup.corrupt_labels(jax.random.key(1), labels, weaksup.transition_uniform(3, rate=0.0))
    np.testing.assert_array_equal(clean, labels)


def borrowed_by_hand(k, q):
    lenders = [1, 2, 4]
    distance = {c: float(((MEANS[k] - MEANS[c]) ** 2).sum()) for c in lenders}
    near = sorted(lenders, key=distance.get)[:q]
    weights = np.array([COUNTS[c] / distance[c] for c in near])
    weights /= weights.sum()
    return weights @ MEANS[near], np.tensordot(weights, COVARIANCES[near], 1)


@pytest.mark.parametrize("q", [1, 2, 3, 9])
def test_rare_classes_borrow_from_the_nearest_frequent_ones(q):
    means, covariances = analytic.borrow_gaussian(
        MEANS, COVARIANCES, COUNTS, tail=TAIL, num_neighbors=q, alpha=0.2, mix=0.3
    )
    for k in (0, 3):
        near, shape = borrowed_by_hand(k, min(q, 3))
        np.testing.assert_allclose(means[k], 0.7 * MEANS[k] + 0.3 * near, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(covariances[k], shape + 0.2, rtol=1e-4, atol=1e-5)
        assert np.linalg.eigvalsh(covariances[k]).min() > -1e-5
    np.testing.assert_array_equal(means[~TAIL], MEANS[~TAIL])
    np.testing.assert_array_equal(covariances[~TAIL], COVARIANCES[~TAIL])


def test_nothing_to_borrow_leaves_a_class_as_it_is():
    for kwargs in ({"num_neighbors": 0, "tail": TAIL}, {"tail": np.ones(5, bool)}):
        means, covariances = analytic.borrow_gaussian(MEANS, COVARIANCES, COUNTS, alpha=1.0, **kwargs)
        np.testing.assert_array_equal(means, MEANS)
        np.testing.assert_array_equal(covariances, COVARIANCES)


def test_classes_without_rows_neither_lend_nor_borrow():
    counts = np.array([0, 0, 80, 2, 60])
    means, _ = analytic.borrow_gaussian(MEANS, COVARIANCES, counts, tail=TAIL, num_neighbors=3, mix=1.0)
    np.testing.assert_array_equal(means[0], MEANS[0])
    distance = ((MEANS[3] - MEANS[[2, 4]]) ** 2).sum(1)
    weights = counts[[2, 4]] / distance
    np.testing.assert_allclose(means[3], weights @ MEANS[[2, 4]] / weights.sum(), rtol=1e-4)


def test_a_lender_at_the_same_place_is_finite():
    means, covariances = analytic.borrow_gaussian(
        np.zeros((2, 2), np.float32), COVARIANCES[:2, :2, :2], np.array([1, 9]), tail=np.array([True, False])
    )
    assert np.all(np.isfinite(means))
    np.testing.assert_allclose(covariances[0], COVARIANCES[1, :2, :2], rtol=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="num_classes"):
        weaksup.transition_uniform(1)
    with pytest.raises(ValueError, match="rate must lie in"):
        weaksup.transition_uniform(3, rate=1.5)
    with pytest.raises(ValueError, match="transition must have shape"):
        weaksup.corrupt_labels(jax.random.key(0), np.zeros(2, int), jnp.ones((2, 3)))
    with pytest.raises(TypeError, match="labels must hold integers"):
        weaksup.corrupt_labels(jax.random.key(0), np.zeros(2), jnp.eye(2))
    with pytest.raises(ValueError, match="covariances must have shape"):
        analytic.borrow_gaussian(MEANS, COVARIANCES[:4], COUNTS, tail=TAIL)
    with pytest.raises(TypeError, match="tail must be boolean"):
        analytic.borrow_gaussian(MEANS, COVARIANCES, COUNTS, tail=TAIL.astype(int))
    with pytest.raises(ValueError, match="mix must lie in"):
        analytic.borrow_gaussian(MEANS, COVARIANCES, COUNTS, tail=TAIL, mix=2.0)
