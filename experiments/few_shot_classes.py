"""New classes from one to sixteen examples: who wins, inductive or transductive?

Three settings. Beside known classes: a network learns the base classes and is frozen, then the others come with K shots
each and all compete. On their own: every class has K shots, and rows are unit vectors (images of 8 x 8 pixels); some
methods start from "texts", a vector per class, here the class means of ANOTHER data set of digits, and one of them fits
unlabelled rows. In a simulation: how many samples until the error is within .01 of the Bayes error.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import plots
from experiments.episodes import clusters, episodes, laplacian_clusters, laplacian_shot, nearest_prototype
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.shots import (
    SESSION_SHOTS,
    SHOTS,
    TEXTS_FROM,
    VALIDATION,
    Episode,
    Examples,
    Measurement,
    Part,
    Seed,
    Shared,
    combined,
    cosine_features,
    draw_shots,
    on_shots,
    pixels_of,
    sessions,
    texts_of,
    without_labels,
)
from experiments.streams import stratified_split
from experiments.two_gaussians import DIMENSIONS, SAMPLES, excess_error
from jaxlab import analytic, continual, metrics, zeroshot
from jaxlab.analytic import Head
from jaxlab.continual import Learner
from jaxlab.numerics import normalize
from jaxlab.optim import minimize
from jaxlab.typing import Array

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split into training and test rows, base network, shots, simulated samples"

ALPHAS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    base_share: float = 0.6
    """Share of the classes that the base network learns (rounded up)."""
    hidden: int = 128
    """Width of the frozen features."""
    train_steps: int = 500
    """Steps of Adam on the base classes, batches of 128."""
    trials: int = 20
    """Draws of the shots per seed."""
    variance_floor: float = 1e-2
    """Added to the variances of naive Bayes, on data scaled to [-1, 1]."""
    lbfgs_steps: int = 30
    """Steps of logistic regression."""
    em_steps: int = 30
    """Iterations of the Gaussian mixture."""
    covariance_ridge: float = 1e-4
    """Added to covariances that are not shrunk, relative to the mean squared feature."""
    episodes: int = 100
    """Episodes of five classes per seed."""
    agreement: float = 0.7
    """How much neighbouring queries ask each other to agree."""
    sharpness: float = 5.0
    """Multiplies squared distances where assignments are soft: as sharp as ten times the cosine."""
    neighbours: int = 64
    """Rows that stand in for a class known by its text alone."""
    repeats: int = 5
    """Simulated data sets per seed."""

    def __post_init__(self) -> None:
        if not 0 < self.base_share < 1:
            raise ValueError(f"base_share must lie in (0, 1), got {self.base_share}")

    def num_base(self, num_classes: int) -> int:
        """How many classes are known before the others come; at least one comes later."""
        return min(math.ceil(self.base_share * num_classes), num_classes - 1)


QUICK = {"train_steps": 150, "trials": 4, "episodes": 10, "lbfgs_steps": 10, "em_steps": 10, "repeats": 2}


# Every class is new, with K shots per class


def nmc(config: Config, known: Episode, x: Array) -> Array:
    return analytic.head_logits(analytic.nearest_mean(known.stats()), x)


def nmc_cosine(config: Config, known: Episode, x: Array) -> Array:
    return analytic.prototype_logits(x, analytic.class_stats_means(known.stats()), metric="cosine")


def gda_ks(config: Config, known: Episode, x: Array) -> Array:
    return analytic.head_logits(analytic.lda(known.stats("shared"), shrinkage="ks"), x)


def gda_pinv(config: Config, known: Episode, x: Array) -> Array:
    """The same discriminant with the pseudo-inverse of the covariance; with one shot it is the nearest mean."""
    stats = known.stats("shared")
    scatter, means = analytic.within_scatter(stats), analytic.class_stats_means(stats)
    precision = jnp.linalg.pinv(scatter / (jnp.sum(stats.count) - 1), hermitian=True)
    precision = jnp.where(jnp.trace(scatter) > 0, precision, jnp.eye(x.shape[1]))
    weight = precision @ means.T
    return analytic.head_logits(Head(weight, -0.5 * jnp.sum(weight * means.T, axis=0)), x)


def naive_bayes(config: Config, known: Episode, x: Array) -> Array:
    return analytic.head_logits(analytic.naive_bayes(known.stats("diag"), eps=config.variance_floor), x)


def logistic_regression(config: Config, known: Episode, x: Array) -> Array:
    head = logistic_head(known.support, known.num_classes, ridge=1.0, num_steps=config.lbfgs_steps)
    return analytic.head_logits(head, x)


def logistic_head(rows: Examples, num_classes: int, *, ridge: float, num_steps: int) -> Head:
    """Softmax regression, ridge / 2 times the squared weights as penalty, by L-BFGS: Newton's system is too large."""

    def loss(head: Head) -> Array:
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(rows.x @ head.weight + head.bias, rows.y)
        return jnp.sum(jnp.where(rows.where, losses, 0.0)) + 0.5 * ridge * jnp.sum(head.weight**2)

    search = optax.scale_by_backtracking_linesearch(max_backtracking_steps=15, store_grad=True)
    start = Head(jnp.zeros((rows.x.shape[1], num_classes)), jnp.zeros(num_classes))
    return minimize(loss, start, optax.lbfgs(linesearch=search), num_steps=num_steps).params


