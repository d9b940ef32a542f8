"""Two spaces of small architectures, each as masks on one largest network, and what their members reach when trained.

Feed-forward networks on images of 8 x 8 (``SPACE``) and recurrent cells on kinds of characters (``CELLS``): genes
decide which units, layers and gates exist. What does not exist holds zeros and gets no gradient, so a whole population
is one program and every sum over its parameters is right.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.asset import asset
from experiments.assets.text_windows import KINDS, Windows
from experiments.networks import conv2d
from experiments.training import fit
from jaxlab import distill, metrics
from jaxlab.typing import Array, PyTree

__all__ = [
    "CELLS",
    "SPACE",
    "CellsConfig",
    "NetworksConfig",
    "Task",
    "cell_init",
    "cell_logits",
    "cell_states",
    "count",
    "draw",
    "network_init",
    "network_logits",
    "network_parts",
    "train_network",
    "trained_cells",
    "trained_networks",
]

WIDTHS, DEPTHS = (4, 8, 16, 32), (1, 2, 3, 4, 5)
ACTIVATIONS = (jax.nn.relu, jnp.tanh, jax.nn.sigmoid, jax.nn.silu)
SPACE = (len(WIDTHS), len(DEPTHS), len(ACTIVATIONS), 2, 2)  # width, depth, activation, skips, convolution first
CELL_ACTIVATIONS = (jnp.tanh, jax.nn.relu, jax.nn.leaky_relu, jax.nn.sigmoid, lambda x: x)
CELLS = (len(CELL_ACTIVATIONS), 2, 2, 2, 2)  # activation, update gate, reset gate, product, half of the old state
SIDE, UNITS, CHANNELS = 8, 32, 8
TESTED = 1024  # windows on which a cell is judged


def draw(space: tuple[int, ...], number: int, seed: int) -> np.ndarray:
    """Genes int32 [number, G] of different architectures."""
    chosen = np.random.default_rng(seed).choice(int(np.prod(space)), number, replace=False)
    return np.stack(np.unravel_index(chosen, space), axis=1).astype(np.int32)


def count(params: PyTree) -> Array:
    """The number of parameters that exist, biases left out: they start at zero."""
    return sum((jnp.sum(leaf != 0) for leaf in jax.tree.leaves(params)), start=jnp.zeros((), int)).astype(jnp.float32)


def _among(functions: tuple[Any, ...], choice: Array, x: Array) -> Array:
    return jnp.select([choice == i for i in range(len(functions))], [function(x) for function in functions])


def _kernels(key: Array, ends: Mapping[Any, tuple[Array, Array]]) -> dict[Any, Array]:
    """Normal weights between the units that exist at both ends, of variance one over the number at the first."""
    sizes = [rows.shape[0] * columns.shape[0] for rows, columns in ends.values()]
    drawn = jnp.split(jax.random.normal(key, (sum(sizes),)), np.cumsum(sizes)[:-1])  # one draw compiles fastest

    def kernel(noise: Array, rows: Array, columns: Array) -> Array:
        exists = rows[:, None] & columns
        return exists * noise.reshape(exists.shape) / jnp.sqrt(jnp.maximum(jnp.sum(rows), 1))

    return {name: kernel(noise, *pair) for noise, (name, pair) in zip(drawn, ends.items(), strict=True)}


# Feed-forward networks


class Masks(NamedTuple):
    """What exists: units [32], channels of the convolution [8], and hidden layers after the first [4]."""

    units: Array
    channels: Array
    layers: Array
    convolves: Array


def _masks(genes: Array) -> Masks:
    width, depth = jnp.array(WIDTHS)[genes[0]], jnp.array(DEPTHS)[genes[1]]
    layers = jnp.arange(1, max(DEPTHS)) < depth
    convolves = genes[4] > 0
    return Masks(jnp.arange(UNITS) < width, jnp.arange(CHANNELS) < width // 4, layers, convolves)


def network_init(key: Array, genes: Array, num_classes: Array, width: int) -> PyTree:
    """Initial parameters; ``num_classes`` of the ``width`` logits exist."""
    masks, places = _masks(genes), (SIDE // 2) ** 2
    tiled, pixels = jnp.tile(masks.channels, places), jnp.ones(SIDE**2, bool)
    ends = {
        "convolution": (jnp.ones(9, bool), masks.channels & masks.convolves),
        "folded": (tiled & masks.convolves, masks.units),
        "dense": (pixels & ~masks.convolves, masks.units),
        "head": (masks.units, jnp.arange(width) < num_classes),
    }
    ends |= {f"layer{i}": (masks.units & here, masks.units) for i, here in enumerate(masks.layers)}
    kernels = _kernels(key, ends)
    kernels["convolution"] = kernels["convolution"].reshape(3, 3, 1, CHANNELS)
    return {
        name: {"kernel": kernel} if name == "folded" else {"kernel": kernel, "bias": jnp.zeros(kernel.shape[-1])}
        for name, kernel in kernels.items()
    }


def network_parts(
    genes: Array, params: PyTree, x: Array, offsets: Mapping[str, Array] | None = None
) -> tuple[Array, Array, dict[str, Array], dict[str, Array]]:
    """Logits, features [N, 32], the outputs of all layers before their activation, and which of their units exist.

    ``offsets`` are added to the outputs.
    """
    masks, activate = _masks(genes), functools.partial(_among, ACTIVATIONS, genes[2])
    outputs: dict[str, Array] = {}

    def tap(name: str, output: Array, exists: Array) -> Array:
        outputs[name] = (output if offsets is None else output + offsets[name]) * exists
        return outputs[name]

    own = masks.channels & masks.convolves
    images = x.reshape(-1, SIDE, SIDE, 1)
    kernel, bias = params["convolution"]["kernel"], params["convolution"]["bias"]
    maps = activate(tap("convolution", conv2d(kernel, images, stride=2) + bias, own)) * own
    first = (
        maps.reshape(len(maps), -1) @ params["folded"]["kernel"] + (x * ~masks.convolves) @ params["dense"]["kernel"]
    )
    h = activate(tap("dense", first + params["dense"]["bias"], masks.units)) * masks.units
    exists = {"convolution": jnp.broadcast_to(own, maps.shape[1:]), "dense": masks.units}
    names = [f"layer{i}" for i in range(len(masks.layers))]

    def layer(h: Array, inputs: tuple[Any, Array, Array]) -> tuple[Array, Array]:
        own, here, offset = inputs
        output = (h @ own["kernel"] + own["bias"] + offset) * (masks.units & here)
        new = activate(output) * (masks.units & here)
        return jnp.where(here, new + jnp.where(genes[3] > 0, h, 0.0), h), output

    # One loop over the layers: the program of a population is long enough to compile.
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(params[name] for name in names))
    shifts = jnp.zeros((len(names), *h.shape)) if offsets is None else jnp.stack([offsets[name] for name in names])
    h, hidden = jax.lax.scan(layer, h, (stacked, masks.layers, shifts))
    outputs |= dict(zip(names, hidden, strict=True))
    exists |= {name: masks.units & here for name, here in zip(names, masks.layers, strict=True)}
    logits = h @ params["head"]["kernel"] + params["head"]["bias"]
    return (logits if offsets is None else logits + offsets["head"]), h, outputs | {"head": logits}, exists


def network_logits(genes: Array, params: PyTree, x: Array) -> Array:
    """[N, K] of rows [N, 64]."""
    return network_parts(genes, params, x)[0]


class Task(NamedTuple):
    """Rows to train, to choose and to test on (masks [N]), their labels, which classes exist, and a teacher.

    ``soft`` holds the teacher's logits, and counts as much as ``weight`` says beside the labels.
    """

    x: Any  # [N, 64]
    y: Any  # [N]
    classes: Any  # bool [K]
    soft: Any  # [N, K]
    weight: Any  # []
    train: Any
    validation: Any
    test: Any


@functools.partial(jax.jit, static_argnames=("num_steps", "batch_size", "learning_rate"))
def train_network(
    genes: Array, task: Task, key: Array, *, num_steps: int, batch_size: int, learning_rate: float
) -> Array:
    """Accuracy on the validation rows and on the test rows, [2], after Adam on cross entropy and distillation."""
    init_key, fit_key = jax.random.split(key)
    start = network_init(init_key, genes, jnp.sum(task.classes), task.classes.shape[0])

    def loss_fn(params: PyTree, state: PyTree, batch: dict[str, Array], key: Array) -> tuple[Array, PyTree]:
        genes, classes, weight = state
        logits = network_logits(genes, params, batch["x"])
        mask = jnp.broadcast_to(classes, logits.shape)
        hard = optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["y"], where=mask)
        soft = distill.kd(logits, batch["soft"], temperature=4.0, where=mask)
        return jnp.mean(hard + weight * soft), state

    data = {"x": task.x, "y": task.y, "soft": task.soft}
    sizes: dict[str, Any] = {"num_steps": num_steps, "batch_size": batch_size, "where": task.train}
    state = (genes, task.classes, task.weight)
    params = fit(loss_fn, start, state, optax.adam(learning_rate), data, fit_key, **sizes).params
    logits = jnp.where(task.classes, network_logits(genes, params, task.x), -jnp.inf)
    return jnp.stack([metrics.accuracy(logits, task.y, where=rows) for rows in (task.validation, task.test)])


@dataclasses.dataclass(frozen=True)
class NetworksConfig:
    """What decides the accuracies of the feed-forward networks, together with the data."""

    name: ClassVar[str] = "architectures_networks"
    version: ClassVar[int] = 1

    seeds: tuple[int, ...]
    number: int
    """Architectures per seed."""
    num_steps: int
    """Steps of Adam."""
    batch_size: int
    learning_rate: float
    teacher_hidden: int
    """Width of both hidden layers of the teacher whose logits the distilled students see."""
    teacher_steps: int


def trained_networks(
    config: NetworksConfig, genes: Array, tasks: Task, keys: Array, *, root: Any, digest: str
) -> np.ndarray:
    """Accuracies [S, T, A, 2] on validation and test rows: genes [S, A, G], tasks [S, T, ...], keys [S]."""

    def build(config: NetworksConfig) -> dict[str, Array]:
        options = {name: getattr(config, name) for name in ("num_steps", "batch_size", "learning_rate")}
        one = functools.partial(train_network, **options)
        # All share the batches of their seed; with one seed at a time they stay in the cache.
        by_network = jax.vmap(jax.vmap(one, in_axes=(0, None, None)), in_axes=(None, 0, None))
        return {"accuracy": jax.lax.map(lambda seed: by_network(*seed), (genes, tasks, keys))}

    return np.asarray(asset(config, jax.jit(build, static_argnums=0), root, data_digest=digest)["accuracy"])


# Recurrent cells


def cell_init(key: Array, genes: Array) -> PyTree:
    """Initial parameters: candidate, update gate, reset gate, each from the input and from the state; the head."""
    units, kinds = jnp.ones(UNITS, bool), jnp.ones(len(KINDS), bool)
    gates: dict[str, Any] = {"candidate": True, "update": genes[1] > 0, "reset": genes[2] > 0}
    parts = {"input": kinds, "state": units}
    ends = {(name, part): (start & there, units) for name, there in gates.items() for part, start in parts.items()}
    kernels = _kernels(key, ends | {("head", "kernel"): (units, kinds)})
    params: dict[str, Any] = {"head": {"kernel": kernels["head", "kernel"], "bias": jnp.zeros(len(KINDS))}}
    for name in gates:
        params[name] = {part: kernels[name, part] for part in parts} | {"bias": jnp.zeros(UNITS)}
    return params


def cell_states(genes: Array, params: PyTree, x: Array) -> tuple[Array, Array]:
    """States and candidates before their activation, [B, T, 32] each, of inputs [B, T, V]."""
    update, reset, product = genes[1] > 0, genes[2] > 0, genes[3] > 0

    def gate(name: str, x: Array, h: Array) -> Array:
        return jax.nn.sigmoid(x @ params[name]["input"] + h @ params[name]["state"] + params[name]["bias"])

    def step(h: Array, x: Array) -> tuple[Array, tuple[Array, Array]]:
        own = params["candidate"]
        inner, outer = x @ own["input"], (jnp.where(reset, gate("reset", x, h), 1.0) * h) @ own["state"]
        # A sum, or the product of one plus each, which starts from the same first terms.
        before = jnp.where(product, (1.0 + inner) * (1.0 + outer) - 1.0, inner + outer) + own["bias"]
        new = _among(CELL_ACTIVATIONS, genes[0], before)
        kept = jnp.where(genes[4] > 0, 0.5 * (h + new), new)
        z = gate("update", x, h)
        h = jnp.where(update, (1.0 - z) * h + z * kept, kept)
        return h, (h, before)

    start = jnp.zeros((x.shape[0], UNITS))
    _, (states, before) = jax.lax.scan(step, start, jnp.swapaxes(x, 0, 1))
    return jnp.swapaxes(states, 0, 1), jnp.swapaxes(before, 0, 1)


def cell_logits(genes: Array, params: PyTree, x: Array) -> Array:
    """[B, T, V] for the next character."""
    return cell_states(genes, params, x)[0] @ params["head"]["kernel"] + params["head"]["bias"]


@dataclasses.dataclass(frozen=True)
class CellsConfig:
    """What decides the losses of the recurrent cells, together with the text."""

    name: ClassVar[str] = "architectures_cells"
    version: ClassVar[int] = 1

    seeds: tuple[int, ...]
    number: int
    """Cells per seed."""
    num_steps: int
    """Steps of Adam, with gradients clipped at norm 1."""
    batch_size: int
    learning_rate: float


def _train_cell(genes: Array, key: Array, one_hot: Array, tokens: Array, config: CellsConfig) -> Array:
    init_key, fit_key = jax.random.split(key)

    def rows_loss(genes: Array, params: PyTree, x: Array, tokens: Array) -> Array:
        logits = cell_logits(genes, params, x[:, :-1])
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]))

    def loss_fn(params: PyTree, genes: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        return rows_loss(genes, params, batch["x"], batch["tokens"]), genes

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(config.learning_rate))
    data = {"x": one_hot[:-TESTED], "tokens": tokens[:-TESTED]}
    sizes = {"num_steps": config.num_steps, "batch_size": config.batch_size}
    params = fit(loss_fn, cell_init(init_key, genes), genes, optimizer, data, fit_key, **sizes).params
    loss = rows_loss(genes, params, one_hot[-TESTED:], tokens[-TESTED:])
    worst = jnp.log(float(len(KINDS)))  # of knowing nothing: what a diverged cell is worth
    return jnp.where(jnp.isfinite(loss), jnp.minimum(loss, worst), worst)


def trained_cells(config: CellsConfig, genes: Array, text: Windows, keys: Array, *, root: Any) -> np.ndarray:
    """Losses [S, A] on windows held out: genes [S, A, G], keys [S]."""

    def build(config: CellsConfig) -> dict[str, Array]:
        tokens = jnp.asarray(text.tokens)
        one = functools.partial(_train_cell, one_hot=jax.nn.one_hot(tokens, len(KINDS)), tokens=tokens, config=config)
        by_cell = jax.vmap(one, in_axes=(0, None))
        return {"loss": jax.lax.map(lambda seed: by_cell(*seed), (genes, keys))}

    return np.asarray(asset(config, jax.jit(build, static_argnums=0), root, data_digest=text.digest)["loss"])
