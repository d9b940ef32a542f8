"""The weighted sum of two classifiers, classes known by their text alone, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab.zeroshot import ensemble_logits, gda_new_class_classifier


def pair():
    rng = np.random.default_rng(0)
    return rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=(4, 3)).astype(np.float32)


def test_equals_numpy_and_alpha_zero_is_the_first():
    a, b = pair()
    np.testing.assert_allclose(ensemble_logits(a, b, alpha=2.5), a + 2.5 * b, rtol=1e-6)
    np.testing.assert_array_equal(ensemble_logits(a, b, alpha=0), a)


def test_sweep_and_gradient_by_alpha():
    a, b = pair()
    alphas = jnp.array([0.1, 1.0, 10.0])
    sweep = jax.vmap(lambda alpha: ensemble_logits(a, b, alpha=alpha))(alphas)
    np.testing.assert_allclose(sweep, a + np.asarray(alphas)[:, None, None] * b, rtol=1e-5)
    slope = jax.grad(lambda alpha: jnp.sum(ensemble_logits(a, b, alpha=alpha)))(0.0)
    np.testing.assert_allclose(slope, b.sum(), rtol=1e-5)


def test_one_alpha_per_row_and_dtypes():
    a, b = pair()
    np.testing.assert_allclose(ensemble_logits(a, b, alpha=jnp.arange(4.0)[:, None])[0], a[0], rtol=1e-6)
    narrow = ensemble_logits(jnp.asarray(a, jnp.bfloat16), jnp.asarray(b, jnp.bfloat16), alpha=1.0)
    assert narrow.dtype == jnp.bfloat16
    assert ensemble_logits(jnp.asarray(a, jnp.bfloat16), b, alpha=1.0).dtype == jnp.float32


A = jnp.zeros((4, 3))


@pytest.mark.parametrize(
    ("a", "b", "alpha", "error", "words"),
    [
        (A, jnp.zeros((4, 2)), 1.0, ValueError, "a and b must have the same shape"),
        (A, jnp.zeros((4, 3), int), 1.0, TypeError, "b must be floating point"),
        (jnp.zeros((4, 3), int), A, 1.0, TypeError, "a must be floating point"),
        (A, A, jnp.ones((2, 1, 1)), ValueError, "alpha must broadcast"),
        (A, A, jnp.ones(2), ValueError, "alpha must broadcast"),
        (A, A, "best", TypeError, "alpha must be a number"),
    ],
)
def test_bad_input(a, b, alpha, error, words):
    with pytest.raises(error, match=words):
        ensemble_logits(a, b, alpha=alpha)


# --- gda_new_class_classifier


def crowd(seed=0, rows=30, classes=3, dim=5):
    """Rows and texts of unequal lengths, so that the largest dot product is not the smallest distance."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, dim)).astype(np.float32), rng.normal(size=(classes, dim)).astype(np.float32)


def by_formula(features, text, k, copies):
    """Weight and bias in float64, by sorting and the pseudo-inverse."""
    features, text = features.astype(np.float64), text.astype(np.float64)
    (classes, dim), means, precisions = text.shape, [], []
    for t in text:
        near = features[np.argsort(-features @ t, kind="stable")[:k]]
        means.append(np.concatenate([near, np.tile(t, (copies, 1))]).mean(0))
        covariance = (near - t).T @ (near - t) / (k - 1)
        precisions.append(dim * np.linalg.pinv((k - 1) * covariance + np.trace(covariance) * np.eye(dim)))
    precision, mean = np.mean(precisions, 0), np.stack(means)
    weight = precision @ mean.T
    return weight, np.log(1 / classes) - 0.5 * np.einsum("md,de,me->m", mean, precision, mean)


@pytest.mark.parametrize(("k", "copies"), [(8, 16), (2, 0), (30, 1)])
def test_new_classes_by_the_formula(k, copies):
    features, text = crowd()
    weight, bias = by_formula(features, text, k, copies)
    head = gda_new_class_classifier(features, text, k=k, copies=copies)
    np.testing.assert_allclose(head.weight, weight, rtol=2e-4, atol=1e-4)
    np.testing.assert_allclose(head.bias, bias, rtol=2e-4)