# Classes known by their text


def text_logits(x: Array, text: Array) -> Array:
    return analytic.prototype_logits(x, text, metric="dot", scale=100.0)


def _ensemble(head: Head, text: Array, x: Array, alpha: Array) -> Array:
    return zeroshot.ensemble_logits(text_logits(x, text), analytic.head_logits(head, x), alpha=alpha)


def choose_alpha(head: Head, text: Array, validation: Examples) -> Array:
    """The weight of a head beside the texts that is best on the validation rows; of equals the smallest."""

    def right(alpha: Array) -> Array:
        return metrics.accuracy(_ensemble(head, text, validation.x, alpha), validation.y, where=validation.where)

    return jnp.array(ALPHAS)[jnp.argmax(jax.vmap(right)(jnp.array(ALPHAS)))]


def gda_zero_shot(config: Config, known: Episode, x: Array) -> Array:
    head = analytic.lda(known.stats("shared"), shrinkage="ks")
    return _ensemble(head, known.text, x, choose_alpha(head, known.text, known.validation))


def zero_shot(config: Config, text: Array, unlabelled: Array, where: Array, x: Array) -> Array:
    return text_logits(x, text)


def mixture(config: Config, text: Array, unlabelled: Array, where: Array, x: Array) -> Array:
    """One covariance, fitted to unlabelled rows from the texts' posteriors; the paper adds it to the texts' logits."""
    start = jax.nn.softmax(text_logits(unlabelled, text))
    ridge = config.covariance_ridge / x.shape[1]  # of unit rows the mean squared feature is 1 / D
    fit = analytic.gmm_em(unlabelled, start, covariance="tied", num_iters=config.em_steps, ridge=ridge, where=where)
    return analytic.gmm_log_prob(fit.mixture, x)


def by_text(*, adapt: bool) -> Part:
    """Accuracy among the new classes, known by text alone: by the texts, or helped by all rows of the base classes."""

    def measure(config: Config, seed: Seed, shared: Shared) -> Measurement:
        x, labels, num_base = normalize(shared.pixels), shared.labels, config.num_base(seed.shots.shape[1])
        old, new = shared.text[:num_base], shared.text[num_base:]
        tests, truth = x[seed.test], labels[seed.test] - num_base
        logits = text_logits(tests, new)
        if adapt:
            base = seed.train & (labels < num_base)
            held_out = base & (jnp.arange(len(x)) % 5 == 0)
            stats = analytic.class_stats_init(num_base, x.shape[1], second="shared")
            stats = analytic.class_stats_update(stats, x, labels, where=base & ~held_out)
            known = analytic.lda(stats, ridge=config.covariance_ridge / x.shape[1])
            alpha = choose_alpha(known, old, Examples(x, labels, held_out))
            k = min(config.neighbours, len(x))
            head = zeroshot.gda_new_class_classifier(x, new, k=k, where=base & ~held_out)
            logits = _ensemble(head, new, tests, alpha)
        return {"unseen_accuracy": metrics.accuracy(logits, truth, where=truth >= 0)}, {}

    return measure


# New classes beside known ones


def cosine_learner(num_classes: int, dim: int, base: Array) -> Learner:
    return continual.nearest_class_mean(num_classes, dim, metric="cosine")


def teen_learner(num_classes: int, dim: int, base: Array) -> Learner:
    return continual.teen(num_classes, dim, base=base)


def gda_learner(num_classes: int, dim: int, base: Array) -> Learner:
    head = functools.partial(analytic.lda, shrinkage="ks")
    return continual.class_stats_learner(head, num_classes=num_classes, dim=dim, second="shared")


# Simulated samples of two Gaussian classes


def simulated(fit: Callable[[Config, Examples], Head]) -> Part:
    """How many samples bring the mean error within .01 of the Bayes error, by number of dimensions."""

    def measure(config: Config, seed: Seed, shared: Shared) -> Measurement:
        keys = jax.random.split(seed.key, config.repeats)
        excess = jax.lax.map(lambda dim: excess_error(functools.partial(fit, config), keys, dim), jnp.array(DIMENSIONS))
        needed = metrics.time_to_target(jnp.array(SAMPLES), excess, 0.01, interpolate="log")
        needed = jnp.minimum(needed, SAMPLES[-1])  # where even the last is too few, a lower bound
        return {f"samples_{dim}": needed[i] for i, dim in enumerate(DIMENSIONS)}, {"excess_error": excess[-1]}

    return measure


