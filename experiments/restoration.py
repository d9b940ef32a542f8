"""Does starting from the degraded image help?

Two tasks on the same held-out images of digits. White noise: a process that reverts to the degraded image is run
backwards from there, by Euler's method and by solvers made for it; how many evaluations of the network does each need?
Noise coloured along the rows, the image taken for a signal in one dimension: a process that ends at the degraded image
against one that ends at pure noise, by the same samplers and with networks that differ in nothing else. Peak
signal-to-noise ratio and scale-invariant signal-to-distortion ratio against the clean image, in decibels. They favour
the mean of all plausible images over any one of them, and few steps blur; so the solvers of the flow are also compared
with its exact solution from the same start.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets import denoiser, restorers
from experiments.assets.restorers import RestorerConfig
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds
from jaxlab import diffusion, metrics
from jaxlab.diffusion import Process, Step
from jaxlab.typing import Array, PyTree

DATASETS = ("digits",)
SEED_SCOPE = "noise on the images, starts and noise of the samplers (one network per process, the same images)"
TASKS = {"mean_reverting": ("mean_reverting", "white"), "ou_ve": ("ou_ve", "coloured"), "vp": ("vp", "coloured")}
"""Process and degradation of each network."""
SHOWN = 10  # images in the figure


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    images: int = 300
    """Held-out images to restore."""
    level: float = 0.25
    """Standard deviation of the noise on images in [0, 1]."""
    evaluations: tuple[int, ...] = (5, 10, 20, 100)
    """Steps of the solvers on the mean-reverting process; the claims speak of the second and the last two."""
    steps: tuple[int, ...] = (5, 15, 30)
    """Steps of the samplers that start from the degraded signal or from noise; the claims speak of the last two."""
    snr: float = 0.5
    """Of the Langevin corrector."""
    flow_steps: int = 200
    """Steps behind the exact solution of the flow."""
    train_steps: int = 6000
    """Training of each network."""
    hidden: int = 256
    """Width of each network."""

    def __post_init__(self) -> None:
        for name in ("evaluations", "steps"):
            given = getattr(self, name)
            if not given or given[0] < 1 or list(given) != sorted(set(given)):
                raise ValueError(f"{name} must be rising numbers, got {given}")
        if self.images < SHOWN or not self.level > 0:
            raise ValueError(f"images must be at least {SHOWN} and level > 0, got {self.images} and {self.level}")


QUICK = {"images": 40, "evaluations": (3,), "steps": (3,), "flow_steps": 20, "train_steps": 30}


class Setting(NamedTuple):
    """What every seed sees: the clean images [B, D] in [-1, 1], and the parameters of each network."""

    clean: Array
    params: dict[str, PyTree]


class Case(NamedTuple):
    """What a seed draws, the same for all rows."""

    degraded: dict[str, Array]  # kind of noise -> [B, D]
    starts: dict[str, Array]  # process -> [B, D]
    keys: Array  # [B], of the steps
    flow: Array  # [B, D], where the flow of the mean-reverting process ends


def networks(config: Config, dim: int) -> dict[str, RestorerConfig]:
    """The configuration of the network of every process."""
    return {
        name: RestorerConfig(
            dim=dim, form=form, noise=noise, level=2 * config.level, hidden=config.hidden, num_steps=config.train_steps
        )
        for name, (form, noise) in TASKS.items()
    }


def posed(name: str, config: Config, case: Case, setting: Setting) -> tuple[Process, Callable[[Array, Array], Array]]:
    """The process that a network was trained for, around the degraded images, and the network's data predictions."""
    net = networks(config, setting.clean.shape[1])[name]
    degraded = case.degraded[net.noise]
    return restorers.process_of(net, degraded), restorers.model(net, setting.params[name], degraded)


def draw(config: Config, key: Array, setting: Setting) -> Case:
    """Degrades the images, draws the starts, and solves the flow."""
    clean, nets = setting.clean, networks(config, setting.clean.shape[1])
    keys = jax.random.split(jax.random.fold_in(key, 2), clean.shape[0])
    degraded = {
        kind: restorers.degrade(net, clean, jax.random.fold_in(key, place))
        for place, (kind, net) in enumerate({net.noise: net for net in nets.values()}.items())
    }
    case = Case(degraded, {}, keys, clean)
    for name in nets:
        process, cond_fn = posed(name, config, case, setting)
        case.starts[name] = process.prior_sample(keys, clean.shape[1:])
        if name == "mean_reverting":
            ts, step = restorers.times(name, config.flow_steps), diffusion.mr_solver(process, order=3, kind="x0")
            case = case._replace(flow=diffusion.sample(keys, case.starts[name], ts, cond_fn=cond_fn, step=step).x)
    return case


