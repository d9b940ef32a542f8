"""A decoder of images, from normal numbers: the second half of a variational autoencoder that is trained once.

Data lie in [-1, 1], one row per image::

    config = decoders.DecoderConfig()
    params = decoders.decoder_asset(config, denoiser.scaled(data.x), root=run.asset_root, digest=data.digest)
    images = decoders.decode(config, params, jax.random.normal(key, (16, config.latent)))
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.asset import asset
from experiments.networks import Network, mlp
from experiments.training import cosine_adam, fit
from jaxlab.typing import Array, PyTree

__all__ = ["DecoderConfig", "decode", "decoder_asset", "encode", "train_decoder"]


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """What decides the weights of a decoder, together with the data."""

    name: ClassVar[str] = "decoder"
    version: ClassVar[int] = 1

    dim: int = 64
    """Numbers in an image."""
    latent: int = 16
    """Numbers in a latent."""
    hidden: int = 256
    """Width of the two hidden layers of encoder and decoder."""
    num_steps: int = 8000
    """Steps of Adam."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 2e-3
    """At the start; it falls to zero as a cosine."""
    noise: float = 0.25
    """Standard deviation of the decoder's likelihood: smaller is sharper, and strays further from normal latents."""
    seed: int = 4
    """Of the initial weights, the batches and the latents."""


@functools.cache
def _networks(config: DecoderConfig) -> tuple[Network, Network]:
    """(encoder, decoder)."""
    hidden = (config.hidden, config.hidden)
    return mlp((config.dim, *hidden, 2 * config.latent), nnx.silu), mlp((config.latent, *hidden, config.dim), nnx.silu)


def _init(config: DecoderConfig, key: Array) -> PyTree:
    keys = jax.random.split(key)
    return {name: net.init(k) for name, net, k in zip(("encoder", "decoder"), _networks(config), keys, strict=True)}


def encode(config: DecoderConfig, params: PyTree, x: Array) -> tuple[Array, Array]:
    """Mean and logarithm of the variance of the latents of rows x [N, dim]: [N, latent] each."""
    mean, log_var = jnp.split(_networks(config)[0].logits(params["encoder"], x), 2, axis=1)
    return mean, jnp.clip(log_var, -12.0, 4.0)


def decode(config: DecoderConfig, params: PyTree, latents: Array) -> Array:
    """Images [N, dim] in [-1, 1] of latents [N, latent]."""
    return jnp.tanh(_networks(config)[1].logits(params["decoder"], latents))


def train_decoder(config: DecoderConfig, x: Array) -> PyTree:
    """Parameters {"encoder", "decoder"} of a variational autoencoder of rows x [N, dim] in [-1, 1]."""
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))

    def loss_fn(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        mean, log_var = encode(config, params, batch["x"])
        latents = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        error = jnp.sum((decode(config, params, latents) - batch["x"]) ** 2, axis=1)
        divergence = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - 1.0 - log_var, axis=1)
        return jnp.mean(error / (2.0 * config.noise**2) + divergence), None

    return fit(
        loss_fn,
        _init(config, init_key),
        None,
        cosine_adam(config.learning_rate, config.num_steps),
        {"x": x},
        fit_key,
        num_steps=config.num_steps,
        batch_size=min(config.batch_size, x.shape[0]),
    ).params


def decoder_asset(config: DecoderConfig, x: Array, *, root: Any, digest: str) -> PyTree:
    """``train_decoder``, once per configuration and data."""
    return asset(
        config,
        lambda config: train_decoder(config, x),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(lambda: _init(config, jax.random.key(0))),
    )
