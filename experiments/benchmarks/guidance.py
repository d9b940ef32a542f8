"""How fast is guided sampling, against the same loops in torch (APG of diffusers), and does a skipped call save time?

Three contests. ``apg``: a guided run on latents [64, 4, 128, 128], 50 steps of DDIM with adaptive projected guidance
and a fixed small network (every pixel by itself), against diffusers' guider and scheduler with the same weights and
start. ``particles``: predictor-corrector sampling of a Gaussian mixture whose score is known, against a loop in torch.
``skipping``: a network that dominates the step, guided at every step and at one; no peer. A jaxlab entry is one
compiled program.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.harness import (
    Entry,
    Race,
    Report,
    Result,
    Target,
    Timing,
    check_contests,
    compare,
    race,
    relative_errors,
)
from jaxlab import diffusion, guidance

__all__ = ["CONTESTS", "QUICK", "Config", "run"]

CONTESTS = ("apg", "particles", "skipping")
SCALE, MOMENTUM, NORM = 7.5, -0.5, 15.0
TRAIN_STEPS = 1000  # nodes of the scheduler's table
SNR = 0.16


@dataclasses.dataclass(frozen=True)
class Config:
    """What is raced."""

    contests: tuple[str, ...] = CONTESTS
    """Which contests; the first two need torch and diffusers."""
    latents: tuple[int, ...] = (64, 4, 128, 128)
    """Shape of the guided batch."""
    hidden: int = 16
    """Width of its network."""
    steps: int = 50
    """Steps of the guided run."""
    particles: int = 65_536
    """Samples of the mixture."""
    particle_steps: int = 1000
    """Steps of predictor and corrector."""
    width: int = 1024
    """Of the four square layers of the network that dominates its step."""
    batch: int = 256
    """Samples in its batch."""
    skipping_steps: int = 10
    """Steps of the run with skipped calls; it guides one of them, so that of 20 calls 11 are made."""
    repeats: int = 5
    """Runs of every entry."""

    def __post_init__(self) -> None:
        check_contests(self.contests, CONTESTS)
        if len(self.latents) != 4 or min(self.latents) < 1:
            raise ValueError(f"--latents must be four positive numbers, got {self.latents}.")
        if min(self.steps, self.particles, self.particle_steps, self.repeats, self.skipping_steps - 1) < 1:
            raise ValueError("--steps, --particles, --particle-steps and --repeats must be positive.")


QUICK = {
    "latents": (2, 4, 8, 8),
    "steps": 5,
    "particles": 64,
    "particle_steps": 10,
    "width": 32,
    "batch": 4,
    "repeats": 2,
}


def run(config: Config, say: Callable[[str], None]) -> Report:
    """Runs the contests, each with its own peer."""
    results, targets = [], []
    for name in dict.fromkeys(config.contests):
        result, target = {"apg": _apg, "particles": _particles, "skipping": _skipping}[name](config, say)
        results.append(result)
        targets.append(target)
    notes = ("error: of the samples against those of the peer, relative; two random streams are not compared",)
    return Report("samples", results, targets, notes)


# --- adaptive projected guidance


class Weights(NamedTuple):
    """A network that takes every pixel by itself: channels to hidden, time added, back to channels."""

    inputs: np.ndarray  # [C, H]
    time: np.ndarray  # [H]
    condition: np.ndarray  # [H]
    outputs: np.ndarray  # [H, C]


def _weights(channels: int, hidden: int) -> Weights:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / math.sqrt(shape[0])).astype(np.float32)

    return Weights(draw(channels, hidden), draw(hidden), draw(hidden), draw(hidden, channels))


def _table() -> np.ndarray:
    """alpha at the times i / TRAIN_STEPS, i = 0..TRAIN_STEPS, of the scheduler's linear betas."""
    kept = np.cumprod(1.0 - np.linspace(1e-4, 0.02, TRAIN_STEPS))
    return np.sqrt(np.concatenate([[1.0], kept])).astype(np.float32)


