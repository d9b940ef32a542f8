"""How many network calls can guidance save?

Guided sampling asks a denoiser twice a step: with its condition and without. What spares the second call is run from
the same noise as full guidance, and its images are held against those of full guidance: the squared distance, as a
share of that of the conditional prediction alone, which costs half (so ``none`` has 1 and ``cfg`` has 0). Rules decide
step by step (Adaptive Guidance, an interval, LinearAG, a searched policy) and have the guidance of the first steps for
a rival at the same number of evaluations; students of the guided denoiser answer by one call. The denoiser is a small
MLP; the rows named for their tokens, and what stands below them, belong to a transformer with a guidance of its own.
Last come generators of other kinds, of which only cost and quality can be compared.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import guidance_guests as guests
from experiments import guidance_savers as savers
from experiments import plots
from experiments.assets import denoiser, students, token_denoiser, token_students
from experiments.claims import difference, ratio
from experiments.guidance_measures import Judge, measure_row
from experiments.guidance_savers import HIGH, SCALE, Networks, Setting
from experiments.runner import Claim, Measured, Method, Result, Run, UserError

DATASETS = ("digits",)
SEED_SCOPE = "sampling noise only (one denoiser of each kind, one of each student, the same wanted classes)"


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    samples: int = 400
    """Images per row and seed."""
    probes: int = 100
    """Guided samplers per seed on whose states students are asked."""
    steps: int = 20
    """DDIM steps, a multiple of four."""
    low: float = 0.2
    """First time of the interval with guidance."""
    high: float = 0.8
    """Last time of the interval with guidance."""
    fit_runs: int = 200
    """Guided samplers to which LinearAG is fitted."""
    train_steps: int = 8000
    """Training of the MLP."""
    token_steps: int = 4000
    """Training of the transformer."""
    classifier_steps: int = 1500
    """Training of the judge."""
    student_steps: int = 2000
    """Training of the guided student."""
    halving_steps: int = 1000
    """Training of each student with half the steps."""
    policy_steps: int = 150
    """Steps of the search for a policy."""
    adapter_runs: int = 400
    """Guided samplers, or noised images, that adapters are trained on."""
    adapter_steps: int = 1500
    """Training of the adapters."""
    sun_steps: int = 1000
    """Training of the branches beside the cross-attention."""
    guest_flow_steps: int = 3000
    """Training of the mean flow's first stage; its second takes twice as many."""
    guest_pixel_steps: int = 400
    """Training of the sequence model."""

    def __post_init__(self) -> None:
        if self.samples < 30:
            raise ValueError(f"samples must be at least 30, got {self.samples}")
        if not 1 <= self.probes <= self.samples:
            raise ValueError(f"probes must lie in [1, {self.samples}], got {self.probes}")
        if self.steps < 4 or self.steps % 4:
            raise ValueError(f"steps must be a multiple of 4, got {self.steps}")
        if not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"low and high must satisfy 0 <= low <= high <= 1, got {self.low} and {self.high}")


QUICK = {
    "samples": 40,
    "probes": 10,
    "steps": 8,
    "fit_runs": 20,
    "train_steps": 100,
    "token_steps": 30,
    "classifier_steps": 50,
    "student_steps": 50,
    "halving_steps": 30,
    "policy_steps": 3,
    "adapter_runs": 20,
    "adapter_steps": 20,
    "sun_steps": 20,
    "guest_flow_steps": 30,
    "guest_pixel_steps": 20,
}


