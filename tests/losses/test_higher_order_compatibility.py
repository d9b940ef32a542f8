"""The contrast between a new and an old model: both masks against loops, and what they change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import losses

rng = np.random.default_rng(0)
NEW, OLD = rng.normal(size=(2, 6, 4)).astype(np.float32)
LABELS = np.array([0, 1, 0, 2, 1, 2])
MASKS = ("zero", "drop")


def loss(new=NEW, old=OLD, labels=LABELS, **options):
    return losses.higher_order_compatibility(new, old, labels, **options)


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def by_loops(new, old, labels, scale, mask):
    similarity = scale * unit(old) @ unit(new).T
    result = []
    for i, row in enumerate(similarity):
        differ = labels != labels[i]
        kept = row * differ if mask == "zero" else row[differ]
        result.append(-row[i] + (np.log(np.sum(np.exp(kept))) if kept.size else 0.0))
    return result


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("scale", [10.0, 0.5])
def test_equals_the_loops(mask, scale):
    np.testing.assert_allclose(
        loss(scale=scale, mask=mask), by_loops(NEW, OLD, LABELS, scale, mask), rtol=1e-4, atol=1e-5
    )


def test_what_the_published_mask_adds():
    """Examples of the same class count as e^0 instead of not at all."""
    similarity = 10.0 * unit(OLD) @ unit(NEW).T
    own = np.diag(similarity)
    zero, dropped = loss(mask="zero") + own, loss(mask="drop") + own
    np.testing.assert_allclose(np.exp(zero), np.exp(dropped) + np.bincount(LABELS)[LABELS], rtol=1e-4)
    alike = np.zeros(6, int)
    np.testing.assert_allclose(loss(labels=alike, mask="zero"), np.log(6) - own, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(loss(labels=alike, mask="drop"), -own, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mask", MASKS)
def test_falls_as_a_new_feature_turns_to_its_old_one(mask):
    """With the others held fixed, and away from the old features of other classes."""
    old = np.eye(6, dtype=np.float32)
    start = np.roll(old, 1, axis=0)
    values = []
    for angle in np.linspace(0, np.pi / 2, 5):
        new = start.copy()
        new[0] = np.cos(angle) * start[0] + np.sin(angle) * old[0]
        values.append(float(loss(new, old, LABELS, mask=mask)[0]))
    assert np.all(np.diff(values) < 0)
    assert values[0] - values[-1] == pytest.approx(10.0, rel=1e-3 if mask == "drop" else 0.2)


def test_gradient_goes_to_the_new_features_only_and_not_along_them():
    total = lambda new, old: jnp.sum(losses.higher_order_compatibility(new, old, LABELS))  # noqa: E731
    new_slope, old_slope = jax.grad(total, argnums=(0, 1))(NEW, OLD)
    np.testing.assert_array_equal(old_slope, 0.0)
    np.testing.assert_allclose(np.sum(new_slope * NEW, axis=1), 0.0, atol=1e-4)
    np.testing.assert_allclose(loss(3.0 * NEW, 0.2 * OLD), loss(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", MASKS)
def test_hidden_rows_are_no_negatives(mask):
    where = np.array([True, True, False, True, True, False])
    new = np.where(where[:, None], NEW, np.nan)
    got = loss(new, mask=mask, where=where)
    np.testing.assert_array_equal(got[~where], 0.0)
    np.testing.assert_allclose(got[where], loss(NEW[where], OLD[where], LABELS[where], mask=mask), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mask", MASKS)
def test_a_split_batch_has_the_negatives_of_all(mask):
    parts = [x.reshape(2, 3, *x.shape[1:]) for x in (NEW, OLD, LABELS)]
    split = jax.vmap(lambda *part: losses.higher_order_compatibility(*part, mask=mask, axis_name="i"), axis_name="i")
    np.testing.assert_allclose(split(*parts).ravel(), loss(mask=mask), rtol=1e-4, atol=1e-5)


BAD = {
    "shapes": (lambda: loss(old=OLD[:, :3]), ValueError, "features and old_features must have the same shape"),
    "vectors": (lambda: loss(NEW[0], OLD[0], LABELS[0]), ValueError, r"features must have shape \[B, D\]"),
    "labels": (lambda: loss(labels=LABELS[:4]), ValueError, "features and labels must agree"),
    "float labels": (lambda: loss(labels=np.ones(6)), TypeError, "labels must hold integers"),
    "mask": (lambda: loss(mask="none"), ValueError, "mask must be one of 'zero', 'drop', got 'none'"),
    "where": (lambda: loss(where=np.ones(5, bool)), ValueError, r"where must have shape \[6\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
