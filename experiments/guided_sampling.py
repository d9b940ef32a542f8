"""Rules of guidance around one denoiser: what each takes for a reference, and the sampler that runs them.

A maker is called with a ``Task`` and gives a ``Guided``: the reference that the conditional prediction is compared
with, and the rule. Those that differ in the rule alone are made by ``away_from_null``.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.assets import denoiser
from experiments.assets.denoiser import PROCESS, ClassifierConfig, DenoiserConfig
from jaxlab import diffusion, guidance
from jaxlab.guidance import Rule
from jaxlab.typing import Array, PyTree

__all__ = [
    "THICKNESSES",
    "Guided",
    "Networks",
    "Setting",
    "Task",
    "apg",
    "apg_projection",
    "apg_rms",
    "autoguidance",
    "away_from_null",
    "cfg",
    "cfg_clip",
    "cfg_dynamic",
    "cfg_interval",
    "cfg_momentum",
    "cfg_rescale",
    "classifier_denoised",
    "classifier_naive",
    "climb",
    "corrected",
    "draw",
    "elucd",
    "gfcg",
    "mean_share",
    "noise_damped",
    "two_conditions",
]


class Networks(NamedTuple):
    """The configurations of the networks; ``pair`` takes a class and a thickness."""

    denoiser: DenoiserConfig
    weak: DenoiserConfig
    pair: DenoiserConfig
    guide: ClassifierConfig
    judge: ClassifierConfig


class Setting(NamedTuple):
    """What every seed sees: the trained networks, the wanted classes, and how the judge sees the data."""

    params: PyTree
    weak: PyTree
    pair: PyTree
    guide: PyTree
    judge: PyTree
    labels: Array  # [B]
    thickness: Array  # [B], see ``token_denoiser.thickness_of``
    edges: Array  # [THICKNESSES - 1]
    real: Array  # [N, D] features


class Task(NamedTuple):
    """One run of the sampler: what a rule is built from."""

    config: Any  # the numbers of the rules, see the question's Config
    nets: Networks
    setting: Setting
    scale: Array

    @property
    def labels(self) -> Array:
        return self.setting.labels

    @property
    def turn(self) -> float:
        """How far the angle of ``denoiser.angle`` falls in a step."""
        return math.pi / 2 / self.config.steps

    def model(self, labels: Array, *, weak: bool = False, clip: bool = False) -> Callable[[Array, Array], Array]:
        """Data predictions under the given classes; ``clip`` keeps them in the range of the data."""
        params, config = (self.setting.weak, self.nets.weak) if weak else (self.setting.params, self.nets.denoiser)
        predict = denoiser.model(config, params, labels, kind="x0")
        return lambda x, t: jnp.clip(predict(x, t), -1.0, 1.0) if clip else predict(x, t)

    def none(self) -> Array:
        """The class that stands for none."""
        return jnp.full_like(self.labels, self.nets.denoiser.sizes[0])

    def classify(self, x: Array, *, smooth: bool = False) -> Array:
        """Logits of the classifier that guides."""
        activation = functools.partial(guidance.smooth_relu, sharpness=self.config.sharpness) if smooth else nnx.relu
        return denoiser.classifier(self.nets.guide, activation=activation).logits(self.setting.guide, x)


class Guided(NamedTuple):
    """What goes to the sampler beside the conditional prediction.

    ``takes_cond``: the reference depends on that prediction. ``clip``: it is clipped to the range of the data. A
    network that is asked far from what it has seen answers anything; where that sends the next step further still, the
    rule runs away without the clipping. ``cond``: the conditional prediction, if it is not that of the classes.
    ``sampler(key) -> images``: takes the place of the whole run.
    """

    reference: Callable[..., Any] | None
    rule: Rule | None
    takes_cond: bool = False
    clip: bool = False
    cond: Callable[..., Array] | None = None
    sampler: Callable[[Array], Array] | None = None


MakeRule = Callable[[Task], Rule | None]


def away_from_null(make: MakeRule, task: Task) -> Guided:
    """Classifier-free guidance: the reference is the same network without its condition."""
    return Guided(task.model(task.none()), make(task))


def cfg(task: Task) -> Rule:
    return guidance.cfg(task.scale)


def cfg_rescale(task: Task) -> Rule:
    return guidance.chain(cfg(task), guidance.rescale_std(task.config.rescale))


def cfg_interval(task: Task) -> Rule:
    return guidance.chain(guidance.interval(task.config.low, task.config.high), cfg(task))


def cfg_dynamic(task: Task) -> Rule:
    def scale(context: guidance.Context) -> Array:
        return guidance.cosine_power_schedule(context.step, context.num_steps, scale=task.scale)

    return guidance.cfg(scale)


def mean_share(steps: int) -> Array:
    """The mean scale of ``cfg_dynamic``, relative to its first."""
    return jnp.mean(guidance.cosine_power_schedule(jnp.arange(steps), steps))


def cfg_momentum(task: Task) -> Rule:
    return guidance.chain(guidance.momentum(task.config.momentum), cfg(task))


def cfg_clip(task: Task) -> Rule:
    return guidance.chain(guidance.clip_norm(task.config.norm), cfg(task))


def apg_projection(task: Task) -> Rule:
    return guidance.chain(guidance.project(0.0), cfg(task))


def apg(task: Task) -> Rule:
    config = task.config
    return guidance.chain(
        guidance.momentum(config.momentum), guidance.clip_norm(config.norm), guidance.project(0.0), cfg(task)
    )


def apg_rms(task: Task) -> Rule:
    config = task.config
    clip = guidance.clip_norm(config.norm_rms, norm="rms")
    return guidance.chain(guidance.momentum(config.momentum), clip, guidance.project(0.0), cfg(task))


def autoguidance(task: Task) -> Guided:
    """The reference is a small network that was trained briefly, under the same condition."""
    return Guided(task.model(task.labels, weak=True, clip=True), cfg(task), clip=True)


def gfcg(task: Task) -> Guided:
    """The reference is the class that a classifier takes the prediction for; its doubt sets the scale."""

    def reference(x: Array, t: Array, cond: Array) -> tuple[Array, Array]:
        probs = jax.nn.softmax(task.classify(cond))
        scale = guidance.confusion_scale(probs, task.labels, gamma=task.scale - 1.0)
        return task.model(guidance.confusing_class(probs, task.labels))(x, t), scale

    return Guided(reference, guidance.cfg(lambda context: context.extras), takes_cond=True)


def climb(task: Task, move: Callable[[Array, Array, Array], Array]) -> Guided:
    """A classifier as a reference: ``cfg(w)`` adds w - 1 times ``move(x, t, cond)`` to the result of every step."""

    def reference(x: Array, t: Array, cond: Array) -> Array:
        # A DDIM step that turns by the angle h takes sin(h) / std of a change of the data prediction.
        return cond - (PROCESS.std(t) / jnp.sin(task.turn))[:, None] * move(x, t, cond)

    return Guided(reference, cfg(task), takes_cond=True, clip=True)


def classifier_naive(task: Task) -> Guided:
    """A classifier of clean images is shown the noisy ones; the mean moves by variance times gradient."""

    def move(x: Array, t: Array, cond: Array) -> Array:
        gradient = guidance.classifier_gradient(task.classify, x, task.labels, marginal_scale=1.0)
        after = jnp.maximum(denoiser.angle(t) - task.turn, 0.0)
        ratio = PROCESS.alpha(t) / jnp.cos(after)
        # Of the step from t back: the variance of the posterior of the forward process.
        variance = jnp.sin(after) ** 2 * (1.0 - (ratio * jnp.sin(after) / PROCESS.std(t)) ** 2)
        return guidance.classifier_guided_mean(jnp.zeros_like(x), variance[:, None], gradient)

    return climb(task, move)


def classifier_denoised(task: Task, *, smooth: bool = False, marginal_scale: float = 1.0, boost: float = 0.0) -> Guided:
    """It is shown the data prediction instead; its gradient counts by direction, and less and less."""
    size = task.config.classifier_shift
    classify = functools.partial(task.classify, smooth=smooth)

    def move(x: Array, t: Array, cond: Array) -> Array:
        gradient = guidance.classifier_gradient(classify, cond, task.labels, marginal_scale=marginal_scale)
        now = denoiser.angle(t)
        left = now / (jnp.pi / 2)
        amount = size * left + guidance.sine_guidance_boost(1.0 - left, 1, peak=size, factor=boost)
        # The paper moves x before the step, of which the step keeps the share of the noise that stays.
        amount *= jnp.sin(jnp.maximum(now - task.turn, 0.0)) / jnp.sin(now)
        return amount[:, None] * guidance.rms_normalize(gradient, like=x)

    return climb(task, move)


def elucd(task: Task) -> Guided:
    """The same with smooth activations, the label's logit alone, and more in the middle."""
    return classifier_denoised(task, smooth=True, marginal_scale=0.0, boost=0.3)


