"""Fitting a density: how many bits does a pixel cost by tractable models, and by the compressors that one has anyway?

Images of a few grey levels. zlib, bzip2 and lzma compress the held-out images as one stream of bytes, zlib also after
the subtraction of each pixel's left neighbour, as PNG does. Tractable densities are fitted to the other images: pixels
by themselves, the tree of Chow and Liu, and trees of hidden variables of 4, 16 and 32 states. Their bits are those of a
real stream, which is read back and compared; what the parameters take is not counted, as for one model of many images.
Densities that are known up to a constant are fitted beside them, to other data: ``experiments.unnormalised_models``.
"""

import bz2
import dataclasses
import functools
import lzma
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots, unnormalised_models
from experiments.claims import difference
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError
from experiments.streams import stratified_split
from jaxlab import analytic, kernels, metrics
from jaxlab.compress import coding
from jaxlab.typing import Array

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "split, first conditionals"


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    num_iters: int = 60
    """Steps of expectation maximisation on all training images."""
    smoothing: float = 0.5
    """Pseudo-counts that every conditional shares among its outcomes."""
    coded: int = 200
    """Held-out images that are written and read."""
    drawn: int = 10
    """Images drawn from a model for the figure."""
    estimate_steps: int = 2000
    """Steps towards the mean of a Gaussian, for unnormalised models."""
    estimate_repeats: int = 32
    """How often a seed takes them."""
    wine_steps: int = 1500
    """Steps on wines."""

    def __post_init__(self) -> None:
        if self.num_iters < 1 or self.smoothing <= 0 or self.coded < 1:
            raise ValueError(f"num_iters, smoothing and coded must be positive, got {self}")
        if min(self.estimate_steps, self.estimate_repeats, self.wine_steps) < 1:
            raise ValueError(f"estimate_steps, estimate_repeats and wine_steps must be positive, got {self}")


QUICK = {"num_iters": 3, "coded": 6, "estimate_steps": 50, "estimate_repeats": 4, "wine_steps": 50}


class Split(NamedTuple):
    """What one seed works on: whole numbers in [0, V)."""

    train: np.ndarray  # int32 [N, D]
    test: np.ndarray  # int32 [M, D]
    key: Array


Fitted = tuple[analytic.HiddenTree, Array]


@functools.partial(jax.jit, static_argnames=("num_iters", "num_states", "num_values"))
def fit_hclt(key: Array, x: Array, *, num_states: int, num_values: int, num_iters: int, smoothing: Array) -> Fitted:
    """A hidden Chow-Liu tree after some steps of EM, and the log-likelihood before each."""
    tree = analytic.hclt_init(key, chow_liu(x, num_values), num_states=num_states, num_values=num_values)

    def step(tree: analytic.HiddenTree, _: None) -> tuple[analytic.HiddenTree, Array]:
        return analytic.hclt_em_step(tree, x, smoothing=smoothing)

    return jax.lax.scan(step, tree, length=num_iters)


def chow_liu(x: Array, num_values: int) -> Array:
    """Parents in the tree of the most mutual information."""
    return kernels.minimum_spanning_tree(-metrics.pairwise_mutual_information(x, num_values=num_values)).parent


@functools.partial(jax.jit, static_argnames="num_values")
def fit_chow_liu(x: Array, *, num_values: int, smoothing: Array) -> analytic.HiddenTree:
    """The tree of Chow and Liu: hidden states are the values themselves, so one step of EM counts pairs."""
    tree = analytic.hclt_init(jax.random.key(0), chow_liu(x, num_values), num_states=num_values, num_values=num_values)
    sure = jnp.broadcast_to(jnp.log(jnp.eye(num_values)), tree.log_emission.shape)
    counted, _ = analytic.hclt_em_step(tree._replace(log_emission=sure), x, smoothing=smoothing)
    return counted._replace(log_emission=sure)


