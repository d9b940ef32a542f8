"""Two classes, one rarer than the other, and classifiers trained against attacks: in theory and on images."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.networks import mlp
from experiments.runner import Dataset, UserError
from experiments.training import cosine_adam, fit
from jaxlab import analytic, losses, metrics, optim
from jaxlab.typing import Array, PyTree

# How many examples of the frequent class there are to one of the rare class.
RATIOS = (1.0, 2.0, 5.0, 10.0)
# Radii of the attack that is trained against, as shares of the largest.
RADII = (0.0, 0.25, 0.5, 1.0)
WIDTH = 64
ATTACK_STEPS = 5


class Pair(NamedTuple):
    """Images of two classes in [0, 1]: label 1 is the class that is made rare."""

    x: Array  # [N, D]
    labels: Array  # int [N]
    train: Array  # bool [N]
    order: Array  # float [N], in [0, 1): the rare class keeps the examples below 1 / ratio


def load_pair(data: Dataset, rare: int, frequent: int, seed: int) -> Pair:
    """Two classes of the data set, each halved into training and test rows and cut to the same size."""
    for name, label in (("rare", rare), ("frequent", frequent)):
        if not 0 <= label < data.num_classes:
            raise UserError(f"{name} must be a class of {data.name}, 0 to {data.num_classes - 1}, got {label}.")
    if rare == frequent:
        raise UserError(f"rare and frequent must be two classes, got {rare} twice.")
    found = [np.flatnonzero(data.y == label) for label in (rare, frequent)]
    if (fewest := min(map(len, found))) < 40:
        raise UserError(f"Both classes need at least 40 rows, {data.name} has one with {fewest}.")
    rng, half = np.random.default_rng(seed), fewest // 2
    rows = np.concatenate([rng.permutation(index)[: 2 * half] for index in found])
    x = data.x.reshape(len(data.x), -1)[rows]
    x = (x - x.min()) / max(float(np.ptp(x)), 1e-12)
    within = np.tile(np.arange(2 * half), 2)
    return Pair(
        jnp.asarray(x, jnp.float32),
        jnp.repeat(jnp.array([1, 0]), 2 * half),
        jnp.asarray(within < half),
        jnp.asarray((within % half) / half, jnp.float32),
    )


def errors_of(logits: Array, pair: Pair) -> Array:
    """Test errors of the rare and of the frequent class, [2]."""
    wrong = (logits > 0) != (pair.labels == 1)
    return jnp.stack([jnp.mean(wrong, where=~pair.train & (pair.labels == label)) for label in (1, 0)])


def _kept(pair: Pair, ratio: Array) -> Array:
    return pair.train & ((pair.labels == 0) | (pair.order < 1 / ratio))


def train_linear(pair: Pair, ratio: Array, eps: Array, *, norm: str, num_steps: int) -> Array:
    """Test errors [2] of the linear classifier with the least loss under attack."""
    kept = _kept(pair, ratio)

    def loss(params: PyTree) -> Array:
        each = losses.adversarial_linear_margin(
            pair.x, pair.labels, params["weight"], params["bias"], eps=eps, norm=norm, where=kept
        )
        return jnp.sum(each) / jnp.sum(kept)

    start = {"weight": jnp.zeros(pair.x.shape[1]), "bias": jnp.zeros(())}
    params = optim.minimize(loss, start, cosine_adam(0.1, num_steps), num_steps=num_steps).params
    return errors_of(pair.x @ params["weight"] + params["bias"], pair)


def network_loss(params: PyTree, state: Any, batch: dict[str, Any], key: Array) -> tuple[Array, Any]:
    """Logistic loss on inputs that were moved up it within a radius, the state, in the maximum norm."""
    network = mlp((batch["x"].shape[1], WIDTH, 1))
    sign = 2.0 * batch["labels"] - 1.0

    def loss(x: Array) -> Array:
        return jax.nn.softplus(-sign * network.logits(params, x)[:, 0])

    attacked = optim.projected_gradient_attack(
        loss, batch["x"], eps=state, step=state / 2, num_iters=ATTACK_STEPS, norm="linf"
    )
    return jnp.mean(loss(jax.lax.stop_gradient(attacked))), state


def train_network(pair: Pair, ratio: Array, eps: Array, key: Array, *, num_steps: int) -> Array:
    """Test errors [2] of a network of one hidden layer that is trained on attacked inputs."""
    network = mlp((pair.x.shape[1], WIDTH, 1))
    fitted = fit(
        network_loss,
        network.init(key),
        eps,
        cosine_adam(0.005, num_steps),
        {"x": pair.x, "labels": pair.labels},
        key,
        num_steps=num_steps,
        batch_size=64,
        where=_kept(pair, ratio),
    )
    return errors_of(network.logits(fitted.params, pair.x)[:, 0], pair)


def theory(mu: Array, ratio: Array, eps: Array, *, norm: str) -> Array:
    """Errors [2] of the robust classifier of two Gaussian classes."""
    rule = analytic.robust_linear_gmm(mu, ratio=ratio, eps=eps, norm=norm)
    return jnp.stack(metrics.class_errors_linear_gmm(rule.weight, rule.bias, mu))


def train_gaussian(key: Array, mu: Array, ratio: Array, eps: Array, *, norm: str, num_steps: int, size: int) -> Array:
    """Errors [2] of the linear classifier trained under attack on a sample of two Gaussian classes."""
    x = jax.random.normal(key, (size, mu.shape[0]))
    labels = (jnp.arange(size) < size / (1 + ratio)).astype(jnp.int32)
    x = jnp.where(labels[:, None] == 1, x + mu, x - mu)

    def loss(params: PyTree) -> Array:
        weight, bias = params["weight"], params["bias"]
        return jnp.mean(losses.adversarial_linear_margin(x, labels, weight, bias, eps=eps, norm=norm))

    start = {"weight": mu, "bias": jnp.zeros(())}
    params = optim.minimize(loss, start, cosine_adam(0.05, num_steps), num_steps=num_steps).params
    return jnp.stack(metrics.class_errors_linear_gmm(params["weight"], params["bias"], mu))


def summary(errors: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """From errors [ratios, radii, 2] of the rare and the frequent class to the numbers of a row."""
    gap = errors[..., 0] - errors[..., 1]
    lost = errors[0, -1] - errors[0, 0]
    measured = {
        "gap_plain": gap[-1, 0],
        "gap_robust": gap[-1, -1],
        "gap_balanced": gap[0, -1],
        "lost_by_both": jnp.min(lost),
    }
    return measured, {"errors": errors}
