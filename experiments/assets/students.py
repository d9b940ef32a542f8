"""Students that answer for two calls of a denoiser by one, and a policy that says when two are needed; made once.

- ``guided_student``: a copy of the denoiser that is told the guidance scale and says what guidance would say.
- ``halved_students``: of such a student, one that takes two of its steps at once, and so on.
- ``searched_policy``: for every step whether to ask with the condition, without it, or both.

Guidance scales are 1 for the conditional prediction everywhere. Process and times are those of
``experiments.assets.denoiser``.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.asset import asset
from experiments.assets import denoiser
from experiments.assets.denoiser import PROCESS, DenoiserConfig
from experiments.training import LossFn, cosine_adam, fit
from jaxlab import diffusion, distill, guidance, nas, nn
from jaxlab.typing import Array, PyTree

__all__ = [
    "CFG",
    "COND",
    "COSTS",
    "UNCOND",
    "GuidedStudentConfig",
    "HalvedConfig",
    "PolicyConfig",
    "dense",
    "guided_student",
    "halved_students",
    "noise",
    "noised",
    "searched_policy",
    "share_of",
    "student",
]

Model = Callable[[Array, Array], Array]


@dataclasses.dataclass(frozen=True)
class GuidedStudentConfig:
    """A student of the guided denoiser at any scale; what decides its weights, together with the data."""

    name: ClassVar[str] = "guided_student"
    version: ClassVar[int] = 1

    teacher: DenoiserConfig
    """The denoiser, of the form "vp"."""
    high: float = 5.0
    """Scales are uniform from 1 to this."""
    waves: int = 16
    """Frequencies of the embedding of the scale."""
    num_steps: int = 2000
    """Steps of Adam, batches of 128."""
    learning_rate: float = 1e-3
    """At the start; it falls to zero as a cosine."""
    seed: int = 0
    """Of the frequencies, the batches and the noise."""


@dataclasses.dataclass(frozen=True)
class HalvedConfig:
    """Students of a guided student with half its steps, a quarter, and so on."""

    name: ClassVar[str] = "halved_student"
    version: ClassVar[int] = 1

    student: GuidedStudentConfig
    """The first teacher."""
    steps: int = 20
    """Its steps."""
    rounds: int = 2
    """How often they are halved."""
    num_steps: int = 1000
    """Steps of Adam in each round, batches of 128."""
    learning_rate: float = 5e-4
    """At the start of a round; it falls to zero as a cosine."""


@dataclasses.dataclass(frozen=True)
class PolicyConfig:
    """A choice for every step of the sampler, found by gradients."""

    name: ClassVar[str] = "guidance_policy"
    version: ClassVar[int] = 1

    teacher: DenoiserConfig
    """The denoiser that is guided."""
    scale: float = 3.0
    """The guidance that is imitated."""
    steps: int = 20
    """DDIM steps."""
    price: float = 1.0
    """Of all calls of full guidance, where the distance of unguided samples from guided ones counts 1."""
    coldest: float = 0.1
    """Temperature at the end of the search; it begins at 1."""
    runs: int = 32
    """Samples in a step of the search."""
    num_steps: int = 150
    """Steps of Adam."""
    learning_rate: float = 0.1
    """Of Adam."""
    seed: int = 0
    """Of the samples."""


# A guided student: one more input, the scale


def _frequencies(config: GuidedStudentConfig) -> np.ndarray:
    return np.random.default_rng(config.seed).normal(size=config.waves).astype(np.float32)


def student(config: GuidedStudentConfig, params: PyTree, labels: Array, scale: Array, *, kind: str = "x0") -> Model:
    """A student under given classes int [B] and scales ([] or [B]), as a function of noisy images and times."""
    _, apply = denoiser.network(config.teacher)
    waves = nn.fourier_features(jnp.broadcast_to(scale, labels.shape), _frequencies(config))

    def fn(x: Array, t: Array) -> Array:
        prediction = apply(params["denoiser"], x, t, labels[:, None], waves @ params["scale"])
        return diffusion.convert(prediction, x, t, process=PROCESS, kind_in="rotation", kind_out=kind)

    return fn


def dense(part: PyTree, x: Array) -> Array:
    """A layer from its kernel and bias."""
    return x @ part["kernel"] + part["bias"]


@functools.cache
def _guided_loss(config: GuidedStudentConfig) -> LossFn:
    def loss_fn(params: PyTree, teacher: PyTree, batch: dict[str, Any], key: Array) -> tuple[Array, PyTree]:
        scale_key, time_key, noise_key = jax.random.split(key, 3)
        given = batch["labels"]
        scale = jax.random.uniform(scale_key, given.shape, minval=1.0, maxval=config.high)
        t, z = noised(batch["x"], time_key, noise_key)
        cond, uncond = (_teach(config.teacher, teacher, c)(z, t) for c in (given, _none(config.teacher, given)))
        target = guidance.combine(cond, uncond, scale=scale)
        return _weighted(student(config, params, given, scale)(z, t), target, t), teacher

    return loss_fn


def guided_student(
    config: GuidedStudentConfig, teacher: PyTree, x: Array, labels: Array, *, root: Any, digest: str
) -> PyTree:
    """The parameters of a student of rows x [N, dim] under labels [N]; ``teacher`` are those of the denoiser."""

    def start() -> PyTree:
        return {"denoiser": teacher, "scale": jnp.zeros((2 * config.waves, config.teacher.hidden))}

    def build(config: GuidedStudentConfig) -> PyTree:
        return fit(
            _guided_loss(config),
            start(),
            teacher,
            cosine_adam(config.learning_rate, config.num_steps),
            {"x": x, "labels": labels},
            jax.random.key(config.seed),
            num_steps=config.num_steps,
            batch_size=min(128, x.shape[0]),
        ).params

    return asset(config, build, root, data_digest=digest, like=lambda: jax.eval_shape(start))


@functools.cache
def _halved_loss(config: HalvedConfig) -> LossFn:
    net, grid = config.student, denoiser.even_times(config.steps)

    def loss_fn(params: PyTree, state: tuple[PyTree, Array], batch: dict[str, Any], key: Array) -> tuple[Array, PyTree]:
        teacher, length = state  # the teacher's step, in those of the grid
        scale_key, step_key, noise_key = jax.random.split(key, 3)
        given = batch["labels"]
        scale = jax.random.uniform(scale_key, given.shape, minval=1.0, maxval=net.high)
        at = 2 * length * jax.random.randint(step_key, given.shape, 0, config.steps // (2 * length))
        t, middle, end = (grid[at + i * length] for i in range(3))
        z = noise(batch["x"], t, noise_key)
        says = student(net, teacher, given, scale)
        share = (t - middle) / (t - end)
        target = distill.progressive_target(z, t, x0_fn=says, process=PROCESS, dt=t - end, share=share)
        return _weighted(student(net, params, given, scale)(z, t), target, t), state

    return loss_fn


def halved_students(
    config: HalvedConfig, params: PyTree, x: Array, labels: Array, *, root: Any, digest: str
) -> dict[str, PyTree]:
    """Parameters by the number of steps ("10", "5"); ``params`` are those of the guided student."""
    counts = [config.steps // 2**r for r in range(1, config.rounds + 1)]

    def build(config: HalvedConfig) -> dict[str, PyTree]:
        made, teacher = {}, params
        for position, count in enumerate(counts):
            teacher = fit(
                _halved_loss(config),
                teacher,
                (teacher, jnp.int32(2**position)),
                cosine_adam(config.learning_rate, config.num_steps),
                {"x": x, "labels": labels},
                jax.random.key(config.student.seed + 1 + position),
                num_steps=config.num_steps,
                batch_size=min(128, x.shape[0]),
            ).params
            made[str(count)] = teacher
        return made

    like = lambda: jax.eval_shape(lambda: {str(count): params for count in counts})  # noqa: E731
    return asset(config, build, root, data_digest=digest, like=like)


def _none(config: DenoiserConfig, labels: Array) -> Array:
    return jnp.full_like(labels, config.sizes[0])


def _teach(config: DenoiserConfig, params: PyTree, labels: Array) -> Model:
    return denoiser.model(config, params, labels, kind="x0")


def noise(x: Array, t: Array, key: Array) -> Array:
    """Images [B, dim] at times [B]."""
    drawn = jax.random.normal(key, x.shape)
    return PROCESS.alpha(t)[:, None] * x + PROCESS.std(t)[:, None] * drawn


def noised(x: Array, time_key: Array, noise_key: Array) -> tuple[Array, Array]:
    """Times between which the angle is uniform, and the images noised to them."""
    fine = denoiser.even_times(1000)
    drawn = jax.random.uniform(time_key, x.shape[:1], maxval=fine.shape[0] - 1.0)
    t = jnp.interp(drawn, jnp.arange(fine.shape[0], dtype=fine.dtype), fine)
    return t, noise(x, t, noise_key)


def _weighted(prediction: Array, target: Array, t: Array) -> Array:
    """The mean of the squared errors of data predictions, each times its weight."""
    weight = distill.truncated_snr_weight(PROCESS.alpha(t), PROCESS.std(t))
    return jnp.mean(weight * jnp.mean((prediction - jax.lax.stop_gradient(target)) ** 2, axis=1))


def share_of(params: PyTree, base: PyTree) -> float:
    """Numbers in one tree, as a share of those in another."""
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    return size(params) / size(base)


# A policy

UNCOND, COND, CFG = range(3)
COSTS = (1.0, 1.0, 2.0)


def searched_policy(config: PolicyConfig, teacher: PyTree, *, root: Any, digest: str) -> Array:
    """Logits [steps, 3] of the choices at each step; ``teacher`` are the parameters of the denoiser."""
    classes, ts = config.teacher.sizes[0], denoiser.even_times(config.steps)
    step = diffusion.ddim(PROCESS, kind="x0")

    def objective(logits: Array, teacher: PyTree, key: Array, temperature: Array) -> Array:
        keys = jax.random.split(key, config.runs)
        labels = jnp.arange(config.runs) % classes
        cond, uncond = (_teach(config.teacher, teacher, c) for c in (labels, _none(config.teacher, labels)))
        start = PROCESS.prior_sample(keys, (config.teacher.dim,))

        def soft(x: Array, t: Array) -> Array:
            c, u = cond(x, t), uncond(x, t)
            options = jnp.stack([u, c, guidance.combine(c, u, scale=config.scale)])
            at = jnp.argmin(jnp.abs(ts[:-1] - t[0]))
            return nas.soft_guidance_policy(logits, options, step=at, temperature=temperature)

        draw = functools.partial(diffusion.sample, keys, start, ts, step=step)
        full = draw(cond_fn=cond, uncond_fn=uncond, rule=guidance.cfg(config.scale)).x
        apart = jnp.sum((draw(cond_fn=soft).x - full) ** 2) / jnp.sum((draw(cond_fn=cond).x - full) ** 2)
        cost = nas.expected_policy_cost(logits, jnp.array(COSTS), temperature=temperature)
        return apart + config.price * cost / (config.steps * COSTS[CFG])

    @jax.jit
    def search(teacher: PyTree) -> Array:
        adam = optax.adam(config.learning_rate)

        def move(carry: tuple[Array, PyTree], now: tuple[Array, Array]) -> tuple[tuple[Array, PyTree], None]:
            logits, state = carry
            updates, state = adam.update(jax.grad(objective)(logits, teacher, *now), state)
            return (optax.apply_updates(logits, updates), state), None

        logits = jnp.zeros((config.steps, len(COSTS)))
        keys = jax.random.split(jax.random.key(config.seed), config.num_steps)
        # Colder and colder, so that the soft choices end where the hard ones are.
        temperatures = jnp.geomspace(1.0, config.coldest, config.num_steps)
        return jax.lax.scan(move, (logits, adam.init(logits)), (keys, temperatures))[0][0]

    like = lambda: jax.ShapeDtypeStruct((config.steps, len(COSTS)), jnp.float32)  # noqa: E731
    return asset(config, lambda config: search(teacher), root, data_digest=digest, like=like)
