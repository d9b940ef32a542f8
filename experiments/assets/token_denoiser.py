"""A small transformer that denoises images under several conditions, for guidance INSIDE the network; trained once.

An image is a row of patches, every condition is a token, and the conditions reach the patches through cross-attention
alone. Two hooks change what happens inside; without them nothing does::

    config = token_denoiser.TokenDenoiserConfig(sizes=(10, 3))
    params = token_denoiser.denoiser_asset(config, denoiser.scaled(data.x), conditions, root=..., digest=...)

    def cross(layer, q, keys_values, conditions):  # instead of attention to the condition tokens
        k, v = keys_values(conditions)  # projected by the trained weights; of other conditions too
        return attend(q, k, v)

    cond_fn = token_denoiser.model(config, params, conditions, kind="x0", cross=cross)

Process, times and kinds of prediction are those of ``experiments.assets.denoiser``.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.asset import asset, key
from experiments.assets.denoiser import PROCESSES, dropped, even_times, time_features
from experiments.training import cosine_adam, fit
from jaxlab import diffusion, vision
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "PROCESS",
    "Cross",
    "KeysValues",
    "StudentConfig",
    "TokenDenoiser",
    "TokenDenoiserConfig",
    "Tokens",
    "attend",
    "denoiser_asset",
    "init",
    "model",
    "null",
    "predict",
    "student_asset",
    "thickness",
    "thickness_edges",
    "thickness_of",
    "train_denoiser",
    "train_student",
]

PROCESS, TRAINED = PROCESSES["vp"]

# keys_values(conditions int [B, C]) -> keys and values of their tokens, [B, H, C, d] each
KeysValues = Callable[[Array], tuple[Array, Array]]
# cross(layer, queries [B, H, N, d], keys_values, conditions [B, C]) -> weighted values [B, H, N, d]
Cross = Callable[[int, Array, KeysValues, Array], Array]
# tokens(layer, h, asked), [B, N, width] each -> the same shape; h is the output of the self-attention, not yet added to
# the patches, and asked is its input, the patches after the norm
Tokens = Callable[[int, Array, Array], Array]


@dataclasses.dataclass(frozen=True)
class TokenDenoiserConfig:
    """What decides the weights of a denoiser, together with the data."""

    name: ClassVar[str] = "token_denoiser"
    version: ClassVar[int] = 1

    side: int = 8
    """Height and width of an image, one colour."""
    patch: int = 2
    """Side of a patch."""
    sizes: tuple[int, ...] = (10, 3)
    """How many values each condition has; one more stands for none."""
    width: int = 64
    """Numbers in a token."""
    heads: int = 4
    """Of every attention."""
    layers: int = 2
    """Blocks of self-attention, cross-attention and two dense layers."""
    num_steps: int = 4000
    """Steps of Adam."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 2e-3
    """At the start; it falls to zero as a cosine."""
    drop_rate: float = 0.1
    """How often a condition is replaced by none, each on its own."""
    seed: int = 0
    """Of the initial weights, the batches and the noise."""


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """What decides the weights of a student that makes an image in one step, together with its teacher and the data."""

    name: ClassVar[str] = "token_student"
    version: ClassVar[int] = 1

    teacher: TokenDenoiserConfig = TokenDenoiserConfig()
    """Its own network is the same, and starts from the same weights."""
    pairs: int = 16384
    """Pairs of noise and the teacher's image to learn from."""
    teacher_steps: int = 20
    """DDIM steps of the teacher."""
    num_steps: int = 3000
    """Steps of Adam."""
    batch_size: int = 64
    """Pairs a step."""
    learning_rate: float = 1e-3
    """At the start; it falls to zero as a cosine."""
    drop_rate: float = 0.25
    """How often a condition is replaced by none, each on its own."""
    seed: int = 0
    """Of the pairs and the batches."""


def attend(q: Array, k: Array, v: Array) -> Array:
    """Softmax attention of queries [B, H, N, d] to keys and values [B, H, M, d]."""
    logits = jnp.einsum("bhnd,bhmd->bhnm", q, k) / q.shape[-1] ** 0.5
    return jnp.einsum("bhnm,bhmd->bhnd", jax.nn.softmax(logits, axis=-1), v)


