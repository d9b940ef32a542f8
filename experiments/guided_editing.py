"""Does an edit change what was asked and nothing else?

Two kinds of edits of real images. First a class becomes another (3 to 8, 5 to 6, ...) by one conditional flow that
knows nothing of pairs: by inversion and denoising, or along the difference of two velocities. A classifier judges the
class; the background is where the mean images of the two classes hardly differ, and should stay. How much may change
depends on the time at which an edit starts, so every row is measured at several. Second an editor is trained on pairs
of images and instructions, and a classifier of pairs judges which instruction it has followed; here the wanted image is
known exactly.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import class_edits, instructed_edits, plots
from experiments.assets import denoiser
from experiments.assets.denoiser import ClassifierConfig, DenoiserConfig
from experiments.assets.editors import INSTRUCTIONS
from experiments.claims import difference, ratio
from experiments.class_edits import START, STARTS, Nets, Setting, along_velocities, inversion, keep, noising
from experiments.instructed_edits import SCALES, Bench, Training
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds

DATASETS = ("digits",)
SEED_SCOPE = "images to edit, noise and the training of the editors (one flow, one judge)"
LEVEL = 0.9
"""The accuracy of the target class at which changes of the background are compared."""
EDITS = ((3, 8), (8, 3), (5, 6), (1, 7), (9, 4), (0, 6))


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    sources: int = 20
    """Images per pair of classes and seed."""
    steps: int = 20
    """Steps of an edit along velocities; inversion takes five times as many each way."""
    source_scale: float = 1.5
    """Guidance of the source's velocity."""
    target_scale: float = 3.0
    """Guidance of the target's."""
    omega: float = 3.0
    """Weight of the better mean over the worse."""
    num_average: int = 5
    """Draws of noise a step."""
    num_worse: int = 3
    """Of these, the draws of the worse mean."""
    window: int = 3
    """Side of the window of the mask."""
    latent_rows: int = 60
    """Rows of the images for which the paper's decay of 0.1 per pixel is meant."""
    background: float = 0.2
    """Pixels whose class means differ by less, of a range of 2, are background."""
    train_steps: int = 8000
    """Training of the flow."""
    judge_steps: int = 1500
    """Training of the two judges."""
    editor_images: int = 1000
    """Images whose edits train the editors."""
    probe_images: int = 20
    """Other images whose edits train the probe that corrects instructions."""
    probe_steps: int = 500
    """Training of the probe."""
    tests: int = 100
    """Held-out images per seed, each under every instruction."""
    editor_steps: int = 2000
    """Training of an editor."""
    editor_sampling: int = 30
    """Steps by which an editor draws."""
    wrong: float = 0.3
    """Share of wrong instructions."""

    def __post_init__(self) -> None:
        for name in ("sources", "tests"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name} must be at least 2, got {getattr(self, name)}")
        if not 0 <= self.wrong <= 1:
            raise ValueError(f"wrong must lie in [0, 1], got {self.wrong}")


QUICK = {
    "sources": 3,
    "steps": 4,
    "train_steps": 150,
    "judge_steps": 100,
    "probe_steps": 100,
    "editor_images": 200,
    "tests": 6,
    "editor_steps": 50,
    "editor_sampling": 4,
}


CLASS_EDITS = (
    Method("source", None, keep, note="the image as it is"),
    Method("inversion", None, inversion, note="up by the source's flow, down by the target's, 5 times the steps"),
    Method("noising", None, noising, note="noise instead of inversion"),
    Method("flow_edit", None, functools.partial(along_velocities, guided=False), note="omega 1, no mask"),
    Method("flow_director_free", 1, along_velocities, note="no mask"),
    Method(
        "flow_director",
        1,
        functools.partial(along_velocities, masked=True),
        note="the mask is where the velocities of the two classes differ: this network has no cross-attention",
    ),
)


INSTRUCTED = (
    Method("editor", None, Training, note="right instructions"),
    Method("editor_wrong", None, functools.partial(Training, wrong=True), note="30 % wrong instructions"),
    Method(
        "editor_wrong_best",
        10,
        functools.partial(Training, wrong=True, best=True),
        note="the same; of its edits at all scales the one that the probe gives the best mark",
    ),
    Method(
        "editor_wrong_triplet",
        91,
        functools.partial(Training, wrong=True, triplet=True),
        note="and a negative beside each",
    ),
    Method(
        "editor_rectified",
        91,
        functools.partial(Training, wrong=True, rectified=True),
        note="a probe trained on 20 other images writes the instructions anew, in place of a vision-language model",
    ),
    Method(
        "superedit",
        91,
        functools.partial(Training, wrong=True, rectified=True, triplet=True),
        note="corrected, and with the triplet",
    ),
)
METHODS = CLASS_EDITS + INSTRUCTED


