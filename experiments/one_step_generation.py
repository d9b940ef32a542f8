"""How good are one to four steps?

Generators of images by class, from the same noise: a flow-matching network by Euler's method (which DDIM is on a
straight path), a mean flow, and students of the flow. A classifier judges the images by the Frechet distance of its
features to those of the data and by the share it takes for the wanted class; calls are those of the network. Guidance
does not improve the Frechet distance of digits: what is baked in shows in the accuracy. Everything is trained once; see
``Config`` for how long.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets import denoiser, few_steps, flows
from experiments.assets.denoiser import ClassifierConfig, DenoiserConfig
from experiments.assets.few_steps import ProgressiveConfig, ScoreDistillationConfig, SegmentConfig
from experiments.assets.flows import MeanFlowConfig
from experiments.claims import difference, ratio
from experiments.runner import Claim, Measured, Method, Result, Run, UserError
from jaxlab import diffusion, guidance, metrics
from jaxlab.typing import Array, PyTree

DATASETS = ("digits",)
SEED_SCOPE = "sampling noise only (every network is trained once, the same wanted classes)"
FIXED = (1.0, 4.0, 7.5)
"""Guidance scales of the one-step generators that are trained at one scale."""
PROCESS = diffusion.linear_flow()


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    samples: int = 1000
    """Images per row and seed; every class equally often."""
    train_steps: int = 8000
    """Training of the flow-matching network, the teacher."""
    judge_steps: int = 1500
    """Training of the classifier that judges."""
    flow_steps: int = 3000
    """First stage of the mean flow: flow matching."""
    mean_steps: int = 6000
    """Its second stage. Without a curriculum both stages are trained like the second."""
    w: float = 0.3
    """Baked-in guidance: weight of the sample's velocity. The scale is w / (1 - k)."""
    k: float = 0.9
    """Baked-in guidance: weight of the network's conditional velocity."""
    halving_steps: int = 1500
    """Training of every student of progressive distillation."""
    segment_steps: int = 3000
    """Training of the student of multi-step consistency."""
    distillation_steps: int = 2000
    """Training of the one-step generators of score distillation."""
    low: float = 0.5
    """Lowest guidance scale of the generator whose scale is random."""
    high: float = 4.0
    """Highest of them."""

    def __post_init__(self) -> None:
        if self.samples < 30:
            raise ValueError(f"samples must be at least 30, got {self.samples}")
        if not 0 <= self.k < 1:
            raise ValueError(f"k must lie in [0, 1), got {self.k}")
        if not 0 < self.low <= self.high:
            raise ValueError(f"low and high must satisfy 0 < low <= high, got {self.low} and {self.high}")


QUICK = {
    "samples": 60,
    "train_steps": 100,
    "judge_steps": 100,
    "flow_steps": 30,
    "mean_steps": 30,
    "halving_steps": 20,
    "segment_steps": 20,
    "distillation_steps": 20,
}


class Task(NamedTuple):
    """What the rows share: the configuration, the teacher, and the data that others are trained on."""

    config: Config
    network: DenoiserConfig
    teacher: PyTree
    x: Array
    y: Array
    labels: Array  # [B], the wanted classes
    made: dict[str, Any]  # where assets are kept, and of which data


Draw = Callable[[PyTree, Array, Array, Array], diffusion.Sample]


class Generator(NamedTuple):
    """Parameters, and ``draw(params, labels [B], keys [B], noise [B, dim])``; rows of one ``draw`` share a program."""

    params: PyTree
    draw: Draw


@functools.cache
def by_euler(network: DenoiserConfig, steps: int, scale: float = 1.0) -> Draw:
    """A network of the teacher's kind by Euler's method, with classifier-free guidance where scale is not 1."""

    def draw(params: PyTree, labels: Array, keys: Array, noise: Array) -> diffusion.Sample:
        cond, null = (
            denoiser.model(network, params, given, kind="v")
            for given in (labels, denoiser.null(network, labels.shape[0]))
        )
        guided: dict[str, Any] = {} if scale == 1 else {"uncond_fn": null, "rule": guidance.cfg(scale)}
        step = diffusion.euler(PROCESS, kind="v")
        return diffusion.sample(keys, noise, diffusion.time_grid(steps, low=0.0), cond_fn=cond, step=step, **guided)

    return draw