def quality(x: Array, clean: Array) -> dict[str, Array]:
    """Means over the images, clipped to their range."""
    x = jnp.clip(x, -1.0, 1.0)
    return {"psnr": jnp.mean(metrics.psnr(x, clean, data_range=2.0)), "si_sdr": jnp.mean(metrics.si_sdr(x, clean))}


def places(sizes: tuple[int, ...]) -> dict[str, int]:
    """Where in the numbers of evaluations or steps those are that the claims speak of."""
    last = len(sizes) - 1
    return {"few": min(1, last), "some": max(last - 1, 0), "many": last}


def table(prefix: str, measured: list[dict[str, Array]], sizes: tuple[int, ...]) -> tuple[dict[str, Array], Any]:
    """Metrics under the names that claims use, and curves over all sizes."""
    curves = {f"{prefix}_{name}": jnp.stack([row[name] for row in measured]) for name in measured[0]}
    values = {f"{name}_{at}": curve[i] for name, curve in curves.items() for at, i in places(sizes).items()}
    return values, curves | {f"{prefix}_sizes": jnp.array(sizes)}


Row = tuple[dict[str, Array], dict[str, Array]]
Make = Callable[[Process, Array], Step]


def row_degraded(config: Config, case: Case, setting: Setting) -> Row:
    """Both kinds of degraded images as they are."""
    values, curves = {}, {"images": setting.clean[:SHOWN]}
    for prefix, sizes in (("white", config.evaluations), ("coloured", config.steps)):
        x = case.degraded[prefix]
        more, lines = table(prefix, [quality(x, setting.clean)] * len(sizes), sizes)
        values, curves = values | more, curves | lines | {f"{prefix}_images": x[:SHOWN]}
    return values, curves


def row_estimate(config: Config, case: Case, setting: Setting) -> Row:
    """The network's own estimate at the start: of the mean of all plausible images, in one evaluation."""
    _, cond_fn = posed("mean_reverting", config, case, setting)
    x = cond_fn(case.starts["mean_reverting"], jnp.ones(len(setting.clean)))
    values, curves = table("white", [quality(x, setting.clean)] * len(config.evaluations), config.evaluations)
    return values, curves | {"white_images": x[:SHOWN]}


def row_white(make: Make, flow: bool, even: bool, config: Config, case: Case, setting: Setting) -> Row:
    """A solver of the mean-reverting process, at every number of evaluations; ``even`` steps are so in log SNR."""
    process, cond_fn = posed("mean_reverting", config, case, setting)
    start, measured, results = case.starts["mean_reverting"], [], []
    for count in config.evaluations:
        ts = diffusion.lambda_grid(process, count, low=0.0) if even else restorers.times("mean_reverting", count)
        step = make(process, ts)
        x = diffusion.sample(case.keys, start, ts, cond_fn=cond_fn, step=step, denoise=not flow).x
        error = {"flow_error": jnp.sqrt(jnp.mean((x - case.flow) ** 2))} if flow else {}
        results.append(x)
        measured.append(quality(x, setting.clean) | error)
    values, curves = table("white", measured, config.evaluations)
    return values, curves | {"white_images": results[places(config.evaluations)["few"]][:SHOWN]}


def row_coloured(name: str, corrected: bool, config: Config, case: Case, setting: Setting) -> Row:
    """From the degraded signal or from noise: predictor and corrector, or the flow by a solver of order 2."""
    process, cond_fn = posed(name, config, case, setting)
    if corrected:
        predictor = diffusion.reverse_diffusion(process, kind="x0")
        corrector = diffusion.langevin(process, kind="x0", snr=config.snr, damped=False)
        step = diffusion.predictor_corrector(predictor, corrector)
    else:
        step = diffusion.mr_solver(process, kind="x0")
    results = [
        diffusion.sample(
            case.keys, case.starts[name], restorers.times(name, n), cond_fn=cond_fn, step=step, denoise=True
        ).x
        for n in config.steps
    ]
    values, curves = table("coloured", [quality(x, setting.clean) for x in results], config.steps)
    return values, curves | {"coloured_images": results[places(config.steps)["some"]][:SHOWN]}


