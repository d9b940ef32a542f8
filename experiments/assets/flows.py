"""A mean flow of images, trained once: a network of average velocities that samples in one call.

Noise is at t = 1, data at t = 0, conditions are classes, images rows in [-1, 1].
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.asset import asset
from experiments.networks import pure
from experiments.training import LossFn, fit
from jaxlab import diffusion, losses
from jaxlab.typing import Array, PyTree

__all__ = ["MeanFlowConfig", "MeanVelocityMLP", "mean_flow_asset", "mean_velocity", "optimizer", "unstaged"]


@dataclasses.dataclass(frozen=True)
class MeanFlowConfig:
    """What decides the weights of a mean flow, together with the data."""

    name: ClassVar[str] = "mean_flow"
    version: ClassVar[int] = 1

    dim: int = 64
    """Numbers in an image."""
    classes: int = 10
    """How many; one more stands for none."""
    hidden: int = 256
    """Width of the two hidden layers."""
    flow_steps: int = 3000
    """Steps of Adam of the first stage, flow matching."""
    mean_steps: int = 6000
    """Steps of the second stage, a quarter of whose examples has r < t."""
    flow_ratio: float = 0.75
    """Share of examples with r = t in the second stage."""
    w: float = 1.0
    """Weight of the sample's own velocity in the second stage."""
    k: float = 0.0
    """Weight of the network's conditional velocity there; guidance of scale w / (1 - k) is baked in."""
    curriculum: bool = True
    """Without it the first stage is trained like the second."""
    power: float = 1.0
    """Of the adaptive loss; flow matching has 0, the mean square."""
    time_mean: float = 0.0
    """Mean of the normal whose sigmoid gives the times."""
    time_std: float = 1.8
    """Its standard deviation: a step from t = 1 to r = 0 wants times near both ends."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 2e-3
    """At the start of a stage; it falls to zero as a cosine."""
    drop_rate: float = 0.1
    """How often the class is replaced by none."""
    seed: int = 5
    """Of the initial weights, the batches and the noise."""


class MeanVelocityMLP(nnx.Module):
    """The layers of ``denoiser.ConditionalMLP``, told both ends of the stretch.

    Its time features are slower: a mean flow is trained on its own derivative in t, and a feature of frequency 1000
    would have that be noise.
    """

    def __init__(self, config: MeanFlowConfig, *, rngs: nnx.Rngs) -> None:
        hidden = config.hidden
        self.first = nnx.Linear(config.dim, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, hidden, rngs=rngs)
        self.last = nnx.Linear(hidden, config.dim, rngs=rngs)
        self.time = nnx.Linear(4 * len(FREQUENCIES), hidden, rngs=rngs)
        self.table = nnx.Embed(config.classes + 1, hidden, rngs=rngs)
        self.shifts = nnx.Dict({f"layer{i}": nnx.Linear(hidden, hidden, rngs=rngs) for i in range(2)})

    def __call__(self, z: Array, r: Array, t: Array, labels: Array) -> Array:
        """z: float [B, dim], r and t: float [B], labels: int [B] -> [B, dim]."""
        angles = [time[:, None] * jnp.asarray(FREQUENCIES, time.dtype) for time in (t, t - r)]
        features = jnp.concatenate([wave(angle) for angle in angles for wave in (jnp.sin, jnp.cos)], axis=1)
        context = nnx.silu(self.time(features) + self.table(labels))
        hidden = nnx.silu(self.first(z) + self.shifts["layer0"](context))
        hidden = nnx.silu(self.second(hidden) + self.shifts["layer1"](context))
        return self.last(hidden)


FREQUENCIES = np.geomspace(1.0, 10.0, 8)


@functools.cache
def _mean_network(config: MeanFlowConfig) -> tuple[Callable[[Array], PyTree], Callable[..., Array]]:
    """(init(key) -> params, apply(params, z, r, t, labels))."""
    return pure(lambda rngs: MeanVelocityMLP(config, rngs=rngs))


def mean_velocity(config: MeanFlowConfig, params: PyTree, labels: Array) -> Callable[[Array, Array, Array], Array]:
    """The average velocity under given classes (``config.classes`` is none): ``u_fn(z [B, dim], r [B], t [B])``."""
    _, apply = _mean_network(config)
    return lambda z, r, t: apply(params, z, r, t, labels)


@functools.cache
def optimizer(learning_rate: float, num_steps: int, clip: float = 1.0) -> optax.GradientTransformation:
    """One object per setting, so that ``fit`` compiles once for all that share it."""
    schedule = optax.cosine_decay_schedule(learning_rate, num_steps)
    return optax.chain(optax.clip_by_global_norm(clip), optax.adam(schedule, b2=0.95))


def unstaged(config: MeanFlowConfig) -> MeanFlowConfig:
    """The configuration with everything that tells stages and variants apart at its default: they share programs."""
    names = ("flow_steps", "mean_steps", "flow_ratio", "w", "k", "curriculum", "power", "seed")
    return dataclasses.replace(config, **{name: getattr(MeanFlowConfig, name) for name in names})


@functools.cache
def _mean_flow_loss(config: MeanFlowConfig) -> LossFn:
    """The loss of both stages; what tells them apart is in the state."""

    def loss_fn(params: PyTree, state: dict[str, Array], batch: dict[str, Any], key: Array) -> tuple[Array, Any]:
        key_times, key_noise, key_drop = jax.random.split(key, 3)
        x0, labels = batch["x"], batch["y"]
        t, r = diffusion.mean_flow_times(
            key_times, x0.shape[0], mean=config.time_mean, std=config.time_std, flow_ratio=state["flow_ratio"]
        )
        noise = jax.random.normal(key_noise, x0.shape)
        z, v = (1.0 - t[:, None]) * x0 + t[:, None] * noise, noise - x0
        cond, null = (
            mean_velocity(config, params, given)(z, t, t) for given in (labels, jnp.full_like(labels, config.classes))
        )
        v = diffusion.mean_flow_guided_velocity(v, cond, null, w=state["w"], k=state["k"])
        given, _ = diffusion.condition_dropout(key_drop, labels, config.classes, rate=config.drop_rate)
        u, target = diffusion.mean_flow_target(mean_velocity(config, params, given), z, r, t, v)
        return jnp.mean(losses.adaptive_l2(u - target, power=state["power"])), state

    return loss_fn


def _train_mean_flow(config: MeanFlowConfig, x: Array, labels: Array) -> PyTree:
    init, _ = _mean_network(config)
    params = init(jax.random.key(config.seed))
    # The first stage is plain flow matching, whatever the second does.
    first = dataclasses.replace(config, flow_ratio=1.0, w=1.0, k=0.0, power=0.0) if config.curriculum else config
    for stage, (num_steps, setting) in enumerate(((config.flow_steps, first), (config.mean_steps, config))):
        state = {name: jnp.float32(getattr(setting, name)) for name in ("flow_ratio", "w", "k", "power")}
        params = fit(
            _mean_flow_loss(unstaged(config)),
            params,
            state,
            optimizer(config.learning_rate, num_steps),
            {"x": x, "y": labels},
            jax.random.fold_in(jax.random.key(config.seed), stage),
            num_steps=num_steps,
            batch_size=min(config.batch_size, x.shape[0]),
        ).params
    return params


def mean_flow_asset(config: MeanFlowConfig, x: Array, labels: Array, *, root: Any, digest: str) -> PyTree:
    """Parameters of a mean flow of rows x [N, dim] of classes int [N], once per configuration and data."""
    init, _ = _mean_network(config)
    return asset(
        config,
        lambda config: _train_mean_flow(config, x, labels),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(init, jax.random.key(0)),
    )
