"""Which guidance rule keeps quality at a high scale?

One conditional denoiser makes images by 20 DDIM steps, with the same noise for every rule, at several guidance scales;
1 is the conditional prediction itself. A classifier that has guided nothing judges them: Frechet distance of its
features to those of the data (for the images as they are, and clipped as a screen would show them), accuracy of the
wanted class, and recall; saturation is the share of numbers outside the range. Guidance does not improve the Frechet
distance of digits, so rules are compared at the same scale, or at the same accuracy, or at the same mean scale; for
this three rows are drawn at small scales too. Two rows have a second condition, how bright the image is:
one guides both by the same scale, the other the second by less.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import guided_sampling as rules
from experiments import plots
from experiments.assets import denoiser, token_denoiser
from experiments.assets.denoiser import ClassifierConfig
from experiments.guidance_effects import (
    SCALES,
    SMALL_SCALES,
    frechet_at_equal_accuracy,
    name_of,
    ratio_at_mean_scale,
    smallest_difference,
    worst_difference,
    worst_ratio,
)
from experiments.guided_sampling import Guided, Networks, Setting, Task
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds
from jaxlab import metrics
from jaxlab.guidance import Rule
from jaxlab.typing import Array

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "sampling noise only (one denoiser, one judge, the same wanted classes)"
WHOLE_CURVES = ("cfg", "autoguidance", "gfcg")
"""Rows that are drawn at the small scales too, as they are compared at the same accuracy."""
LIMIT = 1.05
"""The data lie in [-1, 1]; what lies beyond this limit counts as saturated."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    samples: int = 1000
    """Images per rule, scale and seed; every class equally often."""
    steps: int = 20
    """DDIM steps."""
    train_steps: int | None = None
    """Training of the denoisers; what suits the size of the images unless given."""
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
    norm_rms: float = 0.029
    """The same per number: 2.5 for 4 x 64 x 64 numbers of deviation .5 (recalled), brought to digits with their .75."""
    rescale: float = 0.7
    """Share of the rescaling of the standard deviation."""
    particle_steps: int = 100
    """Steps of the particles that follow the guided density."""
    share: float = 2.9 / 4.0
    """Scale of the second condition, relative to the first."""
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


QUICK = {"samples": 60, "steps": 5, "particle_steps": 8, "train_steps": 200, "classifier_steps": 100, "weak_steps": 50}


def _free(make: Callable[[Task], Rule | None]) -> Callable[[Task], Guided]:
    return functools.partial(rules.away_from_null, make)


def _separate(task: Task) -> Guided:
    return rules.two_conditions(task, share=task.config.share)


METHODS = (
    Method("none", None, _free(lambda task: None), note="the conditional prediction; no scale"),
    Method("cfg", None, _free(rules.cfg)),
    Method("cfg_rescale", None, _free(rules.cfg_rescale)),
    Method("cfg_interval", 6, _free(rules.cfg_interval), note="guidance in the middle only"),
    Method("cfg_dynamic", 11, _free(rules.cfg_dynamic), note="the scale falls to its half"),
    Method("cfg_momentum", 282, _free(rules.cfg_momentum), note="of APG the momentum alone"),
    Method("cfg_clip", 282, _free(rules.cfg_clip), note="of APG the norm alone"),
    Method("apg_projection", 282, _free(rules.apg_projection), note="of APG the projection alone"),
    Method("apg", 282, _free(rules.apg)),
    Method("apg_rms", 282, _free(rules.apg_rms), note="its threshold relative to the size and number of the pixels"),
    Method("autoguidance", None, rules.autoguidance, note="away from a weaker network; predictions clipped"),
    Method("gfcg", 13, rules.gfcg, note="the law of the scale is a reconstruction; scale w is its largest"),
    Method("classifier_naive", 4, rules.classifier_naive, note="a classifier sees noisy images; predictions clipped"),
    Method("classifier_denoised", 4, rules.classifier_denoised, note="it sees the data prediction; direction only"),
    Method("elucd", 4, rules.elucd, note="the same, smooth, joint logit, more in the middle"),
    Method("noise_damped", 5, rules.noise_damped, note="added to a weaker network; predictions clipped"),
    Method("fkc", 67, rules.corrected, note="particles of each class by themselves; more steps than the others"),
    Method(
        "two_joint", None, functools.partial(rules.two_conditions, share=1.0), note="class and thickness, one scale"
    ),
    Method("two_separate", 11, _separate, note="the thickness has a smaller scale"),
)


