"""Which self-supervised objective gives the best probe, and what collapses?

An encoder brings two views of a digit together without labels or contrast. What keeps it from mapping everything to one
point is a linear predictor on one side and a slow copy without gradient on the other. The predictor is learned, set
from the correlation of the features, or left out. A ridge classifier on a few labels reads the features; their spread
shows what collapsed. Features brought by ``--data`` have views by noise alone.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import plots
from experiments.claims import difference
from experiments.networks import Network, mlp
from experiments.programs import Programs
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError
from experiments.streams import stratified_split
from experiments.training import fit
from jaxlab import analytic, losses, metrics, selfsup
from jaxlab.numerics import gram_spectrum, normalize
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split into training and test rows, labelled rows, views, network"


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    hidden: int = 128
    """Width of the hidden layer."""
    width: int = 32
    """Width of the features."""
    steps: int = 400
    """Steps of stochastic gradient descent, batches of 128."""
    learning_rate: float = 0.05
    """Its momentum is 0.9."""
    weight_decay: float = 4e-4
    """Of all parameters, a learned predictor included."""
    target_momentum: float = 0.99
    """How much of the slow copy stays in a step."""
    view_noise: float = 0.15
    """Standard deviation of the noise on a view, for inputs between 0 and 1."""
    correlation_decay: float = 0.3
    """Weight of the old correlation in a step."""
    pred_eps: float = 0.1
    """Added to the eigenvalues of the predictor of DirectPred."""
    copy_eps: float = 0.3
    """Added to the diagonal of the predictor of DirectCopy."""
    labels: int = 200
    """Labelled rows of the probe."""
    ridge: float = 1.0
    """Of the probe, on features of unit mean square."""
    test_share: float = 0.3
    """Share of the rows to test on."""

    def __post_init__(self) -> None:
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share must lie in (0, 1), got {self.test_share}")


QUICK = {"hidden": 32, "width": 16, "steps": 60, "labels": 100}


class Seed(NamedTuple):
    """What one seed works on: row numbers, and labels."""

    key: Array
    train: Array  # [N]
    labelled: Array  # [L], among the training rows
    told: Array  # [L]
    test: Array  # [M]
    truth: Array  # [M]


class Shared(NamedTuple):
    """What every seed sees."""

    x: Array  # [N, D] in [0, 1]
    moves: Array  # int [V, D]: each line moves an image by some pixels


class Rule(NamedTuple):
    """One way to train, as numbers, so that all ways share a program."""

    predictor: Array  # int, place in PREDICTORS
    random: Array  # bool: a learned predictor starts as a random matrix, not as the identity
    joint: Array  # bool: the target is the network itself, with gradient
    trained: Array  # bool: False leaves the encoder as it was drawn


PREDICTORS = ("learned", "direct_pred", "direct_copy", "none")


def prepare(config: Config, data: Dataset, keys: Array) -> Seed:
    """Splits of every seed, and rows with labels, equally many of every class."""
    each = config.labels // data.num_classes
    if each < 1 or np.bincount(data.y).min() * (1 - config.test_share) < each + 1:
        raise UserError(
            f"{config.labels} labels of {data.num_classes} classes cannot be drawn from {data.name} (--labels)."
        )
    seeds = []
    for key in keys:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        train, test = stratified_split(data.y, test_fraction=config.test_share, rng=rng)
        labelled = np.concatenate([train[data.y[train] == c][:each] for c in range(data.num_classes)])
        seeds.append((train, labelled, data.y[labelled], test, data.y[test]))
    return Seed(keys, *(jnp.asarray(np.stack(column)) for column in zip(*seeds, strict=True)))


def share(data: Dataset) -> Shared:
    """Inputs between 0 and 1, and the moves of an image: by a pixel, or by two where it is large."""
    flat = data.x.reshape(len(data.x), -1)
    low, high = flat.min(), flat.max()
    place = np.arange(flat.shape[1])
    moves = [place]
    if data.kind == "images" and data.x.ndim == 3:
        far = 1 if data.x.shape[1] < 16 else 2
        image = place.reshape(data.x.shape[1:])
        steps = [(i, j) for i in (-far, 0, far) for j in (-far, 0, far)]
        moves = [np.roll(image, step, (0, 1)).ravel() for step in steps]
    return Shared(jnp.asarray((flat - low) / (high - low if high > low else 1)), jnp.asarray(np.stack(moves)))


def views(config: Config, key: Array, x: Array, moves: Array) -> Array:
    """Two views of every row, [2, B, D]: moved, and with noise."""
    move_key, noise_key = jax.random.split(key)
    which = jax.random.randint(move_key, (2, len(x)), 0, len(moves))
    moved = jnp.take_along_axis(jnp.broadcast_to(x, (2, *x.shape)), moves[which], axis=-1)
    return moved + config.view_noise * jax.random.normal(noise_key, moved.shape)


def _network(config: Config, dim: int) -> Network:
    return mlp((dim, config.hidden, config.width))


def without_contrast(config: Config, seed: Seed, shared: Shared, rule: Rule) -> Callable[[Array], Array]:
    """The encoder after training by the rule."""
    network = _network(config, shared.x.shape[1])
    init_key, predictor_key, key = jax.random.split(seed.key, 3)
    encoder = network.init(init_key)
    random = jax.nn.initializers.glorot_uniform()(predictor_key, (config.width, config.width))
    learned = jnp.where(rule.random, random, jnp.eye(config.width))

    def loss_fn(params: PyTree, state: PyTree, batch: dict[str, Array], key: Array) -> tuple[Array, PyTree]:
        pair = views(config, key, batch["x"], shared.moves)
        online = network.logits(params["encoder"], pair)
        corr = selfsup.correlation_ema_update(
            state["corr"], online.reshape(-1, config.width), decay=config.correlation_decay
        )
        choices = (
            lambda: params["predictor"],
            lambda: selfsup.direct_pred_update(corr.corr, eps=config.pred_eps),
            lambda: selfsup.direct_copy(corr.corr, eps=config.copy_eps),
            lambda: jnp.eye(config.width),
        )
        predicted = online @ jax.lax.switch(rule.predictor, choices)
        target = jnp.where(rule.joint, online, network.logits(state["target"], pair))[::-1]
        # Each call passes a gradient to its first argument alone: both together are the loss without stop-gradient.
        apart = losses.feature_alignment(predicted.reshape(-1, config.width), target.reshape(-1, config.width))
        back = losses.feature_alignment(target.reshape(-1, config.width), predicted.reshape(-1, config.width))
        loss = 4.0 * jnp.mean(jnp.where(rule.joint, apart + back, apart))
        slow = optax.incremental_update(params["encoder"], state["target"], 1.0 - config.target_momentum)
        return loss, {"target": slow, "corr": corr}

    start = {"encoder": encoder, "predictor": learned}
    state = {"target": encoder, "corr": selfsup.correlation_ema_init(config.width)}
    rows = {"x": shared.x[seed.train]}
    sizes = {"num_steps": config.steps, "batch_size": min(128, len(seed.train))}
    params = fit(
        loss_fn, start, state, _optimizer(config.learning_rate, config.weight_decay), rows, key, **sizes
    ).params
    final = jax.tree.map(lambda new, old: jnp.where(rule.trained, new, old), params["encoder"], encoder)
    return functools.partial(network.logits, final)


@functools.cache
def _optimizer(learning_rate: float, weight_decay: float) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.sgd(learning_rate, momentum=0.9))


def measure(
    config: Config, seed: Seed, shared: Shared, rule: Rule, *, num_classes: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracy of the probe, and how far unit features spread (1 / sqrt(width) where they fill all directions)."""
    encoder = without_contrast(config, seed, shared, rule)
    labelled, tests = (normalize(encoder(shared.x[rows])) for rows in (seed.labelled, seed.test))
    scale = math.sqrt(config.width)
    logits = analytic.linear_probe(
        scale * labelled, seed.told, scale * tests, ridge=config.ridge, num_classes=num_classes
    )
    spectrum = jnp.sort(gram_spectrum(tests, center=True))[::-1][: config.width] / len(tests)
    found = {"accuracy": metrics.accuracy(logits, seed.truth), "spread": jnp.mean(jnp.std(tests, axis=0))}
    return found, {"spectrum": jnp.maximum(spectrum, 1e-8)}