@functools.cache
def by_mean_flow(network: MeanFlowConfig, steps: int) -> Draw:
    """A mean flow, a call for every step."""

    def draw(params: PyTree, labels: Array, keys: Array, noise: Array) -> diffusion.Sample:
        ts = diffusion.time_grid(steps, low=0.0)
        return diffusion.mean_flow_sample(noise, ts, u_fn=flows.mean_velocity(network, params, labels))

    return draw


def flow(steps: int, task: Task) -> Generator:
    return Generator(task.teacher, by_euler(task.network, steps))


def guided_flow(steps: int, task: Task) -> Generator:
    return Generator(task.teacher, by_euler(task.network, steps, task.config.w / (1.0 - task.config.k)))


def mean_flow(steps: int, task: Task, *, curriculum: bool = True, guided: bool = False) -> Generator:
    config = task.config
    guide: dict[str, Any] = {"w": config.w, "k": config.k} if guided else {}
    network = MeanFlowConfig(
        dim=task.network.dim,
        classes=task.network.sizes[0],
        flow_steps=config.flow_steps,
        mean_steps=config.mean_steps,
        curriculum=curriculum,
        **guide,
    )
    params = flows.mean_flow_asset(network, task.x, task.y, **task.made)
    return Generator(params, by_mean_flow(flows.unstaged(network), steps))


def progressive(steps: int, task: Task) -> Generator:
    config = ProgressiveConfig(teacher=task.network, num_steps=task.config.halving_steps)
    trained = few_steps.progressive_asset(config, task.teacher, task.x, task.y, **task.made)
    return Generator(trained[str(steps)], by_euler(task.network, steps))


def segments(steps: int, task: Task) -> Generator:
    config = SegmentConfig(teacher=task.network, segments=steps, num_steps=task.config.segment_steps)
    params = few_steps.segment_asset(config, task.teacher, task.x, task.y, **task.made)
    return Generator(params, by_euler(task.network, steps))


def score_distilled(place: int, task: Task) -> Generator:
    """The generator of the place-th fixed scale, or of random scales behind the last of them."""
    scales = (*((scale, scale) for scale in FIXED), (task.config.low, task.config.high))
    config = ScoreDistillationConfig(teacher=task.network, scales=scales, num_steps=task.config.distillation_steps)
    trained = few_steps.score_distillation_asset(config, task.teacher, task.x, task.y, **task.made)
    return Generator(jax.tree.map(lambda leaf: leaf[place], trained), by_euler(task.network, 1))


def _rows(name: str, paper: int | None, make: Callable[..., Generator], *steps: int, note: str = "") -> list[Method]:
    """A row for every number of steps."""
    return [Method(f"{name}_{n}", paper, functools.partial(make, n), note=note) for n in steps]


METHODS = (
    *_rows("euler", None, flow, 1, 2, 4, 8, 16, 50, note="flow matching, the teacher"),
    *_rows("guided_euler", None, guided_flow, 50, note="with guidance of scale w / (1 - k): two calls a step"),
    *_rows("mean_flow", 7, mean_flow, 1, 4, note="flow matching first, then mean flow; no guidance"),
    *_rows(
        "mean_flow_direct",
        7,
        functools.partial(mean_flow, curriculum=False),
        1,
        note="mean flow from the start, as many steps",
    ),
    *_rows("mean_flow_guided", 7, functools.partial(mean_flow, guided=True), 1, 4, note="guidance baked in by w and k"),
    *_rows("progressive", 35, progressive, 8, 4, 2, 1, note="each student from the one with twice the steps"),
    *_rows("segments", 12, segments, 4, note="multi-step consistency; its loss is a reconstruction"),
    *(
        Method(f"vsd_{scale:g}", None, functools.partial(score_distilled, i), note="score distillation at one scale")
        for i, scale in enumerate(FIXED)
    ),
    Method("vsd_random", 8, functools.partial(score_distilled, len(FIXED)), note="score distillation at random scales"),
)


