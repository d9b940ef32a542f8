"""Adapting a generator from one or ten images: what keeps diversity?

Four small adaptations of generators of digits, each by a paper's method and by the plain one, from the same noise:
ten turned digits (a denoiser is fine-tuned), a direction between two classes in an embedding space (a decoder is moved,
no image is given), one image with much ink (a decoder, against a discriminator), and a classifier (a new class
embedding of the denoiser). Diversity is the mean distance of two images, as a share of that before the adaptation; for
ten images also within the clusters of images that have the same nearest example. A classifier that has taken no part
judges.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import adapted_generators as generators
from experiments import plots
from experiments.adapted_generators import Networks, Setting, Task
from experiments.assets import decoders, denoiser
from experiments.assets.decoders import DecoderConfig
from experiments.assets.denoiser import ClassifierConfig, DenoiserConfig
from experiments.claims import difference, ratio
from experiments.runner import Claim, Measured, Method, Result, Run, UserError, over_seeds
from jaxlab import metrics
from jaxlab.kernels import pairwise_sq_dists
from jaxlab.typing import Array

DATASETS = ("digits",)
SEED_SCOPE = "examples, class pairs, adaptation and sampling noise (the generators before it are the same)"
SHOWN = 14


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    samples: int = 300
    """Images that are judged."""
    steps: int = 20
    """DDIM steps of the denoiser."""
    train_steps: int = 8000
    """Training of the denoiser and of the decoder."""
    classifier_steps: int = 1500
    """Training of the classifier that methods look through, and of the judge."""
    shots: int = 10
    """Examples that the denoiser is fine-tuned on; all of them make a batch."""
    few_steps: int = 1500
    """Steps of that fine-tuning."""
    few_rate: float = 5e-4
    """Its learning rate."""
    relation: float = 4.0
    """Weight of the relations among the predicted images."""
    detail: float = 4.0
    """Weight of the relations among their high frequencies; their error has a quarter of it."""
    text_steps: int = 1000
    """Steps of the search for variations of the target's embedding."""
    direct_steps: int = 300
    """Steps of moving the decoder in a direction."""
    direct_batch: int = 16
    """Images a step."""
    direct_rate: float = 1e-3
    """Learning rate."""
    moment_weight: float = 10.0
    """Weight of the second moments of the changes; the printed 1000 drowns the mean here, whose cosine stays at 0.5."""
    ewc_weight: float = 1e7
    """Weight of the penalty on changes of important weights."""
    relation_weight: float = 100.0
    """Weight of the relations among the embeddings, in the same place."""
    one_steps: int = 200
    """Rounds of the game around one example: what the adaptor needs to bring much ink to half of its images."""
    one_batch: int = 16
    """Images a round."""
    one_rate: float = 2e-3
    """Learning rate of both players."""
    attribute: float = 0.5
    """The share of images with much ink (as much as a fifth of the data have) at which the row that stops does so."""
    psi: float = 0.7
    """Truncation of the latents in that game."""
    token_steps: int = 50
    """Steps of optimising a class embedding."""
    token_batch: int = 16
    """Images a step, always from the same noise."""
    token_rate: float = 0.2
    """Learning rate, in units of the spread of the class embeddings."""
    token_scale: float = 2.0
    """Guidance scale of these images."""

    def __post_init__(self) -> None:
        if self.samples < 30:
            raise ValueError(f"samples must be at least 30, got {self.samples}")
        if self.shots < 3:
            raise ValueError(f"shots must be at least 3, as two images have no relation to compare, got {self.shots}")


QUICK = {
    "samples": 40,
    "steps": 4,
    "train_steps": 100,
    "classifier_steps": 50,
    "few_steps": 5,
    "text_steps": 10,
    "direct_steps": 5,
    "one_steps": 5,
    "token_steps": 3,
}


def few(task: Task, key: Array, *, relation: bool = False, detail: bool = False) -> generators.Made:
    config = task.config
    return generators.few_shot(
        task, key, relation=config.relation if relation else 0.0, detail=config.detail if detail else 0.0
    )


def one(task: Task, key: Array, *, truncated: bool) -> generators.Made:
    return generators.one_shot(task, key, adaptor=True, psi=task.config.psi if truncated else 1.0)