def _keeps_accuracy(what: str, better: str, worse: str) -> Claim:
    """What a lower distance is worth nothing without: no guidance at all would have it too."""
    sentence = f"and {what} loses less than one image in a thousand of the right class at every scale"
    return Claim(4, sentence, smallest_difference("accuracy", better, worse), ">", -0.001)


CLAIMS = (
    Claim(
        282,
        "APG has at most half the Frechet distance of CFG at every scale (largest ratio)",
        worst_ratio("frechet", "apg", "cfg"),
        "<",
        0.5,
    ),
    Claim(
        282,
        "APG saturates less than CFG at every scale (largest difference)",
        worst_difference("saturation", "apg", "cfg"),
        "<",
        0.0,
    ),
    Claim(
        282,
        "With its threshold relative to the pixels, APG has at most half the distance of CFG at every scale",
        worst_ratio("frechet", "apg_rms", "cfg"),
        "<",
        0.5,
    ),
    Claim(
        282,
        "With its threshold relative to the pixels, APG saturates less than CFG at every scale",
        worst_difference("saturation", "apg_rms", "cfg"),
        "<",
        0.0,
    ),
    Claim(
        282,
        "The projection alone lowers saturation at every scale (largest difference)",
        worst_difference("saturation", "apg_projection", "cfg"),
        "<",
        0.0,
    ),
    Claim(
        13,
        "Gradient-free classifier guidance at scale 3 has a lower Frechet distance than CFG that is as accurate, or as "
        "accurate as it gets (ratio)",
        frechet_at_equal_accuracy("gfcg", "cfg"),
        "<",
        1.0,
    ),
    Claim(
        13,
        "and a lower one than autoguidance that is as accurate, or as accurate as it gets (ratio)",
        frechet_at_equal_accuracy("gfcg", "autoguidance"),
        "<",
        1.0,
    ),
    Claim(
        11,
        "The falling scale has a lower Frechet distance than its mean throughout, at every scale (largest ratio)",
        ratio_at_mean_scale("cfg_dynamic", "cfg"),
        "<",
        1.0,
    ),
    Claim(
        11,
        "A smaller scale for the second condition has a lower Frechet distance at every scale (largest ratio)",
        worst_ratio("frechet", "two_separate", "two_joint"),
        "<",
        1.0,
    ),
    Claim(
        11,
        "and at most a point fewer images with both conditions right (smallest difference)",
        smallest_difference("both_accuracy", "two_separate", "two_joint"),
        ">",
        -0.01,
    ),
    Claim(
        4,
        "The calibrated classifier ends at least 10 % below the naive one in Frechet distance at every scale",
        worst_ratio("frechet", "elucd", "classifier_naive"),
        "<",
        0.9,
    ),
    _keeps_accuracy("it", "elucd", "classifier_naive"),
    Claim(
        4,
        "Each step of the design lowers the Frechet distance: showing it the data prediction, of whose gradient the "
        "direction alone counts (what is seen, the direction and the size change together)",
        worst_ratio("frechet", "classifier_denoised", "classifier_naive"),
        "<",
        1.0,
    ),
    _keeps_accuracy("showing it that", "classifier_denoised", "classifier_naive"),
    Claim(
        4,
        "Each step of the design lowers the Frechet distance: smooth, joint logit, more in the middle",
        worst_ratio("frechet", "elucd", "classifier_denoised"),
        "<",
        1.0,
    ),
    _keeps_accuracy("the smoother one", "elucd", "classifier_denoised"),
)


