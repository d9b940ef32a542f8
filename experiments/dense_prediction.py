"""How far does dense prediction get with few or no pixel labels?

A network that has learned to label the pixels of some digits is frozen. Then a digit that it has never seen is shown
with one or five masks, on canvases full of other digits, and its pixels have to be found among the inked ones of a new
canvas: by the mean feature of the masked pixels alone, or by a classifier fitted to that very canvas.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets import digit_grids
from experiments.assets.digit_grids import PixelConfig, Pool
from experiments.claims import difference
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from jaxlab import metrics, weaksup
from jaxlab.numerics import masked_mean, normalize
from jaxlab.typing import Array, PyTree
from jaxlab.weaksup import PixelClassifier

DATASETS = ("digits",)
SEED_SCOPE = "classes that are new, split into training and test rows, network, canvases"
SHOTS = (1, 5)
SHOWN = 6  # episodes of the figure


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    num_base: int = 6
    """Classes whose pixels the network learns; the others are new."""
    test_share: float = 0.4
    """Share of the rows that canvases of the episodes are made of."""
    episodes: int = 60
    """New canvases per seed and number of masks."""
    adapt_steps: int = 49
    """Steps of gradient descent on a canvas."""
    learning_rate: float = 0.025
    """Of the descent."""
    train_steps: int = 3000
    """Steps of the network, 256 pixels each."""

    def __post_init__(self) -> None:
        if min(self.num_base, self.episodes, self.train_steps) < 1:
            raise ValueError("num_base, episodes and train_steps must be at least 1.")


QUICK = {"episodes": 8, "train_steps": 60}


class Episode(NamedTuple):
    """Features of canvases with masks, those of the canvas in question, and its true mask."""

    support: Array  # [S, H, W, D], unit vectors
    masks: Array  # bool [S, H, W]
    where: Array  # bool [S, H, W], True on ink: what is not is nobody's
    query: Array  # [H, W, D]
    truth: Array  # bool [H, W]
    query_where: Array  # bool [H, W]


class Drawn(NamedTuple):
    """Episodes with one number of masks: which class is new, the canvas in question, and the rest."""

    new: Array  # int [E]
    canvas: Array  # [E, H, W]
    episode: Episode  # leaves [E, ...]


Seed = dict[str, Drawn]  # by the number of masks


Adapt = Callable[[Config, Episode], PixelClassifier]


def prototype(config: Config, episode: Episode) -> PixelClassifier:
    return weaksup.repri_init(episode.support, episode.masks, episode.query, **_counted(episode))


def adapted(config: Config, episode: Episode, **options: Any) -> PixelClassifier:
    sizes = {"num_steps": config.adapt_steps, "learning_rate": config.learning_rate}
    return weaksup.repri_adapt(episode.support, episode.masks, episode.query, **sizes, **_counted(episode), **options)


def _counted(episode: Episode) -> dict[str, Array]:
    return {"where": episode.where, "query_where": episode.query_where}


def oracle(config: Config, episode: Episode) -> PixelClassifier:
    share = masked_mean(episode.truth.astype(jnp.float32), episode.query_where)
    return adapted(config, episode, prior=jnp.clip(share, 1e-3, 1 - 1e-3))


def segmented(adapt: Adapt) -> Callable[[Config, Seed], tuple[dict[str, Array], dict[str, Array]]]:
    """Intersection over union of the new classes, summed over the episodes of each, mean over classes."""

    def measure(config: Config, seed: Seed) -> tuple[dict[str, Array], dict[str, Array]]:
        def one(episode: Episode) -> tuple[Array, Array]:
            probs = weaksup.repri_probs(adapt(config, episode), episode.query)
            found = (probs > 0.5) & episode.query_where
            pair = found.astype(int), episode.truth.astype(int)
            return found, metrics.confusion_matrix(*pair, num_classes=2, where=episode.query_where)

        scores, curves = {}, {}
        for shots, drawn in seed.items():
            found, counts = jax.lax.map(one, drawn.episode)
            by_class = jax.ops.segment_sum(counts, drawn.new, CLASSES)
            foreground = metrics.mean_iou(by_class, class_where=jnp.array([False, True]))
            occurred = jnp.sum(by_class, axis=(1, 2)) > 0
            scores[f"miou_{shots}"] = jnp.sum(foreground * occurred) / jnp.maximum(jnp.sum(occurred), 1)
            if shots == "1":
                masks = (found[:SHOWN], drawn.episode.truth[:SHOWN])
                curves = {"masks": masks[0].astype(jnp.float32), "truth": masks[1].astype(jnp.float32)}
                curves["canvases"] = drawn.canvas[:SHOWN]
        return scores, curves

    return measure


CLASSES = 64
"""At most so many classes; those that do not occur count for nothing."""


@functools.partial(jax.jit, static_argnames=("shots", "count"))
def draw(params: PyTree, base: Array, digits: Pool, key: Array, *, shots: int, count: int) -> Drawn:
    """Canvases of random new classes, as a frozen network sees them."""
    network = digit_grids.pixel_network(HIDDEN, base.shape[0])

    def one(key: Array) -> Drawn:
        class_key, support_key, query_key = jax.random.split(key, 3)
        new = jax.random.categorical(class_key, jnp.where(base, -jnp.inf, 0.0))
        show = functools.partial(digit_grids.compose, digits=digits, classes=base, must_show=new)
        support, query = show(support_key, count=shots), show(query_key, count=1)
        images = jnp.concatenate([support.images, query.images])
        frozen = normalize(network.features(params, digit_grids.patches(images)))
        masks, truth = support.labels == new, query.labels[0] == new
        seen = Episode(frozen[:-1], masks, support.labels >= 0, frozen[-1], truth, query.labels[0] >= 0)
        return Drawn(new, query.images[0], seen)

    return jax.lax.map(one, jax.random.split(key, count))


HIDDEN = PixelConfig().hidden
NO_DIVERGENCE = {"kl_weight": 0.0, "kl_growth": 0.0}
CE_ALONE = functools.partial(adapted, **NO_DIVERGENCE, entropy_weight=0.0)
CE_ENTROPY = functools.partial(adapted, **NO_DIVERGENCE)
METHODS = (
    Method("prototype", None, segmented(prototype), note="the mean feature of the masked pixels, not adapted"),
    Method("ce", None, segmented(CE_ALONE), note="fitted to the masks alone"),
    Method("ce_entropy", 274, segmented(CE_ENTROPY), note="without the divergence from the share of the foreground"),
    Method("repri", 274, segmented(adapted), note="masks, certainty, and the estimated share of the foreground"),
    Method("repri_oracle", 274, segmented(oracle), note="the true share of the foreground is known"),
)


_gain = functools.partial(difference, "miou_1")

CLAIMS = (
    Claim(274, "One mask: adapting to the canvas beats fitting the mask alone", _gain("repri", "ce"), ">", 0.0),
    Claim(274, "One mask: adapting beats the prototype it starts from", _gain("repri", "prototype"), ">", 0.0),
    Claim(274, "One mask: without the divergence, certainty alone does worse", _gain("repri", "ce_entropy"), ">", 0.0),
    Claim(274, "One mask: the true share adds .05", _gain("repri_oracle", "repri"), ">", 0.05),
)


def prepare(config: Config, run: Run, data: Dataset) -> Seed:
    """Episodes, as a network that was trained on the base classes sees them; a leading axis of seeds."""
    if data.kind != "images" or data.x.shape[1:] != (digit_grids.CELL, digit_grids.CELL):
        raise UserError(f"Canvases need images of 8 x 8 pixels, {data.name} has {list(data.x.shape[1:])}.")
    if not config.num_base < data.num_classes <= CLASSES:
        raise UserError(
            f"There must be {config.num_base + 1} to {CLASSES} classes, {data.name} has {data.num_classes}."
        )
    images = data.x / max(float(data.x.max()), 1e-30)
    splits, seeds = [], []
    for seed in range(run.seeds):
        rng = np.random.default_rng(seed)
        base = np.sort(rng.permutation(data.num_classes)[: config.num_base])
        splits.append((base, *stratified_split(data.y, test_fraction=config.test_share, rng=rng)))
    pools = [digit_grids.pool(images, data.y, test) for _, _, test in splits]
    length = min(one.rows.shape[1] for one in pools)
    for seed, key in enumerate(run.seed_keys()):
        run.progress(f"training the network of seed {seed}")
        base, train, _ = splits[seed]
        network = PixelConfig(steps=config.train_steps, seed=seed, base=tuple(base.tolist()))
        params = digit_grids.pixel_asset(
            network, digit_grids.pool(images, data.y, train), run.asset_root, digest=data.digest
        )
        known = jnp.isin(jnp.arange(data.num_classes), jnp.asarray(base))
        digits = pools[seed]._replace(rows=pools[seed].rows[:, :length])
        draws = functools.partial(draw, params, known, digits, count=config.episodes)
        seeds.append({str(shots): draws(jax.random.fold_in(key, shots), shots=shots) for shots in SHOTS})
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    seeds = prepare(config, run, run.data())

    def measure(method: Method) -> Measured:
        return over_seeds(functools.partial(method.fn, config), seeds, mode="map")

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Canvases of the first seed with the masks that were found, and the scores of all seeds."""
    figure, axes = plots.new_figure(columns=2, title="A new digit among others, found from one mask")
    masks, lines = result.curves.get("masks", {}), {}
    for curve, name in (("canvases", "canvas"), ("truth", "the new digit")):
        if found := result.curves.get(curve):
            lines[name] = np.asarray(next(iter(found.values())), float)[0]
    names = [method.name for method in METHODS]
    lines |= {name: np.asarray(masks[name], float)[0] for name in names if name in masks}
    plots.image_strips(axes[0], lines, limits=(0.0, 1.0), xlabel="new canvases, one mask")
    plots.method_bars(axes[1], result.rows.get("miou_1", {}), names, "intersection over union, one mask")
    return figure
