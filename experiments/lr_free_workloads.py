"""Six small training problems of different kinds, and one loop in which every optimiser is a branch."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from experiments.assets.text_windows import KINDS, windows
from experiments.data import load
from experiments.networks import cnn, mlp
from experiments.training import batch_indices
from jaxlab import optim
from jaxlab.typing import Array, PyTree

__all__ = ["OPTIMIZERS", "SETTINGS", "WORKLOADS", "Workload", "make_workload", "race", "shape_of"]

WORKLOADS = ("logistic", "perceptron", "convolution", "transformer", "regression", "equation")
WORST = 1e3  # what a loss that is not a number counts as
TEXT_LENGTH, WIDTH = 24, 16


class Workload(NamedTuple):
    """A problem: ``init(key) -> params``, ``loss(params, rows) -> scalar``, and rows to train and to validate on."""

    init: Callable[[Array], PyTree]
    loss: Callable[[PyTree, dict[str, Array]], Array]
    train: dict[str, Array]
    validation: dict[str, Array]


def _cross_entropy(logits: Callable[..., Array]) -> Callable[[PyTree, dict[str, Array]], Array]:
    def loss(params: PyTree, rows: dict[str, Array]) -> Array:
        return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits(params, rows["x"]), rows["y"]))

    return loss


def _parts(x: np.ndarray, y: np.ndarray) -> tuple[dict[str, Array], dict[str, Array]]:
    order, cut = np.random.default_rng(30).permutation(len(x)), 3 * len(x) // 4
    train, validation = ({"x": jnp.asarray(x[rows]), "y": jnp.asarray(y[rows])} for rows in (order[:cut], order[cut:]))
    return train, validation


def _digits(kind: str) -> Workload:
    data = load("digits")
    flat = data.x.reshape(len(data.x), -1)
    if kind == "convolution":
        network = cnn((8, 8, 1), 10, channels=(8, 16), hidden=32)
    else:
        network = mlp((64, 10) if kind == "logistic" else (64, 64, 64, 10))
    return Workload(network.init, _cross_entropy(network.logits), *_parts(flat, data.y))


def _transformer() -> Workload:
    """The next character's kind, by one block of causal attention."""
    tokens = np.asarray(windows(TEXT_LENGTH + 1, 400).tokens, np.int32)

    def init(key: Array) -> PyTree:
        names = ("token", "place", "query", "key", "value", "out", "up", "down", "head")
        shapes = [(len(KINDS), WIDTH), (TEXT_LENGTH, WIDTH), *[(WIDTH, WIDTH)] * 4]
        shapes += [(WIDTH, 2 * WIDTH), (2 * WIDTH, WIDTH), (WIDTH, len(KINDS))]
        keys = jax.random.split(key, len(names))
        return {
            name: jax.random.normal(k, shape) / jnp.sqrt(1.0 if name in ("token", "place") else shape[0])
            for name, k, shape in zip(names, keys, shapes, strict=True)
        }

    def logits(params: PyTree, x: Array) -> Array:
        h = params["token"][x] + params["place"]
        heads = [jax.nn.standardize(h) @ params[name] for name in ("query", "key", "value")]
        q, k, v = (part.reshape(*part.shape[:-1], 2, WIDTH // 2) for part in heads)
        seen = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        h = h + seen.reshape(h.shape) @ params["out"]
        h = h + jax.nn.relu(jax.nn.standardize(h) @ params["up"]) @ params["down"]
        return jax.nn.standardize(h) @ params["head"]

    return Workload(init, _cross_entropy(logits), *_parts(tokens[:, :-1], tokens[:, 1:]))


def _regression() -> Workload:
    """How far diabetes has come after a year, standardised, from ten measurements."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    x, y = ((part - part.mean(0)) / part.std(0) for part in (x, y))
    network = mlp((10, 32, 1))

    def loss(params: PyTree, rows: dict[str, Array]) -> Array:
        return jnp.mean((network.logits(params, rows["x"])[:, 0] - rows["y"]) ** 2)

    return Workload(network.init, loss, *_parts(x.astype(np.float32), y.astype(np.float32)))


def _equation() -> Workload:
    """u'' + u = f with u(0) = u(1) = 0 on random points, for the solution sin(2 pi x): the residual of a network."""
    network = mlp((1, 24, 24, 1), activation=jnp.tanh)
    x = np.random.default_rng(30).uniform(size=(1200, 1)).astype(np.float32)
    pulse = 2 * np.pi

    def loss(params: PyTree, rows: dict[str, Array]) -> Array:
        def u(point: Array) -> Array:
            return point * (1 - point) * network.logits(params, point[None])[0]

        def residual(point: Array) -> Array:
            second = jax.grad(jax.grad(u))(point)
            return (second + u(point)) / pulse**2 - (1 / pulse**2 - 1) * jnp.sin(pulse * point)

        return jnp.mean(jax.vmap(residual)(rows["x"][:, 0]) ** 2)

    return Workload(network.init, loss, *_parts(x, x))


def make_workload(name: str) -> Workload:
    """One of ``WORKLOADS``."""
    makers = {"transformer": _transformer, "regression": _regression, "equation": _equation}
    return makers[name]() if name in makers else _digits(name)


# Every optimiser from (rate, shape): a factor on its published rate, and the schedule [step] -> factor.
Shape = Callable[[Array], Array]
OPTIMIZERS: dict[str, Callable[[Array, Shape], optax.GradientTransformation]] = {
    "adamw": lambda rate, shape: optax.adamw(lambda n: 1e-3 * rate * shape(n)),
    "nadamw": lambda rate, shape: optax.nadamw(lambda n: 1e-3 * rate * shape(n)),
    "prodigy": lambda rate, shape: optim.prodigy(lambda n: rate * shape(n)),
    "dadapt_adamw": lambda rate, shape: optim.dadapt_adamw(lambda n: rate * shape(n)),
    "dog": lambda rate, shape: optax.contrib.dog(lambda n: rate * shape(n)),
    "dowg": lambda rate, shape: optax.contrib.dowg(lambda n: rate * shape(n)),
    "mechanic": lambda rate, shape: optax.contrib.mechanize(optax.adamw(shape), s_init=1e-6 * rate),
    "momo_adam": lambda rate, shape: optax.contrib.momo_adam(lambda n: 1e-2 * rate * shape(n)),
    "cocob": lambda rate, shape: optax.contrib.cocob(shape, alpha=100.0 / rate),
    "schedule_free": lambda rate, shape: optax.contrib.schedule_free_adamw(2.5e-3 * rate),
}
_RATES = {
    "adamw": (1.0, 3.0, 10.0, 30.0),
    "nadamw": (1.0, 3.0, 10.0, 30.0),
    "momo_adam": (1.0, 0.3, 3.0, 10.0),
    "cocob": (1.0, 3.0, 10.0, 30.0),
    "mechanic": (1.0, 0.01, 100.0, 1e4),
    "schedule_free": (3.0, 10.0, 30.0, 0.3),
}
# (rate, whether there is a warm-up and a cosine) of each; the first is the published one.
SETTINGS = {
    name: ((1.0, 0.0), *((rate, 1.0) for rate in _RATES.get(name, (1.0, 0.3, 3.0, 10.0)))) for name in OPTIMIZERS
}


def shape_of(scheduled: Array, num_steps: int) -> Shape:
    """A warm-up over a twentieth of the steps and a cosine to 0 where ``scheduled`` is 1, and 1 where it is 0."""

    def shape(step: Array) -> Array:
        warm = jnp.minimum(1.0, (step + 1.0) / max(1, num_steps // 20))
        return 1.0 + scheduled * (warm * 0.5 * (1.0 + jnp.cos(jnp.pi * step / num_steps)) - 1.0)

    return shape


class _Branch(NamedTuple):
    """An optimiser whose state is a vector, so that all have one type."""

    init: Callable[[PyTree, Array], Array]
    update: Callable[[Array, PyTree, PyTree, Array, Array], tuple[PyTree, Array]]
    read: Callable[[Array, PyTree, Array], tuple[PyTree, Array]]


def _branch(name: str, params: PyTree, num_steps: int, size: int | None = None) -> _Branch:
    def build(setting: Array) -> optax.GradientTransformationExtraArgs:
        return optax.with_extra_args_support(OPTIMIZERS[name](setting[0], shape_of(setting[1], num_steps)))

    like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(build(jnp.ones(2)).init, params))
    empty, unravel = ravel_pytree(like)

    def pack(state: PyTree) -> Array:
        flat = ravel_pytree(state)[0].astype(jnp.float32)
        return flat if size is None else jnp.pad(flat, (0, size - len(flat)))

    def unpack(flat: Array) -> PyTree:
        return unravel(flat[: len(empty)].astype(empty.dtype))

    def update(flat: Array, grads: PyTree, params: PyTree, value: Array, setting: Array) -> tuple[PyTree, Array]:
        updates, state = build(setting).update(grads, unpack(flat), params, value=value)
        return optax.apply_updates(params, updates), pack(state)

    def read(flat: Array, params: PyTree, setting: Array) -> tuple[PyTree, Array]:
        state = unpack(flat)
        shown = optax.contrib.schedule_free_eval_params(state, params) if name == "schedule_free" else params
        try:
            return shown, optim.lr_free_state(state)["step_size"].astype(jnp.float32)
        except ValueError:  # it estimates nothing
            return shown, jnp.zeros(())

    return _Branch(lambda params, setting: pack(build(setting).init(params)), update, read)


@functools.partial(jax.jit, static_argnames=("workload", "num_steps", "looks", "batch_size"))
def race(
    workload: Any, settings: Array, keys: Array, data: Any, *, num_steps: int, looks: int, batch_size: int
) -> tuple[Array, Array]:
    """Validation losses and estimated step sizes of every optimiser, [A, lanes, looks].

    Args:
      workload: ``(init, loss)``.
      settings: float [A, lanes, 2], a pair of ``SETTINGS`` per lane.
      keys: PRNG keys [lanes].
      data: rows to train and to validate on.
      num_steps: static, a multiple of looks.
      looks: how often the loss is taken, static.
      batch_size: static.
    """
    (init, loss), (train, validation) = workload, data
    like = jax.eval_shape(init, jax.random.key(0))
    like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    sizes = [jax.eval_shape(_branch(name, like, num_steps).init, like, jnp.ones(2)).shape[0] for name in OPTIMIZERS]
    branches = [_branch(name, like, num_steps, max(sizes)) for name in OPTIMIZERS]
    inits, updates, reads = zip(*branches, strict=True)
    number = len(next(iter(train.values())))

    def lane(which: Array, setting: Array, key: Array) -> tuple[Array, Array]:
        init_key, batch_key = jax.random.split(key)
        params = init(init_key)
        batches = batch_indices(batch_key, number, num_steps=num_steps, batch_size=batch_size)

        def step(carry: tuple[PyTree, Array], index: Array) -> tuple[tuple[PyTree, Array], None]:
            params, flat = carry
            value, grads = jax.value_and_grad(loss)(params, {name: rows[index] for name, rows in train.items()})
            return jax.lax.switch(which, updates, flat, grads, params, value, setting), None

        def stretch(carry: tuple[PyTree, Array], index: Array) -> tuple[Any, tuple[Array, Array]]:
            carry, _ = jax.lax.scan(step, carry, index)
            shown, estimate = jax.lax.switch(which, reads, carry[1], carry[0], setting)
            return carry, (loss(shown, validation), estimate)

        start = (params, jax.lax.switch(which, inits, params, setting))
        _, (losses, estimates) = jax.lax.scan(stretch, start, batches.reshape(looks, -1, batch_size))
        losses = jnp.where(jnp.isfinite(losses), jnp.minimum(losses, WORST), WORST)
        return losses, jnp.where(jnp.isfinite(estimates), estimates, 0.0)

    # The optimiser is not batched, so each runs its own branch alone.
    one = jax.vmap(lane, in_axes=(None, 0, 0))
    return jax.lax.map(lambda job: one(job[0], job[1], keys), (jnp.arange(len(OPTIMIZERS)), settings))
