"""Fixed classifiers, rotations that keep what they turn, and the loss that reads an old classifier."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group
from sklearn.metrics import log_loss

from jaxlab import analytic, losses, nn, retrieval

rng = np.random.default_rng(0)
D, OLD, B = 6, 5, 9
U, O, X_OLD = (rng.normal(size=(B, width)).astype(np.float32) for width in (D, OLD, OLD))
P, Q_OLD = (ortho_group.rvs(width, random_state=1).astype(np.float32) for width in (D, OLD))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


# The simplex


def by_construction(num_classes):
    """The corners of the published code: unit vectors and one more, centred and scaled."""
    d = num_classes - 1
    corners = np.concatenate([np.eye(d), np.full((1, d), (1 - np.sqrt(1 + d)) / d)])
    return unit(corners - corners.mean(0))


@pytest.mark.parametrize("classes", [2, 3, 10, 1024])
def test_simplex(classes):
    vertices = np.asarray(retrieval.simplex_vertices(classes), np.float64)
    assert vertices.shape == (classes, classes - 1)
    np.testing.assert_allclose(vertices, by_construction(classes), atol=1e-6)
    gram = classes / (classes - 1) * np.eye(classes) - 1 / (classes - 1)
    np.testing.assert_allclose(vertices @ vertices.T, gram, atol=1e-5)
    np.testing.assert_allclose(vertices.sum(0), 0.0, atol=1e-5)


def test_small_simplices_are_the_known_ones():
    np.testing.assert_allclose(retrieval.simplex_vertices(2), [[1.0], [-1.0]], atol=1e-6)
    np.testing.assert_allclose(pdist(retrieval.simplex_vertices(3)), np.sqrt(3), rtol=1e-6)  # an equilateral triangle


def test_logits_of_the_simplex_sum_to_zero():
    logits = analytic.prototype_logits(U, retrieval.simplex_vertices(D + 1), metric="dot")
    np.testing.assert_allclose(jnp.sum(logits, axis=1), 0.0, atol=1e-5)
    assert retrieval.simplex_vertices(4, dtype=jnp.bfloat16).dtype == jnp.bfloat16


# BT^2


def transform(extra=3, scale=2.0, p=P, b=Q_OLD, u=U, o=O):
    return retrieval.basis_transform(u, o, p, b, extra=extra, scale=scale)


@pytest.mark.parametrize("extra", [1, 3, 5])
def test_inner_products_are_those_of_both_parts(extra):
    compatible, full = transform(extra=extra, scale=3.0)
    assert compatible.shape == (B, OLD)
    assert full.shape == (B, D + extra)
    expected = unit(O[:, :extra]) @ unit(O[:, :extra]).T + 9.0 * unit(U) @ unit(U).T
    np.testing.assert_allclose(full @ full.T, expected, atol=1e-4)
    np.testing.assert_allclose(jnp.sum(full**2, axis=1), 10.0, rtol=1e-5)
    np.testing.assert_array_equal(compatible, full[:, :OLD])


def test_the_compatible_part_mixes_old_and_new_coordinates():
    compatible, full = transform()
    v = np.concatenate([unit(O[:, :3]), 2.0 * unit(U) @ P.T], axis=1)
    np.testing.assert_allclose(compatible, v[:, :OLD] @ Q_OLD.T, atol=1e-5)
    np.testing.assert_allclose(full[:, OLD:], v[:, OLD:], atol=1e-5)


def test_without_rotations_it_is_the_concatenation():
    _, full = transform(p=np.eye(D, dtype=np.float32), b=np.eye(OLD, dtype=np.float32))
    np.testing.assert_allclose(full, np.concatenate([unit(O[:, :3]), 2.0 * unit(U)], axis=1), atol=1e-6)
    # Only the kept coordinates of the old part, and only directions, matter.
    changed = np.concatenate([5.0 * O[:, :3], O[:, 3:] + 1.0], axis=1)
    np.testing.assert_allclose(transform(o=changed, u=0.1 * U).full, transform().full, atol=1e-5)


def test_an_old_index_padded_with_zeros_reads_the_compatible_part():
    compatible, full = transform()
    padded = np.pad(X_OLD, ((0, 0), (0, full.shape[1] - OLD)))
    np.testing.assert_allclose(full @ padded.T, compatible @ X_OLD.T, atol=1e-5)


def test_an_old_model_wider_than_the_new_one():
    wide = rng.normal(size=(B, 8)).astype(np.float32)
    compatible, full = retrieval.basis_transform(U, wide, P, np.eye(8, dtype=np.float32), extra=2)
    assert compatible.shape == full.shape == (B, 8)  # everything is compatible, nothing is left


# OCA


def test_the_layer_keeps_distances_for_every_parameter_and_cosines_without_the_bias():
    bias = rng.normal(size=D).astype(np.float32)
    for q in (nn.cayley(rng.normal(size=(D, D))), nn.householder_product(rng.normal(size=(3, D)))):
        compatible, full = retrieval.orthogonal_align(U, q, old_dim=OLD, bias=bias)
        np.testing.assert_allclose(pdist(full), pdist(U), rtol=1e-4)
        np.testing.assert_array_equal(compatible, U[:, :OLD])
        assert np.abs(pdist(full, "cosine") - pdist(U, "cosine")).max() > 0.1
        _, plain = retrieval.orthogonal_align(U, q, old_dim=OLD)
        np.testing.assert_allclose(pdist(plain, "cosine"), pdist(U, "cosine"), atol=1e-5)
        np.testing.assert_allclose(plain, U @ np.asarray(q).T, atol=1e-5)
    np.testing.assert_array_equal(retrieval.orthogonal_align(U, np.eye(D, dtype=np.float32), old_dim=OLD).full, U)


def test_the_compatibility_terms_do_not_pull_at_the_layer():
    labels = np.arange(B) % 3
    prototypes, head = rng.normal(size=(3, OLD)).astype(np.float32), rng.normal(size=(D, 3)).astype(np.float32)

    def terms(params):
        compatible, full = retrieval.orthogonal_align(U, nn.cayley(params["a"]), old_dim=OLD, bias=params["bias"])
        old = compatible / jnp.linalg.norm(compatible, axis=1, keepdims=True)
        influence = retrieval.bct_influence(old, prototypes, labels)
        alignment = losses.feature_alignment(old, prototypes[labels])
        classes = optax.losses.softmax_cross_entropy_with_integer_labels(full @ head, labels)
        return jnp.stack([jnp.mean(influence), jnp.mean(alignment), jnp.mean(classes)])

    slopes = jax.jacobian(terms)({"a": rng.normal(size=(D, D)).astype(np.float32), "bias": np.zeros(D, np.float32)})
    for slope in slopes.values():
        np.testing.assert_array_equal(slope[:2], 0.0)
        assert np.abs(slope[2]).max() > 1e-3


# The influence loss


PROTOTYPES, LABELS = rng.normal(size=(4, D)).astype(np.float32), np.arange(B) % 4


def influence(features=U, prototypes=PROTOTYPES, labels=LABELS, **options):
    return retrieval.bct_influence(features, prototypes, labels, **options)


def test_influence_is_the_cross_entropy_of_inner_products():
    logits = U.astype(np.float64) @ PROTOTYPES.T
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert float(jnp.mean(influence())) == pytest.approx(log_loss(LABELS, probs), rel=1e-5)
    targets = optax.losses.smooth_labels(jax.nn.one_hot(LABELS, 4), 0.1)
    expected = optax.losses.softmax_cross_entropy(jnp.float32(logits), targets)
    np.testing.assert_allclose(influence(smoothing=0.1), expected, rtol=1e-4)
    assert np.abs(influence(smoothing=0.1) - influence()).max() > 0.05


def test_influence_teaches_the_features_and_not_the_prototypes():
    slopes = jax.grad(lambda f, p: jnp.sum(retrieval.bct_influence(f, p, LABELS)), argnums=(0, 1))(U, PROTOTYPES)
    assert np.abs(slopes[0]).max() > 0.1
    np.testing.assert_array_equal(slopes[1], 0.0)


def test_absent_classes_and_foreign_labels():
    exists = np.array([True, True, False, True])
    kept = np.array([0, 1, 3])
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])  # among the kept
    got = influence(labels=kept[labels], class_where=exists, smoothing=0.2)
    np.testing.assert_allclose(got, influence(prototypes=PROTOTYPES[kept], labels=labels, smoothing=0.2), rtol=1e-5)
    strange = np.array([2, -1, 4, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(np.isnan(influence(labels=strange, class_where=exists)), np.arange(B) < 3)
    shown = np.arange(B) >= 3
    hidden = influence(labels=strange, where=shown)
    np.testing.assert_allclose(hidden, np.where(shown, influence(labels=0 * strange), 0.0), rtol=1e-5)


EYE = np.eye(3, dtype=np.float32)
ROW = np.ones(3, np.float32)
BAD = {
    "one class": (lambda: retrieval.simplex_vertices(1), ValueError, "num_classes must be an integer of at least 2"),
    "classes": (lambda: retrieval.simplex_vertices(2.0), TypeError, "num_classes must be a static integer"),
    "p": (lambda: transform(p=Q_OLD), ValueError, r"p must have shape \[6, 6\] to match the features, got \[5, 5\]"),
    "b": (lambda: transform(b=P), ValueError, r"b must have shape \[5, 5\]"),
    "batch": (lambda: transform(o=O[:3]), ValueError, "features and old_features must agree in all axes but the last"),
    "extra": (lambda: transform(extra=6), ValueError, "extra must be at most the width of old_features"),
    "no extra": (lambda: transform(extra=0), ValueError, "extra must be an integer of at least 1"),
    "too narrow": (
        lambda: retrieval.basis_transform(ROW[:1], ROW, EYE[:1, :1], EYE, extra=1),
        ValueError,
        "at least that minus",
    ),
    "integers": (lambda: transform(u=np.ones((B, D), int)), TypeError, "features must be floating point"),
    "q": (lambda: retrieval.orthogonal_align(U, Q_OLD, old_dim=2), ValueError, "q must have shape"),
    "old_dim": (lambda: retrieval.orthogonal_align(U, P, old_dim=7), ValueError, "old_dim must be at most the width"),
    "bias": (lambda: retrieval.orthogonal_align(U, P, old_dim=2, bias=ROW), ValueError, "bias must have shape"),
    "scalar": (lambda: retrieval.orthogonal_align(1.0, EYE, old_dim=1), ValueError, "features must have shape"),
    "labels": (lambda: influence(labels=LABELS[:3]), ValueError, "to match labels"),
    "float labels": (lambda: influence(labels=np.ones(B)), TypeError, "labels must hold integers"),
    "widths": (lambda: influence(features=O), ValueError, "x must have shape"),
    "smoothing": (lambda: influence(smoothing=1.5), ValueError, r"smoothing must lie in \[0.0, 1.0\]"),
    "class mask": (lambda: influence(class_where=np.ones(3, bool)), ValueError, r"where must have shape \[4\]"),
    "mask": (lambda: influence(where=np.ones(3, bool)), ValueError, r"where must have shape \[9\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    call, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        call()
