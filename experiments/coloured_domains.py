"""Two classes of digits whose colour tells more than their shape, until it lies."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.assets.shifts import misleading_colours
from experiments.networks import mlp
from experiments.rotated_domains import moment_distance
from experiments.streams import stratified_split
from experiments.training import fit
from jaxlab import metrics, optim
from jaxlab.typing import Array, PyTree

__all__ = ["SWEEP", "Penalty", "Seed", "Settings", "measure", "painted", "prepare"]

AGREEMENTS = (0.9, 0.8)
"""How often the colour agrees with the label, by domain."""
REVERSED = 0.1
"""How often it does where the network is asked."""
SWEEP = (0.1, 1.0, 10.0)
"""The weights of an alignment, times those of the configuration."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Coloured digits."""

    coloured_hidden: int = 64
    """Units of both hidden layers."""
    coloured_steps: int = 300
    """Steps of Adam on all rows."""
    coloured_rate: float = 2e-3
    """Of Adam."""
    coloured_decay: float = 1e-3
    """Weight of the squared parameters."""
    coloured_warmup: int = 100
    """Steps without a penalty."""
    coloured_test_share: float = 0.3
    """Share of the digits that are asked about."""
    colour_coral: float = 1e3
    """Weight of the distance between the moments of the domains' features."""
    curvature_weight: float = 1e4
    """Of the domains' differences in curvature."""
    gradient_weight: float = 1e5
    """Of their differences in gradient."""
    probes: int = 5
    """Random directions for the diagonal of the Hessian."""


class Penalty(NamedTuple):
    """Weights of the penalties of one training, or of several with a leading axis."""

    curvature: Array
    gradient: Array
    coral: Array


class Seed(NamedTuple):
    """Rows, labels and colours: of two domains [E, N], and of the tests [M]."""

    key: Array
    rows: Array
    y: Array
    colour: Array
    test: Array
    truth: Array
    test_colour: Array


def prepare(config: Settings, labels: np.ndarray, keys: Array) -> Seed:
    """Domains of different digits, as many in each."""
    seeds = []
    for key in keys:
        rng = np.random.default_rng([*np.asarray(jax.random.key_data(key)), 1])
        train, test = stratified_split(labels, test_fraction=config.coloured_test_share, rng=rng)
        rows = train[: len(train) // 2 * 2].reshape(2, -1)
        told = [misleading_colours(labels[r], a, rng) for r, a in zip(rows, AGREEMENTS, strict=True)]
        y, colour = (np.stack(parts) for parts in zip(*told, strict=True))
        seeds.append((rows, y, colour, test, *misleading_colours(labels[test], REVERSED, rng)))
    return Seed(keys, *(jnp.stack([jnp.asarray(part) for part in parts]) for parts in zip(*seeds, strict=True)))


def painted(x: Array, colour: Array) -> Array:
    """Rows [..., D] in one of two colour channels, [..., 2 D]."""
    return jnp.concatenate([x * (colour == channel)[..., None] for channel in (0, 1)], axis=-1)


def _head_loss(head: PyTree, batch: tuple[Array, Array]) -> Array:
    features, y = batch
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(features @ head["kernel"] + head["bias"], y))


def measure(
    config: Settings, seed: Seed, x: Array, penalties: Penalty, *, hutchinson: bool = False
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracy where the colour lies, and where it tells as much as it then lies, of every training [P]."""
    network = mlp((2 * x.shape[1], config.coloured_hidden, config.coloured_hidden, 2))
    shown = painted(x[seed.rows], seed.colour)  # [E, N, 2 D]

    def trained(weights: Penalty) -> PyTree:
        def loss_fn(params: PyTree, step: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
            features = network.features(params, shown)
            seen = (features, seed.y)
            loss = jnp.mean(jax.vmap(_head_loss, in_axes=(None, 0))(params["head"], seen))
            options: Any = {"alpha": weights.curvature, "beta": weights.gradient}
            if hutchinson:
                options |= {"num_probes": config.probes}
                apart = optim.hutchinson_alignment(key, _head_loss, params["head"], seen, **options)
            else:
                apart = optim.hgp_alignment(_head_loss, params["head"], seen, **options)
            apart = jnp.where(step < config.coloured_warmup, 0.0, apart + weights.coral * moment_distance(features))
            # Large weights would otherwise mean large steps.
            scale = jnp.where(step < config.coloured_warmup, 1.0, jnp.maximum(1.0, sum(weights)))
            squares = config.coloured_decay * optax.tree.norm(params, squared=True)
            return (loss + squares + apart) / scale, step + 1

        optimizer = optax.adam(config.coloured_rate)
        sizes = {"num_steps": config.coloured_steps, "batch_size": 1}
        init_key, key = jax.random.split(seed.key)
        step = jnp.zeros((), jnp.int32)
        return fit(loss_fn, network.init(init_key), step, optimizer, {"all": jnp.zeros(1)}, key, **sizes).params

    params = jax.vmap(trained)(penalties)
    colours = (("colour_lies", seed.test_colour), ("colour_tells", 1 - seed.test_colour))
    right = {}
    for name, colour in colours:
        tests = painted(x[seed.test], colour)
        right[name] = jax.vmap(lambda one, tests=tests: metrics.accuracy(network.logits(one, tests), seed.truth))(
            params
        )
    return {}, right
