"""Order, size and epochs at an equal budget: what should be repeated, and can the effect of an order be predicted?

Order: a small network on digits sees 25 batches in 20 orders. It is trained in one of them; where the others lead is
estimated by expanding about that run, and compared with training again. Its units are smooth (tanh), as those of a
language model are; for rectifiers, whose kinks no expansion sees, the numbers are given beside. Epochs: a network
that predicts the next character of Python's English manual from the eight before it takes the same number of steps on
fresh text, or on a fourth or sixteenth of it again and again. Size: the same product of parameters and characters
spent on a network of the size that the one-epoch rule names, on one of a fourth of it and on one of four times it;
all see fresh text only.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets.text_windows import prose
from experiments.claims import difference, ratio
from experiments.networks import mlp
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from experiments.training import LossFn, cosine_adam, fit
from jaxlab import metrics, optim
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split, first weights, batches and their orders, which text is read and which is held out"

CONTEXT, EMBEDDING = 8, 16
VOCABULARY = 97  # printable characters, and one for all others
BATCH = 64
PIECES = 25  # of a run over text, after each of which the test loss is taken
# Optimiser and units of the network on digits.
SETTINGS = {"adam": ("adam", jnp.tanh), "sgd": ("sgd", jnp.tanh), "relu": ("adam", jax.nn.relu)}


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    batches: int = 25
    """Batches of 32 digits, each seen once."""
    orders: int = 20
    """Orders in which they are seen."""
    hidden: int = 16
    """Hidden units of the network on digits."""
    adam_rate: float = 3e-3
    sgd_rate: float = 0.5
    budget: float = 1.5e9
    """Parameters times characters of a run over text."""
    ratio: float = 5.0
    """Characters per parameter that the one-epoch rule asks for."""
    text_rate: float = 3e-3
    """Of Adam on text; it falls to zero as a cosine."""
    dropout: float = 0.2
    """Of hidden units on text, in the rows that have it."""
    test_rows: int = 4000
    """Characters of held-out text to predict."""

    def __post_init__(self) -> None:
        if self.batches < 2 or self.orders < 3:
            raise ValueError(f"batches must be at least 2 and orders 3, got {self.batches} and {self.orders}")
        if self.width(0.25) < 1:
            raise ValueError(f"budget must leave a hidden unit for a fourth of the rule's size, got {self.budget:g}")

    def size(self, factor: float) -> tuple[float, int]:
        """Parameters of a network ``factor`` times the rule's size, and steps it can pay for."""
        with jax.ensure_compile_time_eval():  # sizes are needed while a program is traced
            params, tokens = map(float, optim.size_iteration_adjustment(jnp.asarray(self.budget), ratio=self.ratio))
        return params * factor, max(PIECES, round(tokens / factor / BATCH / PIECES) * PIECES)

    def width(self, factor: float) -> int:
        """Hidden units that make so many parameters."""
        fixed = VOCABULARY * (EMBEDDING + 1)
        return round((self.size(factor)[0] - fixed) / (CONTEXT * EMBEDDING + 1 + VOCABULARY))


QUICK = {"batches": 6, "orders": 4, "budget": 4e8, "test_rows": 500}


class Seed(NamedTuple):
    """What one seed works on."""

    key: Array
    batches: Array  # int [T, B], rows of digits
    test: Array  # bool [N], digits held out
    orders: Array  # int [O, T]
    places: Array  # int [P], characters to be read, in random order
    held_out: Array  # int [Q], characters to be tested on


class Shared(NamedTuple):
    """What all seeds see."""

    x: Array  # [N, D]
    targets: Array  # [N, C], one-hot
    text: Array  # int [L]


# --- order


def optimizer(config: Config, name: str) -> optax.GradientTransformation:
    return optax.adam(config.adam_rate) if name == "adam" else optax.sgd(config.sgd_rate)


