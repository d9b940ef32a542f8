"""Short windows of real text over eight kinds of characters, and the networks that generate and judge them.

The English manual that Python ships (``pydoc_data``) and source text of its standard library, each character replaced
by its kind: blank, vowel, sonorant, other small letter, capital, digit, bracket, other mark. ``windows`` cuts them,
``flow_asset`` trains denoisers on the simplex, ``scorer_asset`` classifiers that tell prose from code.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import pathlib
import re
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.asset import asset
from experiments.assets.classifiers import train_classifier
from experiments.errors import UserError
from experiments.networks import Network, mlp
from experiments.training import cosine_adam, fit
from jaxlab import diffusion, losses
from jaxlab.typing import Array, PyTree

__all__ = [
    "KINDS",
    "FlowConfig",
    "ScorerConfig",
    "Windows",
    "bigrams",
    "code",
    "denoiser",
    "flow_asset",
    "linear_start",
    "linear_velocity",
    "prose",
    "score",
    "scorer_asset",
    "windows",
]

KINDS = {
    "blank": " \n\t",
    "vowel": "aeiou",
    "sonorant": "hjlmnrwy",
    "obstruent": "bcdfgkpqstvxz",
    "capital": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "digit": "0123456789",
    "bracket": "()[]{}",
    "mark": "",  # everything else
}
MODULES = (
    "argparse ast collections dataclasses datetime difflib fractions inspect logging mailbox optparse pathlib pdb "
    "pickle random shutil statistics subprocess tarfile threading tokenize typing uuid zipfile"
)


class Windows(NamedTuple):
    """Tokens int32 [N, T], whether each window is code [N], and a digest of both."""

    tokens: np.ndarray
    is_code: np.ndarray
    digest: str


@functools.cache
def windows(length: int, count: int) -> Windows:
    """``count`` windows, in random order, as many of prose as of code; runs of blanks are one blank.

    Raises:
      UserError: this Python comes without its manual or without the source of its library, or they are too short.
    """
    parts = [_cut(_encode(text), length)[: count // 2] for text in (prose(), code())]
    if any(len(part) < count // 2 for part in parts):
        raise UserError(f"This Python carries text for {min(map(len, parts))} windows of each sort, not {count // 2}.")
    tokens, is_code = np.concatenate(parts), np.repeat([0, 1], count // 2).astype(np.int32)
    order = np.random.default_rng(0).permutation(len(tokens))
    tokens, is_code = tokens[order], is_code[order]
    return Windows(tokens, is_code, hashlib.sha256(tokens.tobytes() + is_code.tobytes()).hexdigest())


def prose() -> str:
    """The English manual that Python ships.

    Raises:
      UserError: this Python comes without it.
    """
    try:
        from pydoc_data import topics
    except ImportError as error:
        raise UserError("This Python comes without its manual (the package pydoc_data).") from error
    return "\n".join(topics.topics[name] for name in sorted(topics.topics))


def code() -> str:
    """Source text of the standard library.

    Raises:
      UserError: this Python comes without it.
    """
    sources = []
    for name in MODULES.split():
        spec = importlib.util.find_spec(name)
        path = pathlib.Path(spec.origin) if spec is not None and spec.origin else None
        if path is None or path.suffix != ".py" or not path.is_file():
            raise UserError(f"This Python comes without the source of its library ({name}).")
        sources.append(path.read_text(encoding="utf-8"))
    return "\n".join(sources)


def _encode(text: str) -> np.ndarray:
    kinds = list(KINDS.values())
    table = np.full(128, len(kinds) - 1, np.int32)
    for number, characters in enumerate(kinds):
        table[[ord(c) for c in characters]] = number
    return table[np.frombuffer(re.sub(r"\s+", " ", text).encode("ascii", "ignore"), np.uint8)]


def _cut(tokens: np.ndarray, length: int) -> np.ndarray:
    """Windows that do not overlap, evenly spread."""
    rows = len(tokens) // length
    cut = tokens[: rows * length].reshape(rows, length)
    return cut[np.random.default_rng(1).permutation(rows)]


def bigrams(tokens: Array) -> Array:
    """The share [V, V] of each pair of neighbours."""
    size = len(KINDS)
    pairs = tokens[:, :-1] * size + tokens[:, 1:]
    return jnp.bincount(pairs.reshape(-1), length=size * size).reshape(size, size) / pairs.size


# Generators


@dataclasses.dataclass(frozen=True)
class FlowConfig:
    """What decides the weights of a denoiser on the simplex, together with the text."""

    name: ClassVar[str] = "simplex_denoiser"
    version: ClassVar[int] = 1

    path: str = "gumbel"
    """gumbel, or linear: straight from a uniform point of the simplex to a corner."""
    length: int = 16
    """Tokens of a window."""
    hidden: int = 256
    """Width of the two hidden layers."""
    num_steps: int = 4000
    """Steps of Adam."""
    batch_size: int = 256
    """Windows a step."""
    learning_rate: float = 2e-3
    """At the start; it falls to zero as a cosine."""
    seed: int = 0
    """Of the initial weights, the batches and the noise."""


def _flow_network(config: FlowConfig) -> Network:
    width = config.length * len(KINDS)
    return mlp((width + 2, config.hidden, config.hidden, width), jax.nn.silu)


def denoiser(config: FlowConfig, params: PyTree) -> Callable[[Array, Array], Array]:
    """``fn(x [B, T, V], t [B]) -> logits [B, T, V]``.

    Early on the states of the Gumbel path lie within hundredths of each other: the network sees them as logits at the
    temperature of their time, a one-to-one map after which all times look alike.
    """
    network = _flow_network(config)

    def fn(x: Array, t: Array) -> Array:
        seen = x * x.shape[-1] - 1.0
        if config.path == "gumbel":
            logits = jnp.log(jnp.maximum(x, 1e-9))
            seen = diffusion.gumbel_tau(t)[:, None, None] * (logits - jnp.mean(logits, axis=-1, keepdims=True))
        rows = jnp.concatenate([seen.reshape(x.shape[0], -1), t[:, None], 1.0 - t[:, None]], axis=1)
        return network.logits(params, rows).reshape(x.shape)

    return fn


def linear_start(key: Array, shape: tuple[int, ...]) -> Array:
    """Uniform points of the simplex."""
    drawn = jax.random.exponential(key, shape)
    return drawn / jnp.sum(drawn, axis=-1, keepdims=True)


def linear_velocity(x: Array, probs: Array, t: Array) -> Array:
    """Of the straight path: (p - x) / (1 - t)."""
    return (probs - x) / (1.0 - t)[:, None, None]


def _train_flow(config: FlowConfig, tokens: np.ndarray) -> PyTree:
    size = len(KINDS)

    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        time_key, noise_key = jax.random.split(key)
        labels = batch["tokens"]
        t = jax.random.uniform(time_key, labels.shape[:1])
        if config.path == "gumbel":
            x = diffusion.gumbel_interpolant(noise_key, labels, t, num_classes=size)
        else:
            far = linear_start(noise_key, (*labels.shape, size))
            x = far + t[:, None, None] * (jax.nn.one_hot(labels, size) - far)
        return jnp.mean(losses.simplex_flow(denoiser(config, params)(x, t), labels)), state

    init_key, fit_key = jax.random.split(jax.random.key(config.seed))
    optimizer = cosine_adam(config.learning_rate, config.num_steps)
    start, data = _flow_network(config).init(init_key), {"tokens": tokens}
    steps, rows = config.num_steps, config.batch_size
    return fit(loss_fn, start, None, optimizer, data, fit_key, num_steps=steps, batch_size=rows).params


def flow_asset(config: FlowConfig, tokens: np.ndarray, *, root: Any, digest: str) -> PyTree:
    """The parameters of a denoiser of tokens int [N, T], once per configuration and text."""
    return asset(
        config,
        lambda config: _train_flow(config, tokens),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(_flow_network(config).init, jax.random.key(0)),
    )


# Judges


@dataclasses.dataclass(frozen=True)
class ScorerConfig:
    """What decides the weights of a classifier of clean windows, together with the text."""

    name: ClassVar[str] = "window_scorer"
    version: ClassVar[int] = 1

    length: int = 16
    """Tokens of a window."""
    hidden: int = 64
    """Width of the hidden layer."""
    num_steps: int = 2000
    """Steps of Adam, batches of 128."""
    seed: int = 1
    """Of the initial weights and the batches."""


def _scorer(config: ScorerConfig) -> Network:
    return mlp((config.length * len(KINDS), config.hidden, 2), jax.nn.silu)


def score(config: ScorerConfig, params: PyTree, one_hot: Array) -> Array:
    """Log odds [...] that a window, one-hot [..., T, V], is code."""
    logits = _scorer(config).logits(params, one_hot.reshape(*one_hot.shape[:-2], -1))
    return logits[..., 1] - logits[..., 0]


def scorer_asset(config: ScorerConfig, text: Windows, *, root: Any) -> PyTree:
    """The parameters of a classifier of clean windows, once per configuration and text."""
    network, x = _scorer(config), jax.nn.one_hot(text.tokens, len(KINDS)).reshape(len(text.tokens), -1)

    def build(config: ScorerConfig) -> PyTree:
        key = jax.random.key(config.seed)
        return train_classifier(network, x, text.is_code, key, num_classes=2, num_steps=config.num_steps)

    return asset(
        config,
        build,
        root,
        data_digest=text.digest,
        like=lambda: jax.eval_shape(network.init, jax.random.key(0)),
    )