def tree_row(num_states: int | None, config: Config, split: Split, num_values: int) -> tuple[dict[str, Any], Any]:
    """Bits of held-out images under a tree (None: that of Chow and Liu), and of the stream that holds them."""
    x = jnp.asarray(split.train)
    if num_states is None:
        tree = fit_chow_liu(x, num_values=num_values, smoothing=config.smoothing)
    else:
        options = {"num_states": num_states, "num_values": num_values, "num_iters": config.num_iters}
        tree, _ = fit_hclt(split.key, x, smoothing=jnp.asarray(config.smoothing), **options)
    pixels = split.test.shape[1]
    log_probs = jax.jit(analytic.hclt_log_prob)
    to_bits = 1.0 / np.log(2.0) / pixels
    ideal = -np.asarray(log_probs(tree, jnp.asarray(split.test)), np.float64) * to_bits
    rows = split.test[: config.coded]
    stream = coding.circuit_encode(tree, rows)
    read = coding.circuit_decode(tree, stream, len(rows))
    bits = 8.0 * len(stream) / rows.size
    measured = {
        "bits": ideal.mean(),
        "bits_train": -float(jnp.mean(log_probs(tree, x))) * to_bits,
        "overhead": bits / ideal[: config.coded].mean() - 1.0,
        "wrong": float(np.mean(np.any(read != rows, axis=1))),
    }
    return measured, {"drawn": draw(tree, split.key, config.drawn)}


def draw(tree: analytic.HiddenTree, key: Array, count: int) -> np.ndarray:
    """Images from a tree, pixel by pixel in its order."""

    def visit(state: analytic.PrefixState, key: Array) -> tuple[analytic.PrefixState, Array]:
        log_probs, state = analytic.hclt_next_log_probs(tree, state)
        values = jax.random.categorical(key, log_probs)
        return analytic.hclt_observe(tree, state, values), values

    keys = jax.random.split(key, tree.order.shape[0])
    _, values = jax.lax.scan(visit, analytic.hclt_prefix_init(tree, count), keys)
    return np.asarray(jnp.zeros((count, len(keys)), jnp.int32).at[:, tree.order].set(values.T))


def compressor_row(
    compress: Callable[[bytes], bytes], filtered: bool, config: Config, split: Split, num_values: int
) -> tuple[dict[str, Any], Any]:
    """Bits of all held-out images in one stream of bytes."""
    side = int(np.sqrt(split.test.shape[1]))
    images = split.test.reshape(-1, side, side).astype(np.uint8)
    if filtered:
        images = np.diff(images, axis=2, prepend=np.uint8(0))
    return {"bits": 8.0 * len(compress(images.tobytes())) / images.size}, {}


def _compressor(compress: Callable[[bytes], bytes], *, filtered: bool = False) -> Callable[..., Any]:
    return functools.partial(compressor_row, compress, filtered)


_ZLIB = functools.partial(zlib.compress, level=9)

METHODS = (
    Method("zlib", None, _compressor(_ZLIB), note="deflate at its best level"),
    Method("filtered_zlib", None, _compressor(_ZLIB, filtered=True), note="after the left neighbour, as in PNG"),
    Method("bzip2", None, _compressor(bz2.compress)),
    Method("lzma", None, _compressor(functools.partial(lzma.compress, preset=9 | lzma.PRESET_EXTREME))),
    Method("independent", None, functools.partial(tree_row, 1), note="every pixel by itself"),
    Method("chow_liu", None, functools.partial(tree_row, None), note="a tree of the pixels themselves"),
    Method("hclt_4", 277, functools.partial(tree_row, 4), note="a tree of hidden variables"),
    Method("hclt_16", 277, functools.partial(tree_row, 16)),
    Method("hclt_32", 277, functools.partial(tree_row, 32)),
    *unnormalised_models.ESTIMATES,
)
COMPRESSORS = ("zlib", "filtered_zlib", "bzip2", "lzma")


