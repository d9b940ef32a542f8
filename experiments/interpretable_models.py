"""Can a model whose decisions can be read keep up with a network?

Two ways to see what a model does. Prototypes: a decision is what is seen of a few stored inputs, weighted for and
against every class, and it comes with a radius within which no perturbation changes it. Boosted units: a network whose
hidden units were trained one after the other, so that every unit has its place in line and the last can be switched
off. Rivals are the nearest class mean and the same network trained as a whole. Rules: conjunctions that vote, on three
tasks of true and false, beside naive Bayes, a tree and linear models.
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

from experiments.claims import difference
from experiments.prototype_plots import draw
from experiments.rule_learners import RULE_CLAIMS, RULE_METHODS, Rules
from experiments.rule_plots import draw_rules
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, over_seeds
from experiments.streams import stratified_split
from experiments.training import cosine_adam, fit
from jaxlab import analytic, losses, metrics, nn, optim
from jaxlab.optim.boosting import BoostedFit
from jaxlab.typing import Array

DATASETS = ("digits", "wine", "breast_cancer")
SEED_SCOPE = "split into training and test rows, first prototypes, batches, starts of the units and their rows"
CURVE_POINTS = 41


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    test_share: float = 0.3
    """Share of every class to test on."""
    prototypes_per_class: int = 2
    """Prototypes that start at rows of a class; afterwards every class reasons over all of them."""
    margin: float = 0.3
    """Margin of class probabilities in training."""
    small_margin: float = 0.1
    """The other margin."""
    train_steps: int = 1000
    """Steps of Adam on prototypes and reasoning, batches of 128."""
    learning_rate: float = 0.02
    """Its rate, which falls to 0 as a cosine."""
    attack_steps: int = 20
    """Steps of the gradient attack on the certificate."""
    units: int = 50
    """Hidden units of the networks."""
    shrinkage: float = 0.5
    """Learning rate of boosting."""
    subsample: float = 0.5
    """Share of the rows that a unit is fitted to."""
    lbfgs_steps: int = 200
    """Steps of L-BFGS, for every unit and for the network as a whole."""
    ridge: float = 1e-4
    """Penalty on the weights, for every unit and for the network as a whole."""
    rules: Rules = dataclasses.field(default_factory=Rules)

    def __post_init__(self) -> None:
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share must lie in (0, 1), got {self.test_share}")
        if self.units < 4:
            raise ValueError(f"units must be at least 4, a quarter of which is kept, got {self.units}")


QUICK = {"train_steps": 150, "units": 12, "lbfgs_steps": 20, "attack_steps": 5, "rules": Rules(epochs=2, xor_rows=500)}


class Seed(NamedTuple):
    """What one seed works on."""

    key: Array
    x: Array  # [N, D] training rows
    y: Array  # [N]
    test_x: Array  # [M, D]
    test_y: Array  # [M]
    prototypes: Array  # [K, D], where they start


class Context(NamedTuple):
    """What the seeds share."""

    num_classes: int
    kind: str  # images or features
    reach: float  # largest radius of the curves
    boosted: Callable[[], BoostedFit]  # trained for all seeds at the first call


# Prototypes: scores [n, C] of inputs [n, D], and the certified radius of every test row


class Certified(NamedTuple):
    """A classifier with a certificate."""

    scores: Callable[[Array], Array]
    radius: Array  # [M], for the right class
    curves: dict[str, Array]


def nearest_mean(config: Config, num_classes: int, seed: Seed) -> Certified:
    """The nearest class mean; its radius is the distance to the hyperplanes between the means."""
    means = analytic.class_stats_means(
        analytic.class_stats_update(analytic.class_stats_init(num_classes, seed.x.shape[1]), seed.x, seed.y)
    )

    def scores(x: Array) -> Array:
        return analytic.prototype_logits(x, means)

    gaps = scores(seed.test_x)
    gaps = jnp.take_along_axis(gaps, seed.test_y[:, None], axis=1) - gaps
    apart = jnp.linalg.norm(means[seed.test_y][:, None] - means, axis=-1)
    rival = jnp.arange(num_classes) != seed.test_y[:, None]
    distance = jnp.where(rival, gaps / jnp.where(rival, 2 * apart, 1.0), jnp.inf)
    return Certified(scores, jnp.maximum(0.0, jnp.min(distance, axis=1)), {"prototypes": means})


def components(
    config: Config, num_classes: int, seed: Seed, *, margin: Callable[[Config], float], negative: bool = True
) -> Certified:
    """Prototypes, one bandwidth and reasoning trained together by the margin loss."""
    count = seed.prototypes.shape[0]
    key, theta_key = jax.random.split(seed.key)
    theta = 0.6 + 0.2 * jax.random.normal(theta_key, ((1 + negative) * count, num_classes))
    width = jnp.log(nn.median_bandwidth(seed.x, seed.prototypes))
    start = {"prototypes": seed.prototypes, "log_bandwidth": width, "theta": theta}

    def probabilities(params: dict[str, Array], x: Array) -> Array:
        seen = nn.rbf_detections(x, params["prototypes"], bandwidth=jnp.exp(params["log_bandwidth"]))
        return nn.cbc_probabilities(seen, *nn.component_reasoning(params["theta"], negative=negative))

    def loss_fn(params: dict[str, Array], state: None, batch: dict[str, Array], key: Array) -> tuple[Array, None]:
        p = probabilities(params, batch["x"])
        each = losses.template_margin(p, jnp.arange(num_classes), batch["y"], margin=margin(config))
        return jnp.mean(each), None

    optimizer = cosine_adam(config.learning_rate, config.train_steps)
    data = {"x": seed.x, "y": seed.y}
    options = {"num_steps": config.train_steps, "batch_size": min(128, len(seed.x))}
    params = fit(loss_fn, start, None, optimizer, data, key, **options).params

    bandwidth = jnp.exp(params["log_bandwidth"])
    positive, against = nn.component_reasoning(params["theta"], negative=negative)
    seen = nn.rbf_detections(seed.test_x, params["prototypes"], bandwidth=bandwidth)
    radius = metrics.cbc_certified_radius(seen, positive, against, seed.test_y, bandwidth=bandwidth)
    curves = {"prototypes": params["prototypes"], "positive": positive, "negative": against}
    return Certified(functools.partial(probabilities, params), radius, curves)


def certified_row(make: Callable[..., Certified], config: Config, context: Context, seeds: Seed) -> Measured:
    """Accuracy, what the certificate promises, and whether gradient attacks respect it."""

    def measure(seed: Seed) -> tuple[dict[str, Array], dict[str, Array]]:
        made = make(config, context.num_classes, seed)
        x, y, right = seed.test_x, seed.test_y, made.radius > 0

        def loss(z: Array) -> Array:
            # A margin beyond every score, so that the gradient never vanishes.
            return losses.template_margin(made.scores(z), jnp.arange(context.num_classes), y, margin=1e6)

        def flipped(factor: Array) -> Array:
            """Share of the rows decided rightly that an attack of so many radii turns."""
            size = factor * made.radius
            steps = config.attack_steps
            near = optim.projected_gradient_attack(loss, x, eps=size, step=2 * size / steps, num_iters=steps, norm="l2")
            wrong = jnp.argmax(made.scores(near), axis=-1) != y
            return jnp.sum(wrong & right) / jnp.maximum(jnp.sum(right), 1)

        inside, at_double = jax.lax.map(flipped, jnp.array([0.999, 2.0]))
        radii = jnp.linspace(0.0, context.reach, CURVE_POINTS)
        found = {
            "accuracy": metrics.accuracy(made.scores(x), y),
            "certified_radius": jnp.mean(made.radius),
            "flipped_inside": inside,
            "flipped_at_double": at_double,
        }
        held = jnp.mean((made.radius > radii[:, None]).astype(jnp.float32), axis=1)
        return found, {**made.curves, "certified_accuracy": held, "radii": radii}

    return over_seeds(measure, seeds, mode="map")


# Units


def class_logits(scores: Array) -> Array:
    """A column per class, of one logit or of one score per class."""
    return jnp.concatenate([jnp.zeros_like(scores), scores], axis=-1) if scores.shape[-1] == 1 else scores


def by_units(network: nn.SmallMLP, bias: Array, x: Array, y: Array) -> Array:
    """Accuracy with the first 0, 1, ... of the units, where ``bias`` [units + 1, O] goes with each number."""
    hidden = jax.nn.sigmoid(x @ network.weight_in + network.bias_in)

    def keep(total: Array, unit: tuple[Array, Array]) -> tuple[Array, Array]:
        total = total + unit[0][:, None] * unit[1]
        return total, total

    nothing = jnp.zeros((len(x), bias.shape[1]))
    _, totals = jax.lax.scan(keep, nothing, (hidden.T, network.weight_out))
    totals = jnp.concatenate([nothing[None], totals]) + bias[:, None]
    return jax.vmap(lambda scores: metrics.accuracy(class_logits(scores), y))(totals)


def joint_row(config: Config, context: Context, seeds: Seed) -> Measured:
    """The network trained as a whole; its curve cuts it in the order in which the units happen to stand."""
    outputs = 1 if context.num_classes == 2 else context.num_classes

    def measure(seed: Seed) -> tuple[dict[str, Array], dict[str, Array]]:
        nothing = jnp.zeros((len(seed.x), outputs))
        # Without a step the fit of a stage is its random start.
        start = optim.fit_small_mlp(seed.key, seed.x, nothing, width=config.units, num_steps=0)

        def loss(params: nn.SmallMLP) -> Array:
            logits = class_logits(nn.small_mlp(params, seed.x))
            error = jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, seed.y))
            squares = jnp.sum(params.weight_in**2) + jnp.sum(params.weight_out**2)
            return error + 0.5 * config.ridge * squares / len(seed.x)

        network = optim.minimize(loss, start, optax.lbfgs(), num_steps=config.lbfgs_steps).params
        bias = jnp.tile(network.bias_out, (config.units + 1, 1))
        curve = by_units(network, bias, seed.test_x, seed.test_y)
        return {"accuracy": curve[-1], "units": jnp.asarray(float(config.units))}, {"by_units": curve}

    return over_seeds(measure, seeds, mode="map")


def train_boosted(config: Config, num_classes: int, seeds: Seed) -> BoostedFit:
    """The boosted models of all seeds."""
    boost = functools.partial(
        optim.gradient_boosted_network,
        loss="binary" if num_classes == 2 else "multiclass",
        num_classes=num_classes,
        num_stages=config.units,
        learning_rate=config.shrinkage,
        subsample=config.subsample,
        num_steps=config.lbfgs_steps,
        ridge=config.ridge,
    )
    # One after the other: together, every line search would take as long as the longest.
    return jax.jit(lambda *rows: jax.lax.map(lambda row: boost(*row), rows))(seeds.key, seeds.x, seeds.y)


def boosted_row(config: Config, context: Context, seeds: Seed, *, parts: int) -> Measured:
    """The first of so many equal parts of the boosted units, as a network of their own."""
    kept = config.units // parts

    def measure(seed: Seed, model: nn.Boosted) -> tuple[dict[str, Array], dict[str, Array]]:
        scale = 2.0 if context.num_classes == 2 else 1.0
        prefix = nn.boosted_prefix(model, kept)
        network = nn.assemble_boosted(prefix, scale=scale)
        logits = class_logits(nn.small_mlp(network, seed.test_x))
        fitted = jax.vmap(nn.small_mlp, in_axes=(0, None))(prefix.stages, seed.test_x)
        staged = prefix.intercept + jnp.einsum("t,tno->no", prefix.steps, fitted)
        same = jnp.argmax(class_logits(staged), axis=-1) == jnp.argmax(logits, axis=-1)
        constants = jnp.cumsum(prefix.steps[:, None] * prefix.stages.bias_out, axis=0)
        bias = scale * (prefix.intercept + jnp.concatenate([jnp.zeros_like(constants[:1]), constants]))
        found = {"accuracy": metrics.accuracy(logits, seed.test_y), "units": jnp.asarray(float(kept))}
        found["as_staged"] = jnp.mean(same.astype(jnp.float32))
        return found, {"by_units": by_units(network, bias, seed.test_x, seed.test_y)}

    return over_seeds(measure, seeds, context.boosted().model)


def _certified(make: Callable[..., Certified], **options: Any) -> Callable[..., Measured]:
    return functools.partial(certified_row, functools.partial(make, **options))


_WIDE, _NARROW = (lambda config: config.margin), (lambda config: config.small_margin)
METHODS = (
    Method("nearest_mean", None, _certified(nearest_mean), note="a prototype per class, its mean"),
    Method("rbf", 279, _certified(components, margin=_WIDE, negative=False), note="reasoning for a class alone"),
    Method("cbc", 279, _certified(components, margin=_WIDE), note="reasoning for and against"),
    Method("cbc_small_margin", 279, _certified(components, margin=_NARROW), note="the same, for a smaller margin"),
    Method("mlp", None, joint_row, note="all units trained together"),
    Method("boosted", 278, functools.partial(boosted_row, parts=1), note="one unit after the other"),
    Method("boosted_half", 278, functools.partial(boosted_row, parts=2), note="the first half of the units"),
    Method("boosted_quarter", 278, functools.partial(boosted_row, parts=4), note="the first quarter"),
    *RULE_METHODS,
)
BOOSTED = ("boosted", "boosted_half", "boosted_quarter")


CLAIMS = (
    Claim(
        279,
        "Classification by components is more accurate than the nearest class mean, at the margin of 0.3",
        difference("accuracy", "cbc", "nearest_mean"),
        ">",
        0.0,
    ),
    Claim(
        279,
        "It is more accurate at the margin of 0.1",
        difference("accuracy", "cbc_small_margin", "nearest_mean"),
        ">",
        0.0,
    ),
    Claim(
        279,
        "Training with a larger margin raises the mean certified radius",
        difference("certified_radius", "cbc", "cbc_small_margin"),
        ">",
        0.0,
    ),
    Claim(
        279,
        "No gradient attack inside the certified radius changes a right decision (share that changes)",
        lambda rows: np.max([rows["flipped_inside"][name] for name in ("rbf", "cbc", "cbc_small_margin")], axis=0),
        "within",
        0.0,
    ),
    Claim(
        278,
        "Without the second half of its boosted units the network loses less than 2 points",
        difference("accuracy", "boosted", "boosted_half"),
        "<",
        0.02,
    ),
    Claim(
        278,
        "The boosted network is within 2 points of the network trained as a whole",
        difference("accuracy", "boosted", "mlp"),
        "within",
        0.02,
    ),
    Claim(
        278,
        "The assembled network decides as its stages do (share that differs)",
        lambda rows: 1.0 - np.min([rows["as_staged"][name] for name in BOOSTED], axis=0),
        "within",
        0.0,
    ),
    *RULE_CLAIMS,
)


def scaled(x: np.ndarray, train: np.ndarray, kind: str) -> np.ndarray:
    """Rows [N, D]: features of mean 0 and deviation 1 on the training rows, images in [0, 1] by their range there."""
    x = x.reshape(len(x), -1)
    if kind == "images":
        low, high = x[train].min(), x[train].max()
        return (x - low) / (high - low if high > low else 1)
    deviation = x[train].std(axis=0)
    return (x - x[train].mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def split(config: Config, data: Dataset, seed: int) -> tuple[np.ndarray, ...]:
    """Training rows and labels, test rows and labels, and the first prototypes of one seed."""
    rng = np.random.default_rng(seed)
    train, test = stratified_split(data.y, test_fraction=config.test_share, rng=rng)
    x = scaled(data.x, train, data.kind)
    each = config.prototypes_per_class
    own = [train[data.y[train] == label] for label in range(data.num_classes)]
    # A class with fewer rows repeats some; the noise keeps its prototypes apart.
    chosen = np.concatenate([rng.choice(rows, each, replace=len(rows) < each) for rows in own])
    prototypes = x[chosen] + 0.01 * rng.standard_normal((len(chosen), x.shape[1]))
    return x[train], data.y[train], x[test], data.y[test], prototypes.astype(np.float32)


def prepare(keys: Array, parts: list[tuple[np.ndarray, ...]]) -> Seed:
    """The splits of all seeds with a leading axis of seeds."""
    return Seed(keys, *(jnp.asarray(np.stack(part)) for part in zip(*parts, strict=True)))


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    splits = [split(config, data, seed) for seed in range(run.seeds)]
    seeds = run.shard(prepare(run.seed_keys(), splits))
    # A quarter of the median distance between two rows: beyond it hardly anything is certified.
    rows = np.asarray(seeds.test_x[0][:200], float)
    gaps = np.sqrt(np.maximum(((rows[:, None] - rows) ** 2).sum(-1), 0))
    reach = 0.25 * float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0

    @functools.cache
    def boosted() -> BoostedFit:
        run.progress("boosting the units")
        return train_boosted(config, data.num_classes, seeds)

    context = Context(data.num_classes, data.kind, reach, boosted)
    run.rows(METHODS, lambda method: method.fn(config, context, seeds))


def plot(result: Result) -> Figure:
    """Prototypes with their reasoning, accuracy by units kept, certified accuracy by radius, and rules."""
    certified = ("nearest_mean", "rbf", "cbc", "cbc_small_margin")
    names = [method.name for method in RULE_METHODS]
    more = functools.partial(draw_rules, result, names) if set(names) & set(result.finished) else None
    return draw(result, shown=certified[:0:-1], units=("mlp", "boosted"), certified=certified, more=more)