def naive_bayes_head(config: Config, rows: Examples) -> Head:
    stats = analytic.class_stats_init(2, rows.x.shape[1], second="diag")
    return analytic.naive_bayes(analytic.class_stats_update(stats, rows.x, rows.y, where=rows.where))


def binary_logistic_head(config: Config, rows: Examples) -> Head:
    # Of two opposite weights each is half their difference: ridge 2 is the usual penalty 1 on a binary weight.
    return logistic_head(rows, 2, ridge=2.0, num_steps=config.lbfgs_steps)


_NB = combined(on_shots(naive_bayes, unit=False), simulated(naive_bayes_head))
_LR = combined(on_shots(logistic_regression, unit=False), simulated(binary_logistic_head))
METHODS = (
    Method("nmc", 40, combined(on_shots(nmc), episodes(nearest_prototype))),
    Method("nmc_cosine", 40, combined(on_shots(nmc_cosine), sessions(cosine_learner))),
    Method("teen", 18, sessions(teen_learner)),
    Method("gda_pinv", None, on_shots(gda_pinv), note="no shrinkage: pseudo-inverse of the tied covariance"),
    Method("gda_ks", 14, combined(on_shots(gda_ks), sessions(gda_learner, unit=True))),
    Method("naive_bayes", 58, _NB),
    Method("logistic_regression", 58, _LR),
    Method("zero_shot", None, combined(without_labels(zero_shot), by_text(adapt=False)), note="the texts alone"),
    Method(
        "gda_zero_shot",
        14,
        combined(on_shots(gda_zero_shot), by_text(adapt=True)),
        note=f"alpha from {VALIDATION} more rows per class; unseen classes borrow the rows of the base classes",
    ),
    Method("gmm", 14, without_labels(mixture), note="fits the unlabelled training rows; no ensemble with the texts"),
    Method("laplacian_shot", 122, episodes(laplacian_shot), note="prototypes of the shots, neighbouring queries agree"),
    Method("clusters", 122, episodes(clusters), note="k-means of shots and queries"),
    Method("laplacian_clusters", 122, episodes(laplacian_clusters), note="soft, and neighbouring queries agree"),
)
NEED_TEXT = ("zero_shot", "gda_zero_shot", "gmm")


def _above(better: str, worse: str, *names: str) -> Callable[[Any], Any]:
    """The difference per seed, the smallest over the metrics."""
    return lambda rows: np.min([rows[name][better] - rows[name][worse] for name in names], axis=0)


def _ensemble_gain(rows: Any) -> Any:
    names = [f"accuracy_{k}" for k in (1, 4, 8, 16)]
    best = [np.maximum(rows["accuracy_0"]["zero_shot"], rows[name]["gda_ks"]) for name in names]
    return np.mean([rows[name]["gda_zero_shot"] - other for name, other in zip(names, best, strict=True)], axis=0)


def _doublings(rows: Any, dim: int) -> Any:
    row = rows[f"samples_{dim}"]
    return np.log2(row["logistic_regression"] / row["naive_bayes"])


_TO_BASE = _above("nmc_cosine", "teen", "new_to_base_1", "new_to_base_5")
_OVER_PINV = _above("gda_ks", "gda_pinv", "accuracy_4", "accuracy_8")
_OVER_NMC = _above("gda_ks", "nmc", "accuracy_4", "accuracy_8")
_HARMONIC_1 = _above("teen", "nmc_cosine", "harmonic_mean_1")
_HARMONIC_5 = _above("teen", "nmc_cosine", "harmonic_mean_5")
_UNSEEN = _above("gda_zero_shot", "zero_shot", "unseen_accuracy")
_TOGETHER = _above("clusters", "nmc", "episode_1")
_JOINTLY = _above("laplacian_clusters", "laplacian_shot", "episode_1")