def test_neighbours_copies_and_the_centre_each_matter():
    features, text = crowd()
    head = gda_new_class_classifier(features, text, k=8, copies=4)
    for other in (
        gda_new_class_classifier(features, text, k=9, copies=4),
        gda_new_class_classifier(features, text, k=8, copies=5),
    ):
        assert np.abs(head.weight - other.weight).max() > 0.02
    # Far from the text, a scatter about the neighbours' own mean would be much smaller.
    far = np.concatenate([features[:, :1] + 30, features[:, 1:]], axis=1)
    shrunk = gda_new_class_classifier(far, text[:1], k=8, copies=0)
    np.testing.assert_allclose(shrunk.weight, by_formula(far, text[:1], 8, 0)[0], rtol=1e-3, atol=1e-5)
    assert np.abs(shrunk.weight).max() < 0.1


def test_a_single_neighbour_on_its_text_is_the_nearest_mean():
    text = np.eye(3, 5, dtype=np.float32)
    head = gda_new_class_classifier(text, text, k=1)
    np.testing.assert_allclose(head.weight, text.T, atol=1e-6)  # no scatter: the precision is the identity
    np.testing.assert_allclose(head.bias, -np.log(3) - 0.5, rtol=1e-6)


def test_many_copies_leave_the_text():
    features, text = crowd(classes=1)
    head = gda_new_class_classifier(features, text, k=5, copies=10**7)
    t = text[0].astype(np.float64)
    np.testing.assert_allclose(head.bias[0], -0.5 * t @ np.asarray(head.weight, np.float64)[:, 0], rtol=1e-4)


def test_a_rotation_of_the_space_changes_no_logit():
    features, text = crowd()
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0].astype(np.float32)
    straight = gda_new_class_classifier(features, text, k=6)
    turned = gda_new_class_classifier(features @ turn, text @ turn, k=6)
    np.testing.assert_allclose(features @ turn @ turned.weight, features @ straight.weight, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(turned.bias, straight.bias, rtol=1e-3)


def test_hidden_rows_are_not_there():
    features, text = crowd()
    where = np.arange(30) % 3 > 0
    poisoned = np.where(where[:, None], features, np.nan)
    head = gda_new_class_classifier(poisoned, text, k=7, where=where)
    np.testing.assert_allclose(head.weight, gda_new_class_classifier(features[where], text, k=7).weight, rtol=1e-5)
    few = np.arange(30) < 4
    head = gda_new_class_classifier(features, text, k=7, where=few)
    np.testing.assert_allclose(head.weight, gda_new_class_classifier(features[:4], text, k=4).weight, rtol=1e-5)
    none = gda_new_class_classifier(features, text, k=7, where=np.zeros(30, bool))
    np.testing.assert_allclose(none.weight, text.T, rtol=1e-6)
    without = gda_new_class_classifier(features, text, k=7, copies=0, where=np.zeros(30, bool))
    np.testing.assert_array_equal(without.weight, 0)


def test_a_counted_nan_is_loud():
    features, text = crowd()
    features[3] = np.nan
    assert np.isnan(gda_new_class_classifier(features, text, k=2).weight).all()


F, T = jnp.zeros((6, 3)), jnp.zeros((2, 3))


@pytest.mark.parametrize(
    ("features", "text", "options", "error", "words"),
    [
        (jnp.zeros(3), T, {}, ValueError, r"features must have shape \[N, D\]"),
        (F, jnp.zeros(3), {}, ValueError, r"text must have shape \[M, D\]"),
        (F, jnp.zeros((2, 4)), {}, ValueError, "text must have rows of width 3"),
        (F, jnp.zeros((0, 3)), {}, ValueError, "number of classes M in text must be at least 1"),
        (jnp.zeros((6, 3), int), T, {}, TypeError, "features must be floating point"),
        (F, jnp.zeros((2, 3), int), {}, TypeError, "text must be floating point"),
        (F, T, {"k": 7}, ValueError, r"k must lie in \[1, 6\]"),
        (F, T, {"k": 0}, ValueError, r"k must lie in \[1, 6\]"),
        (F, T, {"copies": -1}, ValueError, "copies must be at least 0"),
        (F, T, {"where": jnp.ones(5, bool)}, ValueError, "where must have shape"),
        (F, T, {"where": jnp.ones(6)}, TypeError, "where must be boolean"),
    ],
)
def test_bad_new_classes(features, text, options, error, words):
    with pytest.raises(error, match=words):
        gda_new_class_classifier(features, text, **{"k": 2} | options)
