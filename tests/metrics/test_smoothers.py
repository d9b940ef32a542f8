"""Smoothers of trees, forests and boosting against scikit-learn's predictions, and effective parameters."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

from jaxlab import kernels, metrics

RNG = np.random.default_rng(0)
X, NEW = RNG.normal(size=(60, 3)), RNG.normal(size=(25, 3))
Y = X[:, 0] * X[:, 1] + 0.3 * RNG.normal(size=60)


def leaves(model):
    return [model.apply(rows).reshape(len(rows), -1).T.astype(np.int32) for rows in (NEW, X)]


@pytest.mark.parametrize("depth", [3, None])
def test_forest(depth):
    model = RandomForestRegressor(9, bootstrap=False, max_features=1, max_depth=depth, random_state=0).fit(X, Y)
    smoother = np.asarray(metrics.smoother_from_leaves(*leaves(model)), np.float64)
    np.testing.assert_allclose(smoother @ Y, model.predict(NEW), atol=1e-5)
    np.testing.assert_allclose(smoother.sum(1), 1, atol=1e-5)


def test_forest_of_bootstrap_samples():
    model = RandomForestRegressor(9, min_samples_leaf=2, random_state=0).fit(X, Y)
    weights = np.stack([np.bincount(bag, minlength=60) for bag in model.estimators_samples_]).astype(np.float32)
    smoother = np.asarray(metrics.smoother_from_leaves(*leaves(model), weights=weights), np.float64)
    np.testing.assert_allclose(smoother @ Y, model.predict(NEW), atol=1e-5)
    plain = np.asarray(metrics.smoother_from_leaves(*leaves(model)), np.float64)
    assert np.abs(plain @ Y - model.predict(NEW)).max() > 0.05


def test_weights_of_zero_take_trees_out():
    model = RandomForestRegressor(9, bootstrap=False, max_features=1, random_state=0).fit(X, Y)
    query, train = leaves(model)
    weights = np.ones(train.shape, np.float32) * (np.arange(9) < 4)[:, None]
    first = metrics.smoother_from_leaves(query[:4], train[:4])
    np.testing.assert_allclose(metrics.smoother_from_leaves(query, train, weights=weights), first, atol=1e-6)
    assert not np.asarray(metrics.smoother_from_leaves(query, train, weights=0 * weights)).any()


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_boosting(rate):
    model = GradientBoostingRegressor(n_estimators=12, learning_rate=rate, max_depth=2, init="zero").fit(X, Y)
    query, train = metrics.boosting_smoother(*leaves(model), learning_rate=rate)
    np.testing.assert_allclose(np.asarray(query, np.float64) @ Y, model.predict(NEW), atol=1e-4)
    np.testing.assert_allclose(np.asarray(train, np.float64) @ Y, model.predict(X), atol=1e-4)


def test_boosting_stops_where_weights_do():
    model = GradientBoostingRegressor(n_estimators=12, max_depth=2, init="zero").fit(X, Y)
    query, train = leaves(model)
    weights = np.ones(train.shape, np.float32) * (np.arange(12) < 5)[:, None]
    stopped = metrics.boosting_smoother(query, train, learning_rate=0.1, weights=weights)
    short = metrics.boosting_smoother(query[:5], train[:5], learning_rate=0.1)
    for a, b in zip(stopped, short, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_effective_parameters_of_known_smoothers():
    assert metrics.effective_parameters(jnp.full((5, 8), 1 / 8)) == pytest.approx(1.0)  # the mean
    tree = DecisionTreeRegressor(random_state=0).fit(X, Y)
    query, train = leaves(tree)
    assert metrics.effective_parameters(metrics.smoother_from_leaves(train, train)) == pytest.approx(60.0)
    assert metrics.effective_parameters(metrics.smoother_from_leaves(query, train)) == pytest.approx(60.0)
    _, index = kernels.knn(NEW.astype(np.float32), X.astype(np.float32), k=5, metric="euclidean")
    votes = kernels.knn_vote(index, jnp.arange(60), 60) / 5
    assert metrics.effective_parameters(votes) == pytest.approx(60 / 5)


def test_projections_and_kernel_ridge():
    hat = X @ np.linalg.solve(X.T @ X, X.T)
    assert metrics.smoother_trace(hat.astype(np.float32)) == pytest.approx(3.0, rel=1e-5)
    assert metrics.effective_parameters(hat.astype(np.float32)) == pytest.approx(3.0, rel=1e-5)
    gram = kernels.gaussian_kernel(X.astype(np.float32), bandwidth=1.0)
    ridge = kernels.kernel_ridge(gram, gram, jnp.eye(60), ridge=0.5)
    values = np.linalg.eigvalsh(np.asarray(gram, np.float64))
    shares = values / (values + 0.5)
    assert metrics.smoother_trace(ridge) == pytest.approx(shares.sum(), rel=1e-4)
    assert metrics.effective_parameters(ridge) == pytest.approx((shares**2).sum(), rel=1e-4)


def test_averaging_spends_fewer_parameters_and_more_so_on_new_inputs():
    model = RandomForestRegressor(30, bootstrap=False, max_features=1, random_state=0).fit(X, Y)
    query, train = leaves(model)
    on_new, on_train = [], []
    for count in (1, 5, 30):
        on_new.append(float(metrics.effective_parameters(metrics.smoother_from_leaves(query[:count], train[:count]))))
        on_train.append(float(metrics.effective_parameters(metrics.smoother_from_leaves(train[:count], train[:count]))))
    assert on_new[0] > on_new[1] > on_new[2]
    assert on_train[2] == pytest.approx(60)
    assert on_new[2] < 0.5 * on_train[2]
    same = np.repeat(train[:1], 3, 0)
    assert metrics.effective_parameters(metrics.smoother_from_leaves(same, same)) == pytest.approx(on_train[0])


def test_masked_rows():
    rows = jnp.array([[1.0, 0.0], [jnp.nan, 0.0], [0.5, 0.5]])
    assert metrics.effective_parameters(rows, where=jnp.array([True, False, True])) == pytest.approx(1.5)
    assert metrics.effective_parameters(rows, where=jnp.zeros(3, bool)) == 0


L = np.zeros((2, 3), int)
BAD = [
    (lambda: metrics.effective_parameters(jnp.ones(3)), ValueError, "smoother must have shape"),
    (lambda: metrics.effective_parameters(L), TypeError, "smoother must be floating"),
    (lambda: metrics.effective_parameters(jnp.ones((3, 2)), where=jnp.ones(2, bool)), ValueError, "where"),
    (lambda: metrics.smoother_trace(jnp.ones((2, 3))), ValueError, "smoother must have shape"),
    (lambda: metrics.smoother_from_leaves(L, L[:1]), ValueError, "query_leaves and train_leaves"),
    (lambda: metrics.smoother_from_leaves(L, L, weights=jnp.ones(3)), ValueError, "weights and train_leaves"),
    (lambda: metrics.smoother_from_leaves(L * 1.0, L), TypeError, "query_leaves must hold integers"),
    (lambda: metrics.boosting_smoother(L, L[:1], learning_rate=0.1), ValueError, "query_leaves and train_leaves"),
    (lambda: metrics.boosting_smoother(L, L, learning_rate=jnp.ones(2)), ValueError, "learning_rate"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
