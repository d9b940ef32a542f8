"""Super-networks of the question of weight sharing: a transformer of elastic size, and a perceptron of operators."""

import dataclasses
import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxlab import losses, nas
from jaxlab.typing import Array, PyTree

__all__ = [
    "ACTIVATIONS",
    "HEAD_DIM",
    "OperatorSpace",
    "Space",
    "adam",
    "elastic_forward",
    "elastic_init",
    "elastic_space",
    "operator_ensemble",
    "operator_init",
    "operator_logits",
    "patches",
    "relation_loss",
    "sizes_of",
    "subnetwork",
    "tied",
]

SIDE = 4
"""An image is SIDE x SIDE patches."""
HEAD_DIM = 8
"""Heads keep their width: a narrower transformer has fewer of them."""
RELATION_HEADS = 4
ACTIVATIONS = 3
"""Operators of a layer that have weights; the one after them hands its input on."""


# A transformer whose width, depth and perceptron can be cut


class Space(NamedTuple):
    """Every architecture, [n]: width, hidden width of the perceptrons, depth, and numbers of parameters."""

    width: Any
    hidden: Any
    depth: Any
    params: Any


def elastic_space(widths: tuple[int, ...], ratios: tuple[int, ...], depths: tuple[int, ...]) -> Space:
    """All combinations; parameters of the layers alone are counted."""
    every = np.array([(w, r * w, d) for w, r, d in itertools.product(widths, ratios, depths)], np.int32).T
    width, hidden, depth = every
    layer = 4 * width**2 + 2 * width * hidden + 4 * width + hidden
    return Space(width, hidden, depth, (depth * layer).astype(np.float32))