def _best_compressor(rows: Any) -> Any:
    return np.minimum.reduce([rows["bits"][name] for name in COMPRESSORS])


CLAIMS = (
    Claim(
        277,
        "A hidden tree of 32 states needs at most .9 of the bits of the best compressor",
        lambda rows: rows["bits"]["hclt_32"] / _best_compressor(rows),
        "<",
        0.9,
    ),
    Claim(
        277,
        "It needs fewer bits than the tree of Chow and Liu",
        difference("bits", "hclt_32", "chow_liu"),
        "<",
        0.0,
    ),
    Claim(277, "Every image comes back bit for bit", lambda rows: rows["wrong"]["hclt_32"], "within", 0.0),
    Claim(
        277,
        "The stream is at most 1 % longer than the likelihood asks for",
        lambda rows: rows["overhead"]["hclt_32"],
        "<",
        0.01,
    ),
    *unnormalised_models.ESTIMATE_CLAIMS,
)


def levels(images: np.ndarray) -> np.ndarray:
    """Whole numbers of a few levels, int32 [N, D]: images of more than 16 pixels a side are halved, to 8 levels."""
    if images.shape[1] <= 16 and float(images.max()) <= 16 and np.all(images == np.round(images)):
        return images.reshape(len(images), -1).astype(np.int32)
    if images.shape[1] > 16:
        height, width = (size // 2 * 2 for size in images.shape[1:])
        cut = images[:, :height, :width]
        images = cut.reshape(len(images), height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    scaled = images / max(float(images.max()), 1e-12)
    return np.minimum((scaled * 8).astype(np.int32), 7).reshape(len(images), -1)


def prepare(run: Run, data: Dataset) -> tuple[list[Split], int]:
    """A split per seed, and the number of values."""
    if data.kind != "images" or data.x.ndim != 3 or data.x.shape[1] != data.x.shape[2]:
        raise UserError(f"This question needs square grey images [N, H, H], {data.name} has {list(data.x.shape)}.")
    if float(data.x.min()) < 0:
        raise UserError(f"This question needs images without negative values, {data.name} has {data.x.min():g}.")
    x = levels(data.x)
    splits = []
    for seed in range(run.seeds):
        train, test = stratified_split(data.y, test_fraction=0.3, rng=np.random.default_rng(seed))
        splits.append(Split(x[train], x[test], jax.random.key(seed)))
    return splits, int(x.max()) + 1


def run(config: Config, run: Run) -> None:
    """Measures the selected rows, one seed after the other: coding happens on the host."""
    splits, num_values = prepare(run, run.data())

    def measure(method: Method) -> Measured:
        found = []
        for number, split in enumerate(splits):
            run.progress(f"{method.name}, seed {number + 1} of {len(splits)}")
            found.append(method.fn(config, split, num_values))
        measured = {name: np.array([float(one[name]) for one, _ in found]) for name in found[0][0]}
        curves = {name: np.stack([one[name] for _, one in found]) for name in found[0][1]}
        return Measured(measured, curves, {})

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Bits per held-out pixel and images drawn from the models; below, the unnormalised models."""
    figure, axes = plots.new_figure(
        columns=2, rows=2, title=f"Bits per pixel of {result.dataset}, and unnormalised models"
    )
    plots.method_bars(axes[0], result.rows.get("bits", {}), [m.name for m in METHODS], "bits per held-out pixel")
    drawn = result.curves.get("drawn", {})
    lines = {name: np.asarray(images[0], float) for name, images in drawn.items()}
    if lines:
        largest = max(float(images.max()) for images in lines.values())
        plots.image_strips(axes[1], lines, limits=(0.0, largest), xlabel="drawn from the models")
    else:
        axes[1].set_axis_off()
    unnormalised_models.plot_approach(axes[2], result)
    unnormalised_models.plot_wines(axes[3], result)
    return figure
