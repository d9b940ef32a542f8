"""Which guidance rule keeps quality at a high scale?

One conditional denoiser makes images by 20 DDIM steps, with the same noise for every rule, at several guidance scales (1
is the conditional prediction itself). A classifier that has guided nothing judges them: Frechet distance of its features
to those of the data (of the images as they are, and clipped to the range of the data, as a screen would show them),
accuracy of the wanted class, and recall; saturation is the share of numbers outside the range. Guidance does not improve
the Frechet distance of digits, so rules are compared at the same scale.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets import denoiser
from experiments.assets.denoiser import PROCESS, ClassifierConfig, DenoiserConfig
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds
from jaxlab import diffusion, guidance, metrics
from jaxlab.guidance import Rule
from jaxlab.typing import Array, PyTree

DATASETS = ("digits",)
SEED_SCOPE = "sampling noise only (one denoiser, one judge, the same wanted classes)"
SCALES = (3.0, 7.5, 15.0)
LIMIT = 1.05
"""The data lie in [-1, 1]; what lies beyond this limit counts as saturated."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    samples: int = 1000
    """Images per rule, scale and seed; every class equally often."""
    steps: int = 20
    """DDIM steps."""
    train_steps: int = 8000
    """Training of the denoiser."""
    classifier_steps: int = 1500
    """Training of the judge and of the classifier that guides."""
    weak_steps: int = 1500
    """Training of the weak denoiser of autoguidance."""
    weak_hidden: int = 128
    """Width of the weak denoiser."""
    momentum: float = -0.5
    """Of APG."""
    norm: float = 2.5
    """Threshold of APG on the length of the direction."""
    rescale: float = 0.7
    """Share of the rescaling of the standard deviation."""
    low: float = 0.2
    """First time of the interval with guidance."""
    high: float = 0.8
    """Last time of the interval with guidance."""
    sharpness: float = 5.0
    """Of the smoothed activations of the classifier whose gradient is followed."""
    classifier_shift: float = 0.004
    """How far that gradient moves an image in the first step, relative to its root mean square, at scale 2."""

    def __post_init__(self) -> None:
        if self.samples < 30:
            raise ValueError(f"samples must be at least 30, got {self.samples}")
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"low and high must satisfy 0 <= low <= high <= 1, got {self.low} and {self.high}")


QUICK = {"samples": 60, "steps": 5, "train_steps": 200, "classifier_steps": 100, "weak_steps": 50}


class Setting(NamedTuple):
    """What every seed sees: the trained networks, the wanted classes, and how the judge sees the data."""

    params: PyTree
    weak: PyTree
    guide: PyTree
    judge: PyTree
    labels: Array  # [B]
    real: Array  # [N, D] features


class Task(NamedTuple):
    """One run of the sampler: what a rule is built from."""

    config: Config
    nets: "Networks"
    setting: Setting
    scale: Array

    @property
    def labels(self) -> Array:
        return self.setting.labels

    @property
    def turn(self) -> float:
        """How far the angle of ``denoiser.angle`` falls in a step."""
        return math.pi / 2 / self.config.steps

    def model(self, labels: Array, *, weak: bool = False) -> Callable[[Array, Array], Array]:
        """Data predictions under the given classes, in the range of the data: without that, a network that is asked far
        from what it has seen answers anything, and the next step goes further."""
        params, config = (self.setting.weak, self.nets.weak) if weak else (self.setting.params, self.nets.denoiser)
        predict = denoiser.model(config, params, labels, kind="x0")
        return lambda x, t: jnp.clip(predict(x, t), -1.0, 1.0)

    def none(self) -> Array:
        """The class that stands for none."""
        return jnp.full_like(self.labels, self.nets.denoiser.sizes[0])

    def classify(self, x: Array, *, smooth: bool = False) -> Array:
        """Logits of the classifier that guides."""
        activation = functools.partial(guidance.smooth_relu, sharpness=self.config.sharpness) if smooth else nnx.relu
        return denoiser.classifier(self.nets.guide, activation=activation).logits(self.setting.guide, x)