def _mr(order: int, *, even: bool = False, **options: Any) -> Callable[..., Any]:
    def make(process: Process, ts: Array) -> Step:
        return diffusion.mr_solver(process, order=order, kind="x0", ts=ts, **options)

    return functools.partial(row_white, make, options.get("variant", "ode") == "ode", even)


def _plain(make: Callable[..., Step], flow: bool) -> Callable[..., Any]:
    return functools.partial(row_white, lambda process, ts: make(process, kind="x0"), flow, False)


METHODS = (
    Method("degraded", None, row_degraded, note="the image as it came"),
    Method("one_estimate", None, row_estimate, note="the network's estimate at the start, nothing sampled"),
    Method("euler_sde", None, _plain(diffusion.euler_maruyama, False)),
    Method("euler_ode", None, _plain(diffusion.euler, True)),
    Method("mr_sde_1", 266, _mr(1, variant="sde")),
    Method("mr_sde_2", 266, _mr(2, variant="sde")),
    Method("mr_ode_1", 266, _mr(1)),
    Method("mr_ode_2", 266, _mr(2)),
    Method("mr_ode_3", 266, _mr(3, published=True), note="as released: of order 2, with a smaller constant"),
    Method("mr_ode_3_exact", None, _mr(3), note="the second derivative with its whole weight: of order 3"),
    Method("mr_ode_2_noise", 266, _mr(2, parameterization="noise"), note="in noise instead of data predictions"),
    Method("mr_ode_2_even", 266, _mr(2, even=True), note="steps even in the log signal-to-noise ratio, not in time"),
    Method("ou_ve", 259, functools.partial(row_coloured, "ou_ve", True), note="from the degraded signal"),
    Method("vp", 260, functools.partial(row_coloured, "vp", True), note="from noise, by the same sampler"),
    Method("ou_ve_flow", 266, functools.partial(row_coloured, "ou_ve", False), note="its flow, by mr_ode_2"),
    Method("vp_flow", None, functools.partial(row_coloured, "vp", False), note="its flow, by DPM-Solver++"),
)
WHITE = tuple(method.name for method in METHODS[:12])
COLOURED = ("degraded", *(method.name for method in METHODS[12:]))


def _gain(metric: str, method: str, rival: str, at: str, rival_at: str) -> Callable[[Any], Any]:
    """Decibels of a method at one size above those of a rival at another."""
    return lambda rows: rows[f"{metric}_{at}"][method] - rows[f"{metric}_{rival_at}"][rival]


