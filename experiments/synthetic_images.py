"""What is a generated image worth as training data, and how should it be filtered?

Three kinds of generated data, each from networks that have seen the training half of the real images alone. Images of
digits by a conditional denoiser at several guidance scales train a classifier, whose loss on real test images is
followed over the number of training images, beside real ones and mixtures. Edits of images by instruction, made at
several pairs of scales, train an editor, filtered by marks or not. Scenes of two digits under captions with a long tail
of relations, a fifth of them wrong, train a generator of scenes, with and without a share of clean scenes of the rare
relations; a detector that slides over generated scenes checks the captions.
"""

import dataclasses
import functools
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import generated_training as rows_of
from experiments import plots
from experiments.assets import denoiser, scenes
from experiments.assets.denoiser import ClassifierConfig, DenoiserConfig
from experiments.claims import difference
from experiments.generated_training import FEW, SCALES, SIZES, Bench
from experiments.runner import Claim, Measured, Method, Result, Run, UserError
from experiments.streams import stratified_split

DATASETS = ("digits",)
SEED_SCOPE = "rows, batches, initial weights and noise of sampling (one split, one denoiser, one generator of scenes)"


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    steps: int = 20
    """DDIM steps of the images and of the scenes."""
    train_steps: int = 8000
    """Training of the denoiser."""
    judge_steps: int = 1500
    """Training of the judges."""
    hidden: int = 128
    """Width of the classifiers that learn from the data."""
    classifier_steps: int = 400
    """Their training."""
    batch_size: int = 50
    """Images a step of it."""
    learning_rate: float = 1e-3
    """Of it."""
    weight_decay: float = 1e-2
    """Of it."""
    added: int = 400
    """Generated images that are mixed with real ones."""
    editor_images: int = 700
    """Images whose edits are generated."""
    probe_images: int = 200
    """Other images, of whose true edits the marks know."""
    probe_steps: int = 500
    """Training of the marks."""
    maker_images: int = 20
    """Of these, the images whose true edits train the editor that makes the candidates."""
    maker_steps: int = 80
    """Its training: short, so that a quarter of the candidates do not follow their instruction."""
    followed: float = 0.5
    """Least probability of the instruction, as one of two marks."""
    usual: float = 0.9
    """Share of true edits that are as near to others as the second mark asks."""
    pairs: int = 50
    """Pairs that an editor learns from."""
    editor_steps: int = 1500
    """Training of an editor."""
    editor_sampling: int = 20
    """Steps by which an editor draws."""
    tests: int = 100
    """Held-out images per seed, each under every instruction."""
    scenes: int = 4000
    """Scenes in a training set."""
    clean_scenes: int = 1000
    """Of these, clean ones of rare relations where there are any."""
    shares: tuple[float, ...] = (0.8, 0.14, 0.04, 0.02)
    """How common the relations are."""
    wrong_captions: float = 0.2
    """Share of the other captions that are wrong."""
    scene_hidden: int = 512
    """Width of the generator of scenes."""
    scene_steps: int = 4000
    """Its training."""
    scene_scale: float = 2.0
    """Its guidance."""
    detector_steps: int = 1500
    """Training of the detector."""
    prompts: int = 400
    """Captions per seed, every relation equally often."""

    def __post_init__(self) -> None:
        if self.prompts % len(scenes.RELATIONS):
            raise ValueError(f"prompts must be a multiple of {len(scenes.RELATIONS)}, got {self.prompts}")
        if len(self.shares) != len(scenes.RELATIONS) or not math.isclose(sum(self.shares), 1.0):
            raise ValueError(f"shares must be {len(scenes.RELATIONS)} numbers that add up to 1, got {self.shares}")
        if not 0 < self.clean_scenes < self.scenes:
            raise ValueError(f"clean_scenes must lie in (0, scenes), got {self.clean_scenes} of {self.scenes}")


QUICK = {
    "steps": 3,
    "train_steps": 150,
    "judge_steps": 60,
    "classifier_steps": 20,
    "probe_steps": 60,
    "maker_steps": 50,
    "followed": 0.0,
    "usual": 1.0,
    "pairs": 10,
    "editor_images": 100,
    "editor_steps": 30,
    "editor_sampling": 3,
    "tests": 6,
    "scenes": 300,
    "clean_scenes": 100,
    "scene_hidden": 32,
    "scene_steps": 50,
    "detector_steps": 100,
    "prompts": 8,
}

METHODS = (
    Method("real", None, functools.partial(rows_of.classes_row, scale=None, real=True)),
    *(
        Method(f"generated_{scale:g}", 3, functools.partial(rows_of.classes_row, scale=scale, real=False))
        for scale in SCALES
    ),
    Method("mixed", 3, functools.partial(rows_of.classes_row, scale=1.5, real=True), note="real ones and 400 at 1.5"),
    Method("edits_any", None, functools.partial(rows_of.edits_row, filtered=False), note="a candidate at random"),
    Method("edits_filtered", 10, functools.partial(rows_of.edits_row, filtered=True), note="the best that passes"),
    Method("scenes_true", None, functools.partial(rows_of.scenes_row, clean=None), note="the limit of the detector"),
    Method("scenes_long_tail", None, functools.partial(rows_of.scenes_row, clean=False)),
    Method("scenes_clean", 96, functools.partial(rows_of.scenes_row, clean=True), note="a quarter clean and rare"),
)

GENERATED = [f"generated_{scale:g}" for scale in SCALES]


def _exponents(rows: Any) -> np.ndarray:
    """How much faster the loss falls on real images, the smallest over the scales."""
    row = rows["exponent"]
    return np.min([np.asarray(row["real"]) - np.asarray(row[name]) for name in GENERATED], axis=0)


