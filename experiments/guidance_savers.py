"""What spares calls of a guided denoiser: every row from a task and its keys to samples, and what the rows need.

Rows of the MLP predict data, those of the transformer noise; guidance is linear, so it is the same in both.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.assets import denoiser, students, token_denoiser, token_students
from experiments.assets.denoiser import PROCESS, ClassifierConfig, DenoiserConfig
from experiments.assets.students import GuidedStudentConfig, HalvedConfig, PolicyConfig
from experiments.assets.token_denoiser import TokenDenoiserConfig
from experiments.assets.token_students import AdapterConfig, SunConfig
from jaxlab import diffusion, distill, guidance, nas
from jaxlab.diffusion import Sample
from jaxlab.guidance import LinearAGCoeffs, Rule
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "HIGH",
    "PAPER",
    "SCALE",
    "THRESHOLDS",
    "TOKENS",
    "Networks",
    "Setting",
    "Task",
    "adaptive_eps",
    "adaptive_x0",
    "distilled",
    "first",
    "full",
    "guided_path",
    "inside",
    "interval",
    "linear_ag",
    "linear_fit",
    "networks",
    "points",
    "ruled",
    "says_noised",
    "says_on_trajectory",
    "says_sun",
    "scheduled",
    "scheduled_tokens",
    "unconditional",
]

Model = Callable[[Array, Array], Array]


SCALE, HIGH = 3.0, 7.5
"""Guidance scales; students are for the first."""
THRESHOLDS = (0.9, 0.95, 0.98, 0.991, 0.996, 0.999)
"""Agreement at which Adaptive Guidance ends; the fourth is the paper's and decides the claims."""
PAPER = 3
FIRST = (1, 3, 5, 8, 12, 16)
"""How many steps are guided where the first ones are; as shares of 20 steps."""


TOKENS = ("none_tokens", "cfg_tokens", "agd_trajectory", "agd_noised", "sun")
"""Rows of the transformer."""


class Networks(NamedTuple):
    """The configurations of what is trained."""

    denoiser: DenoiserConfig
    student: GuidedStudentConfig
    halved: HalvedConfig
    policy: PolicyConfig
    tokens: TokenDenoiserConfig
    on_trajectory: AdapterConfig
    noised: AdapterConfig
    sun: SunConfig
    judge: ClassifierConfig


class Setting(NamedTuple):
    """What every seed sees: parameters, named as in ``Networks`` (None where no row needs them), and conditions."""

    denoiser: PyTree
    student: PyTree
    halved: PyTree
    policy: Any
    tokens: PyTree
    on_trajectory: PyTree
    noised: PyTree
    sun: PyTree
    judge: PyTree
    linear: Any  # LinearAGCoeffs [2, S, S], of both scales
    x: Array  # [B, D], images that fit the conditions
    labels: Array  # [B]
    conditions: Array  # [B, 2], of the transformer
    real: Array  # [N, F] features


class Task(NamedTuple):
    """One run of a sampler: what a row is built from. ``value`` is what its runs differ in."""

    config: Any  # the numbers of the question, see its Config
    nets: Networks
    setting: Setting
    scale: Array
    value: Any

    def cond(self, kind: str = "x0", labels: Array | None = None) -> Model:
        given = self.setting.labels if labels is None else labels
        return denoiser.model(self.nets.denoiser, self.setting.denoiser, given, kind=kind)

    def uncond(self, kind: str = "x0") -> Model:
        return self.cond(kind, self.none())

    def none(self) -> Array:
        return jnp.full_like(self.setting.labels, self.nets.denoiser.sizes[0])

    def token_pair(self) -> tuple[Model, Model]:
        """The transformer's noise predictions with and without its conditions."""
        nothing = token_denoiser.null(self.nets.tokens, self.setting.conditions.shape[0])
        given = (self.setting.conditions, nothing)
        fns = [token_denoiser.model(self.nets.tokens, self.setting.tokens, c) for c in given]
        return fns[0], fns[1]


# Rows


Row = Callable[[Task, Array], Sample]
"""From a task and the keys [B] of one seed to samples."""