def patches(x: np.ndarray) -> np.ndarray:
    """Images [N, H, W] or [N, H, W, C], H and W multiples of SIDE, as [N, SIDE^2, pixels of a patch]."""
    count, height, width = x.shape[:3]
    cells = x.reshape(count, SIDE, height // SIDE, SIDE, width // SIDE, -1).swapaxes(2, 3)
    return cells.reshape(count, SIDE**2, -1)


def elastic_init(key: Array, *, pixels: int, width: int, hidden: int, depth: int, num_classes: int) -> PyTree:
    """The largest network; layers are stacked, so that depth is a leading size as well."""
    shapes = {
        "patch": (pixels, width),
        "query": (depth, width, width),
        "key": (depth, width, width),
        "value": (depth, width, width),
        "project": (depth, width, width),
        "up": (depth, width, hidden),
        "down": (depth, hidden, width),
    }
    shapes["position"] = (SIDE**2, width)
    params = _normal(key, shapes)
    params |= {
        "scale": jnp.ones((depth, 2, width)),
        "shift": jnp.zeros((depth, 2, width)),
        "bias": jnp.zeros((depth, hidden)),
        "head": jnp.zeros((width, num_classes)),
        "head_bias": jnp.zeros(num_classes),
    }
    return params


def _normal(key: Array, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """Kernels of variance 1 / inputs, from one draw: a program per shape would take longer to compile."""
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = jnp.split(jax.random.normal(key, (int(ends[-1]),)), ends[:-1])
    return {
        name: part.reshape(shape) / shape[-2] ** 0.5 for part, (name, shape) in zip(parts, shapes.items(), strict=True)
    }


def sizes_of(width: Any, hidden: Any, depth: Any) -> dict[str, tuple[Any, ...]]:
    """What an architecture owns of every weight, for ``nas.mask_subnetwork`` and ``nas.slice_subnetwork``."""
    square = (depth, width, width)
    return {
        "patch": (None, width),
        "query": square,
        "key": square,
        "value": square,
        "project": square,
        "up": (depth, width, hidden),
        "down": (depth, hidden, width),
        "position": (None, width),
        "scale": (depth, None, width),
        "shift": (depth, None, width),
        "bias": (depth, hidden),
        "head": (width,),
        "head_bias": (),
    }


class Encoded(NamedTuple):
    """Logits [B, C], and queries, keys and values of every layer [depth, 3, B, tokens, width]."""

    logits: Array
    qkv: Array


def elastic_forward(params: PyTree, tokens: Array, width: Any = None) -> Encoded:
    """The network on patches [B, tokens, pixels].

    Args:
      params: whole, masked or sliced.
      tokens: float [B, tokens, pixels].
      width: how many channels exist, of masked params; None is all. A masked layer adds nothing.
    """
    full = params["patch"].shape[1]
    exists = None if width is None else jnp.arange(full) < width
    layers = {
        name: params[name] for name in ("query", "key", "value", "project", "up", "down", "scale", "shift", "bias")
    }

    def norm(layer: PyTree, at: int, x: Array) -> Array:
        return jax.nn.standardize(x, where=exists, epsilon=1e-6) * layer["scale"][at] + layer["shift"][at]

    def step(x: Array, layer: PyTree) -> tuple[Array, Array]:
        normed = norm(layer, 0, x)
        q, k, v = (normed @ layer[name] for name in ("query", "key", "value"))
        # Heads that do not exist attend evenly to values of zero.
        heads = [part.reshape(*part.shape[:2], -1, HEAD_DIM) for part in (q, k, v)]
        x = x + jax.nn.dot_product_attention(*heads).reshape(x.shape) @ layer["project"]
        x = x + jax.nn.gelu(norm(layer, 1, x) @ layer["up"] + layer["bias"]) @ layer["down"]
        return x, jnp.stack([q, k, v])

    x, qkv = jax.lax.scan(step, tokens @ params["patch"] + params["position"], layers)
    pooled = jax.nn.standardize(jnp.mean(x, axis=1), where=exists, epsilon=1e-6)
    return Encoded(pooled @ params["head"] + params["head_bias"], qkv)


def relation_loss(qkv: Array, target: Array, width: Any) -> Array:
    """Divergence of the relations among tokens by queries, keys and values [3, B, tokens, channels] of one layer: [B].

    Channel j belongs to relation head j modulo their number, so that every head keeps its part at every width.
    """
    full = qkv.shape[-1]

    def relation_heads(x: Array) -> Array:
        # One axis for queries, keys, values, rows and heads: under several vmaps the CPU aborts at products of rank 8.
        split = x.reshape(*x.shape[:-1], -1, RELATION_HEADS)
        return jnp.moveaxis(split, -1, 2).reshape(-1, x.shape[2], split.shape[-2])

    # The scores are divided by the root of the whole width of a head; what counts is the width that exists.
    student = relation_heads(qkv) * (full / width) ** 0.25
    apart = losses.relation_kl(student, relation_heads(target), mode="scaled_dot")
    return jnp.mean(jnp.sum(apart.reshape(*qkv.shape[:2], -1), axis=0), axis=1)


def subnetwork(params: PyTree, width: Any, hidden: Any, depth: Any) -> PyTree:
    """The masked parameters of one architecture."""
    return nas.mask_subnetwork(params, sizes_of(width, hidden, depth))


# A perceptron with a choice of operators in every layer


@dataclasses.dataclass(frozen=True)
class OperatorSpace:
    """Layers of ``ACTIVATIONS + 1`` operators each: dense layers with three activations, and none at all."""

    layers: int = 4
    width: int = 32

    @property
    def num_ops(self) -> int:
        """Operators of a layer."""
        return ACTIVATIONS + 1


def operator_init(key: Array, space: OperatorSpace, *, inputs: int, num_classes: int) -> PyTree:
    """Weights of all operators."""
    shape = (space.layers, ACTIVATIONS, space.width, space.width)
    weights = _normal(key, {"in": (inputs, space.width), "kernel": shape, "out": (space.width, num_classes)})
    return weights | {"bias": jnp.zeros(shape[:-1]), "out_bias": jnp.zeros(num_classes)}


def _layers(params: PyTree, path: Array, h: Array, first: Any, last: Any) -> Array:
    """The layers from ``first`` to before ``last``, both possibly traced."""

    def step(h: Array, inputs: tuple[PyTree, Array, Array]) -> tuple[Array, None]:
        weights, op, layer = inputs
        chosen = jnp.minimum(op, ACTIVATIONS - 1)
        z = jax.nn.standardize(h, epsilon=1e-6) @ weights["kernel"][chosen] + weights["bias"][chosen]
        z = jnp.select([op == 0, op == 1, op == 2], [jax.nn.relu(z), jnp.tanh(z), jnp.abs(z)], h)
        return jnp.where((first <= layer) & (layer < last), z, h), None

    weights = {name: params[name] for name in ("kernel", "bias")}
    return jax.lax.scan(step, h, (weights, path, jnp.arange(path.shape[0])))[0]


def operator_logits(params: PyTree, path: Array, x: Array) -> Array:
    """One path: logits [B, C] of rows [B, D]."""
    h = _layers(params, path, x @ params["in"], 0, path.shape[0])
    return h @ params["out"] + params["out_bias"]


def operator_ensemble(params: PyTree, paths: Array, split: Array, x: Array, *, own: bool = False) -> Array:
    """Log-probabilities [B, C] of paths [M, L] that are one before layer ``split``.

    Args:
      params: of the super-network, which all members share, or one set for each of them [M, ...] if ``own``.
      paths: int [M, L].
      split: int.
      x: float [B, D].
      own: whether members have weights of their own behind the split.
    """
    members = jnp.concatenate([paths, jnp.arange(paths.shape[0])[:, None]], axis=1)  # a path knows whose it is

    def weights(path: Array) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[path[-1]], params) if own else params

    def stem(path: Array, x: Array, split: Array) -> Array:
        return _layers(weights(path), path[:-1], x @ weights(path)["in"], 0, split)

    def branch(path: Array, h: Array, split: Array) -> Array:
        mine = weights(path)
        return _layers(mine, path[:-1], h, split, paths.shape[1]) @ mine["out"] + mine["out_bias"]

    return nas.shared_stem_ensemble(stem, branch, members, x, split=split)


def tied(params: PyTree, paths: Array, split: Array) -> tuple[PyTree, Array]:
    """Weights and path of every member of an ensemble with weights of its own, the first member's before the split."""
    before = jnp.arange(paths.shape[1]) < split
    whole = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), params)
    layered = {
        name: jnp.where(before[:, *(None,) * (params[name].ndim - 2)], whole[name], params[name])
        for name in ("kernel", "bias")
    }
    return params | layered | {"in": whole["in"]}, jnp.where(before, paths[:1], paths)


@functools.cache
def adam(rate: float, steps: int) -> optax.GradientTransformation:
    """Adam whose rate falls to a tenth; the same object for the same numbers."""
    return optax.adam(optax.cosine_decay_schedule(rate, steps, alpha=0.1))
