"""Guidance by a negative prompt in the prediction or inside the network, around one transformer of digits.

A program takes a ``Task`` and gives what goes to the sampler. Rows that differ in numbers alone (``Knobs``) share a
program, so that all of them are compiled once.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.assets import denoiser, token_denoiser
from experiments.assets.denoiser import ClassifierConfig
from experiments.assets.token_denoiser import KeysValues, StudentConfig, TokenDenoiserConfig
from jaxlab import diffusion, guidance, metrics
from jaxlab.typing import Array, PyTree

__all__ = [
    "BINS",
    "GROUP",
    "THICK",
    "THIN",
    "Guided",
    "Knobs",
    "Networks",
    "Setting",
    "Task",
    "cfg",
    "judged",
    "nasa",
    "sample_rows",
    "sun",
]

BINS, THIN, THICK = 3, 0, 2
"""Thirds of the data by mean brightness, the first and the last of them; the last is not wanted."""
GROUP = 4
"""Images of one class in a row, the first of which is the reference of NegToMe."""


class Networks(NamedTuple):
    """The configurations of the networks."""

    denoiser: TokenDenoiserConfig
    student: StudentConfig
    judge: ClassifierConfig
    probe: ClassifierConfig


class Setting(NamedTuple):
    """What every seed sees: trained parameters, wanted digits, features of the real digits without the prompt."""

    params: PyTree
    student: PyTree
    judge: PyTree
    probe: PyTree
    labels: Array  # [B]
    real: Array  # [N, D]


Model = Callable[[Array, Array], Array]


class Guided(NamedTuple):
    """What goes to the sampler; no reference is no guidance of the prediction."""

    cond: Model
    reference: Model | None = None


class Knobs(NamedTuple):
    """The numbers in which rows of one program differ; the neutral ones leave the prediction as it is."""

    scale: float = 0.0
    """Of NASA and SUN; of CFG, where 1 is neutral."""
    negative: bool = False
    """Whether the reference of CFG has the negative prompt."""
    same: bool = False
    """Whether it has the digit too, so that nothing but the prompt differs."""
    prompt: int = THICK
    """Which thickness the negative prompt names."""
    alpha: float = 0.0
    """How far NegToMe pushes."""
    share: float = 1.0
    """The first share of the way in which it does."""


class Task(NamedTuple):
    """One run of the sampler."""

    config: Any  # the numbers of the question, see its Config
    nets: Networks
    labels: Array
    params: PyTree
    knobs: Any  # Knobs of traced numbers

    def asked(self) -> Array:
        """The digit alone: [B, 2]."""
        return jnp.stack([self.labels, jnp.full_like(self.labels, BINS)], axis=1)

    def instead(self, *, negative: Array | bool, same: Array | bool = False) -> Array:
        """Nothing, or the negative prompt, or that of the same digit: [B, 2]."""
        null = token_denoiser.null(self.nets.denoiser, self.labels.shape[0])
        digit = jnp.where(same, self.labels, null[:, 0])
        return jnp.stack([digit, jnp.where(negative, self.knobs.prompt, null[:, 1])], axis=1)

    def model(self, conditions: Array, **hooks: Any) -> Model:
        """Data predictions."""
        return token_denoiser.model(self.nets.denoiser, self.params, conditions, kind="x0", **hooks)


def nasa(task: Task) -> Guided:
    """Every cross-attention looks away from the negative prompt; at scale 0 it does not."""

    def cross(layer: int, q: Array, keys_values: KeysValues, conditions: Array) -> Array:
        wanted, unwanted = keys_values(conditions), keys_values(task.instead(negative=True))
        return guidance.negative_away_attention(q, *wanted, *unwanted, scale=task.knobs.scale)

    return Guided(task.model(task.asked(), cross=cross))


def sun(task: Task) -> Guided:
    """The same with the negative branch brought to the length of the other; its projections are the frozen ones."""

    def cross(layer: int, q: Array, keys_values: KeysValues, conditions: Array) -> Array:
        prompts = conditions, task.instead(negative=True)
        wanted, unwanted = (token_denoiser.attend(q, *keys_values(prompt)) for prompt in prompts)
        return guidance.sun_attention(wanted, unwanted, gain=task.knobs.scale, bias=0.0)

    return Guided(task.model(task.asked(), cross=cross))


def cfg(task: Task) -> Guided:
    """Away from no prompt or the negative one; the patches may move away from those of the first image of their group,
    in both predictions.
    """

    def pushed(conditions: Array) -> Model:
        def fn(x: Array, t: Array) -> Array:
            early = denoiser.angle(t) >= (1.0 - task.knobs.share) * jnp.pi / 2
            alpha = jnp.where(early, task.knobs.alpha, 0.0)

            def tokens(layer: int, h: Array, seen: Array) -> Array:
                del layer, seen  # merged alike everywhere, by what the self-attention says
                first = jnp.repeat(h[::GROUP], GROUP, axis=0)
                threshold = task.config.merge_threshold
                return guidance.negative_token_merge(h, first, alpha=alpha, threshold=threshold)

            return task.model(conditions, tokens=tokens)(x, t)

        return fn

    return Guided(pushed(task.asked()), pushed(task.instead(negative=task.knobs.negative, same=task.knobs.same)))


def sample_rows(
    program: Callable[[Task], Guided], config: Any, nets: Networks, key: Array, setting: Setting, knobs: Knobs
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Images [rows, steps, B, D] of a program, from the same noise, as a screen would show them."""
    keys = jax.random.split(key, setting.labels.shape[0])
    noise = denoiser.PROCESS.prior_sample(keys, (nets.denoiser.side**2,))
    step = diffusion.ddim(denoiser.PROCESS, kind="x0")

    def at(knobs: Knobs) -> Array:
        images = []
        for steps in config.steps:
            params = setting.student if steps == 1 else setting.params
            cond_fn, uncond_fn = program(Task(config, nets, setting.labels, params, knobs))
            images.append(
                diffusion.sample(
                    keys,
                    noise,
                    denoiser.even_times(steps),
                    cond_fn=cond_fn,
                    uncond_fn=uncond_fn,
                    rule=None if uncond_fn is None else guidance.cfg(knobs.scale),
                    step=step,
                ).x
            )
        return jnp.clip(jnp.stack(images), -1.0, 1.0)

    return {}, {"images": jax.lax.map(at, knobs)}


@functools.partial(jax.jit, static_argnums=0)
def judged(nets: Networks, setting: Setting, images: Array) -> dict[str, Array]:
    """Every metric [...] of images [..., B, D]."""

    def one(x: Array) -> dict[str, Array]:
        seen = denoiser.judge(nets.judge, setting.judge, x)
        thickness = jnp.argmax(denoiser.judge(nets.probe, setting.probe, x).logits, axis=1)
        groups = seen.features.reshape(-1, GROUP, seen.features.shape[1])
        return {
            "attribute": jnp.mean(thickness == THICK),
            "frechet": metrics.frechet_distance(seen.features, setting.real),
            "accuracy": metrics.accuracy(seen.logits, setting.labels),
            "diversity": jnp.mean(jax.vmap(metrics.mean_pairwise_distance)(groups)),
        }

    table = jax.lax.map(one, images.reshape(-1, *images.shape[-2:]))
    return jax.tree.map(lambda values: values.reshape(images.shape[:-2]), table)
