"""The networks that look for novel classes, how they are trained, and the losses that several methods share.

A network has two hidden layers, cosines with a vector per class, and a linear projection for the contrastive losses.
Its views of an image are shifted by up to a pixel and carry noise; of features they carry noise alone.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.data import Dataset
from experiments.discovery_splits import inputs
from experiments.networks import Network, mlp
from experiments.training import cosine_adam, fit
from jaxlab import analytic, losses, weaksup
from jaxlab.numerics import normalize
from jaxlab.typing import Array, PyTree

__all__ = [
    "CLASSIFIER",
    "DISTILLED",
    "MEMAX",
    "QUICK",
    "Settings",
    "Shared",
    "contrast",
    "cosines",
    "features",
    "init",
    "projected",
    "shared_of",
    "simgcd",
    "supervised",
    "teacher_temperature",
    "train",
    "views",
]

PROJECTION = 64
SIDE = 8  # of the images
CLASSIFIER = 0.1  # temperature of the cosines, in every method here
DISTILLED = 0.35  # weight of the supervised losses, the rest is that of the unsupervised ones
MEMAX = 2.0  # weight of the entropy of the mean prediction


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the networks are trained."""

    hidden: int = 128
    """Width of the first hidden layer."""
    width: int = 64
    """Width of the features."""
    batch: int = 128
    """Rows per step, two views of each."""
    view_noise: float = 0.1
    """Standard deviation of the noise of a view."""
    learning_rate: float = 1e-3
    """Of Adam, falling to zero as a cosine."""
    known_steps: int = 300
    """Steps on the labelled rows alone, in the disjoint setting."""
    discovery_steps: int = 1000
    """Steps on labelled and unlabelled rows, in the disjoint setting."""
    relation_temperature: float = 4.0
    """Temperature of class-relation distillation, the paper's."""
    labelled_share: float = 0.5
    """Share of the known rows that have labels, in the generalised setting."""
    contrast_steps: int = 500
    """Steps of contrast between views, without labels, that make the networks the generalised setting starts from."""
    generalised_steps: int = 800
    """Steps of the generalised setting."""

    def check_networks(self) -> None:
        """Raises ValueError where a setting makes no sense."""
        if not 0 < self.labelled_share < 1:
            raise ValueError(f"labelled_share must lie in (0, 1), got {self.labelled_share}")
        for name in ("hidden", "width", "known_steps", "discovery_steps", "contrast_steps", "generalised_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch < 16:
            raise ValueError(f"batch must be at least 16, got {self.batch}")


QUICK = {
    "known_steps": 200,
    "discovery_steps": 100,
    "contrast_steps": 60,
    "generalised_steps": 60,
    "hidden": 64,
    "batch": 64,
}


class Shared(NamedTuple):
    """The inputs [N, D], and whether they are images."""

    x: Array
    image: Array  # bool


def shared_of(data: Dataset) -> Shared:
    """The inputs of a data set."""
    return Shared(jnp.asarray(inputs(data)), jnp.asarray(data.kind == "images"))


def network_of(config: Settings, dim: int) -> Network:
    """``features`` are the second hidden layer, ``logits`` the projection."""
    return mlp((dim, config.hidden, config.width, PROJECTION))


def init(config: Settings, key: Array, dim: int, num_classes: int) -> PyTree:
    """Network and class vectors."""
    body_key, head_key = jax.random.split(key)
    return {
        "body": network_of(config, dim).init(body_key),
        "classes": normalize(jax.random.normal(head_key, (num_classes, config.width))),
    }


def features(config: Settings, params: PyTree, x: Array) -> Array:
    """[..., width]."""
    return network_of(config, x.shape[-1]).features(params["body"], x)


def projected(config: Settings, params: PyTree, x: Array) -> Array:
    """Unit vectors for the contrastive losses."""
    return normalize(network_of(config, x.shape[-1]).logits(params["body"], x))


def cosines(config: Settings, params: PyTree, x: Array) -> Array:
    """[..., C], with the vector of every class."""
    return analytic.prototype_logits(features(config, params, x), params["classes"], metric="cosine")


def views(config: Settings, key: Array, x: Array, image: Array) -> Array:
    """Two views [2, B, D] of every row."""
    shift_key, noise_key = jax.random.split(key)
    both = jnp.broadcast_to(x, (2, *x.shape))
    if x.shape[1] == SIDE**2:
        pictures = jnp.pad(both.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
        corners = jnp.where(image, jax.random.randint(shift_key, (len(pictures), 2), 0, 3), 1)
        cut = lambda picture, corner: jax.lax.dynamic_slice(picture, corner, (SIDE, SIDE))  # noqa: E731
        both = jax.vmap(cut)(pictures, corners).reshape(both.shape)
    return both + config.view_noise * jax.random.normal(noise_key, both.shape)


def teacher_temperature(step: Array, num_steps: int, *, share: float) -> Array:
    """From .07 to .04 in the first ``share`` of the steps."""
    return jnp.interp(step, jnp.array([0.0, share * num_steps]), jnp.array([0.07, 0.04]))


# loss(params, state, views [2, B, D], labels [B] (-1 where there is none), key) -> (loss, state)
ViewLoss = Callable[[PyTree, PyTree, Array, Array, Array], tuple[Array, PyTree]]


def train(
    config: Settings,
    loss: ViewLoss,
    params: PyTree,
    state: PyTree,
    rows: tuple[Array, Array],
    key: Array,
    *,
    image: Array,
    num_steps: int,
) -> tuple[PyTree, PyTree]:
    """Parameters and state after so many steps on two views of every row of a batch."""

    def loss_fn(params: PyTree, state: PyTree, batch: dict[str, Array], key: Array) -> tuple[Array, PyTree]:
        view_key, loss_key = jax.random.split(key)
        return loss(params, state, views(config, view_key, batch["x"], image), batch["y"], loss_key)

    data = {"x": rows[0], "y": rows[1]}
    size = min(config.batch, len(rows[0]))
    optimizer = cosine_adam(config.learning_rate, num_steps)
    found = fit(loss_fn, params, state, optimizer, data, key, num_steps=num_steps, batch_size=size)
    return found.params, found.state


def supervised(config: Settings, x: Array, y: Array, num_classes: int, key: Array, image: Array) -> PyTree:
    """A network that learned labelled rows alone."""

    def loss(params: PyTree, state: None, views: Array, labels: Array, key: Array) -> tuple[Array, None]:
        logits = cosines(config, params, views) / CLASSIFIER
        both = jnp.broadcast_to(labels, logits.shape[:-1])
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, both)), state

    init_key, fit_key = jax.random.split(key)
    start = init(config, init_key, x.shape[1], num_classes)
    return train(config, loss, start, None, (x, y), fit_key, image=image, num_steps=config.known_steps)[0]