CLAIMS = (
    Claim(18, "TEEN calls fewer new samples base, at 1 and at 5 shots", _TO_BASE, ">", 0.0),
    Claim(18, "TEEN raises the harmonic mean of base and new accuracy by .015 at 1 shot", _HARMONIC_1, ">", 0.015),
    Claim(18, "TEEN raises it at 5 shots", _HARMONIC_5, ">", 0.0),
    Claim(14, "GDA: shrinkage beats the pseudo-inverse by .1 at 4 and at 8 shots", _OVER_PINV, ">", 0.1),
    Claim(14, "GDA with shrinkage beats the nearest mean by .01 at 4 and at 8 shots", _OVER_NMC, ">", 0.01),
    Claim(14, "GDA with texts beats the better of both, mean over 1 to 16 shots", _ensemble_gain, ">", 0.0),
    Claim(
        14,
        "Without labels, the mixture ends above the texts it started from",
        lambda rows: rows["accuracy_0"]["gmm"] - rows["accuracy_0"]["zero_shot"],
        ">",
        0.0,
    ),
    Claim(14, "Classes known by text alone gain from the rows of other classes", _UNSEEN, ">", 0.0),
    Claim(122, "Queries clustered together beat the nearest mean by .04 at 1 shot", _TOGETHER, ">", 0.04),
    Claim(
        122, "Prototypes that move beat those of the shots at 1 shot, neighbours agreeing in both", _JOINTLY, ">", 0.0
    ),
    Claim(
        58,
        "Simulation, 32 dimensions: logistic regression needs over twice the samples of naive Bayes (doublings)",
        lambda rows: _doublings(rows, 32),
        ">",
        1.0,
    ),
    Claim(
        58,
        "Simulation, 32 to 128 dimensions: its need grows faster (difference of the exponents)",
        lambda rows: (_doublings(rows, 128) - _doublings(rows, 32)) / 2,
        ">",
        0.3,
    ),
)


def prepare(config: Config, run: Run, data: Dataset) -> tuple[Seed, Shared]:
    """Everything the methods need; the leaves of the first have a leading axis of seeds."""
    if data.num_classes < 3:
        raise UserError(f"Base and new classes need at least 3 classes, {data.name} has {data.num_classes}.")
    per_class = SHOTS[-1] + VALIDATION
    tests, train, shots = [], [], []
    for seed in range(run.seeds):
        test = stratified_split(data.y, test_fraction=0.2, rng=np.random.default_rng(seed))[1]
        is_train = ~np.isin(np.arange(len(data.y)), test)
        tests.append(test)
        train.append(is_train)
        shots.append(draw_shots(data.y, is_train, trials=config.trials, per_class=per_class, seed=seed))
    drawn, in_train = jnp.asarray(np.stack(shots)), jnp.asarray(np.stack(train))
    support, validation = run.shard((drawn[..., : SHOTS[-1]], drawn[..., SHOTS[-1] :]), axis=1)
    num_base = config.num_base(data.num_classes)
    if data.kind == "images":
        run.progress(f"training the base network on {num_base} classes")
    options = {"num_base": num_base, "hidden": config.hidden, "num_steps": config.train_steps}
    features = cosine_features(data, run.seed_keys(), in_train, **options)
    seeds = Seed(run.seed_keys(), support, validation, in_train, jnp.asarray(np.stack(tests)), features)
    own = run.common.data is None  # a user's file may bear the name of one of ours
    text = texts_of(data) if own and any(method.name in NEED_TEXT for method in run.todo(METHODS)) else None
    return seeds, Shared(jnp.asarray(data.y), jnp.asarray(pixels_of(data)), text)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    seeds, shared = prepare(config, run, run.data())

    def measure(method: Method) -> Measured:
        if method.name in NEED_TEXT and shared.text is None:
            raise ValueError(f"needs a vector per class from another data set: only {', '.join(TEXTS_FROM)} have one")
        # Line searches of several seeds would wait for each other.
        mode: Literal["vmap", "map"] = "map" if method.name == "logistic_regression" else "vmap"
        measured = over_seeds(functools.partial(method.fn, config), seeds, shared=(shared,), mode=mode)
        # 4 shots come before 16.
        order = sorted(measured.metrics, key=lambda name: [int(p) if p.isdigit() else p for p in name.split("_")])
        return measured._replace(metrics={name: measured.metrics[name] for name in order})

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Accuracy over shots in each setting, and error over simulated samples; a method has one colour throughout."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"New classes from a few examples: {result.dataset}")
    panels = (
        ("accuracy", SHOTS, "accuracy", "shots per class, all classes new"),
        ("excess_error", SAMPLES, "error above Bayes", f"simulated samples, {DIMENSIONS[-1]} dimensions"),
        ("harmonic_mean", SESSION_SHOTS, "harmonic mean", "shots per new class, beside base classes"),
        ("new_to_base", SESSION_SHOTS, "new called base", "shots per new class, beside base classes"),
    )
    names = [method.name for method in METHODS]
    lines: dict[str, Any] = {}
    for ax, (curve, x, ylabel, xlabel) in zip(axes, panels, strict=True):
        plots.curves_over_tasks(ax, result.curves.get(curve, {}), names, ylabel=ylabel, xlabel=xlabel, x=x)
        ax.set_xscale("log", base=2)
        ax.set_xticks(x[:: 1 + len(x) // 8], [str(k) for k in x[:: 1 + len(x) // 8]])
        if legend := ax.get_legend():
            legend.remove()
        handles, labels = ax.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    shown = [name for name in names if name in lines]
    handles = [lines[name] for name in shown]
    figure.legend(handles, shown, loc="outside lower center", ncols=5, frameon=False)
    return figure
