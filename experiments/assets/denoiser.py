"""A small conditional denoiser on images, trained once: the generator of the questions about diffusion and guidance.

Data lie in [-1, 1], one row per image. ``denoiser_asset`` gives the parameters, from disk if they were trained before;
``model`` turns them into the function of noisy images and times that ``jaxlab.diffusion`` takes::

    config = denoiser.DenoiserConfig()
    params = denoiser.denoiser_asset(config, denoiser.scaled(data.x), labels, root=run.asset_root, digest=data.digest)
    cond_fn = denoiser.model(config, params, wanted, kind="x0")
    uncond_fn = denoiser.model(config, params, denoiser.null(config, len(wanted)), kind="x0")
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.asset import asset
from experiments.assets.classifiers import penultimate, train_classifier
from experiments.networks import Network, mlp, pure
from experiments.training import cosine_adam, fit
from jaxlab import diffusion
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "PROCESS",
    "PROCESSES",
    "ClassifierConfig",
    "ConditionalMLP",
    "DenoiserConfig",
    "Judged",
    "angle",
    "classifier",
    "classifier_asset",
    "denoiser_asset",
    "dropped",
    "even_times",
    "judge",
    "model",
    "network",
    "null",
    "process_of",
    "scaled",
    "suited",
    "train_denoiser",
]

PROCESS = diffusion.vp()
PROCESSES = {"vp": (PROCESS, "rotation"), "linear": (diffusion.linear_flow(), "v")}
"""The process of each form of the denoiser, and what the network itself predicts. As noise a rotation is
std x + alpha F: unlike a plain noise network it stays usable as a data prediction where x holds almost no data."""


@dataclasses.dataclass(frozen=True)
class DenoiserConfig:
    """What decides the weights of a denoiser, together with the data."""

    name: ClassVar[str] = "denoiser"
    version: ClassVar[int] = 1

    dim: int = 64
    """Numbers in an image."""
    form: str = "vp"
    """The noising process: "vp", or "linear" for a flow from data (t = 0) to noise (t = 1)."""
    sizes: tuple[int, ...] = (10,)
    """How many values each condition has; one more stands for none."""
    hidden: int = 256
    """Width of the two hidden layers."""
    gated: bool = False
    """Adds the input times a factor for every time and entry: noise of more entries than the width can then be seen."""
    num_steps: int = 8000
    """Steps of Adam."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 2e-3
    """At the start; it falls to zero as a cosine."""
    drop_rate: float = 0.1
    """How often a condition is replaced by none, each on its own."""
    seed: int = 0
    """Of the initial weights, the batches and the noise."""


def suited(dim: int, sizes: tuple[int, ...], **changes: Any) -> DenoiserConfig:
    """A configuration for images of ``dim`` numbers that trains within a minute on two cores."""
    large = {"hidden": 512, "gated": True, "num_steps": 4000} if dim > 256 else {}
    return DenoiserConfig(**{"dim": dim, "sizes": sizes, **large, **changes})


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """What decides the weights of a classifier of clean images, together with the data."""

    name: ClassVar[str] = "image_classifier"
    version: ClassVar[int] = 1

    dims: tuple[int, ...] = (64, 128, 64, 10)
    """Widths, from the image to the classes."""
    num_steps: int = 1500
    """Steps of Adam, batches of 128."""
    seed: int = 1
    """Of the initial weights and the batches."""


