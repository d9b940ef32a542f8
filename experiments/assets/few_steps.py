"""Students of the flow of ``denoiser`` that take few steps, each trained once.

They are networks like their teacher, so ``denoiser.model(config.teacher, params, labels, kind=...)`` turns their
parameters into functions. Conditions are classes, images rows in [-1, 1].
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from experiments.asset import asset
from experiments.assets import denoiser
from experiments.assets.denoiser import DenoiserConfig
from experiments.assets.flows import optimizer
from experiments.training import LossFn, fit
from jaxlab import diffusion, distill, guidance, losses
from jaxlab.typing import Array, PyTree

__all__ = [
    "ProgressiveConfig",
    "ScoreDistillationConfig",
    "SegmentConfig",
    "progressive_asset",
    "score_distillation_asset",
    "segment_asset",
]


@dataclasses.dataclass(frozen=True)
class ProgressiveConfig:
    """What decides the students of progressive distillation, together with the data: each halves the steps."""

    name: ClassVar[str] = "progressive"
    version: ClassVar[int] = 1

    teacher: DenoiserConfig
    """Of the first teacher, which takes twice the steps of the first student."""
    stages: tuple[int, ...] = (8, 4, 2, 1)
    """Steps of each student; its teacher is the one before."""
    num_steps: int = 1500
    """Steps of Adam for each."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 1e-3
    """At the start of each; it falls to zero as a cosine."""
    seed: int = 6
    """Of the batches, the times and the noise."""


@functools.cache
def _progressive_loss(config: DenoiserConfig) -> LossFn:
    process = denoiser.process_of(config)

    def loss_fn(params: PyTree, state: dict[str, Any], batch: dict[str, Any], key: Array) -> tuple[Array, Any]:
        key_time, key_noise = jax.random.split(key)
        x0, labels = batch["x"], batch["y"]
        t = jax.random.randint(key_time, x0.shape[:1], 1, state["steps"] + 1) / state["steps"]
        alpha, std = process.alpha(t), process.std(t)
        z = alpha[:, None] * x0 + std[:, None] * jax.random.normal(key_noise, x0.shape)
        teacher = denoiser.model(config, state["teacher"], labels, kind="x0")
        target = distill.progressive_target(z, t, x0_fn=teacher, process=process, dt=1.0 / state["steps"])
        error = denoiser.model(config, params, labels, kind="x0")(z, t) - target
        return jnp.mean(distill.truncated_snr_weight(alpha, std) * jnp.mean(error**2, axis=1)), state

    return loss_fn


def progressive_asset(
    config: ProgressiveConfig, teacher: PyTree, x: Array, labels: Array, *, root: Any, digest: str
) -> dict[str, PyTree]:
    """Parameters of the student of every stage, by its number of steps: "8", "4", ..."""

    def build(config: ProgressiveConfig) -> dict[str, PyTree]:
        students, params = {}, teacher
        for steps in config.stages:
            params = fit(
                _progressive_loss(config.teacher),
                params,
                {"teacher": params, "steps": jnp.int32(steps)},
                optimizer(config.learning_rate, config.num_steps),
                {"x": x, "y": labels},
                jax.random.fold_in(jax.random.key(config.seed), steps),
                num_steps=config.num_steps,
                batch_size=min(config.batch_size, x.shape[0]),
            ).params
            students[str(steps)] = params
        return students

    def like() -> dict[str, PyTree]:
        return {str(steps): teacher for steps in config.stages}

    return asset(config, build, root, data_digest=digest, like=like)


