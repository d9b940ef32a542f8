"""Which training aid pays at equal steps: aligned features, an own history, or dilation at a larger size?

Two small networks learn the velocity of a flow on digits. The first, on patches, is trained for a fixed small number of
steps, always on the same images: plainly; with inner tokens held to those of a frozen encoder; or on sequences of one
class, noisiest image first, each seeing the ones before it. Error on images kept back and Frechet distance are measured
on the way. The second, of convolutions, is trained once and then asked for images of twice the size: as it is, with
re-dilated or dispersed inner convolutions, and with noise-damped guidance. A larger image that is four digits is a
failure: its quarters are shown to a classifier that also knows what is no digit.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from experiments import plots
from experiments.assets import conv_flows, denoiser, patch_flows
from experiments.assets.conv_flows import ConvFlowConfig
from experiments.assets.denoiser import ClassifierConfig
from experiments.assets.patch_flows import EncoderConfig, PatchConfig
from experiments.claims import difference
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds
from experiments.training_aids import (
    CHECKPOINTS,
    Nets,
    Setting,
    draw_large,
    enlarged,
    quarters,
    real_large,
    train_patches,
)
from jaxlab.typing import Array

DATASETS = ("digits",)
SEED_SCOPE = (
    "rows on patches: initial weights, batches, noise (one split, encoder and judge); rows of twice the size: sampling "
    "noise only (one network)"
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    steps: int = 600
    """Steps of training on patches; measured after each quarter."""
    sequences: int = 16
    """Sequences a step."""
    length: int = 4
    """Images in a sequence; without a history they are as many sequences of one."""
    learning_rate: float = 2e-3
    """Of Adam, on patches."""
    average: float = 0.98
    """Of the running mean of the weights that is measured."""
    align: float = 0.5
    """Weight of the alignment of features."""
    samples: int = 300
    """Images per checkpoint and seed; every class equally often."""
    sample_steps: int = 25
    """Euler steps to an image."""
    encoder_steps: int = 1500
    """Training of the encoders."""
    classifier_steps: int = 1500
    """Training of the judge and of the classifier of quarters."""
    conv_steps: int = 1500
    """Training of the convolutional flow."""
    large_samples: int = 120
    """Images of twice the size per seed."""
    large_steps: int = 20
    """Euler steps to an image of twice the size."""
    changed: float = 0.7
    """Share of these steps, the first ones, with changed convolutions."""
    scale: float = 3.0
    """Guidance scale of the convolutional flow."""

    def __post_init__(self) -> None:
        if self.steps % CHECKPOINTS:
            raise ValueError(f"steps must be a multiple of {CHECKPOINTS}, got {self.steps}")
        if not 0 <= self.changed <= 1:
            raise ValueError(f"changed must lie in [0, 1], got {self.changed}")


QUICK = {
    "steps": 40,
    "sequences": 4,
    "samples": 60,
    "sample_steps": 4,
    "encoder_steps": 60,
    "classifier_steps": 100,
    "conv_steps": 20,
    "large_samples": 20,
    "large_steps": 4,
}


class Aid(NamedTuple):
    """A row on patches."""

    target: int = 0
    """Which encoder, of ``ENCODERS``."""
    aligned: bool = False
    """Whether inner tokens are held to its features."""
    history: bool = False
    """Whether images come in sequences."""


ENCODERS = ("supervised", "autoencoder")
METHODS = (
    Method("flow", None, Aid, note="no aid; images one by one"),
    Method("repa", 6, functools.partial(Aid, 0, True), note="tokens of a classifier"),
    Method("repa_autoencoder", 6, functools.partial(Aid, 1, True), note="tokens of an encoder without classes"),
    Method("arflow", 9, functools.partial(Aid, history=True), note="sequences of one class, with memory"),
    Method("real_enlarged", None, real_large, note="what the measures say of the data"),
    Method("trained_size", None, functools.partial(draw_large, times=1), note="the size of training"),
    Method("twice", None, draw_large, note="twice the size, by the network as it is"),
    Method("redilated", 5, functools.partial(draw_large, factor=2)),
    Method("dispersed", 5, functools.partial(draw_large, disperse=True)),
    Method("noise_damped", 5, functools.partial(draw_large, factor=2, damped=True), note="re-dilated too"),
)
SMALL = ("flow", "repa", "repa_autoencoder", "arflow")
LARGE = ("real_enlarged", "trained_size", "twice", "redilated", "dispersed", "noise_damped")


def _ratio(metric: str, over: str, under: str, *, against: str | None = None) -> Callable[[Any], Any]:
    return lambda rows: np.asarray(rows[metric][over]) / np.asarray(rows[against or metric][under])


CLAIMS = (
    Claim(
        6,
        "Aligned features lower the error on images kept back at equal steps (ratio)",
        _ratio("validation_loss", "repa", "flow"),
        "<",
        1.0,
    ),
    Claim(
        6,
        "Aligned features lower the Frechet distance at equal steps (ratio)",
        _ratio("frechet", "repa", "flow"),
        "<",
        1.0,
    ),
    Claim(
        6,
        "Training is faster: aligned after three quarters of the steps beats plain after all of them (ratio)",
        _ratio("frechet_early", "repa", "flow", against="frechet"),
        "<",
        1.0,
    ),
    Claim(
        6,
        "The better the encoder, the better the generator: classifier against autoencoder (ratio of distances)",
        _ratio("frechet", "repa", "repa_autoencoder"),
        "<",
        1.0,
    ),
    Claim(
        9,
        "A history of noisier images of the class lowers the Frechet distance at equal images seen (ratio)",
        _ratio("frechet", "arflow", "flow"),
        "<",
        1.0,
    ),
    Claim(
        5,
        "Re-dilation lowers the share of images that are four digits (by at least a point)",
        difference("multi_digit", "twice", "redilated"),
        ">",
        0.01,
    ),
    Claim(
        5, "Re-dilation lowers the Frechet distance (ratio)", _ratio("frechet_large", "redilated", "twice"), "<", 1.0
    ),
    Claim(
        5,
        "Dispersed convolutions lower the Frechet distance (ratio)",
        _ratio("frechet_large", "dispersed", "twice"),
        "<",
        1.0,
    ),
    Claim(
        5,
        "Noise-damped guidance lowers the Frechet distance of re-dilation (ratio)",
        _ratio("frechet_large", "noise_damped", "redilated"),
        "<",
        1.0,
    ),
)


def prepare(config: Config, run: Run) -> tuple[Nets, Setting]:
    """The networks that are trained once, as far as the selected rows need them, and the data as they see it."""
    data = run.data()
    side = data.x.shape[1]
    if data.kind != "images" or data.x[0].size != side**2 or side % 4:
        raise UserError(f"This question needs square grey images with a side divisible by 4, {data.name} is not that.")
    x, y, classes = denoiser.scaled(data.x), jnp.asarray(data.y), data.num_classes
    nets = Nets(
        PatchConfig(side=side, num_classes=classes),
        ConvFlowConfig(side=side, num_classes=classes, num_steps=config.conv_steps),
        ClassifierConfig(dims=(side**2, 128, 64, classes), num_steps=config.classifier_steps),
        ClassifierConfig(dims=(side**2, 128, 64, classes + 1), num_steps=config.classifier_steps, seed=4),
    )
    train = np.random.default_rng(0).random(len(x)) < 0.8
    made: dict[str, Any] = {"root": run.asset_root, "digest": data.digest}
    wanted = {method.name for method in run.todo(METHODS)}
    run.progress("training the classifiers")
    judge = denoiser.classifier_asset(nets.judge, x, y, **made)
    real = denoiser.judge(nets.judge, judge, x).features
    setting = Setting(x, y, jnp.asarray(train), None, None, judge, None, real)
    if wanted & set(SMALL):
        run.progress("training the encoders")
        made["digest"] = f"{data.digest} train"
        targets = []
        for kind in ENCODERS:
            encoder = EncoderConfig(kind, side=side, num_classes=classes, num_steps=config.encoder_steps)
            params = patch_flows.encoder_asset(encoder, x[train], y[train], **made)
            targets.append(patch_flows.encode(encoder, params, x))
        setting = setting._replace(targets=jnp.stack(targets))
    if wanted & set(LARGE):
        # Every quarter of an enlarged digit is no digit.
        crops = quarters(enlarged(x, side)).reshape(-1, side**2)
        all_x, all_y = jnp.concatenate([x, crops]), jnp.concatenate([y, jnp.full(len(crops), classes, y.dtype)])
        made["digest"] = f"{data.digest} quarters"
        setting = setting._replace(quarters=denoiser.classifier_asset(nets.quarters, all_x, all_y, **made))
        run.progress("training the convolutional flow")
        made["digest"] = data.digest
        conv = conv_flows.conv_flow_asset(nets.conv, x.reshape(-1, side, side), y, **made)
        setting = setting._replace(conv=conv)
    return nets, setting


def train_all(aids: Sequence[Aid], config: Config, nets: Nets, setting: Setting, keys: Array) -> list[Measured]:
    """Rows that differ in numbers alone, as one program over rows and seeds."""
    row = functools.partial(train_patches, config, nets, aids[0].history)
    count, seeds = len(aids), len(keys)
    target = jnp.repeat(jnp.asarray([aid.target for aid in aids]), seeds)
    weight = jnp.repeat(jnp.asarray([config.align * aid.aligned for aid in aids], jnp.float32), seeds)
    # One after the other: factorisations of several seeds at once can wait for each other for ever.
    done = over_seeds(row, jnp.tile(keys, count), target, weight, mode="map", shared=(setting,))
    timings = {name: seconds / count for name, seconds in done.timings.items()}

    def part(i: int) -> Measured:
        mine = slice(i * seeds, (i + 1) * seeds)
        metrics, curves = ({k: v[mine] for k, v in table.items()} for table in (done.metrics, done.curves))
        return Measured(metrics, curves, timings)

    return [part(i) for i in range(count)]


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    nets, setting = prepare(config, run)
    rows = {method.name: method.fn() for method in run.todo(METHODS) if method.name in SMALL}
    done: dict[str, Measured] = {}

    def measure(method: Method) -> Measured:
        if method.name not in rows:
            row = functools.partial(method.fn, config, nets)
            return over_seeds(row, run.seed_keys(), mode="map", shared=(setting,))
        if method.name not in done:
            alike = [name for name, aid in rows.items() if aid.history == rows[method.name].history]
            measured = train_all([rows[name] for name in alike], config, nets, setting, run.seed_keys())
            done.update(zip(alike, measured, strict=True))
        return done[method.name]

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Two measures over the steps of training, and images of the first seed at both sizes."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Aids to training a generator on {result.dataset}")
    curves = result.curves
    panels = (("frechet", "Frechet distance"), ("validation_loss", "error on images kept back"))
    for ax, (name, what) in zip(axes[:2], panels, strict=True):
        table = curves.get(f"{name}_by_step", {})
        if not table:
            ax.set_axis_off()
            continue
        plots.curves_over_tasks(ax, table, SMALL, ylabel=what, xlabel="quarter of training")
        if legend := ax.get_legend():
            legend.set_bbox_to_anchor((0.5, -0.22), ax.transAxes)  # below the label of so small a panel
        if name == "frechet":
            ax.set_yscale("log")
            ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter("")
    small = {name: np.asarray(values)[:, -1] for name, values in curves.get("images_by_step", {}).items()}
    _strips(axes[2], small, SMALL, "one image per class after training")
    _strips(axes[3], curves.get("images_large", {}), LARGE, "one image per class, twice the size of training")
    return figure


def _strips(ax: Any, images: Any, names: tuple[str, ...], what: str) -> None:
    """A line of images per row, all drawn at the size of the largest."""
    rows = {name: np.asarray(images[name], float)[0] for name in names if name in images}
    plots.image_strips(ax, {name: row.reshape(len(row), -1) for name, row in rows.items()}, xlabel=what)