# --- claims

Rows = Mapping[str, Any]


def _change_at(method: str) -> Callable[[Rows], np.ndarray]:
    """Change of the background at which LEVEL of the images are of the target class: over the starts, interpolated.

    NaN for a seed where the row does not get there.
    """

    def change(rows: Rows) -> np.ndarray:
        untouched = np.asarray(rows[f"target_{START:g}"]["source"], float)
        accuracy = np.stack([untouched, *(np.asarray(rows[f"target_{s:g}"][method], float) for s in STARTS)])
        moved = [np.asarray(rows[f"background_{s:g}"][method], float) for s in STARTS]
        background = np.stack([np.zeros_like(untouched), *moved])
        found = np.full(untouched.shape, np.nan)
        for seed, (a, b) in enumerate(zip(accuracy.T, background.T, strict=True)):
            if (above := np.flatnonzero(a >= LEVEL)).size:
                first = int(above[0])
                pair = slice(max(first - 1, 0), first + 1)
                found[seed] = np.interp(LEVEL, a[pair], b[pair])
        return found

    return change


def _ratio_at_level(method: str, rival: str) -> Callable[[Rows], np.ndarray]:
    return lambda rows: _change_at(method)(rows) / _change_at(rival)(rows)


def _mean_difference(method: str, rival: str) -> Callable[[Rows], Any]:
    """Difference of the accuracies of the target class, mean over the starts."""
    return lambda rows: np.mean([difference(f"target_{s:g}", method, rival)(rows) for s in STARTS], axis=0)


CLAIMS = (
    Claim(
        1,
        "To bring 90 % of the images into the target class, FlowDirector changes the background less than inversion "
        "(ratio)",
        _ratio_at_level("flow_director", "inversion"),
        "<",
        1.0,
    ),
    Claim(
        1,
        "Started where the paper starts, FlowDirector changes the background less than inversion (ratio)",
        ratio("background_0.8", "flow_director", "inversion"),
        "<",
        1.0,
    ),
    Claim(
        1,
        "There it reaches the target class at least as often as inversion (difference)",
        difference("target_0.8", "flow_director", "inversion"),
        ">",
        -0.01,
    ),
    Claim(
        1,
        "The mask lowers the change of the background (ratio)",
        ratio("background_0.8", "flow_director", "flow_director_free"),
        "<",
        1.0,
    ),
    Claim(
        1,
        "The weight on the better mean makes the target class more frequent (difference, mean over the starts)",
        _mean_difference("flow_director_free", "flow_edit"),
        ">",
        0.0,
    ),
    Claim(
        91,
        "The triplet raises the share of followed instructions, corrected ones given, at the paper's scales",
        difference("follows_7.5", "superedit", "editor_rectified"),
        ">",
        0.0,
    ),
    Claim(
        91,
        "The triplet raises it without guidance too",
        difference("follows_1", "superedit", "editor_rectified"),
        ">",
        0.0,
    ),
    Claim(
        91,
        "The triplet raises it where 30 % of the instructions stay wrong, without guidance",
        difference("follows_1", "editor_wrong_triplet", "editor_wrong"),
        ">",
        0.0,
    ),
    Claim(
        91,
        "Corrected instructions raise the share of followed instructions, at the paper's scales",
        difference("follows_7.5", "editor_rectified", "editor_wrong"),
        ">",
        0.0,
    ),
    Claim(
        91,
        "Corrected instructions raise it without guidance too",
        difference("follows_1", "editor_rectified", "editor_wrong"),
        ">",
        0.0,
    ),
    Claim(
        91,
        "Corrected instructions bring the edit nearer to the wanted image, without guidance (ratio of squares)",
        ratio("error_1", "editor_rectified", "editor_wrong"),
        "<",
        1.0,
    ),
)


# --- the run