def contrast(z: Array, *, temperature: float = 1.0) -> Array:
    """InfoNCE between two views [2, B, P], both ways; the published form has the rows of the own view below too."""
    ways = (losses.info_nce(z[0], z[1], temperature=temperature), losses.info_nce(z[1], z[0], temperature=temperature))
    return jnp.mean(jnp.stack(ways))


def simgcd(config: Settings, params: PyTree, views: Array, labels: Array, temperature: Array) -> tuple[Array, Array]:
    """The loss of SimGCD, and the cosines [2, B, C] of the views; rows with label -1 have no label."""
    logits, z = cosines(config, params, views), projected(config, params, views)
    named, num_classes = labels >= 0, logits.shape[-1]
    cluster = jnp.mean(weaksup.swapped_prediction(logits, jax.nn.softmax(logits / temperature), temperature=CLASSIFIER))
    spread = math.log(num_classes) - losses.mean_entropy(logits, temperature=CLASSIFIER)
    entropies = optax.losses.softmax_cross_entropy_with_integer_labels(
        logits / CLASSIFIER, jnp.broadcast_to(jnp.maximum(labels, 0), logits.shape[:-1])
    )
    share = named / jnp.maximum(jnp.sum(named), 1)  # the mean over labelled rows
    flat, twice = z.reshape(-1, z.shape[-1]), jnp.tile(jnp.where(named, labels, -1), 2)
    others = (twice[:, None] >= 0) & (twice >= 0) & ~jnp.eye(len(twice), dtype=bool)
    alike = others & (twice[:, None] == twice)
    pulled = losses.supervised_contrastive(flat, flat, alike, negatives=others)
    value = (1 - DISTILLED) * (cluster + MEMAX * spread + contrast(z))
    value += DISTILLED * jnp.sum(share * (jnp.mean(entropies, axis=0) + jnp.mean(pulled.reshape(2, -1), axis=0)))
    return value, logits