def _share_of_spread(rows: Any) -> np.ndarray:
    """Where the random scale lies between the best fixed scale (0) and the worst (1) in Frechet distance."""
    fixed = np.stack([np.asarray(rows["frechet"][f"vsd_{scale:g}"]) for scale in FIXED])
    best, worst = fixed.min(axis=0), fixed.max(axis=0)
    return (np.asarray(rows["frechet"]["vsd_random"]) - best) / (worst - best)


CLAIMS = (
    Claim(
        7,
        "One call of a mean flow has less than half the Frechet distance of one Euler step",
        ratio("frechet", "mean_flow_1", "euler_1"),
        "<",
        0.5,
    ),
    Claim(
        7,
        "One call of a mean flow comes within 1.5 times the Frechet distance of 50 Euler steps",
        ratio("frechet", "mean_flow_1", "euler_50"),
        "<",
        1.5,
    ),
    Claim(
        7,
        "Guidance baked in makes more images of the right class at one call (accuracy, difference)",
        difference("accuracy", "mean_flow_guided_1", "mean_flow_1"),
        ">",
        0.0,
    ),
    Claim(
        7,
        "Flow matching first helps: lower Frechet distance at one call than mean flow from the start (ratio)",
        ratio("frechet", "mean_flow_1", "mean_flow_direct_1"),
        "<",
        1.0,
    ),
    Claim(
        35,
        "The 4-step student comes within 10 % of the Frechet distance of 16 steps of the teacher",
        ratio("frechet", "progressive_4", "euler_16"),
        "<",
        1.1,
    ),
    Claim(
        35,
        "The 4-step student has a lower Frechet distance than 4 steps of the teacher",
        ratio("frechet", "progressive_4", "euler_4"),
        "<",
        1.0,
    ),
    Claim(
        8,
        "A random scale loses less to the best fixed scale than the fixed ones lie apart (Frechet distance, share)",
        _share_of_spread,
        "<",
        1.0,
    ),
)


def draw_seeds(draw: Draw, dim: int, keys: Array, params: PyTree, labels: Array) -> tuple[Array, Array]:
    """The images [S, B, dim] of every seed and their calls [S]; all rows start from the same noise."""

    def one(key: Array) -> tuple[Array, Array]:
        own = jax.random.split(key, labels.shape[0])
        result = draw(params, labels, own, PROCESS.prior_sample(own, (dim,)))
        return result.x, result.calls.astype(jnp.float32)

    return jax.lax.map(one, keys)


def judge_seeds(judge: ClassifierConfig, images: Array, labels: Array, params: PyTree, real: Array) -> dict[str, Array]:
    """Distance and accuracy of the images of every seed, [S] each."""

    def one(x: Array) -> dict[str, Array]:
        seen = denoiser.judge(judge, params, x)
        distance = metrics.frechet_distance(seen.features, real)
        return {"frechet": distance, "accuracy": metrics.accuracy(seen.logits, labels)}

    # One seed after the other: factorisations of several seeds at once can wait for each other for ever.
    return jax.lax.map(one, images)


def timed(programs: dict[Any, Any], name: Any, fn: Callable[..., Any], *args: Any) -> tuple[Any, dict[str, float]]:
    """``fn(*args)``, compiled unless there is a program of that name, and the seconds it took."""
    start = time.perf_counter()
    if name not in programs:
        programs[name] = jax.jit(fn).lower(*args).compile()
    compiled = time.perf_counter()
    result = jax.block_until_ready(programs[name](*args))
    return result, {"compile": compiled - start, "run": time.perf_counter() - compiled}


