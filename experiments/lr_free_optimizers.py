"""Optimisers without a learning rate: does one setting do for all workloads, and does it reach a tuned Adam?

Six small workloads, ten optimisers, and one frozen setting for all workloads: once as published, once the best of five
by joint score, chosen with other seeds. A workload's target is the loss that NAdamW with its best setting there reaches
in three quarters of the steps, on those other seeds. What counts is the time to the target, relative to the fastest.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.asset import asset
from experiments.lr_free_workloads import OPTIMIZERS, SETTINGS, WORKLOADS, Workload, make_workload, race
from experiments.runner import Claim, Measured, Method, Result, Run, UserError
from jaxlab import metrics

SEED_SCOPE = "first weights and order of the rows; the data of a workload stay"
CALIBRATION_SEEDS = (100, 101)
TAU_MAX = 4.0


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    workloads: tuple[str, ...] = WORKLOADS
    """Which workloads."""
    num_steps: int = 240
    """Steps of every run."""
    looks: int = 24
    """How often the validation loss is taken."""
    batch_size: int = 32
    """Rows per step."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.workloads) - set(WORKLOADS)):
            raise ValueError(f"workloads must be among {', '.join(WORKLOADS)}, got {', '.join(unknown)}")
        if not self.workloads or self.num_steps % self.looks:
            raise ValueError("workloads must not be empty, and num_steps must be a multiple of looks")


QUICK = {"workloads": ("logistic",), "num_steps": 80, "looks": 8}


@dataclasses.dataclass(frozen=True)
class CalibrationConfig:
    """The runs of every setting on the seeds that nothing else sees."""

    name: ClassVar[str] = "lr_free_calibration"
    version: ClassVar[int] = 1
    workload: str
    num_steps: int
    looks: int
    batch_size: int
    seeds: tuple[int, ...] = CALIBRATION_SEEDS
    settings: Any = tuple(SETTINGS.items())


BASELINES = ("adamw", "nadamw")
FREE = ("prodigy", "dadapt_adamw", "dog", "dowg", "mechanic", "momo_adam", "cocob", "schedule_free")


def place_of(name: str, setting: int) -> tuple[int, int]:
    """Where a row stands in the arrays [A, 2, ...] of the run: the optimiser, and published or calibrated."""
    return list(OPTIMIZERS).index(name), setting


METHODS = tuple(
    Method(
        f"{name}{suffix}",
        None if name in BASELINES else 30,
        functools.partial(place_of, name, setting),
        note=note,
    )
    for setting, (suffix, note) in enumerate((("", "as published"), ("_calibrated", "best of five by joint score")))
    for name in OPTIMIZERS
)


def _of(rows: Any, names: tuple[str, ...], suffix: str = "") -> np.ndarray:
    return np.stack([np.asarray(rows["score"][f"{name}{suffix}"]) for name in names])


CLAIMS = (
    Claim(
        30,
        "With the published settings, the best method without a learning rate stays below calibrated NAdamW (score)",
        lambda rows: np.max(_of(rows, FREE), axis=0) - rows["score"]["nadamw_calibrated"],
        "<",
        0.0,
    ),
    Claim(
        30,
        "One calibrated setting is better than the published one, on average over those methods (score)",
        lambda rows: np.mean(_of(rows, FREE, "_calibrated") - _of(rows, FREE), axis=0),
        ">",
        0.0,
    ),
    Claim(
        30,
        "Calibrated, the best of them still does not pass the better of calibrated AdamW and NAdamW (score)",
        lambda rows: (
            np.max(_of(rows, FREE, "_calibrated"), axis=0) - np.max(_of(rows, BASELINES, "_calibrated"), axis=0)
        ),
        "<",
        0.0,
    ),
    Claim(
        30,
        "No published setting without a learning rate reaches the target on every workload (best share reached)",
        lambda rows: np.max([np.asarray(rows["reached"][name]) for name in FREE], axis=0),
        "<",
        0.99,
    ),
)


