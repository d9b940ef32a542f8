"""A network that knows upright digits sees a few that are slightly turned, and is asked about digits turned further."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.assets.classifiers import train_classifier
from experiments.errors import UserError
from experiments.networks import mlp
from experiments.streams import Split
from experiments.training import cosine_adam, fit
from jaxlab import losses, metrics
from jaxlab.compress import low_rank
from jaxlab.typing import Array, PyTree

__all__ = ["ANGLES", "Settings", "Shots", "draw", "measure"]

ANGLES = (0, 15, 30, 45, 60)
SHOWN = (1, 2)
"""Places of the angles of which a few digits are shown."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Adapted networks."""

    known_hidden: int = 128
    """Units of both hidden layers."""
    known_steps: int = 400
    """Steps of Adam on upright digits."""
    shots: int = 10
    """Digits of every class and angle."""
    tuning_steps: int = 300
    """Steps of Adam on the turned ones."""
    tuning_rate: float = 3e-3
    """Of Adam; it falls to zero."""
    group: int = 4
    """Low-rank changes of every kernel."""
    rank: int = 4
    """Of each of them."""
    orthogonal_weight: float = 1e-4
    """Of what changes share with the kernel and with each other."""


class Shots(NamedTuple):
    """Digits that are shown, int [K], and their classes."""

    rows: Array
    labels: Array


def draw(config: Settings, seeds: Split) -> Shots:
    """Training rows of every class, for every seed."""
    drawn = []
    for train, labels in zip(np.asarray(seeds.train), np.asarray(seeds.labels), strict=True):
        groups = [train[labels == c] for c in range(labels.max() + 1)]
        if min(map(len, groups)) < config.shots:
            raise UserError(f"Every class needs {config.shots} training rows (--shots).")
        drawn.append(np.concatenate([group[: config.shots] for group in groups]))
    rows = np.array(drawn)
    labels = np.tile(np.repeat(np.arange(rows.shape[1] // config.shots), config.shots), (len(rows), 1))
    return Shots(jnp.asarray(rows), jnp.asarray(labels))


def measure(
    config: Settings,
    seed: tuple[Split, Shots],
    x: Array,
    low_rank_only: Array,
    orthogonal: Array,
    *,
    num_classes: int,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracy on every angle after tuning all parameters, or low-rank changes of the hidden kernels and the head."""
    split, shots = seed
    network = mlp((x.shape[-1], config.known_hidden, config.known_hidden, num_classes))
    known_key, change_key, key = jax.random.split(split.key, 3)
    known = train_classifier(
        network, x[0, split.train], split.labels, known_key, num_classes=num_classes, num_steps=config.known_steps
    )
    kernels = {name: layer["kernel"] for name, layer in known["hidden"].items()}
    keys = dict(zip(kernels, jax.random.split(change_key, len(kernels)), strict=True))
    sizes = {"num": config.group, "rank": config.rank}
    changes = {name: low_rank.grouped_lora_init(keys[name], kernel, **sizes) for name, kernel in kernels.items()}

    def tuned(params: PyTree) -> PyTree:
        """The network of these parameters, in which one of the two kinds of change counts."""
        hidden = {}
        for name, layer in params["all"]["hidden"].items():
            changed = low_rank.grouped_lora_merge(params["changes"][name], kernels[name])
            hidden[name] = {
                "kernel": jnp.where(low_rank_only, changed, layer["kernel"]),
                "bias": jnp.where(low_rank_only, known["hidden"][name]["bias"], layer["bias"]),
            }
        return {"hidden": hidden, "head": params["all"]["head"]}

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        logits = network.logits(tuned(params), batch["x"])
        loss = jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"]))
        pairs = [
            losses.pego(params["changes"][name].a, params["changes"][name].b, kernel)
            for name, kernel in kernels.items()
        ]
        return loss + orthogonal * sum(pairs), state

    shown = x[jnp.array(SHOWN)[:, None], shots.rows].reshape(-1, x.shape[-1])
    data = {"x": shown, "y": jnp.tile(shots.labels, len(SHOWN))}
    steps = {"num_steps": config.tuning_steps, "batch_size": min(64, len(shown))}
    optimizer = cosine_adam(config.tuning_rate, config.tuning_steps)
    params = fit(loss_fn, {"all": known, "changes": changes}, None, optimizer, data, key, **steps).params
    final, tests = tuned(params), x[:, split.test]
    right = jax.vmap(lambda rows: metrics.accuracy(network.logits(final, rows), split.truth))(tests)
    return {"adapted_60": right[-1], "adapted_0": right[0]}, {"adapted_by_angle": right}