METHODS = (
    Method("few_finetune", None, few, note="ten turned digits, all weights of the denoiser"),
    Method("few_relation", 249, functools.partial(few, relation=True), note="without the terms of high frequency"),
    Method("domain_studio", 249, functools.partial(few, relation=True, detail=True)),
    Method(
        "directional",
        None,
        functools.partial(generators.direct, moment=False),
        note="every image in one direction",
    ),
    Method("directional_moment", 215, functools.partial(generators.direct, moment=True)),
    Method(
        "moment_kept",
        215,
        functools.partial(generators.direct, moment=True, keep=True),
        note="with the penalties on weights and relations",
    ),
    Method(
        "one_finetune",
        None,
        functools.partial(generators.one_shot, adaptor=False),
        note="one image, all weights of the decoder",
    ),
    Method(
        "one_stopped",
        None,
        functools.partial(generators.one_shot, adaptor=False, stop=True),
        note="the same, but stopped once half of the images have much ink",
    ),
    Method("adaptor", 210, functools.partial(one, truncated=False), note="without truncation"),
    Method("genda", 210, functools.partial(one, truncated=True)),
    Method(
        "mean_embedding",
        None,
        functools.partial(generators.token, through="none"),
        note="of all classes; one over their number is right by construction, as all ask for the same images",
    ),
    Method("whole_gradient", None, functools.partial(generators.token, through="all"), note="through every step"),
    Method("class_token", 38, functools.partial(generators.token, through="last")),
)
GROUPS = {
    "ten turned digits": METHODS[:3],
    "a direction between two classes": METHODS[3:6],
    "one image with much ink": METHODS[6:10],
    "a classifier": METHODS[10:],
}
FEW, TOKEN = ({method.name for method in GROUPS[name]} for name in ("ten turned digits", "a classifier"))


def _value(metric: str, method: str) -> Callable[[Any], Any]:
    return lambda rows: rows[metric][method]


CLAIMS = (
    Claim(
        249,
        "Plain fine-tuning on ten images loses diversity (within clusters, share of the source's)",
        _value("cluster_diversity", "few_finetune"),
        "<",
        1.0,
    ),
    Claim(
        249,
        "DomainStudio keeps at least 20 % more diversity within clusters than plain fine-tuning (ratio)",
        ratio("cluster_diversity", "domain_studio", "few_finetune"),
        ">",
        1.2,
    ),
    Claim(
        249,
        "DomainStudio is nearer to target images it has not seen than plain fine-tuning (ratio of Frechet distances)",
        ratio("frechet", "domain_studio", "few_finetune"),
        "<",
        1.0,
    ),
    Claim(
        215,
        "Matching moments keeps at least 10 % more diversity than one direction (ratio)",
        ratio("diversity", "directional_moment", "directional"),
        ">",
        1.1,
    ),
    Claim(
        215,
        "at an equal cosine of the mean change (difference)",
        difference("cosine", "directional_moment", "directional"),
        "within",
        0.05,
    ),
    Claim(210, "The adaptor keeps at least 80 % of the diversity", _value("diversity", "genda"), ">", 0.8),
    Claim(
        210,
        "Fine-tuning the whole decoder for as many rounds keeps less than the adaptor (difference)",
        difference("diversity", "one_finetune", "genda"),
        "<",
        0.0,
    ),
    Claim(
        210,
        "The adaptor brings the attribute: 10 points more images with much ink",
        _value("attribute_gain", "genda"),
        ">",
        0.1,
    ),
    Claim(
        38,
        "50 steps through the last denoising step give the wanted class above 90 %, by a classifier that took no part",
        _value("accuracy", "class_token"),
        ">",
        0.9,
    ),
)


def cluster_diversity(x: Array, examples: Array) -> Array:
    """Mean distance of two images with the same nearest example, averaged over the examples that are nearest to two."""
    nearest = jnp.argmin(pairwise_sq_dists(x, examples), axis=1)
    members = nearest == jnp.arange(examples.shape[0])[:, None]
    inside = jax.vmap(lambda where: metrics.mean_pairwise_distance(x, where=where))(members)
    several = jnp.sum(members, axis=1) > 1
    return jnp.sum(jnp.where(several, inside, 0.0)) / jnp.maximum(jnp.sum(several), 1)