def run(config: Config, run: Run) -> None:
    """Measures the selected rows; what they need is trained, or comes from disk."""
    data = run.data()
    if data.kind != "images":
        raise UserError(f"One-step generation needs images, {data.name} holds features.")
    x, y, classes = denoiser.scaled(data.x), jnp.asarray(data.y), data.num_classes
    if config.samples < classes:
        raise UserError(f"samples must be at least {classes} for {data.name}, got {config.samples}.")
    made: dict[str, Any] = {"root": run.asset_root, "digest": data.digest}
    run.progress("training the teacher and the judge")
    network = DenoiserConfig(dim=x.shape[1], sizes=(classes,), form="linear", num_steps=config.train_steps)
    judge = ClassifierConfig(dims=(x.shape[1], 128, 64, classes), num_steps=config.judge_steps)
    teacher = denoiser.denoiser_asset(network, x, y, **made)
    judge_params = denoiser.classifier_asset(judge, x, y, **made)
    real = denoiser.judge(judge, judge_params, x).features
    task = Task(config, network, teacher, x, y, jnp.arange(config.samples) % classes, made)

    programs: dict[Any, Any] = {}  # half of the rows differ from others in their parameters alone

    def measure(method: Method) -> Measured:
        generator = method.fn(task)
        draw = functools.partial(draw_seeds, generator.draw, network.dim)
        (images, calls), drawing = timed(programs, generator.draw, draw, run.seed_keys(), generator.params, task.labels)
        judge_all = functools.partial(judge_seeds, judge)
        seen, judging = timed(programs, "judge", judge_all, images, task.labels, judge_params, real)
        values = jax.tree.map(np.asarray, seen | {"calls": calls})
        timings = {name: drawing[name] + judging[name] for name in drawing}
        return Measured(values, {"images": np.asarray(images[:, :classes])}, timings)

    run.rows(METHODS, measure)


FAMILIES = {
    "Euler": tuple(f"euler_{n}" for n in (1, 2, 4, 8, 16, 50)),
    "Euler, guided": ("guided_euler_50",),
    "mean flow": ("mean_flow_1", "mean_flow_4"),
    "mean flow, guidance baked in": ("mean_flow_guided_1", "mean_flow_guided_4"),
    "progressive distillation": tuple(f"progressive_{n}" for n in (1, 2, 4, 8)),
    "multi-step consistency": ("segments_4",),
    "score distillation, fixed scale": tuple(f"vsd_{scale:g}" for scale in FIXED),
    "score distillation, random": ("vsd_random",),
}
SHOWN = tuple(dict.fromkeys(name for names in FAMILIES.values() for name in (names[0], names[-1])))


def plot(result: Result) -> Figure:
    """Images of the first seed by row, and the distance against the calls."""
    figure, axes = plots.new_figure(columns=2, title=f"One to four steps on {result.dataset}")
    _grid(axes[0], result.curves.get("images", {}))
    _distances(axes[1], result.rows)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return figure


def _distances(ax: Axes, rows: Any) -> None:
    """A line per family of rows: mean Frechet distance over the seeds against the calls."""
    distance, calls = rows.get("frechet", {}), rows.get("calls", {})
    for position, (family, names) in enumerate(FAMILIES.items()):
        there = [name for name in names if name in distance]
        if not there:
            continue
        costs, means = ([np.mean(np.asarray(of[name], float)) for name in there] for of in (calls, distance))
        look = plots.style(position) | ({"color": "black"} if names == ("vsd_random",) else {})
        ax.plot(costs, means, label=family, markersize=7, linewidth=2, **look)
        for name, cost, mean in zip(there, costs, means, strict=True):
            if name.startswith("vsd"):
                ax.annotate(name[4:], (cost, mean), (9, 0), textcoords="offset points", va="center", fontsize=9)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ticks = (1, 2, 4, 8, 16, 50, 100)
    ax.set_xticks(ticks, [str(n) for n in ticks])
    ax.set_xlim(0.7, 130)
    ax.minorticks_off()
    ax.set_xlabel("calls of the network", fontsize=11)
    ax.set_ylabel("Frechet distance", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)


def _grid(ax: Axes, images: Any) -> None:
    """A line of images per row, an image per class."""
    lines = {name: np.asarray(images[name], float)[0] for name in SHOWN if name in images}
    plots.image_strips(ax, lines, xlabel="one image per class, the same noise in every line")
