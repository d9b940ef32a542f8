"""kernels.neighbors: exact against numpy and scikit-learn, blocks, masks, ties."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from jaxlab import kernels


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((11, 4)).astype(np.float32), rng.standard_normal((9, 4)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("block", [1, 4, 11, 100])
def test_equals_scikit_learn_for_every_block(data, metric, block):
    queries, database = data
    scores, index = kernels.knn(queries, database, k=3, metric=metric, block=block)
    distance, expected = NearestNeighbors(n_neighbors=3, metric=metric).fit(database).kneighbors(queries)
    np.testing.assert_array_equal(index, expected)
    as_scores = 1 - distance if metric == "cosine" else -(distance**2)
    np.testing.assert_allclose(scores, as_scores, atol=1e-5)


def test_dot_takes_the_largest_products(data):
    queries, database = data
    scores, index = kernels.knn(queries, database, k=2, metric="dot")
    products = queries @ database.T
    np.testing.assert_array_equal(index, np.argsort(-products, axis=1)[:, :2])
    np.testing.assert_allclose(scores, np.take_along_axis(products, np.asarray(index), axis=1), atol=1e-6)


def test_leaves_itself_and_hidden_rows_out(data):
    x, _ = data
    where = np.arange(11) != 3
    scores, index = kernels.knn(x, x, k=10, metric="euclidean", exclude_self=True, where=where, block=4)
    found = np.isfinite(np.asarray(scores))
    for row in range(11):
        expected = sorted(set(range(11)) - {row, 3})
        assert sorted(np.asarray(index)[row][found[row]]) == expected
    hidden = np.where(where[:, None], x, np.nan)
    np.testing.assert_array_equal(
        kernels.knn(x[:2], hidden, k=2, where=where)[1], kernels.knn(x[:2], x, k=2, where=where)[1]
    )


def test_ties_go_to_the_lower_index():
    database = jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    _, index = kernels.knn(jnp.array([[1.0, 0.0]]), database, k=2)
    np.testing.assert_array_equal(index, [[1, 2]])


def test_votes_equal_scikit_learn(data):
    queries, database = data
    labels = np.arange(9) % 3
    scores, index = kernels.knn(queries, database, k=5, metric="euclidean")
    model = KNeighborsClassifier(5, weights="distance").fit(database, labels)
    votes = kernels.knn_vote(index, labels, 3, weights=1 / jnp.sqrt(-scores))
    np.testing.assert_allclose(votes / votes.sum(1, keepdims=True), model.predict_proba(queries), atol=1e-4)


def test_a_label_out_of_range_has_no_vote():
    np.testing.assert_array_equal(kernels.knn_vote(jnp.array([[0, 1, 2]]), jnp.array([-1, 0, 7]), 2), [[1.0, 0.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k must be"),
        ({"k": 10}, "k must be at most 9"),
        ({"metric": "manhattan"}, "metric must be one of"),
        ({"exclude_self": True}, "exclude_self needs"),
        ({"database": np.ones((9, 3), np.float32)}, "rows of width 4"),
        ({"block": 0}, "block must be"),
    ],
)
def test_bad_input(data, change, message):
    queries, database = data
    with pytest.raises(ValueError, match=message):
        kernels.knn(**{"queries": queries, "database": database, "k": 2} | change)


def test_bad_types(data):
    queries, database = data
    with pytest.raises(TypeError, match="queries must be floating"):
        kernels.knn(np.arange(4).reshape(1, 4), database, k=1)
    with pytest.raises(TypeError, match="where must be boolean"):
        kernels.knn(queries, database, k=1, where=np.ones(9))
    with pytest.raises(TypeError, match="index must hold integers"):
        kernels.knn_vote(np.ones((1, 1)), np.zeros(2, int), 2)