METHODS = (
    Method("none", None, savers.scheduled, note="the conditional prediction alone"),
    Method("cfg", None, savers.scheduled, note="full guidance, which all are held against"),
    Method("cfg_half", None, savers.full(2), note="full guidance in half the steps"),
    Method("cfg_quarter", None, savers.full(4), note="in a quarter of them"),
    Method("first_steps", None, savers.scheduled, note="guidance in the first quarter"),
    Method("interval", 6, savers.ruled(savers.interval), note="guidance in the middle"),
    Method("adaptive_eps", 0, savers.ruled(savers.adaptive_eps), note="until the noise predictions agree"),
    Method("adaptive_x0", 0, savers.ruled(savers.adaptive_x0), note="until the data predictions agree"),
    Method("linear_ag", 0, savers.linear_ag, note="in the first half every other second call is predicted"),
    Method("policy", 0, savers.scheduled, note="searched by gradients, one choice for each step"),
    Method("distilled", 35, savers.distilled(1), note="a copy that is told the scale"),
    Method("distilled_half", 35, savers.distilled(2), note="its student with half the steps"),
    Method("distilled_quarter", 35, savers.distilled(4), note="and with a quarter"),
    Method("none_tokens", None, savers.scheduled_tokens, note="the transformer's conditional prediction alone"),
    Method("cfg_tokens", None, savers.scheduled_tokens, note="its full guidance"),
    Method(
        "agd_trajectory",
        2,
        savers.inside(savers.says_on_trajectory),
        note="adapters beside the self-attention alone, on guided states",
    ),
    Method("agd_noised", 2, savers.inside(savers.says_noised), note="the same trained on noised data"),
    Method("sun", 12, savers.inside(savers.says_sun), note="branches that see the negative condition"),
    Method("mean_flow", 7, guests.measure_guest, note="another generator: guidance baked in, one call"),
    Method("sequence_cfg", None, guests.measure_guest, note="another: pixel after pixel, guided by two calls each"),
    Method("cca", 49, guests.measure_guest, note="the same aligned with its conditions, one call each"),
)

# Claims


def _of(metric: str, method: str) -> Callable[[Any], Any]:
    return lambda rows: np.asarray(rows[metric][method])


def _below_first_steps(method: str) -> Callable[[Any], Any]:
    return lambda rows: np.asarray(rows["distance_3"][method]) - np.asarray(rows["first_steps_3"][method])


def _log_ratio(metric: str, method: str, other: str) -> Callable[[Any], Any]:
    """Of both signs: less guidance can lower the Frechet distance too, and is no imitation of full guidance."""
    return lambda rows: np.log(ratio(metric, method, other)(rows))


_closer = functools.partial(difference, "distance_3")

CLAIMS = (
    Claim(0, "The two noise predictions agree more and more along sampling", _of("rise_eps", "cfg"), ">", 0.0),
    Claim(
        0,
        "Adaptive Guidance on noise predictions saves a fifth of the evaluations",
        ratio("evaluations_3", "adaptive_eps", "cfg"),
        "<",
        0.8,
    ),
    Claim(
        0,
        "Adaptive Guidance on noise predictions keeps the images (a tenth of the distance of no guidance)",
        _of("distance_3", "adaptive_eps"),
        "<",
        0.1,
    ),
    Claim(0, "The two data predictions agree more and more along sampling", _of("rise_x0", "cfg"), ">", 0.0),
    Claim(
        0,
        "Adaptive Guidance on data predictions saves a fifth of the evaluations",
        ratio("evaluations_3", "adaptive_x0", "cfg"),
        "<",
        0.8,
    ),
    Claim(
        0,
        "Adaptive Guidance on data predictions keeps the images (a tenth of the distance of no guidance)",
        _of("distance_3", "adaptive_x0"),
        "<",
        0.1,
    ),
    Claim(
        0,
        "LinearAG is nearer to full guidance than guidance in the first steps at equal evaluations",
        _below_first_steps("linear_ag"),
        "<",
        0.0,
    ),
    Claim(
        0,
        "The searched policy is nearer to full guidance than guidance in the first steps at equal evaluations",
        _below_first_steps("policy"),
        "<",
        0.0,
    ),
    Claim(
        35,
        "The guided student's error is a tenth of what guidance changes, over scales from 1 to 5",
        _of("student_error", "distilled"),
        "<",
        0.1,
    ),
    Claim(
        35,
        "In half the steps the student's student is nearer than guidance that takes half the steps",
        _closer("distilled_half", "cfg_half"),
        "<",
        0.0,
    ),
    Claim(
        35,
        "In a quarter of the steps the student of that is nearer than guidance that takes a quarter of the steps",
        _closer("distilled_quarter", "cfg_quarter"),
        "<",
        0.0,
    ),
    Claim(
        2,
        "On guided states, adapters trained there err by a fifth less than on noised data",
        ratio("trajectory_error", "agd_trajectory", "agd_noised"),
        "<",
        0.8,
    ),
    Claim(
        2,
        "Their images are within 10 % of the Frechet distance of full guidance (log ratio)",
        _log_ratio("frechet_3", "agd_trajectory", "cfg_tokens"),
        "within",
        math.log(1.1),
    ),
    Claim(12, "SUN is nearer to full guidance than no guidance is", _of("distance_3", "sun"), "<", 1.0),
    Claim(
        12,
        "SUN follows a negative class that it is given (error as a share of what guidance changes)",
        _of("negative_error", "sun"),
        "<",
        1.0,
    ),
)