@functools.cache
def workload_of(name: str) -> Workload:
    """The same object every time, so that its program is compiled once."""
    return make_workload(name)


def run_lanes(name: str, settings: np.ndarray, seeds: Any, config: Any) -> tuple[np.ndarray, np.ndarray]:
    """Losses and step sizes [A, settings, seeds, looks] of one workload, for settings [A, settings, 2]."""
    number, each = settings.shape[1], len(seeds)
    lanes = jnp.repeat(jnp.asarray(settings, jnp.float32), each, axis=1)
    keys = jnp.tile(jax.vmap(jax.random.key)(jnp.asarray(seeds)), number)
    workload = workload_of(name)
    sizes = {"num_steps": config.num_steps, "looks": config.looks, "batch_size": config.batch_size}
    found = race((workload.init, workload.loss), lanes, keys, (workload.train, workload.validation), **sizes)
    losses, estimates = (np.asarray(part).reshape(len(OPTIMIZERS), number, each, -1) for part in found)
    return losses, estimates


def calibration_runs(name: str, config: Config, root: Any) -> np.ndarray:
    """Losses of all five settings on the calibration seeds, [A, settings, seeds, looks]."""
    asked = CalibrationConfig(name, config.num_steps, config.looks, config.batch_size)
    settings = np.array(list(SETTINGS.values()))
    shape = (len(OPTIMIZERS), settings.shape[1], len(CALIBRATION_SEEDS), config.looks)

    def build(asked: CalibrationConfig) -> np.ndarray:
        return run_lanes(name, settings, asked.seeds, asked)[0]

    return np.asarray(asset(asked, build, root, like=lambda: jax.ShapeDtypeStruct(shape, jnp.float32)))


