"""Small parts inside the token denoiser that answer for two of its calls by one; made once.

- ``adapters``: beside the self-attention, whose input they see, told the guidance scale; the denoiser itself stays as
  it is. (The authors put one beside every attention; the cross-attention has none here.)
- ``sun``: branches beside the cross-attention that see the negative condition; one scale.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from experiments.asset import asset
from experiments.assets import denoiser, token_denoiser
from experiments.assets.denoiser import PROCESS
from experiments.assets.students import dense, noise, noised
from experiments.assets.token_denoiser import KeysValues, TokenDenoiserConfig
from experiments.training import LossFn, cosine_adam, fit
from jaxlab import diffusion, distill, guidance, nn
from jaxlab.typing import Array, PyTree

__all__ = ["AdapterConfig", "SunConfig", "adapted", "adapters", "other_class", "sun", "sun_model"]

Model = Callable[[Array, Array], Array]


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """Adapters of the token denoiser that take the guidance scale."""

    name: ClassVar[str] = "guidance_adapters"
    version: ClassVar[int] = 2

    base: TokenDenoiserConfig
    """The denoiser, which is not trained."""
    on_trajectory: bool = True
    """Trained on states of guided samplers; False on noised data at the same times, scales and conditions."""
    runs: int = 400
    """Samplers whose states are kept, or images that are noised as often."""
    steps: int = 20
    """DDIM steps of a sampler."""
    high: float = 6.0
    """Scales are uniform from 1 to this, one for each run."""
    hidden: int = 8
    """Width inside an adapter."""
    num_steps: int = 1500
    """Steps of Adam, batches of 64."""
    learning_rate: float = 2e-3
    """At the start; it falls to zero as a cosine."""
    seed: int = 0
    """Of the initial weights, the runs and the batches."""


@dataclasses.dataclass(frozen=True)
class SunConfig:
    """Branches of the token denoiser's cross-attention that see a negative condition, for one scale."""

    name: ClassVar[str] = "sun_branches"
    version: ClassVar[int] = 1

    base: TokenDenoiserConfig
    """The denoiser, which is not trained."""
    scale: float = 3.0
    """The guidance that is imitated."""
    null_rate: float = 0.5
    """How often the negative condition is none at all; else it is another class."""
    num_steps: int = 1000
    """Steps of Adam, batches of 64."""
    learning_rate: float = 1e-3
    """At the start; it falls to zero as a cosine."""
    seed: int = 0
    """Of the batches and the noise."""


# Adapters inside the token denoiser


def _tokens_of(base: PyTree, conditions: Array) -> Array:
    """The condition tokens [B, C, W]."""
    tables = base["tables"]
    return jnp.stack([tables[f"condition{i}"]["embedding"][conditions[:, i]] for i in range(len(tables))], axis=1)


def adapted(config: AdapterConfig, base: PyTree, params: PyTree, conditions: Array, scale: Array) -> Model:
    """The denoiser with its adapters, the noise that guidance at a scale ([] or [B]) would predict, by one call."""
    given = _tokens_of(base, conditions)

    def fn(x: Array, t: Array) -> Array:
        asked = [denoiser.time_features(t), given]

        def tokens(layer: int, h: Array, given: Array) -> Array:
            return h + nn.cross_attention_adapter(params[f"layer{layer}"], given, scale, asked)

        return token_denoiser.model(config.base, base, conditions, tokens=tokens)(x, t)

    return fn


def _adapters_init(config: AdapterConfig, key: Array) -> PyTree:
    width = config.base.width
    asked = (denoiser.time_features(jnp.zeros(1)).shape[1], width)
    init = functools.partial(nn.cross_attention_adapter_init, dim=width, hidden=config.hidden, condition_dims=asked)
    return {f"layer{i}": init(jax.random.fold_in(key, i)) for i in range(config.base.layers)}


@functools.cache
def _adapter_loss(config: AdapterConfig) -> LossFn:
    def loss_fn(params: PyTree, base: PyTree, batch: dict[str, Any], key: Array) -> tuple[Array, PyTree]:
        said = adapted(config, base, params, batch["conditions"], batch["scale"])(batch["x"], batch["t"])
        return jnp.mean((said - batch["target"]) ** 2), base

    return loss_fn


def adapters(config: AdapterConfig, base: PyTree, x: Array, conditions: Array, *, root: Any, digest: str) -> PyTree:
    """The parameters of the adapters; ``base`` are those of the denoiser of rows x [N, dim] under conditions [N, C]."""

    def build(config: AdapterConfig) -> PyTree:
        init_key, data_key, fit_key = jax.random.split(jax.random.key(config.seed), 3)
        data = jax.jit(functools.partial(_adapter_data, config))(base, x, conditions, data_key)
        return fit(
            _adapter_loss(dataclasses.replace(config, on_trajectory=True)),  # one program for both kinds of data
            _adapters_init(config, init_key),
            base,
            cosine_adam(config.learning_rate, config.num_steps),
            data,
            fit_key,
            num_steps=config.num_steps,
            batch_size=64,
        ).params

    like = lambda: jax.eval_shape(functools.partial(_adapters_init, config), jax.random.key(0))  # noqa: E731
    return asset(config, build, root, data_digest=digest, like=like)


