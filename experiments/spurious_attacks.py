"""Ensembles under attacks that were made on somebody else: on one of their members, or on other networks."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.networks import mlp
from experiments.streams import Split
from experiments.training import cosine_adam, fit
from jaxlab import losses, metrics, optim
from jaxlab.typing import Array, PyTree

TRAININGS = ("apart", "adversarial", "dverge")
STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)  # of the attack on other networks, in units of ``attack_size``


@dataclasses.dataclass(frozen=True)
class Settings:
    """Ensembles under attack."""

    attacked: int = 3
    """Networks in an ensemble, and in the one that stands in for it when the attack is made."""
    attack_hidden: int = 64
    """Width of both hidden layers."""
    plain_steps: int = 400
    """Steps of Adam by which every network starts."""
    robust_steps: int = 400
    """Steps that follow, of the row's own training."""
    attack_rate: float = 2e-3
    """Of Adam."""
    attack_size: float = 0.1
    """Largest change of an input in [0, 1] by an attack, and by a feature that is distilled."""
    attack_steps: int = 10
    """Steps of an attack, a fifth of its size each, and of a distillation, a tenth each."""
    attack_rows: int = 300
    """Test rows that are attacked."""


def hidden_layers(params: PyTree, x: Array) -> tuple[Array, Array, Array]:
    """Both hidden layers before their activation, and the logits."""
    dense = lambda layer, x: x @ layer["kernel"] + layer["bias"]  # noqa: E731
    first = dense(params["hidden"]["dense0"], x)
    second = dense(params["hidden"]["dense1"], jax.nn.relu(first))
    return first, second, dense(params["head"], jax.nn.relu(second))


def logits(params: PyTree, x: Array) -> Array:
    """float [..., C]."""
    return hidden_layers(params, x)[2]


def mixture(members: PyTree, x: Array) -> Array:
    """Log of the mean distribution of networks stacked along the first axis."""
    return jax.nn.logmeanexp(jax.nn.log_softmax(jax.vmap(logits, in_axes=(0, None))(members, x)), axis=0)


def attacked(
    config: Settings, predict: Callable[[Array], Array], x: Array, labels: Array, size: Any, key: Array | None
) -> Array:
    """Rows near x that predict gets wrong."""
    loss = lambda x: optax.losses.softmax_cross_entropy_with_integer_labels(predict(x), labels)  # noqa: E731
    sizes = {"eps": size, "step": size / 5, "num_iters": config.attack_steps, "bounds": (0.0, 1.0)}
    return optim.projected_gradient_attack(loss, x, key=key, **sizes)


def distilled(config: Settings, members: PyTree, source: Array, target: Array, layer: Array) -> Array:
    """For every network rows that look like source and are target to a layer of it, [M, B, D]."""

    def one(params: PyTree) -> Array:
        def features(x: Array) -> Array:
            first, second, _ = hidden_layers(params, x)
            return jnp.where(layer == 0, first, second)

        size, steps = config.attack_size, config.attack_steps
        return optim.distilled_features(features, source, target, eps=size, step=size / 10, num_iters=steps)

    return jax.vmap(one)(jax.lax.stop_gradient(members))


Predict = Callable[[PyTree, Array], Array]
"""Logits [B, C] of one member and rows."""


def crossed(members: PyTree, inputs: Array, predict: Predict = logits) -> Array:
    """What network i says of inputs j, [M, S, B, C]."""
    return jax.vmap(jax.vmap(predict, in_axes=(None, 0)), in_axes=(0, None))(members, inputs)


def _apart(config: Settings, members: PyTree, x: Array, y: Array, key: Array) -> Array:
    outputs = jax.vmap(logits, in_axes=(0, None))(members, x)
    return jnp.sum(jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(outputs, y[None]), axis=-1))


def _adversarial(config: Settings, members: PyTree, x: Array, y: Array, key: Array) -> Array:
    def one(params: PyTree, key: Array) -> Array:
        frozen = functools.partial(logits, jax.lax.stop_gradient(params))
        near = attacked(config, frozen, x, y, config.attack_size, key)
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits(params, near), y))

    return jnp.sum(jax.vmap(one)(members, jax.random.split(key, config.attacked)))


def _dverge(config: Settings, members: PyTree, x: Array, y: Array, key: Array) -> Array:
    layer_key, order_key = jax.random.split(key)
    others = x[jnp.argsort(jax.random.uniform(order_key, y.shape))]
    inputs = distilled(config, members, x, others, jax.random.randint(layer_key, (), 0, 2))
    return jnp.sum(jnp.mean(losses.dverge(crossed(members, inputs), y), axis=-1))