class Attention(nnx.Module):
    """The four projections of an attention layer with several heads."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.query, self.key, self.value, self.out = (nnx.Linear(width, width, rngs=rngs) for _ in range(4))

    def split(self, h: Array) -> Array:
        """[B, N, W] -> [B, H, N, d]."""
        return h.reshape(*h.shape[:2], self.heads, -1).swapaxes(1, 2)

    def queries(self, h: Array) -> Array:
        return self.split(self.query(h))

    def keys_values(self, h: Array) -> tuple[Array, Array]:
        return self.split(self.key(h)), self.split(self.value(h))

    def joined(self, z: Array) -> Array:
        """[B, H, N, d] -> [B, N, W]."""
        return self.out(z.swapaxes(1, 2).reshape(z.shape[0], z.shape[2], -1))


class Block(nnx.Module):
    """Self-attention, cross-attention and two dense layers, each added to the patches; time shifts the first input."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.time = nnx.Linear(width, width, rngs=rngs)
        self.own, self.cross = (Attention(width, heads, rngs=rngs) for _ in range(2))
        self.norms = nnx.Dict({name: nnx.LayerNorm(width, rngs=rngs) for name in ("own", "cross", "dense")})
        self.up, self.down = nnx.Linear(width, 2 * width, rngs=rngs), nnx.Linear(2 * width, width, rngs=rngs)


