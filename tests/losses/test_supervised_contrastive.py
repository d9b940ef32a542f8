"""The prototypical loss against scipy, its gradient, masks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from scipy.spatial import distance

from jaxlab.losses import prototypical


def episode(offset=0.0):
    rng = np.random.default_rng(0)
    support = rng.normal(size=(4, 3, 2)) + rng.normal(size=(4, 1, 2)) + offset
    query, labels = rng.normal(size=(5, 2)) + offset, rng.integers(0, 4, 5)
    return support.astype(np.float32), query.astype(np.float32), labels


def by_scipy(support, query, labels):
    means = support.astype(np.float64).mean(1)
    distances = distance.cdist(query.astype(np.float64), means, "sqeuclidean")
    return -special.log_softmax(-distances, axis=1)[np.arange(len(labels)), labels], special.softmax(-distances, axis=1)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_equals_scipy(offset):
    support, query, labels = episode(offset)
    expected, _ = by_scipy(support, query, labels)
    np.testing.assert_allclose(prototypical(support, query, labels), expected, rtol=1e-3 if offset else 1e-5)


def test_gradient_by_the_query_has_no_quadratic_term():
    """2 (sum_k p_k c_k - c_y): the squares of the query cancel."""
    support, query, labels = episode()
    gradient = jax.grad(lambda q: jnp.sum(prototypical(support, q, labels)))(query)
    _, probs = by_scipy(support, query, labels)
    means = support.mean(1)
    np.testing.assert_allclose(gradient, 2 * (probs @ means - means[labels]), rtol=1e-4, atol=1e-5)


def test_one_support_per_class_classifies_by_the_nearest():
    support, query, _ = episode()
    losses = jnp.stack([prototypical(support[:, :1], query, jnp.full(5, k)) for k in range(4)], axis=1)
    nearest = distance.cdist(query, support[:, 0]).argmin(1)
    np.testing.assert_array_equal(losses.argmin(1), nearest)


def test_where_hides_a_query_from_values_and_gradients():
    support, query, labels = episode()
    where = np.array([True, False, True, True, False])
    dirty, unknown = np.where(where[:, None], query, np.nan), np.where(where, labels, 99)

    def total(s, q, y, w):
        return jnp.sum(prototypical(s, q, y, where=w))

    np.testing.assert_allclose(
        prototypical(support, dirty, unknown, where=where),
        np.where(where, prototypical(support, query, labels), 0),
        rtol=1e-6,
    )
    hidden = jax.grad(total, (0, 1))(support, dirty, unknown, where)
    kept = jax.grad(total, (0, 1))(support, query[where], labels[where], None)
    np.testing.assert_allclose(hidden[0], kept[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(hidden[1][where], kept[1], rtol=1e-5, atol=1e-6)
    assert (np.asarray(hidden[1])[~where] == 0).all()


def test_unknown_labels_give_nan_for_that_query_alone():
    support, query, _ = episode()
    losses = prototypical(support, query, jnp.array([0, 4, 1, -1, 2]))
    np.testing.assert_array_equal(np.isnan(losses), [False, True, False, True, False])


def test_equal_prototypes_cost_log_k_with_finite_gradient():
    losses = prototypical(jnp.zeros((4, 3, 2)), jnp.zeros((1, 2)), jnp.array([1]))
    np.testing.assert_allclose(losses, np.log(4), rtol=1e-6)
    gradient = jax.grad(lambda s: jnp.sum(prototypical(s, jnp.zeros((1, 2)), jnp.array([1]))))(jnp.zeros((4, 3, 2)))
    assert np.isfinite(gradient).all()


def test_bfloat16_gives_float32():
    support, query, labels = episode()
    narrow = jnp.asarray(support, jnp.bfloat16), jnp.asarray(query, jnp.bfloat16)
    expected, _ = by_scipy(*(np.asarray(a, np.float32) for a in narrow), labels)
    result = prototypical(*narrow, labels)
    assert result.dtype == jnp.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5)


SUPPORT, QUERY, LABELS = jnp.zeros((4, 3, 2)), jnp.zeros((5, 2)), jnp.zeros(5, int)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"support": jnp.zeros((4, 2))}, ValueError, r"support must have shape \[K, S, D\]"),
        ({"support": jnp.zeros((0, 3, 2))}, ValueError, "support must have shape"),
        ({"support": jnp.zeros((4, 0, 2))}, ValueError, "support must have shape"),
        ({"support": jnp.zeros((4, 3, 2), int)}, TypeError, "support must be floating point"),
        ({"query": jnp.zeros((5, 3))}, ValueError, "width 2"),
        ({"query": jnp.zeros(2)}, ValueError, r"query must have shape \[Q, D\]"),
        ({"labels": jnp.zeros(4, int)}, ValueError, "query and labels"),
        ({"labels": jnp.zeros(5)}, TypeError, "labels must hold integers"),
        ({"where": jnp.ones(4, bool)}, ValueError, "where must have shape"),
        ({"where": jnp.ones(5)}, TypeError, "where must be boolean"),
    ],
)
def test_bad_input(change, error, words):
    with pytest.raises(error, match=words):
        prototypical(**{"support": SUPPORT, "query": QUERY, "labels": LABELS, **change})
