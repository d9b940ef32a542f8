"""Mosaics of real digits that show several classes at once, and a small vision transformer trained on base classes.

A mosaic has two by two cells, each empty or with one digit. The transformer is built of ``nn.transformer_block``, so
that prompts and pathways run on its parameters as they are.
"""

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.training import cosine_adam, fit
from jaxlab import losses, nn
from jaxlab.typing import Array, PyTree

__all__ = ["SIDE", "Mosaics", "VitConfig", "embed", "frozen_layers", "mosaics", "train_vit", "vit_features"]

CELL, SIDE, PATCH = 8, 16, 4
EMPTY = 0.25
"""Share of the cells without a digit."""


class Mosaics(NamedTuple):
    """Images [N, SIDE, SIDE] and which classes each shows, bool [N, C]."""

    x: Any
    targets: Any


@dataclasses.dataclass(frozen=True)
class VitConfig:
    """A transformer on mosaics of base classes; with the data it decides the asset."""

    name: ClassVar[str] = "tiny_vit"
    version: ClassVar[int] = 1
    num_base: int = 4
    """Classes 0 to num_base - 1 are shown and asked for."""
    dim: int = 48
    """Width of a token."""
    blocks: int = 3
    heads: int = 4
    images: int = 6000
    """Mosaics to learn from."""
    steps: int = 800
    """Steps of Adam, batches of 64."""


def mosaics(
    rng: np.random.Generator,
    digits: np.ndarray,
    labels: np.ndarray,
    rows: np.ndarray,
    count: int,
    *,
    num_classes: int,
    must_show: np.ndarray | None = None,
) -> Mosaics:
    """Mosaics of some rows.

    Args:
      rng: decides everything.
      digits: float [N, CELL, CELL].
      labels: int [N].
      rows: the row numbers to choose from.
      count: how many mosaics.
      num_classes: width of the targets.
      must_show: classes of which every mosaic shows at least one; None demands nothing.
    """
    chosen = rng.choice(rows, (count, 4))
    filled = rng.random((count, 4)) >= EMPTY
    if must_show is not None:
        chosen[:, 0] = rng.choice(rows[np.isin(labels[rows], must_show)], count)
        filled[:, 0] = True
    order = np.argsort(rng.random((count, 4)), axis=1)
    chosen, filled = np.take_along_axis(chosen, order, 1), np.take_along_axis(filled, order, 1)
    cells = np.where(filled[..., None, None], digits[chosen], 0).reshape(count, 2, 2, CELL, CELL)
    shown = (labels[chosen][..., None] == np.arange(num_classes)) & filled[..., None]
    return Mosaics(cells.swapaxes(2, 3).reshape(count, SIDE, SIDE).astype(np.float32), shown.any(1))


def _init(config: VitConfig, key: Array) -> PyTree:
    keys = jax.random.split(key, config.blocks + 3)
    tokens = (SIDE // PATCH) ** 2 + 1
    block = functools.partial(nn.transformer_block_init, dim=config.dim, hidden=2 * config.dim)
    return {
        "patch": jax.random.normal(keys[0], (PATCH**2, config.dim)) / PATCH,
        "cls": 0.02 * jax.random.normal(keys[1], (config.dim,)),
        "position": 0.5 * jax.random.normal(keys[2], (tokens, config.dim)),
        "blocks": jax.vmap(block)(keys[3:]),
        "norm": {"scale": jnp.ones(config.dim), "bias": jnp.zeros(config.dim)},
        "head": {"kernel": jnp.zeros((config.dim, config.num_base)), "bias": jnp.zeros(config.num_base)},
    }


def embed(params: PyTree, x: Array) -> Array:
    """Class token and patches of images [B, SIDE, SIDE]: [B, 1 + N, D]."""
    across = SIDE // PATCH
    patches = x.reshape(-1, across, PATCH, across, PATCH).swapaxes(2, 3).reshape(-1, across**2, PATCH**2)
    tokens = patches @ params["patch"]
    cls = jnp.broadcast_to(params["cls"], (tokens.shape[0], 1, tokens.shape[2]))
    return jnp.concatenate([cls, tokens], axis=1) + params["position"]


def frozen_layers(params: PyTree, x: Array, *, heads: int) -> tuple[Array, Array]:
    """The tokens before every block [blocks, B, 1 + N, D], and after the last."""

    def step(tokens: Array, block: PyTree) -> tuple[Array, Array]:
        return nn.transformer_block(block, tokens, heads=heads), tokens

    last, before = jax.lax.scan(step, embed(params, x), params["blocks"])
    return before, last


def vit_features(params: PyTree, cls: Array) -> Array:
    """What heads see of a class token [..., D]."""
    return jax.nn.standardize(cls, axis=-1, epsilon=1e-6) * params["norm"]["scale"] + params["norm"]["bias"]


def _loss(heads: int, params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
    _, tokens = frozen_layers(params, batch["x"], heads=heads)
    logits = vit_features(params, tokens[:, 0]) @ params["head"]["kernel"] + params["head"]["bias"]
    return jnp.mean(losses.weighted_binary_cross_entropy(logits, batch["targets"])), state


@functools.cache
def _loss_fn(heads: int) -> Any:
    return functools.partial(_loss, heads)


def train_vit(config: VitConfig, shown: Mosaics) -> PyTree:
    """The parameters, trained on mosaics of base classes: those of ``experiments.asset``."""
    init_key, key = jax.random.split(jax.random.key(config.images))
    optimizer: optax.GradientTransformation = cosine_adam(2e-3, config.steps)
    data = {"x": shown.x, "targets": shown.targets[:, : config.num_base]}
    params = jax.jit(functools.partial(_init, config))(init_key)
    return fit(_loss_fn(config.heads), params, None, optimizer, data, key, num_steps=config.steps, batch_size=64).params