def _in_between(rows: Any) -> np.ndarray:
    """Loss at the better end of the scales less the loss at the better of 1.5 and 2, with the most images."""
    row = rows[f"loss_{SIZES[-1]}"]
    ends = np.minimum(row["generated_1"], row["generated_7.5"])
    return ends - np.minimum(row["generated_1.5"], row["generated_2"])


def _help(rows: Any) -> np.ndarray:
    """What generated images take off the loss with few real ones, beyond what they do with many."""
    few, many = (difference(f"loss_{n}", "real", "mixed")(rows) for n in (FEW, SIZES[-1]))
    return few - many


def _more_macro(rows: Any) -> np.ndarray:
    macro, micro = (difference(name, "scenes_clean", "scenes_long_tail")(rows) for name in ("macro", "micro"))
    return macro - micro


CLAIMS = (
    Claim(3, "The loss falls faster with real images than with generated ones at any scale", _exponents, ">", 0.0),
    Claim(
        3,
        "A high scale makes images more recognisable (macro F1 at 7.5 above that at 1)",
        difference("recognizability", "generated_7.5", "generated_1"),
        ">",
        0.0,
    ),
    Claim(3, "and less diverse", difference("diversity", "generated_1", "generated_7.5"), ">", 0.0),
    Claim(3, "A scale of 1.5 or 2 teaches better than 1 and 7.5 (difference of losses)", _in_between, ">", 0.0),
    Claim(3, "Generated images help most where real ones are few (difference of gains in loss)", _help, ">", 0.0),
    Claim(
        10,
        "An editor trained on filtered pairs follows more instructions than one trained on as many unfiltered",
        difference("follows_1", "edits_filtered", "edits_any"),
        ">",
        0.0,
    ),
    Claim(
        10,
        "and so at the scales of the paper",
        difference("follows_7.5", "edits_filtered", "edits_any"),
        ">",
        0.0,
    ),
    Claim(96, "Clean scenes of rare relations lift the macro score more than the micro score", _more_macro, ">", 0.0),
    Claim(
        96,
        "They lift the macro score by .05",
        difference("macro", "scenes_clean", "scenes_long_tail"),
        ">",
        0.05,
    ),
)


def prepare(config: Config, run: Run) -> Bench:
    """The split, the denoiser and the judge, trained on the training half or from disk."""
    data = run.data()
    x, y, classes = denoiser.scaled(data.x), data.y, data.num_classes
    if data.kind != "images" or x.shape[1] != scenes.DIGIT**2:
        raise UserError(f"Scenes are made of images of 8 x 8 numbers, {data.name} holds {list(data.x.shape[1:])}.")
    train, test = stratified_split(y, test_fraction=0.4, rng=np.random.default_rng(0))
    if len(train) < max(SIZES[-1], config.editor_images + config.probe_images + config.tests):
        raise UserError(f"{data.name} has too few images, {len(train)} to train on: lower editor_images or tests.")
    digest = f"{data.digest} train 0.6"
    labels = jnp.asarray(y)
    generator = DenoiserConfig(dim=x.shape[1], sizes=(classes,), num_steps=config.train_steps)
    judge = ClassifierConfig(dims=(x.shape[1], 128, 64, classes), num_steps=config.judge_steps)
    run.progress("training the denoiser and the judge")
    made: dict[str, Any] = {"root": run.asset_root, "digest": digest}
    params = denoiser.denoiser_asset(generator, x[train], labels[train], **made)
    judging = denoiser.classifier_asset(judge, x[train], labels[train], **made)
    return Bench(
        generator, params, judge, judging, x[train], labels[train], x[test], labels[test], run.asset_root, digest
    )


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    bench = prepare(config, run)

    def measure(method: Method) -> Measured:
        return method.fn(config, bench, run)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Loss over the number of images, images and scenes, and what filtering and clean scenes change."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Generated training data: {result.dataset}")
    names = ["real", *GENERATED, "mixed"]
    losses = result.curves.get("loss_by_size", {})
    plots.curves_over_tasks(axes[0], losses, names, ylabel="test loss", xlabel="training images", x=SIZES)
    axes[0].set_xscale("log")
    axes[0].set_yscale("log")
    axes[0].set_xticks(SIZES, [str(n) for n in SIZES])
    axes[0].minorticks_off()
    if legend := axes[0].get_legend():
        legend.set_bbox_to_anchor((0.5, -0.22), axes[0].transAxes)  # below the label of so small a panel
    _tiles(axes[1], result.curves.get("images", {}), GENERATED, 10, "one image per class")
    names = ["scenes_true", "scenes_long_tail", "scenes_clean"]
    _tiles(axes[2], result.curves.get("scenes", {}), names, 8, ", ".join(scenes.RELATIONS) + ", twice")
    _scores(axes[3], result)
    return figure


def _tiles(ax: Any, images: Any, names: list[str], count: int, xlabel: str) -> None:
    """A line of images per row, of the first seed."""
    lines = {name: np.asarray(images[name], float)[0, :count] for name in names if name in images}
    plots.image_strips(ax, lines, xlabel=xlabel)


def _scores(ax: Any, result: Result) -> None:
    """Bars of the measures of edits and scenes."""
    bars = {}
    for metric, method, label in (
        ("follows_1", "edits_any", "edits: any"),
        ("follows_1", "edits_filtered", "edits: filtered"),
        ("micro", "scenes_long_tail", "micro: long tail"),
        ("micro", "scenes_clean", "micro: clean"),
        ("macro", "scenes_long_tail", "macro: long tail"),
        ("macro", "scenes_clean", "macro: clean"),
    ):
        if method in result.rows.get(metric, {}):
            bars[label] = result.rows[metric][method]
    plots.method_bars(ax, bars, list(bars), "share right")
