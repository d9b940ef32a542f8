"""Digits turned by several angles: networks that learn some of the angles are asked about others."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.networks import Network, mlp
from experiments.streams import Split
from experiments.training import cosine_adam, fit
from jaxlab import losses, metrics, optim, weaksup
from jaxlab.typing import Array, PyTree

__all__ = ["ANGLES", "HEADS", "Settings", "Weights", "measure", "moment_distance", "read"]

ANGLES = (0, 15, 30, 45, 60, 75)
DOMAINS = 4
HEADS = ("global", "certain", "mixed")
"""What predicts: the head of all domains, the most certain head, or the mixture of the domains' heads."""

# Which angles are learned, one per domain: those up to 45 degrees, one alone, and all but one of the first five.
_OTHERS = [[a for a in range(5) if a != out] for out in range(5)]
TASKS = np.array([[0, 1, 2, 3], [0, 0, 0, 0], *_OTHERS])


@dataclasses.dataclass(frozen=True)
class Settings:
    """Turned digits."""

    turned_hidden: int = 64
    """Units of both hidden layers."""
    turned_steps: int = 300
    """Steps of Adam."""
    turned_rate: float = 3e-3
    """Of Adam; it falls to zero."""
    turned_batch: int = 16
    """Rows of every domain in a batch."""
    turned_test_share: float = 0.4
    """Share of the digits that are asked about."""
    coral_weight: float = 1.0
    """Of the distance between the means and covariances of the domains' features."""
    sam_rho: float = 0.05
    """How far a sharpness-aware step looks."""
    shift_step: float = 0.5
    """How far UDIM moves an input."""
    udim_weight: float = 1.0
    """Of the inconsistency."""
    udim_warmup: float = 1 / 3
    """Share of the steps that only look at sharpness."""
    mix_gamma: float = 1.0
    """How much more a certain head counts in the mixture."""


class Weights(NamedTuple):
    """What differs between the rows of one program."""

    rho: Array
    coral: Array
    own_heads: Array  # 1 trains a head per domain beside the global one, 0 the global one alone


def _network(config: Settings, dim: int) -> Network:
    return mlp((dim, config.turned_hidden, config.turned_hidden, 1))


def _start(config: Settings, key: Array, dim: int, num_classes: int) -> PyTree:
    body_key, head_key = jax.random.split(key)
    width = config.turned_hidden
    kernel = jax.random.normal(head_key, (DOMAINS + 1, width, num_classes)) / jnp.sqrt(width)
    body = _network(config, dim).init(body_key)
    return {"body": body["hidden"], "kernel": kernel, "bias": jnp.zeros((DOMAINS + 1, num_classes))}


def _features(params: PyTree, x: Array) -> Array:
    for layer in (params["body"][f"dense{i}"] for i in range(len(params["body"]))):
        x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
    return x


def _global_logits(params: PyTree, features: Array) -> Array:
    return features @ params["kernel"][-1] + params["bias"][-1]


def moment_distance(features: Array) -> Array:
    """Mean squared difference of the domains' feature means and covariances [E, B, W] from the common ones."""
    means = jnp.mean(features, axis=1)
    centered = features - means[:, None]
    spread = jnp.einsum("ebi,ebj->eij", centered, centered) / (features.shape[1] - 1)
    parts = (means, spread.reshape(len(spread), -1))
    return jnp.stack([jnp.mean(losses.alignment_penalty(v, jnp.mean(v, axis=0))) / v.shape[1] for v in parts]).sum()


def _loss(weights: Weights, params: PyTree, batch: tuple[Array, Array]) -> Array:
    x, y = batch  # [E, B, D], [E, B]
    features = _features(params, x)
    common = _global_logits(params, features)
    own = jnp.einsum("ebw,ewc->ebc", features, params["kernel"][:-1]) + params["bias"][:-1, None]
    alone = jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(common, y))
    both = jnp.mean(losses.drm(own, common, y))
    return alone + weights.own_heads * (both - alone) + weights.coral * moment_distance(features)


