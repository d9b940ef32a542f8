"""Classification by components against its definition, its limits, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxlab.nn import cbc_probabilities, component_reasoning, median_bandwidth, rbf_detections

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 3)).astype(np.float32)
PROTOTYPES = RNG.normal(size=(4, 3)).astype(np.float32)
THETA = RNG.normal(size=(8, 5)).astype(np.float32)
DETECTIONS = RNG.uniform(size=(6, 4)).astype(np.float32)


@pytest.mark.parametrize("power", [1, 2])
def test_detections_are_kernels_of_the_distance(power):
    bandwidth = np.float32([0.5, 1.0, 2.0, 4.0])
    expected = np.exp(-((cdist(X, PROTOTYPES) / bandwidth) ** power))
    np.testing.assert_allclose(rbf_detections(X, PROTOTYPES, bandwidth=bandwidth, power=power), expected, rtol=1e-5)


def test_detection_is_exact_close_to_a_prototype_far_from_the_origin():
    near = np.float32(1000.0) + np.float32([[0.0, 0.0], [0.0, 0.125]])
    np.testing.assert_allclose(rbf_detections(near, near[:1], bandwidth=1.0)[:, 0], [1, np.exp(-0.125)], rtol=1e-6)


@pytest.mark.parametrize("power", [1, 2])
def test_gradient_at_a_prototype_is_zero(power):
    slope = jax.grad(lambda x: jnp.sum(rbf_detections(x, PROTOTYPES[:1], bandwidth=1.0, power=power)))(PROTOTYPES[0])
    np.testing.assert_array_equal(slope, np.zeros(3))


def test_median_bandwidth_saves_from_underflow():
    far = 1e4 * X
    assert (np.asarray(rbf_detections(far, PROTOTYPES, bandwidth=1.0)) == 0).all()
    bandwidth = median_bandwidth(far, PROTOTYPES)
    seen = np.asarray(rbf_detections(far, PROTOTYPES, bandwidth=bandwidth))
    assert np.median(seen) == pytest.approx(np.exp(-1), rel=0.2)
    assert len(np.unique(seen)) == seen.size


def test_median_bandwidth_is_a_median_of_the_rows_that_count():
    where = np.arange(6) < 3  # twelve distances: the sixth
    expected = np.sort(cdist(X[:3], PROTOTYPES), axis=None)[5]
    dirty = np.where(where[:, None], X, np.nan)
    np.testing.assert_allclose(median_bandwidth(dirty, PROTOTYPES, where=where), expected, rtol=1e-6)
    assert median_bandwidth(X, X[:1], where=np.arange(6) < 1) == 1  # the only distance is 0
    assert median_bandwidth(X, PROTOTYPES, where=np.zeros(6, bool)) == 1


def test_reasoning_is_a_softmax_over_for_and_against():
    positive, negative = component_reasoning(THETA)
    shares = np.exp(THETA) / np.exp(THETA).sum(0)
    np.testing.assert_allclose(positive, shares[:4], rtol=1e-5)
    np.testing.assert_allclose(negative, shares[4:], rtol=1e-5)


def test_probabilities_are_the_sum_over_prototypes():
    positive, negative = map(np.asarray, component_reasoning(THETA))
    expected = np.zeros((6, 5))
    for n in range(6):
        for c in range(5):
            for k in range(4):
                expected[n, c] += positive[k, c] * DETECTIONS[n, k] + negative[k, c] * (1 - DETECTIONS[n, k])
    found = np.asarray(cbc_probabilities(DETECTIONS, positive, negative))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (found >= 0).all()
    assert (found <= 1).all()


def test_limits_of_the_probabilities():
    positive, negative = component_reasoning(THETA)
    everything, nothing = cbc_probabilities(jnp.ones(4), positive, negative), jnp.zeros(4)
    np.testing.assert_allclose(everything, positive.sum(0), rtol=1e-5)
    np.testing.assert_allclose(cbc_probabilities(nothing, positive, negative), negative.sum(0), rtol=1e-6)
    # What is seen and what is not seen change places with reasoning for and against.
    swapped = cbc_probabilities(1 - DETECTIONS, negative, positive)
    np.testing.assert_allclose(swapped, cbc_probabilities(DETECTIONS, positive, negative), rtol=1e-5)
    one = component_reasoning(THETA[:2])
    np.testing.assert_allclose(
        cbc_probabilities(jnp.array([0.25]), *one), (0.25 * one[0] + 0.75 * one[1])[0], rtol=1e-6
    )


def test_without_negative_reasoning_it_is_a_radial_basis_function_network():
    weights = jax.nn.softmax(jnp.asarray(THETA[:4]), axis=0)
    reasoning = component_reasoning(THETA[:4], negative=False)
    np.testing.assert_allclose(cbc_probabilities(DETECTIONS, *reasoning), DETECTIONS @ weights, rtol=1e-5)


def test_threshold_drops_weak_detections():
    reasoning = component_reasoning(THETA)
    clipped = np.where(DETECTIONS < 0.5, 0, DETECTIONS)
    np.testing.assert_allclose(
        cbc_probabilities(DETECTIONS, *reasoning, threshold=0.5), cbc_probabilities(clipped, *reasoning), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: rbf_detections(X[:, :2], PROTOTYPES, bandwidth=1.0), ValueError, r"x must have shape \[..., 3\]"),
        (lambda: rbf_detections(X, PROTOTYPES[0], bandwidth=1.0), ValueError, "prototypes must have shape"),
        (lambda: rbf_detections(X, PROTOTYPES, bandwidth=0.0), ValueError, "bandwidth must be > 0"),
        (lambda: rbf_detections(X, PROTOTYPES, bandwidth=1.0, power=3), ValueError, "power must be one of 1, 2"),
        (lambda: rbf_detections(X.astype(int), PROTOTYPES, bandwidth=1.0), TypeError, "x must be floating point"),
        (lambda: median_bandwidth(X, PROTOTYPES[:0]), ValueError, "K >= 1"),
        (lambda: median_bandwidth(X, PROTOTYPES, where=np.ones(4, bool)), ValueError, "where must have shape"),
        (lambda: component_reasoning(THETA[:3]), ValueError, "an even number of rows"),
        (lambda: component_reasoning(THETA[:0], negative=False), ValueError, "at least one row"),
        (lambda: component_reasoning(THETA[0]), ValueError, "logits must have shape"),
        (lambda: cbc_probabilities(X, THETA[:4], THETA[4:]), ValueError, r"detections must have shape \[..., 4\]"),
        (lambda: cbc_probabilities(DETECTIONS, THETA[:4], THETA), ValueError, "positive and negative must have"),
        (lambda: cbc_probabilities(DETECTIONS > 0, THETA[:4], THETA[4:]), TypeError, "detections must be floating"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
