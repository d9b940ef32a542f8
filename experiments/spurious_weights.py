"""Digits with coloured patches, each of which gives the class away in training and lies at times in the test.

Two networks start as one that has seen digits without patches. Then one half of the patches is tied to the class, for
the first network, and the other half for the second, which is tuned for longer and surer of itself. Each leans on
patches of its own; their average leans on all of them a little, and on the digit twice.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.networks import mlp
from experiments.streams import Split
from experiments.training import cosine_adam, fit
from jaxlab import analytic, metrics, nn
from jaxlab.typing import Array, PyTree

FLIPS = (0.7, 0.75, 0.8, 0.85, 0.9)
"""How often a patch takes the colour of a random class in the test; the mean over them is the measure."""
TUNINGS = ("plain", "smoothed", "mixed", "both")
HOW = ("first", "tuned", "weights", "logits", "balanced")
"""Either network, the mean of their weights, of their logits, of their logits scaled to one spread."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Patches, networks and their averages."""

    patches: int = 32
    """Coloured patches; even ones are tied to the class for the first network, odd ones for the tuned one."""
    patch_hidden: int = 64
    """Width of the hidden layer."""
    start_steps: int = 100
    """Steps of Adam without patches."""
    first_steps: int = 200
    """Further steps of the first network."""
    tuned_steps: int = 800
    """Further steps of the tuned one."""
    patch_rate: float = 1e-3
    """Of Adam."""
    smoothing: float = 0.2
    """Share of the label that label smoothing spreads over all classes."""
    mixup: float = 0.5
    """Parameter of the Beta distribution of mixed rows."""
    share: float = 0.5
    """Weight of the tuned network in an average."""
    patch_test_share: float = 0.5
    """Share of the rows to test on."""


class Networks(NamedTuple):
    """Parameters of the first network, and of the tuned one for every way to tune [4, ...]."""

    first: PyTree
    tuned: PyTree


def coloured(key: Array, x: Array, labels: Array, flips: Array, num_classes: int) -> Array:
    """Rows with their patches as one-hot colours, [N, D + P C]; patch j shows a random class with chance flips [P]."""
    flip_key, class_key = jax.random.split(key)
    shape = (len(labels), len(flips))
    lies = jax.random.uniform(flip_key, shape) < flips
    shown = jnp.where(lies, jax.random.randint(class_key, shape, 0, num_classes), labels[:, None])
    return jnp.concatenate([x, jax.nn.one_hot(shown, num_classes).reshape(len(labels), -1)], axis=1)


def train(config: Settings, seed: Split, x: Array, *, num_classes: int) -> Networks:
    """The first network, and the other one tuned plainly, with smoothed labels, on mixed rows, and with both."""
    network = mlp((x.shape[1] + config.patches * num_classes, config.patch_hidden, num_classes))
    keys = jax.random.split(seed.key, 6)
    odd, digits = jnp.arange(config.patches) % 2, x[seed.train]
    blank = jnp.pad(digits, ((0, 0), (0, config.patches * num_classes)))
    even_tied = coloured(keys[0], digits, seed.labels, odd.astype(float), num_classes)
    odd_tied = coloured(keys[1], digits, seed.labels, 1.0 - odd, num_classes)

    def plain(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        entropy = optax.losses.softmax_cross_entropy_with_integer_labels
        return jnp.mean(entropy(network.logits(params, batch["x"]), batch["y"])), state

    def softened(
        params: PyTree, state: tuple[Array, Array], batch: dict[str, Array], key: Array
    ) -> tuple[Array, tuple[Array, Array]]:
        smoothing, mixing = state
        mixed, partner, lam = nn.mixup(key, batch["x"], alpha=config.mixup)
        logits = network.logits(params, jnp.where(mixing, mixed, batch["x"]))
        targets = optax.losses.smooth_labels(jax.nn.one_hot(batch["y"], num_classes), smoothing)
        entropy = functools.partial(optax.losses.softmax_cross_entropy, logits)
        return jnp.mean(nn.mixed_loss(entropy, targets, targets[partner], jnp.where(mixing, lam, 1.0))), state

    def trained(loss_fn: Any, params: PyTree, rows: Array, key: Array, steps: int, state: Any = None) -> PyTree:
        optimizer, sizes = cosine_adam(config.patch_rate, steps), {"num_steps": steps, "batch_size": 128}
        return fit(loss_fn, params, state, optimizer, {"x": rows, "y": seed.labels}, key, **sizes).params

    start = trained(plain, network.init(keys[2]), blank, keys[3], config.start_steps)
    first = trained(plain, start, even_tied, keys[4], config.first_steps)
    ways = (config.smoothing * jnp.array([0.0, 1.0, 0.0, 1.0]), jnp.array([False, False, True, True]))
    tune = functools.partial(trained, softened, start, odd_tied, keys[5], config.tuned_steps)
    return Networks(first, jax.vmap(lambda *way: tune(way))(*ways))


def measure(
    config: Settings, seeds: tuple[Split, Networks], x: Array, tuning: Array, how: Array, *, num_classes: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracy where patches lie, of one network or of an average of both; tuning and how are places in their lists."""
    seed, nets = seeds
    network = mlp((x.shape[1] + config.patches * num_classes, config.patch_hidden, num_classes))
    tuned = jax.tree.map(lambda leaf: leaf[tuning], nets.tuned)
    mean = optax.incremental_update(tuned, nets.first, config.share)

    def at_flip(flip: Array, key: Array) -> tuple[Array, ...]:
        rows = coloured(key, x[seed.test], seed.truth, jnp.full(config.patches, flip), num_classes)
        one, other = network.logits(nets.first, rows), network.logits(tuned, rows)
        even = analytic.balanced_logit_average(one, other, temperature0=jnp.std(one), temperature1=jnp.std(other))
        plain = analytic.balanced_logit_average(one, other)
        average = jnp.stack([one, other, network.logits(mean, rows), plain, even])[how]
        right = [jnp.argmax(z, axis=-1) == seed.truth for z in (one, other, average)]
        both = metrics.false_false_true(one, other, average, seed.truth)
        lost = jnp.mean(right[0] & right[1] & ~right[2])
        return jnp.mean(right[2]), both, lost, jnp.mean(jnp.max(jax.nn.softmax(average), axis=-1))

    keys = jax.random.split(jax.random.fold_in(seed.key, 1), len(FLIPS))
    accuracy, both, lost, confidence = jax.vmap(at_flip)(jnp.array(FLIPS), keys)
    found = {"ood": accuracy, "confidence": confidence, "false_false_true": both, "true_true_false": lost}
    return {name: jnp.mean(value) for name, value in found.items()}, {"by_flip": accuracy}
