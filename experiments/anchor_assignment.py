"""Which anchors are positive, and is sampling needed?

Canvases hold a few real digits at several sizes. First without training: how many positive anchors does an object of a
given size get? Then a tiny detector learns from several assignments, which is all that differs. On canvases with hardly
a digit and many decoys, where one anchor in a thousand is positive, the loss of the classes differs instead. Last, one
digit alone: how far away must it be to look so large?
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments import anchor_depth, anchor_detectors, plots
from experiments.anchor_depth import Reading
from experiments.anchor_detectors import IGNORED, Rule
from experiments.assets import canvases
from experiments.assets.canvases import CanvasConfig, Canvases
from experiments.claims import difference
from experiments.programs import Programs
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError
from experiments.streams import stratified_split
from jaxlab import vision
from jaxlab.typing import Array

DATASETS = ("digits",)
SEED_SCOPE = "digits to learn from and to test on, canvases, places, network, batches"
SIZES = (8.0, 12.0, 20.0, 32.0, 48.0, 72.0, 100.0)
DENSE = CanvasConfig()
RARE = CanvasConfig(fewest=1, most=1, empty=0.66, decoys=4)
SINGLE = CanvasConfig(fewest=1, most=1)
USUAL_PRIOR = 0.01


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    canvases: int = 400
    """Canvases of each kind to learn from, and as many to test on."""
    rounds: int = 4
    """The detectors are measured so many times on their way."""
    round_steps: int = 100
    """Steps of Adam between."""
    batch_size: int = 8
    """Canvases a step."""
    depth_steps: int = 400
    """Steps of the networks that read depth, 32 canvases each."""
    places: int = 60
    """Places of every size at which positive anchors are counted."""
    test_share: float = 0.3
    """Share of the digits that only test canvases show."""

    def __post_init__(self) -> None:
        if not 0 < self.test_share < 1:
            raise ValueError(f"test_share must lie in (0, 1), got {self.test_share}")


QUICK = {"canvases": 48, "round_steps": 8, "rounds": 2, "depth_steps": 16, "places": 8}


@dataclasses.dataclass(frozen=True)
class Detector:
    """A detector's row: assignment, rule, canvases, and whether scores start at the true rate and a canvas is shown."""

    assigner: str
    rule: Rule
    rare: bool = False
    true_rate: bool = False
    shown: bool = False


@dataclasses.dataclass(frozen=True)
class Parts:
    """What the rows share: keys and canvases with a leading axis of seeds, and the programs."""

    keys: Array
    train: Mapping[str, Canvases]
    tests: Mapping[str, Canvases]
    programs: Programs
    owners: dict[tuple[str, bool], tuple[Array, Array]] = dataclasses.field(default_factory=dict)


DETECTION = ("box_precision",)
RARITY = ("anchor_precision", "early_precision", "box_precision")


def detector_row(config: Config, parts: Parts, row: Detector) -> Measured:
    """Trains a detector from every seed."""
    kind = "rare" if row.rare else "dense"
    train, tests = parts.train[kind], parts.tests[kind]
    owner, test_owner = owners(parts, row)
    bias = jnp.full(len(parts.keys), -math.log((1 - USUAL_PRIOR) / USUAL_PRIOR))
    if row.true_rate:
        positive, valid = (np.sum(np.asarray(count), axis=(1, 2)) for count in (owner >= 0, owner != IGNORED))
        bias = vision.prior_bias(jnp.asarray(positive), jnp.asarray(valid))
    elif row.rare and row.rule.plain:
        bias = jnp.zeros_like(bias)
    data = {"images": train.images, "boxes": train.boxes, "owner": owner}
    seeds = anchor_detectors.Seed(parts.keys, bias.astype(jnp.float32), data, tests, test_owner)
    sizes: dict[str, Any] = {"rounds": config.rounds, "steps": config.round_steps, "batch_size": config.batch_size}
    rule = jax.tree.map(jnp.float32, row.rule)
    done = parts.programs.measured(
        "detector", functools.partial(anchor_detectors.learned, **sizes), seeds, rule, mode="map"
    )
    wanted = RARITY if row.rare else DETECTION
    values = {name: done.metrics[name] for name in wanted}
    curves = {"precision": done.curves["precision"]} if row.rare else {}
    if row.shown:
        curves |= {name: done.curves[name] for name in ("canvas", "truth", "found")}
    if not row.rare:
        if row.rule.online or row.assigner == "level_by_size":
            values["level_agreement"] = done.metrics["level_agreement"]
            curves["level"] = done.curves["level"]
        if not row.rule.online:
            counted, positives = counts(config, parts.keys, row.assigner)
            values |= counted
            curves["positives"] = positives
    return Measured(values, curves, done.timings)