class TokenDenoiser(nnx.Module):
    """The transformer; see ``predict``."""

    def __init__(self, config: TokenDenoiserConfig, *, rngs: nnx.Rngs) -> None:
        width, numbers = config.width, config.patch**2
        count = (config.side // config.patch) ** 2
        self.first = nnx.Linear(numbers, width, rngs=rngs)
        self.places = nnx.Param(0.02 * jax.random.normal(rngs.params(), (count, width)))
        self.time = nnx.Linear(time_features(jnp.zeros(1)).shape[1], width, rngs=rngs)
        self.tables = nnx.Dict(
            {f"condition{i}": nnx.Embed(n + 1, width, rngs=rngs) for i, n in enumerate(config.sizes)}
        )
        self.blocks = nnx.Dict({f"block{i}": Block(width, config.heads, rngs=rngs) for i in range(config.layers)})
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.last = nnx.Linear(width, numbers, rngs=rngs)

    def condition_tokens(self, conditions: Array) -> Array:
        """int [B, C] -> [B, C, W]."""
        return jnp.stack([self.tables[f"condition{i}"](conditions[:, i]) for i in range(len(self.tables))], axis=1)

    def __call__(
        self, patches: Array, t: Array, conditions: Array, *, cross: Cross | None = None, tokens: Tokens | None = None
    ) -> Array:
        """Patches [B, N, numbers] -> the same shape."""
        time = nnx.silu(self.time(time_features(t)))
        h = self.first(patches) + self.places[...]
        for layer in range(len(self.blocks)):
            block = self.blocks[f"block{layer}"]
            h = h + block.time(time)[:, None, :]
            normed = block.norms["own"](h)
            mixed = block.own.joined(attend(block.own.queries(normed), *block.own.keys_values(normed)))
            h = h + (mixed if tokens is None else tokens(layer, mixed, normed))
            q = block.cross.queries(block.norms["cross"](h))

            def keys_values(conditions: Array, attention: Attention = block.cross) -> tuple[Array, Array]:
                return attention.keys_values(self.condition_tokens(conditions))

            z = attend(q, *keys_values(conditions)) if cross is None else cross(layer, q, keys_values, conditions)
            h = h + block.cross.joined(z)
            h = h + block.down(nnx.gelu(block.up(block.norms["dense"](h))))
        return self.last(self.norm(h))


def null(config: TokenDenoiserConfig, batch: int) -> Array:
    """No condition at all: int [batch, len(sizes)]."""
    return jnp.tile(jnp.asarray(config.sizes, jnp.int32), (batch, 1))


def thickness(x: ArrayLike, bins: int = 3) -> Array:
    """In which part of all images one lies by its mean brightness, the stroke's thickness: int [N], 0 the thinnest.

    Args:
      x: rows [N, dim].
      bins: equally many images in each, up to ties.
    """
    return thickness_of(x, thickness_edges(x, bins))


def thickness_edges(x: ArrayLike, bins: int = 3) -> Array:
    """The mean ink between the bins of real images x [N, D]: [bins - 1]."""
    return jnp.quantile(_ink(x), jnp.arange(1, bins) / bins)


def thickness_of(x: ArrayLike, edges: Array) -> Array:
    """The bin of any image, of rows x [N, D]: int [N]."""
    return jnp.searchsorted(edges, _ink(x)).astype(jnp.int32)


def _ink(x: ArrayLike) -> Array:
    return jnp.mean(jnp.asarray(x), axis=1)


@functools.cache
def _graph(config: TokenDenoiserConfig) -> Any:
    return nnx.split(nnx.eval_shape(lambda: TokenDenoiser(config, rngs=nnx.Rngs(0))))[0]


def init(config: TokenDenoiserConfig, key: Array) -> PyTree:
    """Initial parameters, a plain dict."""
    return nnx.to_pure_dict(nnx.state(TokenDenoiser(config, rngs=nnx.Rngs(key)), nnx.Param))


def predict(
    config: TokenDenoiserConfig,
    params: PyTree,
    x: Array,
    t: Array,
    conditions: Array,
    *,
    cross: Cross | None = None,
    tokens: Tokens | None = None,
) -> Array:
    """What the network itself says, a "rotation": x [B, side * side], t [B], conditions int [B, len(sizes)] -> like x.

    Args:
      config: of the denoiser.
      params: its parameters.
      x: noisy rows.
      t: times.
      conditions: ``sizes[i]`` is none.
      cross: ``cross(layer, q [B, H, N, d], keys_values, conditions) -> [B, H, N, d]`` takes the place of the attention
        to the condition tokens, before its output projection; ``keys_values(conditions)`` projects the tokens of any
        conditions by the weights of that layer.
      tokens: ``tokens(layer, h [B, N, width], asked) -> h`` changes the output of every self-attention before it is
        added to the patches; ``asked``, like h, is what the self-attention was given. What depends on the time closes
        over it.
    """
    if conditions.shape != (x.shape[0], len(config.sizes)):
        raise ValueError(f"conditions must be [{x.shape[0]}, {len(config.sizes)}], got {list(conditions.shape)}")
    images = x.reshape(-1, config.side, config.side, 1)
    network = nnx.merge(_graph(config), params)
    patches = network(vision.patchify(images, size=config.patch), t, conditions, cross=cross, tokens=tokens)
    return vision.unpatchify(patches, size=config.patch, shape=(config.side, config.side)).reshape(x.shape)


def model(
    config: TokenDenoiserConfig,
    params: PyTree,
    conditions: Array,
    *,
    kind: str = "eps",
    cross: Cross | None = None,
    tokens: Tokens | None = None,
) -> Callable[[Array, Array], Array]:
    """The denoiser under given conditions, as a function of noisy images and times.

    Args:
      config: of the denoiser.
      params: its parameters.
      conditions: int [B, len(sizes)]; ``sizes[i]`` is none.
      kind: what to predict: "eps", "score", "x0", "v" or "rotation".
      cross: see ``predict``.
      tokens: see ``predict``.
    Returns:
      ``fn(x [B, side * side], t [B]) -> [B, side * side]``.
    """

    def fn(x: Array, t: Array) -> Array:
        prediction = predict(config, params, x, t, conditions, cross=cross, tokens=tokens)
        return diffusion.convert(prediction, x, t, process=PROCESS, kind_in=TRAINED, kind_out=kind)

    return fn


def train_denoiser(config: TokenDenoiserConfig, x: Array, conditions: Array) -> PyTree:
    """Parameters of a denoiser of rows x [N, side * side] in [-1, 1] under conditions int [N, len(sizes)]."""
    init_key, fit_key = jax.random.split(jax.random.key(config.seed))

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        noise_key, *drop_keys = jax.random.split(key, 1 + len(config.sizes))
        given = dropped(drop_keys, batch["conditions"], config.sizes, rate=config.drop_rate)
        fn = lambda x, t: predict(config, params, x, t, jnp.stack(given, axis=1))  # noqa: E731
        losses = diffusion.denoising_loss(fn, batch["x"], noise_key, process=PROCESS, kind=TRAINED, weighting="uniform")
        return jnp.mean(losses), None

    optimizer = cosine_adam(config.learning_rate, config.num_steps)
    return fit(
        loss_fn,
        jax.jit(init, static_argnums=0)(config, init_key),
        None,
        optimizer,
        {"x": x, "conditions": conditions},
        fit_key,
        num_steps=config.num_steps,
        batch_size=min(config.batch_size, x.shape[0]),
    ).params


def denoiser_asset(config: TokenDenoiserConfig, x: Array, conditions: Array, *, root: Any, digest: str) -> PyTree:
    """``train_denoiser``, once per configuration and data; ``digest`` must tell the conditions apart as well."""
    return asset(
        config,
        lambda config: train_denoiser(config, x, conditions),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(functools.partial(init, config), jax.random.key(0)),
    )


def train_student(config: StudentConfig, params: PyTree, conditions: Array) -> PyTree:
    """A one-step generator: from pure noise (t = 1) its data prediction is the image that the teacher ends at.

    Args:
      config: of the student.
      params: of the teacher.
      conditions: int [N, len(sizes)], those of the data, from which the pairs draw theirs.
    Returns:
      Parameters for ``predict`` with the teacher's configuration; they know t = 1 only.
    """
    teacher, sizes = config.teacher, config.teacher.sizes
    row_key, drop_key, noise_key, fit_key = jax.random.split(jax.random.key(config.seed), 4)
    rows = conditions[jax.random.randint(row_key, (config.pairs,), 0, conditions.shape[0])]
    dropped = jax.random.bernoulli(drop_key, config.drop_rate, rows.shape)
    given = jnp.where(dropped, jnp.asarray(sizes, rows.dtype), rows)

    def draw(pair: tuple[Array, Array]) -> tuple[Array, Array]:
        keys, given = pair
        noise = PROCESS.prior_sample(keys, (teacher.side**2,))
        cond_fn = model(teacher, params, given, kind="x0")
        times, step = even_times(config.teacher_steps), diffusion.ddim(PROCESS, kind="x0")
        return noise, diffusion.sample(keys, noise, times, cond_fn=cond_fn, step=step).x

    block = min(256, config.pairs)
    blocks = config.pairs // block
    used = blocks * block
    keys = jax.random.split(noise_key, used).reshape(blocks, block)
    noise, x = jax.jit(lambda keys, given: jax.lax.map(draw, (keys, given)))(
        keys, given[:used].reshape(blocks, block, -1)
    )

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        fn = model(teacher, params, batch["given"], kind="x0")
        return jnp.mean((fn(batch["noise"], jnp.ones(batch["noise"].shape[0])) - batch["x"]) ** 2), None

    data = {"noise": noise.reshape(used, -1), "x": x.reshape(used, -1), "given": given[:used]}
    optimizer = cosine_adam(config.learning_rate, config.num_steps)
    batch_size = min(config.batch_size, used)
    return fit(
        loss_fn, params, None, optimizer, data, fit_key, num_steps=config.num_steps, batch_size=batch_size
    ).params


def student_asset(config: StudentConfig, params: PyTree, conditions: Array, *, root: Any, digest: str) -> PyTree:
    """``train_student``, once per configuration, teacher and data."""
    return asset(
        config,
        lambda config: train_student(config, params, conditions),
        root,
        data_digest=key(config.teacher, data_digest=digest),
        like=lambda: jax.eval_shape(lambda: params),
    )
