"""A small convolutional flow network, trained at one size and sampled at another.

Two scales: convolutions at full size around three at half size, which together see all of an image of the size of
training. At another size those three may be re-dilated or dispersed.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from experiments.asset import asset
from experiments.assets.denoiser import TIMES, time_features
from experiments.training import cosine_adam, fit
from jaxlab import diffusion, nn
from jaxlab.typing import Array, PyTree

__all__ = ["ConvFlowConfig", "conv_flow", "conv_flow_asset", "train_conv_flow"]

MIDDLE = ("middle0", "middle1", "middle2")


@dataclasses.dataclass(frozen=True)
class ConvFlowConfig:
    """What decides the weights of a convolutional flow, together with the data."""

    name: ClassVar[str] = "conv_flow"
    version: ClassVar[int] = 1

    side: int = 8
    """Of the images it is trained on; even."""
    num_classes: int = 10
    """Conditions; one more stands for none."""
    channels: int = 16
    """At full size; twice as many at half size."""
    num_steps: int = 1500
    """Steps of Adam."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 2e-3
    """At the start; it falls to zero as a cosine."""
    drop_rate: float = 0.1
    """How often the class is replaced by none."""
    seed: int = 0
    """Of the initial weights, the batches and the noise."""


def _init(config: ConvFlowConfig, key: Array) -> PyTree:
    c, keys = config.channels, jax.random.split(key, 12)
    shapes = {
        "first": (1, c),
        "block": (c, c),
        "shrink": (c, 2 * c),
        **{name: (2 * c, 2 * c) for name in MIDDLE},
        "grow": (3 * c, c),
        "last": (c, 1),
    }
    normal = jax.nn.initializers.lecun_normal()
    params: dict[str, Any] = {
        name: {"kernel": normal(one, (3, 3, *shape)), "bias": jnp.zeros(shape[1])}
        for one, (name, shape) in zip(keys[:8], shapes.items(), strict=True)
    }
    params["last"]["kernel"] *= 0.0
    params["time"] = {"kernel": normal(keys[8], (TIMES, 2 * c)), "bias": jnp.zeros(2 * c)}
    params["label"] = normal(keys[9], (config.num_classes + 1, 2 * c))
    params["narrow"] = {"kernel": normal(keys[10], (2 * c, c)), "bias": jnp.zeros(c)}
    return params


def _conv(params: PyTree, h: Array, *, factor: float = 1, stride: int = 1) -> Array:
    return nn.redilate_conv(h, params["kernel"], params["bias"], factor=factor, stride=stride)


def _middle(params: PyTree, h: Array, context: Array, *, factor: float = 1, spread: Array | None = None) -> Array:
    """The convolutions at half size."""
    for name in MIDDLE:
        layer = params[name]
        if spread is not None:
            layer = {**layer, "kernel": nn.disperse_kernel(layer["kernel"], spread)}
        h = h + _conv(layer, jax.nn.silu(h + context), factor=factor)
    return h


def conv_flow(
    config: ConvFlowConfig,
    params: PyTree,
    labels: Array | None,
    *,
    factor: float = 1,
    spread: Array | None = None,
    changed: Callable[[Array], Array] | None = None,
) -> Callable[[Array, Array], Array]:
    """The velocity of noisy images of any even size, under given classes or none.

    Args:
      config: of the network.
      params: its parameters.
      labels: int [B]; None is no class.
      factor: how far apart the taps of the middle convolutions stand.
      spread: a matrix of ``nn.dispersion_matrix`` that makes their kernels larger.
      changed: ``changed(t) -> bool []``, at which times factor and spread count; elsewhere the network is as trained.
    Returns:
      ``fn(x [B, H, W], t [B]) -> [B, H, W]``.
    """

    def fn(x: Array, t: Array) -> Array:
        given = jnp.full(x.shape[0], config.num_classes) if labels is None else labels
        context = jax.nn.silu(
            time_features(t) @ params["time"]["kernel"] + params["time"]["bias"] + params["label"][given]
        )
        narrow = (context @ params["narrow"]["kernel"] + params["narrow"]["bias"])[:, None, None]
        h = _conv(params["first"], x[..., None])
        h = h + _conv(params["block"], jax.nn.silu(h + narrow))
        inner = _conv(params["shrink"], jax.nn.silu(h), stride=2), context[:, None, None]
        plain = functools.partial(_middle, params)
        other = functools.partial(plain, factor=factor, spread=spread)
        if factor == 1 and spread is None:
            deep = plain(*inner)
        else:
            deep = other(*inner) if changed is None else jax.lax.cond(changed(t), other, plain, *inner)
        grown = deep.repeat(2, axis=1).repeat(2, axis=2)
        h = h + _conv(params["grow"], jax.nn.silu(jnp.concatenate([h, grown], axis=-1)))
        return _conv(params["last"], jax.nn.silu(h + narrow))[..., 0]

    return fn


def train_conv_flow(config: ConvFlowConfig, x: Array, labels: Array) -> PyTree:
    """Parameters of a flow of images x [N, side, side] in [-1, 1] of classes int [N]."""
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        drop_key, noise_key = jax.random.split(key)
        given, _ = diffusion.condition_dropout(drop_key, batch["y"], config.num_classes, rate=config.drop_rate)
        predict = conv_flow(config, params, given)
        losses = diffusion.denoising_loss(
            predict, batch["x"], noise_key, process=diffusion.linear_flow(), kind="v", weighting="uniform", t_min=0.0
        )
        return jnp.mean(losses), None

    return fit(
        loss_fn,
        _init(config, init_key),
        None,
        cosine_adam(config.learning_rate, config.num_steps),
        {"x": x, "y": labels},
        fit_key,
        num_steps=config.num_steps,
        batch_size=min(config.batch_size, x.shape[0]),
    ).params


def conv_flow_asset(config: ConvFlowConfig, x: Array, labels: Array, *, root: Any, digest: str) -> PyTree:
    """``train_conv_flow``, once per configuration and data."""
    return asset(
        config,
        lambda config: train_conv_flow(config, x, labels),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(lambda: _init(config, jax.random.key(0))),
    )
