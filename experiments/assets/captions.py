"""Captions of images of digits as people would write them, a model that writes them, and one that finds the image.

People say less than they see: a caption begins in one of a few ways that fit every image, names the class half of the
time, and adds the thickness of the strokes and the slant less often still. ``write`` draws such captions,
``captioner_asset`` trains a recurrent decoder on them, ``retriever_asset`` a pair of encoders into one space.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.asset import asset
from experiments.networks import mlp
from experiments.training import fit
from jaxlab import losses
from jaxlab.numerics import normalize
from jaxlab.typing import Array, ArrayLike, PyTree

__all__ = [
    "END",
    "START",
    "WORDS",
    "CaptionerConfig",
    "Captions",
    "RetrieverConfig",
    "attributes",
    "captioner_asset",
    "embed_captions",
    "embed_images",
    "initial_state",
    "log_probs",
    "retriever_asset",
    "sentence",
    "step",
    "word_bigrams",
    "write",
]

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MANNERS = ("thin", "thick", "left-leaning", "right-leaning")
WORDS = ("<end>", "<start>", "a", "an", "image", "of", "handwritten", *MANNERS, "digit", "number", *CLASSES)
END, START = 0, 1
PREFIXES = (("a",), ("an", "image", "of", "a"), ("a", "handwritten"))
PREFIX_SHARES = (0.5, 0.3, 0.2)
SAYS_THICKNESS, SAYS_SLANT = 0.35, 0.25
NOUN_SHARES = (0.35, 0.15, 0.5)  # "digit", "number", the class itself
LENGTH = 8  # of the longest caption, end token included


class Captions(NamedTuple):
    """Tokens int32 [N, LENGTH], ended by END and filled up with it, and which of them count."""

    tokens: np.ndarray
    where: np.ndarray


def attributes(images: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Thickness and slant of images [N, H, W], each int [N]: -1 for the lowest third of the data, 1 for the highest."""
    x = np.asarray(images, np.float64)
    rows, columns = np.indices(x.shape[1:])
    mass = x.sum((1, 2)) + 1e-9
    down = rows - ((x * rows).sum((1, 2)) / mass)[:, None, None]
    right = columns - ((x * columns).sum((1, 2)) / mass)[:, None, None]
    shear = -(x * down * right).sum((1, 2)) / ((x * down**2).sum((1, 2)) + 1e-9)  # > 0: the top lies to the right
    return _thirds(mass), _thirds(shear)


def _thirds(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, (1 / 3, 2 / 3))
    return (values > high).astype(int) - (values < low)


def write(images: ArrayLike, labels: ArrayLike, seed: int) -> Captions:
    """A caption per image [N, H, W]; another seed writes others."""
    rng = np.random.default_rng(seed)
    thickness, slant = attributes(images)
    tokens = np.full((len(thickness), LENGTH), END, np.int32)
    for row, label in enumerate(np.asarray(labels)):
        words = list(PREFIXES[rng.choice(len(PREFIXES), p=PREFIX_SHARES)])
        words.append(("digit", "number", CLASSES[label])[rng.choice(3, p=NOUN_SHARES)])
        if rng.random() < SAYS_THICKNESS and thickness[row]:
            words.append("thin" if thickness[row] < 0 else "thick")
        if rng.random() < SAYS_SLANT and slant[row]:
            words.append("left-leaning" if slant[row] < 0 else "right-leaning")
        tokens[row, : len(words)] = [WORDS.index(word) for word in words]
    return Captions(tokens, _counted(tokens))


def _counted(tokens: np.ndarray) -> np.ndarray:
    """Up to and including the first end token."""
    return np.cumsum(tokens == END, axis=1) - (tokens == END) == 0


def sentence(tokens: ArrayLike) -> str:
    """The words of one caption."""
    words = [WORDS[token] for token in np.asarray(tokens).tolist()]
    return " ".join(words[: words.index("<end>")] if "<end>" in words else words)


