"""How far away is the one digit on a canvas? Its depth is what makes it look as large as it does.

A network reads the whole canvas. One head says a depth, another a distribution over bins; rows differ in which of them
are believed and how they are taught, by numbers, so that they share one compiled training.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from experiments.assets.canvases import SIDE, Canvases
from experiments.networks import pure
from experiments.training import fit
from jaxlab import losses, vision
from jaxlab.numerics import segment_mean
from jaxlab.typing import Array, PyTree

__all__ = ["Reading", "Seed", "depths", "learned"]

START, STOP, BINS = 1.0, 61.2, 64
WIDTH = (STOP - START) / (BINS - 1)
FOCUS = 480.0
"""A digit as far away as this looks one pixel large."""
MIDDLE, SPREAD = 0.5 * (START + STOP), 15.0
PATCHES, CHANNELS, HIDDEN = (4, 2, 2), 16, 64
GROUPS = 16
"""Of true depths, over whose canvases the bins are averaged."""


class Reading(NamedTuple):
    """How depth is read off the heads.

    direct: the share of the number; that of the expected bin is the rest.
    learned: 1 where the share is learned instead, starting at a half.
    spread: weight of the loss of the distribution.
    """

    direct: float = 1.0
    learned: float = 0.0
    spread: float = 0.0


class Reader(nnx.Module):
    """Layers on patches without overlap, each of which makes the canvas smaller, a hidden layer, and the two heads."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        widths = (PATCHES[0] ** 2, *(CHANNELS * size**2 for size in PATCHES[1:]))
        self.layers = nnx.Dict({f"patch{i}": nnx.Linear(width, CHANNELS, rngs=rngs) for i, width in enumerate(widths)})
        self.dense = nnx.Linear((SIDE // math.prod(PATCHES)) ** 2 * CHANNELS, HIDDEN, rngs=rngs)
        self.number = nnx.Linear(HIDDEN, 1, rngs=rngs)
        self.bins = nnx.Linear(HIDDEN, BINS, rngs=rngs)
        self.share = nnx.Param(jnp.zeros(()))

    def __call__(self, images: Array) -> tuple[Array, Array, Array]:
        """[B, S, S] -> a number [B], logits of bins [B, BINS], and the learned share's logit."""
        x, side = images[..., None], SIDE
        for i, size in enumerate(PATCHES):
            side //= size
            x = nnx.relu(self.layers[f"patch{i}"](vision.patchify(x, size=size))).reshape(-1, side, side, CHANNELS)
        x = nnx.relu(self.dense(x.reshape(x.shape[0], -1)))
        return MIDDLE + SPREAD * self.number(x)[:, 0], self.bins(x), self.share[...]


initial, network = pure(lambda rngs: Reader(rngs=rngs))
OPTIMIZER = optax.adam(2e-3)


def depths(canvases: Canvases) -> Array:
    """How far away the first object of every canvas is: [..., B]."""
    return FOCUS / canvases.sizes[..., 0]


def estimate(params: PyTree, reading: Reading, images: Array) -> tuple[Array, Array]:
    """Depths [B] and the logits of bins [B, BINS]."""
    number, logits, share = network(params, images)
    share = jnp.where(reading.learned > 0, jax.nn.sigmoid(share), reading.direct)
    return share * number + (1 - share) * vision.expected_depth(logits, start=START, stop=STOP), logits


def loss_fn(params: PyTree, reading: Reading, batch: dict[str, Array], key: Array) -> tuple[Array, Reading]:
    """Smooth absolute error in bins, and what the distribution costs."""
    found, logits = estimate(params, reading, batch["images"])
    error = optax.losses.huber_loss(found / WIDTH, batch["depth"] / WIDTH)
    spread = losses.distribution_focal(logits, (batch["depth"] - START) / WIDTH)
    return jnp.mean(error + reading.spread * spread), reading


class Seed(NamedTuple):
    """What one seed works on: canvases of one digit to learn from and to test on, and their depths."""

    key: Array
    train: dict[str, Array]  # images [B, S, S], depth [B]
    images: Array
    depth: Array


def learned(seed: Seed, reading: Reading, *, steps: int, batch_size: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Trains, and measures the error, how far the middle 80 % of the bins are from holding 80 %, and bins by depth."""
    init_key, key = jax.random.split(seed.key)
    sizes = {"num_steps": steps, "batch_size": batch_size}
    params = fit(loss_fn, initial(init_key), reading, OPTIMIZER, seed.train, key, **sizes).params
    found, logits = estimate(params, reading, seed.images)
    probs, place = jax.nn.softmax(logits), (seed.depth - START) / WIDTH
    below = jnp.sum(probs * jnp.clip(place[:, None] - jnp.arange(BINS) + 0.5, 0.0, 1.0), axis=1)
    covered = jnp.mean(jnp.abs(below - 0.5) < 0.4)
    values = {"depth_error": jnp.mean(jnp.abs(found - seed.depth)), "coverage_error": jnp.abs(covered - 0.8)}
    group = jnp.floor((seed.depth - START) / (STOP - START) * GROUPS).astype(jnp.int32)
    return values, {"bins": segment_mean(probs, group, GROUPS)[0]}
