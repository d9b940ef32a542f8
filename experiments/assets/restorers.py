"""Small networks that restore degraded images by diffusion, trained once: one per noising process and kind of noise.

Images are rows in [-1, 1]. All networks are alike: they see the noisy state, the degraded image and the time, and
estimate the clean image; only the process, and with it the state, differs::

    config = restorers.RestorerConfig(form="mean_reverting")
    params = restorers.restorer_asset(config, train, root=run.asset_root, digest=data.digest)
    y = restorers.degrade(config, x, key)
    process, cond_fn = restorers.process_of(config, y), restorers.model(config, params, y)
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.asset import asset
from experiments.assets.denoiser import TIMES, even_times, time_features
from experiments.networks import pure
from experiments.training import cosine_adam, fit
from jaxlab import checks, diffusion
from jaxlab.typing import Array, PyTree

__all__ = [
    "FORMS",
    "NOISES",
    "RestorerConfig",
    "RestorerMLP",
    "degrade",
    "model",
    "process_of",
    "restorer_asset",
    "times",
    "train_restorer",
]

FORMS = {"mean_reverting": 0.0, "ou_ve": 0.03, "vp": 1e-3}
"""The processes, and the earliest time that each network is trained for."""
NOISES = {"white": 0.0, "coloured": 0.9}
"""Kinds of noise: the correlation of neighbours in a row."""
MAX_SIGMA = 100 / 255
"""Of the mean-reverting process: 50 grey levels of 255, for images in [-1, 1]."""


@dataclasses.dataclass(frozen=True)
class RestorerConfig:
    """What decides the weights of a restorer, together with the data."""

    name: ClassVar[str] = "restorer"
    version: ClassVar[int] = 1

    dim: int = 64
    """Numbers in an image."""
    form: str = "mean_reverting"
    """The noising process: "mean_reverting" and "ou_ve" end at the degraded image, "vp" at pure noise."""
    noise: str = "white"
    """What degrades images: "white" noise, or "coloured", a first-order autoregression along the row."""
    level: float = 0.5
    """Standard deviation of that noise."""
    hidden: int = 256
    """Width of the two hidden layers."""
    num_steps: int = 6000
    """Steps of Adam."""
    batch_size: int = 128
    """Images a step, degraded afresh each time."""
    learning_rate: float = 2e-3
    """At the start; it falls to zero as a cosine."""
    seed: int = 0
    """Of the initial weights, the batches and the noise."""

    def __post_init__(self) -> None:
        checks.one_of(self.form, "form", FORMS)
        checks.one_of(self.noise, "noise", NOISES)


class RestorerMLP(nnx.Module):
    """Two hidden layers of SiLU over the state and the degraded image; the time is added to both.

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
        self.shifts = nnx.Dict({f"layer{i}": nnx.Linear(hidden, hidden, rngs=rngs) for i in range(2)})

    def __call__(self, x: Array, y: Array, t: Array) -> Array:
        """x, y: float [B, dim], t: float [B] -> [B, dim]."""
        context = nnx.silu(self.time(time_features(t)))
        hidden = nnx.silu(self.first(jnp.concatenate([x, y], axis=1)) + self.shifts["layer0"](context))
        hidden = nnx.silu(self.second(hidden) + self.shifts["layer1"](context))
        return self.last(hidden)


@functools.cache
def _network(dim: int, hidden: int) -> tuple[Callable[[Array], PyTree], Callable[..., Array]]:
    """(init(key) -> params, apply(params, x, y, t))."""

    return pure(lambda rngs: RestorerMLP(dim, hidden, rngs=rngs))


def process_of(config: RestorerConfig, y: Array) -> diffusion.Process:
    """The noising process for degraded images y [B, dim]."""
    if config.form == "mean_reverting":
        return diffusion.mean_reverting(y, max_sigma=MAX_SIGMA)
    return diffusion.ou_ve(y) if config.form == "ou_ve" else diffusion.vp()