class ConditionalMLP(nnx.Module):
    """Two hidden layers of SiLU; time and conditions are added to both before the activation.

    Args:
      dim: numbers in an image.
      sizes: how many values each condition has.
      hidden: width of the hidden layers.
      gated: adds the input times a factor for every time and entry.
      rngs: keys of the initial weights.
    """

    def __init__(self, dim: int, sizes: tuple[int, ...], hidden: int, *, gated: bool = False, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(dim, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, hidden, rngs=rngs)
        self.last = nnx.Linear(hidden, dim, rngs=rngs)
        self.time = nnx.Linear(TIMES, hidden, rngs=rngs)
        self.tables = nnx.Dict({f"condition{i}": nnx.Embed(n + 1, hidden, rngs=rngs) for i, n in enumerate(sizes)})
        self.shifts = nnx.Dict({f"layer{i}": nnx.Linear(hidden, hidden, rngs=rngs) for i in range(2)})
        zeros = nnx.initializers.zeros
        self.gate = nnx.Linear(TIMES, dim, kernel_init=zeros, rngs=rngs) if gated else None

    def __call__(self, x: Array, t: Array, conditions: Array, beside_time: Array | None = None) -> Array:
        """x: float [B, dim], t: float [B], conditions: int [B, len(sizes)] -> [B, dim]; beside_time: [B, hidden]."""
        context = self.time(time_features(t))
        if beside_time is not None:
            context += beside_time
        for i in range(len(self.tables)):
            context += self.tables[f"condition{i}"](conditions[:, i])
        context = nnx.silu(context)
        hidden = nnx.silu(self.first(x) + self.shifts["layer0"](context))
        hidden = nnx.silu(self.second(hidden) + self.shifts["layer1"](context))
        prediction = self.last(hidden)
        return prediction if self.gate is None else prediction + self.gate(time_features(t)) * x


TIMES = 32


def time_features(t: Array) -> Array:
    """Sines and cosines of the time at frequencies from 1 to 1000: [B] -> [B, 32]."""
    angles = t[:, None] * jnp.asarray(np.geomspace(1.0, 1000.0, TIMES // 2), t.dtype)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


def scaled(x: ArrayLike) -> Array:
    """Images [N, ...] as rows [N, dim], their range stretched to [-1, 1]."""
    rows = jnp.asarray(x, jnp.float32)
    rows = rows.reshape(rows.shape[0], -1)
    low, high = rows.min(), rows.max()
    return 2.0 * (rows - low) / (high - low) - 1.0


def angle(t: ArrayLike) -> Array:
    """How far from the data a time is: arctan(std / alpha), from 0 (data) to pi / 2 (noise)."""
    return jnp.arctan2(PROCESS.std(t), PROCESS.alpha(t))


def even_times(num_steps: int, *, low: float = 1e-3) -> Array:
    """Times from 1 to ``low`` between which the angle falls by equal steps, as on the cosine schedule: [num_steps + 1].

    The times of the process itself would spend half of the steps where almost no data are left in x.
    """
    fine = jnp.linspace(low, 1.0, 4001)
    angles = angle(fine)
    return jnp.interp(jnp.linspace(angles[-1], angles[0], num_steps + 1), angles, fine)


def null(config: DenoiserConfig, batch: int) -> Array:
    """No condition at all: int [batch, len(sizes)]."""
    return jnp.tile(jnp.asarray(config.sizes, jnp.int32), (batch, 1))


@functools.cache
def network(config: DenoiserConfig) -> tuple[Callable[[Array], PyTree], Callable[..., Array]]:
    """(init(key) -> params, apply(params, x, t, conditions))."""

    return pure(lambda rngs: ConditionalMLP(config.dim, config.sizes, config.hidden, gated=config.gated, rngs=rngs))


def process_of(config: DenoiserConfig) -> diffusion.Process:
    """The noising process of a denoiser."""
    return PROCESSES[config.form][0]


def _columns(config: DenoiserConfig, conditions: ArrayLike) -> Array:
    """Conditions as int [B, len(sizes)]."""
    given = jnp.asarray(conditions)
    given = given[:, None] if given.ndim == 1 else given
    if given.ndim != 2 or given.shape[1] != len(config.sizes):
        raise ValueError(f"conditions must have shape [B, {len(config.sizes)}], got {list(given.shape)}")
    return given


def model(
    config: DenoiserConfig, params: PyTree, conditions: Array, *, kind: str = "eps"
) -> Callable[[Array, Array], Array]:
    """The denoiser under given conditions, as a function of noisy images and times.

    Args:
      config: of the denoiser.
      params: its parameters.
      conditions: int [B, len(sizes)], or [B] for a denoiser with one condition; ``sizes[i]`` is none.
      kind: what to predict: "eps", "score", "x0", "v" or "rotation".
    Returns:
      ``fn(x [B, dim], t [B]) -> [B, dim]``.
    """
    conditions = _columns(config, conditions)
    _, apply = network(config)
    process, trained = PROCESSES[config.form]

    def fn(x: Array, t: Array) -> Array:
        prediction = apply(params, x, t, conditions)
        return diffusion.convert(prediction, x, t, process=process, kind_in=trained, kind_out=kind)

    return fn


def dropped(keys: Sequence[Array], conditions: Array, sizes: Sequence[int], *, rate: float) -> list[Array]:
    """The columns of conditions [B, len(sizes)], each replaced by none on its own, that often."""
    return [diffusion.condition_dropout(keys[i], conditions[:, i], size, rate=rate)[0] for i, size in enumerate(sizes)]


def train_denoiser(config: DenoiserConfig, x: Array, conditions: Array) -> PyTree:
    """Parameters of a denoiser of rows x [N, dim] in [-1, 1] under conditions int [N, len(sizes)] (or [N] of one)."""
    conditions = _columns(config, conditions)
    init, apply = network(config)
    process, trained = PROCESSES[config.form]
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        noise_key, *drop_keys = jax.random.split(key, 1 + len(config.sizes))
        given = dropped(drop_keys, batch["conditions"], config.sizes, rate=config.drop_rate)
        predict = lambda x, t: apply(params, x, t, jnp.stack(given, axis=1))  # noqa: E731
        losses = diffusion.denoising_loss(
            predict, batch["x"], noise_key, process=process, kind=trained, weighting="uniform"
        )
        return jnp.mean(losses), None

    optimizer = cosine_adam(config.learning_rate, config.num_steps)
    data = {"x": x, "conditions": conditions}
    return fit(
        loss_fn,
        init(init_key),
        None,
        optimizer,
        data,
        fit_key,
        num_steps=config.num_steps,
        batch_size=min(config.batch_size, x.shape[0]),
    ).params


def denoiser_asset(config: DenoiserConfig, x: Array, conditions: Array, *, root: Any, digest: str) -> PyTree:
    """``train_denoiser``, once per configuration and data; ``digest`` must tell the conditions apart as well."""
    init, _ = network(config)
    return asset(
        config,
        lambda config: train_denoiser(config, x, conditions),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(init, jax.random.key(0)),
    )


def classifier(config: ClassifierConfig, *, activation: Callable[[Array], Array] = nnx.relu) -> Network:
    """The network of a classifier; another activation may be put in place of the one it was trained with."""
    return mlp(config.dims, activation)


def classifier_asset(config: ClassifierConfig, x: Array, labels: Array, *, root: Any, digest: str) -> PyTree:
    """The parameters of a classifier of clean rows x [N, dim], once per configuration and data."""
    network = classifier(config)

    def build(config: ClassifierConfig) -> PyTree:
        key = jax.random.key(config.seed)
        return train_classifier(network, x, labels, key, num_classes=config.dims[-1], num_steps=config.num_steps)

    return asset(config, build, root, data_digest=digest, like=lambda: jax.eval_shape(network.init, jax.random.key(0)))


class Judged(NamedTuple):
    """What a judge makes of images."""

    features: Array  # [N, D], the last hidden layer
    logits: Array  # [N, C]


def judge(config: ClassifierConfig, params: PyTree, x: Array) -> Judged:
    """Features (for Frechet distances) and logits of rows x [N, dim]."""
    network = classifier(config)
    return Judged(penultimate(network, params, x), network.logits(params, x))