def measure_row(
    method: Method, config: Config, nets: Networks, key: Array, setting: Setting
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Every metric at every scale, and an image of each class."""
    real = setting.real

    def at(scale: Array) -> tuple[dict[str, Array], Array]:
        task = Task(config, nets, setting, scale)
        x = rules.draw(task, key, method.fn(task))
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
        if method.name.startswith("two_"):
            right = token_denoiser.thickness_of(jnp.clip(x, -1.0, 1.0), setting.edges) == setting.thickness
            measured["thickness_accuracy"] = jnp.mean(right)
            measured["both_accuracy"] = jnp.mean(right & (jnp.argmax(seen.logits, axis=1) == setting.labels))
        return measured, x[: nets.denoiser.sizes[0]]

    small = SMALL_SCALES if method.name in WHOLE_CURVES else ()
    scales = jnp.asarray(small + SCALES if method.name != "none" else SCALES[:1], jnp.float32)
    table, images = jax.lax.map(at, scales)
    if method.name == "none":
        table, images = jax.tree.map(lambda a: jnp.repeat(a, len(SCALES), axis=0), (table, images))
    # Of the small scales there is what the comparisons need.
    measured = {name_of(name, s): table[name][i] for name in ("frechet", "accuracy") for i, s in enumerate(small)}
    table, images = jax.tree.map(lambda a: a[len(small) :], (table, images))
    measured |= {name_of(name, scale): values[i] for name, values in table.items() for i, scale in enumerate(SCALES)}
    if method.name == "cfg_dynamic":
        measured["mean_share"] = rules.mean_share(config.steps)
    return measured, {"images": images, **{f"{name}_by_scale": values for name, values in table.items()}}


def prepare(config: Config, run: Run) -> tuple[Networks, Setting]:
    """The networks, trained or from disk, and what the judge makes of the data."""
    data = run.data()
    if data.kind != "images":
        raise UserError(f"Guidance rules need images, {data.name} holds features.")
    x, y, classes = denoiser.scaled(data.x), jnp.asarray(data.y), data.num_classes
    dim = x.shape[1]
    if config.samples % classes or len(x) < config.samples:
        raise UserError(
            f"samples must be a multiple of {classes} up to {len(x)} for {data.name}, got {config.samples}."
        )
    steps = {} if config.train_steps is None else {"num_steps": config.train_steps}
    nets = Networks(
        denoiser.suited(dim, (classes,), **steps),
        denoiser.suited(dim, (classes,), hidden=config.weak_hidden, num_steps=config.weak_steps, seed=3),
        denoiser.suited(dim, (classes, rules.THICKNESSES), **steps),
        ClassifierConfig(dims=(dim, 96, classes), num_steps=config.classifier_steps, seed=2),
        ClassifierConfig(dims=(dim, 128, 64, classes), num_steps=config.classifier_steps),
    )
    made: dict[str, Any] = {"root": run.asset_root, "digest": data.digest}
    run.progress("training the denoisers")
    params, weak = (denoiser.denoiser_asset(net, x, y, **made) for net in (nets.denoiser, nets.weak))
    edges = token_denoiser.thickness_edges(x, rules.THICKNESSES)
    two = jnp.stack([y, token_denoiser.thickness_of(x, edges)], axis=1)
    pair = denoiser.denoiser_asset(nets.pair, x, two, **made)
    run.progress("training the classifiers")
    guide, judge = (denoiser.classifier_asset(net, x, y, **made) for net in (nets.guide, nets.judge))
    order = np.random.default_rng(0).permutation(len(x))
    real = denoiser.judge(nets.judge, judge, x[order]).features
    place = jnp.arange(config.samples)
    labels, thickness = place % classes, place // classes % rules.THICKNESSES
    return nets, Setting(params, weak, pair, guide, judge, labels, thickness, edges, real)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    nets, setting = prepare(config, run)

    def measure(method: Method) -> Measured:
        # One seed after the other: factorisations of several seeds at once can wait for each other for ever.
        row = functools.partial(measure_row, method, config, nets)
        return over_seeds(row, run.seed_keys(), mode="map", shared=(setting,))

    run.rows(METHODS, measure)


SHOWN = (
    "none",
    "cfg",
    "cfg_rescale",
    "cfg_dynamic",
    "apg",
    "apg_rms",
    "autoguidance",
    "gfcg",
    "classifier_naive",
    "elucd",
)


def plot(result: Result) -> Figure:
    """Images of the first seed by rule and scale, and three measures against the scale."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Guidance rules on {result.dataset}")
    _grid(axes[0], result.curves["images"])
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
        if legend := ax.get_legend():
            if metric == "accuracy":
                legend.set_bbox_to_anchor((0.5, -0.25), ax.transAxes)  # below the label of so small a panel
            else:
                legend.remove()
    return figure


def _grid(ax: Any, images: Any) -> None:
    """A line of images per rule: the same four classes at every scale."""
    lines = {name: np.asarray(images[name], float)[0, :, :4] for name in SHOWN if name in images}
    lines = {name: line.reshape(-1, line.shape[-1]) for name, line in lines.items()}
    plots.image_strips(ax, lines)
    if lines:
        width = (math.isqrt(next(iter(lines.values())).shape[-1]) + 1) * 4
        ax.set_xticks((np.arange(len(SCALES)) + 0.5) * width, [f"scale {scale:g}" for scale in SCALES])
        for place in range(1, len(SCALES)):
            ax.axvline(place * width, color="white", linewidth=3)
