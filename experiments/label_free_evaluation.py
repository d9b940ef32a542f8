"""Can quality be judged without labels (topology, language, prompt bounds, likelihood)?

Four places where labels are dear. Topology: does the persistence of connected components in a network's embeddings tell
how well classes are separated, while it learns and on Gaussian blobs? Language: do captions and image embeddings
together predict how alike people find two images? (The people are simulated: their ratings come from class, stroke
and slant, with noise. Nothing here is evidence about people.) Prompts: is the true error of words that were found on a
few hundred examples bounded by how improbable the words are? Likelihood: what is a model of unlabelled rows worth to a
classifier with ten to two hundred labels?
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import label_free_learning as learning
from experiments import label_free_scores as scores
from experiments import plots
from experiments.assets import captions
from experiments.claims import difference
from experiments.label_free_learning import LABELS
from experiments.label_free_scores import STATISTICS
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds

DATASETS = ("digits",)
SEED_SCOPE = (
    "splits, networks, captions, ratings, blobs; the encoders of images and captions are the same for all seeds"
)


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    items: int = 200
    """Images whose embeddings are looked at and whose similarity is rated."""
    writers: int = 3
    """Captions per image."""
    width: int = 64
    """Of the network that is watched while it learns."""
    blob_size: int = 300
    """Points in three blobs."""
    examples: int = 800
    """Labelled examples that prompts are found on; the encoders have not seen them."""
    encoder_steps: int = 1000
    """Steps of training of the encoders of images and captions."""
    unlabelled: int = 1200
    """Rows that a representation is fitted to."""
    few_unlabelled: int = 150
    """Rows of the mixture that is fitted to fewer."""
    train_steps: int = 400
    """Steps of training of every other network."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1, got {getattr(self, field.name)}")
        if self.items < 2 * scores.TUNING_ITEMS:
            raise ValueError(f"items must be at least {2 * scores.TUNING_ITEMS}, got {self.items}")


QUICK = {"items": 60, "blob_size": 60, "encoder_steps": 100, "examples": 400, "train_steps": 40}


def _images(run: Run, config: Config) -> Dataset:
    data = run.data()
    if data.x.ndim != 3 or data.num_classes > len(captions.CLASSES):
        raise UserError(f"This question needs grey images of at most ten classes, {data.name} has others.")
    rows = len(data.x)
    wanted = {"items": config.items + 128, "examples": 2 * config.examples, "unlabelled": config.unlabelled + 100}
    for name, needed in wanted.items():
        if rows < needed:
            raise UserError(f"{name} needs {needed} images, {data.name} has {rows}.")
    return data