def retrained(config: Config, seed: Seed, shared: Shared, setting: str) -> tuple[Any, ...]:
    """The recorded run, the parameters after each order, what measures them, and what a replay needs."""
    name, activation = SETTINGS[setting]
    network = mlp((shared.x.shape[1], config.hidden, shared.targets.shape[1]), activation)
    batches = {"x": shared.x[seed.batches], "targets": shared.targets[seed.batches]}

    def loss(params: PyTree, x: Array, targets: Array) -> Array:
        return optax.losses.softmax_cross_entropy(network.logits(params, x), targets)

    def gradient(params: PyTree, batch: dict[str, Array]) -> PyTree:
        return jax.grad(lambda p: jnp.mean(loss(p, batch["x"], batch["targets"])))(params)

    def test_loss(params: PyTree) -> Array:
        return jnp.mean(loss(params, shared.x, shared.targets), where=seed.test)

    start, chosen = network.init(seed.key), optimizer(config, name)
    record = functools.partial(optim.record_trajectory, gradient, start, optimizer=chosen)
    reference = record(batches)
    truth = jax.lax.map(lambda order: record(jax.tree.map(lambda leaf: leaf[order], batches)).last, seed.orders)
    return reference, truth, test_loss, gradient, batches, chosen


def replay(
    config: Config,
    seed: Seed,
    shared: Shared,
    *,
    taylor_order: int,
    expand: str = "gradient",
    settings: Sequence[str] = tuple(SETTINGS),
) -> tuple[dict[str, Array], dict[str, Array]]:
    """How far estimates of what other orders lead to are off, and how they rank the orders."""
    measured: dict[str, Array] = {}
    curves: dict[str, Array] = {}
    for name in settings:
        reference, truth, test_loss, gradient, batches, chosen = retrained(config, seed, shared, name)
        estimate = functools.partial(
            optim.replay_order, reference, gradient, batches, optimizer=chosen, taylor_order=taylor_order, expand=expand
        )
        found = jax.lax.map(estimate, seed.orders)
        off = jax.vmap(functools.partial(metrics.order_estimate_error, base=reference.last))
        losses = [jax.lax.map(test_loss, params) for params in (truth, found)]
        measured |= {f"error_{name}": jnp.mean(off(found, truth)), f"correlation_{name}": metrics.pearson(*losses)}
        curves |= {f"true_{name}": losses[0], f"estimated_{name}": losses[1]}
    return measured, curves


# --- text


def text_init(key: Array, width: int) -> dict[str, Array]:
    keys = jax.random.split(key, 3)
    inputs = CONTEXT * EMBEDDING
    return {
        "embedding": jax.random.normal(keys[0], (VOCABULARY, EMBEDDING)),
        "hidden": jax.random.normal(keys[1], (inputs, width)) * (2.0 / inputs) ** 0.5,
        "hidden_bias": jnp.zeros(width),
        "head": jax.random.normal(keys[2], (width, VOCABULARY)) / width**0.5,
        "head_bias": jnp.zeros(VOCABULARY),
    }


def next_character_loss(params: PyTree, batch: dict[str, Array], dropout: float, key: Array | None) -> Array:
    """Nats per character."""
    seen = params["embedding"][batch["context"]].reshape(len(batch["context"]), -1)
    hidden = jax.nn.relu(seen @ params["hidden"] + params["hidden_bias"])
    if dropout and key is not None:
        kept = jax.random.bernoulli(key, 1.0 - dropout, hidden.shape)
        hidden = jnp.where(kept, hidden / (1.0 - dropout), 0.0)
    logits = hidden @ params["head"] + params["head_bias"]
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, batch["next"]))


@functools.cache
def text_loss(dropout: float) -> LossFn:
    """The training loss; the same object for the same dropout."""
    return lambda params, state, batch, key: (next_character_loss(params, batch, dropout, key), state)


def rows_of_text(text: Array, places: Array) -> dict[str, Array]:
    """The characters at some places, and those before them."""
    return {"context": text[places[:, None] + jnp.arange(-CONTEXT, 0)], "next": text[places]}


