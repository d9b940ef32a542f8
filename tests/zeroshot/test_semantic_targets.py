"""Class vectors that are fixed beforehand: no gradient, no change by new classes, no twins."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import analytic, zeroshot

RNG = np.random.default_rng(0)
TEXTS = (RNG.normal(size=(5, 4)) + 2.0).astype(np.float32)
FEATURES = RNG.normal(size=(6, 4)).astype(np.float32)
LABELS = np.arange(6) % 5


def logits(features, targets):
    return analytic.prototype_logits(features, targets, metric="cosine", scale=16.0)


def loss(features, texts):
    scores = logits(features, zeroshot.semantic_targets(texts))
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(scores, LABELS))


def test_unit_rows_centred_or_not():
    unit = TEXTS / np.linalg.norm(TEXTS, axis=1, keepdims=True)
    np.testing.assert_allclose(zeroshot.semantic_targets(TEXTS), unit, rtol=1e-5)
    apart = TEXTS - TEXTS.mean(0)
    apart /= np.linalg.norm(apart, axis=1, keepdims=True)
    centred = zeroshot.semantic_targets(TEXTS, center=True)
    np.testing.assert_allclose(centred, apart, rtol=1e-4, atol=1e-5)
    off_diagonal = ~np.eye(5, dtype=bool)
    assert (np.asarray(centred) @ centred.T)[off_diagonal].mean() < 0 < 0.3 < (unit @ unit.T)[off_diagonal].mean()


def test_targets_learn_nothing_and_features_turn_only():
    by_features, by_texts = jax.grad(loss, argnums=(0, 1))(FEATURES, TEXTS)
    np.testing.assert_array_equal(by_texts, 0)
    assert np.abs(by_features).max() > 1e-2
    np.testing.assert_allclose(np.sum(np.asarray(by_features) * FEATURES, 1), 0, atol=1e-6)  # a cosine knows no length


def test_new_classes_leave_the_logits_of_earlier_ones_alone():
    before = logits(FEATURES, zeroshot.semantic_targets(TEXTS[:3]))
    after = logits(FEATURES, zeroshot.semantic_targets(TEXTS))
    np.testing.assert_allclose(after[:, :3], before, rtol=1e-5, atol=1e-5)


def test_orthonormal_targets_read_one_coordinate_each():
    found = logits(FEATURES, zeroshot.semantic_targets(np.eye(4, dtype=np.float32)))
    np.testing.assert_allclose(found, 16 * FEATURES / np.linalg.norm(FEATURES, axis=1, keepdims=True), rtol=1e-5)


def test_classes_that_do_not_exist():
    exists = np.array([True, False, True, True, False])
    for center in (False, True):
        expected = zeroshot.semantic_targets(TEXTS[exists], center=center)
        for junk in (np.nan, 1e30):
            dirty = np.where(exists[:, None], TEXTS, np.float32(junk))
            found = np.asarray(zeroshot.semantic_targets(dirty, center=center, where=exists))
            np.testing.assert_allclose(found[exists], expected, rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(found[~exists], 0)


def test_twins_are_refused():
    twins = TEXTS.copy()
    twins[3] = 2 * twins[1] + 1e-4
    with pytest.raises(ValueError, match="got twins: classes 1 and 3"):
        zeroshot.semantic_targets(twins)
    assert zeroshot.semantic_targets(twins, max_cosine=1.0).shape == (5, 4)
    assert zeroshot.semantic_targets(twins, where=np.arange(5) != 3).shape == (5, 4)
    assert jax.jit(zeroshot.semantic_targets)(twins).shape == (5, 4)  # values are not known there
    with pytest.raises(ValueError, match="got twins"):
        zeroshot.semantic_targets(TEXTS, max_cosine=0.2)


def test_bad_input():
    with pytest.raises(ValueError, match="texts must have shape \\[C, D\\]"):
        zeroshot.semantic_targets(TEXTS[0])
    with pytest.raises(ValueError, match="max_cosine must lie in"):
        zeroshot.semantic_targets(TEXTS, max_cosine=1.5)
    with pytest.raises(TypeError, match="texts must be floating point"):
        zeroshot.semantic_targets(np.eye(3, dtype=int))
