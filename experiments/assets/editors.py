"""Small networks that edit images by instruction, trained once on pairs made by exact operations.

A pair is a real image, the same image after one of ``INSTRUCTIONS``, and the number of the instruction. The network
sees the noisy edited image, the source beside it, the time and the instruction, and predicts the velocity of the linear
flow, in the way of InstructPix2Pix. ``editor_asset`` trains one network per seed, all at once.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.asset import asset
from experiments.assets.denoiser import TIMES, time_features
from experiments.networks import pure
from experiments.training import cosine_adam, fit
from jaxlab import diffusion, guidance, losses, numerics
from jaxlab.typing import Array, PyTree

__all__ = ["INSTRUCTIONS", "EditorConfig", "Pairs", "editor", "editor_asset", "exact_edits", "pairs_of", "train_editor"]

INSTRUCTIONS = ("thicken", "rotate 90", "invert")
NONE = len(INSTRUCTIONS)  # the instruction that stands for none


@dataclasses.dataclass(frozen=True)
class EditorConfig:
    """What decides the weights of an editor, together with the pairs."""

    name: ClassVar[str] = "editor"
    version: ClassVar[int] = 1

    dim: int = 64
    """Numbers in an image."""
    hidden: int = 128
    """Width of the two hidden layers."""
    num_steps: int = 2000
    """Steps of Adam."""
    batch_size: int = 64
    """Pairs a step."""
    learning_rate: float = 2e-3
    """At the start; it falls to zero as a cosine."""
    drop_rate: float = 0.05
    """Share of the pairs that lose the instruction alone, the source alone, and both."""
    triplet_weight: float = 0.0
    """Weight of the triplet of the right and a wrong instruction; 0 trains without."""
    triplet_start: float = 1 / 3
    """Share of the steps before the triplet counts."""
    margin: float = 5e-4
    """Of the triplet, in mean squares of the velocity."""
    seeds: tuple[int, ...] = (0,)
    """One network each: its initial weights, batches and noise."""


class Pairs(NamedTuple):
    """What an editor learns from, one row per pair."""

    source: Array  # [N, dim]
    edited: Array  # [N, dim]
    instruction: Array  # int [N], or [seeds, N]


class EditorMLP(nnx.Module):
    """Two hidden layers of SiLU over the noisy image and the source; time and instruction are added to both.

    Args:
      dim: numbers in an image.
      hidden: width of the hidden layers.
      rngs: keys of the initial weights.
    """

    def __init__(self, dim: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(2 * dim, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, hidden, rngs=rngs)
        self.last = nnx.Linear(hidden, dim, rngs=rngs)
        self.time = nnx.Linear(TIMES, hidden, rngs=rngs)
        self.table = nnx.Embed(NONE + 1, hidden, rngs=rngs)
        self.shifts = nnx.Dict({f"layer{i}": nnx.Linear(hidden, hidden, rngs=rngs) for i in range(2)})

    def __call__(self, x: Array, t: Array, source: Array, instruction: Array) -> Array:
        """x, source: float [B, dim], t: float [B], instruction: int [B] -> [B, dim]."""
        context = nnx.silu(self.time(time_features(t)) + self.table(instruction))
        hidden = nnx.silu(self.first(jnp.concatenate([x, source], axis=1)) + self.shifts["layer0"](context))
        hidden = nnx.silu(self.second(hidden) + self.shifts["layer1"](context))
        return self.last(hidden)


def exact_edits(x: Array) -> Array:
    """Every instruction carried out on square images, rows [N, side * side] in [-1, 1]: [3, N, side * side].

    Thicken takes the brightest of a pixel and its four neighbours, rotate 90 turns to the left, invert negates.
    """
    side = math.isqrt(x.shape[1])
    if side**2 != x.shape[1]:
        raise ValueError(f"x must hold square images, got rows of {x.shape[1]} numbers")
    images = x.reshape(-1, side, side)
    wide = jnp.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=-jnp.inf)
    inner = slice(1, -1)
    around = (wide[:, :-2, inner], wide[:, 2:, inner], wide[:, inner, :-2], wide[:, inner, 2:])
    thick = functools.reduce(jnp.maximum, around, images)
    return jnp.stack([thick, jnp.rot90(images, axes=(1, 2)), -images]).reshape(len(INSTRUCTIONS), *x.shape)


def pairs_of(x: Array) -> Pairs:
    """All pairs of the images [N, dim]: 3 N rows, one instruction after the other."""
    edited = exact_edits(x)
    count, n = edited.shape[:2]
    return Pairs(jnp.tile(x, (count, 1)), edited.reshape(count * n, -1), jnp.repeat(jnp.arange(count), n))


@functools.cache
def _network(config: EditorConfig) -> tuple[Callable[[Array], PyTree], Callable[..., Array]]:
    """(init(key) -> params, apply(params, x, t, source, instruction))."""

    return pure(lambda rngs: EditorMLP(config.dim, config.hidden, rngs=rngs))


def editor(
    config: EditorConfig, params: PyTree, source: Array, instruction: Array, *, scales: Array
) -> Callable[[Array, Array], Array]:
    """The editor of given images under given instructions, guided by both.

    Args:
      config: of the editor.
      params: of one network.
      source: float [B, dim].
      instruction: int [B].
      scales: [2], of the image and of the instruction; (1, 1) is the plain conditional prediction.
    Returns:
      ``fn(x [B, dim], t [B]) -> [B, dim]``, a velocity at the cost of three evaluations.
    """
    _, apply = _network(config)
    none = jnp.full_like(instruction, NONE)
    sources = jnp.concatenate([jnp.zeros_like(source), source, source])
    instructions = jnp.concatenate([none, none, instruction])

    def fn(x: Array, t: Array) -> Array:
        given = jnp.tile(x, (3, 1)), jnp.tile(t, 3)
        return guidance.combine_nested(apply(params, *given, sources, instructions).reshape(3, *x.shape), scales)

    return fn


def _loss(config: EditorConfig) -> Callable[..., tuple[Array, Array]]:
    _, apply = _network(config)

    def loss_fn(params: PyTree, step: Array, batch: dict[str, Any], key: Array) -> tuple[Array, Array]:
        time_key, noise_key, drop_key, wrong_key = jax.random.split(key, 4)
        edited, label = batch["edited"], batch["instruction"]
        rows = label.shape[0]
        t, noise = jax.random.uniform(time_key, (rows,)), jax.random.normal(noise_key, edited.shape)
        x = (1.0 - t)[:, None] * edited + t[:, None] * noise
        no_text, no_image = diffusion.joint_condition_dropout(drop_key, rows, rate=config.drop_rate)
        source = jnp.where(no_image[:, None], 0.0, batch["source"])

        def error(instruction: Array) -> Array:
            given = jnp.where(no_text, NONE, instruction)
            return diffusion.flow_matching(apply(params, x, t, source, given), edited, noise)

        right = error(label)
        if config.triplet_weight == 0:
            return jnp.mean(right), step + 1
        wrong = (label + jax.random.randint(wrong_key, (rows,), 1, NONE)) % NONE
        both = ~no_text & ~no_image
        triplet = losses.denoising_triplet(right, error(wrong), margin=config.margin, where=both)
        weight = jnp.where(step >= config.triplet_start * config.num_steps, config.triplet_weight, 0.0)
        return jnp.mean(right) + weight * numerics.masked_mean(triplet, both), step + 1

    return loss_fn


@functools.cache
def _trainer(config: EditorConfig, shared: bool) -> Callable[..., PyTree]:
    """One compiled function for all pairs of one shape: train(keys [S], source, edited, instruction [S, N])."""
    init, _ = _network(config)
    loss_fn = _loss(config)
    optimizer = cosine_adam(config.learning_rate, config.num_steps)

    def one(key: Array, source: Array, edited: Array, instruction: Array) -> PyTree:
        init_key, fit_key = jax.random.split(key)
        data = {"source": source, "edited": edited, "instruction": instruction}
        sizes = {"num_steps": config.num_steps, "batch_size": min(config.batch_size, source.shape[0])}
        return fit(loss_fn, init(init_key), jnp.int32(0), optimizer, data, fit_key, **sizes).params

    return jax.jit(jax.vmap(one, in_axes=(0, None, None, 0) if shared else 0))


def train_editor(config: EditorConfig, pairs: Pairs) -> PyTree:
    """Parameters of one editor per seed, stacked.

    Instructions of the pairs are int [seeds, N]; their images [N, dim] for all seeds, or [seeds, N, dim].
    """
    keys = jax.vmap(jax.random.key)(jnp.asarray(config.seeds))
    return _trainer(config, pairs.source.ndim == 2)(keys, *pairs)


def editor_asset(config: EditorConfig, pairs: Pairs, *, root: Any, digest: str) -> PyTree:
    """``train_editor``, once per configuration and pairs; ``digest`` must tell their instructions apart as well."""
    init, _ = _network(config)
    keys = jax.vmap(jax.random.key)(jnp.asarray(config.seeds))
    return asset(
        config,
        lambda config: train_editor(config, pairs),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(jax.vmap(init), keys),
    )
