"""What the question of guidance's cost measures of its rows."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import guidance_savers as savers
from experiments.assets import denoiser, students, token_denoiser, token_students
from experiments.assets.denoiser import PROCESS
from experiments.guidance_savers import SCALE, Networks, Row, Setting, Task
from experiments.runner import Measured, Method, over_seeds
from jaxlab import diffusion, guidance, metrics
from jaxlab.typing import Array, ArrayLike

__all__ = ["SWITCHED", "Judge", "agreement", "measure_row", "negative_error", "relative", "student_error"]

SWITCHED = ("interval", "adaptive_eps", "adaptive_x0", "linear_ag", "policy")
"""Rows that have the guidance of the first steps for a rival."""
SHOWN = 16
"""Images of each row that are kept for the figure."""


def relative(x: Array, target: Array, plain: Array) -> Array:
    """Squared distance to a target, as a share of that of something else."""
    return jnp.sum((x - target) ** 2) / jnp.sum((plain - target) ** 2)


def agreement(on_tokens: bool, config: Any, nets: Networks, key: Array, setting: Setting) -> Any:
    """How much both predictions agree on the states of full guidance, in three spaces: [steps] each, mean cosine."""
    task = Task(config, nets, setting, jnp.float32(SCALE), jnp.float32(0.0))
    pair = task.token_pair() if on_tokens else (task.cond("eps"), task.uncond("eps"))
    path = savers.guided_path(task, jax.random.split(key, config.samples), pair)

    def at(now: tuple[Array, Array, Array, Array]) -> dict[str, Array]:
        x, t, cond, other = now
        to = lambda p, kind: diffusion.convert(p, x, t, process=PROCESS, kind_in="eps", kind_out=kind)  # noqa: E731
        return {k: jnp.mean(guidance.cosine_agreement(to(cond, k), to(other, k))) for k in ("eps", "x0", "rotation")}

    curves = jax.lax.map(at, (path.x, path.t, path.cond, savers.unconditional(path, task.scale)))
    rises = {f"rise_{kind}": curve[-1] - curve[0] for kind, curve in curves.items()}
    return rises, {f"agreement_{kind}": curve for kind, curve in curves.items()}


def trajectory_error(says: Callable[[Task], Any], config: Any, nets: Networks, key: Array, setting: Setting) -> Any:
    """Error of a student's noise predictions on guided states it has not seen, relative to the conditional ones."""
    some = setting._replace(conditions=setting.conditions[: config.probes])
    task = Task(config, nets, some, jnp.float32(SCALE), jnp.float32(0.0))
    path, fn = savers.guided_path(task, jax.random.split(key, config.probes), task.token_pair()), says(task)
    said = jax.lax.map(lambda now: fn(now[0], jnp.broadcast_to(now[1], (config.probes,))), (path.x, path.t))
    return {"trajectory_error": relative(said, path.guided, path.cond)}


def student_error(config: Any, nets: Networks, key: Array, setting: Setting) -> Any:
    """Error of the guided student's data predictions on noised images at random scales, relative to the conditional."""
    scale_key, time_key, noise_key = jax.random.split(key, 3)
    task = Task(config, nets, setting, jnp.float32(SCALE), jnp.float32(0.0))
    scale = jax.random.uniform(scale_key, setting.labels.shape, minval=1.0, maxval=nets.student.high)
    t, z = students.noised(setting.x, time_key, noise_key)
    cond = task.cond()(z, t)
    guided = guidance.combine(cond, task.uncond()(z, t), scale=scale)
    said = students.student(nets.student, setting.student, setting.labels, scale)(z, t)
    return {"student_error": relative(said, guided, cond)}


def negative_error(config: Any, nets: Networks, key: Array, setting: Setting) -> Any:
    """The same of SUN, away from another class than the wanted one, in noise predictions."""
    class_key, time_key, noise_key = jax.random.split(key, 3)
    given, base = setting.conditions, setting.tokens
    negative = token_students.other_class(dataclasses.replace(nets.sun, null_rate=0.0), given, class_key)
    t, z = students.noised(setting.x, time_key, noise_key)
    cond, away = (token_denoiser.model(nets.tokens, base, c)(z, t) for c in (given, negative))
    guided = guidance.combine(cond, away, scale=nets.sun.scale)
    said = token_students.sun_model(nets.sun, base, setting.sun, given, negative)(z, t)
    return {"negative_error": relative(said, guided, cond)}