def noise_damped(task: Task) -> Guided:
    """The direction is that of the network, what it is added to that of a weaker one without its condition."""
    strong, weak = task.model(task.none(), clip=True), task.model(task.none(), weak=True, clip=True)

    def reference(x: Array, t: Array) -> tuple[Array, Array]:
        return strong(x, t), weak(x, t)

    return Guided(reference, guidance.noise_damped(task.scale), clip=True)


def corrected(task: Task) -> Guided:
    """Every class by itself as particles that are weighted and resampled, so that they follow the guided density."""
    classes, config, net = task.nets.denoiser.sizes[0], task.config, task.nets.denoiser
    count = task.labels.shape[0] // classes

    def of_class(args: tuple[Array, Array]) -> Array:
        label, key = args
        noise_key, run_key, last_key = jax.random.split(key, 3)
        wanted = jnp.full(count, label)
        given = (jnp.full(count, net.sizes[0]), wanted)
        score_fns = [denoiser.model(net, task.setting.params, labels, kind="score") for labels in given]
        x = PROCESS.prior_sample(jax.random.split(noise_key, count), (net.dim,))
        made = diffusion.fkc_sample(
            run_key,
            x,
            denoiser.even_times(config.particle_steps),
            score_fns=score_fns,
            coeffs=jnp.stack([1.0 - task.scale, task.scale]),
            process=PROCESS,
        )
        return made.x[diffusion.systematic_resample(last_key, made.log_weights)]

    def sampler(key: Array) -> Array:
        images = jax.lax.map(of_class, (jnp.arange(classes), jax.random.split(key, classes)))
        return images.swapaxes(0, 1).reshape(-1, net.dim)  # classes in turn, as in ``labels``

    return Guided(None, None, sampler=sampler)