class Networks(NamedTuple):
    """The configurations of the networks."""

    denoiser: DenoiserConfig
    weak: DenoiserConfig
    guide: ClassifierConfig
    judge: ClassifierConfig


class Guided(NamedTuple):
    """What goes to the sampler beside the conditional prediction; ``takes_cond``: the reference depends on it."""

    reference: Callable[..., Any]
    rule: Rule | None
    takes_cond: bool = False


MakeRule = Callable[[Task], Rule | None]


def away_from_null(make: MakeRule, task: Task) -> Guided:
    """Classifier-free guidance: the reference is the same network without its condition."""
    return Guided(task.model(task.none()), make(task))


def cfg(task: Task) -> Rule:
    return guidance.cfg(task.scale)


def cfg_rescale(task: Task) -> Rule:
    return guidance.chain(cfg(task), guidance.rescale_std(task.config.rescale))


def cfg_interval(task: Task) -> Rule:
    return guidance.chain(guidance.interval(task.config.low, task.config.high), cfg(task))


def cfg_dynamic(task: Task) -> Rule:
    def scale(context: guidance.Context) -> Array:
        return guidance.cosine_power_schedule(context.step, context.num_steps, scale=task.scale)

    return guidance.cfg(scale)


def cfg_momentum(task: Task) -> Rule:
    return guidance.chain(guidance.momentum(task.config.momentum), cfg(task))


def cfg_clip(task: Task) -> Rule:
    return guidance.chain(guidance.clip_norm(task.config.norm), cfg(task))


def apg_projection(task: Task) -> Rule:
    return guidance.chain(guidance.project(0.0), cfg(task))


def apg(task: Task) -> Rule:
    config = task.config
    return guidance.chain(
        guidance.momentum(config.momentum), guidance.clip_norm(config.norm), guidance.project(0.0), cfg(task)
    )


def autoguidance(task: Task) -> Guided:
    """The reference is a small network that was trained briefly, under the same condition."""
    return Guided(task.model(task.labels, weak=True), cfg(task))


def gfcg(task: Task) -> Guided:
    """The reference is the class that a classifier takes the prediction for; its doubt sets the scale."""

    def reference(x: Array, t: Array, cond: Array) -> tuple[Array, Array]:
        probs = jax.nn.softmax(task.classify(cond))
        scale = guidance.confusion_scale(probs, task.labels, gamma=task.scale - 1.0)
        return task.model(guidance.confusing_class(probs, task.labels))(x, t), scale

    return Guided(reference, guidance.cfg(lambda context: context.extras), takes_cond=True)


def _climb(task: Task, move: Callable[[Array, Array, Array], Array]) -> Guided:
    """A classifier as a reference: ``cfg(w)`` adds w - 1 times ``move(x, t, cond)`` to the result of every step."""

    def reference(x: Array, t: Array, cond: Array) -> Array:
        # A DDIM step that turns by the angle h takes sin(h) / std of a change of the data prediction.
        return cond - (PROCESS.std(t) / jnp.sin(task.turn))[:, None] * move(x, t, cond)

    return Guided(reference, cfg(task), takes_cond=True)


def classifier_naive(task: Task) -> Guided:
    """A classifier of clean images is shown the noisy ones; the mean moves by variance times gradient."""

    def move(x: Array, t: Array, cond: Array) -> Array:
        gradient = guidance.classifier_gradient(task.classify, x, task.labels, marginal_scale=1.0)
        after = jnp.maximum(denoiser.angle(t) - task.turn, 0.0)
        ratio = PROCESS.alpha(t) / jnp.cos(after)
        # Of the step from t back: the variance of the posterior of the forward process.
        variance = jnp.sin(after) ** 2 * (1.0 - (ratio * jnp.sin(after) / PROCESS.std(t)) ** 2)
        return guidance.classifier_guided_mean(jnp.zeros_like(x), variance[:, None], gradient)

    return _climb(task, move)


