"""Robust losses and multiclass hinges: formulas written anew, limits, what hides an example, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxlab import losses

RNG = np.random.default_rng(0)
LOGITS, LABELS = (2 * RNG.normal(size=(6, 5))).astype(np.float32), RNG.integers(0, 5, 6)
ROWS = np.arange(6)
OWN = np.eye(5)[LABELS]
WIDE = LOGITS.astype(np.float64)
PROBS = np.exp(WIDE) / np.exp(WIDE).sum(1, keepdims=True)
OF_LABEL = PROBS[ROWS, LABELS]
LEADS = WIDE - WIDE[ROWS, LABELS][:, None] + 0.6 * (1 - OWN)


def jensen_shannon(w):
    mixed = w * OWN + (1 - w) * PROBS
    kl = lambda p: (p * (np.log(np.maximum(p, 1e-300)) - np.log(mixed))).sum(1)  # noqa: E731
    return (w * kl(OWN) + (1 - w) * kl(PROBS)) / -((1 - w) * np.log(1 - w))


# name: (hyperparameters, the published formula with the one-hot label)
FORMULAS = {
    "generalized_cross_entropy": ({"q": 0.7, "truncation": 0.2}, np.minimum(1 - OF_LABEL**0.7, 1 - 0.2**0.7) / 0.7),
    "symmetric_cross_entropy": (
        {"balance": 0.3, "scale": 2.0},
        -0.7 * np.log(OF_LABEL) - 0.3 * (PROBS * np.where(OWN > 0, 0, -2.0)).sum(1),
    ),
    "mean_absolute_error_label": ({}, np.abs(OWN - PROBS).sum(1)),
    "normalized_cross_entropy": ({}, -np.log(OF_LABEL) / -np.log(PROBS).sum(1)),
    "asymmetric_generalized_cross_entropy": ({"shift": 1.2, "q": 1.5}, (2.2**1.5 - (1.2 + OF_LABEL) ** 1.5) / 1.5),
    "asymmetric_unhinged": ({"shift": 1.4, "q": 0.9}, ((1.4 - OF_LABEL) ** 0.9 - 0.4**0.9) / 0.9),
    "jensen_shannon_label": ({"weight": 0.3}, jensen_shannon(0.3)),
    "crammer_singer": ({"margin": 0.6}, np.maximum(LEADS, 0).max(1)),
    "weston_watkins": ({"margin": 0.6}, np.maximum(LEADS, 0).mean(1)),
}


@functools.cache
def compiled(name):
    return jax.jit(functools.partial(getattr(losses, name), **FORMULAS[name][0]))


@pytest.mark.parametrize("name", FORMULAS)
def test_equals_its_formula(name):
    np.testing.assert_allclose(compiled(name)(LOGITS, LABELS), FORMULAS[name][1], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_finite_at_extreme_logits(name):
    loss = compiled(name)
    extreme = jnp.asarray(1e4 * np.sign(LOGITS))
    value, gradient = loss(extreme, LABELS), jax.grad(lambda z: jnp.sum(loss(z, LABELS)))(extreme)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()


def test_limits_of_the_generalised_losses():
    cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS)
    absolute = losses.mean_absolute_error_label(LOGITS, LABELS)
    gce = losses.generalized_cross_entropy
    np.testing.assert_allclose(gce(LOGITS, LABELS, q=1e-5), cross_entropy, rtol=1e-3)
    np.testing.assert_allclose(gce(LOGITS, LABELS, q=1.0), absolute / 2, rtol=1e-5)
    js = losses.jensen_shannon_label
    np.testing.assert_allclose(js(LOGITS, LABELS, weight=1e-3), cross_entropy, rtol=0.05)
    np.testing.assert_allclose(js(LOGITS, LABELS, weight=1 - 1e-6), absolute / 2, rtol=0.1)
    sce = losses.symmetric_cross_entropy
    np.testing.assert_allclose(sce(LOGITS, LABELS, balance=0.0), cross_entropy, rtol=1e-5)
    np.testing.assert_allclose(sce(LOGITS, LABELS, balance=1.0), 2 * absolute, rtol=1e-5)


def test_sums_over_all_labels_that_make_a_loss_symmetric():
    every = jnp.broadcast_to(jnp.arange(5), (6, 5))
    logits = jnp.broadcast_to(LOGITS[:, None], (6, 5, 5))
    np.testing.assert_allclose(losses.normalized_cross_entropy(logits, every).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(losses.mean_absolute_error_label(logits, every).sum(1), 8, rtol=1e-5)
    assert np.ptp(losses.generalized_cross_entropy(logits, every).sum(1)) > 0.1  # 0.7 lies between


def test_truncation_silences_improbable_labels():
    gradient = jax.grad(lambda z: jnp.sum(losses.generalized_cross_entropy(z, LABELS, truncation=0.2)))
    silent = np.all(np.asarray(gradient(jnp.asarray(LOGITS))) == 0, axis=1)
    np.testing.assert_array_equal(silent, OF_LABEL < 0.2)
    assert 0 < silent.sum() < 6


@pytest.mark.parametrize("name", FORMULAS)
def test_hidden_and_unknown_examples(name):
    where = np.array([True, False, True, True, False, True])
    dirty, labels = np.where(where[:, None], LOGITS, np.nan), np.where(where, LABELS, -1)
    labels[5] = 5
    loss = compiled(name)
    value = np.asarray(loss(dirty, labels, where=where))
    np.testing.assert_array_equal(value[~where], 0)
    assert np.isnan(value[5])
    np.testing.assert_allclose(value[[0, 2, 3]], FORMULAS[name][1][[0, 2, 3]], rtol=2e-5, atol=1e-6)
    gradient = jax.grad(lambda z: jnp.sum(loss(z, jnp.maximum(labels, 0) % 5, where=where)))(jnp.asarray(dirty))
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[~where] == 0).all()


@pytest.mark.parametrize(
    ("name", "change", "error", "words"),
    [(name, {"logits": jnp.zeros((5, 5))}, ValueError, "logits must have shape") for name in FORMULAS]
    + [(name, {"where": jnp.ones(5, bool)}, ValueError, "where must have shape") for name in FORMULAS]
    + [
        ("normalized_cross_entropy", {"logits": jnp.zeros((6, 1))}, ValueError, "at least 2 classes"),
        ("normalized_cross_entropy", {"logits": jnp.zeros((6, 5), int)}, TypeError, "logits must be floating point"),
        ("normalized_cross_entropy", {"labels": jnp.zeros(6)}, TypeError, "labels must hold integers"),
        ("normalized_cross_entropy", {"where": jnp.ones(6)}, TypeError, "where must be boolean"),
        ("generalized_cross_entropy", {"q": 0.0}, ValueError, "q must be > 0"),
        ("generalized_cross_entropy", {"q": 1.5}, ValueError, "q must lie in"),
        ("generalized_cross_entropy", {"truncation": 1}, ValueError, "truncation must be below 1"),
        ("generalized_cross_entropy", {"truncation": -0.1}, ValueError, "truncation must lie in"),
        ("symmetric_cross_entropy", {"balance": 1.1}, ValueError, "balance must lie in"),
        ("symmetric_cross_entropy", {"scale": -1.0}, ValueError, "scale must be at least 0"),
        ("asymmetric_generalized_cross_entropy", {"shift": 0.0}, ValueError, "shift must be > 0"),
        ("asymmetric_generalized_cross_entropy", {"q": 0.0}, ValueError, "q must be > 0"),
        ("asymmetric_unhinged", {"shift": 1.0}, ValueError, "shift must be above 1"),
        ("asymmetric_unhinged", {"q": -1.0}, ValueError, "q must be > 0"),
        ("jensen_shannon_label", {"weight": 0.0}, ValueError, "weight must lie in"),
        ("jensen_shannon_label", {"weight": 1}, ValueError, "weight must lie in"),
        ("crammer_singer", {"margin": -1.0}, ValueError, "margin must be at least 0"),
        ("weston_watkins", {"margin": -1.0}, ValueError, "margin must be at least 0"),
    ],
)
def test_bad_input(name, change, error, words):
    with pytest.raises(error, match=words):
        getattr(losses, name)(**{"logits": LOGITS, "labels": LABELS, **change})
