"""Attention and columns: what do linear attention and reversible columns cost in accuracy, and save in memory?

Attention: transformers of one block read images as tokens on a grid, by softmax attention, by SOFT (a Gaussian kernel
through landmarks and a Newton inverse) plain and normalised, and by the exact Gaussian kernel that SOFT approximates;
all take the same steps. They are tested on the images as they are, and on images of twice the resolution. Columns: a
stack of reversible columns whose levels are vectors, against a residual network of as many parameters, and against the
same columns by plain backpropagation. Memory is what the compiled gradient asks for. Feature maps: a small
convolutional network without attention, with either of two kinds, and with a learned mixture of them.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import block_attention, block_tokens, plots
from experiments.block_columns import column_memory, num_params, residual_init, run_columns, run_residual, stack_init
from experiments.claims import difference
from experiments.programs import Programs
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from experiments.training import cosine_adam, fit
from jaxlab import metrics, nn
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split, first weights, batches"

RATIO = 2  # side of a landmark's window
LENGTHS = (196, 1225, 4900)  # tokens at which attention's memory is read off
BATCH = 32


@dataclasses.dataclass(frozen=True)
class Config(block_attention.Settings):
    """The science of this question."""

    dim: int = 24
    """Width of a token."""
    heads: int = 2
    attention_steps: int = 500
    """Steps of Adam, batches of 32."""
    column_steps: int = 600
    columns: int = 4
    """Columns of the stack that is trained."""
    learning_rate: float = 3e-3
    """It falls to zero as a cosine."""
    test_rows: int = 400
    """Held-out images that attention is tested on."""
    memory_rows: int = 2048
    """Examples in the batch whose memory is measured for columns."""

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.columns < 2:
            raise ValueError(f"heads must divide dim, and columns be at least 2, got {self}")


QUICK = {"attention_steps": 6, "column_steps": 12, "test_rows": 20, "memory_rows": 256, "block_steps": 6}


class Seed(NamedTuple):
    """What one seed works on."""

    key: Array
    train: Array  # bool [N]
    test: Array  # int [Q], held-out images that attention is tested on


class Shared(NamedTuple):
    """What all seeds see."""

    images: Array  # [N, H, W], in [0, 1]
    targets: Array  # [N, C], one-hot


# --- attention


def grid_of(images: Array) -> tuple[tuple[int, int], int]:
    """The grid of tokens and the side of a patch: pixels of small images, 2 x 2 patches of others."""
    patch = 1 if images.shape[1] * images.shape[2] <= 256 else 2
    return (images.shape[1] // patch, images.shape[2] // patch), patch


def tokens_of(params: PyTree, images: Array, patch: int) -> tuple[Array, tuple[int, int]]:
    """Patches and where they lie, as tokens [B, H W, D]."""
    rows, columns = images.shape[1] // patch, images.shape[2] // patch
    cut = images.reshape(-1, rows, patch, columns, patch).swapaxes(2, 3).reshape(-1, rows * columns, patch**2)
    size = params["position"].shape
    position = jax.image.resize(params["position"], (rows, columns, size[2]), "linear").reshape(rows * columns, -1)
    return cut @ params["patch"] + position, (rows, columns)


# A block from (params, tokens, grid) to tokens.
Block = Callable[[PyTree, Array, tuple[int, int]], Array]


def transformer(block: Block, config: Config, seed: Seed, shared: Shared) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracy on the held-out images, as they are and at twice the resolution."""
    grid, patch = grid_of(shared.images)
    keys = jax.random.split(seed.key, 4)
    params = {
        "patch": jax.random.normal(keys[0], (patch**2, config.dim)) / patch,
        "position": 0.5 * jax.random.normal(keys[1], (*grid, config.dim)),
        "block": nn.softmax_free_block_init(
            keys[2], config.dim, heads=config.heads, ratio=RATIO, hidden=2 * config.dim
        ),
        "head": jnp.zeros((config.dim, shared.targets.shape[1])),
    }

    def logits(params: PyTree, images: Array) -> Array:
        tokens, shape = tokens_of(params, images, patch)
        return jnp.mean(block(params["block"], tokens, shape), axis=1) @ params["head"]

    def loss(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        losses = optax.losses.softmax_cross_entropy(logits(params, batch["images"]), batch["targets"])
        return jnp.mean(losses), state

    optimizer = cosine_adam(config.learning_rate, config.attention_steps)
    options = {"num_steps": config.attention_steps, "batch_size": BATCH, "where": seed.train}
    found = fit(loss, params, None, optimizer, shared._asdict(), keys[3], **options)
    labels, held_out = jnp.argmax(shared.targets[seed.test], axis=-1), shared.images[seed.test]
    measured = {}
    for name, factor in (("accuracy", 1), ("accuracy_finer", 2)):
        size = (len(labels), factor * held_out.shape[1], factor * held_out.shape[2])
        images = jax.image.resize(held_out, size, "nearest")
        found_logits = jax.lax.map(lambda image: logits(found.params, image[None])[0], images, batch_size=32)
        measured[name] = metrics.accuracy(found_logits, labels)
    return measured, {"loss": found.losses}


def attention_memory(block: Block, config: Config) -> dict[str, float]:
    """Exponent of the scratch memory that the gradient of one block needs, over the number of tokens."""
    sizes_of = {"dim": config.dim, "heads": config.heads, "ratio": RATIO, "hidden": 2 * config.dim}
    params = jax.eval_shape(functools.partial(nn.softmax_free_block_init, **sizes_of), jax.random.key(0))
    sizes = []
    for length in LENGTHS:
        # As many landmarks at every length: the window grows with the grid.
        window = round(length**0.5) // 7
        grid = (7 * window, 7 * window)
        kernel = jax.ShapeDtypeStruct((window, window, *params["landmarks"]["kernel"].shape[2:]), jnp.float32)
        shaped = params | {"landmarks": params["landmarks"] | {"kernel": kernel}}
        tokens = jax.ShapeDtypeStruct((1, grid[0] * grid[1], config.dim), jnp.float32)
        loss = lambda params, tokens, grid=grid: jnp.sum(block(params, tokens, grid))  # noqa: E731
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(shaped, tokens).compile()
        sizes.append((grid[0] * grid[1], compiled.memory_analysis().temp_size_in_bytes))
    (first, small), (last, large) = sizes[0], sizes[-1]
    return {"memory_exponent": float(np.log(large / small) / np.log(last / first)), "megabytes": large / 2**20}


# --- columns


def columns(kind: str, config: Config, seed: Seed, shared: Shared) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracy on held-out images of a stack of columns or of a residual network of its size."""
    x = shared.images.reshape(len(shared.images), -1)
    init_key, head_key, fit_key = jax.random.split(seed.key, 3)
    stack = stack_init(init_key, x.shape[1], config.columns)
    if kind == "residual":
        stack, body = residual_init(init_key, x.shape[1], num_params(stack)), run_residual
    else:
        body = functools.partial(run_columns, reversible=kind == "reversible")
    top = jax.eval_shape(body, stack, x[:1])[-1].shape[1]
    params = {"stack": stack, "head": jax.random.normal(head_key, (top, shared.targets.shape[1])) / top**0.5}

    def logits(params: PyTree, x: Array) -> Array:
        return jax.nn.standardize(body(params["stack"], x)[-1], epsilon=1e-5) @ params["head"]

    def loss(params: PyTree, state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        return jnp.mean(optax.losses.softmax_cross_entropy(logits(params, batch["x"]), batch["targets"])), state

    optimizer = cosine_adam(config.learning_rate, config.column_steps)
    options = {"num_steps": config.column_steps, "batch_size": BATCH, "where": seed.train}
    found = fit(loss, params, None, optimizer, {"x": x, "targets": shared.targets}, fit_key, **options)
    right = metrics.accuracy(logits(found.params, x), jnp.argmax(shared.targets, axis=-1), where=~seed.train)
    measured = {"accuracy": right, "parameters": jnp.asarray(num_params(params), jnp.float32)}
    if kind == "reversible":
        whole = {"x": x, "targets": shared.targets}
        plain = functools.partial(run_columns, reversible=False)

        def gradient(body: Callable[..., Any]) -> PyTree:
            def of(params: PyTree) -> Array:
                seen = jax.nn.standardize(body(params["stack"], whole["x"])[-1], epsilon=1e-5) @ params["head"]
                return jnp.mean(optax.losses.softmax_cross_entropy(seen, whole["targets"]), where=seed.train)

            return jax.grad(of)(found.params)

        exact = gradient(plain)
        off = optax.tree.norm(optax.tree.sub(gradient(body), exact)) / optax.tree.norm(exact)
        measured["gradient_error"] = off
    return measured, {"loss": found.losses}


# --- rows


class Row(NamedTuple):
    """What a row measures for a seed, and what once for all; rows with a kind share one program."""

    measure: Callable[..., tuple[dict[str, Array], dict[str, Array]]]
    memory: Callable[[Config, int], dict[str, float]] | None
    kind: int | None = None


def _attention(block: Block) -> Row:
    return Row(functools.partial(transformer, block), lambda config, inputs: attention_memory(block, config))


def _columns(kind: str) -> Row:
    reversible = kind == "reversible"
    memory = lambda config, inputs: column_memory(inputs, config.memory_rows, reversible=reversible)  # noqa: E731
    return Row(functools.partial(columns, kind), None if kind == "residual" else memory)


def _maps(kind: str) -> Row:
    return Row(block_attention.measure, None, block_attention.KINDS.index(kind))


METHODS = (
    Method(
        "softmax",
        None,
        _attention(functools.partial(block_tokens.full_block, block_tokens.attend_softmax)),
        note="all pairs of tokens",
    ),
    Method(
        "gaussian",
        None,
        _attention(functools.partial(block_tokens.full_block, block_tokens.attend_gaussian)),
        note="all pairs of tokens",
    ),
    Method("soft", 283, _attention(block_tokens.soft_block), note="through landmarks"),
    Method("soft_normalized", 283, _attention(functools.partial(block_tokens.soft_block, normalize=True))),
    Method("residual", None, _columns("residual"), note="as many parameters as the columns"),
    Method("columns", None, _columns("plain"), note="features stored"),
    Method("reversible_columns", 258, _columns("reversible"), note="features computed back"),
    Method("convolutions", None, _maps("plain"), note="feature maps as they are"),
    Method("squeeze_excitation", None, _maps("squeeze"), note="channels weighed"),
    Method("coordinate_attention", None, _maps("coordinate"), note="rows and columns weighed"),
    Method("fused_attention", 233, _maps("fused"), note="a learned mixture of both"),
    Method("fused_dropped", 233, _maps("fused_drop"), note="the same, with blocks dropped in training"),
    Method("batch_former", 106, _maps("batch_former"), note="attention between the examples of a batch in training"),
)


CLAIMS = (
    Claim(
        283,
        "The memory of SOFT grows no faster than tokens^1.2",
        lambda rows: rows["memory_exponent"]["soft"],
        "<",
        1.2,
    ),
    Claim(
        283,
        "SOFT is within .02 of softmax attention in accuracy",
        difference("accuracy", "soft", "softmax"),
        "within",
        0.02,
    ),
    Claim(
        283,
        "At twice the resolution normalised SOFT is more accurate than plain SOFT",
        difference("accuracy_finer", "soft_normalized", "soft"),
        ">",
        0.0,
    ),
    Claim(
        258,
        "16 reversible columns need at most 1.1 times the memory of 4",
        lambda rows: rows["memory_ratio"]["reversible_columns"],
        "<",
        1.1,
    ),
    Claim(
        258,
        "Their gradient is that of plain backpropagation to 1 %",
        lambda rows: rows["gradient_error"]["reversible_columns"],
        "<",
        0.01,
    ),
    Claim(
        258,
        "They are at most .01 less accurate than a residual network of their size",
        difference("accuracy", "reversible_columns", "residual"),
        ">",
        -0.01,
    ),
    Claim(
        233,
        "The learned mixture stays balanced, both parts between .3 and .7",
        lambda rows: rows["alpha_off"]["fused_attention"],
        "<",
        0.2,
    ),
    Claim(
        233,
        "It is more accurate than the better of its parts",
        lambda rows: (
            rows["accuracy"]["fused_attention"]
            - np.maximum(rows["accuracy"]["squeeze_excitation"], rows["accuracy"]["coordinate_attention"])
        ),
        ">",
        0.0,
    ),
    Claim(
        233,
        "It is at most .01 less accurate than no attention",
        difference("accuracy", "fused_attention", "convolutions"),
        ">",
        -0.01,
    ),
)


def prepare(config: Config, run: Run, data: Dataset) -> tuple[Seed, Shared]:
    """Splits with a leading axis of seeds, and the images."""
    if data.kind != "images" or data.x.ndim != 3:
        raise UserError(f"This question needs grey images [N, H, W], {data.name} has {list(data.x.shape)}.")
    images = data.x / max(float(np.abs(data.x).max()), 1e-12)
    grid, _ = grid_of(images)
    if grid[0] % RATIO or grid[1] % RATIO:
        raise UserError(f"Images need an even number of tokens a side, {data.name} has a grid of {grid}.")
    train, test = [], []
    for seed in range(run.seeds):
        rows, rest = stratified_split(data.y, test_fraction=0.3, rng=np.random.default_rng(seed))
        train.append(np.isin(np.arange(len(data.y)), rows))
        test.append(rest[: config.test_rows])
    targets = np.eye(data.num_classes, dtype=np.float32)[data.y]
    seeds = Seed(run.seed_keys(), jnp.asarray(np.stack(train)), jnp.asarray(np.stack(test)))
    return seeds, Shared(jnp.asarray(images), jnp.asarray(targets))


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    seeds, shared = prepare(config, run, run.data())
    programs = Programs()

    def measure(method: Method) -> Measured:
        if method.fn.kind is not None:
            fn = functools.partial(method.fn.measure, config)
            found = programs.measured("maps", fn, seeds, shared, jnp.int32(method.fn.kind), mode="map")
            mixed = block_attention.KINDS[method.fn.kind].startswith("fused")
            kept = {name: value for name, value in found.metrics.items() if mixed or not name.startswith("alpha")}
            return found._replace(metrics=kept)
        found = over_seeds(functools.partial(method.fn.measure, config), seeds, mode="map", shared=(shared,))
        if method.fn.memory is not None:
            inputs = shared.images.shape[1] * shared.images.shape[2]
            once = method.fn.memory(config, inputs)
            found.metrics.update({name: np.full(run.seeds, value) for name, value in once.items()})
        return found

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Accuracy, how memory grows, and how a mixture of two kinds of attention is balanced."""
    figure, axes = plots.new_figure(columns=3, rows=2, title=f"Blocks that save memory: {result.dataset}")
    names = [m.name for m in METHODS]
    attention, stacks, maps = names[:4], names[4:7], names[7:]
    plots.method_bars(axes[0], result.rows.get("accuracy", {}), attention + stacks, "accuracy")
    plots.method_bars(axes[1], result.rows.get("accuracy_finer", {}), attention, "accuracy at twice the resolution")
    plots.method_bars(axes[2], result.rows.get("memory_exponent", {}), attention, "memory ~ tokens to the power of")
    plots.method_bars(axes[3], result.rows.get("memory_ratio", {}), stacks, "memory, 16 columns over 4")
    plots.method_bars(axes[4], result.rows.get("accuracy", {}), maps, "accuracy, feature maps")
    plots.method_bars(axes[5], result.rows.get("alpha", {}), maps, "share of coordinate attention")
    return figure
