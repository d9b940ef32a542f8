"""Which sampler at a given number of evaluations, is the likelihood right, is the guided density the intended one?

All on Gaussian mixtures whose scores and densities are known at every time, so that what is measured is the error of
the sampler alone: on real data nobody knows the density, and these three questions have no answer.

Samplers start from the prior of a process and are given as many evaluations of the exact score as each other: how far
are their samples from the data, and, where they follow the flow, from its exact solution? The row ``exact`` draws from
the mixture itself: no sampler can be told from the truth below it. Likelihoods are compared with the exact log density.
Products of powers of two densities (guidance is one) are sampled by mixing the scores, with and without the weights
that correct it, and compared with the product, normalised on a grid.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets.mixtures import (
    Mixture,
    characteristic,
    draw,
    four_modes,
    log_density,
    narrow_and_broad,
    score,
)
from experiments.runner import Claim, Method, Result, Run, UserError, over_seeds
from jaxlab import diffusion
from jaxlab.diffusion import Process, Step
from jaxlab.typing import Array

DATASETS = ()
SEED_SCOPE = "mixtures, starting noise, noise of the steps"

PROCESSES = {"ve": (diffusion.ve(), 1e-5), "vp": (diffusion.vp(), 1e-3)}  # with the time at which sampling ends
FOLLOWED = 1024  # samples whose exact flow is solved for
SMALL, LARGE = 1, -1  # places in Config.evaluations
# name -> exponents of the broad and the narrow density; the first two are guidance of scale 2 and 3.
TARGETS = {"guided_2": (-1, 2), "guided_3": (-2, 3), "product": (1, 1), "power_1.5": (0, 1.5), "power_2.5": (0, 2.5)}
GRID = np.linspace(-6.0, 6.0, 4001, dtype=np.float32)
BINS = np.linspace(-3.0, 3.0, 121, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    evaluations: tuple[int, ...] = (10, 20, 50, 100, 200)
    """Evaluations a sample may cost, even and rising; the claims look at the second and the last."""
    samples: int = 16384
    """Samples of each sampler."""
    snr: float = 0.16
    """Signal-to-noise ratio of the Langevin corrector."""
    points: int = 256
    """Data whose likelihood is measured."""
    likelihood_steps: int = 100
    """Steps of the fourth-order solver of the likelihood."""
    particles: int = 4096
    """Particles of a guided density."""
    particle_steps: int = 200
    """Their steps."""


QUICK = {
    "evaluations": (10, 20),
    "samples": 1024,
    "points": 32,
    "likelihood_steps": 50,
    "particles": 1024,
    "particle_steps": 100,
}


def distance(x: Array, mixture: Mixture) -> Array:
    """Maximum mean discrepancy from the mixture under a sum of Gaussian kernels of four widths, a scalar.

    By Bochner's theorem it is the distance of the characteristic functions, here at 256 fixed frequencies.
    """
    widths = jnp.tile(jnp.array([0.25, 0.5, 1.0, 2.0]), 64)
    frequencies = jax.random.normal(jax.random.key(0), (256, x.shape[1])) / widths[:, None]
    phase = jnp.matmul(x, frequencies.T, precision="highest")
    cosine, sine = characteristic(mixture, frequencies)
    gap = (jnp.mean(jnp.cos(phase), axis=0) - cosine) ** 2 + (jnp.mean(jnp.sin(phase), axis=0) - sine) ** 2
    return jnp.sqrt(jnp.mean(gap))


def row_exact(config: Config, key: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """Draws from the mixture itself, as many as of a sampler: what the distance is by chance."""
    mixture = four_modes(key)
    keys = jax.random.split(jax.random.fold_in(key, 1), len(config.evaluations))
    curve = jnp.stack([distance(draw(k, mixture, config.samples), mixture) for k in keys])
    metrics = {f"distance_{p}_{size}": curve[at] for p in PROCESSES for size, at in (("few", SMALL), ("many", LARGE))}
    return metrics, {f"distance_{p}": curve for p in PROCESSES} | {"evaluations": jnp.array(config.evaluations)}


def row_sampler(
    make: Callable[[Process, Config], Step], calls: int, ode: bool, config: Config, key: Array
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Distance from the data for every process and number of evaluations; for an ODE also from its exact solution."""
    mixture = four_modes(key)
    keys = jax.random.split(jax.random.fold_in(key, 1), config.samples)
    metrics, curves = {}, {"evaluations": jnp.array(config.evaluations)}
    for name, (process, low) in PROCESSES.items():
        fn, start = score(mixture, process), process.prior_sample(keys, (2,))
        solution = flow(mixture, process, start[:FOLLOWED], low) if ode else None
        distances, errors = [], []
        for budget in config.evaluations:
            ts = diffusion.time_grid(budget // calls, low=low)
            step = make(process, config)
            result = diffusion.sample(keys, start, ts, cond_fn=fn, step=step, denoise=not ode)
            distances.append(distance(result.x, mixture))
            if solution is not None:
                apart = result.x[:FOLLOWED] - solution
                errors.append(jnp.sqrt(jnp.mean(jnp.sum(apart**2, axis=1))))
        curves[f"distance_{name}"] = jnp.stack(distances)
        metrics[f"distance_{name}_few"], metrics[f"distance_{name}_many"] = distances[SMALL], distances[LARGE]
        if ode:
            curves[f"flow_error_{name}"] = jnp.stack(errors)
            metrics[f"flow_error_{name}_many"] = errors[LARGE]
    metrics["score_evaluations"] = result.calls.astype(jnp.float32)
    return metrics, curves


def flow(mixture: Mixture, process: Process, start: Array, low: float) -> Array:
    """Where the probability-flow ODE takes the start, by 400 steps of order 4."""
    fn = score(mixture, process)

    def velocity(x: Array, t: Array) -> Array:
        return diffusion.convert(fn(x, t), x, t, process=process, kind_in="score", kind_out="v")

    return diffusion.solve_ode(velocity, start, diffusion.time_grid(400, low=low))


def row_likelihood(config: Config, key: Array, *, exact: bool) -> dict[str, Array]:
    """Largest error of the log-likelihood in nats on data of a Gaussian and of a mixture.

    The data are noised until the time at which the flow starts, whose density is the one that is integrated. The prior
    at the other end forgets what is left of the data there; ``nats_flow`` is the error beside that.
    """
    process, low = PROCESSES["vp"]
    mixture = four_modes(key)
    gaussian = Mixture(jnp.ones(1), mixture.means[:1], mixture.variances[:1])
    metrics = {}
    for name, data in (("gaussian", gaussian), ("mixture", mixture)):
        key, key_data, key_noise, key_probe = jax.random.split(key, 4)
        x = draw(key_data, data, config.points)
        x = process.alpha(low) * x + process.std(low) * jax.random.normal(key_noise, x.shape)
        result = diffusion.log_likelihood(
            x,
            jnp.linspace(low, 1.0, config.likelihood_steps + 1),
            process=process,
            model_fn=score(data, process),
            keys=None if exact else jax.random.split(key_probe, config.points),
        )
        error = result.log_prob - log_density(data, process, x, low)
        metrics[f"nats_{name}"] = jnp.max(jnp.abs(error))
        forgotten = log_density(data, process, result.latent, 1.0) - process.prior_logp(result.latent)
        metrics[f"nats_flow_{name}"] = jnp.max(jnp.abs(error + forgotten))
    metrics["score_evaluations"] = result.evaluations[0].astype(jnp.float32)
    return metrics


def target_density(parts: tuple[Mixture, Mixture], coeffs: Array, process: Process) -> Array:
    """The product of powers on ``GRID``, normalised."""
    narrow, broad = parts
    grid = jnp.asarray(GRID)[:, None]
    log_target = coeffs[0] * log_density(broad, process, grid, 0.0) + coeffs[1] * log_density(
        narrow, process, grid, 0.0
    )
    return jax.nn.softmax(log_target) / (GRID[1] - GRID[0])


def kolmogorov_smirnov(x: Array, weights: Array, density: Array) -> Array:
    """Largest gap between the distribution functions of weighted particles [K] and of a density on ``GRID``."""
    grid = jnp.asarray(GRID)
    # The sum up to a grid point reaches half a cell beyond it.
    below = jnp.interp(x, grid + 0.5 * (grid[1] - grid[0]), jnp.cumsum(density) * (grid[1] - grid[0]))
    order = jnp.argsort(x)
    exact, after = below[order], jnp.cumsum(weights[order])
    return jnp.maximum(jnp.max(jnp.abs(exact - after)), jnp.max(jnp.abs(exact - after + weights[order])))


def row_product(
    config: Config, key: Array, *, weighted: bool, clip: float | None = None
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Distance of the particles from every product of powers."""
    process = diffusion.ve(sigma_min=0.02, sigma_max=20.0)
    narrow, broad = narrow_and_broad(key)
    fns = (score(broad, process), score(narrow, process))
    ts = diffusion.time_grid(config.particle_steps, low=0.0)
    keys = jax.random.split(jax.random.fold_in(key, 1), config.particles)

    def particles(coeffs: Array) -> tuple[Array, Array]:
        # The prior of the product: N(0, s^2) to the power of the sum.
        start = process.prior_sample(keys, (1,)) / jnp.sqrt(jnp.sum(coeffs))
        if not weighted:
            mixed = lambda x, t: coeffs[0] * fns[0](x, t) + coeffs[1] * fns[1](x, t)  # noqa: E731
            step = diffusion.euler_maruyama(process)
            x = diffusion.sample(keys, start, ts, cond_fn=mixed, step=step, cond_cost=2).x
            return x[:, 0], jnp.full(config.particles, 1.0 / config.particles)
        result = diffusion.fkc_sample(
            jax.random.fold_in(key, 2),
            start,
            ts,
            score_fns=fns,
            coeffs=coeffs,
            process=process,
            # As released, clipped increments go with resampling at every step.
            ess_threshold=0.5 if clip is None else 1.0,
            clip=clip,
        )
        return result.x[:, 0], jax.nn.softmax(result.log_weights)

    def measure(coeffs: Array) -> tuple[Array, Array, Array]:
        x, weights = particles(coeffs)
        density = target_density((narrow, broad), coeffs, process)
        histogram = jnp.histogram(x, bins=jnp.asarray(BINS), weights=weights)[0] / (BINS[1] - BINS[0])
        return kolmogorov_smirnov(x, weights, density), histogram, jnp.interp(jnp.asarray(BINS), GRID, density)

    gaps, histograms, densities = jax.lax.map(measure, jnp.array(list(TARGETS.values()), jnp.float32))
    metrics = {f"ks_{name}": gap for name, gap in zip(TARGETS, gaps, strict=True)}
    metrics["score_evaluations"] = jnp.float32(2 * config.particle_steps)
    return metrics, {"histogram": histograms[1], "density": densities[1]}


def _sampler(make: Callable[..., Step], calls: int = 1, ode: bool = False, **options: Any) -> Callable[..., Any]:
    return functools.partial(row_sampler, lambda process, _: make(process, kind="score", **options), calls, ode)


def _corrected(process: Process, config: Config) -> Step:
    return diffusion.predictor_corrector(
        diffusion.reverse_diffusion(process), diffusion.langevin(process, snr=config.snr)
    )


METHODS = (
    Method("exact", None, row_exact, note="draws from the mixture: distances are not told apart below it"),
    Method("euler_maruyama", 260, _sampler(diffusion.euler_maruyama)),
    Method("reverse_diffusion", 260, _sampler(diffusion.reverse_diffusion)),
    Method("ancestral", 260, _sampler(diffusion.ancestral)),
    Method(
        "predictor_corrector",
        260,
        functools.partial(row_sampler, _corrected, 2, False),
        note="Langevin, then reverse diffusion",
    ),
    Method("euler", 260, _sampler(diffusion.euler, ode=True), note="probability flow"),
    Method("heun", 260, _sampler(diffusion.heun, calls=2, ode=True), note="probability flow"),
    Method("ddim", None, _sampler(diffusion.ddim, ode=True)),
    Method("dpm_solver_pp", None, _sampler(diffusion.dpm_solver_pp, ode=True), note="order 2; order 1 is ddim"),
    Method("mr_ode_3", 266, _sampler(diffusion.mr_solver, ode=True, order=3), note="order 3, here without a centre"),
    Method("mr_sde_2", 266, _sampler(diffusion.mr_solver, order=2, variant="sde"), note="order 2 of the SDE"),
    Method("likelihood", 260, functools.partial(row_likelihood, exact=True), note="exact divergence"),
    Method("hutchinson", 260, functools.partial(row_likelihood, exact=False), note="one random probe per point"),
    Method("cfg", None, functools.partial(row_product, weighted=False), note="mixed scores, no weights"),
    Method("fkc", 67, functools.partial(row_product, weighted=True), note="resampled below half the effective size"),
    Method(
        "fkc_clipped",
        67,
        functools.partial(row_product, weighted=True, clip=1.0),
        note="as released: increments clipped to [-1, 1], resampled at every step",
    ),
)


def _ratio(metric: str, method: str, *others: str) -> Callable[[Any], Any]:
    """The method over the best of the others."""
    return lambda rows: rows[metric][method] / np.min([rows[metric][other] for other in others], axis=0)


def _gain(*metrics: str) -> Callable[[Any], Any]:
    """The corrected distance over the uncorrected one, mean over the targets."""
    return lambda rows: np.mean([rows[metric]["fkc"] / rows[metric]["cfg"] for metric in metrics], axis=0)


_STOCHASTIC = ("euler_maruyama", "reverse_diffusion", "ancestral", "predictor_corrector")

CLAIMS = (
    Claim(
        260,
        "VE, many evaluations: a corrector beats spending them all on predictors (distance, over Euler-Maruyama's)",
        _ratio("distance_ve_many", "predictor_corrector", "euler_maruyama"),
        "<",
        0.8,
    ),
    Claim(
        260,
        "VP, few evaluations: the flow (Heun) beats every stochastic sampler (distance, over the best of theirs)",
        _ratio("distance_vp_few", "heun", *_STOCHASTIC),
        "<",
        1.0,
    ),
    Claim(
        260,
        "VE, few evaluations: the flow (Heun) beats every stochastic sampler (distance, over the best of theirs)",
        _ratio("distance_ve_few", "heun", *_STOCHASTIC),
        "<",
        1.0,
    ),
    Claim(
        260,
        "The likelihood of the flow is the exact one (largest error on Gaussian data, nats)",
        lambda rows: rows["nats_gaussian"]["likelihood"],
        "within",
        0.05,
    ),
    Claim(
        67,
        "Weights bring guidance to the density it is meant to have (KS distance, over guidance's; scales 2 and 3)",
        _gain("ks_guided_2", "ks_guided_3"),
        "<",
        0.5,
    ),
    Claim(
        67,
        "Weights bring mixed scores to the product of two densities (KS distance, over the mixed scores')",
        _gain("ks_product"),
        "<",
        0.5,
    ),
    Claim(
        67,
        "Weights bring a scaled score to the annealed density (KS distance, over the scaled score's; power 2.5)",
        _gain("ks_power_2.5"),
        "<",
        0.5,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    if len(config.evaluations) < 2 or any(n < 2 or n % 2 for n in config.evaluations):
        raise UserError(f"--evaluations must be two or more even numbers, got {config.evaluations}.")
    run.rows(METHODS, lambda method: over_seeds(functools.partial(method.fn, config), run.seed_keys(), mode="map"))


def plot(result: Result) -> Figure:
    """Distance and flow error against evaluations, and a guided density with and without its correction."""
    figure, axes = plots.new_figure(columns=2, rows=2, title="Samplers on Gaussian mixtures with exact scores")
    names = [method.name for method in METHODS]
    panels = (
        ("distance_ve", "distance from the data, VE"),
        ("distance_vp", "distance from the data, VP"),
        ("flow_error_vp", "distance from the exact flow, VP"),
    )
    lines: dict[str, Any] = {}
    budgets: Any = next((value[0] for value in result.curves.get("evaluations", {}).values()), None)
    for ax, (curve, ylabel) in zip(axes, panels, strict=False):
        shown = result.curves.get(curve, {})
        plots.curves_over_tasks(ax, shown, names, ylabel=ylabel, xlabel="evaluations of the score", x=budgets)
        if legend := ax.get_legend():
            legend.remove()
        if shown:
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xticks(budgets, [f"{n:.0f}" for n in budgets])
            ax.minorticks_off()
        handles, labels = ax.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    shown_names = [name for name in names if name in lines]
    figure.legend(
        [lines[name] for name in shown_names], shown_names, loc="outside lower center", ncols=5, frameon=False
    )
    _guided(axes[3], result)
    return figure


def _guided(ax: Axes, result: Result) -> None:
    """The density that guidance of scale 3 is meant to have, and histograms of its particles, of the first seed."""
    histograms, densities = result.curves.get("histogram", {}), result.curves.get("density", {})
    for place, name in enumerate(name for name in ("cfg", "fkc") if name in histograms):
        ax.stairs(histograms[name][0], BINS, color=plots.PALETTE[place], linewidth=1.5, label=name)
    if densities:
        ax.plot(BINS, next(iter(densities.values()))[0], color="black", linewidth=1.5, label="exact")
        ax.legend(frameon=False)
    ax.set_xlabel("x", fontsize=11)
    ax.set_ylabel("density at guidance scale 3", fontsize=11)
    ax.spines[["top", "right"]].set_visible(False)