def owners(parts: Parts, row: Detector) -> tuple[Array, Array]:
    """The assignments of the canvases to learn from and to test on: int [S, B, P]."""
    key = row.assigner, row.rare
    if key not in parts.owners:
        kind = "rare" if row.rare else "dense"
        both = [parts.train[kind], parts.tests[kind]]
        boxes, where = (jnp.stack(leaves) for leaves in ([c.boxes for c in both], [c.where for c in both]))
        slots = where.shape[-1]
        made = anchor_detectors.assign(boxes.reshape(-1, slots, 4), where.reshape(-1, slots), name=row.assigner)
        train, tests = made.reshape(*where.shape[:3], -1)
        parts.owners[key] = train, tests
    return parts.owners[key]


def counts(config: Config, keys: Array, assigner: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """How unevenly positive anchors are spread over sizes, and the share of objects that get none."""
    count = functools.partial(anchor_detectors.count_positives, name=assigner, sizes=SIZES, count=config.places)
    table = np.stack([np.asarray(count(jax.random.fold_in(key, 7))) for key in keys])  # [S, sizes, places]
    means = table.mean(axis=2)
    uneven = means.std(axis=1, ddof=1) / means.mean(axis=1)
    return {"unevenness": uneven, "unseen": (table == 0).mean(axis=(1, 2))}, means


def depth_row(config: Config, parts: Parts, reading: Reading) -> Measured:
    """Trains a network that reads depth from every seed."""
    train, tests = parts.train["single"], parts.tests["single"]
    data = {"images": train.images, "depth": anchor_depth.depths(train)}
    seeds = anchor_depth.Seed(parts.keys, data, tests.images, anchor_depth.depths(tests))
    fn = functools.partial(anchor_depth.learned, steps=config.depth_steps, batch_size=32)
    done = parts.programs.measured("depth", fn, seeds, jax.tree.map(jnp.float32, reading), mode="map")
    values = dict(done.metrics)
    if not reading.spread:  # nobody taught the bins anything
        values.pop("coverage_error")
        return Measured(values, {}, done.timings)
    return Measured(values, done.curves, done.timings)


def _detector(assigner: str, *, rare: bool = False, true_rate: bool = False, **weights: float) -> Any:
    row = Detector(assigner, Rule(**weights), rare, true_rate, shown=assigner == "atss")
    return functools.partial(detector_row, row=row)


def _reading(**options: float) -> Any:
    return functools.partial(depth_row, reading=Reading(**options))


METHODS = (
    Method("iou", None, _detector("iou", focal=1.0), note="overlap of 0.5 and more"),
    Method("iou_best", None, _detector("iou_best", focal=1.0), note="and the best anchor of every object"),
    Method("atss", 273, _detector("atss", focal=1.0), note="every object its own threshold"),
    Method("all_levels", None, _detector("all_levels", focal=1.0), note="the middle of the object, on every level"),
    Method("level_by_size", None, _detector("level_by_size", focal=1.0), note="on the level that its size says"),
    Method("fsaf", 61, _detector("all_levels", focal=1.0, online=1.0), note="on the level that learns it best"),
    Method("zero_bias", None, _detector("best_only", rare=True, plain=1.0), note="rare digits: cross entropy"),
    Method("prior_bias", 39, _detector("best_only", rare=True, true_rate=True, plain=1.0), note="from the true rate"),
    Method("focal", None, _detector("best_only", rare=True, focal=1.0), note="focal loss, from a rate of 0.01"),
    Method("harmonized", None, _detector("best_only", rare=True, harmonized=1.0), note="weights against the crowd"),
    Method("sampled", None, _detector("best_only", rare=True, sampled=1.0), note="three negatives for a positive"),
    Method(
        "sampling_free",
        39,
        _detector("best_only", rare=True, true_rate=True, guided=1.0),
        note="from the true rate, scaled by the box loss",
    ),
    Method("depth_number", None, _reading(), note="a number, absolute error"),
    Method("depth_bins", 85, _reading(direct=0.0, spread=0.25), note="mean of bins that are taught too"),
    Method("depth_fused", 85, _reading(learned=1.0, spread=0.25), note="both, in a share that is learned"),
)

CLAIMS = (
    Claim(
        273,
        "Positive anchors are spread more evenly over sizes than by a threshold of overlap (coefficient of variation)",
        difference("unevenness", "iou", "atss"),
        ">",
        0.1,
    ),
    Claim(
        273,
        "Objects that a threshold of overlap leaves without an anchor get one (share, one size in seven)",
        difference("unseen", "iou", "atss"),
        ">",
        0.1,
    ),
    Claim(
        273,
        "The same detector finds more with these anchors than with those over a threshold (AP50)",
        difference("box_precision", "atss", "iou"),
        ">",
        0.0,
    ),
    Claim(
        61,
        "The level that learns an object best goes with its size (rank correlation)",
        lambda rows: rows["level_agreement"]["fsaf"],
        ">",
        0.5,
    ),
    Claim(
        61,
        "Choosing the level while learning finds more than choosing it by size (AP50)",
        difference("box_precision", "fsaf", "level_by_size"),
        ">",
        0.0,
    ),
    Claim(
        39,
        "From the true rate no early steps are lost: average precision of anchors after a quarter of the training",
        difference("early_precision", "prior_bias", "zero_bias"),
        ">",
        0.0,
    ),
    Claim(
        39,
        "Without sampling and without its two settings as good as the focal loss, to .02 average precision",
        difference("anchor_precision", "sampling_free", "focal"),
        ">",
        -0.02,
    ),
    Claim(
        39,
        "And as good as sampling, to .02 average precision",
        difference("anchor_precision", "sampling_free", "sampled"),
        ">",
        -0.02,
    ),
    Claim(
        85,
        "The mean of bins that are taught is nearer to the depth than a number (mean error)",
        difference("depth_error", "depth_number", "depth_bins"),
        ">",
        0.0,
    ),
    Claim(
        85,
        "The middle 80 % of the bins hold the depth in 80 % of the cases, to a tenth",
        lambda rows: rows["coverage_error"]["depth_bins"],
        "<",
        0.1,
    ),
)


def prepare(config: Config, run: Run, data: Dataset) -> Parts:
    """Canvases of three kinds for every seed, from disjoint digits to learn from and to test on."""
    if data.kind != "images" or data.x.ndim != 3:
        raise UserError(f"Canvases need grey images [N, H, W], {data.name} has {list(data.x.shape)}.")
    run.progress("composing canvases")
    pools = []
    for seed in np.asarray(jax.random.key_data(run.seed_keys()))[:, -1]:
        groups = stratified_split(data.y, test_fraction=config.test_share, rng=np.random.default_rng(seed))
        pools.append([np.resize(rows, max(map(len, groups))) for rows in groups])
    rows = jnp.asarray(np.array(pools))  # [S, 2, R], learning and testing
    x, y, keys = jnp.asarray(np.clip(data.x, 0, 1)), jnp.asarray(data.y), run.seed_keys()
    train, tests = {}, {}
    for name, kind in (("dense", DENSE), ("rare", RARE), ("single", SINGLE)):
        made = draw(keys, x, y, rows, config=jax.tree.map(jnp.float32, kind), count=config.canvases)
        train[name], tests[name] = (jax.tree.map(lambda leaf, part=part: leaf[:, part], made) for part in (0, 1))
    return Parts(keys, train, tests, Programs())


@functools.partial(jax.jit, static_argnames="count")
def draw(keys: Array, x: Array, y: Array, rows: Array, *, config: CanvasConfig, count: int) -> Canvases:
    """Canvases [S, 2, B, ...] from the rows [S, 2, R] of every seed, without their masks."""

    def one(inputs: tuple[Array, Array]) -> Canvases:
        key, own = inputs
        made = canvases.compose(key, x[own], y[own], config=config, count=count)
        return made._replace(masks=jnp.zeros(count))

    apart = jax.vmap(lambda key: jax.random.split(key, 2))(keys).reshape(-1)
    flat = jax.lax.map(one, (apart, rows.reshape(-1, rows.shape[-1])))
    return jax.tree.map(lambda leaf: leaf.reshape(*rows.shape[:2], *leaf.shape[1:]), flat)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    parts = prepare(config, run, run.data())
    run.rows(METHODS, lambda method: method.fn(config, parts))


def plot(result: Result) -> Figure:
    """Positive anchors by size, canvases with what was found, and what each way of learning comes to."""
    figure, axes = plots.new_figure(columns=3, rows=2, title=f"Anchors on canvases of {result.dataset}")
    counted, precision = result.curves.get("positives", {}), result.curves.get("precision", {})
    plots.curves_over_tasks(
        axes[0], counted, list(counted), ylabel="positive anchors", xlabel="side of the object", x=SIZES
    )
    axes[0].set_xscale("log")
    axes[0].set_xticks(SIZES[::2], [f"{size:.0f}" for size in SIZES[::2]])
    axes[0].minorticks_off()
    axes[0].set_ylim(-0.5, 14)  # on all levels the numbers leave the picture
    _show(axes[1], result.curves)
    found = result.rows.get("box_precision", {})
    dense = [name for name in found if name not in result.rows.get("anchor_precision", {})]
    plots.method_bars(axes[2], found, dense, "AP50 of the boxes")
    levels = result.curves.get("level", {})
    plots.curves_over_tasks(
        axes[3], levels, list(levels), ylabel="mean cheapest level", xlabel="size of the object", x=(8, 12, 17, 24, 32)
    )
    plots.curves_over_tasks(
        axes[4], precision, list(precision), ylabel="AP of anchors", xlabel="round, digits are rare"
    )
    _show_bins(axes[5], result)
    for ax in axes:
        if legend := ax.get_legend():
            handles, labels = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
            legend.remove()
            ax.legend(handles, labels, loc="upper left", fontsize=8, frameon=False)
    return figure


def _show(ax: Axes, curves: Mapping[str, Any]) -> None:
    """A canvas of each of the first four seeds, its objects dashed, and what the detector has found."""
    ax.set_axis_off()
    if not (shown := curves.get("canvas", {})):
        return
    name = next(iter(shown))
    images, parts = (np.asarray(shown[name], float), {part: curves[part][name] for part in ("truth", "found")})
    across, side = 2, images.shape[-1]
    ax.set_xlim(0, across * side)
    ax.set_ylim(across * side, 0)
    for seed, image in enumerate(images[: across**2]):
        left, top = side * (seed % across), side * (seed // across)
        ax.imshow(image, cmap="gray", vmin=0, vmax=1, extent=(left, left + side, top + side, top))
        ax.add_patch(Rectangle((left, top), side, side, fill=False, ec="0.5", lw=1.0))
        for part, colour, line in (("found", plots.PALETTE[1], "-"), ("truth", "white", ":")):
            for x0, y0, x1, y1 in np.asarray(parts[part], float)[seed]:
                corner = (left + x0, top + y0)
                ax.add_patch(Rectangle(corner, x1 - x0, y1 - y0, fill=False, ec=colour, ls=line, lw=1.5))
    ax.set_title(f"objects (dotted) and what {name} finds", fontsize=10)


def _show_bins(ax: Axes, result: Result) -> None:
    """The mean distribution over bins by true depth, each against its own peak; the errors of all rows above."""
    errors = result.rows.get("depth_error", {})
    words = [f"{name.removeprefix('depth_')} {np.nanmean(np.asarray(v, float)):.2f}" for name, v in errors.items()]
    ax.set_title("error: " + ", ".join(words) if words else "", fontsize=9)
    bins = result.curves.get("bins", {}).get("depth_bins")
    if bins is None:
        ax.set_axis_off()
        return
    table = np.asarray(bins, float).mean(axis=0)  # [groups, bins]
    peak = table.max(axis=1, keepdims=True)
    extent = (anchor_depth.START, anchor_depth.STOP) * 2
    ax.imshow(table / np.where(peak > 0, peak, 1), origin="lower", aspect="auto", cmap="magma", extent=extent)
    ax.plot(extent[:2], extent[:2], color="white", linewidth=0.8, linestyle="--")
    ax.set_xlabel("depth of the bin", fontsize=11)
    ax.set_ylabel("true depth", fontsize=11)