def sampled(
    task: Task,
    keys: Array,
    cond: Any,
    uncond: Any = None,
    rule: Rule | None = None,
    *,
    kind: str = "x0",
    parts: int = 1,
) -> Sample:
    """DDIM from the noise of the keys; ``parts`` divides the number of steps."""
    return diffusion.sample(
        keys,
        PROCESS.prior_sample(keys, (task.nets.denoiser.dim,)),
        denoiser.even_times(task.config.steps // parts),
        cond_fn=cond,
        uncond_fn=uncond,
        rule=rule,
        step=diffusion.ddim(PROCESS, kind=kind),
    )


def scheduled(task: Task, keys: Array) -> Sample:
    """``value`` int [steps] says at every step: conditional, unconditional or guided. The first two cost one call."""
    ts = denoiser.even_times(task.config.steps)

    def asked(x: Array, t: Array) -> Array:
        choice = task.value[jnp.argmin(jnp.abs(ts[:-1] - t[0]))]
        return task.cond(labels=jnp.where(choice == students.UNCOND, task.none(), task.setting.labels))(x, t)

    return sampled(task, keys, asked, task.uncond(), asks_where_guided(task))


def scheduled_tokens(task: Task, keys: Array) -> Sample:
    """The same for the transformer, conditional or guided."""
    return sampled(task, keys, *task.token_pair(), asks_where_guided(task), kind="eps")


def asks_where_guided(task: Task) -> Rule:
    identity = lambda direction, state, context: (direction, state)  # noqa: E731
    guided = Rule(lambda x: (), identity, lambda state, t, step: task.value[step] == students.CFG)
    return guidance.chain(guided, guidance.cfg(task.scale))


def full(parts: int) -> Row:
    """Full guidance with the number of steps divided by ``parts``."""
    return lambda task, keys: sampled(task, keys, task.cond(), task.uncond(), guidance.cfg(task.scale), parts=parts)


def ruled(make: Callable[[Task], Rule]) -> Row:
    """Guidance that another rule switches on and off."""
    return lambda task, keys: sampled(
        task, keys, task.cond(), task.uncond(), guidance.chain(make(task), guidance.cfg(task.scale))
    )


def adaptive_eps(task: Task) -> Rule:
    """The agreement of the noise predictions counts."""
    to_eps = functools.partial(diffusion.convert, process=PROCESS, kind_in="x0", kind_out="eps")
    return guidance.adaptive(task.value, space=to_eps)


def adaptive_x0(task: Task) -> Rule:
    """The agreement of the data predictions counts."""
    return guidance.adaptive(task.value)


def interval(task: Task) -> Rule:
    return guidance.interval(task.config.low, task.config.high)


def linear_ag(task: Task, keys: Array) -> Sample:
    """In noise predictions, as the coefficients are; ``value`` says which."""
    coeffs = jax.tree.map(lambda a: a[task.value.astype(jnp.int32)], task.setting.linear)
    rule = guidance.chain(guidance.linear_ag(coeffs), guidance.cfg(task.scale))
    return sampled(task, keys, task.cond("eps"), task.uncond("eps"), rule, kind="eps")


def distilled(parts: int) -> Row:
    """The guided student, or one that takes ``parts`` of its steps at once."""

    def row(task: Task, keys: Array) -> Sample:
        count = str(task.config.steps // parts)
        params = task.setting.student if parts == 1 else task.setting.halved[count]
        says = students.student(task.nets.student, params, task.setting.labels, task.scale)
        return sampled(task, keys, says, parts=parts)

    return row


def says_on_trajectory(task: Task) -> Model:
    """Adapters that were trained on guided states."""
    at = task.setting
    return token_students.adapted(task.nets.on_trajectory, at.tokens, at.on_trajectory, at.conditions, task.scale)


def says_noised(task: Task) -> Model:
    """Adapters that were trained on noised data."""
    at = task.setting
    return token_students.adapted(task.nets.noised, at.tokens, at.noised, at.conditions, task.scale)


def says_sun(task: Task) -> Model:
    setting, nothing = task.setting, token_denoiser.null(task.nets.tokens, task.setting.conditions.shape[0])
    return token_students.sun_model(task.nets.sun, setting.tokens, setting.sun, setting.conditions, nothing)


def inside(says: Callable[[Task], Model]) -> Row:
    """A student inside the transformer."""
    return lambda task, keys: sampled(task, keys, says(task), kind="eps")


def guided_path(task: Task, keys: Array, pair: tuple[Model, Model]) -> distill.GuidedTrajectory:
    """The states of full guidance from the noise of the keys, and its noise predictions."""
    return distill.guided_trajectory(
        keys,
        PROCESS.prior_sample(keys, (task.nets.denoiser.dim,)),
        task.scale,
        ts=denoiser.even_times(task.config.steps),
        cond_fn=pair[0],
        uncond_fn=pair[1],
        step=diffusion.ddim(PROCESS),
    )


def unconditional(path: distill.GuidedTrajectory, scale: Array) -> Array:
    """The unconditional predictions along a path, from those that were recorded."""
    return path.cond - (path.guided - path.cond) / (scale - 1.0)


def first(count: ArrayLike, config: Any) -> Array:
    """The choices of guidance in the first ``count`` steps."""
    return jnp.where(jnp.arange(config.steps) < count, students.CFG, students.COND).astype(jnp.int32)


def points(name: str, config: Any, setting: Setting) -> list[tuple[float, Any]]:
    """(scale, value) of every run of a row: the one that counts, the high scale where it is cheap, then a sweep."""
    none, all_steps, paper = first(0, config), first(config.steps, config), THRESHOLDS[PAPER]
    values: dict[str, Any] = {
        "none": none,
        "cfg": all_steps,
        "first_steps": first(config.steps // 4, config),
        "adaptive_eps": paper,
        "adaptive_x0": paper,
        "none_tokens": none,
        "cfg_tokens": all_steps,
    }
    main = nas.discrete_policy(setting.policy) if name == "policy" else values.get(name, 0.0)
    sweep: list[Any]
    if name == "first_steps":
        sweep = [first(round(k * config.steps / 20), config) for k in FIRST]
    else:
        sweep = list(THRESHOLDS) if main is paper else []
    cheap = ("none", "cfg", "cfg_half", "cfg_quarter", "first_steps", "interval", "adaptive_eps", "adaptive_x0")
    high = [(HIGH, main)] if name in cheap else [(HIGH, 1.0)] if name == "linear_ag" else []
    return [(SCALE, main), *high, *((SCALE, value) for value in sweep)]


def linear_fit(config: Any, nets: Networks, setting: Setting, scales: Array) -> LinearAGCoeffs:
    """The coefficients of LinearAG at every scale [K], from guided samplers of their own: [K, S, S] each."""
    own = setting._replace(labels=jnp.arange(config.fit_runs) % nets.denoiser.sizes[0])
    keys = jax.random.split(jax.random.key(2**31 - 1), config.fit_runs)

    def at(scale: Array) -> LinearAGCoeffs:
        task = Task(config, nets, own, scale, jnp.float32(0.0))
        path = guided_path(task, keys, (task.cond("eps"), task.uncond("eps")))
        return guidance.linear_ag_fit(path.cond.swapaxes(0, 1), unconditional(path, scale).swapaxes(0, 1))

    return jax.lax.map(at, scales)


def networks(config: Any, scale: float, side: int, classes: int) -> Networks:
    """The configurations of all that is trained, for images of a side; students of one scale are for ``scale``."""
    net = DenoiserConfig(dim=side**2, sizes=(classes,), num_steps=config.train_steps)
    student = GuidedStudentConfig(net, num_steps=config.student_steps)
    tokens = TokenDenoiserConfig(side=side, sizes=(classes, 3), num_steps=config.token_steps)
    adapters = AdapterConfig(tokens, runs=config.adapter_runs, steps=config.steps, num_steps=config.adapter_steps)
    return Networks(
        net,
        student,
        HalvedConfig(student, steps=config.steps, num_steps=config.halving_steps),
        PolicyConfig(net, scale=scale, steps=config.steps, num_steps=config.policy_steps),
        tokens,
        adapters,
        dataclasses.replace(adapters, on_trajectory=False),
        SunConfig(tokens, scale=scale, num_steps=config.sun_steps),
        ClassifierConfig(dims=(side**2, 128, 64, classes), num_steps=config.classifier_steps),
    )
