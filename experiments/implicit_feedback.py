"""What helps a recommender that learns from clicks: doubting some of them, texts of new items, or crossed fields?

Three parts. A text has chosen the words it holds, and false words are added to its list: which items should be trained
on? Some words are in no list yet, but other texts tell what comes with them: who will choose them? And measurements of
tumours, cut into categories, decide about a click: by themselves (is it malignant?), or, up to chance, by a product of
two of them, which no sum of fields can express.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets.feedback import baskets, descriptions, fields
from experiments.claims import difference
from experiments.click_models import MODELS, Table, clicked
from experiments.data import load
from experiments.programs import Programs
from experiments.recommenders import (
    Cold,
    Recipe,
    by_distance,
    cold_recall,
    dirty_clicks,
    factorized,
)
from experiments.runner import Claim, Measured, Method, Result, Run
from experiments.streams import stratified_split

SEED_SCOPE = "items held back, false clicks, new items, split of the tumours, training"
COLUMNS = tuple(range(10))  # the means of the ten measurements
PAIR = (1, 4)  # texture and smoothness, next to uncorrelated


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    users: int = 500
    """Texts that choose words; as many others describe the words."""
    items: int = 500
    """Words to choose."""
    length: int = 150
    """Words of a text."""
    noise: tuple[float, ...] = (0.0, 0.4)
    """False items in a list, over true ones; the claims are about the last."""
    test_share: float = 0.2
    """Share of each user's items that is held back."""
    best: int = 20
    """Length of a recommendation."""
    dim: int = 32
    """Width of users and items."""
    steps: int = 1000
    """Steps of Adam for the factors, one item of every user in the batch."""
    batch: int = 500
    """Users in a batch."""
    learning_rate: float = 0.01
    """Of Adam, falling to 0."""
    penalty: float = 0.001
    """Of the squared factors in use."""
    candidates: int = 5
    """Items of a user from which one is drawn by its loss."""
    temperature: float = 0.1
    """Of that draw."""
    warm_up: float = 0.1
    """Share of the steps before which nothing is doubted."""
    truncated: float = 0.2
    """Share of the largest losses of a batch that is left out, where that is the rule."""
    new_share: float = 0.2
    """Share of the items that is new."""
    text_dim: int = 64
    """Width of the description of an item."""
    hidden: int = 64
    """Width of the network from descriptions to items."""
    margin: float = 0.5
    """By which a chosen item must be nearer in squared distance."""
    negatives: int = 20
    """Sampled for each chosen item."""
    decorrelate: float = 10.0
    """Weight of the covariance penalty, where there is one."""
    metric_steps: int = 600
    """Steps of Adam for the item network."""
    metric_batch: int = 100
    """Users in a batch of it."""
    metric_rate: float = 0.003
    """Its learning rate, falling to 0."""
    buckets: int = 8
    """Categories of a field."""
    sharpness: float = 8.0
    """Log-odds of a click by the product of two fields, each spread evenly over [-1, 1]."""
    embedding: int = 8
    """Width of a field."""
    depth: int = 2
    """Layers of the networks that cross fields."""
    click_steps: int = 600
    """Steps of Adam for click models."""
    click_batch: int = 128
    """Rows in a batch of them."""
    click_rate: float = 0.003
    """Their learning rate, falling to 0."""


QUICK = {
    "users": 60,
    "items": 80,
    "noise": (0.0, 0.4),
    "steps": 60,
    "batch": 60,
    "metric_steps": 20,
    "metric_batch": 30,
    "text_dim": 16,
    "best": 5,
    "depth": 1,
    "click_steps": 40,
}


METHODS = (
    Method("bpr", None, factorized, note="any of a user's items over any other"),
    Method("bpr_truncated", None, factorized, note="without the largest losses"),
    Method("pld", 241, factorized, note="items of a user drawn by their loss"),
    Method("popularity", None, cold_recall, note="new items by how often other texts hold them"),
    Method("content", None, cold_recall, note="new items by the cosine of descriptions"),
    Method("cml", 110, by_distance, note="new items by distance, learned from descriptions"),
    Method("cml_decorrelated", 110, by_distance, note="and coordinates decorrelated"),
    Method("lr", None, clicked, note="a number for each category"),
    Method("dcn_v2", None, clicked, note="crossed with the first layer"),
    Method("lcn", 111, clicked, note="the same with half the parameters and a self mask"),
    Method("ecn", 111, clicked, note="crossed with themselves"),
    Method("fcn", 111, clicked, note="both"),
    Method("fcn_tri", 111, clicked, note="both, and each pressed where it is worse"),
)
RANKERS, NEWCOMERS = ("bpr", "bpr_truncated", "pld"), ("popularity", "content", "cml", "cml_decorrelated")