def _inconsistency(params: PyTree, x: Array, shifted: Array, y: Array) -> Array:
    seen = [(features, _global_logits(params, features)) for features in (_features(params, a) for a in (x, shifted))]
    return optim.udim_inconsistency(*seen[0], *seen[1], y)


def _train(
    config: Settings, seed: Split, angles: Array, x: Array, weights: Weights, num_classes: int, udim: bool
) -> PyTree:
    """A network for one choice of angles, int [E]."""
    start_key, key = jax.random.split(seed.key)
    warmup = round(config.udim_warmup * config.turned_steps)

    def loss_fn(params: PyTree, step: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        rows, y = (batch[name].reshape(DOMAINS, -1) for name in ("row", "y"))
        seen = x[angles[:, None], rows]
        grads = optim.perturbed_gradient(functools.partial(_loss, weights), params, (seen, y), rho=weights.rho)
        if udim:
            flat, labels = seen.reshape(-1, seen.shape[-1]), y.reshape(-1)

            def each(params: PyTree, x: Array) -> Array:
                logits = _global_logits(params, _features(params, x))
                return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)

            moved = optim.input_sharpness_ascent(each, params, flat, step=config.shift_step, rho=weights.rho)
            apart = jax.grad(_inconsistency)(params, flat, moved, labels)
            share = jnp.where(step < warmup, 0.0, config.udim_weight)
            grads = jax.tree.map(lambda g, a: g + share * a, grads, apart)
        # A loss whose gradient is the one asked for.
        return optax.tree.vdot(jax.lax.stop_gradient(grads), params), step + 1

    optimizer = cosine_adam(config.turned_rate, config.turned_steps)
    sizes = {"num_steps": config.turned_steps, "batch_size": DOMAINS * config.turned_batch}
    data = {"row": seed.train, "y": seed.labels}
    start = _start(config, start_key, x.shape[-1], num_classes)
    return fit(loss_fn, start, jnp.zeros((), jnp.int32), optimizer, data, key, **sizes).params


def _accuracies(config: Settings, params: PyTree, x: Array, y: Array) -> Array:
    """By what predicts and by angle, [3, A]; x are [A, M, D]."""

    def at(x: Array) -> Array:
        logits = jnp.einsum("mw,hwc->hmc", _features(params, x), params["kernel"]) + params["bias"][:, None]
        # The global head has a say in the weights, as published, and none in the sum.
        weights = weaksup.entropy_weights(logits, gamma=config.mix_gamma)[:-1]
        mixed = weaksup.aggregate_heads(jax.nn.softmax(logits[:-1]), weights)
        return jnp.stack([metrics.accuracy(z, y) for z in (logits[-1], weaksup.select_head(logits), mixed)])

    return jax.vmap(at, out_axes=1)(x)


def measure(
    config: Settings, seed: Split, x: Array, weights: Weights, *, num_classes: int, udim: bool = False
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracy on every angle, by task and by what predicts [3, T, A]; x are all digits at all angles [A, N, D].

    UDIM, whose steps cost several others, leaves out the tasks in which angles are left out.
    """
    tasks = jnp.asarray(TASKS[:2] if udim else TASKS)
    train = functools.partial(_train, config, seed, x=x, weights=weights, num_classes=num_classes, udim=udim)
    params = jax.vmap(lambda angles: train(angles=angles))(tasks)
    tests = x[:, seed.test]
    return {}, {"right": jax.vmap(lambda one: _accuracies(config, one, tests, seed.truth), out_axes=1)(params)}


def read(right: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Metrics and curves of what one head makes of the tasks, [S, T, A]."""
    values = {"turned_75": right[:, 0, -1], "from_0": right[:, 1, 1:].mean(1)}
    curves = {"by_angle": right[:, 0], "by_angle_from_0": right[:, 1]}
    if right.shape[1] > 2:
        outside = np.arange(len(_OTHERS))
        left_out = right[:, 2 + outside, outside]
        learned = np.take_along_axis(right[:, 2:], np.array(_OTHERS)[None], axis=2)
        values |= {"left_out": left_out.mean(1), "learned": learned.mean((1, 2))}
        curves["by_left_out"] = left_out
    return values, curves