def prepare(config: Config, run: Run) -> tuple[Networks, Setting]:
    """The networks and students, trained or from disk, and what the judge makes of the data."""
    data = run.data()
    if data.kind != "images" or data.x.ndim != 3 or data.x.shape[1] != data.x.shape[2] or data.x.shape[1] % 2:
        raise UserError(
            f"The cost of guidance needs square images of one colour, {data.name} holds {data.x.shape[1:]}."
        )
    x, y, classes = denoiser.scaled(data.x), jnp.asarray(data.y), data.num_classes
    if len(x) < config.samples:
        raise UserError(f"samples must be at most {len(x)} for {data.name}, got {config.samples}.")
    conditions = jnp.stack([y, token_denoiser.thickness(x)], axis=1)
    nets = savers.networks(config, SCALE, data.x.shape[1], classes)
    made: dict[str, Any] = {"root": run.asset_root, "digest": data.digest}
    # Only what the selected rows need is trained.
    wanted = {method.name for method in run.todo(METHODS)}
    run.progress("training the denoisers and the judge")
    base = denoiser.denoiser_asset(nets.denoiser, x, y, **made)
    judge = denoiser.classifier_asset(nets.judge, x, y, **made)
    tokens = student = halved = choices = on_trajectory = noised = branches = linear = None
    if wanted & set(savers.TOKENS):
        tokens = token_denoiser.denoiser_asset(nets.tokens, x, conditions, **made)
    run.progress("training the students")
    if wanted & {"distilled", "distilled_half", "distilled_quarter"}:
        student = students.guided_student(nets.student, base, x, y, **made)
    if wanted & {"distilled_half", "distilled_quarter"}:
        halved = students.halved_students(nets.halved, student, x, y, **made)
    if "policy" in wanted:
        choices = students.searched_policy(nets.policy, base, **made)
    if "agd_trajectory" in wanted:
        on_trajectory = token_students.adapters(nets.on_trajectory, tokens, x, conditions, **made)
    if "agd_noised" in wanted:
        noised = token_students.adapters(nets.noised, tokens, x, conditions, **made)
    if "sun" in wanted:
        branches = token_students.sun(nets.sun, tokens, x, conditions, **made)
    rows = np.random.default_rng(0).permutation(len(x))
    some = rows[: config.samples]
    real = denoiser.judge(nets.judge, judge, x[rows]).features
    trained = base, student, halved, choices, tokens, on_trajectory, noised, branches, judge
    setting = Setting(*trained, linear, x[some], y[some], conditions[some], real)
    if "linear_ag" in wanted:
        fitted = jax.jit(functools.partial(savers.linear_fit, config, nets))
        setting = setting._replace(linear=fitted(setting, jnp.array([SCALE, HIGH])))
    return nets, setting


def run(config: Config, run: Run) -> None:
    """Measures the selected rows; those of full and of no guidance are drawn whether they are selected or not."""
    nets, setting = prepare(config, run)
    judge = Judge(config, nets, setting, METHODS, run.seed_keys())
    data = run.data()
    made = {"root": run.asset_root, "digest": data.digest}
    bench = guests.Bench(nets.judge, setting.judge, setting.real, setting.labels, made)

    def measure(method: Method) -> Measured:
        if method.name in guests.GUESTS:
            run.progress(f"training {method.name}")
            return guests.measure_guest(config, data, bench, run.seed_keys(), method)
        return measure_row(judge, method)

    run.rows(METHODS, measure)


