"""Which tokens may be dropped or merged?

A small vision transformer reads mosaics of digits and says which classes they show. After its first blocks most patch
tokens are taken away, without any training for it, and the later blocks read what is left with the class token.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments import plots
from experiments.asset import asset
from experiments.assets import tiny_vit
from experiments.assets.tiny_vit import PATCH, SIDE, VitConfig
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from jaxlab import analytic, guidance, kernels, metrics, nn, numerics, selection
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "test mosaics, random choices; the network is one"
KEEP = (2, 4, 6, 8)
"""Patch tokens that are left, of 16: 12 to 50 %."""
SHOWN, PICTURED = 3, 4
"""Mosaics in the figure, and how many tokens are left of them there."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    after: int = 1
    """Blocks that all tokens pass before most are taken away; the transformer has three."""
    test_images: int = 1000
    """Mosaics to test on."""
    test_share: float = 0.5
    """Share of the rows that only the test mosaics are made of."""
    train_steps: int = 1500
    """Steps of the transformer, batches of 64."""
    dim: int = 48
    """Width of the transformer."""

    def __post_init__(self) -> None:
        if not 1 <= self.after < VitConfig.blocks:
            raise ValueError(f"--after must lie in [1, {VitConfig.blocks - 1}], got {self.after}")
        if not 0 < self.test_share < 1:
            raise ValueError(f"--test-share must lie in (0, 1), got {self.test_share}")


QUICK = {"test_images": 100, "train_steps": 60, "dim": 16}


class Scene(NamedTuple):
    """A mosaic after the first blocks, with leading axes of seeds and mosaics.

    Its class token [D], patch tokens [N, D], how much the class token attended to each [N], and a key.
    """

    cls: Array
    tokens: Array
    attention: Array
    key: Array


# From a scene and a number of tokens to their places [K], in any order.
Choose = Callable[[Scene, int], Array]


def choose_diverse(scene: Scene, keep: int) -> Array:
    """Those that differ most."""
    return selection.divprune_tokens(scene.tokens, keep=keep).index


def choose_random(scene: Scene, keep: int) -> Array:
    """Any."""
    return jax.random.permutation(scene.key, scene.tokens.shape[0])[:keep]


def choose_longest(scene: Scene, keep: int) -> Array:
    """Those of the largest norm."""
    return jax.lax.top_k(jnp.sum(scene.tokens**2, axis=-1), keep)[1]


def choose_attended(scene: Scene, keep: int) -> Array:
    """Those that the class token attended to most, in the last block before."""
    return jax.lax.top_k(scene.attention, keep)[1]


def choose_seeds(scene: Scene, keep: int) -> Array:
    """Drawn as k-means++ draws its seeds, on the sphere."""
    unit = numerics.normalize(scene.tokens)
    rows = analytic.kmeans_init(scene.key, unit, k=keep, metric="cosine")
    return jnp.argmax(kernels.cosine_similarity(rows, unit), axis=1)


