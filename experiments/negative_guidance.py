"""Does guiding away from a prompt remove it and keep the rest (diversity included)?

The conditions of a small transformer are the digit and the thickness of its stroke (thin, middle, thick). Asked for a
digit alone it draws thick ones too; "thick" is the negative prompt. It can be held against the prediction (CFG whose
reference is the negative prompt, or the same digit, thick) or inside the cross-attention (NASA, and the attention of
SpeedUpNet with an untrained affine map), in one step of a student that was distilled from the transformer, and in 4 and
20 DDIM steps of the transformer itself. A probe trained on real digits says how many images are thick; the features of
all are held against those of real digits that are not. NegToMe pushes images of one class away from the first of every
four, and is compared with CFG at the same high scale.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import negative_prompts as prompts
from experiments import plots
from experiments.assets import denoiser, token_denoiser
from experiments.assets.denoiser import ClassifierConfig
from experiments.assets.token_denoiser import StudentConfig, TokenDenoiserConfig
from experiments.claims import difference, ratio
from experiments.negative_prompts import BINS, GROUP, THICK, THIN, Knobs, Networks, Setting
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds

DATASETS = ("digits",)
SEED_SCOPE = "sampling noise only (one denoiser, one student, one judge, the same wanted digits)"
HIGH = 7.5
"""The scale of CFG at which diversity is measured."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    samples: int = 400
    """Images per row and seed, in groups of four of a class; each digit as often as among the real ones not thick."""
    steps: tuple[int, ...] = (1, 4, 20)
    """One step is the student's; more are DDIM steps of the transformer."""
    train_steps: int = 4000
    """Training of the transformer."""
    student_steps: int = 3000
    """Training of the one-step student."""
    student_pairs: int = 16384
    """Images of the transformer that the student learns from."""
    classifier_steps: int = 1500
    """Training of the judge of digits and of the probe of thickness."""
    merge_alpha: float = 0.9
    """How far NegToMe pushes."""
    merge_threshold: float = 0.7
    """Cosine beyond which it does; the paper's for a model with CFG."""
    merge_share: float = 0.2
    """The first share of the way from noise to data, in which it acts; the paper's for a model with CFG."""

    def __post_init__(self) -> None:
        if self.samples < 40 or self.samples % GROUP:
            raise ValueError(f"samples must be a multiple of {GROUP} and at least 40, got {self.samples}")
        if not self.steps or min(self.steps) < 1 or len(set(self.steps)) < len(self.steps):
            raise ValueError(f"steps must hold different numbers of at least 1, got {self.steps}")
        if not 0 < self.merge_share <= 1:
            raise ValueError(f"merge_share must lie in (0, 1], got {self.merge_share}")


QUICK = {
    "samples": 40,
    "steps": (1, 20),
    "train_steps": 100,
    "student_steps": 20,
    "student_pairs": 256,
    "classifier_steps": 60,
}


# The paper's three scales of NASA, and the end of the range that it trains with.
INSIDE = (0.1, 0.2, 0.5, 1.0)
OUTSIDE = (1.5, 3.0, 5.0, 7.5)
LINES = {
    "negative_cfg": ("none", *(f"negative_cfg_{scale:g}" for scale in OUTSIDE)),
    "contrast_cfg": ("none", *(f"contrast_cfg_{scale:g}" for scale in OUTSIDE)),
    "nasa": ("none", *(f"nasa_{scale:g}" for scale in INSIDE)),
    "sun": ("none", *(f"sun_{scale:g}" for scale in INSIDE)),
}
"""The rows of a method from no guidance to its largest scale."""


def knobs_of(name: str, config: Config) -> Knobs:
    """The numbers of a row."""
    high = Knobs(scale=HIGH, share=config.merge_share)
    fixed = {
        "none": Knobs(),
        "nasa_thin": Knobs(0.5, prompt=THIN),
        "cfg": high,
        "negtome": high._replace(alpha=config.merge_alpha),
        "negtome_always": high._replace(alpha=config.merge_alpha, share=1.0),
    }
    if name in fixed:
        return fixed[name]
    family, _, scale = name.rpartition("_")
    return Knobs(float(scale), negative=family.endswith("cfg"), same=family == "contrast_cfg")


METHODS = (
    Method("none", None, prompts.nasa, note="the digit alone: NASA at scale 0"),
    *(Method(name, None, prompts.cfg) for name in LINES["negative_cfg"][1:]),
    *(Method(name, None, prompts.cfg) for name in LINES["contrast_cfg"][1:]),
    *(Method(name, 8, prompts.nasa) for name in LINES["nasa"][1:]),
    Method("nasa_thin", None, prompts.nasa, note='NASA at 0.5 away from "thin" instead, to see that the prompt counts'),
    *(Method(name, 12, prompts.sun) for name in LINES["sun"][1:]),
    Method("cfg", None, prompts.cfg, note=f"away from no prompt, at scale {HIGH:g}"),
    Method("negtome", 240, prompts.cfg, note="the same, with token merging in the first fifth of the way"),
    Method("negtome_always", 240, prompts.cfg, note="the same, with token merging all the way"),
)