class Parts:
    """What several rows read off one computation, made when the first of them asks for it."""

    def __init__(self, config: Config, run: Run) -> None:
        self.config, self.run, self.data = config, run, _images(run, config)

    @functools.cached_property
    def seen(self) -> scores.Seen:
        config, x, y = self.config, self.data.x, self.data.y
        each = [scores.prepare(x, y, config.items, config.writers, seed) for seed in range(self.run.seeds)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    @functools.cached_property
    def topology(self) -> tuple[Any, Any]:
        config = self.config
        fn = functools.partial(
            scores.topology, width=config.width, num_classes=self.data.num_classes, size=config.blob_size
        )
        found = over_seeds(lambda seen: ({}, fn(seen)), self.seen, mode="map")
        return found.curves, found.timings

    @functools.cached_property
    def language(self) -> tuple[Any, Any]:
        features = jnp.asarray(self.topology[0]["features"])
        found = over_seeds(lambda seen, rows: ({}, scores.language(seen, rows)), self.seen, features, mode="map")
        return found.curves, found.timings

    @functools.cached_property
    def prompting(self) -> tuple[Any, learning.Prompting, learning.Examples]:
        """Encoders trained on some images, and the others as examples and test rows of every seed."""
        data, config, count = self.data, self.config, len(self.data.x)
        order = np.random.default_rng(0).permutation(count)
        pretrained, rest = order[: count - config.examples * 3 // 2], order[count - config.examples * 3 // 2 :]
        written = captions.write(data.x[pretrained], data.y[pretrained], 0)
        x = jnp.asarray(data.x.reshape(count, -1))
        digest = f"{data.digest}-{hashlib.sha256(written.tokens.tobytes()).hexdigest()}"
        encoders = captions.RetrieverConfig(dim=x.shape[1], num_steps=config.encoder_steps)
        self.run.progress("training the encoders of images and captions")
        params = captions.retriever_asset(encoders, x[pretrained], written, root=self.run.asset_root, digest=digest)
        shared = learning.Prompting(params, jnp.asarray(captions.word_bigrams(written.tokens)))
        embedded = captions.embed_images(encoders, params, x)

        def of_seed(seed: int) -> learning.Examples:
            rows = np.random.default_rng(seed).permutation(rest)
            test = jnp.arange(len(rows)) >= config.examples
            return learning.Examples(embedded[rows], x[rows], jnp.asarray(data.y[rows]), test, jax.random.key(seed))

        each = [of_seed(seed) for seed in range(self.run.seeds)]
        return encoders, shared, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)

    @functools.cached_property
    def rows(self) -> learning.Rows:
        data, count = self.data, len(self.data.x)
        x, num_test = data.x.reshape(count, -1), count - self.config.unlabelled
        each = [learning.split(x, data.y, min(num_test, 1000), seed) for seed in range(self.run.seeds)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


def _statistic(parts: Parts, *, name: str) -> Measured:
    found, timings = parts.topology
    curves = {"course": found["course"][name], "fisher": found["course"]["fisher"]}
    return Measured(found["agreement"][name], curves, timings)


def _similarity(parts: Parts, *, name: str) -> Measured:
    found, timings = parts.language
    return Measured(found[name], {}, timings)


def _prompts(parts: Parts) -> Measured:
    encoders, shared, examples = parts.prompting
    fn = functools.partial(learning.search, config=encoders, num_classes=parts.data.num_classes)
    return over_seeds(fn, examples, mode="map", shared=(shared,))


def _parametric(parts: Parts, *, network: bool) -> Measured:
    _, shared, examples = parts.prompting
    fn = functools.partial(
        learning.parametric, num_classes=parts.data.num_classes, network=network, num_steps=parts.config.train_steps
    )
    return over_seeds(fn, examples, mode="map", shared=(shared,))


def _pretrained(parts: Parts, *, learn: Callable[..., Any], few: bool = False) -> Measured:
    config = parts.config
    number = config.few_unlabelled if few else config.unlabelled
    options = {"num_classes": parts.data.num_classes, "num_unlabelled": number, "num_steps": config.train_steps}
    return over_seeds(functools.partial(learn, **options), parts.rows, mode="map")


TOPOLOGY = (*STATISTICS, "mean_distance")
LANGUAGE = ("pixels", "vision", "overlap", "bm25", "tags", "language", "stacked", "raters")
BOUNDS = ("prompts", "linear_head", "network")
PRETRAINING = ("supervised", "mixture", "mixture_few", "factors", "contrastive")
METHODS = (
    *(
        Method(name, 121, functools.partial(_statistic, name=name), note="of the deaths of components")
        for name in STATISTICS
    ),
    Method("mean_distance", None, functools.partial(_statistic, name="mean_distance"), note="between embeddings"),
    Method("pixels", None, functools.partial(_similarity, name="pixels"), note="cosine of the images"),
    Method("vision", 116, functools.partial(_similarity, name="vision"), note="cosine of a network's embeddings"),
    Method("overlap", 116, functools.partial(_similarity, name="overlap"), note="words that captions share"),
    Method("bm25", 116, functools.partial(_similarity, name="bm25")),
    Method("tags", 116, functools.partial(_similarity, name="tags"), note="mean cosine of pairs of words"),
    Method("language", 116, functools.partial(_similarity, name="language"), note="cosine of the captions' tf-idf"),
    Method(
        "stacked", 116, functools.partial(_similarity, name="stacked"), note="language and vision, scale from 20 images"
    ),
    Method("raters", None, functools.partial(_similarity, name="raters"), note="reliability of the ratings"),
    Method("prompts", 56, _prompts, note="words found greedily, bound by their probability"),
    Method("linear_head", None, functools.partial(_parametric, network=False), note="on the embeddings, noisy weights"),
    Method("network", None, functools.partial(_parametric, network=True), note="on the pixels, noisy weights"),
    Method("supervised", None, functools.partial(_pretrained, learn=learning.supervised), note="logistic regression"),
    Method("mixture", 46, functools.partial(_pretrained, learn=learning.mixture), note="clusters named by labels"),
    Method(
        "mixture_few",
        46,
        functools.partial(_pretrained, learn=learning.mixture, few=True),
        note="of fewer unlabelled rows",
    ),
    Method(
        "factors",
        46,
        functools.partial(_pretrained, learn=learning.factors),
        note="logistic regression on expected factors",
    ),
    Method("contrastive", 46, functools.partial(_pretrained, learn=learning.contrastive), note="on a network of pairs"),
)

CLAIMS = (
    Claim(
        121,
        "On blobs the mean death of components falls as the Fisher ratio rises (rank correlation)",
        lambda rows: rows["rho_blobs"]["mean_death"],
        "<",
        -0.7,
    ),
    Claim(121, "So does the entropy of the deaths", lambda rows: rows["rho_blobs"]["entropy"], "<", -0.7),
    Claim(
        121,
        "While a network learns, the mean death falls as the Fisher ratio rises",
        lambda rows: rows["rho_training"]["mean_death"],
        "<",
        -0.7,
    ),
    Claim(
        121,
        "While a network learns, the entropy of the deaths falls as the Fisher ratio rises",
        lambda rows: rows["rho_training"]["entropy"],
        "<",
        -0.7,
    ),
    Claim(
        116,
        "Language and vision together predict the ratings better than either alone",
        lambda rows: (
            rows["r_similarity"]["stacked"]
            - np.maximum(rows["r_similarity"]["language"], rows["r_similarity"]["vision"])
        ),
        ">",
        0.0,
    ),
    Claim(
        56,
        "The bound on the error of the prompts says something: it is below one half",
        lambda rows: rows["bound"]["prompts"],
        "<",
        0.5,
    ),
    Claim(
        56,
        "It is below the bound of a network trained on the same examples",
        difference("bound", "prompts", "network"),
        "<",
        0.0,
    ),
    Claim(
        56,
        "The prompts with the least bound have nearly the least test error of all that were found",
        lambda rows: rows["test_error"]["prompts"] - rows["least_test_error"]["prompts"],
        "<",
        0.02,
    ),
    Claim(
        46,
        "With 20 labels, a mixture of unlabelled rows beats supervised learning by five points",
        difference("accuracy_20", "mixture", "supervised"),
        ">",
        0.05,
    ),
    Claim(
        46,
        "With 50 labels, a mixture of eight times as many unlabelled rows is better",
        difference("accuracy_50", "mixture", "mixture_few"),
        ">",
        0.0,
    ),
    Claim(
        46,
        "The factor model, which is not informative here, neither helps nor hurts by five points with 20 labels",
        difference("accuracy_20", "factors", "supervised"),
        "within",
        0.05,
    ),
)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    parts = Parts(config, run)
    run.rows(METHODS, lambda method: method.fn(parts))


def plot(result: Result) -> Figure:
    """Statistics beside the Fisher ratio, correlation with ratings, bounds beside errors, accuracy by labels."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Judging without labels, on {result.dataset}")
    _plot_course(axes[0], result)
    plots.method_bars(axes[1], result.rows.get("r_similarity", {}), LANGUAGE, "correlation with ratings")
    _plot_bounds(axes[2], result)
    curves = {
        name: np.stack([np.asarray(result.rows[f"accuracy_{n}"][name], float) for n in LABELS], axis=1)
        for name in PRETRAINING
        if name in result.rows.get(f"accuracy_{LABELS[0]}", {})
    }
    plots.curves_over_tasks(axes[3], curves, PRETRAINING, ylabel="test accuracy", xlabel="labelled rows", x=LABELS)
    axes[3].set_xscale("log")
    axes[3].set_xticks(LABELS, [str(n) for n in LABELS])
    return figure


def _plot_course(ax: Axes, result: Result) -> None:
    """Every statistic while the networks learn, scaled to its range, against the Fisher ratio."""
    for place, name in enumerate(TOPOLOGY):
        course = result.curves.get("course", {}).get(name)
        if course is None:
            continue
        mean = np.mean(np.asarray(course, float), axis=0)
        fisher = np.mean(np.asarray(result.curves["fisher"][name], float), axis=0)
        ax.plot(fisher, (mean - mean.min()) / max(np.ptp(mean), 1e-12), label=name, **plots.style(place))
    ax.set_xlabel("Fisher ratio of the embeddings, while networks learn")
    ax.set_ylabel("statistic without labels, scaled")
    ax.legend(frameon=False, fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _plot_bounds(ax: Axes, result: Result) -> None:
    for place, name in enumerate(BOUNDS):
        for offset, (metric, alpha) in enumerate((("train_error", 0.4), ("test_error", 0.7), ("bound", 1.0))):
            values = result.rows.get(metric, {}).get(name)
            if values is None:
                continue
            height = np.asarray(values, float)
            ax.bar(place + 0.27 * (offset - 1), height.mean(), 0.25, color=plots.PALETTE[place], alpha=alpha)
            ax.scatter(np.full(len(height), place + 0.27 * (offset - 1)), height, s=8, color="black", zorder=3)
    ax.set_xticks(range(len(BOUNDS)), BOUNDS)
    ax.axhline(0.9, color="0.4", linestyle="--", linewidth=0.8)
    ax.set_ylabel("errors: in training, in test, and their bound")
