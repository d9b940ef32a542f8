"""Patients whose progress depends on two attributes together, and networks that are kept from telling them apart."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.errors import missing_package
from experiments.networks import mlp
from experiments.training import cosine_adam, fit
from jaxlab import losses, metrics
from jaxlab.typing import Array, PyTree

WIDTH = 16
GROUPS = 4
# Bins of the predictions, in standard deviations of the progress.
BINS, REACH = 6, 1.5
SHOWN = 15  # bins in the figure
# Weights of a penalty, in the order of the figure; 0 is no penalty.
PENALTIES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Patients(NamedTuple):
    """Features, outcomes and the two attributes, all standardised, with folds that take turns."""

    x: Array  # [N, D]
    y: Array  # [N]
    attributes: Array  # [N, 2]
    groups: Array  # int [N], of the four combinations of the attributes' signs
    fold: Array  # int [N], 0 or 1


# From predictions [N, 1] and the attributes, each [N, 1], to a number that is 0 where they are independent.
Penalty = Callable[[Array, list[Array]], Array]


def linear(predictions: Array, attributes: list[Array]) -> Array:
    """Squared covariances with every attribute."""
    return sum((metrics.distance_covariance(predictions, one, exponent=2.0) for one in attributes), jnp.zeros(()))


def marginal(predictions: Array, attributes: list[Array]) -> Array:
    """Distance covariance with every attribute alone."""
    return sum((metrics.distance_covariance(predictions, one) for one in attributes), jnp.zeros(()))


def joint(predictions: Array, attributes: list[Array]) -> Array:
    """Joint distance covariance of the prediction and all attributes."""
    return losses.joint_distance_covariance([predictions, *attributes])


def load_patients(strength: float, seed: int) -> Patients:
    """The 442 patients; the product of the two attributes' signs moves their progress by ``strength`` deviations."""
    try:
        from sklearn.datasets import load_diabetes
    except ModuleNotFoundError as error:
        raise missing_package(error) from error
    raw, progress = load_diabetes(return_X_y=True)
    x = (raw - raw.mean(0)) / raw.std(0)
    signs = np.stack([np.where(raw[:, 1] > 0, 1.0, -1.0), np.where(raw[:, 0] > np.median(raw[:, 0]), 1.0, -1.0)], 1)
    y = (progress - progress.mean()) / progress.std() + strength * signs.prod(1)
    y = (y - y.mean()) / y.std()
    attributes = (signs - signs.mean(0)) / signs.std(0)
    groups = (signs[:, 0] > 0) * 2 + (signs[:, 1] > 0)
    fold = np.random.default_rng(seed).permutation(len(y)) % 2
    return Patients(
        jnp.asarray(x, jnp.float32),
        jnp.asarray(y, jnp.float32),
        jnp.asarray(attributes, jnp.float32),
        jnp.asarray(groups, jnp.int32),
        jnp.asarray(fold, jnp.int32),
    )


@functools.cache
def objective(penalty: Penalty | None) -> Callable[..., tuple[Array, PyTree]]:
    """Squared error and the penalty, whose weight is the state; one object per penalty."""
    network = mlp((10, WIDTH, 1))

    def loss(params: PyTree, state: Array, batch: dict[str, Any], key: Array) -> tuple[Array, Array]:
        predictions = network.logits(params, batch["x"])
        error = jnp.mean(jnp.square(predictions[:, 0] - batch["y"]))
        if penalty is not None:
            error += state * penalty(predictions, [batch["attributes"][:, :1], batch["attributes"][:, 1:]])
        return error, state

    return loss


def predict(
    penalty: Penalty | None, data: Patients, weight: Array, key: Array, *, num_steps: int, batch_size: int
) -> Array:
    """Of every patient [N], by the network that was trained on the other fold."""
    network = mlp((data.x.shape[1], WIDTH, 1))
    rows = {"x": data.x, "y": data.y, "attributes": data.attributes}

    def of_fold(fold: Array) -> Array:
        fitted = fit(
            objective(penalty),
            network.init(key),
            weight,
            cosine_adam(0.02, num_steps),
            rows,
            key,
            num_steps=num_steps,
            batch_size=batch_size,
            where=data.fold != fold,
        )
        return network.logits(fitted.params, data.x)[:, 0]

    first, second = jax.vmap(of_fold)(jnp.arange(2))
    return jnp.where(data.fold == 0, first, second)


def divergence(predictions: Array, groups: Array, num_groups: int) -> Array:
    """Jensen-Shannon divergence of the predictions' histograms between groups, weighted by their sizes."""
    shares = metrics.group_histogram(predictions, groups, num_groups=num_groups, bins=BINS, low=-REACH, high=REACH)
    sizes = jnp.bincount(groups, length=num_groups).astype(jnp.float32)
    return metrics.jensen_shannon_divergence(jnp.log(shares), weights=sizes)


def frontier(predictions: Array, data: Patients, budget: float) -> tuple[dict[str, Array], dict[str, Array]]:
    """What predictions [weights, N] cost and leave, and the least that they leave within a budget of error.

    The budget is the share of the way from the error of the first predictions to that of the mean outcome, which
    knows nothing of anybody.
    """
    error = jnp.sqrt(jnp.mean(jnp.square(predictions - data.y), axis=1))
    gap = {
        "subgroups": jax.vmap(lambda p: divergence(p, data.groups, GROUPS))(predictions),
        "sex": jax.vmap(lambda p: divergence(p, data.groups // 2, 2))(predictions),
        "age": jax.vmap(lambda p: divergence(p, data.groups % 2, 2))(predictions),
    }
    allowed = error[0] + budget * (jnp.std(data.y) - error[0])
    best = jnp.argmin(jnp.where(error <= allowed, gap["subgroups"], jnp.inf))
    dependence = metrics.distance_correlation(predictions[best][:, None], data.attributes, unbiased=True)
    measured = {f"js_{name}": value[best] for name, value in gap.items()}
    shares = metrics.group_histogram(
        predictions[best], data.groups, num_groups=GROUPS, bins=SHOWN, low=-REACH, high=REACH
    )
    curves = {"error": error, "js_subgroups": gap["subgroups"], "shares": shares}
    return {"rmse": error[best], **measured, "dcor_attributes": dependence}, curves


def penalised(
    penalty: Penalty | None, config: Any, data: Patients, key: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """One row: a network for every weight of the penalty."""
    weights = jnp.array(PENALTIES if penalty is not None else PENALTIES[:1])
    train = functools.partial(
        predict, penalty, data, key=key, num_steps=config.train_steps, batch_size=config.batch_size
    )
    found = jax.vmap(lambda weight: train(weight=weight))(weights)
    return frontier(found, data, config.budget)


def shrunk(config: Any, data: Patients, key: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """One row: the predictions of the network without a penalty, drawn towards their mean."""
    plain = predict(None, data, jnp.zeros(()), key, num_steps=config.train_steps, batch_size=config.batch_size)
    factors = jnp.linspace(1.0, 0.0, len(PENALTIES))[:, None]
    return frontier(plain.mean() + factors * (plain - plain.mean()), data, config.budget)