def target_of(losses: np.ndarray) -> float:
    """What NAdamW's best setting reaches in three quarters of the steps, in the mean over the calibration seeds."""
    of_nadamw = losses[list(OPTIMIZERS).index("nadamw")]
    early = of_nadamw[:, :, : max(1, 3 * losses.shape[-1] // 4)]
    return float(early.min(-1).mean(-1).min())


def times_to(losses: np.ndarray, target: float, num_steps: int) -> np.ndarray:
    """Steps until the target, inf if it is never reached; the last axis is the looks."""
    looks = losses.shape[-1]
    steps = np.arange(1, looks + 1) * (num_steps // looks)
    return np.asarray(metrics.time_to_target(steps, jnp.asarray(losses), target, interpolate=None))


def scores_of(times: np.ndarray) -> np.ndarray:
    """Joint scores [..., S] of times [A, settings, S, W] against all others of the same seed."""
    flat = np.moveaxis(times, 2, 0).reshape(times.shape[2], -1, times.shape[3])
    scores = jax.vmap(lambda times: metrics.algoperf_score(times, tau_max=TAU_MAX))(jnp.asarray(flat))
    return np.moveaxis(np.asarray(scores).reshape(times.shape[2], *times.shape[:2]), 0, -1)


def choose(losses: np.ndarray, targets: np.ndarray, num_steps: int) -> np.ndarray:
    """The best setting of every optimiser, [A], by the mean score over seeds; losses [W, A, settings, S, looks].

    Ties go to the setting with the smaller losses relative to the targets.
    """
    times = np.stack([times_to(part, t, num_steps) for part, t in zip(losses, targets, strict=True)], axis=-1)
    score = scores_of(times).mean(-1)
    rest = np.log(losses.min(-1) / targets[:, None, None, None]).mean(axis=(0, 3))
    return np.array([np.lexsort((rest[a], -score[a]))[0] for a in range(len(score))])


def run(config: Config, run: Run) -> None:
    """Runs everything, as every score depends on all others, and reads the selected rows off it."""
    if run.mesh is not None:
        raise UserError("This question does not shard over a mesh: leave --mesh out.")
    if not run.todo(METHODS):
        return
    runs = []
    for name in config.workloads:
        run.progress(f"calibrating on {name}")
        runs.append(calibration_runs(name, config, run.asset_root))
    calibration = np.stack(runs)
    targets = np.array([target_of(part) for part in calibration])
    chosen = choose(calibration, targets, config.num_steps)
    table = np.array(list(SETTINGS.values()))
    both = np.stack([table[:, 0], table[np.arange(len(table)), chosen]], axis=1)  # [A, 2, (rate, scheduled)]
    losses, estimates = [], []
    for name in config.workloads:
        run.progress(f"running all on {name}")
        found = run_lanes(name, both, range(run.seeds), config)
        losses.append(found[0])
        estimates.append(found[1])
    times = np.stack(
        [times_to(part, target, config.num_steps) for part, target in zip(losses, targets, strict=True)], axis=-1
    )
    scores = scores_of(times)
    taus = jnp.linspace(1.0, TAU_MAX, 61)
    flat = jnp.asarray(np.moveaxis(times, 2, 0).reshape(run.seeds, -1, times.shape[-1]))
    profiles = np.asarray(jax.vmap(metrics.performance_profile, in_axes=(0, None))(flat, taus))

    def measure(method: Method) -> Measured:
        at, setting = method.fn()
        mine, steps = times[at, setting], np.stack([part[at, setting] for part in losses], axis=1)
        over = np.log10(steps.min(-1) / targets)
        measured = {
            "score": scores[at, setting],
            "reached": np.isfinite(mine).mean(-1),
            "over_target": over.mean(-1),
            "rate": np.full(run.seeds, both[at, setting, 0]),
            "scheduled": np.full(run.seeds, both[at, setting, 1]),
        }
        curves = {
            "loss": steps,
            "profile": profiles[:, 2 * at + setting],
            "step_size": np.stack([part[at, setting] for part in estimates], axis=1),
            "target": np.tile(targets, (run.seeds, 1)),
        }
        return Measured(measured, curves)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Scores, performance profiles, and the step sizes that are estimated."""
    figure, axes = plots.new_figure(columns=2, rows=2, title="Optimisers with one setting for all workloads")
    for ax, suffix, what in ((axes[0], "", "as published"), (axes[1], "_calibrated", "calibrated")):
        names = [f"{name}{suffix}" for name in OPTIMIZERS]
        scores = result.rows.get("score", {})
        shown = {name.removesuffix("_calibrated"): scores.get(name) for name in names}
        plots.method_bars(ax, shown, list(OPTIMIZERS), f"score, {what}")
        ax.set_ylim(0, 1)
    taus = np.linspace(1.0, TAU_MAX, 61)
    for place, name in enumerate(OPTIMIZERS):
        look = plots.style(place) | {"marker": ""}
        profile = result.curves.get("profile", {}).get(f"{name}_calibrated")
        if profile is not None:
            axes[2].plot(taus, np.asarray(profile, float).mean(0), label=name, linewidth=1.8, **look)
        sizes = result.curves.get("step_size", {}).get(name)
        if sizes is not None and np.any(np.asarray(sizes, float) > 0):
            seen = np.asarray(sizes, float)[:, 0]  # the first workload
            steps = np.arange(1, seen.shape[1] + 1)
            axes[3].plot(steps, np.exp(np.log(np.maximum(seen, 1e-9)).mean(0)), label=name, linewidth=1.8, **look)
    axes[2].set_xlabel("times the steps of the fastest")
    axes[2].set_ylabel("share reached, calibrated")
    axes[2].set_ylim(0, 1.15)
    axes[2].legend(frameon=False, fontsize=7, ncols=2)
    axes[3].set_yscale("log")
    axes[3].set_xlabel("look, on the first workload")
    axes[3].set_ylabel("step size, as published")
    axes[3].legend(frameon=False, fontsize=7)
    return figure