def _least(*effects: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda rows: np.min([effect(rows) for effect in effects], axis=0)


def _both(method: str, rival: str) -> Callable[[Any], Any]:
    """The smaller gain at 10 and at 20 evaluations over the rival at 100."""
    return _least(*(_gain("white_psnr", method, rival, at, "many") for at in ("few", "some")))


CLAIMS = (
    Claim(
        266,
        "The flow at 10 and 20 evaluations comes within 0.3 dB of Euler at 100 (MR-ODE-2, smaller PSNR gain)",
        _both("mr_ode_2", "euler_ode"),
        ">",
        -0.3,
    ),
    Claim(
        266,
        "The SDE at 10 and 20 evaluations comes within 0.3 dB of Euler at 100 (MR-SDE-2, smaller PSNR gain)",
        _both("mr_sde_2", "euler_sde"),
        ">",
        -0.3,
    ),
    Claim(
        266,
        "Euler on the flow loses 1.5 dB or more at 10 evaluations (PSNR at 100 minus that at 10)",
        _gain("white_psnr", "euler_ode", "euler_ode", "many", "few"),
        ">",
        1.5,
    ),
    Claim(
        266,
        "Euler on the SDE loses 1.5 dB or more at 10 evaluations (PSNR at 100 minus that at 10)",
        _gain("white_psnr", "euler_sde", "euler_sde", "many", "few"),
        ">",
        1.5,
    ),
    Claim(
        266,
        "Ten times fewer evaluations: MR-ODE-2 at 10 is closer to the exact flow than Euler at 100 (ratio of errors)",
        lambda rows: rows["white_flow_error_few"]["mr_ode_2"] / rows["white_flow_error_many"]["euler_ode"],
        "<",
        1.0,
    ),
    Claim(
        259,
        "Starting from the degraded signal is 1 dB better at 15 steps than starting from noise (PSNR, same sampler)",
        _gain("coloured_psnr", "ou_ve", "vp", "some", "some"),
        ">",
        1.0,
    ),
    Claim(
        259,
        "Starting from the degraded signal is 1 dB better at 15 steps than starting from noise (SI-SDR, same sampler)",
        _gain("coloured_si_sdr", "ou_ve", "vp", "some", "some"),
        ">",
        1.0,
    ),
    Claim(
        259,
        "Starting from the degraded signal is as good at 15 steps as starting from noise at 30 (PSNR gain)",
        _gain("coloured_psnr", "ou_ve", "vp", "some", "many"),
        ">",
        0.0,
    ),
    Claim(
        259,
        "It is 1 dB better at 15 steps when both follow the flow by a solver of order 2 (PSNR)",
        _gain("coloured_psnr", "ou_ve_flow", "vp_flow", "some", "some"),
        ">",
        1.0,
    ),
)


def prepare(config: Config, run: Run) -> Setting:
    """Images to restore, and the networks, trained on the others or from disk."""
    data = run.data()
    if data.kind != "images":
        raise UserError(f"Restoration needs images, {data.name} holds features.")
    x = denoiser.scaled(data.x)
    if len(x) < 2 * config.images:
        raise UserError(f"--images must be at most {len(x) // 2} for {data.name}, got {config.images}.")
    order = np.random.default_rng(0).permutation(len(x))
    clean, seen = x[order[: config.images]], x[order[config.images :]]
    run.progress("training the networks")
    digest = f"{data.digest} without {config.images}"
    params = {
        name: restorers.restorer_asset(net, seen, root=run.asset_root, digest=digest)
        for name, net in networks(config, x.shape[1]).items()
    }
    return Setting(clean, params)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    setting = prepare(config, run)
    run.progress("degrading the images")
    cases = jax.jit(lambda keys, setting: jax.lax.map(lambda key: draw(config, key, setting), keys))(
        run.seed_keys(), setting
    )

    def measure(method: Method) -> Measured:
        row = functools.partial(method.fn, config)
        return over_seeds(row, cases, mode="map", shared=(setting,))

    run.rows(METHODS, measure)


LINES = {
    "white": (
        "degraded",
        "one_estimate",
        "euler_sde",
        "euler_ode",
        "mr_sde_2",
        "mr_ode_1",
        "mr_ode_2",
        "mr_ode_2_even",
    ),
    "coloured": COLOURED,
}
STRIPS = {"white": ("degraded", "one_estimate", "euler_sde", "euler_ode", "mr_sde_2", "mr_ode_2"), "coloured": COLOURED}
UNITS = {"white": ("evaluations", "few"), "coloured": ("steps", "some")}


def plot(result: Result) -> Figure:
    """PSNR against the number of steps, and images of the first seed."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Restoration of {result.dataset}")
    for column, (task, names) in enumerate(LINES.items()):
        ax, shown = axes[column], result.curves.get(f"{task}_psnr", {})
        sizes = next((np.asarray(value)[0] for value in result.curves.get(f"{task}_sizes", {}).values()), None)
        unit, at = UNITS[task]
        plots.curves_over_tasks(ax, shown, names, ylabel=f"PSNR in dB, {task} noise", xlabel=unit, x=sizes)
        if shown and sizes is not None:
            ax.set_xscale("log")
            ax.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
            ax.minorticks_off()
            ax.get_legend().set_bbox_to_anchor((0.5, -0.18), ax.transAxes)
            of = f"{sizes[places(tuple(sizes))[at]]:.0f} {unit}"
            _strip(axes[2 + column], result, task, f"{task} noise, {of}")
    return figure


def _strip(ax: Any, result: Result, task: str, label: str) -> None:
    """A line of images per row: clean ones first, then what each makes of them."""
    images, clean = result.curves.get(f"{task}_images", {}), result.curves.get("images", {})
    lines = {"clean": clean["degraded"]} if "degraded" in clean else {}
    lines |= {name: images[name] for name in STRIPS[task] if name in images}
    plots.image_strips(ax, {name: np.asarray(line, float)[0] for name, line in lines.items()}, xlabel=label)