def classifier_denoised(task: Task, *, smooth: bool = False, marginal_scale: float = 1.0, boost: float = 0.0) -> Guided:
    """It is shown the data prediction instead; its gradient counts by direction, and less and less."""
    size = task.config.classifier_shift
    classify = functools.partial(task.classify, smooth=smooth)

    def move(x: Array, t: Array, cond: Array) -> Array:
        gradient = guidance.classifier_gradient(classify, cond, task.labels, marginal_scale=marginal_scale)
        now = denoiser.angle(t)
        left = now / (jnp.pi / 2)
        amount = size * left + guidance.sine_guidance_boost(1.0 - left, 1, peak=size, factor=boost)
        # The paper moves x before the step, of which the step keeps the share of the noise that stays.
        amount *= jnp.sin(jnp.maximum(now - task.turn, 0.0)) / jnp.sin(now)
        return amount[:, None] * guidance.rms_normalize(gradient, like=x)

    return _climb(task, move)


def elucd(task: Task) -> Guided:
    """The same with smooth activations, the label's logit alone, and more in the middle."""
    return classifier_denoised(task, smooth=True, marginal_scale=0.0, boost=0.3)


def _free(make: MakeRule) -> Callable[[Task], Guided]:
    return functools.partial(away_from_null, make)


METHODS = (
    Method("none", None, _free(lambda task: None), note="the conditional prediction; no scale"),
    Method("cfg", None, _free(cfg)),
    Method("cfg_rescale", None, _free(cfg_rescale)),
    Method("cfg_interval", 6, _free(cfg_interval), note="guidance in the middle only"),
    Method("cfg_dynamic", 11, _free(cfg_dynamic), note="the scale falls to its half"),
    Method("cfg_momentum", 282, _free(cfg_momentum), note="of APG the momentum alone"),
    Method("cfg_clip", 282, _free(cfg_clip), note="of APG the norm alone"),
    Method("apg_projection", 282, _free(apg_projection), note="of APG the projection alone"),
    Method("apg", 282, _free(apg)),
    Method("autoguidance", None, autoguidance, note="away from a weaker network"),
    Method("gfcg", 13, gfcg, note="the law of the scale is a reconstruction; scale w is its largest"),
    Method("classifier_naive", 4, classifier_naive, note="gradient of a classifier that sees noisy images"),
    Method("classifier_denoised", 4, classifier_denoised, note="it sees the data prediction; direction only"),
    Method("elucd", 4, elucd, note="the same, smooth, softened, more in the middle"),
)


def _at(metric: str, method: str) -> Callable[[Any], np.ndarray]:
    """A metric of a row at every scale: [scales, seeds]."""
    return lambda rows: np.stack([np.asarray(rows[name_of(metric, scale)][method]) for scale in SCALES])


def _worst_ratio(metric: str, better: str, worse: str) -> Callable[[Any], Any]:
    """The largest ratio over the scales: below the threshold means below it at every scale."""
    return lambda rows: np.max(_at(metric, better)(rows) / _at(metric, worse)(rows), axis=0)


def _worst_difference(metric: str, better: str, worse: str) -> Callable[[Any], Any]:
    return lambda rows: np.max(_at(metric, better)(rows) - _at(metric, worse)(rows), axis=0)


def _accuracy_at_equal_frechet(method: str, rival: str, scale: float) -> Callable[[Any], np.ndarray]:
    """Accuracy of a row at one scale above that of the rival at the same Frechet distance.

    The rival's accuracy is interpolated over the logarithm of its distance, from no guidance to its largest scale.
    """

    def effect(rows: Any) -> np.ndarray:
        distance = np.concatenate([_at("frechet", "none")(rows)[:1], _at("frechet", rival)(rows)])
        accuracy = np.concatenate([_at("accuracy", "none")(rows)[:1], _at("accuracy", rival)(rows)])
        own = np.log(rows[name_of("frechet", scale)][method])
        order = np.argsort(distance, axis=0)
        x, y = np.log(np.take_along_axis(distance, order, 0)), np.take_along_axis(accuracy, order, 0)
        there = np.array([np.interp(own[seed], x[:, seed], y[:, seed]) for seed in range(len(own))])
        return np.asarray(rows[name_of("accuracy", scale)][method]) - there

    return effect