def prepare(config: Config, run: Run) -> tuple[Nets, Setting, Bench]:
    """The flow and the judges, trained or from disk, and the images of every purpose."""
    data = run.data()
    x, y, classes = denoiser.scaled(data.x), np.asarray(data.y), data.num_classes
    if data.kind != "images" or math.isqrt(x.shape[1]) ** 2 != x.shape[1]:
        raise UserError(f"Edits need square images without colours, {data.name} holds {list(data.x.shape[1:])}.")
    pairs = [pair for pair in EDITS if max(pair) < classes] or [(0, 1)]
    pools = [np.flatnonzero(y == source) for source, _ in pairs]
    fewest = min(map(len, pools))
    if fewest < config.sources:
        raise UserError(f"sources must not exceed the smallest class, {fewest} images; got {config.sources}.")
    if config.editor_images + config.probe_images + config.tests > len(x):
        raise UserError(f"{data.name} has too few images, {len(x)}: lower editor_images, probe_images or tests.")
    means = jnp.stack([x[y == label].mean(axis=0) for label in range(classes)])
    still = jnp.stack([jnp.abs(means[a] - means[b]) < config.background for a, b in pairs])
    nets = Nets(
        DenoiserConfig(dim=x.shape[1], form="linear", sizes=(classes,), num_steps=config.train_steps),
        ClassifierConfig(dims=(x.shape[1], 128, 64, classes), num_steps=config.judge_steps),
    )
    made: dict[str, Any] = {"root": run.asset_root, "digest": data.digest}
    run.progress("training the flow")
    flow = denoiser.denoiser_asset(nets.flow, x, jnp.asarray(y), **made)
    run.progress("training the judges")
    judge = denoiser.classifier_asset(nets.judge, x, jnp.asarray(y), **made)
    pool = jnp.stack([x[where[:fewest]] for where in pools])
    setting = Setting(flow, judge, pool, jnp.asarray(pairs), still)
    return nets, setting, instructed_edits.bench(config, x, **made)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    nets, setting, bench = prepare(config, run)

    def measure(method: Method) -> Measured:
        if method in INSTRUCTED:
            return instructed_edits.row(method.fn(), config, bench, run)
        row = functools.partial(class_edits.measure_class_edit, method, config, nets)
        return over_seeds(row, run.seed_keys(), shared=(setting,))

    run.rows(METHODS, measure)


# --- the figure


def plot(result: Result) -> Figure:
    """Edited images of the first seed, and what the edits cost against what they reach."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Edits on {result.dataset}")
    _strips(axes[0], result.curves.get("images", {}), [m.name for m in CLASS_EDITS], f"class edits from t = {START:g}")
    _trade(axes[1], result)
    _instructed_strips(axes[2], result.curves.get("edits", {}))
    names = [method.name for method in INSTRUCTED]
    x = [scales[1] for scales in SCALES]
    paths = result.curves.get("follows_path", {})
    plots.curves_over_tasks(
        axes[3], paths, names, ylabel="instructions followed", xlabel="scale of the instruction", x=x
    )
    if legend := axes[3].get_legend():
        legend.set_bbox_to_anchor((0.5, -0.2), axes[3].transAxes)  # below the label of so small a panel
    return figure


def _strips(ax: Any, images: Mapping[str, Any], names: Sequence[str], xlabel: str) -> None:
    """A line of images per row, the first of every pair of classes."""
    lines = {name: np.asarray(images[name], float)[0] for name in names if name in images}
    lines = {name: line.reshape(-1, line.shape[-1]) for name, line in lines.items()}
    plots.image_strips(ax, lines, xlabel=xlabel)


def _instructed_strips(ax: Any, edits: Mapping[str, Any]) -> None:
    # Of a row: [source or edit, instruction, image, dim].
    stacks = {m.name: np.asarray(edits[m.name], float)[0] for m in INSTRUCTED if m.name in edits}
    lines = {name: stack[1].reshape(-1, stack.shape[-1]) for name, stack in stacks.items()}
    if stacks:
        source = next(iter(stacks.values()))[0]
        lines = {"source": source.reshape(-1, source.shape[-1])} | lines
    plots.image_strips(ax, lines, xlabel=", ".join(INSTRUCTIONS) + ": two images each, no guidance")


def _trade(ax: Any, result: Result) -> None:
    """Accuracy of the target class against change of the background, a line over the starts per row."""
    for place, method in enumerate(CLASS_EDITS):
        if method.name not in result.curves.get("target_path", {}):
            continue
        change, accuracy = (
            np.asarray(result.curves[f"{metric}_path"][method.name], float).mean(axis=0)
            for metric in ("background", "target")
        )
        ax.plot(change, accuracy, label=method.name, linewidth=2, markersize=6, **plots.style(place))
    ax.set_xlabel("change of the background (RMS)", fontsize=11)
    ax.set_ylabel("accuracy of the target class", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.88", linewidth=0.8)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=9, frameon=False)