@dataclasses.dataclass(frozen=True)
class SegmentConfig:
    """What decides a student that jumps to the end of its segment, together with the data."""

    name: ClassVar[str] = "segment_student"
    version: ClassVar[int] = 1

    teacher: DenoiserConfig
    """Of the teacher, whose steps are finer."""
    segments: int = 4
    """How many, of equal length; the student takes a step for each."""
    fine: int = 8
    """Steps of the teacher in a segment."""
    momentum: float = 0.95
    """Of the average of past students that gives the target."""
    num_steps: int = 3000
    """Steps of Adam."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 1e-3
    """At the start; it falls to zero as a cosine."""
    seed: int = 7
    """Of the batches, the times and the noise."""


@functools.cache
def _segment_loss(config: SegmentConfig) -> LossFn:
    network, process = config.teacher, denoiser.process_of(config.teacher)
    count = config.segments * config.fine
    edges = jnp.arange(config.segments) / config.segments

    def loss_fn(params: PyTree, state: dict[str, Any], batch: dict[str, Any], key: Array) -> tuple[Array, Any]:
        key_time, key_noise = jax.random.split(key)
        x0, labels = batch["x"], batch["y"]
        place = jax.random.randint(key_time, x0.shape[:1], 1, count + 1)
        t, t_next = place / count, (place - 1) / count
        x = process.alpha(t)[:, None] * x0 + process.std(t)[:, None] * jax.random.normal(key_noise, x0.shape)
        velocity = denoiser.model(network, state["teacher"], labels, kind="v")(x, t)
        apart = distill.segment_consistency(
            x,
            x + (t_next - t)[:, None] * velocity,
            t,
            t_next,
            student_fn=denoiser.model(network, params, labels, kind="x0"),
            target_fn=denoiser.model(network, state["past"], labels, kind="x0"),
            process=process,
            edges=edges,
        )
        past = optax.incremental_update(jax.lax.stop_gradient(params), state["past"], 1.0 - config.momentum)
        return jnp.mean(apart), state | {"past": past}

    return loss_fn


def segment_asset(config: SegmentConfig, teacher: PyTree, x: Array, labels: Array, *, root: Any, digest: str) -> PyTree:
    """Parameters of a student of multi-step consistency, once per configuration and data."""

    def build(config: SegmentConfig) -> PyTree:
        return fit(
            _segment_loss(config),
            teacher,
            {"teacher": teacher, "past": teacher},
            optimizer(config.learning_rate, config.num_steps),
            {"x": x, "y": labels},
            jax.random.key(config.seed),
            num_steps=config.num_steps,
            batch_size=min(config.batch_size, x.shape[0]),
        ).params

    return asset(config, build, root, data_digest=digest, like=lambda: teacher)


@dataclasses.dataclass(frozen=True)
class ScoreDistillationConfig:
    """What decides one-step generators of score distillation, together with the data; they are trained side by side."""

    name: ClassVar[str] = "score_distillation"
    version: ClassVar[int] = 1

    teacher: DenoiserConfig
    """Of the teacher, from which the generators and the networks that follow them start."""
    scales: tuple[tuple[float, float], ...] = ((1.0, 1.0), (4.0, 4.0), (7.5, 7.5), (0.5, 4.0))
    """(lowest, highest) guidance scale of each generator."""
    num_steps: int = 2000
    """Steps of Adam, of generator and follower alike."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 1e-4
    """Of the generators at the start; it falls to zero as a cosine."""
    follower_rate: float = 1e-3
    """Of the networks that follow them."""
    t_min: float = 0.02
    """Noise is added at times uniform from here to 1 - t_min."""
    seed: int = 8
    """Of the noise."""


@functools.cache
def _score_distillation_loss(config: ScoreDistillationConfig) -> LossFn:
    network, process = config.teacher, denoiser.process_of(config.teacher)

    def eps(params: PyTree, x: Array, t: Array, labels: Array, scale: Array) -> Array:
        cond, null = (
            denoiser.model(network, params, given, kind="eps")(x, t)
            for given in (labels, denoiser.null(network, x.shape[0]))
        )
        return guidance.combine(cond, null, scale=scale)

    def loss_fn(params: PyTree, state: dict[str, Any], batch: dict[str, Any], key: Array) -> tuple[Array, Any]:
        key_start, key_time, key_noise, key_scale, key_drop, key_follow = jax.random.split(key, 6)
        labels = batch["y"]
        size = labels.shape[0]
        start = jax.random.normal(key_start, (size, network.dim))
        x0 = denoiser.model(network, params["generator"], labels, kind="x0")(start, jnp.ones(size))
        fixed = jax.lax.stop_gradient(x0)
        t = jax.random.uniform(key_time, (size,), minval=config.t_min, maxval=1.0 - config.t_min)
        noise = jax.random.normal(key_noise, x0.shape)
        x = process.alpha(t)[:, None] * fixed + process.std(t)[:, None] * noise
        scale = guidance.random_scale(key_scale, size, low=state["low"], high=state["high"])
        teacher, student = (eps(p, x, t, labels, scale) for p in (state["teacher"], params["follower"]))
        moved = losses.vsd_surrogate(x0, teacher, student)
        given, _ = diffusion.condition_dropout(key_drop, labels, network.sizes[0], rate=network.drop_rate)
        predict = denoiser.model(network, params["follower"], given, kind="v")
        follow = diffusion.denoising_loss(predict, fixed, key_follow, process=process, kind="v", weighting="uniform")
        return jnp.mean(moved) + jnp.mean(follow), state

    return loss_fn


def score_distillation_asset(
    config: ScoreDistillationConfig, teacher: PyTree, x: Array, labels: Array, *, root: Any, digest: str
) -> PyTree:
    """Parameters of the generators, with a leading axis [len(config.scales)]."""

    def build(config: ScoreDistillationConfig) -> PyTree:
        rates = {"generator": config.learning_rate, "follower": config.follower_rate}
        both = optax.partition(
            {name: optimizer(rate, config.num_steps) for name, rate in rates.items()}, {name: name for name in rates}
        )

        def train(low: Array, high: Array) -> PyTree:
            return fit(
                _score_distillation_loss(config),
                {"generator": teacher, "follower": teacher},
                {"teacher": teacher, "low": low, "high": high},
                both,
                {"x": x, "y": labels},
                jax.random.key(config.seed),
                num_steps=config.num_steps,
                batch_size=min(config.batch_size, x.shape[0]),
            ).params["generator"]

        low, high = jnp.asarray(config.scales, jnp.float32).T
        return jax.jit(jax.vmap(train))(low, high)

    def like() -> PyTree:
        count = len(config.scales)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), teacher)

    return asset(config, build, root, data_digest=digest, like=like)