THICKNESSES = 3
"""As many bins of equally many images by mean brightness."""


def two_conditions(task: Task, *, share: float) -> Guided:
    """Class and thickness, the class guided by the scale and the thickness by ``share`` of it."""
    net, params = task.nets.pair, task.setting.pair

    def given(labels: Array, thickness: Array) -> Callable[[Array, Array], Array]:
        return denoiser.model(net, params, jnp.stack([labels, thickness], axis=1), kind="x0")

    nothing = jnp.full_like(task.labels, THICKNESSES)
    none, one = given(task.none(), nothing), given(task.labels, nothing)
    return Guided(
        lambda x, t: (none(x, t), (one(x, t),)),
        guidance.multi_condition([task.scale, share * task.scale]),
        cond=given(task.labels, task.setting.thickness),
    )


def draw(task: Task, key: Array, guided: Guided) -> Array:
    """Images [B, D] of one rule."""
    if guided.sampler is not None:
        return guided.sampler(key)
    keys = jax.random.split(key, task.labels.shape[0])
    dim = task.nets.denoiser.dim
    return diffusion.sample(
        keys,
        PROCESS.prior_sample(keys, (dim,)),
        denoiser.even_times(task.config.steps),
        cond_fn=guided.cond or task.model(task.labels, clip=guided.clip),
        uncond_fn=guided.reference,
        rule=guided.rule,
        step=diffusion.ddim(PROCESS, kind="x0"),
        uncond_takes_cond=guided.takes_cond,
    ).x