def times(form: str, num_steps: int) -> Array:
    """Times of the samplers, all down to the data.

    "ou_ve" as published, its last step from the earliest trained time; "vp" by equal steps of the angle, which suits it
    better than equal steps of time.
    """
    low = FORMS[form]
    if form == "vp":
        return even_times(num_steps, low=low)
    if form == "ou_ve" and num_steps > 1:
        return jnp.append(jnp.linspace(1.0, low, num_steps), 0.0)
    return diffusion.time_grid(num_steps, low=0.0)


def degrade(config: RestorerConfig, x: Array, key: Array) -> Array:
    """Images [B, dim] with noise of unit variance times ``level`` on them."""
    apart = np.abs(np.subtract.outer(np.arange(config.dim), np.arange(config.dim)))
    colour = np.linalg.cholesky(NOISES[config.noise] ** apart)  # on the host: the same for every batch
    white = jax.random.normal(key, x.shape, x.dtype)
    return x + config.level * jnp.matmul(white, jnp.asarray(colour.T, x.dtype), precision="highest")


def _scales(config: RestorerConfig, t: Array) -> tuple[Array, Array, Array]:
    """c_in, c_skip and c_out [B, 1], by which the network sees, and has to give, numbers of unit variance.

    They are those of Karras et al. for data around the centre of the process with the variance v: that of the noise
    where the centre is the degraded image.
    """
    process = process_of(config, jnp.zeros((1, config.dim)))
    variance = 1.0 if process.center is None else config.level**2
    alpha, std = process.alpha(t)[:, None], process.std(t)[:, None]
    total = alpha**2 * variance + std**2
    return total**-0.5, alpha * variance / total, std * (variance / total) ** 0.5


def model(config: RestorerConfig, params: PyTree, y: Array) -> Callable[[Array, Array], Array]:
    """The estimate of the clean images behind y [B, dim]: ``fn(x [B, dim], t [B]) -> [B, dim]``, of kind "x0"."""
    _, apply = _network(config.dim, config.hidden)
    centre = process_of(config, y).center
    centre = jnp.zeros_like(y) if centre is None else centre

    def fn(x: Array, t: Array) -> Array:
        c_in, c_skip, c_out = _scales(config, t)
        apart = x - centre
        return centre + c_skip * apart + c_out * apply(params, c_in * apart, y, t)

    return fn


def train_restorer(config: RestorerConfig, x: Array) -> PyTree:
    """Parameters of a restorer of images x [N, dim] in [-1, 1]."""
    init, _ = _network(config.dim, config.hidden)
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        clean = batch["x"]
        noise_key, time_key, state_key = jax.random.split(key, 3)
        y = degrade(config, clean, noise_key)
        process = process_of(config, y)
        centre = 0.0 if process.center is None else y
        t = jax.random.uniform(time_key, clean.shape[:1], minval=FORMS[config.form])
        noise = jax.random.normal(state_key, clean.shape)
        x = centre + process.alpha(t)[:, None] * (clean - centre) + process.std(t)[:, None] * noise
        # Divided by c_out: the squared error of the network itself.
        return jnp.mean(((model(config, params, y)(x, t) - clean) / _scales(config, t)[2]) ** 2), None

    return fit(
        loss_fn,
        init(init_key),
        None,
        cosine_adam(config.learning_rate, config.num_steps),
        {"x": x},
        fit_key,
        num_steps=config.num_steps,
        batch_size=min(config.batch_size, x.shape[0]),
    ).params


def restorer_asset(config: RestorerConfig, x: Array, *, root: Any, digest: str) -> PyTree:
    """``train_restorer``, once per configuration and data; ``digest`` must tell which images x are."""
    init, _ = _network(config.dim, config.hidden)
    return asset(
        config,
        lambda config: train_restorer(config, x),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(init, jax.random.key(0)),
    )