def _distance_at_equal_rate(steps: int, method: str, family: str) -> Callable[[Any], np.ndarray]:
    """Frechet distance of a row over that of a family at the same rate of the prompt.

    The logarithm of the family's distance is interpolated over its rate, from no guidance to its largest scale. A rate
    that it cannot be told to reach is held against the nearest of the rows that have its lowest rate within a standard
    error: rare images are counted by chance, and the row that happens to have fewest may be much too strongly guided.
    Above its rates the row of the highest counts.
    """

    def effect(rows: Any) -> np.ndarray:
        rates, distances = rows[f"attribute_{steps}"], rows[f"frechet_{steps}"]
        rate, distance = (np.stack([np.asarray(table[name]) for name in LINES[family]]) for table in (rates, distances))
        order = np.argsort(rate, axis=0)
        x, y = np.take_along_axis(rate, order, 0), np.take_along_axis(np.log(distance), order, 0)
        own = np.asarray(rates[method])
        reached = x[0] + np.sqrt(x[0] * (1.0 - x[0]) / Config.samples)
        cheapest = np.min(np.where(x <= reached, y, np.inf), axis=0)
        there = np.array([np.interp(own[seed], x[:, seed], y[:, seed]) for seed in range(len(own))])
        there = np.where(own <= reached, cheapest, there)
        return np.asarray(distances[method]) / np.exp(there)

    return effect


CLAIMS = (
    Claim(
        8,
        "In one step NASA at 0.5 lowers the rate of the negative prompt (difference to no guidance)",
        difference("attribute_1", "nasa_0.5", "none"),
        "<",
        0.0,
    ),
    Claim(
        8,
        'It is the prompt that does it: away from "thin" instead, more are thick than without guidance (difference)',
        difference("attribute_1", "nasa_thin", "none"),
        ">",
        0.0,
    ),
    Claim(
        8,
        "In one step NASA at 0.5 has a lower Frechet distance than negative-prompt CFG at an equal rate or the lowest "
        "rate it reaches (ratio)",
        _distance_at_equal_rate(1, "nasa_0.5", "negative_cfg"),
        "<",
        1.0,
    ),
    Claim(
        8,
        "And a lower one than CFG away from the same digit, thick, at an equal rate or the lowest it reaches (ratio)",
        _distance_at_equal_rate(1, "nasa_0.5", "contrast_cfg"),
        "<",
        1.0,
    ),
    Claim(
        8,
        "In twenty steps too NASA at 0.5 lowers the rate of the negative prompt (difference to no guidance)",
        difference("attribute_20", "nasa_0.5", "none"),
        "<",
        0.0,
    ),
    Claim(
        240,
        "NegToMe makes the images of a class at least 5 % more diverse than CFG at the same scale (ratio)",
        ratio("diversity_20", "negtome", "cfg"),
        ">",
        1.05,
    ),
    Claim(
        240,
        "NegToMe keeps the accuracy of the digit within two points of that CFG (difference)",
        difference("accuracy_20", "negtome", "cfg"),
        ">",
        -0.02,
    ),
    Claim(
        240,
        "Acting all the way it makes them at least 5 % more diverse (ratio)",
        ratio("diversity_20", "negtome_always", "cfg"),
        ">",
        1.05,
    ),
    Claim(
        240,
        "And keeps that accuracy all the same (difference)",
        difference("accuracy_20", "negtome_always", "cfg"),
        ">",
        -0.02,
    ),
)


