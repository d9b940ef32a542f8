"""Prototype classifiers against scipy and scikit-learn, and the limits of the few-shot calibration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy.spatial import distance
from sklearn.neighbors import KNeighborsClassifier

from jaxlab import analytic
from tests.analytic import formulas
from tests.analytic.formulas import blobs, close

RNG = np.random.default_rng(0)
X, PROTOTYPES = RNG.normal(size=(20, 5)).astype(np.float32), RNG.normal(size=(6, 5)).astype(np.float32)
METRICS = {
    "euclidean": lambda x, p: -distance.cdist(x, p, "sqeuclidean"),
    "cosine": lambda x, p: 1 - distance.cdist(x, p, "cosine"),
    "dot": lambda x, p: x.astype(np.float64) @ p.T,
}

logits_of = jax.jit(analytic.prototype_logits, static_argnames="metric")
calibration = jax.jit(analytic.calibrate_prototypes)


# Every argument is given, so that calls of one shape are one program.
def prototype_logits(x, prototypes, metric="euclidean", scale=1.0, where=None):
    where = np.ones(len(prototypes), bool) if where is None else where
    return logits_of(x, prototypes, metric=metric, scale=scale, where=where)


def calibrate(new, base, temperature=16.0, shift=0.5, where=None):
    where = np.ones(len(base), bool) if where is None else where
    return calibration(new, base, temperature=temperature, shift=shift, where=where)


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("metric", METRICS)
def test_logits_equal_scipy(metric):
    expected = METRICS[metric](X, PROTOTYPES)
    close(prototype_logits(X, PROTOTYPES, metric=metric), expected)
    close(prototype_logits(X, PROTOTYPES, metric=metric, scale=16.0), 16 * expected)
    per_class = np.arange(1, 7, dtype=np.float32)
    close(prototype_logits(X, PROTOTYPES, metric=metric, scale=per_class), per_class * expected)
    close(prototype_logits(X.reshape(4, 5, 5), PROTOTYPES, metric=metric), expected.reshape(4, 5, 6))
    close(logits_of(X[3], PROTOTYPES, metric=metric), expected[3])  # and without a mask


def test_euclidean_is_the_default():
    close(analytic.prototype_logits(X, PROTOTYPES), METRICS["euclidean"](X, PROTOTYPES))


@pytest.mark.parametrize("metric", METRICS)
def test_classes_that_do_not_exist_get_minus_infinity(metric):
    exists = np.array([True, False, True, True, False, True])
    for junk in (np.nan, np.inf, 1e30, 0.0):
        dirty = np.where(exists[:, None], PROTOTYPES, np.float32(junk))
        for scale in (1.0, 0.0, -1.0):
            result = np.asarray(prototype_logits(X, dirty, metric=metric, scale=scale, where=exists))
            assert (result[:, ~exists] == -np.inf).all()
            close(result[:, exists], scale * METRICS[metric](X, PROTOTYPES[exists]))
    assert (np.asarray(prototype_logits(X, PROTOTYPES, metric=metric, where=np.zeros(6, bool))) == -np.inf).all()


def test_euclidean_logits_are_linear_up_to_a_constant_per_row():
    linear = X.astype(np.float64) @ PROTOTYPES.T - 0.5 * (PROTOTYPES**2).sum(1)
    half = 0.5 * np.asarray(prototype_logits(X, PROTOTYPES, metric="euclidean"))
    close(half - half[:, :1], linear - linear[:, :1])


def test_one_support_row_per_class_is_the_nearest_neighbour():
    labels = RNG.permutation(6)
    peer = KNeighborsClassifier(n_neighbors=1).fit(PROTOTYPES, labels)
    means = analytic.class_means(PROTOTYPES, labels, num_classes=6)
    np.testing.assert_array_equal(prototype_logits(X, means).argmax(-1), peer.predict(X))


def test_cosine_and_euclidean_agree_for_prototypes_of_one_length():
    sphere = 3 * unit(PROTOTYPES).astype(np.float32)
    cosine, euclidean = (np.asarray(prototype_logits(X, sphere, metric=m)) for m in ("cosine", "euclidean"))
    np.testing.assert_array_equal(np.argsort(cosine, -1), np.argsort(euclidean, -1))
    unequal = PROTOTYPES * np.array([0.1, 1, 5, 1, 1, 10], np.float32)[:, None]
    cosine, euclidean = (np.asarray(prototype_logits(X, unequal, metric=m)) for m in ("cosine", "euclidean"))
    assert (cosine.argmax(-1) != euclidean.argmax(-1)).any()


def test_lengths_do_not_change_a_cosine():
    lengths = np.exp(RNG.normal(size=(6, 1))).astype(np.float32)
    close(
        prototype_logits(7 * X, lengths * PROTOTYPES, metric="cosine"),
        prototype_logits(X, PROTOTYPES, metric="cosine"),
    )
    zero = prototype_logits(np.zeros((20, 5), np.float32), PROTOTYPES, metric="cosine")
    np.testing.assert_array_equal(zero, 0)


@pytest.mark.parametrize("metric", METRICS)
def test_narrow_and_wide_inputs(metric):
    narrow = jnp.asarray(X, jnp.bfloat16)
    result = prototype_logits(narrow, PROTOTYPES, metric=metric)
    assert result.dtype == jnp.float32
    close(result, METRICS[metric](np.asarray(narrow, np.float32), PROTOTYPES))
    with jax.enable_x64(True):
        wide = prototype_logits(X.astype(np.float64), PROTOTYPES, metric=metric)
        assert wide.dtype == jnp.float64
        close(wide, METRICS[metric](X, PROTOTYPES), 1e-12)


def test_no_rows_give_no_logits():
    assert analytic.prototype_logits(X[:0], PROTOTYPES).shape == (0, 6)


# --- calibration ------------------------------------------------------------------------------------------------

NEW, BASE = 3 * X[:4], PROTOTYPES


def by_numpy(new, base, temperature=16.0, shift=0.5):
    m, b = unit(new), unit(base)
    attention = special.softmax(temperature * m @ b.T, -1)
    return (1 - shift) * m + shift * unit(attention @ b)


def test_calibration_equals_its_formula():
    close(calibrate(NEW, BASE), by_numpy(NEW, BASE))
    close(calibrate(NEW, BASE, temperature=3.0, shift=0.2), by_numpy(NEW, BASE, 3.0, 0.2))


def test_shift_is_the_weight_of_the_base_mixture():
    close(calibrate(NEW, BASE, shift=0.0), unit(NEW))
    mixture = np.asarray(calibrate(NEW, BASE, shift=1.0))
    close(np.linalg.norm(mixture, axis=1), np.ones(4), 1e-6)
    # It lies in the cone of the base prototypes: non-negative coefficients reproduce it.
    positive = np.random.default_rng(1).uniform(0.1, 1, (5, 5)).astype(np.float32) + np.eye(5, dtype=np.float32)
    mixture = np.asarray(calibrate(NEW, positive, shift=1.0), np.float64)
    assert (mixture @ np.linalg.inv(unit(positive)) > 0).all()
    close(calibrate(NEW, positive, shift=0.3), 0.7 * unit(NEW) + 0.3 * mixture)


def test_limits_of_the_temperature():
    nearest = unit(BASE)[(unit(NEW) @ unit(BASE).T).argmax(1)]
    close(calibrate(NEW, BASE, temperature=1e5, shift=1.0), nearest)
    mean = np.repeat(unit(unit(BASE).mean(0))[None], 4, 0)
    close(calibrate(NEW, BASE, temperature=0.0, shift=1.0), mean)
    close(calibrate(NEW, BASE, temperature=1e-4, shift=1.0), mean, 1e-3)


def test_one_base_class_is_mixed_in_as_it_is():
    expected = 0.75 * unit(NEW) + 0.25 * unit(BASE[:1])
    close(calibrate(NEW, BASE[:1], shift=0.25), expected)
    alone = np.arange(6) == 2
    close(calibrate(NEW, BASE, shift=0.25, where=alone), 0.75 * unit(NEW) + 0.25 * unit(BASE[2:3]))


def test_neither_the_order_of_base_classes_nor_any_length_matters():
    expected = calibrate(NEW, BASE)
    close(calibrate(NEW, BASE[np.random.default_rng(2).permutation(6)]), expected)
    lengths = np.exp(np.random.default_rng(3).normal(size=(6, 1))).astype(np.float32)
    close(calibrate(0.01 * NEW, lengths * BASE), expected)
    order = np.array([2, 0, 3, 1])
    close(calibrate(NEW[order], BASE), np.asarray(expected)[order])  # new classes do not see each other


def test_base_classes_that_do_not_exist_are_not_mixed_in():
    exists = np.array([True, True, False, True, False, False])
    for junk in (np.nan, 1e30, 0.0):
        dirty = np.where(exists[:, None], BASE, np.float32(junk))
        close(calibrate(NEW, dirty, where=exists), by_numpy(NEW, BASE[exists]))
    close(calibrate(NEW, BASE, where=np.zeros(6, bool)), 0.5 * unit(NEW))  # nothing to move towards


def test_a_zero_mean_takes_the_mixture_alone():
    close(calibrate(0 * NEW[:1], BASE), 0.5 * unit(unit(BASE).mean(0))[None])


def test_sessions_by_vmap():
    sessions = np.stack([NEW, NEW[::-1], 2 * NEW - 1])
    together = jax.jit(jax.vmap(lambda new: analytic.calibrate_prototypes(new, BASE)))(sessions)
    for new, result in zip(sessions, together, strict=True):
        close(result, by_numpy(new, BASE))


def test_calibration_pulls_few_shot_means_towards_the_true_ones():
    """New classes are mixtures of base classes, seen once through noise: the published reason to calibrate."""
    rng = np.random.default_rng(4)
    base = unit(rng.normal(size=(4, 30)))
    true = unit(base[:2] + base[2:])
    shots = (true + 0.15 * rng.normal(size=(50, 2, 30))).astype(np.float32)
    moved = (calibrate(shots.reshape(100, 30), base.astype(np.float32), shift=s) for s in (0.0, 0.5))
    before, after = (np.sum(unit(p).reshape(50, 2, 30) * true, -1) for p in moved)
    assert (after > before).mean() > 0.7
    assert after.mean() > before.mean() + 0.04


def test_class_means_feed_both():
    x, labels = blobs(5)
    means = analytic.class_means(x, labels, num_classes=formulas.NUM_CLASSES)
    seen = np.array(formulas.COUNTS) > 0
    scores = prototype_logits(x, means, where=seen)
    assert (np.asarray(scores)[:, ~seen] == -np.inf).all()
    close(scores[:, seen], METRICS["euclidean"](x, formulas.means(x, labels)[seen]))