def word_bigrams(tokens: np.ndarray) -> np.ndarray:
    """Log probabilities [V, V] of the next word given the last, counted over captions, one added to each count."""
    before = np.concatenate([np.full((len(tokens), 1), START), tokens[:, :-1]], axis=1)
    counts = np.ones((len(WORDS), len(WORDS)))
    np.add.at(counts, (before[_counted(tokens)], tokens[_counted(tokens)]), 1.0)
    return np.log(counts / counts.sum(1, keepdims=True)).astype(np.float32)


# The model that writes


@dataclasses.dataclass(frozen=True)
class CaptionerConfig:
    """What decides the weights of the decoder, together with images and captions."""

    name: ClassVar[str] = "captioner"
    version: ClassVar[int] = 1

    dim: int = 64
    """Numbers in an image."""
    hidden: int = 64
    """Width of the recurrent state."""
    num_steps: int = 1200
    """Steps of Adam."""
    batch_size: int = 128
    """Images a step."""
    learning_rate: float = 3e-3
    """At the start; it falls to zero as a cosine."""
    drop_rate: float = 0.5
    """How often the image is replaced by zeros, as in the paper."""
    seed: int = 0
    """Of the initial weights and the batches."""


def _captioner(config: CaptionerConfig) -> Any:
    return mlp((config.dim, 128, config.hidden))


def _init_captioner(config: CaptionerConfig, key: Array) -> PyTree:
    size, hidden = len(WORDS), config.hidden
    shapes = {
        "words": (size, hidden),
        "image": (hidden, hidden),
        "inner": (hidden, 3 * hidden),
        "outer": (hidden, size),
    }
    keys = jax.random.split(key, len(shapes) + 1)
    params = {
        name: jax.random.normal(k, shape) / np.sqrt(shape[0] if name != "words" else 1.0)
        for k, (name, shape) in zip(keys[1:], shapes.items(), strict=True)
    }
    kernel = jax.random.normal(keys[0], (2 * hidden, 3 * hidden)) / np.sqrt(2 * hidden)
    return params | {
        "encoder": _captioner(config).init(keys[0]),
        "kernel": kernel,
        "bias": jnp.zeros(3 * hidden),
        "outer_bias": jnp.zeros(size),
    }


def initial_state(config: CaptionerConfig, params: PyTree, images: Array, seen: Array) -> tuple[Array, Array]:
    """(state, image embedding): of images [B, dim] where ``seen`` [B], of none (zeros) elsewhere."""
    embedded = jnp.where(seen[:, None], _captioner(config).logits(params["encoder"], images), 0.0)
    return jnp.tanh(embedded @ params["image"]), embedded


def step(params: PyTree, state: tuple[Array, Array], tokens: Array) -> tuple[Array, tuple[Array, Array]]:
    """Reads one token [B], gives the logits of the next: a gated recurrent unit that sees the image at every step."""
    hidden, embedded = state
    inputs = jnp.concatenate([params["words"][tokens], embedded], axis=1) @ params["kernel"] + params["bias"]
    inner = hidden @ params["inner"]
    (a, b, c), (d, e, f) = jnp.split(inputs, 3, axis=1), jnp.split(inner, 3, axis=1)
    keep, reset = jax.nn.sigmoid(a + d), jax.nn.sigmoid(b + e)
    hidden = keep * hidden + (1.0 - keep) * jnp.tanh(c + reset * f)
    return hidden @ params["outer"] + params["outer_bias"], (hidden, embedded)


def log_probs(config: CaptionerConfig, params: PyTree, images: Array, seen: Array, tokens: Array) -> Array:
    """Log probability [B, T] of every word of given captions int [B, T]."""
    before = jnp.concatenate([jnp.full_like(tokens[:, :1], START), tokens[:, :-1]], axis=1)

    def read(state: Any, tokens: Array) -> tuple[Any, Array]:
        logits, state = step(params, state, tokens)
        return state, logits

    _, logits = jax.lax.scan(read, initial_state(config, params, images, seen), before.T)
    return losses.token_log_probs(logits.swapaxes(0, 1), tokens)