CLAIMS = (
    Claim(
        241, "Items drawn by their loss raise recall over BPR, noise 40 %", difference("recall", "pld", "bpr"), ">", 0.0
    ),
    Claim(241, "And nDCG", difference("ndcg", "pld", "bpr"), ">", 0.0),
    Claim(
        241,
        "False items are drawn less often than they are in the lists",
        lambda rows: rows["false_share"]["pld"] - rows["false_drawn"]["pld"],
        ">",
        0.0,
    ),
    Claim(
        110,
        "Learned distances find new items better than cosines of descriptions (recall)",
        difference("cold_recall", "cml", "content"),
        ">",
        0.0,
    ),
    Claim(
        110,
        "Cosines of descriptions find new items better than popularity (recall)",
        difference("cold_recall", "content", "popularity"),
        ">",
        0.0,
    ),
    Claim(111, "Crossed fields see a product that a sum cannot", difference("auroc_product", "fcn", "lr"), ">", 0.05),
    Claim(111, "Both networks together beat the exponential one", difference("auroc_product", "fcn", "ecn"), ">", 0.0),
    Claim(111, "Both networks together beat the linear one", difference("auroc_product", "fcn", "lcn"), ">", 0.0),
    Claim(111, "Tri-BCE improves on plain cross entropy", difference("auroc_product", "fcn_tri", "fcn"), ">", 0.0),
)


def rankers(config: Config, run: Run) -> Callable[[Method], Measured]:
    """The rows about false clicks: a number for the last noise level, a curve over all."""
    table = baskets(config.users, config.items, config.length).users
    longest = int(np.ceil((1 + max(config.noise)) * table.sum(1).max()))
    make = functools.partial(dirty_clicks, table, test_share=config.test_share, length=longest)
    levels = []
    for noise in config.noise:
        seeds = [make(noise=noise, seed=seed) for seed in range(run.seeds)]
        levels.append(jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds))
    programs, fn = Programs(), functools.partial(factorized, config)

    def measure(method: Method) -> Measured:
        recipe = Recipe(jnp.asarray(method.name == "pld"), jnp.asarray(method.name == "bpr_truncated"))
        parts = [programs.measured("factors", fn, (clicks, run.seed_keys()), recipe) for clicks in levels]
        curves = {
            f"{name}_by_noise": np.stack([part.metrics[name] for part in parts], 1) for name in ("recall", "ndcg")
        }
        curves["noise"] = np.tile(config.noise, (run.seeds, 1))
        timings = {kind: sum(part.timings[kind] for part in parts) for kind in ("compile", "run")}
        return Measured(parts[-1].metrics, curves, timings)

    return measure


def newcomers(config: Config, run: Run) -> Callable[[Method], Measured]:
    """The rows about items that nobody has chosen yet."""
    found = baskets(config.users, config.items, config.length)
    frequency, seeds, cosines = found.others.mean(0, dtype=np.float32), [], []
    for seed in range(run.seeds):
        warm = np.random.default_rng(seed).permutation(config.items) >= round(config.new_share * config.items)
        texts = descriptions(found.others, warm, config.text_dim)
        units = texts / np.maximum(np.linalg.norm(texts, axis=1, keepdims=True), 1e-9)
        cosines.append((found.users & warm).astype(np.float32) @ texts @ units.T)  # the user's length ranks nothing
        seeds.append(Cold(*map(jnp.asarray, (found.users, warm, texts))))
    cold = jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds)
    fixed = {"popularity": np.broadcast_to(frequency, np.shape(cosines)), "content": np.stack(cosines)}
    programs = Programs()
    ranked, learned = functools.partial(cold_recall, config), functools.partial(by_distance, config)

    def measure(method: Method) -> Measured:
        learning, scores = Measured({}), fixed.get(method.name)
        if scores is None:
            weight = jnp.float32(config.decorrelate if method.name == "cml_decorrelated" else 0.0)
            learning = programs.measured("metric", learned, (cold, run.seed_keys()), weight)
            scores = learning.curves["scores"]
        recall = programs.measured("recall", ranked, (cold, jnp.asarray(scores)))
        timings = {kind: seconds + learning.timings.get(kind, 0.0) for kind, seconds in recall.timings.items()}
        return Measured({**learning.metrics, **recall.metrics}, {}, timings)

    return measure


