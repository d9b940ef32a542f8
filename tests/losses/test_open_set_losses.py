"""The energy margin against its formula, its flat parts and its masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxlab import losses

RNG = np.random.default_rng(0)
KNOWN, OUTLIERS = (3 * RNG.normal(size=(rows, 4)).astype(np.float32) for rows in (9, 6))
CLASSES = np.array([True, False, True, True])
LEVELS = {"id_threshold": -4.0, "ood_threshold": -2.0}
margin = jax.jit(losses.energy_margin)


def huber(x):
    x = np.maximum(x, 0)
    return np.where(x <= 1, x**2 / 2, x - 0.5)


def test_margin_equals_its_formula():
    for classes in (np.ones(4, bool), CLASSES):
        known, outliers = margin(KNOWN, OUTLIERS, class_where=classes, **LEVELS)
        np.testing.assert_allclose(known, huber(-logsumexp(KNOWN[:, classes], axis=1) + 4), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(outliers, huber(-2 + logsumexp(OUTLIERS[:, classes], axis=1)), rtol=1e-5, atol=1e-6)
    assert 0 < np.sum(np.asarray(known) > 0.5) < 9  # both parts of the Huber function were met
    assert np.any((np.asarray(known) > 0) & (np.asarray(known) < 0.5))


def test_flat_where_the_energies_are_as_they_should_be():
    satisfied = jnp.array([[15.5, 0.0]]), jnp.array([[2.0, 0.0]])
    known, outliers = losses.energy_margin(*satisfied)
    assert known[0] == outliers[0] == 0
    grads = jax.grad(lambda a, b: sum(jnp.sum(x) for x in losses.energy_margin(a, b)), argnums=(0, 1))
    for grad in grads(*satisfied):
        np.testing.assert_array_equal(grad, 0)
    # Beyond its knee the pull is the same however far: a gradient in the logits that sums to one.
    known, outliers = grads(jnp.array([[5.0, 1.0], [-50.0, -60.0]]), jnp.array([[9.0, 1.0]]))
    np.testing.assert_allclose(known.sum(-1), [-1, -1], rtol=1e-6)
    np.testing.assert_allclose(outliers.sum(-1), [1], rtol=1e-6)


def test_a_shift_of_all_logits_is_a_shift_of_both_thresholds():
    shifted = margin(KNOWN + 2.5, OUTLIERS + 2.5, class_where=CLASSES, id_threshold=-6.5, ood_threshold=-4.5)
    for one, other in zip(margin(KNOWN, OUTLIERS, class_where=CLASSES, **LEVELS), shifted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_rows_and_classes_that_do_not_count():
    here, there = np.arange(9) % 3 > 0, np.arange(6) > 2
    options = LEVELS | {"class_where": CLASSES, "where": here, "ood_where": there}

    def total(known, outliers):
        return sum(jnp.sum(part) for part in losses.energy_margin(known, outliers, **options))

    expected = margin(KNOWN, OUTLIERS, class_where=CLASSES, **LEVELS)
    for junk in (np.nan, np.inf, 1e30):
        known = np.where(here[:, None] & CLASSES, KNOWN, np.float32(junk))
        outliers = np.where(there[:, None] & CLASSES, OUTLIERS, np.float32(junk))
        for part, whole, mask in zip(
            losses.energy_margin(known, outliers, **options), expected, (here, there), strict=True
        ):
            np.testing.assert_allclose(part, np.where(mask, whole, 0), rtol=1e-5, atol=1e-6)
        for grad, mask in zip(jax.grad(total, argnums=(0, 1))(known, outliers), (here, there), strict=True):
            assert np.isfinite(grad).all()
            assert (np.asarray(grad)[~mask] == 0).all()
            assert (np.asarray(grad)[:, ~CLASSES] == 0).all()
    nothing = margin(KNOWN, OUTLIERS, class_where=np.zeros(4, bool), **LEVELS)
    for part in nothing:
        np.testing.assert_array_equal(part, 0)


def test_bad_input():
    with pytest.raises(ValueError, match="ood_logits must have 4 classes as id_logits do, got 3"):
        losses.energy_margin(KNOWN, OUTLIERS[:, :3])
    with pytest.raises(ValueError, match="id_logits must have shape"):
        losses.energy_margin(KNOWN[:, :0], OUTLIERS)
    with pytest.raises(ValueError, match="ood_where must have shape \\[6\\]"):
        losses.energy_margin(KNOWN, OUTLIERS, ood_where=np.ones(9, bool))
    with pytest.raises(TypeError, match="ood_logits must be floating point"):
        losses.energy_margin(KNOWN, np.zeros((2, 4), int))
