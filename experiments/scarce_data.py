"""A few hundred images to learn from, in four conditions, and the small network that learns them.

The conditions of a seed share their images: "few" allows a fifth of them or two, "plain" all, "noisy" gives some of
them a wrong label, "dull" makes some of them nearly empty.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]

from experiments.networks import CNN, pure
from experiments.runner import Dataset, UserError
from experiments.shots import pixels_of
from jaxlab import nn, weaksup
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "CONDITIONS",
    "DULL",
    "FEW",
    "NOISY",
    "NUM_BINS",
    "PLAIN",
    "SIDE",
    "Flat",
    "Form",
    "Scarce",
    "companded_form",
    "draw",
    "flat",
    "initial",
    "network",
    "reliability",
    "unflat",
    "weights_of",
]

CONDITIONS = ("few", "plain", "noisy", "dull")
FEW, PLAIN, NOISY, DULL = range(len(CONDITIONS))
SIDE = 8
NUM_BINS = 10


class Scarce(NamedTuple):
    """What one seed learns from; C conditions, N training and M test images."""

    key: Array
    x: Array  # [C, N, SIDE, SIDE, 1]
    labels: Array  # int [C, N]
    allowed: Array  # bool [C, N]
    dull: Array  # bool [N]: nearly empty in the last condition
    test: Array  # [M, SIDE, SIDE, 1]
    truth: Array  # int [M]


class Layers(CNN):
    """A CNN that also shows what its last convolution sees."""

    def maps_and_logits(self, x: Array) -> tuple[Array, Array]:
        """x: [B, height, width, colours] -> maps [B, h, w, channels], logits [B, outputs]."""
        for i in range(len(self.convolutions)):
            x = self.activation(self.convolutions[f"conv{i}"](x))
        return x, self.head(self.activation(self.dense(x.reshape(x.shape[0], -1))))


@functools.cache
def network(num_outputs: int, hidden: int) -> tuple[Callable[..., Any], ...]:
    """``init(key)`` and ``maps_and_logits(params, x)``."""
    shape = (SIDE, SIDE, 1)
    return pure(lambda rngs: Layers(shape, num_outputs, channels=(8, 16), hidden=hidden, rngs=rngs), "maps_and_logits")


class Flat(NamedTuple):
    """A network as two vectors, which an optimiser handles in a few operations."""

    kernels: Array  # [P]
    biases: Array  # [Q]


def flat(params: PyTree) -> Flat:
    """The leaves one after the other: those that weigh inputs, and the others."""
    leaves = jax.tree.leaves(params)
    parts = ([leaf.ravel() for leaf in leaves if (leaf.ndim >= 2) == heavy] for heavy in (True, False))
    return Flat(*(jnp.concatenate(part) for part in parts))


def unflat(like: PyTree, vectors: Flat) -> PyTree:
    """The network again; ``like`` gives its shapes."""
    left = list(vectors)
    leaves = []
    for leaf in jax.tree.leaves(like):
        vector = 0 if len(leaf.shape) >= 2 else 1
        size = math.prod(leaf.shape)
        leaves.append(left[vector][:size].reshape(leaf.shape))
        left[vector] = left[vector][size:]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


class Form(NamedTuple):
    """A network as it is trained: vectors, and the scales of companded kernels before softplus."""

    net: Flat
    scales: Array  # [2, number of kernels]: their bounds and widths


def companded_form(params: PyTree, companded: ArrayLike, *, ratio: float) -> Form:
    """A network, its kernels in companded form where the number is 1 and not 0."""
    v, scales = nn.compander_init(params, ratio=ratio)
    plain, other = flat(params), flat(v)
    kernels = jnp.where(jnp.asarray(companded) > 0, other.kernels, plain.kernels)
    # Scales stand in the order of the leaves: bound, width, bound, width, ...
    pairs = jnp.stack(jax.tree.leaves(scales)).reshape(-1, 2).T
    return Form(Flat(kernels, plain.biases), jnp.log(jnp.expm1(pairs)))


def weights_of(form: Form, like: PyTree, companded: ArrayLike, learned: ArrayLike) -> PyTree:
    """The network of a form; gradients reach the scales where ``learned`` is 1. ``like`` gives its shapes."""
    raw = jnp.where(jnp.asarray(learned) > 0, form.scales, jax.lax.stop_gradient(form.scales))
    sizes = [leaf.size for leaf in jax.tree.leaves(like) if leaf.ndim >= 2]
    bound, width = jax.nn.softplus(raw)[:, np.repeat(np.arange(len(sizes)), sizes)]
    v = form.net.kernels
    kernels = jnp.where(jnp.asarray(companded) > 0, nn.weight_compander(v, bound, width), v)
    return unflat(like, Flat(kernels, form.net.biases))


def initial(keys: Array, num_outputs: int, hidden: int) -> PyTree:
    """Networks on a leading axis: biases of zero, kernels of variance one over their inputs.

    They are drawn on the host: a program that draws them compiles for longer than it trains.
    """
    shapes = jax.eval_shape(network(num_outputs, hidden)[0], keys[0])

    def one(key: Array) -> PyTree:
        rng = np.random.default_rng([1, *np.asarray(jax.random.key_data(key))])

        def leaf(like: Any) -> np.ndarray:
            if len(like.shape) < 2:
                return np.zeros(like.shape, np.float32)
            return (rng.standard_normal(like.shape) / np.sqrt(np.prod(like.shape[:-1]))).astype(np.float32)

        return jax.tree.map(leaf, shapes)

    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *map(one, keys))


def draw(keys: Array, data: Dataset, *, per_class: int, few: int, tests: int, noise: float, dullness: float) -> Scarce:
    """The images of every seed, on a leading axis.

    Args:
      keys: typed keys [S].
      data: images.
      per_class: training images of every class.
      few: how many of them the condition "few" allows.
      tests: test images of every class; fewer where a class has fewer, the same of all.
      noise: share of wrong labels in "noisy".
      dullness: share of nearly empty images in "dull", one half blank and one half blurred.
    Raises:
      UserError: the data are no images, or a class has too few.
    """
    if data.kind != "images":
        raise UserError("This question turns its data by quarter turns: bring images [N, H, W].")
    left = np.bincount(data.y).min() - per_class
    if left < 1:
        raise UserError(f"Every class needs more than {per_class} images, the smallest has {left + per_class}.")
    x = pixels_of(data).reshape(-1, SIDE, SIDE, 1)
    table = weaksup.transition_uniform(data.num_classes, rate=noise)
    seeds = []
    for key in keys:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        groups = [rng.permutation(np.flatnonzero(data.y == c)) for c in range(data.num_classes)]
        rows = np.stack([group[:per_class] for group in groups])
        test = np.concatenate([group[per_class : per_class + min(tests, left)] for group in groups])
        told = weaksup.corrupt_labels(jax.random.fold_in(key, 0), jnp.asarray(data.y[rows].ravel()), table)
        first = np.broadcast_to(np.arange(per_class) < few, rows.shape).ravel()
        plain, rows = np.ones(rows.size, bool), rows.ravel()
        empty = rng.permutation(rows.size) < round(dullness * rows.size)
        seen = _emptied(x[rows], empty, rng)
        labels = data.y[rows]
        images = np.stack([x[rows], x[rows], x[rows], seen])
        allowed = np.stack([first, plain, plain, plain])
        stacked = np.stack([labels, labels, np.asarray(told), labels])
        seeds.append((images, stacked, allowed, empty, x[test], data.y[test]))
    return Scarce(keys, *(jnp.asarray(np.stack(column)) for column in zip(*seeds, strict=True)))


def _emptied(images: np.ndarray, empty: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Of the images named, one half blank and the other blurred beyond recognition."""
    blank = empty & (rng.random(len(images)) < 0.5)
    blurred = ndimage.gaussian_filter(images, sigma=(0, 2, 2, 0), mode="nearest")
    out = np.where(empty[:, None, None, None], blurred, images)
    return np.where(blank[:, None, None, None], 0.0, out).astype(np.float32)


def reliability(probs: Array, truth: Array) -> dict[str, Array]:
    """Of the predictions in each tenth of confidence: how many, the sum of confidences, and how many were right."""
    sure = jnp.max(probs, axis=-1)
    place = jnp.clip((sure * NUM_BINS).astype(jnp.int32), 0, NUM_BINS - 1)
    parts = {"count": jnp.ones_like(sure), "confidence": sure, "right": jnp.argmax(probs, axis=-1) == truth}
    return {name: jax.ops.segment_sum(part.astype(jnp.float32), place, NUM_BINS) for name, part in parts.items()}