def read(
    config: Config, seed: Seed, shared: Shared, *, epochs: int = 1, dropout: bool = False, factor: float = 1.0
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Test loss along a run over text: ``epochs`` passes over that part of what one pass would read."""
    _, steps = config.size(factor)
    total, piece = steps * BATCH, steps // PIECES
    read_key, init_key, fit_key = jax.random.split(seed.key, 3)
    fresh = seed.places[: total // epochs]
    shuffle = lambda key: fresh[jnp.argsort(jax.random.uniform(key, fresh.shape))]  # noqa: E731
    passes = jax.lax.map(shuffle, jax.random.split(read_key, epochs)).reshape(-1)
    passes = jnp.concatenate([passes, fresh[: total - passes.shape[0]]])
    test = rows_of_text(shared.text, seed.held_out)
    chosen = cosine_adam(config.text_rate, steps)
    loss_fn = text_loss(config.dropout if dropout else 0.0)
    params = text_init(init_key, config.width(factor))

    def one_piece(carry: tuple[PyTree, PyTree], item: tuple[Array, Array]) -> tuple[tuple[PyTree, PyTree], Array]:
        params, opt_state = carry
        places, key = item
        rows = rows_of_text(shared.text, places)
        found = fit(loss_fn, params, None, chosen, rows, key, num_steps=piece, batch_size=BATCH, opt_state=opt_state)
        return (found.params, found.opt_state), next_character_loss(found.params, test, 0.0, None)

    items = passes.reshape(PIECES, -1), jax.random.split(fit_key, PIECES)
    _, curve = jax.lax.scan(one_piece, (params, chosen.init(params)), items)
    return {"test_loss": curve[-1], "best_loss": jnp.min(curve)}, {"test_loss": curve}


METHODS = (
    Method("no_expansion", None, functools.partial(replay, taylor_order=0), note="gradients of the recorded run"),
    Method(
        "first_order", 51, functools.partial(replay, taylor_order=1), note="gradient expanded, moments of the order"
    ),
    Method(
        "second_order",
        51,
        functools.partial(replay, taylor_order=2, settings=("adam", "relu")),
        note="without gradient descent, at whose rate it diverges",
    ),
    Method(
        "first_order_update",
        51,
        functools.partial(replay, taylor_order=1, expand="update"),
        note="Adam's direction expanded, moments of the recorded run",
    ),
    Method("one_epoch", 159, read, note="size and text by the rule"),
    Method("epochs_4", None, functools.partial(read, epochs=4)),
    Method("epochs_16", None, functools.partial(read, epochs=16)),
    Method("one_epoch_dropout", None, functools.partial(read, dropout=True)),
    Method("epochs_16_dropout", None, functools.partial(read, epochs=16, dropout=True)),
    Method("quarter_size", None, functools.partial(read, factor=0.25), note="four times the text"),
    Method("four_times_size", None, functools.partial(read, factor=4.0), note="a fourth of the text"),
)


def _speedup(rows: Any) -> Any:
    return rows["speedup"]["epochs_16"]


def _best_other_size(rows: Any) -> Any:
    loss = rows["test_loss"]
    return np.minimum(loss["quarter_size"], loss["four_times_size"]) - loss["one_epoch"]


CLAIMS = (
    Claim(
        51,
        "Adam: the first-order estimate is off by less than half of what no expansion is",
        ratio("error_adam", "first_order", "no_expansion"),
        "<",
        0.5,
    ),
    Claim(
        51,
        "Adam: estimated test losses of the orders correlate with the true ones by more than .9",
        lambda rows: rows["correlation_adam"]["first_order"],
        ">",
        0.9,
    ),
    Claim(
        51,
        "Gradient descent: the first order ranks the orders better than no expansion",
        difference("correlation_sgd", "first_order", "no_expansion"),
        ">",
        0.0,
    ),
    Claim(
        51,
        "Adam's direction expanded, as published, is nearer than no expansion",
        difference("error_adam", "first_order_update", "no_expansion"),
        "<",
        0.0,
    ),
    Claim(
        159,
        "One epoch of fresh text ends below 16 epochs of a sixteenth of it",
        difference("test_loss", "epochs_16", "one_epoch"),
        ">",
        0.0,
    ),
    Claim(159, "The more epochs, the worse: 16 against 4", difference("test_loss", "epochs_16", "epochs_4"), ">", 0.0),
    Claim(159, "One epoch reaches the best loss of 16 epochs in 1 / 1.9 of their steps", _speedup, ">", 1.9),
    Claim(159, "In one epoch dropout hurts", difference("test_loss", "one_epoch_dropout", "one_epoch"), ">", 0.0),
    Claim(159, "The rule's size beats a fourth and four times of it at the same budget", _best_other_size, ">", 0.0),
)


def encoded(text: str) -> np.ndarray:
    """Printable characters by number; all others are one."""
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int32) - 32
    return np.where((codes >= 0) & (codes < VOCABULARY - 1), codes, VOCABULARY - 1)


def prepare(config: Config, run: Run, data: Dataset) -> tuple[Seed, Shared]:
    """Splits, batches, orders and text, with a leading axis of seeds, and what they are taken from."""
    text, (_, steps) = encoded(prose()), config.size(0.25)
    needed, batch = steps * BATCH, 32
    places = np.arange(CONTEXT, len(text))
    held_out = max(config.test_rows, len(places) // 10)
    if len(places) - held_out < needed:
        raise UserError(f"--budget asks for {needed} characters, but Python's manual has {len(places) - held_out}.")
    x = data.x.reshape(len(data.x), -1)
    x = x / max(float(np.abs(x).max()), 1e-12)
    targets = np.eye(data.num_classes, dtype=np.float32)[data.y]
    seeds = []
    for seed in range(run.seeds):
        rng = np.random.default_rng(seed)
        rows, _ = stratified_split(data.y, test_fraction=0.3, rng=rng)
        if len(rows) < config.batches * batch:
            raise UserError(f"--batches asks for {config.batches * batch} rows, {data.name} trains on {len(rows)}.")
        batches = rng.permutation(rows)[: config.batches * batch].reshape(config.batches, batch)
        orders = np.stack([rng.permutation(config.batches) for _ in range(config.orders)])
        # A whole stretch of the manual is held out, not characters among those that are read.
        first = int(rng.integers(0, len(places) - held_out + 1))
        rest = np.concatenate([places[:first], places[first + held_out :]])
        tested = rng.choice(places[first : first + held_out], config.test_rows, replace=False)
        test = ~np.isin(np.arange(len(data.y)), rows)
        seeds.append(Seed(np.zeros(0), batches, test, orders, rng.permutation(rest)[:needed], tested))
    stacked = jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *seeds)
    return stacked._replace(key=run.seed_keys()), Shared(*map(jnp.asarray, (x, targets, text)))


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    seeds, shared = prepare(config, run, run.data())
    reference: dict[str, np.ndarray] = {}

    def measure(method: Method) -> Measured:
        found = over_seeds(functools.partial(method.fn, config), seeds, mode="map", shared=(shared,))
        if method.name == "one_epoch":
            reference["curve"] = found.curves["test_loss"]
        elif "epochs" in method.name and "curve" in reference:
            found.metrics["speedup"] = speedups(reference["curve"], found.metrics["best_loss"])
        return found

    run.rows(METHODS, measure)


def speedups(curves: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How many times fewer steps one epoch takes to the best loss of a run; 0 where it never gets there."""
    steps = jnp.arange(1.0, PIECES + 1.0)
    reach = jax.vmap(lambda curve, target: metrics.time_to_target(steps, curve, target, mode="min"))
    return PIECES / np.asarray(reach(jnp.asarray(curves), jnp.asarray(targets)))


def plot(result: Result) -> Figure:
    """True against estimated losses of the orders, errors of the estimates, loss over text, loss by size."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Order on {result.dataset}; epochs and size on text")
    _scatter(axes[0], result)
    replayed = [method.name for method in METHODS if method.paper == 51 or method.name == "no_expansion"]
    plots.method_bars(axes[1], result.rows.get("error_adam", {}), replayed, "error of the estimate (Adam)")
    names = ("one_epoch", "epochs_4", "epochs_16", "one_epoch_dropout", "epochs_16_dropout")
    found = result.curves.get("test_loss", {})
    lines = {name: found[name] for name in names if name in found}
    if lines:
        share = np.arange(1, PIECES + 1) / PIECES
        options = {"ylabel": "test loss (nats per character)", "xlabel": "share of the steps", "x": share}
        plots.curves_over_tasks(axes[2], lines, list(lines), **options)
    sizes = ("quarter_size", "one_epoch", "four_times_size")
    plots.method_bars(axes[3], result.rows.get("test_loss", {}), sizes, "test loss at an equal budget")
    return figure


def _scatter(ax: Axes, result: Result) -> None:
    """A dot per order: the loss it leads to, and what was estimated; the first seed."""
    true, estimated = (result.curves.get(f"{what}_adam", {}) for what in ("true", "estimated"))
    for position, name in enumerate(("no_expansion", "first_order")):
        if name in true:
            style = plots.style(position)
            ax.scatter(
                true[name][0], estimated[name][0], s=22, color=style["color"], marker=style["marker"], label=name
            )
    if true:
        ends = ax.get_xlim()
        ax.plot(ends, ends, color="0.6", linewidth=1.0, zorder=0)
        ax.legend(fontsize=9, frameon=False)
    ax.set_xlabel("test loss after training in that order", fontsize=11)
    ax.set_ylabel("estimated", fontsize=11)
