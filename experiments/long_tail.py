"""Long tail and an unknown test prior: which loss, and which experts?

Some classes have fifty times fewer training rows than others. Test rows are as many of every class, or a long tail
like that of training (forward), or one that runs the other way (backward). Losses for one head and experts with
several heads learn from the same rows, views and steps; classifiers of features that were learned without labels have
the steps of that before.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import recalibration, tail_plots, tail_training
from experiments.claims import difference
from experiments.discovery_networks import Shared, shared_of
from experiments.programs import Programs
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError
from experiments.streams import first_of_each, stratified_split, tail_sizes
from experiments.tail_training import EXPERTS, Plan, Views
from jaxlab import metrics, weaksup
from jaxlab.typing import Array

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split into training and test rows, which classes are rare, networks"
PRIORS = ("forward", "uniform", "backward")
MANY, MEDIUM, FEW = 0, 1, 2


@dataclasses.dataclass(frozen=True)
class Config(tail_training.Settings):
    """The science of this question."""

    most: int = 100
    """Training rows of the most frequent class."""
    imbalance: float = 50.0
    """How many times rarer the rarest class is; the others lie between in equal ratios."""
    test_imbalance: float = 25.0
    """The same of the forward and backward test rows."""
    test_share: float = 0.4
    """Share of the rows to test on."""
    contrast_steps: int = 1000
    """Steps by which features are learned without labels, where a row begins so."""

    def __post_init__(self) -> None:
        if self.imbalance < 1 or self.most < self.imbalance:
            raise ValueError(f"imbalance must lie in [1, most], got {self.imbalance}")
        if self.test_imbalance < 1:
            raise ValueError(f"test_imbalance must be at least 1, got {self.test_imbalance}")
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share must lie in (0, 1), got {self.test_share}")
        if self.replicas < 2:
            raise ValueError(f"replicas must be at least 2, got {self.replicas}")


QUICK = {"most": 60, "steps": 30, "contrast_steps": 30, "hidden": 32, "width": 32, "ascent_steps": 20}


class Seed(NamedTuple):
    """What one seed works on."""

    key: Array
    train: Array  # int [N]
    labels: Array  # int [N]
    test: Array  # int [M]
    truth: Array  # int [M]
    counts: Array  # float [C], training rows of every class
    place: Array  # int [C], 0 for the most frequent class
    where: Array  # bool [len(PRIORS), M], the test rows of every prior


def group_of(place: Array, num_classes: int) -> Array:
    """MANY, MEDIUM or FEW by the place in the order of sizes."""
    third = -(-num_classes // 3)
    return jnp.where(place < third, MANY, jnp.where(place >= num_classes - third, FEW, MEDIUM))


def prepare(config: Config, run: Run, data: Dataset) -> tuple[Seed, Shared]:
    """Long-tailed training rows, and test rows with the masks of every prior; a leading axis of seeds."""
    num_classes = data.num_classes
    if num_classes < 3:
        raise UserError(f"A long tail needs at least 3 classes, {data.name} has {num_classes}.")
    sizes = tail_sizes(config.most, config.imbalance, num_classes)
    parts = []
    for key in run.seed_keys():
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        train, test = stratified_split(data.y, test_fraction=config.test_share, rng=rng)
        place = rng.permutation(num_classes)
        rows = first_of_each(data.y, train, sizes[place])
        fewest = min(np.bincount(data.y[test], minlength=num_classes))
        tests = [test[data.y[test] == c][:fewest] for c in range(num_classes)]
        parts.append((rows, place, tests))
    length = min(len(tests[0]) for _, _, tests in parts)
    kept = tail_sizes(length, config.test_imbalance, num_classes)
    seeds = []
    for rows, place, tests in parts:
        order = np.arange(length)
        by_class = [[order < kept[p], order < length, order < kept[num_classes - 1 - p]] for p in place]
        test = np.concatenate([own[:length] for own in tests])
        where = np.concatenate(np.array(by_class), axis=-1)
        seeds.append((rows, data.y[rows], test, data.y[test], np.float32(sizes[place]), place, where))
    stacked = [jnp.asarray(np.stack(column)) for column in zip(*seeds, strict=True)]
    return Seed(run.seed_keys(), *stacked), shared_of(data)


def train(
    config: Config, held: Sequence[str], seed: Seed, shared: Shared, plan: Plan
) -> tuple[dict[str, Array], dict[str, Views]]:
    """Logits of every replica, [R, ...]."""
    x, tests = shared.x[seed.train], shared.x[seed.test]

    def one(key: Array) -> Views:
        return tail_training.train(config, held, plan, key, x, seed.labels, tests, seed.counts, shared.image)

    return {}, {"views": jax.vmap(one)(jax.random.split(seed.key, config.replicas))}


def _task(config: Config, seed: Seed) -> tuple[recalibration.Settings, recalibration.Seed]:
    """This question as ``recalibration`` wants it: no label is wrong."""
    sizes = {name: getattr(config, name) for name in ("most", "hidden", "width", "steps", "contrast_steps")}
    group = group_of(seed.place, seed.counts.shape[0])
    rows = recalibration.Seed(seed.key, seed.train, seed.labels, seed.labels, seed.test, seed.truth, group)
    return recalibration.Settings(noise=0.0, **sizes), rows


def represent(config: Config, seed: Seed, shared: Shared) -> recalibration.Representation:
    """Features without labels, a network per replica [R, ...]."""
    settings, rows = _task(config, seed)
    learn = lambda key: recalibration.contrastive(settings, rows._replace(key=key), shared)  # noqa: E731
    return jax.vmap(learn)(jax.random.split(seed.key, config.replicas))


def calibrate(
    config: Config, recover: bool, tune: bool, seed: Seed, start: recalibration.Representation, shared: Shared
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Logits of a classifier of those features for every replica, as if all heads had them, [R, E, M, C]."""
    settings, rows = _task(config, seed)

    def one(key: Array, start: recalibration.Representation) -> Array:
        own = rows._replace(key=key)
        logits, _ = recalibration.on_contrast(settings, own, start, shared, recover=recover, tune=tune)
        return jnp.broadcast_to(logits, (EXPERTS + 1, *logits.shape))

    return {}, {"heads": jax.vmap(one)(jax.random.split(seed.key, config.replicas), start)}


