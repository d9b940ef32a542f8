"""Ensembles trained together, with their diversity rewarded or punished, of narrow and of wide networks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from experiments.networks import mlp
from experiments.streams import Split
from experiments.training import cosine_adam, fit
from jaxlab import losses, metrics
from jaxlab.typing import Array, PyTree

KINDS = ("jensen", "variance", "js", "kl")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Ensembles."""

    members: int = 4
    """Networks in an ensemble."""
    narrow: int = 4
    """Hidden units of a small network."""
    wide: int = 256
    """Hidden units of a large one."""
    ensemble_steps: int = 600
    """Steps of Adam."""
    ensemble_rate: float = 1e-2
    """Of Adam."""
    ensemble_test_share: float = 0.5
    """Share of the rows to test on."""


def measure(
    config: Settings, seed: Split, x: Array, gamma: Array, kind: Array, *, num_classes: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Losses and accuracy of the ensemble at both widths; kind is the place of the diversity in KINDS."""
    each = [functools.partial(losses.diversity_regularized_ensemble, diversity=name) for name in KINDS]
    branches = [lambda z, y, g, fn=fn: jnp.mean(fn(z, y, gamma=g)) for fn in each]
    networks = {
        name: mlp((x.shape[1], width, num_classes))
        for name, width in (("narrow", config.narrow), ("wide", config.wide))
    }
    keys = jax.random.split(seed.key, config.members + 1)

    def logits(params: PyTree, rows: Array) -> dict[str, Array]:
        return {name: jax.vmap(net.logits, in_axes=(0, None))(params[name], rows) for name, net in networks.items()}

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        # Both ensembles in one loop, which is compiled once; neither sees the other.
        outputs = logits(params, batch["x"])
        return sum(jax.lax.switch(kind, branches, z, batch["y"], gamma) for z in outputs.values()), state

    start = {name: jax.vmap(network.init)(keys[1:]) for name, network in networks.items()}
    optimizer = cosine_adam(config.ensemble_rate, config.ensemble_steps)
    sizes = {"num_steps": config.ensemble_steps, "batch_size": 128}
    params = fit(loss_fn, start, None, optimizer, {"x": x[seed.train], "y": seed.labels}, keys[0], **sizes).params
    found: dict[str, Array] = {}
    for name, members in logits(params, x[seed.test]).items():
        parts = metrics.ensemble_decomposition(members, seed.truth)
        mean = jax.nn.logmeanexp(jax.nn.log_softmax(members), axis=0)
        found |= {
            f"nll_{name}": parts.ensemble,
            f"member_nll_{name}": parts.members,
            f"gap_{name}": parts.diversity,
            f"accuracy_{name}": metrics.accuracy(mean, seed.truth),
        }
    return found, {}