def _adapter_data(config: AdapterConfig, base: PyTree, x: Array, conditions: Array, key: Array) -> dict[str, Array]:
    """Rows of states, times, scales, conditions and guided noise predictions: steps times runs of them."""
    row_key, scale_key, noise_key = jax.random.split(key, 3)
    rows = jax.random.randint(row_key, (config.runs,), 0, x.shape[0])
    given, scale = conditions[rows], jax.random.uniform(scale_key, (config.runs,), minval=1.0, maxval=config.high)
    cond, uncond = (
        token_denoiser.model(config.base, base, c) for c in (given, token_denoiser.null(config.base, config.runs))
    )
    ts = denoiser.even_times(config.steps)
    if config.on_trajectory:
        keys = jax.random.split(noise_key, config.runs)
        start, step = PROCESS.prior_sample(keys, x.shape[1:]), diffusion.ddim(PROCESS)
        path = distill.guided_trajectory(keys, start, scale, ts=ts, cond_fn=cond, uncond_fn=uncond, step=step)
        states, targets = path.x, path.guided
    else:

        def noised(now: tuple[Array, Array]) -> tuple[Array, Array]:
            t = jnp.broadcast_to(now[0], (config.runs,))
            z = noise(x[rows], t, now[1])
            return z, guidance.combine(cond(z, t), uncond(z, t), scale=scale)

        states, targets = jax.lax.map(noised, (ts[:-1], jax.random.split(noise_key, config.steps)))
    flat = lambda a: a.reshape(-1, *a.shape[2:])  # noqa: E731
    each = lambda a: flat(jnp.broadcast_to(a, (config.steps, *a.shape)))  # noqa: E731
    times = jnp.repeat(ts[:-1], config.runs)
    return {"x": flat(states), "t": times, "target": flat(targets), "scale": each(scale), "conditions": each(given)}


# Branches beside its cross-attention


def sun_model(config: SunConfig, base: PyTree, params: PyTree, conditions: Array, negative: Array) -> Model:
    """The denoiser with its branches: noise predictions away from a negative condition int [B, C], by one call."""
    heads = config.base.heads

    def split(h: Array) -> Array:
        return h.reshape(*h.shape[:2], heads, -1).swapaxes(1, 2)

    def joined(z: Array) -> Array:
        return z.swapaxes(1, 2).reshape(z.shape[0], z.shape[2], -1)

    def branch(part: PyTree, q: Array, tokens: Array) -> Array:
        keys, values = (split(dense(part[name], tokens)) for name in ("key", "value"))
        return joined(token_denoiser.attend(q, keys, values))

    wanted, unwanted = _tokens_of(base, conditions), _tokens_of(base, negative)

    def cross(layer: int, q: Array, keys_values: KeysValues, conditions: Array) -> Array:
        part = params[f"layer{layer}"]
        z = guidance.sun_attention(
            joined(token_denoiser.attend(q, *keys_values(conditions))),
            branch(part["neg"], q, unwanted),
            z_pos=branch(part["pos"], q, wanted),
            gain=part["neg"]["gain"],
            bias=part["neg"]["bias"],
            gain_pos=part["pos"]["gain"],
            bias_pos=part["pos"]["bias"],
        )
        return split(z)

    return token_denoiser.model(config.base, base, conditions, cross=cross)


def _sun_init(config: SunConfig, base: PyTree) -> PyTree:
    """The projections start as those of the denoiser, the branches with gain 1."""
    affine = {"gain": jnp.ones(config.base.width), "bias": jnp.zeros(config.base.width)}

    def layer(i: int) -> PyTree:
        attention = base["blocks"][f"block{i}"]["cross"]
        return {sign: {"key": attention["key"], "value": attention["value"], **affine} for sign in ("neg", "pos")}

    return {f"layer{i}": layer(i) for i in range(config.base.layers)}


def sun(config: SunConfig, base: PyTree, x: Array, conditions: Array, *, root: Any, digest: str) -> PyTree:
    """The parameters of the branches; ``base`` are those of the denoiser of rows x [N, dim] under conditions [N, C]."""

    def build(config: SunConfig) -> PyTree:
        def loss_fn(params: PyTree, base: PyTree, batch: dict[str, Any], key: Array) -> tuple[Array, PyTree]:
            away_key, time_key, noise_key = jax.random.split(key, 3)
            given = batch["conditions"]
            negative = other_class(config, given, away_key)
            t, z = noised(batch["x"], time_key, noise_key)
            cond, uncond = (token_denoiser.model(config.base, base, c)(z, t) for c in (given, negative))
            target = jax.lax.stop_gradient(guidance.combine(cond, uncond, scale=config.scale))
            said = sun_model(config, base, params, given, negative)(z, t)
            return jnp.mean((said - target) ** 2), base

        return fit(
            loss_fn,
            _sun_init(config, base),
            base,
            cosine_adam(config.learning_rate, config.num_steps),
            {"x": x, "conditions": conditions},
            jax.random.key(config.seed),
            num_steps=config.num_steps,
            batch_size=min(64, x.shape[0]),
        ).params

    return asset(config, build, root, data_digest=digest, like=lambda: jax.eval_shape(lambda: _sun_init(config, base)))


def other_class(config: SunConfig, conditions: Array, key: Array) -> Array:
    """Negative conditions: none at all, or a class that is not the wanted one (and nothing else)."""
    null_key, class_key = jax.random.split(key)
    none = token_denoiser.null(config.base, conditions.shape[0])
    classes = config.base.sizes[0]
    shift = jax.random.randint(class_key, conditions.shape[:1], 1, classes)
    another = none.at[:, 0].set((conditions[:, 0] + shift) % classes)
    is_null = jax.random.bernoulli(null_key, config.null_rate, conditions.shape[:1])
    return jnp.where(is_null[:, None], none, another)