def measure_row(
    method: Method, config: Config, nets: Networks, key: Array, setting: Setting
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What one seed of a row comes to, and its first images."""
    made = method.fn(Task(config, nets, setting), key)
    measured = dict(made.more)
    if method.name not in TOKEN:
        spread = [metrics.mean_pairwise_distance(x) for x in (made.adapted, made.source)]
        measured["diversity"] = spread[0] / spread[1]
    if method.name in FEW:
        source = generators.turned(made.source)
        inside = [cluster_diversity(x, made.examples) for x in (made.adapted, source)]
        measured["cluster_diversity"] = inside[0] / inside[1]
        near = [
            jnp.mean(jnp.sqrt(jnp.min(pairwise_sq_dists(x, made.examples), axis=1)))
            for x in (made.adapted, generators.turned(generators.held_out(setting.x)))
        ]
        measured["novelty"] = near[0] / near[1]
        # The judge knows upright digits.
        seen = denoiser.judge(nets.judge, setting.judge, generators.turned(made.adapted, back=True)).features
        real = denoiser.judge(nets.judge, setting.judge, generators.held_out(setting.x)).features
        measured["frechet"] = metrics.frechet_distance(seen, real)
    # The classes of the last question follow each other.
    every = max(1, made.adapted.shape[0] // SHOWN) if method.name in TOKEN else 1
    images = {name: getattr(made, name)[::every][:SHOWN] for name in ("source", "adapted")}
    return measured, images | {"examples": made.examples[:SHOWN]}


def prepare(config: Config, run: Run) -> tuple[Networks, Setting]:
    """The networks, trained or from disk, and the data."""
    data = run.data()
    if data.kind != "images" or data.x.ndim != 3 or data.x.shape[1] != data.x.shape[2] or data.x.shape[1] % 2:
        raise UserError(f"Adapting generators needs square grey images of an even side, {data.name} holds others.")
    x, y, classes = denoiser.scaled(data.x), jnp.asarray(data.y), data.num_classes
    dim = x.shape[1]
    nets = Networks(
        DenoiserConfig(dim=dim, sizes=(classes,), num_steps=config.train_steps),
        DecoderConfig(dim=dim, num_steps=config.train_steps),
        ClassifierConfig(dims=(dim, 96, classes), num_steps=config.classifier_steps, seed=2),
        ClassifierConfig(dims=(dim, 128, 64, classes), num_steps=config.classifier_steps),
    )
    made: dict[str, Any] = {"root": run.asset_root, "digest": data.digest}
    run.progress("training the generators")
    denoises = denoiser.denoiser_asset(nets.denoiser, x, y, **made)
    decodes = decoders.decoder_asset(nets.decoder, x, **made)
    run.progress("training the classifiers")
    eye, judge = (denoiser.classifier_asset(net, x, y, **made) for net in (nets.eye, nets.judge))
    order = np.random.default_rng(0).permutation(len(x))
    return nets, Setting(denoises, decodes, eye, judge, x[order], y[order])


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    nets, setting = prepare(config, run)

    def measure(method: Method) -> Measured:
        # One seed after the other: factorisations of several seeds at once can wait for each other for ever.
        row = functools.partial(measure_row, method, config, nets)
        return over_seeds(row, run.seed_keys(), mode="map", shared=(setting,))

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Images of the first seed before and after every adaptation, the diversity kept, and how far the aim was met."""
    figure, axes = plots.new_figure(columns=2, rows=3, title=f"Adapted generators of {result.dataset}")
    for ax, (title, group) in zip(axes, GROUPS.items(), strict=False):
        _strips(ax, result.curves, [method.name for method in group])
        ax.set_title(title, fontsize=10)
    names = [method.name for method in METHODS]
    plots.method_bars(axes[4], result.rows.get("diversity", {}), names, "diversity kept")
    axes[4].axhline(1.0, color="0.5", linewidth=1)
    aims = {
        **result.rows.get("cosine", {}),
        **result.rows.get("attribute", {}),
        **result.rows.get("accuracy", {}),
    }
    plots.method_bars(axes[5], aims, names, "aim met")
    axes[5].set_title("cosine, share with much ink, accuracy", fontsize=10)
    return figure


def _strips(ax: Any, curves: Any, names: list[str]) -> None:
    """A line of images of the source, one of the examples, and one per method."""
    present = [name for name in names if name in curves.get("adapted", {})]
    first = {name: {kind: np.asarray(curves[kind][name], float)[0] for kind in curves} for name in present}
    lines = {name: first[name]["adapted"] for name in present}
    if present and first[present[0]]["examples"].size:
        lines = {"before": first[present[0]]["source"], "aim": first[present[0]]["examples"]} | lines
    plots.image_strips(ax, lines)
    ax.spines[:].set_visible(False)