def _timesteps(steps: int) -> np.ndarray:
    """The scheduler's own ("leading") grid: int [steps], decreasing."""
    return np.arange(steps)[::-1] * (TRAIN_STEPS // steps)


def _apg(config: Config, say: Callable[[str], None]) -> tuple[Result, Target]:
    weights = _weights(config.latents[1], config.hidden)
    start = np.random.default_rng(1).standard_normal(config.latents, dtype=np.float32)
    work = f"APG, {config.steps} DDIM steps, latents {list(config.latents)} ({start.nbytes / 1e6:.3g} MB)"
    entries = [
        Entry("diffusers, torch", lambda: _apg_torch(config, weights, start)),
        Entry("jaxlab", lambda: _apg_jaxlab(config, weights, start)),
    ]
    timings = race(Race(config.latents[0], work, entries), repeats=config.repeats, say=say)
    return _judged(config.latents[0], work, timings, "The guided run is at least twice as fast as diffusers'")


def _apg_jaxlab(config: Config, weights: Weights, start: np.ndarray) -> Callable[[], jax.Array]:
    table = jnp.asarray(_table())
    nodes = jnp.linspace(0.0, 1.0, TRAIN_STEPS + 1)

    def alpha(t: Any) -> jax.Array:
        return jnp.interp(jnp.asarray(t), nodes, table)

    process = diffusion.vp()._replace(alpha=alpha, std=lambda t: jnp.sqrt(1.0 - alpha(t) ** 2))
    # The scheduler's step from the node of a timestep goes to the node of the next one, and at the end to the data.
    times = np.concatenate([(_timesteps(config.steps) + 1) / TRAIN_STEPS, [0.0]]).astype(np.float32)

    def network(condition: bool) -> Callable[[jax.Array, jax.Array], jax.Array]:
        def fn(x: jax.Array, t: jax.Array) -> jax.Array:
            shift = t[:, None] * weights.time + (weights.condition if condition else 0.0)
            hidden = jnp.einsum("bchw,co->bohw", x, weights.inputs) + shift[:, :, None, None]
            return jnp.einsum("bohw,oc->bchw", jax.nn.silu(hidden), weights.outputs)

        return fn

    rule = guidance.chain(
        guidance.momentum(MOMENTUM), guidance.clip_norm(NORM), guidance.project(0.0), guidance.cfg(SCALE)
    )
    step = diffusion.ddim(process, kind="x0")
    keys = jax.random.split(jax.random.key(0), start.shape[0])

    def whole(x: jax.Array) -> jax.Array:
        return diffusion.sample(keys, x, times, cond_fn=network(True), uncond_fn=network(False), rule=rule, step=step).x

    compiled = jax.jit(whole).lower(start).compile()
    return lambda: compiled(start)


def _apg_torch(config: Config, weights: Weights, start: np.ndarray) -> Callable[[], np.ndarray]:
    import torch
    from diffusers import DDIMScheduler
    from diffusers.guiders import AdaptiveProjectedGuidance

    w = [torch.from_numpy(array) for array in weights]
    inputs, outputs = w[0].T[:, :, None, None].contiguous(), w[3].T[:, :, None, None].contiguous()

    def network(x: Any, time: float, condition: bool) -> Any:
        shift = time * w[1] + (w[2] if condition else 0.0)
        hidden = torch.nn.functional.conv2d(x, inputs, shift)
        return torch.nn.functional.conv2d(torch.nn.functional.silu(hidden), outputs)

    def whole() -> np.ndarray:
        scheduler = DDIMScheduler(
            num_train_timesteps=TRAIN_STEPS, beta_start=1e-4, beta_end=0.02, prediction_type="sample", clip_sample=False
        )
        scheduler.set_timesteps(config.steps)
        guider = AdaptiveProjectedGuidance(
            guidance_scale=SCALE - 1.0,
            adaptive_projected_guidance_momentum=MOMENTUM,
            adaptive_projected_guidance_rescale=NORM,
            eta=0.0,
            use_original_formulation=True,
        )
        x = torch.from_numpy(start)
        with torch.inference_mode():
            for index, timestep in enumerate(scheduler.timesteps):
                guider.set_state(step=index, num_inference_steps=config.steps, timestep=timestep)
                if index == 0:  # what the guider does itself when it prepares the inputs of a pipeline
                    guider.prepare_inputs({"x": (x, x)})
                time = float(timestep + 1) / TRAIN_STEPS
                guided = guider.forward(network(x, time, True), network(x, time, False)).pred
                x = scheduler.step(guided, timestep, x).prev_sample
        return x.numpy()

    return whole


# --- particles


CENTERS = np.array([[4.0, 4.0], [-4.0, 4.0], [-4.0, -4.0], [4.0, -4.0]], np.float32)
WIDTH = 0.5
SIGMA = (0.01, 50.0)


def _particles(config: Config, say: Callable[[str], None]) -> tuple[Result, Target]:
    work = f"{config.particles} particles, {config.particle_steps} steps of predictor and corrector, 4 components"
    forms = {"all components at once": _score, "one component at a time": _score_in_turn}
    entries = [
        Entry(f"{library}, {form}", lambda loop=loop, score=score: loop(config, score))
        for library, loop in (("torch", _particles_torch), ("jaxlab", _particles_jaxlab))
        for form, score in forms.items()
    ]
    timings = race(Race(config.particles, work, entries), repeats=config.repeats, say=say)
    # The random streams differ, so the samples are compared by how far they lie from the nearest centre, on average.
    timings = [timing._replace(facts={"spread": _spread(np.asarray(timing.output))}) for timing in timings]
    sentence = "The particles are at least twice as fast as in torch, each library with its own best score"
    fastest = [min(timings[i : i + 2], key=lambda timing: timing.median) for i in (0, 2)]
    return Result(config.particles, work, timings), _twice(sentence, fastest)


def _spread(x: np.ndarray) -> float:
    """Mean distance to the nearest centre."""
    return float(np.linalg.norm(x[:, None] - CENTERS, axis=-1).min(1).mean())


def _score(x: Any, variance: Any, xp: Any) -> Any:
    """Score of the mixture at x [B, 2], as one writes it: arrays [B, components, 2]; ``xp`` is jnp or torch."""
    away = xp.asarray(CENTERS) - x[:, None]
    logits = -0.5 * (away**2).sum(-1) / variance
    weight = xp.exp(logits - xp.amax(logits, -1)[:, None])
    return (weight[..., None] * away).sum(1) / weight.sum(-1)[:, None] / variance


def _score_in_turn(x: Any, variance: Any, xp: Any) -> Any:
    """The same with arrays [B] only, which neither library is slow on."""
    away = [(float(a) - x[:, 0], float(b) - x[:, 1]) for a, b in CENTERS]
    logits = [-0.5 * (a**2 + b**2) / variance for a, b in away]
    largest = functools.reduce(xp.maximum, logits)
    weights = [xp.exp(logit - largest) for logit in logits]
    total = sum(weights) * variance
    columns = [sum(weight * part[axis] for weight, part in zip(weights, away, strict=True)) for axis in (0, 1)]
    return xp.stack([column / total for column in columns], -1)


def _particles_jaxlab(config: Config, score: Callable[..., Any]) -> Callable[[], jax.Array]:
    process = diffusion.ve(sigma_min=SIGMA[0], sigma_max=SIGMA[1])
    step = diffusion.predictor_corrector(
        diffusion.reverse_diffusion(process, kind="score"), diffusion.langevin(process, snr=SNR, kind="score")
    )
    times = np.linspace(1.0, 1e-5, config.particle_steps + 1, dtype=np.float32)

    def whole(key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, config.particles)
        x = process.prior_sample(keys, (2,))
        exact = lambda x, t: score(x, WIDTH**2 + process.std(t[0]) ** 2, jnp)  # noqa: E731
        return diffusion.sample(keys, x, times, cond_fn=exact, step=step, denoise=True).x

    compiled = jax.jit(whole).lower(jax.random.key(0)).compile()
    return lambda: compiled(jax.random.key(0))


def _particles_torch(config: Config, score: Callable[..., Any]) -> Callable[[], np.ndarray]:
    import torch

    times = np.linspace(1.0, 1e-5, config.particle_steps + 1)
    sigmas = (SIGMA[0] * (SIGMA[1] / SIGMA[0]) ** times).tolist()

    def whole() -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        x = SIGMA[1] * torch.randn(config.particles, 2, generator=generator)
        mean = x
        with torch.inference_mode():
            for sigma, after in itertools.pairwise(sigmas):
                size = 2.0 * (SNR * sigma) ** 2
                x = x + size * score(x, WIDTH**2 + sigma**2, torch)
                x = x + math.sqrt(2.0 * size) * torch.randn(x.shape, generator=generator)
                gap = sigma**2 - after**2
                mean = x + gap * score(x, WIDTH**2 + sigma**2, torch)
                x = mean + math.sqrt(gap) * torch.randn(x.shape, generator=generator)
        return mean.numpy()

    return whole


# --- skipped calls


def _skipping(config: Config, say: Callable[[str], None]) -> tuple[Result, Target]:
    steps = config.skipping_steps
    rules = {
        f"guided at all {steps} steps": guidance.cfg(SCALE),
        "guided at the first step": guidance.chain(guidance.interval(1.0, 1.0), guidance.cfg(SCALE)),
    }
    rng = np.random.default_rng(0)
    layers = (rng.standard_normal((4, config.width, config.width)) / math.sqrt(config.width)).astype(np.float32)
    start = rng.standard_normal((config.batch, config.width), dtype=np.float32)
    work = f"4 layers of {config.width} x {config.width}, batch {config.batch}, {steps} DDIM steps"
    entries = [Entry(name, lambda rule=rule: _skipping_run(rule, layers, start, steps)) for name, rule in rules.items()]
    timings = race(Race(config.batch, work, entries), repeats=config.repeats, say=say)
    calls = [int(timing.output[1]) for timing in timings]
    timings = [timing._replace(facts={"calls": calls[i]}) for i, timing in enumerate(timings)]
    saved = 1.0 - timings[1].median / timings[0].median
    promised = 1.0 - calls[1] / calls[0]
    facts = {"share of calls saved": promised, "share of time saved": saved}
    judged = saved / promised if config.width >= 1024 else None
    target = Target("Share of time saved, relative to the share of calls that were skipped", judged, ">=", 0.9)
    return Result(config.batch, work, timings, facts), target


def _skipping_run(rule: guidance.Rule, layers: np.ndarray, start: np.ndarray, steps: int) -> Callable[[], Any]:
    def network(shift: float) -> Callable[[jax.Array, jax.Array], jax.Array]:
        def fn(x: jax.Array, t: jax.Array) -> jax.Array:
            for layer in weights:
                # Before the product: behind it, the compiler would share the first one between both calls.
                x = jax.nn.silu((x + shift) @ layer)
            return x

        return fn

    weights = jnp.asarray(layers)
    keys = jax.random.split(jax.random.key(0), start.shape[0])
    times = np.linspace(1.0, 0.0, steps + 1, dtype=np.float32)
    step = diffusion.ddim(diffusion.vp(), kind="x0")

    def whole(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        made = diffusion.sample(keys, x, times, cond_fn=network(0.1), uncond_fn=network(0.0), rule=rule, step=step)
        return made.x, made.calls

    compiled = jax.jit(whole).lower(start).compile()
    return lambda: compiled(start)


# --- judging


def _judged(size: int, work: str, timings: list[Timing], sentence: str) -> tuple[Result, Target]:
    exact = np.asarray(timings[0].output, np.float64)
    timings = [timing._replace(facts=relative_errors(timing.output, exact)) for timing in timings]
    return Result(size, work, timings), _twice(sentence, timings)


def _twice(sentence: str, timings: list[Timing]) -> Target:
    return Target(sentence, compare(timings[0], timings[1]).median, ">=", 2.0)
