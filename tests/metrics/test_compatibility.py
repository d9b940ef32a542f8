"""Old indices and new queries: the matrix against scikit-learn, and what the criterion counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from jaxlab import metrics

rng = np.random.default_rng(0)
LABELS, INDEX_LABELS = rng.integers(0, 4, 40), rng.permutation(np.arange(60) % 4)
CENTERS = rng.normal(size=(4, 5))
# Three models: a base, one that turned away from it, one that kept its first coordinates and has three more.
TURN = np.linalg.qr(rng.normal(size=(5, 5)))[0]


def features(labels, seed):
    noise = np.random.default_rng(seed).normal(size=(len(labels), 8))
    base = CENTERS[labels] + noise[:, :5]
    wide = np.concatenate([base + 0.3 * CENTERS[labels], 0.7 * noise[:, 5:]], 1)
    return [np.float32(one) for one in (base, base @ TURN, wide)]


QUERIES, GALLERIES = features(LABELS, 1), features(INDEX_LABELS, 2)


@jax.jit
def matrix(queries, labels, galleries, gallery_labels, **masks):
    return metrics.compatibility_matrix(queries, labels, galleries, gallery_labels, num_classes=4, **masks)


def by_scikit_learn(queries, labels, galleries, gallery_labels):
    result = np.zeros((len(queries), len(galleries)))
    for j, gallery in enumerate(galleries):
        unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
        classes = np.unique(gallery_labels)
        templates = np.stack([unit[gallery_labels == label].mean(0) for label in classes])
        nearest = KNeighborsClassifier(1, metric="cosine").fit(np.pad(templates, ((0, 0), (0, 8))), classes)
        for i, query in enumerate(queries):
            padded = np.pad(query, ((0, 0), (0, 8 + gallery.shape[1] - query.shape[1])))
            result[i, j] = np.mean(nearest.predict(padded) == labels)
    return result


def test_matrix_equals_scikit_learn():
    got = matrix(QUERIES, LABELS, GALLERIES, INDEX_LABELS)
    np.testing.assert_allclose(got, by_scikit_learn(QUERIES, LABELS, GALLERIES, INDEX_LABELS), atol=1e-6)
    assert got[1, 1] == pytest.approx(got[0, 0])  # a rotation changes nothing at home
    assert got[1, 0] < got[0, 0] - 0.2  # but everything abroad
    assert got[2, 0] >= got[0, 0]


def test_a_wider_model_is_read_in_its_first_coordinates():
    narrow = [QUERIES[0], QUERIES[2][:, :5]], [GALLERIES[0], GALLERIES[2][:, :5]]
    wide = [QUERIES[0], QUERIES[2]], [GALLERIES[0], GALLERIES[2]]
    cross = [matrix(queries, LABELS, galleries, INDEX_LABELS)[1, 0] for queries, galleries in (narrow, wide)]
    assert cross[0] == cross[1]


def test_stacked_models_are_a_list_of_models():
    stacks = np.stack(QUERIES[:2]), np.stack(GALLERIES[:2])
    got = metrics.compatibility_matrix(stacks[0], LABELS, stacks[1], INDEX_LABELS, num_classes=4)
    np.testing.assert_array_equal(got, matrix(QUERIES[:2], LABELS, GALLERIES[:2], INDEX_LABELS))


def test_masks_and_absent_classes():
    where, held = rng.random(40) < 0.6, (rng.random(60) < 0.6) & (INDEX_LABELS != 3)
    queries = [np.where(where[:, None], one, np.nan) for one in QUERIES]
    galleries = [np.where(held[:, None], one, np.nan) for one in GALLERIES]
    got = matrix(queries, LABELS, galleries, INDEX_LABELS, where=where, gallery_where=held)
    kept = [one[where] for one in QUERIES], LABELS[where], [one[held] for one in GALLERIES], INDEX_LABELS[held]
    np.testing.assert_allclose(got, by_scikit_learn(*kept), atol=1e-6)
    # Class 3 has no template: its queries are errors. A label that is no class is left out, or never found.
    third = matrix(QUERIES, np.full(40, 3), GALLERIES, INDEX_LABELS, where=where, gallery_where=held)
    np.testing.assert_array_equal(third, 0.0)
    strange = matrix(
        QUERIES, LABELS, GALLERIES, np.where(held, INDEX_LABELS, 7), where=where, gallery_where=~held | held
    )
    np.testing.assert_array_equal(strange, got)
    np.testing.assert_array_equal(matrix(QUERIES, np.full(40, -1), GALLERIES, INDEX_LABELS), 0.0)
    nothing = matrix(QUERIES, 0 * LABELS, GALLERIES, INDEX_LABELS, where=where, gallery_where=np.zeros(60, bool))
    np.testing.assert_array_equal(nothing, 0.0)


def published(values):
    """Average compatibility and accuracy, entry by entry."""
    models = len(values)
    pairs = [(i, j) for i in range(models) for j in range(i)]
    compatible = sum(values[i][j] > values[j][j] for i, j in pairs) / max(len(pairs), 1)
    return compatible, np.mean([values[i][j] for i in range(models) for j in range(i + 1)])


def test_summaries_equal_the_formulas_and_read_the_lower_triangle_only():
    values = rng.uniform(size=(6, 4, 4)).astype(np.float32)
    values[:, 0, 3] = np.nan
    compatible, mean = metrics.average_compatibility(values), metrics.average_accuracy_lower(values)
    np.testing.assert_allclose(np.stack([compatible, mean], 1), [published(one) for one in values], rtol=1e-6)
    assert compatible.min() + compatible.max() > 0
    assert compatible.max() <= 1


def test_the_criterion_is_strict():
    same = matrix([QUERIES[0]] * 3, LABELS, [GALLERIES[0]] * 3, INDEX_LABELS)
    assert (same == same[0, 0]).all()
    assert metrics.average_compatibility(same) == 0
    better = same + 0.01 * np.tri(3, k=-1, dtype=np.float32)
    assert metrics.average_compatibility(better) == 1
    # Between the two: only the pair (2, 0) is compatible.
    assert metrics.average_compatibility(np.float32([[0.5, 0, 0], [0.5, 0.7, 0], [0.6, 0.6, 0.9]])) == pytest.approx(
        1 / 3
    )


def test_a_single_model():
    one = np.float32([[0.75]])
    assert metrics.average_compatibility(one) == 0
    assert metrics.average_accuracy_lower(one) == 0.75


def call(**changes):
    given = {"queries": QUERIES, "labels": LABELS, "galleries": GALLERIES, "gallery_labels": INDEX_LABELS} | changes
    return metrics.compatibility_matrix(**{"num_classes": 4} | given)


BAD = {
    "no model": (lambda: call(queries=[], galleries=[]), ValueError, "queries must hold the features of at least one"),
    "counts": (lambda: call(galleries=GALLERIES[:2]), ValueError, "queries and galleries must agree in width"),
    "widths": (lambda: call(galleries=GALLERIES[::-1]), ValueError, r"got \[5, 5, 8\] and \[8, 5, 5\]"),
    "lengths": (lambda: call(queries=[QUERIES[0], *features(LABELS[:9], 1)[1:]]), ValueError, "queries"),
    "labels": (lambda: call(labels=LABELS[:9]), ValueError, "labels"),
    "float labels": (lambda: call(labels=np.ones(40)), TypeError, "labels must hold integers"),
    "gallery labels": (lambda: call(gallery_labels=LABELS), ValueError, "gallery_labels"),
    "mask": (lambda: call(where=np.ones(3, bool)), ValueError, r"where must have shape \[40\]"),
    "gallery mask": (lambda: call(gallery_where=np.ones(60)), TypeError, "gallery_where must be boolean"),
    "classes": (lambda: call(num_classes=0), ValueError, "num_segments|num_classes"),
    "not square": (lambda: metrics.average_compatibility(jnp.ones((2, 3))), ValueError, "matrix must have shape"),
    "integers": (lambda: metrics.average_accuracy_lower(np.ones((2, 2), int)), TypeError, "matrix must be floating"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    given, kind, message = BAD[name]
    with pytest.raises(kind, match=message):
        given()