def _train_captioner(config: CaptionerConfig, x: Array, captions: Captions) -> PyTree:
    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        seen = jax.random.bernoulli(key, 1.0 - config.drop_rate, batch["x"].shape[:1])
        told = log_probs(config, params, batch["x"], seen, batch["tokens"])
        return -jnp.sum(jnp.where(batch["where"], told, 0.0)) / jnp.sum(batch["where"]), state

    init_key, fit_key = jax.random.split(jax.random.key(config.seed))
    optimizer = optax.adamw(optax.cosine_decay_schedule(config.learning_rate, config.num_steps), weight_decay=0.01)
    data = {"x": x, "tokens": captions.tokens, "where": captions.where}
    start, size = _init_captioner(config, init_key), min(config.batch_size, len(x))
    return fit(loss_fn, start, None, optimizer, data, fit_key, num_steps=config.num_steps, batch_size=size).params


def captioner_asset(config: CaptionerConfig, x: Array, captions: Captions, *, root: Any, digest: str) -> PyTree:
    """The parameters of a decoder of captions of rows x [N, dim], once per configuration and data."""
    return asset(
        config,
        lambda config: _train_captioner(config, x, captions),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(lambda: _init_captioner(config, jax.random.key(0))),
    )


# The model that finds the image


@dataclasses.dataclass(frozen=True)
class RetrieverConfig:
    """What decides the weights of the two encoders, together with images and captions."""

    name: ClassVar[str] = "caption_retriever"
    version: ClassVar[int] = 1

    dim: int = 64
    """Numbers in an image."""
    width: int = 32
    """Of the shared space."""
    num_steps: int = 1000
    """Steps of Adam, batches of 128, its rate falling to zero as a cosine."""
    scale: float = 10.0
    """Of the cosines in the contrastive loss."""
    seed: int = 1
    """Of the initial weights and the batches."""


def _encoders(config: RetrieverConfig) -> tuple[Any, Any]:
    return mlp((config.dim, 128, config.width)), mlp((len(WORDS), 64, config.width))


def embed_images(config: RetrieverConfig, params: PyTree, x: Array) -> Array:
    """Unit vectors [N, width] of rows x [N, dim]."""
    return normalize(_encoders(config)[0].logits(params["images"], x))


def embed_captions(config: RetrieverConfig, params: PyTree, tokens: Array) -> Array:
    """Unit vectors [N, width] of captions int [N, T]: of which words they hold, in any order."""
    bag = jnp.max(jax.nn.one_hot(tokens, len(WORDS)), axis=1)
    return normalize(_encoders(config)[1].logits(params["captions"], bag))


def _train_retriever(config: RetrieverConfig, x: Array, captions: Captions) -> PyTree:
    def loss_fn(params: PyTree, state: None, batch: dict[str, Any], key: Array) -> tuple[Array, None]:
        images, words = embed_images(config, params, batch["x"]), embed_captions(config, params, batch["tokens"])
        scores, own = config.scale * images @ words.T, jnp.arange(images.shape[0])
        both = (-losses.token_log_probs(s, own) for s in (scores, scores.T))
        return jnp.mean(sum(both)), state

    init_key, fit_key = jax.random.split(jax.random.key(config.seed))
    image_key, word_key = jax.random.split(init_key)
    images, words = _encoders(config)
    start = {"images": images.init(image_key), "captions": words.init(word_key)}
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-3, config.num_steps))
    data, size = {"x": x, "tokens": captions.tokens}, min(128, len(x))
    return fit(loss_fn, start, None, optimizer, data, fit_key, num_steps=config.num_steps, batch_size=size).params


def retriever_asset(config: RetrieverConfig, x: Array, captions: Captions, *, root: Any, digest: str) -> PyTree:
    """The parameters of the encoders of rows x [N, dim] and their captions, once per configuration and data."""
    images, words = _encoders(config)
    return asset(
        config,
        lambda config: _train_retriever(config, x, captions),
        root,
        data_digest=digest,
        like=lambda: jax.eval_shape(
            lambda key: {"images": images.init(key), "captions": words.init(key)}, jax.random.key(0)
        ),
    )