CLAIMS = (
    Claim(
        282,
        "APG has at most half the Frechet distance of CFG at every scale (largest ratio)",
        _worst_ratio("frechet", "apg", "cfg"),
        "<",
        0.5,
    ),
    Claim(
        282,
        "APG saturates less than CFG at every scale (largest difference)",
        _worst_difference("saturation", "apg", "cfg"),
        "<",
        0.0,
    ),
    Claim(
        282,
        "The projection alone lowers saturation at every scale (largest difference)",
        _worst_difference("saturation", "apg_projection", "cfg"),
        "<",
        0.0,
    ),
    Claim(
        13,
        "Gradient-free classifier guidance names more right classes than CFG at equal Frechet distance",
        _accuracy_at_equal_frechet("gfcg", "cfg", SCALES[0]),
        ">",
        0.0,
    ),
    Claim(
        13,
        "Gradient-free classifier guidance names more right classes than autoguidance at equal Frechet distance",
        _accuracy_at_equal_frechet("gfcg", "autoguidance", SCALES[0]),
        ">",
        0.0,
    ),
    Claim(
        11,
        "The falling scale has a lower Frechet distance than the constant one at every scale (largest ratio)",
        _worst_ratio("frechet", "cfg_dynamic", "cfg"),
        "<",
        1.0,
    ),
    Claim(
        4,
        "The calibrated classifier ends at least 10 % below the naive one in Frechet distance at every scale",
        _worst_ratio("frechet", "elucd", "classifier_naive"),
        "<",
        0.9,
    ),
    Claim(
        4,
        "Each step of the design lowers the Frechet distance: showing it the data prediction",
        _worst_ratio("frechet", "classifier_denoised", "classifier_naive"),
        "<",
        1.0,
    ),
    Claim(
        4,
        "Each step of the design lowers the Frechet distance: smooth, joint logit, more in the middle",
        _worst_ratio("frechet", "elucd", "classifier_denoised"),
        "<",
        1.0,
    ),
)


def name_of(metric: str, scale: float) -> str:
    """The name of a metric at a scale, such as frechet_7.5."""
    return f"{metric}_{scale:g}"


def draw(task: Task, key: Array, guided: Guided) -> Array:
    """Images [B, D] of one rule."""
    keys = jax.random.split(key, task.labels.shape[0])
    dim = task.nets.denoiser.dim
    return diffusion.sample(
        keys,
        PROCESS.prior_sample(keys, (dim,)),
        denoiser.even_times(task.config.steps),
        cond_fn=task.model(task.labels),
        uncond_fn=guided.reference,
        rule=guided.rule,
        step=diffusion.ddim(PROCESS, kind="x0"),
        uncond_takes_cond=guided.takes_cond,
    ).x