def rule(predictor: str, *, random: bool = False, joint: bool = False, trained: bool = True) -> Rule:
    """A rule by the name of its predictor."""
    return Rule(jnp.int32(PREDICTORS.index(predictor)), *map(jnp.bool_, (random, joint, trained)))


METHODS = (
    Method("untrained", None, functools.partial(rule, "none", trained=False), note="the encoder as it was drawn"),
    Method("learned", None, functools.partial(rule, "learned"), note="a learned predictor, the identity at first"),
    Method("learned_random", None, functools.partial(rule, "learned", random=True), note="a random matrix at first"),
    Method("direct_pred", 284, functools.partial(rule, "direct_pred"), note="eigenvalues of the correlation, raised"),
    Method("direct_copy", 284, functools.partial(rule, "direct_copy"), note="the correlation itself"),
    Method("no_predictor", None, functools.partial(rule, "none"), note="the slow copy alone"),
    Method("no_stop_gradient", None, functools.partial(rule, "learned", joint=True), note="a learned predictor alone"),
)

CLAIMS = (
    Claim(
        284,
        "DirectPred gives a better probe than a learned linear predictor that starts as the identity, by .05",
        difference("accuracy", "direct_pred", "learned"),
        ">",
        0.05,
    ),
    Claim(
        284,
        "DirectPred gives a better probe than a learned linear predictor that starts at random, by .1",
        difference("accuracy", "direct_pred", "learned_random"),
        ">",
        0.1,
    ),
    Claim(
        284,
        "The predictor is needed: DirectPred beats none at all, by .05",
        difference("accuracy", "direct_pred", "no_predictor"),
        ">",
        0.05,
    ),
    Claim(
        284,
        "Without the stop-gradient unit features collapse (spread)",
        lambda rows: rows["spread"]["no_stop_gradient"],
        "<",
        0.02,
    ),
    Claim(
        284,
        "With DirectPred they do not",
        lambda rows: rows["spread"]["direct_pred"],
        ">",
        0.1,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    seeds, shared, programs = prepare(config, data, run.seed_keys()), share(data), Programs()
    fn = functools.partial(measure, config, num_classes=data.num_classes)

    def measured(method: Method) -> Measured:
        # Eigenvectors and solves of several seeds at once can wait for each other for ever on a CPU with few cores.
        return programs.measured("without_contrast", fn, seeds, shared, method.fn(), mode="map")

    run.rows(METHODS, measured)


def plot(result: Result) -> Figure:
    """Accuracy of the probe, spread of the features, and the spectrum of their covariance."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Two views without contrast: {result.dataset}")
    grid = axes[0].get_gridspec()
    for ax in axes[1:4:2]:
        ax.remove()
    axes = [axes[0], axes[2], figure.add_subplot(grid[:, 1])]
    names = [method.name for method in METHODS]
    plots.method_bars(axes[0], result.rows.get("accuracy", {}), names, "accuracy of the probe")
    plots.method_bars(axes[1], result.rows.get("spread", {}), names, "spread of unit features")
    lowest = min((min(seeds) for seeds in result.rows.get("accuracy", {}).values()), default=1.0)
    axes[0].set_ylim(bottom=0.5 if lowest > 0.55 else 0.0)
    spectra: dict[str, Any] = {
        name: np.log10(np.asarray(values, float)) for name, values in result.curves.get("spectrum", {}).items()
    }
    if spectra:
        width = next(iter(spectra.values())).shape[-1]
        axes[1].axhline(1 / math.sqrt(width), color="0.3", linewidth=0.8, linestyle="--")
        axes[1].annotate(
            "all directions alike",
            (len(names) - 1, 1 / math.sqrt(width)),
            (0, -10),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
    plots.curves_over_tasks(
        axes[2], spectra, names, ylabel="variance of unit features, log10", xlabel="direction, by variance"
    )
    return figure