def prepare(config: Config, run: Run) -> tuple[Networks, Setting]:
    """The networks, trained or from disk, and what the judge makes of the data."""
    data = run.data()
    if data.kind != "images" or data.x.shape[1] != data.x.shape[2] or data.x.shape[1] % 2 or data.x.ndim != 3:
        raise UserError(f"Negative guidance needs square images of one colour, {data.name} holds {data.x.shape[1:]}.")
    x, y, classes = denoiser.scaled(data.x), jnp.asarray(data.y), data.num_classes
    conditions = jnp.stack([y, token_denoiser.thickness(x, BINS)], axis=1)
    teacher = TokenDenoiserConfig(side=data.x.shape[1], sizes=(classes, BINS), num_steps=config.train_steps)
    nets = Networks(
        teacher,
        StudentConfig(teacher=teacher, pairs=config.student_pairs, num_steps=config.student_steps),
        ClassifierConfig(dims=(x.shape[1], 128, 64, classes), num_steps=config.classifier_steps),
        ClassifierConfig(dims=(x.shape[1], 64, BINS), num_steps=config.classifier_steps, seed=5),
    )
    made: dict[str, Any] = {"root": run.asset_root, "digest": data.digest}
    run.progress("training the transformer")
    params = token_denoiser.denoiser_asset(nets.denoiser, x, conditions, **made)
    run.progress("distilling it into one step")
    student = token_denoiser.student_asset(nets.student, params, conditions, **made)
    run.progress("training the judge and the probe")
    judge = denoiser.classifier_asset(nets.judge, x, y, **made)
    probe = denoiser.classifier_asset(nets.probe, x, conditions[:, 1], **made)
    kept = np.asarray(conditions[:, 1]) != THICK
    groups = config.samples // GROUP
    ordered = np.sort(data.y[kept])
    wanted = ordered[((np.arange(groups) + 0.5) / groups * len(ordered)).astype(int)]
    real = denoiser.judge(nets.judge, judge, x[kept]).features
    return nets, Setting(params, student, judge, probe, jnp.asarray(np.repeat(wanted, GROUP)), real)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows; those that differ in numbers alone are sampled by one program."""
    nets, setting = prepare(config, run)
    labels = np.asarray(setting.labels)
    firsts = np.unique(labels, return_index=True)[1]
    drawn = (np.linspace(0, len(labels) // GROUP - 1, SHOWN_GROUPS).astype(int)[:, None] * GROUP) + np.arange(GROUP)
    todo = run.todo(METHODS)
    made: dict[Any, Measured] = {}

    def measure(method: Method) -> Measured:
        together = [other.name for other in todo if other.fn is method.fn]
        if method.fn not in made:
            rows = functools.partial(prompts.sample_rows, method.fn, config, nets)
            knobs = jax.tree.map(lambda *values: jnp.asarray(values), *(knobs_of(name, config) for name in together))
            # One seed after the other: side by side they would be no faster, and take more memory.
            made[method.fn] = over_seeds(rows, run.seed_keys(), mode="map", shared=(setting, knobs))
        sampled = made[method.fn]
        images = sampled.curves["images"][:, together.index(method.name)]
        measured = {
            f"{name}_{steps}": np.asarray(values)[:, i]
            for name, values in prompts.judged(nets, setting, images).items()
            for i, steps in enumerate(config.steps)
        }
        rounded = images.astype(np.float64).round(2)  # these are drawn, not judged
        shown = {"per_class": rounded[:, :, firsts], "groups": rounded[:, -1, drawn]}
        return Measured(measured, shown, {kind: s / len(together) for kind, s in sampled.timings.items()})

    run.rows(METHODS, measure)


SHOWN = (
    "none",
    "negative_cfg_1.5",
    "negative_cfg_5",
    "contrast_cfg_1.5",
    "contrast_cfg_5",
    "nasa_0.5",
    "nasa_1",
    "sun_0.5",
)
SHOWN_GROUPS = 5


def plot(result: Result) -> Figure:
    """Images of the first seed with and without the prompt, its rate against the distance, and groups of one class."""
    figure, axes = plots.new_figure(columns=3, rows=2, title=f"Negative guidance on {result.dataset}: not thick")
    per_class, groups = result.curves["per_class"], result.curves["groups"]
    for row, steps in enumerate((1, 20)):
        name = "one step" if steps == 1 else f"{steps} steps"
        place = 0 if steps == 1 else -1
        plots.image_strips(
            axes[3 * row], {n: np.asarray(per_class[n], float)[0, place] for n in SHOWN if n in per_class}
        )
        axes[3 * row].set_xlabel(name, fontsize=11)
        _trade(axes[3 * row + 1], result, steps)
        axes[3 * row + 1].set_title(name, fontsize=11)
    if legend := axes[1].get_legend():
        legend.remove()
    for ax, method in zip((axes[2], axes[5]), ("cfg", "negtome"), strict=True):
        if method in groups:
            images = np.asarray(groups[method], float)[0]
            plots.image_strips(ax, {str(i): group for i, group in enumerate(images.reshape(SHOWN_GROUPS, GROUP, -1))})
            ax.set_yticks([])
        diversity = result.rows["diversity_20"].get(method)
        ax.set_xlabel("" if diversity is None else f"{method}: diversity {np.mean(diversity):.2f}", fontsize=11)
    return figure


def _trade(ax: Any, result: Result, steps: int) -> None:
    """A line per family from no guidance to its largest scale: the rate of the prompt against the distance."""
    for position, (family, line) in enumerate(LINES.items()):
        names = [n for n in line if n in result.rows["frechet_1"]]
        rate, distance = (
            [np.mean(result.rows[f"{metric}_{steps}"][n]) for n in names] for metric in ("attribute", "frechet")
        )
        ax.plot(rate, distance, label=family, linewidth=2, markersize=6, **plots.style(position))
    ax.set_yscale("log")
    ticks = (2, 5, 10, 20, 50, 100)
    low, high = ax.get_ylim()
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.set_ylim(low, high)
    ax.set_xlabel("share of thick images", fontsize=11)
    ax.set_ylabel("Frechet distance to the others", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=9, frameon=False)