def measure_row(
    method: Method, config: Config, nets: Networks, key: Array, setting: Setting
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Every metric at every scale, and an image of each class."""
    real = setting.real

    def at(scale: Array) -> tuple[dict[str, Array], Array]:
        task = Task(config, nets, setting, scale)
        x = draw(task, key, method.fn(task))
        seen = denoiser.judge(nets.judge, setting.judge, x)
        shown = denoiser.judge(nets.judge, setting.judge, jnp.clip(x, -1.0, 1.0))
        coverage = metrics.precision_recall_knn(real[: x.shape[0]], seen.features, k=3)
        measured = {
            "frechet": metrics.frechet_distance(seen.features, real),
            "frechet_clipped": metrics.frechet_distance(shown.features, real),
            "saturation": jnp.mean(jnp.abs(x) > LIMIT),
            "accuracy": metrics.accuracy(seen.logits, setting.labels),
            "recall": coverage.recall,
        }
        return measured, x[: nets.denoiser.sizes[0]]

    scales = jnp.asarray(SCALES if method.name != "none" else SCALES[:1], jnp.float32)
    table, images = jax.lax.map(at, scales)
    if method.name == "none":
        table, images = jax.tree.map(lambda a: jnp.repeat(a, len(SCALES), axis=0), (table, images))
    measured = {name_of(name, scale): values[i] for name, values in table.items() for i, scale in enumerate(SCALES)}
    return measured, {"images": images, **{f"{name}_by_scale": values for name, values in table.items()}}


def prepare(config: Config, run: Run) -> tuple[Networks, Setting]:
    """The networks, trained or from disk, and what the judge makes of the data."""
    data = run.data()
    if data.kind != "images":
        raise UserError(f"Guidance rules need images, {data.name} holds features.")
    x, y, classes = denoiser.scaled(data.x), jnp.asarray(data.y), data.num_classes
    dim = x.shape[1]
    if config.samples < classes or len(x) < config.samples:
        raise UserError(f"samples must lie between {classes} and {len(x)} for {data.name}, got {config.samples}.")
    nets = Networks(
        DenoiserConfig(dim=dim, sizes=(classes,), num_steps=config.train_steps),
        DenoiserConfig(dim=dim, sizes=(classes,), hidden=config.weak_hidden, num_steps=config.weak_steps, seed=3),
        ClassifierConfig(dims=(dim, 96, classes), num_steps=config.classifier_steps, seed=2),
        ClassifierConfig(dims=(dim, 128, 64, classes), num_steps=config.classifier_steps),
    )
    made = {"root": run.asset_root, "digest": data.digest}
    run.progress("training the denoisers")
    params, weak = (denoiser.denoiser_asset(net, x, y, **made) for net in (nets.denoiser, nets.weak))
    run.progress("training the classifiers")
    guide, judge = (denoiser.classifier_asset(net, x, y, **made) for net in (nets.guide, nets.judge))
    order = np.random.default_rng(0).permutation(len(x))
    real = denoiser.judge(nets.judge, judge, x[order]).features
    return nets, Setting(params, weak, guide, judge, jnp.arange(config.samples) % classes, real)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    nets, setting = prepare(config, run)

    def measure(method: Method) -> Measured:
        # One seed after the other: factorisations of several seeds at once can wait for each other for ever.
        row = functools.partial(measure_row, method, config, nets)
        return over_seeds(row, run.seed_keys(), mode="map", shared=(setting,))

    run.rows(METHODS, measure)


SHOWN = ("none", "cfg", "cfg_rescale", "cfg_dynamic", "apg", "autoguidance", "gfcg", "classifier_naive", "elucd")


def plot(result: Result) -> Figure:
    """Images of the first seed by rule and scale, and three measures against the scale."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Guidance rules on {result.dataset}")
    _grid(axes[0], result.curves["images"], SCALES.index(7.5))
    panels = (
        ("frechet", "Frechet distance"),
        ("saturation", "share of numbers out of range"),
        ("accuracy", "accuracy"),
    )
    for ax, (metric, what) in zip(axes[1:], panels, strict=True):
        curves = result.curves[f"{metric}_by_scale"]
        plots.curves_over_tasks(ax, curves, SHOWN, ylabel=what, xlabel="guidance scale", x=SCALES)
        ax.set_xscale("log")
        ax.set_xticks(SCALES, [f"{scale:g}" for scale in SCALES])
        ax.minorticks_off()
        if metric == "frechet":
            ax.set_yscale("log")
        if metric != "accuracy":
            ax.get_legend().remove()
    return figure


def _grid(ax: Any, images: Any, at: int) -> None:
    """A line of images per rule, an image per class, all at one scale."""
    names = [name for name in SHOWN if name in images]
    lines = [np.asarray(images[name], float)[0, at] for name in names]
    side = math.isqrt(lines[0].shape[-1])
    if side**2 == lines[0].shape[-1]:
        tiles = [np.pad(line.reshape(-1, side, side), ((0, 0), (1, 0), (1, 0))) for line in lines]
        ax.imshow(np.concatenate([np.concatenate(list(row), axis=1) for row in tiles]), vmin=-1, vmax=1, cmap="gray")
        ax.set_yticks((np.arange(len(names)) + 0.5) * (side + 1), names, fontsize=9)
    ax.set_xticks([])
    ax.set_xlabel(f"one image per class at scale {SCALES[at]:g}", fontsize=11)
