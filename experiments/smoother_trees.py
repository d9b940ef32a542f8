"""Trees, forests and boosting of ``experiments.kernels_and_smoothers``, fitted by scikit-learn, read off by leaves."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.errors import missing_package
from jaxlab import metrics
from jaxlab.typing import Array

__all__ = ["Grown", "Patients", "grow", "measure", "patients"]


class Patients(NamedTuple):
    """The progress of diabetes patients, in units of its standard deviation around the training mean."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


class Grown(NamedTuple):
    """Leaves of an ensemble [T, M] and [T, N], how often a tree saw a training row [T, N], and the targets."""

    query: Array
    train: Array
    weights: Array
    train_y: Array
    test_y: Array


def patients(seed: int, train_rows: int) -> Patients:
    """A split of the 442 patients."""
    try:
        from sklearn.datasets import load_diabetes
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    x, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[:train_rows], order[train_rows:]
    scaled = (y - y[train].mean()) / y[train].std()
    return Patients(x[train], scaled[train], x[test], scaled[test])


def grow(kind: str, split: Patients, seed: int, num_trees: int, learning_rate: float) -> Grown:
    """A forest of whole trees on all rows, the same on bootstrap samples, or gradient boosting by small trees."""
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

    if kind == "boosting":
        model: Any = GradientBoostingRegressor(
            n_estimators=num_trees, learning_rate=learning_rate, init="zero", random_state=seed
        )
    else:
        model = RandomForestRegressor(num_trees, max_features=1 / 3, bootstrap=kind == "bagging", random_state=seed)
    model.fit(split.train_x, split.train_y)
    query, train = (model.apply(x).reshape(len(x), -1).T.astype(np.int32) for x in (split.test_x, split.train_x))
    weights = np.ones(train.shape)
    if kind == "bagging":
        weights = np.stack([np.bincount(bag, minlength=train.shape[1]) for bag in model.estimators_samples_])
    held, train_y, test_y = (jnp.asarray(array, jnp.float32) for array in (weights, split.train_y, split.test_y))
    return Grown(jnp.asarray(query), jnp.asarray(train), held, train_y, test_y)


def measure(
    grown: Grown, *, counts: tuple[int, ...], boosted: float | None
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Parameters per training row on training and on test rows, and the error, over the number of trees."""

    def at(count: Array) -> tuple[Array, Array, Array]:
        weights = jnp.where(jnp.arange(len(grown.weights))[:, None] < count, grown.weights, 0.0)
        if boosted is None:
            query, train = (
                metrics.smoother_from_leaves(rows, grown.train, weights=weights) for rows in (grown.query, grown.train)
            )
        else:
            query, train = metrics.boosting_smoother(grown.query, grown.train, learning_rate=boosted, weights=weights)
        on_train, on_test = (metrics.effective_parameters(part) / grown.train.shape[1] for part in (train, query))
        return on_train, on_test, jnp.mean((query @ grown.train_y - grown.test_y) ** 2)

    on_train, on_test, error = jax.lax.map(at, jnp.array(counts))
    measured = {"parameters_train": on_train[-1], "parameters_test": on_test[-1], "error": error[-1]}
    first = {"one_tree_train": on_train[0], "one_tree_test": on_test[0], "one_tree_error": error[0]}
    curves = {"trees_parameters_train": on_train, "trees_parameters_test": on_test, "trees_error": error}
    return measured | first, curves