def started(config: Settings, seed: Split, x: Array, num_classes: int) -> tuple[PyTree, PyTree]:
    """Networks that each learned plainly: those of an ensemble, and those that an attacker has."""
    keys = jax.random.split(seed.key, 2 * config.attacked + 2)
    network = mlp((x.shape[1], config.attack_hidden, config.attack_hidden, num_classes))
    start = jax.vmap(network.init)(keys[2:])
    rows = {"x": x[seed.train], "y": seed.labels}

    def plain(members: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        return _apart(config, members, batch["x"], batch["y"], key), state

    optimizer = cosine_adam(config.attack_rate, config.plain_steps)
    found = fit(plain, start, None, optimizer, rows, keys[0], num_steps=config.plain_steps, batch_size=64).params
    own, theirs = (
        jax.tree.map(lambda leaf, part=part: leaf[part], found)
        for part in (slice(None, config.attacked), slice(config.attacked, None))
    )
    return own, theirs


def train(config: Settings, seed: Split, x: Array, kind: Array, num_classes: int) -> tuple[PyTree, PyTree]:
    """An ensemble trained by TRAININGS[kind] after its plain start, and the networks that an attacker has."""
    own, theirs = started(config, seed, x, num_classes)
    rows = {"x": x[seed.train], "y": seed.labels}
    key = jax.random.split(seed.key, 2 * config.attacked + 2)[1]

    def chosen(members: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        branches = [functools.partial(branch, config) for branch in (_apart, _adversarial, _dverge)]
        return jax.lax.switch(kind, branches, members, batch["x"], batch["y"], key), state

    optimizer = cosine_adam(config.attack_rate, config.robust_steps)
    own = fit(chosen, own, None, optimizer, rows, key, num_steps=config.robust_steps, batch_size=64).params
    return own, theirs


def carried(config: Settings, seed: Split, x: Array, members: PyTree, predict: Predict = logits) -> dict[str, Array]:
    """How often an attack on a member misleads another one, and how often itself, of rows that all get right."""
    rows, truth = _rows(config, seed, x)
    num = jax.tree.leaves(members)[0].shape[0]
    right = jnp.all(jnp.argmax(crossed(members, rows[None], predict)[:, 0], axis=-1) == truth, axis=0)
    aimed = lambda member, key: attacked(  # noqa: E731
        config, functools.partial(predict, member), rows, truth, config.attack_size, key
    )
    inputs = jax.vmap(aimed)(members, _attack_keys(seed, num)[1:])
    rates = metrics.transfer_rate(crossed(members, inputs, predict), truth, where=right)
    others = ~jnp.eye(num, dtype=bool)
    return {"transfer": jnp.mean(rates, where=others), "fooled": jnp.mean(jnp.diagonal(rates))}


def from_outside(
    config: Settings, seed: Split, x: Array, theirs: PyTree, mixed: Callable[[Array], Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracy of an ensemble as it is, and under attacks on the networks that an attacker has."""
    rows, truth = _rows(config, seed, x)

    def left(strength: Array) -> Array:
        size, key = strength * config.attack_size, _attack_keys(seed, 0)[0]
        return metrics.accuracy(
            mixed(attacked(config, functools.partial(mixture, theirs), rows, truth, size, key)), truth
        )

    by_strength = jax.lax.map(left, jnp.array(STRENGTHS))
    clean = metrics.accuracy(mixed(x[seed.test]), seed.truth)
    return {"clean": clean, "black_box": by_strength[STRENGTHS.index(1.0)]}, {"by_strength": by_strength}


def _rows(config: Settings, seed: Split, x: Array) -> tuple[Array, Array]:
    """Those that are attacked, and their classes."""
    return x[seed.test][: config.attack_rows], seed.truth[: config.attack_rows]


def _attack_keys(seed: Split, members: int) -> Array:
    """For the attack from outside, and for one on every member."""
    return jax.random.split(jax.random.fold_in(seed.key, 1), members + 1)


def measure(
    config: Settings, seed: Split, x: Array, kind: Array, *, num_classes: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """How far attacks carry from member to member, and what is left of the accuracy under attacks from outside."""
    own, theirs = train(config, seed, x, kind, num_classes)
    rows, truth = _rows(config, seed, x)
    # What a network's features are worth to another: row b looks like b and is the next row to the network.
    imitated = jnp.roll(rows, 1, axis=0)

    def apart(layer: Array) -> Array:
        seen = crossed(own, distilled(config, own, rows, imitated, layer))
        return metrics.vulnerability_diversity(seen, jnp.roll(truth, 1))

    diversity = jnp.mean(jax.lax.map(apart, jnp.arange(2)), axis=0)
    others = ~jnp.eye(config.attacked, dtype=bool)
    found, curves = from_outside(config, seed, x, theirs, functools.partial(mixture, own))
    found |= carried(config, seed, x, own)
    return found | {"vulnerability_diversity": jnp.mean(diversity, where=others)}, curves