def click_models(config: Config, run: Run) -> Callable[[Method], Measured]:
    """The rows about crossed fields, on both targets."""
    data = load("breast_cancer")
    place = 2 * np.argsort(np.argsort(data.x[:, list(PAIR)], axis=0), axis=0) / (len(data.y) - 1) - 1  # in [-1, 1]
    odds = 1 / (1 + np.exp(-config.sharpness * place[:, 0] * place[:, 1]))
    categories = jnp.asarray(fields(data, COLUMNS, config.buckets))
    seeds: dict[str, list[Table]] = {"": [], "_product": []}
    for seed in range(run.seeds):
        train, _ = stratified_split(data.y, test_fraction=config.test_share, rng=np.random.default_rng(seed))
        learned = jnp.asarray(np.isin(np.arange(len(data.y)), train))
        product = (np.random.default_rng((seed, 2)).random(len(odds)) < odds).astype(np.int32)
        for name, labels in (("", data.y), ("_product", product)):
            seeds[name].append(Table(categories, jnp.asarray(labels), learned, ~learned))
    tables = {name: jax.tree.map(lambda *leaves: jnp.stack(leaves), *part) for name, part in seeds.items()}
    programs, fn = Programs(), functools.partial(clicked, config)

    def measure(method: Method) -> Measured:
        index = jnp.asarray(MODELS.index(method.name))
        parts = {
            name: programs.measured("clicks", fn, (table, run.seed_keys()), index) for name, table in tables.items()
        }
        rows = {metric + name: value for name, part in parts.items() for metric, value in part.metrics.items()}
        timings = {kind: sum(part.timings[kind] for part in parts.values()) for kind in ("compile", "run")}
        return Measured(rows, {}, timings)

    return measure


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    parts = {rankers: RANKERS, newcomers: NEWCOMERS, click_models: MODELS}
    for make, names in parts.items():
        methods = [method for method in METHODS if method.name in names]
        if run.todo(methods):
            run.rows(methods, make(config, run))


def plot(result: Result) -> Figure:
    """Recall over noise, and what is drawn; new items; and clicks that a product decides."""
    figure, axes = plots.new_figure(columns=2, rows=2, title="Recommendations from clicks")
    curves = result.curves.get("recall_by_noise", {})
    noise = next((np.asarray(levels, float)[0] for levels in result.curves.get("noise", {}).values()), None)
    plots.curves_over_tasks(axes[0], curves, RANKERS, ylabel="recall@20", xlabel="false over true items", x=noise)
    if noise is not None:
        axes[0].set_xticks(noise)
    for position, name in enumerate(RANKERS):
        drawn, share = (result.rows.get(metric, {}).get(name) for metric in ("false_drawn", "false_share"))
        if drawn is not None:
            axes[1].bar(position, np.mean(np.asarray(drawn, float)), color=plots.PALETTE[position], alpha=0.75)
            axes[1].axhline(np.mean(np.asarray(share, float)), color="0.3", linewidth=0.8, linestyle="--")
            axes[1].set_xticks(range(len(RANKERS)), RANKERS)
    axes[1].set_ylabel("share of false items, drawn\n(dashed: in the lists)")
    plots.method_bars(axes[2], result.rows.get("cold_recall", {}), NEWCOMERS, "recall@20 of new items")
    plots.method_bars(axes[3], result.rows.get("auroc_product", {}), MODELS, "AUROC, product of two fields")
    axes[3].set_ylim(bottom=0.4)
    axes[3].axhline(0.5, color="0.3", linewidth=0.8, linestyle="--")
    return figure
