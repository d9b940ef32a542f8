"""Two encoders, of images and of class names, that a few images of some classes tune: what becomes of the others?"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.networks import Network, mlp
from experiments.streams import Split
from experiments.training import cosine_adam, fit
from jaxlab import analytic, metrics, optim
from jaxlab.compress import low_rank
from jaxlab.typing import Array, PyTree

__all__ = ["Settings", "Source", "Tuning", "measure", "spelled"]

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LONGEST = max(map(len, NAMES))


@dataclasses.dataclass(frozen=True)
class Settings:
    """Two encoders."""

    tower_hidden: int = 128
    """Hidden units of both."""
    tower_width: int = 32
    """Width of what they have in common."""
    tower_steps: int = 500
    """Steps of Adam on the other data set."""
    temperature: float = 0.1
    """Divides cosines."""
    base_classes: int = 6
    """Classes of which a few images are shown."""
    tower_shots: int = 4
    """Images of each of them."""
    tower_rank: int = 4
    """Of the changes."""
    tower_tuning: int = 200
    """Steps of Adam on the shown images."""
    tower_rate: float = 3e-3
    """Of Adam; it falls to zero."""
    mixing: float = 0.7
    """Share of the gradient at the ascended parameters."""
    look: float = 0.05
    """How far the ascent goes."""
    jitter: float = 0.2
    """Noise of an augmented image, beside a shift of up to one pixel."""


class Tuning(NamedTuple):
    """What differs between rows: whether tuning counts, the share of the second gradient, how far it looks."""

    kept: Array
    mixing: Array
    rho: Array


class Source(NamedTuple):
    """Images that both encoders learn from, and their classes."""

    x: Array
    y: Array


def spelled() -> np.ndarray:
    """The names of the digits, a one-hot letter per position, float32 [10, 5 * 26]."""
    letters = np.zeros((len(NAMES), LONGEST, 26), np.float32)
    for row, name in enumerate(NAMES):
        letters[row, np.arange(len(name)), [ord(letter) - ord("a") for letter in name]] = 1
    return letters.reshape(len(NAMES), -1)


def _jittered(key: Array, x: Array, scale: float) -> Array:
    """Images [B, 64] moved by up to one pixel either way, with noise."""
    shift_key, noise_key = jax.random.split(key)
    moves = jax.random.randint(shift_key, (len(x), 2), -1, 2)
    moved = jax.vmap(lambda image, by: jnp.roll(image, by, axis=(0, 1)))(x.reshape(-1, 8, 8), moves)
    return moved.reshape(x.shape) + scale * jax.random.normal(noise_key, x.shape)


def _towers(config: Settings, dim: int) -> dict[str, Network]:
    shape = (config.tower_hidden, config.tower_width)
    return {"image": mlp((dim, *shape)), "text": mlp((LONGEST * 26, *shape))}


def _logits(config: Settings, names: Array, params: PyTree, x: Array) -> Array:
    """Cosines of images [B, D] with the names [C, 5 * 26], divided by the temperature."""
    towers = _towers(config, x.shape[1])
    seen = {name: towers[name].logits(params[name], of) for name, of in (("image", x), ("text", names))}
    return analytic.prototype_logits(seen["image"], seen["text"], metric="cosine", scale=1 / config.temperature)


def _changes(config: Settings, known: PyTree, key: Array) -> tuple[list[low_rank.LoRA], Callable[..., PyTree]]:
    """A low-rank change of every kernel, and ``tuned(changes) -> params``, the encoders with them."""
    leaves, structure = jax.tree.flatten(known)
    kernels = [place for place, leaf in enumerate(leaves) if leaf.ndim == 2]
    keys = jax.random.split(key, len(kernels))
    changes = [
        low_rank.lora_init(key, *leaves[place].shape, rank=config.tower_rank)
        for key, place in zip(keys, kernels, strict=True)
    ]

    def tuned(changes: list[low_rank.LoRA]) -> PyTree:
        new = list(leaves)
        for place, change in zip(kernels, changes, strict=True):
            new[place] = low_rank.lora_merge(leaves[place], *change)
        return jax.tree.unflatten(structure, new)

    return changes, tuned


def measure(
    config: Settings, seed: Split, x: Array, source: Source, tuning: Tuning
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracy among the shown classes and among the others, each told apart from its own kind."""
    towers, logits = _towers(config, x.shape[1]), functools.partial(_logits, config, jnp.asarray(spelled()))
    image_key, text_key, learn_key, change_key, key = jax.random.split(seed.key, 5)

    def learn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        entropy = optax.losses.softmax_cross_entropy_with_integer_labels
        return jnp.mean(entropy(logits(params, batch["x"]), batch["y"])), state

    start = {"image": towers["image"].init(image_key), "text": towers["text"].init(text_key)}
    sizes = {"num_steps": config.tower_steps, "batch_size": 128}
    optimizer = cosine_adam(1e-3, config.tower_steps)
    known = fit(learn, start, None, optimizer, source._asdict(), learn_key, **sizes).params
    changes, tuned = _changes(config, known, change_key)

    base = jnp.arange(len(NAMES)) < config.base_classes
    order = jnp.argsort(seed.labels, stable=True)
    first = jnp.searchsorted(seed.labels[order], jnp.arange(config.base_classes))
    shown = order[first[:, None] + jnp.arange(config.tower_shots)].reshape(-1)

    def loss(changes: list[low_rank.LoRA], batch: tuple[Array, Array]) -> Array:
        x, y = batch
        z = jnp.where(base, logits(tuned(changes), x), -1e9)  # the shown classes alone are in question
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(z, y))

    def loss_fn(changes: list[low_rank.LoRA], state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        other = (_jittered(key, batch["x"], config.jitter), batch["y"])
        options: Any = {"rho": tuning.rho, "weight": tuning.mixing, "shifted_batch": other}
        grads = optim.perturbed_gradient(loss, changes, (batch["x"], batch["y"]), **options)
        # A loss whose gradient is the one asked for.
        return optax.tree.vdot(jax.lax.stop_gradient(grads), changes), state

    data = {"x": x[seed.train[shown]], "y": seed.labels[shown]}
    optimizer = cosine_adam(config.tower_rate, config.tower_tuning)
    sizes = {"num_steps": config.tower_tuning, "batch_size": len(shown)}
    found = fit(loss_fn, changes, None, optimizer, data, key, **sizes).params
    found = jax.tree.map(lambda new, old: old + tuning.kept * (new - old), found, changes)
    z = logits(tuned(found), x[seed.test])
    values = {}
    for name, classes in (("base", base), ("novel", ~base)):
        among = jnp.where(classes, z, -jnp.inf)
        values[name] = metrics.accuracy(among, seed.truth, where=classes[seed.truth])
    both = jnp.stack([values["base"], values["novel"]])
    return values | {"harmonic_mean": metrics.harmonic_mean(both)}, {}
