"""Small causal transformers that learn to learn in context, and the sequences they learn from."""

import dataclasses
import functools
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.training import cosine_adam, fit
from jaxlab import envs, nn
from jaxlab.typing import Array, PyTree

__all__ = [
    "CLASSES",
    "DIMS",
    "KINDS",
    "MODELS",
    "TASKS",
    "ModelConfig",
    "Rows",
    "Sequences",
    "boolean_sequences",
    "causal_init",
    "causal_logits",
    "pick_model",
    "projected_sequences",
    "train_models",
]

DIMS = 8
CLASSES = 4
KINDS = ("conjunction", "taught_conjunction", "parity")
"""Classes of Boolean functions, a model each."""
TASKS = (4, 64, None)
"""Numbers of projected tasks, a model each; None is a new one for every sequence."""
MODELS = (*KINDS, *TASKS)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What decides the models of one run, together with the data."""

    name: ClassVar[str] = "in_context"
    version: ClassVar[int] = 1
    run: int = 0
    length: int = 30
    """Examples of a sequence."""
    width: int = 32
    layers: int = 2
    heads: int = 4
    steps: int = 1000
    """Steps of Adam, on sequences that are all new."""
    batch: int = 32


class Rows(NamedTuple):
    """Examples [N, DIMS] and labels [N] in [0, CLASSES)."""

    x: Any
    y: Any


class Sequences(NamedTuple):
    """What models see [..., T, DIMS + CLASSES], what they should say [..., T], and the weights of Boolean functions."""

    tokens: Any
    labels: Any
    w: Any = None


def causal_init(key: Array, config: ModelConfig) -> PyTree:
    """Weights of a transformer, from one draw."""
    layers, width = config.layers, config.width
    shapes = {
        "in": (DIMS + CLASSES, width),
        "position": (config.length, width),
        "qkv": (layers, width, 3 * width),
        "project": (layers, width, width),
        "up": (layers, width, 4 * width),
        "down": (layers, 4 * width, width),
        "out": (width, CLASSES),
    }
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = jnp.split(jax.random.normal(key, (int(ends[-1]),)), ends[:-1])
    drawn = {
        name: part.reshape(shape) / shape[-2] ** 0.5 for part, (name, shape) in zip(parts, shapes.items(), strict=True)
    }
    return drawn | {"scale": jnp.ones((layers, 2, width)), "last_scale": jnp.ones(width)}


def causal_logits(config: ModelConfig, params: PyTree, tokens: Array) -> Array:
    """Logits [T, CLASSES] of one sequence; no position sees a later one."""

    def step(x: Array, layer: PyTree) -> tuple[Array, None]:
        normed = jax.nn.standardize(x, epsilon=1e-6) * layer["scale"][0]
        q, k, v = (part.reshape(len(x), config.heads, -1) for part in jnp.split(normed @ layer["qkv"], 3, axis=-1))
        x = x + jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(x.shape) @ layer["project"]
        normed = jax.nn.standardize(x, epsilon=1e-6) * layer["scale"][1]
        return x + jax.nn.gelu(normed @ layer["up"]) @ layer["down"], None

    layers = {name: params[name] for name in ("qkv", "project", "up", "down", "scale")}
    x, _ = jax.lax.scan(step, tokens @ params["in"] + params["position"][: len(tokens)], layers)
    return (jax.nn.standardize(x, epsilon=1e-6) * params["last_scale"]) @ params["out"]


def pick_model(params: PyTree, name: Any) -> PyTree:
    """The parameters of one of ``MODELS``."""
    return jax.tree.map(lambda leaf: leaf[MODELS.index(name)], params)


def boolean_sequences(key: Array, kind: str, count: int, length: int) -> Sequences:
    """Functions of a class and points to learn them from; the labels 0 and 1 stand for -1 and +1."""

    def one(key: Array) -> Sequences:
        task = envs.boolean_task(key, kind, num_dims=DIMS, num_points=length)
        labels = (task.y > 0).astype(jnp.int32)
        return Sequences(nn.in_context_tokens(task.x, labels, num_classes=CLASSES), labels, task.w)

    return jax.vmap(one)(jax.random.split(key, count))


def projected_sequences(key: Array, rows: Rows, count: int, length: int, tasks: int | None) -> Sequences:
    """Sequences of tasks made from rows: of a list of so many, whatever the key, or each of a new one."""

    def one(key: Array) -> Sequences:
        own_key, choice = jax.random.split(key)
        task_key = None
        if tasks is not None:
            task_key = jax.random.fold_in(jax.random.key(7), jax.random.randint(choice, (), 0, tasks))
        made = envs.random_projection_task(
            own_key, rows.x, rows.y, num_classes=CLASSES, seq_len=length, task_key=task_key
        )
        return Sequences(*made)

    return jax.vmap(one)(jax.random.split(key, count))


def _loss(config: ModelConfig, params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
    logits = nn.in_context_logits(functools.partial(causal_logits, config), params, batch["tokens"])
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])), state


@functools.cache
def _loss_fn(config: ModelConfig) -> Any:
    return functools.partial(_loss, config)


def train_models(config: ModelConfig, rows: Rows) -> PyTree:
    """The parameters of all ``MODELS`` [6, ...], trained side by side in one program."""
    root = jax.random.key(1000 + config.run)
    count = config.steps * config.batch
    made = []
    for i, model in enumerate(MODELS):
        key = jax.random.fold_in(root, i)
        if isinstance(model, str):
            made.append(jax.jit(boolean_sequences, static_argnums=(1, 2, 3))(key, model, count, config.length))
        else:
            make = jax.jit(projected_sequences, static_argnums=(2, 3, 4))
            made.append(make(key, rows, count, config.length, model))
    data = {"tokens": jnp.stack([m.tokens for m in made]), "labels": jnp.stack([m.labels for m in made])}
    optimizer = cosine_adam(2e-3, config.steps)

    def one(key: Array, data: dict[str, Array]) -> PyTree:
        init, fitting = jax.random.split(key)
        batches = {"num_steps": config.steps, "batch_size": config.batch}
        return fit(_loss_fn(config), causal_init(init, config), None, optimizer, data, fitting, **batches).params

    return jax.jit(jax.vmap(one))(jax.random.split(root, len(MODELS)), data)