def class_attention(block: PyTree, tokens: Array, heads: int) -> Array:
    """Attention of the class token to the patches [B, N] in one block, the mean over its heads."""
    dim = tokens.shape[-1]
    norm = block["norm1"]
    normed = jax.nn.standardize(tokens, axis=-1, epsilon=1e-6) * norm["scale"] + norm["bias"]
    q, k, _ = jnp.split(normed @ block["qkv"]["kernel"] + block["qkv"]["bias"], 3, axis=-1)
    q, k = (x.reshape(*x.shape[:-1], heads, dim // heads) for x in (q[:, 0], k))
    logits = jnp.einsum("bhd,bnhd->bhn", q, k) / (dim // heads) ** 0.5
    return jnp.mean(jax.nn.softmax(logits, axis=-1), axis=1)[:, 1:]


@functools.partial(jax.jit, static_argnums=(0, 1))
def scenes(config: Config, heads: int, params: PyTree, x: Array, keys: Array) -> Scene:
    """Scenes of mosaics [S, B, SIDE, SIDE]."""

    def one(inputs: tuple[Array, Array]) -> Scene:
        x, key = inputs
        layers, _ = tiny_vit.frozen_layers(params, x, heads=heads)
        tokens = layers[config.after]
        before = jax.tree.map(lambda leaf: leaf[config.after - 1], params["blocks"])
        attention = class_attention(before, layers[config.after - 1], heads)
        return Scene(tokens[:, 0], tokens[:, 1:], attention, jax.random.split(key, len(tokens)))

    return jax.lax.map(one, (x, keys))


@functools.partial(jax.jit, static_argnums=(0, 1))
def precision(config: Config, heads: int, params: PyTree, cls: Array, left: Array, targets: Array) -> Array:
    """Mean average precision over the classes [S], of class tokens [S, B, D] and the tokens left [S, B, K, D]."""
    later = jax.tree.map(lambda leaf: leaf[config.after :], params["blocks"])

    def step(tokens: Array, block: PyTree) -> tuple[Array, None]:
        return nn.transformer_block(block, tokens, heads=heads), None

    def one(inputs: tuple[Array, Array, Array]) -> Array:
        cls, left, targets = inputs
        tokens, _ = jax.lax.scan(step, jnp.concatenate([cls[:, None], left], axis=1), later)
        logits = tiny_vit.vit_features(params, tokens[:, 0]) @ params["head"]["kernel"] + params["head"]["bias"]
        return metrics.mean_average_precision(logits.T, targets.T)

    return jax.lax.map(one, (cls, left, targets))


def covering_radius(tokens: Array, index: Array) -> Array:
    """The cosine distance of the token [N, D] that is farthest from those that are left [K]."""
    return jnp.max(jnp.min(1.0 - kernels.cosine_similarity(tokens, tokens[index]), axis=1))


# Every row says what it measured and, among the curves, what is left of the scenes of one seed.
Left = tuple[dict[str, Array], dict[str, Array]]


def drop(choose: Choose, scene: Scene) -> Left:
    """One choice of tokens at every number of them."""
    measured, curves = {}, {}
    for keep in KEEP:
        index = jnp.sort(jax.vmap(functools.partial(choose, keep=keep))(scene), axis=1)
        curves[f"left_{keep}"] = jnp.take_along_axis(scene.tokens, index[..., None], axis=1)
        measured[f"radius_at_{keep}"] = jnp.mean(jax.vmap(covering_radius)(scene.tokens, index))
        if keep == PICTURED:
            kept = jnp.zeros((SHOWN, scene.tokens.shape[1]))
            curves["kept"] = kept.at[jnp.arange(SHOWN)[:, None], index[:SHOWN]].set(1.0)
    return measured, curves | {"radius": jnp.stack(list(measured.values()))}


def merge(scene: Scene) -> Left:
    """Diverse tokens, each moved half way to the token most like it that was dropped.

    Negative token merging with a negative weight is merging.
    """

    def one(scene: Scene, keep: int) -> Array:
        index = jnp.sort(choose_diverse(scene, keep))
        dropped = jnp.ones(len(scene.tokens), bool).at[index].set(False)
        sides = {"alpha": -0.5, "threshold": -2.0, "where": dropped}
        return guidance.negative_token_merge(scene.tokens[index][None], scene.tokens, **sides)[0]

    return {}, {f"left_{keep}": jax.vmap(functools.partial(one, keep=keep))(scene) for keep in KEEP}


def summarize(scene: Scene) -> Left:
    """Tokens are merged: every one that is left is a mean of all, weighted by the softmax of inner products with it.

    The selectors are not learned here: they are tokens drawn at random.
    """

    def one(scene: Scene, keep: int) -> Array:
        return nn.summarize_tokens(scene.tokens[choose_random(scene, keep)], scene.tokens)

    return {}, {f"left_{keep}": jax.vmap(functools.partial(one, keep=keep))(scene) for keep in KEEP}


def keep_first(count: int, scene: Scene) -> Left:
    """The same number of tokens everywhere: all of them, or none."""
    return {}, {"left": scene.tokens[:, :count]}


METHODS = (
    Method("all", None, functools.partial(keep_first, (SIDE // PATCH) ** 2), note="16 patch tokens"),
    Method("none", None, functools.partial(keep_first, 0), note="the class token alone"),
    Method("divprune", 220, functools.partial(drop, choose_diverse), note="those that differ most, no scores"),
    Method("random", None, functools.partial(drop, choose_random)),
    Method("kmeans_seeds", None, functools.partial(drop, choose_seeds), note="drawn as k-means++ seeds"),
    Method("norm", None, functools.partial(drop, choose_longest), note="the longest"),
    Method("attention", None, functools.partial(drop, choose_attended), note="most attended by the class token"),
    Method("merged", 240, merge, note="diverse ones, moved half way to what was dropped"),
    Method("summaries", 188, summarize, note="merged, around tokens drawn at random: nothing is learned"),
)


def _gain(metric: str, other: str) -> Callable[[Any], Any]:
    return lambda rows: rows[metric]["divprune"] - rows[metric][other]


CLAIMS = (
    Claim(
        220,
        "With 2 of 16 tokens, diverse ones keep more precision than the most attended ones",
        _gain("precision_at_2", "attention"),
        ">",
        0.0,
    ),
    Claim(
        220,
        "With 2 of 16 tokens, diverse ones keep more precision than the longest ones",
        _gain("precision_at_2", "norm"),
        ">",
        0.0,
    ),
    Claim(
        220,
        "With 2 of 16 tokens, diverse ones keep more precision than random ones",
        _gain("precision_at_2", "random"),
        ">",
        0.0,
    ),
    Claim(
        220,
        "What is left represents all tokens better than a random choice (covering radius of 8 of 16)",
        _gain("radius_at_8", "random"),
        "<",
        0.0,
    ),
)


def _digits(data: Dataset) -> np.ndarray:
    if data.kind != "images" or data.x.ndim != 3:
        raise UserError(f"Mosaics need grey images [N, H, W], {data.name} has {list(data.x.shape)}.")
    cell = SIDE // 2
    x = data.x if data.x.shape[1:] == (cell, cell) else jax.image.resize(data.x, (len(data.x), cell, cell), "linear")
    return np.asarray(x)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    digits, num_classes = _digits(data), data.num_classes
    vit = VitConfig(num_base=num_classes, dim=config.dim, steps=config.train_steps)
    rng = np.random.default_rng(220)
    learned, tests = stratified_split(data.y, test_fraction=config.test_share, rng=rng)
    make = functools.partial(tiny_vit.mosaics, digits=digits, labels=data.y, num_classes=num_classes)
    run.progress("training the transformer on mosaics")
    build = functools.partial(tiny_vit.train_vit, shown=make(rng, rows=learned, count=vit.images))
    params = asset(vit, build, run.asset_root, data_digest=f"{data.digest}-tokens-{config.test_share}")
    shown = [
        make(np.random.default_rng([seed, 220]), rows=tests, count=config.test_images) for seed in range(run.seeds)
    ]
    x, targets = (jnp.asarray(np.stack(part)) for part in zip(*shown, strict=True))
    run.progress("the first blocks")
    scene = scenes(config, vit.heads, params, x, run.seed_keys())

    def measure(method: Method) -> Measured:
        measured, curves, timings = over_seeds(method.fn, scene, mode="map")
        left = {keep: curves.pop(f"left_{keep}", curves.get("left")) for keep in KEEP}
        curves.pop("left", None)
        # These programs are compiled once for all rows.
        found = {k: np.asarray(precision(config, vit.heads, params, scene.cls, left[k], targets)) for k in KEEP}
        curves["precision"] = np.stack(list(found.values()), axis=1)
        if "kept" in curves:
            curves["shown"] = np.asarray(x[:, :SHOWN])
        return Measured({f"precision_at_{k}": value for k, value in found.items()} | measured, curves, timings)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Precision by the number of tokens, the covering radius, and which patches were left of some mosaics."""
    figure, axes = plots.new_figure(columns=3, title=f"Few of 16 patch tokens on mosaics of {result.dataset}")
    names = [method.name for method in METHODS]
    panels = (("precision", "mean average precision"), ("radius", "covering radius (cosine distance)"))
    for ax, (name, ylabel) in zip(axes, panels, strict=False):
        plots.curves_over_tasks(
            ax, result.curves.get(name, {}), names, ylabel=ylabel, xlabel="patch tokens that are left", x=KEEP
        )
        ax.set_xticks(KEEP)
        if (legend := ax.get_legend()) is not None:
            legend.remove()
    _draw_kept(axes[2], result)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
    return figure


def _draw_kept(ax: Axes, result: Result) -> None:
    """A line of mosaics per way to choose; what was dropped of them is dimmed."""
    kept = result.curves.get("kept", {})
    names = [method.name for method in METHODS if method.name in kept]
    ax.set_axis_off()
    if not names:
        return
    gap, across = 5, SIDE // PATCH
    for line, name in enumerate(names):
        images = np.asarray(result.curves["shown"][name], float)[0]
        left = np.asarray(kept[name], float)[0].reshape(-1, across, across)
        for column, (image, mask) in enumerate(zip(images, left, strict=True)):
            x, y = column * (SIDE + 2), line * (SIDE + gap)
            dim = 0.25 + 0.75 * mask.repeat(PATCH, 0).repeat(PATCH, 1)
            ax.imshow(image * dim, cmap="gray", vmin=0, vmax=1, extent=(x, x + SIDE, y + SIDE, y))
            for i, j in zip(*np.nonzero(mask), strict=True):
                box = Rectangle((x + j * PATCH, y + i * PATCH), PATCH, PATCH, fill=False, edgecolor="#E69F00")
                ax.add_patch(box)
        ax.text(0, line * (SIDE + gap) - 1, name, ha="left", va="bottom", fontsize=9)
    ax.set_xlim(0, SHOWN * (SIDE + 2))
    ax.set_ylim(len(names) * (SIDE + gap), -gap)
    ax.set_title(f"{PICTURED} of {across**2} patches", fontsize=11)