class Judge:
    """Draws every row once, and holds its images against those of full guidance.

    One seed after the other: where all samples of a seed can do without a call, it is skipped.
    """

    def __init__(self, config: Any, nets: Networks, setting: Setting, methods: tuple[Method, ...], keys: Array) -> None:
        self.config, self.nets, self.setting, self.keys = config, nets, setting, keys
        self.fns: dict[str, Row] = {method.name: method.fn for method in methods}
        self.drawn: dict[str, Measured] = {}
        self._programs: dict[Row, Callable[..., Any]] = {}
        self._distance = jax.jit(jax.vmap(relative))
        self._frechet = jax.jit(self._frechets)

    def sample(self, fn: Row, scale: float, values: ArrayLike) -> tuple[dict[str, Array], dict[str, float]]:
        """Images [S, B, D], evaluations [S] and calls [S] at values [S, ...]; seconds of both kinds."""
        args = self.setting, self.keys, jnp.float32(scale), jnp.asarray(values)
        start = time.perf_counter()
        if fn not in self._programs:  # rows that share a program compile it once

            def seeds(setting: Setting, keys: Array, scale: Array, values: Array) -> dict[str, Array]:
                def one(now: tuple[Array, Array]) -> dict[str, Array]:
                    task = Task(self.config, self.nets, setting, scale, now[1])
                    made = fn(task, jax.random.split(now[0], self.config.samples))
                    return {"x": made.x, "evaluations": jnp.mean(made.evaluations), "calls": 1.0 * made.calls}

                return jax.lax.map(one, (keys, values))

            self._programs[fn] = jax.jit(seeds).lower(*args).compile()
        compiled = time.perf_counter()
        made = jax.block_until_ready(self._programs[fn](*args))
        return made, {"compile": compiled - start, "run": time.perf_counter() - compiled}

    def draw(self, name: str) -> Measured:
        """All runs of a row: curves [S, K, ...]."""
        if name not in self.drawn:
            made, seconds = [], {"compile": 0.0, "run": 0.0}
            for scale, value in savers.points(name, self.config, self.setting):
                value = jnp.asarray(value)
                each = jnp.broadcast_to(value, (self.keys.shape[0], *value.shape))
                run, taken = self.sample(self.fns[name], scale, each)
                made.append(run)
                seconds = {kind: seconds[kind] + taken[kind] for kind in seconds}
            curves = jax.tree.map(lambda *runs: np.stack(runs, axis=1), *made)
            self.drawn[name] = Measured({}, curves, seconds)
        return self.drawn[name]

    def distance(self, name: str, x: ArrayLike, scale: float) -> np.ndarray:
        """To full guidance at a scale, of images [S, B, D] of the row's denoiser."""
        own, at = "_tokens" if name in savers.TOKENS else "", 0 if scale == SCALE else 1
        target, plain = (self.draw(rival + own).curves["x"] for rival in ("cfg", "none"))
        return np.asarray(self._distance(x, target[:, at], plain[:, 0]))

    def _frechets(self, setting: Setting, x: Array) -> Array:
        def one(x: Array) -> Array:
            seen = denoiser.judge(self.nets.judge, setting.judge, x)
            return metrics.frechet_distance(seen.features, setting.real)

        return jax.lax.map(one, x)

    def frechet(self, x: ArrayLike) -> np.ndarray:
        """Of images [S, B, D]."""
        return np.asarray(self._frechet(self.setting, x))

    def first_steps(self, evaluations: ArrayLike) -> np.ndarray:
        """The distance that the guidance of the first steps has for as many evaluations [S], or for one more."""
        counts = np.ceil(np.asarray(evaluations, float) - self.config.steps - 1e-3)
        values = jnp.stack([savers.first(count, self.config) for count in counts])
        return self.distance("first_steps", self.sample(self.fns["first_steps"], SCALE, values)[0]["x"], SCALE)


def measure_row(judge: Judge, method: Method) -> Measured:
    """Costs, distances and Frechet distance of a row, and what is measured of some rows alone."""
    config, nets, setting, name = judge.config, judge.nets, judge.setting, method.name
    made, runs = judge.draw(name), savers.points(name, config, setting)
    cost = {kind: made.curves[kind] for kind in ("evaluations", "calls")}
    rows: dict[str, Any] = {}
    curves = {"images": made.curves["x"][:, 0, :SHOWN].round(2)}  # they are drawn, not judged
    for at, (scale, _) in enumerate(runs[:2]):
        x = made.curves["x"][:, at]
        rows |= {f"{kind}_{scale:g}": values[:, at] for kind, values in cost.items()}
        rows |= {f"distance_{scale:g}": judge.distance(name, x, scale), f"frechet_{scale:g}": judge.frechet(x)}
    if len(runs) > 2:
        table = [judge.distance(name, made.curves["x"][:, at], SCALE) for at in range(2, len(runs))]
        curves |= {"sweep_distance": np.stack(table, axis=1), "sweep_evaluations": cost["evaluations"][:, 2:]}
    if name in SWITCHED:
        rows["first_steps_3"] = judge.first_steps(rows["evaluations_3"])
    more: dict[str, Callable[..., Any]] = {
        "cfg": functools.partial(agreement, False),
        "cfg_tokens": functools.partial(agreement, True),
        "distilled": student_error,
        "agd_trajectory": functools.partial(trajectory_error, savers.says_on_trajectory),
        "agd_noised": functools.partial(trajectory_error, savers.says_noised),
        "sun": lambda *of: trajectory_error(savers.says_sun, *of) | negative_error(*of),
    }
    if name in more:
        # States that no student was trained on: their keys are those of no other row.
        keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(judge.keys)
        extra = over_seeds(functools.partial(more[name], config, nets), keys, mode="map", shared=(setting,))
        rows, curves = rows | dict(extra.metrics), curves | dict(extra.curves)
    trained = {
        "distilled": (setting.student, setting.denoiser),
        "agd_trajectory": (setting.on_trajectory, setting.tokens),
        "agd_noised": (setting.noised, setting.tokens),
        "sun": (setting.sun, setting.tokens),
    }
    if name in trained:
        rows["trained_share"] = np.full(len(judge.keys), students.share_of(*trained[name]))
    return Measured({key: np.asarray(value) for key, value in rows.items()}, curves, made.timings)