def climb(config: Config, seed: Seed, views: Views) -> tuple[dict[str, Array], dict[str, Array]]:
    """Weights [R, P, E] of the experts of every replica, for every prior."""
    each = jax.vmap(functools.partial(tail_training.learned_weights, config), in_axes=(None, 0))
    return {}, {"weights": jax.vmap(each, in_axes=(0, None))(views, seed.where)}


def measure(seed: Seed, heads: Array, weights: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Accuracies of logits [R, E, M, C] in a sum of given weights [R, P, E], means over the replicas."""
    mixed = jax.vmap(jax.vmap(weaksup.aggregate_heads, in_axes=(None, 0)))(heads, weights)  # [R, P, M, C]
    num_classes = seed.counts.shape[0]
    right = jnp.argmax(mixed, axis=-1) == seed.truth
    rates = jnp.mean(right, axis=-1, where=seed.where)
    uniform = PRIORS.index("uniform")
    group = group_of(seed.place, num_classes)[seed.truth]
    found = {name: jnp.mean(rates[:, place]) for place, name in enumerate(PRIORS)}
    for place, name in ((MANY, "many"), (MEDIUM, "medium"), (FEW, "few")):
        found[name] = jnp.mean(right[:, uniform], where=group == place)
    probs = jax.nn.softmax(mixed[:, uniform])
    found["spread"] = jnp.sum(metrics.pairwise_disagreement(probs)) / (len(probs) * (len(probs) - 1))
    by_class = jax.vmap(lambda p: jnp.mean(right[:, uniform], where=seed.place[seed.truth] == p))
    shares = jnp.mean(weights, axis=0)[:, :EXPERTS]
    return found, {"by_place": by_class(jnp.arange(num_classes)), "weights": shares}


class Parts:
    """What rows share: trained networks by plan, and compiled programs."""

    def __init__(self, config: Config, run: Run) -> None:
        self.config, self.run = config, run
        self.seeds, self.shared = prepare(config, run, run.data())
        self.programs = Programs()
        self._trained: dict[Plan, Measured] = {}
        # The program holds the losses that are asked for, in the order of METHODS.
        self.held = tuple(
            dict.fromkeys(method.fn.plan.loss for method in run.todo(METHODS) if isinstance(method.fn, Row))
        )

    def trained(self, plan: Plan) -> tuple[Views, Mapping[str, float]]:
        """The networks of a plan, and the seconds that went into them if this is the first who asks."""
        if plan in self._trained:
            return self._trained[plan].curves["views"], dict.fromkeys(("compile", "run"), 0.0)
        numbers = plan._replace(loss=self.held.index(plan.loss))
        traced = jax.tree.map(lambda value: jnp.asarray(value, float if isinstance(value, float) else None), numbers)
        fn = functools.partial(train, self.config, self.held)
        found = self.programs.measured("train", fn, self.seeds, self.shared, traced)
        self._trained[plan] = found
        return found.curves["views"], found.timings

    @functools.cached_property
    def representation(self) -> recalibration.Representation:
        """The features that were learned without labels."""
        self.run.progress("learning features without labels")
        return jax.jit(jax.vmap(functools.partial(represent, self.config), in_axes=(0, None)))(self.seeds, self.shared)

    def judged(self, heads: Array, weights: Array) -> Measured:
        """What is measured of logits [S, R, E, M, C] and their weights [S, R, P, E]."""
        return self.programs.measured("measure", lambda three: measure(*three), (self.seeds, heads, weights))

    def constant(self, weights: Sequence[float]) -> Array:
        """The same weights for every seed, replica and prior."""
        shape = (self.run.seeds, self.config.replicas, len(PRIORS), EXPERTS + 1)
        return jnp.broadcast_to(jnp.asarray(weights), shape)


@dataclasses.dataclass(frozen=True)
class Row:
    """A plan, and the weights of its heads; None is those that SADE learns on the test rows."""

    plan: Plan
    weights: tuple[float, ...] | None = (1.0, 0.0, 0.0, 0.0)

    def __call__(self, parts: Parts) -> Measured:
        """Trains, unless another row has, and measures."""
        views, timings = parts.trained(self.plan)
        if self.weights is None:
            fn = lambda pair: climb(parts.config, *pair)  # noqa: E731
            climbed = parts.programs.measured("climb", fn, (parts.seeds, views))
            given = jnp.asarray(climbed.curves["weights"])
            timings = {name: timings[name] + climbed.timings[name] for name in timings}
        else:
            given = parts.constant(self.weights)
        found = parts.judged(views.plain, given)
        measured, curves = dict(found.metrics), dict(found.curves)
        shares = curves.pop("weights")  # [S, P, E]
        if self.weights is None:
            curves["weights"] = shares
            measured |= {f"lean_{name}": shares[:, p, 0] - shares[:, p, -1] for p, name in enumerate(PRIORS)}
        return Measured(measured, curves, {name: timings[name] + found.timings[name] for name in timings})


@dataclasses.dataclass(frozen=True)
class OnContrast:
    """A classifier of features that were learned without labels: ``recalibration.on_contrast``."""

    recover: bool = False
    tune: bool = False

    def __call__(self, parts: Parts) -> Measured:
        """Trains and measures."""
        fn = lambda pair, shared: calibrate(parts.config, self.recover, self.tune, *pair, shared)  # noqa: E731
        trained = parts.programs.measured(self, fn, (parts.seeds, parts.representation), parts.shared, mode="map")
        found = parts.judged(trained.curves["heads"], parts.constant(FIRST))
        timings = {name: trained.timings[name] + found.timings[name] for name in trained.timings}
        return Measured(found.metrics, {"by_place": found.curves["by_place"]}, timings)


SADE, MDCS = Plan("sade"), Plan("mdcs", consistent=True, confident=True)
FIRST, SECOND, THIRD, MEAN = (1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (1 / 3, 1 / 3, 1 / 3, 0)

METHODS = (
    Method("ce", None, Row(Plan("adjusted")), note="plain cross entropy"),
    Method("weighted", None, Row(Plan("adjusted", weighted=True)), note="classes weigh by effective numbers"),
    Method("ldam", None, Row(Plan("adjusted", margin=True)), note="margins that grow with rarity, on cosines"),
    Method("balanced", None, Row(Plan("adjusted", power=1.0)), note="balanced softmax"),
    Method("sla", 157, Row(Plan("sla"), (0, 0, 0, 1.0)), note="classes and quarter turns learned together"),
    Method("batch_former", 106, Row(Plan("batch_former")), note="attention between the examples of a batch"),
    Method("batch_former_apart", 106, Row(Plan("batch_former", shared=False)), note="a classifier of its own for it"),
    Method("batch_former_balanced", 106, Row(Plan("batch_former", balanced=True)), note="with a balanced softmax"),
    Method("sade_first", 60, Row(SADE, FIRST), note="the expert for the training prior"),
    Method("sade_second", 60, Row(SADE, SECOND), note="the expert for a uniform prior"),
    Method("sade_third", 60, Row(SADE, THIRD), note="the expert for rare classes"),
    Method("sade_mean", 60, Row(SADE, MEAN), note="all experts weigh the same"),
    Method("sade", 60, Row(SADE, None), note="weights learned from test rows without labels"),
    Method("mdcs_first", 212, Row(MDCS, FIRST), note="the expert for frequent classes"),
    Method("mdcs_second", 212, Row(MDCS, SECOND), note="the expert for a uniform prior"),
    Method("mdcs_third", 212, Row(MDCS, THIRD), note="the expert for rare classes"),
    Method("mdcs", 212, Row(MDCS, MEAN), note="all experts weigh the same"),
    Method("mdcs_plain", 212, Row(Plan("mdcs"), MEAN), note="without consistency"),
    Method("mdcs_all", 212, Row(Plan("mdcs", consistent=True), MEAN), note="consistency on all rows"),
    Method("contrastive", None, OnContrast(), note="a classifier of features learned without labels"),
    Method("recovered", 223, OnContrast(recover=True), note="with features drawn for rare classes"),
    Method("rcal", 223, OnContrast(recover=True, tune=True), note="and the body follows, on mixed rows"),
)


def _best(metric: str, family: str, best: str) -> Callable[[Any], Any]:
    """How far one expert leads the better of its two fellows."""
    others = [f"{family}_{name}" for name in ("first", "second", "third") if name != best]
    return lambda rows: rows[metric][f"{family}_{best}"] - np.maximum(*(rows[metric][name] for name in others))


def _shifted(rows: Any) -> Any:
    return sum(difference(prior, "sade", "sade_mean")(rows) for prior in ("forward", "backward")) / 2


CLAIMS = (
    Claim(60, "On a forward tail SADE's first expert is the best", _best("forward", "sade", "first"), ">", 0.0),
    Claim(60, "On a backward tail SADE's third expert is the best", _best("backward", "sade", "third"), ">", 0.0),
    Claim(
        60,
        "On a forward tail the learned weights favour the first expert over the third",
        lambda rows: rows["lean_forward"]["sade"],
        ">",
        0.0,
    ),
    Claim(
        60,
        "On a backward tail they favour the third over the first",
        lambda rows: -rows["lean_backward"]["sade"],
        ">",
        0.0,
    ),
    Claim(60, "On shifted test rows learned weights beat equal ones, by .01", _shifted, ">", 0.01),
    Claim(212, "MDCS's first expert is the best on frequent classes", _best("many", "mdcs", "first"), ">", 0.0),
    Claim(212, "MDCS's third expert is the best on rare classes", _best("few", "mdcs", "third"), ">", 0.0),
    Claim(
        212,
        "With consistency two networks of one training set predict more alike (KL)",
        difference("spread", "mdcs", "mdcs_plain"),
        "<",
        0.0,
    ),
    Claim(
        212,
        "Consistency on rows the weak view gets right is better than on all",
        difference("uniform", "mdcs", "mdcs_all"),
        ">",
        0.0,
    ),
    Claim(106, "BatchFormer is better on rare classes", difference("few", "batch_former", "ce"), ">", 0.0),
    Claim(106, "BatchFormer costs at most .01 in accuracy", difference("uniform", "batch_former", "ce"), ">", -0.01),
    Claim(
        106,
        "One classifier for both halves is better than one for each",
        difference("uniform", "batch_former", "batch_former_apart"),
        ">",
        0.0,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    parts = Parts(config, run)
    run.rows(METHODS, lambda method: method.fn(parts))


def plot(result: Result) -> Figure:
    """Accuracy under every prior, from frequent to rare classes, of the experts, and the weights that SADE finds."""
    shown = [m.name for m in METHODS if "_" not in m.name or m.name == "sade_mean"]
    return tail_plots.draw(result, shown, PRIORS)
