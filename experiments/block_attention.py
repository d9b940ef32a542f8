"""A small convolutional network whose feature maps are weighed by an attention block, or by none, in one program."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.networks import conv2d
from experiments.training import cosine_adam, fit
from jaxlab import metrics, nn
from jaxlab.typing import Array, PyTree

KINDS = ("plain", "squeeze", "coordinate", "fused", "fused_drop", "batch_former")
CHANNELS = (16, 32)
FEATURES = 64


@dataclasses.dataclass(frozen=True)
class Settings:
    """Convolutional networks with attention blocks."""

    block_steps: int = 800
    """Steps of Adam, batches of 64."""
    drop_rates: tuple[float, float] = (0.05, 0.2)
    """Share of the first and of the second feature map that DropBlock drops."""
    drop_size: int = 3
    """Side of a dropped block."""


def network_init(key: Array, num_classes: int) -> PyTree:
    """Two convolutions with a fused block each, a dense layer, a head, and a layer over the batch."""
    keys = jax.random.split(key, 7)
    params: PyTree = {}
    for stage, (inputs, outputs) in enumerate(zip((1, *CHANNELS), CHANNELS, strict=False)):
        kernel = jax.random.normal(keys[stage], (3, 3, inputs, outputs)) * (2 / (9 * inputs)) ** 0.5
        params[f"conv{stage}"] = {"kernel": kernel, "bias": jnp.zeros(outputs)}
        params[f"block{stage}"] = nn.fused_attention_init(keys[2 + stage], outputs)
    params["dense"] = jax.random.normal(keys[4], (CHANNELS[-1], FEATURES)) * (2 / CHANNELS[-1]) ** 0.5
    params["head"] = {
        "kernel": 0.05 * jax.random.normal(keys[5], (FEATURES, num_classes)),
        "bias": jnp.zeros(num_classes),
    }
    params["former"] = nn.batch_former_init(keys[6], FEATURES)
    return params


def block(params: PyTree, x: Array, kind: Array) -> Array:
    """The feature map as KINDS[kind] weighs it."""
    # One part alone is a mixture that is all of it: every kind is then the same program, without branches.
    balance = jnp.select(
        [kind == KINDS.index("squeeze"), kind == KINDS.index("coordinate")], [-jnp.inf, jnp.inf], params["balance"]
    )
    mixed = nn.fused_attention(params | {"balance": balance}, x)
    weighed = (kind >= KINDS.index("squeeze")) & (kind <= KINDS.index("fused_drop"))
    return jnp.where(weighed, mixed, x)


def features(config: Settings, params: PyTree, images: Array, kind: Array, key: Array | None) -> Array:
    """float [B, FEATURES] of images [B, H, W]; a key drops blocks where the kind does."""
    x = images[..., None]
    for stage, rate in enumerate(config.drop_rates):
        stride = 2 if stage or images.shape[1] > 16 else 1
        layer = params[f"conv{stage}"]
        x = jax.nn.relu(conv2d(layer["kernel"], x, stride=stride) + layer["bias"])
        x = block(params[f"block{stage}"], x, kind)
        if key is not None:
            drops = jnp.where(kind == KINDS.index("fused_drop"), rate, 0.0)
            x = nn.drop_block(jax.random.fold_in(key, stage), x, rate=drops, block_size=config.drop_size)
    return jax.nn.relu(jnp.mean(x, axis=(1, 2)) @ params["dense"])


def measure(config: Any, seed: Any, shared: Any, kind: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracy on the held-out images, and how both blocks balance their two parts."""
    init_key, fit_key = jax.random.split(seed.key)
    head = lambda params, hidden: hidden @ params["head"]["kernel"] + params["head"]["bias"]  # noqa: E731

    def loss(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        hidden = features(config, params, batch["images"], kind, key)
        both, targets = nn.batch_former_pair(params["former"], hidden, batch["targets"], key=key)
        losses = optax.losses.softmax_cross_entropy(head(params, both), targets)
        counts = (jnp.arange(len(losses)) < len(hidden)) | (kind == KINDS.index("batch_former"))
        return jnp.mean(losses, where=counts), state

    found = fit(
        loss,
        network_init(init_key, shared.targets.shape[1]),
        None,
        cosine_adam(config.learning_rate, config.block_steps),
        shared._asdict(),
        fit_key,
        num_steps=config.block_steps,
        batch_size=64,
        where=seed.train,
    )
    logits = head(found.params, features(config, found.params, shared.images[seed.test], kind, None))
    labels = jnp.argmax(shared.targets[seed.test], axis=-1)
    alpha = jnp.stack([jax.nn.sigmoid(found.params[f"block{stage}"]["balance"]) for stage in range(len(CHANNELS))])
    balance = {"alpha": jnp.mean(alpha), "alpha_off": jnp.max(jnp.abs(alpha - 0.5))}
    return {"accuracy": metrics.accuracy(logits, labels), **balance}, {"loss": found.losses}
