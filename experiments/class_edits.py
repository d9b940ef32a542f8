"""Edits of a class into another by one conditional flow, and what they reach and cost.

An edit is called with an ``Edit`` and gives the edited images. The background of a pair of classes is where their mean
images hardly differ; it should stay.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.assets import denoiser
from experiments.assets.denoiser import ClassifierConfig, DenoiserConfig
from experiments.runner import Method
from jaxlab import diffusion, guidance, metrics
from jaxlab.typing import Array, PyTree

__all__ = [
    "SHOWN",
    "START",
    "STARTS",
    "Edit",
    "Nets",
    "Setting",
    "along_velocities",
    "inversion",
    "keep",
    "measure_class_edit",
    "noising",
]

STARTS = (0.2, 0.4, 0.6, 0.8)
START = 0.8
"""The paper edits from the last 40 of 50 steps on."""
SHOWN = 2
"""Images per pair of classes in the figure."""


class Nets(NamedTuple):
    """The configurations of the networks."""

    flow: DenoiserConfig
    judge: ClassifierConfig


class Setting(NamedTuple):
    """What every seed sees."""

    flow: PyTree
    judge: PyTree
    pools: Array  # [pairs, M, dim], images of the source classes
    pairs: Array  # int [pairs, 2]
    still: Array  # bool [pairs, dim], the background of each pair of classes


class Edit(NamedTuple):
    """One run of a class edit."""

    config: Any  # the numbers of the edits, see the question's Config
    keys: Array
    x: Array  # [B, dim]
    start: Array
    source: Callable[[float], Callable[[Array, Array], Array]]  # the velocity at a scale of guidance
    target: Callable[[float], Callable[[Array, Array], Array]]


def keep(edit: Edit) -> Array:
    """Nothing is done."""
    return edit.x


def _flow(edit: Edit, x: Array, ts: Array, velocity: Callable[[Array, Array], Array]) -> Array:
    step = diffusion.euler(diffusion.linear_flow(), kind="v")
    return diffusion.sample(edit.keys, x, ts, cond_fn=velocity, step=step).x


def _down(edit: Edit, factor: int) -> Array:
    return edit.start * jnp.linspace(1.0, 0.0, factor * edit.config.steps + 1)


def inversion(edit: Edit) -> Array:
    """The source is carried up to the start along its own flow, and down along that of the target."""
    ts = _down(edit, 5)
    noisy = _flow(edit, edit.x, ts[::-1], edit.source(1.0))
    return _flow(edit, noisy, ts, edit.target(edit.config.target_scale))


def noising(edit: Edit) -> Array:
    """The same from noised sources."""
    noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 1), edit.x.shape[1:]))(edit.keys)
    noisy = (1.0 - edit.start) * edit.x + edit.start * noise
    return _flow(edit, noisy, _down(edit, 5), edit.target(edit.config.target_scale))


def along_velocities(edit: Edit, *, guided: bool = True, masked: bool = False) -> Array:
    """The difference of two velocities; with more weight on the better mean, or only where they differ much."""
    config = edit.config
    side = math.isqrt(edit.x.shape[1])

    def mask(source: Array, target: Array) -> Array:
        apart = jnp.abs(target - source).reshape(*source.shape[:2], side, side)
        region = jnp.any(guidance.attention_mask(apart, window=config.window), axis=0)
        return guidance.soften_mask(region, decay=0.1 * config.latent_rows / side).reshape(edit.x.shape)

    return diffusion.flow_edit(
        edit.keys,
        edit.x,
        _down(edit, 1),
        v_src_fn=edit.source(config.source_scale),
        v_tar_fn=edit.target(config.target_scale),
        omega=config.omega if guided else 1.0,
        num_average=config.num_average,
        num_worse=config.num_worse,
        mask=mask if masked else None,
    ).x


def measure_class_edit(
    method: Method, config: Any, nets: Nets, key: Array, setting: Setting
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Every measure at every start, and the first images of each pair of classes."""
    pairs, size, dim = setting.pools.shape
    pick_key, noise_key = jax.random.split(key)
    chosen = jnp.argsort(jax.random.uniform(pick_key, (pairs, size)), axis=1)[:, : config.sources]
    x = jnp.take_along_axis(setting.pools, chosen[:, :, None], axis=1).reshape(-1, dim)
    source, target = (jnp.repeat(setting.pairs[:, i], config.sources) for i in range(2))
    still = jnp.repeat(setting.still, config.sources, axis=0)
    none = denoiser.null(nets.flow, x.shape[0])

    def velocity(labels: Array, scale: float) -> Callable[[Array, Array], Array]:
        cond, uncond = (denoiser.model(nets.flow, setting.flow, given, kind="v") for given in (labels, none))
        if scale == 1:
            return cond
        return lambda x, t: guidance.combine(cond(x, t), uncond(x, t), scale=scale)

    def at(start: Array) -> tuple[dict[str, Array], Array]:
        keys = jax.random.split(noise_key, x.shape[0])
        edit = Edit(config, keys, x, start, functools.partial(velocity, source), functools.partial(velocity, target))
        made = jnp.clip(method.fn(edit), -1.0, 1.0)
        squares = (made - x) ** 2
        measured = {
            "target": metrics.accuracy(denoiser.judge(nets.judge, setting.judge, made).logits, target),
            "background": jnp.sqrt(jnp.sum(squares * still) / jnp.sum(still)),
            "change": jnp.sqrt(jnp.mean(squares)),
        }
        return measured, made.reshape(pairs, config.sources, dim)[:, :SHOWN]

    table, images = jax.lax.map(at, jnp.asarray(STARTS))
    measured = {
        f"{name}_{start:g}": table[name][i] for name in ("target", "background") for i, start in enumerate(STARTS)
    }
    return measured, {"images": images[STARTS.index(START)], **{f"{name}_path": path for name, path in table.items()}}