SHOWN = ("none", "cfg", "cfg_half", "interval", "adaptive_x0", "linear_ag", "policy", "distilled", "distilled_quarter")
SWEPT = {"first_steps": "o", "adaptive_x0": "s"}


def plot(result: Result) -> Figure:
    """Distance against evaluations, agreement by step, and images of the first seed from the same noise."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"What guidance costs on {result.dataset}")
    _costs(axes[0], result)
    _agreements(axes[1], result.curves)
    _images(axes[2], result.curves["images"], SHOWN)
    _images(axes[3], result.curves["images"], savers.TOKENS)
    return figure


def _costs(ax: Axes, result: Result) -> None:
    """A line per sweep, a mark per row; full guidance, at distance 0, lies on the lower edge."""
    mean = lambda table, name: float(np.mean(np.asarray(table[name], float)))  # noqa: E731
    distance, cost = result.rows["distance_3"], result.rows["evaluations_3"]
    drawn = {*SWEPT, "none_tokens", "cfg_tokens"}  # both denoisers have 1 and 0 at the same places
    names = [method.name for method in METHODS if method.name in distance and method.name not in drawn]
    low = 0.5 * min((mean(distance, name) for name in names if mean(distance, name) > 0), default=0.1)
    for place, (name, marker) in enumerate(SWEPT.items()):
        if name in result.curves.get("sweep_distance", {}):
            x, y = (
                np.mean(np.asarray(result.curves[f"sweep_{k}"][name], float), 0) for k in ("evaluations", "distance")
            )
            ax.plot(x, np.maximum(y, low), label=name, color=plots.PALETTE[place], marker=marker, markersize=4)
    for name in names:
        colour = plots.PALETTE[2 if name in savers.TOKENS else 3 if "distilled" in name else 6]
        x, y = mean(cost, name), max(mean(distance, name), low)
        ax.plot(x, y, "D", color=colour, markersize=6)
        left = x <= result.rows["evaluations_3"].get("none", [x])[0]
        ax.annotate(
            name,
            (x, y),
            (-6 if left else 6, -3),
            textcoords="offset points",
            fontsize=8,
            ha="right" if left else "left",
        )
    ax.set_yscale("log")
    right = ax.get_xlim()[1]
    ax.set_xlim(-0.35 * right, 1.15 * right)  # room for the names
    ax.set_xticks([x for x in ax.get_xticks() if 0 <= x <= right])
    ax.set_xlabel("evaluations", fontsize=11)
    ax.set_ylabel("distance to full guidance", fontsize=11)
    ax.legend(fontsize=9, frameon=False, loc="lower left")


def _agreements(ax: Axes, curves: Mapping[str, Any]) -> None:
    """The cosine of both predictions by step, on the states of full guidance."""
    for place, (kind, space) in enumerate((("eps", "noise"), ("x0", "data"), ("rotation", "rotation"))):
        for name, line, network in (("cfg", "-", "MLP"), ("cfg_tokens", "--", "transformer")):
            if name in curves.get(f"agreement_{kind}", {}):
                y = np.mean(np.asarray(curves[f"agreement_{kind}"][name], float), axis=0)
                ax.plot(1 + np.arange(len(y)), y, line, color=plots.PALETTE[place], label=f"{space}, {network}")
    ax.axhline(savers.THRESHOLDS[savers.PAPER], color="0.6", linewidth=1, linestyle=":")
    ax.set_xlabel("step", fontsize=11)
    ax.set_ylabel("agreement of both predictions", fontsize=11)
    ax.legend(fontsize=9, frameon=False, loc="lower right")


def _images(ax: Axes, images: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """A line of images per row, the first of the first seed."""
    plots.image_strips(ax, {name: np.asarray(images[name], float)[0] for name in names if name in images})
    ax.set_anchor("N")
