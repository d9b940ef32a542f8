"""Which loss finds and verifies classes it never saw, by one threshold for all, and which keeps what lies within one?

A small network embeds rows of half of the classes; rows of the other half are then looked up among themselves, and
called the same where their distance is below a threshold. In a second setting several classes share a name, the
networks learn the names only, and are asked for the classes.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.claims import difference
from experiments.metric_measures import Coarse, Unseen, finer, unseen
from experiments.metric_objectives import OBJECTIVES, embed, train
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError
from experiments.streams import stratified_split
from jaxlab.numerics import normalize
from jaxlab.typing import Array

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "rows that are trained on and looked up, network, batches"

NAMES = (0, 1, 2, 2, 3, 2, 0, 1, 0, 3)
"""Digits that share a name: 0 6 8, 1 7, 2 3 5, 4 9."""
MOST_TESTS = 500
"""Rows of unseen classes that are looked up, drawn anew by every seed."""
THRESHOLDS = tuple(float(t) for t in np.linspace(0.0, 2.0, 61)[1:])


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    train_share: float = 0.8
    """Share of the rows of the known classes to train on, drawn anew by every seed."""
    hidden: int = 128
    """Width of the two hidden layers."""
    width: int = 32
    """Width of the embeddings."""
    steps: int = 300
    """Steps of training."""
    batch: int = 128
    """Rows per step."""
    learning_rate: float = 1e-3
    """Of Adam, falling to zero as a cosine."""
    whisker: float = 1.5
    """How far beyond the quartiles negative pairs are kept by UNPG."""
    rho: float = 0.02
    """MadaCos: the median example's probability of its class."""
    neighbours: int = 5
    """LOOK: neighbours that vote, few beside the rows of a class in a batch."""
    temperature: float = 0.1
    """Of LOOK and of the supervised contrastive loss."""
    far: float = 1e-2
    """False accept rate at which true accepts are counted."""
    ridge: float = 1.0
    """Of the linear probe."""

    def __post_init__(self) -> None:
        if not 0 < self.train_share < 1:
            raise ValueError(f"train_share must lie in (0, 1), got {self.train_share}")


QUICK = {"steps": 40, "hidden": 32, "width": 16, "batch": 64}

_NOTES = {
    "softmax": "cross entropy on a linear head",
    "supervised_contrastive": "every positive against everything else",
    "simplex": "cross entropy on class vectors that stay where they are",
    "contrastive": "distances 0 and .5",
    "contrastive_metrix": "embeddings mixed, by a coin with positives or with the anchor",
    "multi_similarity": "all pairs",
    "cosface_contrastive": "both losses added, as they are in their own rows",
    "mada_cos": "scale and margin set by the median example",
}
_PAPERS = {
    "cosface_unpg": 226,
    "mada_cos": 113,
    "contrastive_tcm": 203,
    "cosface_tcm": 203,
    "contrastive_metrix": 255,
    "look": 86,
    "simplex": 288,
}
NAMED = ("softmax", "supervised_contrastive", "look")
"""The rows that also learn from names which several classes share."""
METHODS = (
    Method("pixels", None, lambda x: x, note="no training: cosines of the rows themselves"),
    *(Method(name, _PAPERS.get(name), fn, note=_NOTES.get(name, "")) for name, fn in OBJECTIVES.items()),
)


def _less_inconsistent(base: str) -> Callable[[Any], Any]:
    return lambda rows: 1.0 - rows["opis"][f"{base}_tcm"] / rows["opis"][base]


def _rises(rows: Any) -> Any:
    """The smaller of both changes: of the scale as a share of its start, and of the margin."""
    first, last = (
        (rows[f"scale_{when}"]["mada_cos"], rows[f"margin_{when}"]["mada_cos"]) for when in ("first", "last")
    )
    return np.minimum(last[0] / first[0] - 1.0, last[1] - first[1])


CLAIMS = (
    Claim(
        226,
        "Negative pairs of the batch in the softmax: CosFace accepts more true pairs at 1 % false ones",
        difference("tar_at_far", "cosface_unpg", "cosface"),
        ">",
        0.0,
    ),
    Claim(
        226,
        "In the softmax they serve better than as a contrastive loss beside it (same rate)",
        difference("tar_at_far", "cosface_unpg", "cosface_contrastive"),
        ">",
        0.0,
    ),
    Claim(
        113,
        "MadaCos, which has no margin to choose, is within a point of CosFace or better (mAP)",
        difference("mean_average_precision", "mada_cos", "cosface"),
        ">",
        -0.01,
    ),
    Claim(113, "MadaCos raises its scale and its margin as training goes", _rises, ">", 0.0),
    Claim(
        203, "TCM beside the contrastive loss: a fifth less OPIS or better", _less_inconsistent("contrastive"), ">", 0.2
    ),
    Claim(203, "TCM beside CosFace: a fifth less OPIS or better", _less_inconsistent("cosface"), ">", 0.2),
    Claim(
        203,
        "TCM leaves recall at 1 of the contrastive loss within a point",
        difference("recall_at_1", "contrastive_tcm", "contrastive"),
        "within",
        0.01,
    ),
    Claim(
        255,
        "Metrix with its mixed embeddings covers unseen classes better than the contrastive loss (utilization falls)",
        lambda rows: rows["utilization_mixed"]["contrastive_metrix"] - rows["utilization"]["contrastive"],
        "<",
        0.0,
    ),
    Claim(
        255,
        "So do its training embeddings alone (more references can only lower utilization)",
        difference("utilization", "contrastive_metrix", "contrastive"),
        "<",
        0.0,
    ),
    Claim(
        255,
        "Metrix raises recall at 1 of the contrastive loss by half a point",
        difference("recall_at_1", "contrastive_metrix", "contrastive"),
        ">",
        0.005,
    ),
    Claim(
        86,
        "Trained on shared names, LOOK tells the classes apart better than cross entropy, by a point (neighbours)",
        difference("fine_neighbours", "look", "softmax"),
        ">",
        0.01,
    ),
    Claim(86, "By a linear probe too", difference("fine_linear", "look", "softmax"), ">", 0.01),
    Claim(
        86,
        "On the names themselves both are equal within two points",
        difference("coarse_neighbours", "look", "softmax"),
        "within",
        0.02,
    ),
)


@dataclasses.dataclass(frozen=True)
class Setup:
    """The rows of all seeds; leaves have a leading axis of seeds where they are not shared."""

    x: Array
    unseen: Unseen
    unseen_labels: Array
    coarse: Coarse
    coarse_labels: Array
    num_unseen: int
    num_classes: int
    num_outputs: int
    names: tuple[str, ...]
    """The objectives of the selected rows: one program trains by all of them."""


def prepare(config: Config, run: Run, data: Dataset) -> Setup:
    """Half of the classes to train on, the others to test on; and names that classes share."""
    if data.num_classes < 4:
        raise UserError(f"Known and unseen classes need at least 4 classes, {data.name} has {data.num_classes}.")
    num_known = data.num_classes // 2
    digits = run.common.data is None and data.num_classes == len(NAMES)
    names = np.array(NAMES if digits else np.arange(data.num_classes) // 2, np.int32)
    groups, parts, named = names[data.y], [], []
    known, new = np.flatnonzero(data.y < num_known), np.flatnonzero(data.y >= num_known)
    for seed in range(run.seeds):
        rng = np.random.default_rng(seed)
        rows = known[stratified_split(data.y[known], test_fraction=1 - config.train_share, rng=rng)[0]]
        tests = np.sort(rng.permutation(new)[:MOST_TESTS])
        parts.append((rows, data.y[rows], tests, data.y[tests] - num_known))
        train_rows, test_rows = stratified_split(data.y, test_fraction=1 - config.train_share, rng=rng)
        named.append([of for rows in (train_rows, test_rows) for of in (rows, data.y[rows], groups[rows])])
    indices = [jnp.asarray(np.stack(part)) for part in zip(*parts, strict=True)]
    mix_keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(run.seed_keys())
    return Setup(
        x=jnp.asarray(data.x.reshape(len(data.x), -1)),
        unseen=Unseen(indices[0], indices[1], indices[2], indices[3], mix_keys),
        unseen_labels=jnp.asarray(np.where(data.y < num_known, data.y, 0)),
        coarse=Coarse(*(jnp.asarray(np.stack(part)) for part in zip(*named, strict=True))),
        coarse_labels=jnp.asarray(groups),
        num_unseen=data.num_classes - num_known,
        num_classes=data.num_classes,
        num_outputs=max(num_known, int(names.max()) + 1),
        names=tuple(method.name for method in run.todo(METHODS) if method.name in OBJECTIVES),
    )


def _trained(config: Config, run: Run, setup: Setup, name: str, rows: Array, labels: Array) -> tuple[Array, Array]:
    """Embeddings [S, N, E] of all rows by networks trained on some, and the scales and margins of every step."""
    where = jax.vmap(lambda index: jnp.zeros(len(setup.x), bool).at[index].set(True))(rows)
    which = jnp.asarray(setup.names.index(name))
    params, trace = train(
        config, setup.names, which, setup.x, labels, where, run.seed_keys(), num_classes=setup.num_outputs
    )
    return _embedded(config, params, setup.x), trace


@functools.partial(jax.jit, static_argnames="config")
def _embedded(config: Config, params: Any, x: Array) -> Array:
    return jax.vmap(lambda own: embed(config, own, x))(params)


def measure(config: Config, run: Run, setup: Setup, method: Method) -> Measured:
    """One row: both settings where it learns from names too."""
    start, chosen, curves = time.perf_counter(), {}, {}
    if method.name == "pixels":
        embeddings = jnp.broadcast_to(normalize(setup.x), (run.seeds, *setup.x.shape))
    else:
        embeddings, trace = _trained(config, run, setup, method.name, setup.unseen.train, setup.unseen_labels)
        if method.name == "mada_cos":
            curves = {"scale": trace[..., 0], "margin": trace[..., 1]}
            tenth = max(1, config.steps // 10)
            for name, values in curves.items():
                chosen[f"{name}_first"] = jnp.mean(values[:, :tenth], axis=1)
                chosen[f"{name}_last"] = jnp.mean(values[:, -tenth:], axis=1)
    options = {"num_classes": setup.num_unseen, "far": config.far, "thresholds": THRESHOLDS}
    found, rates = unseen(embeddings, setup.unseen, **options)
    if method.name in NAMED:
        embeddings, _ = _trained(config, run, setup, method.name, setup.coarse.train, setup.coarse_labels)
        sizes = {"num_classes": setup.num_classes, "num_groups": setup.num_outputs, "ridge": config.ridge}
        found |= finer(embeddings, setup.coarse, **sizes)
    metrics, shown = jax.tree.map(np.asarray, (found | chosen, rates | curves))
    # One program trains all rows: the first one's time holds its compilation.
    return Measured(metrics, shown, {"run": time.perf_counter() - start})


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    setup = prepare(config, run, run.data())
    run.rows(METHODS, functools.partial(measure, config, run, setup))


def plot(result: Result) -> Figure:
    """Recall against inconsistency, accept rates of every class, what MadaCos does, and what is kept within a name."""
    figure, axes = plots.new_figure(columns=2, rows=2, title=f"Embeddings of classes never seen: {result.dataset}")
    _trade(axes[0], result)
    _accepts(axes[1], result)
    _schedule(axes[2], result)
    _kept(axes[3], result)
    return figure


def _trade(ax: Axes, result: Result) -> None:
    recall, opis = (result.rows.get(metric, {}) for metric in ("recall_at_1", "opis"))
    means = {name: (np.mean(opis[name]), np.mean(recall[name])) for name in recall if name in opis}
    places = {method.name: place for place, method in enumerate(METHODS)}
    ranked = sorted(means, key=lambda name: -means[name][1])
    for height, name in zip(np.linspace(0.98, 0.02, max(len(ranked), 2)), ranked, strict=False):
        look = plots.style(places[name])
        ax.scatter(*means[name], s=40, color=look["color"], marker=look["marker"], zorder=3)
        line = {"arrowstyle": "-", "linewidth": 0.5, "color": "0.7"}
        ax.annotate(
            name, means[name], (1.03, height), textcoords="axes fraction", fontsize=8, va="center", arrowprops=line
        )
    ax.locator_params(axis="x", nbins=5)
    ax.set_xlabel("OPIS (left: one threshold fits all classes)")
    ax.set_ylabel("recall at 1, unseen classes")


def _accepts(ax: Axes, result: Result) -> None:
    curves = result.curves.get("accepted", {})
    for position, name in enumerate(("contrastive", "contrastive_tcm")):
        if name in curves:
            rates = np.mean(np.asarray(curves[name], float), axis=0)
            ax.plot(
                THRESHOLDS,
                rates.T,
                color=plots.PALETTE[position],
                linewidth=1.2,
                label=[name] + [None] * (len(rates) - 1),
            )
            ax.legend(frameon=False)
    ax.set_xlabel("distance below which a pair is accepted")
    ax.set_ylabel("true pairs accepted, by class")


def _schedule(ax: Axes, result: Result) -> None:
    other = ax.twinx()
    for panel, name, colour in ((ax, "scale", plots.PALETTE[0]), (other, "margin", plots.PALETTE[1])):
        curve = result.curves.get(name, {}).get("mada_cos")
        if curve is not None:
            panel.plot(np.mean(np.asarray(curve, float), axis=0), color=colour)
        panel.set_ylabel(f"{name} of MadaCos", color=colour)
    ax.set_yscale("log")
    ax.set_xlabel("step of training")


def _kept(ax: Axes, result: Result) -> None:
    kinds = ("coarse_neighbours", "fine_neighbours", "fine_linear")
    lowest = 1.0
    for place, name in enumerate(NAMED):
        values = [result.rows[kind][name] for kind in kinds if name in result.rows.get(kind, {})]
        if len(values) == len(kinds):
            means = [np.mean(value) for value in values]
            lowest = min(lowest, *(np.min(value) for value in values))
            at = np.arange(len(kinds)) + 0.25 * (place - 1)
            ax.bar(at, means, width=0.23, color=plots.PALETTE[place], alpha=0.75, label=name)
            for x, value in zip(at, values, strict=True):
                ax.scatter(np.full(len(value), x), value, s=8, color="black", zorder=3)
    ax.set_ylim(max(0.0, lowest - 0.1), 1.0)
    ax.set_xticks(range(len(kinds)), ["names\n(neighbours)", "classes\n(neighbours)", "classes\n(linear)"])
    ax.set_ylabel("accuracy, shared names learned")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=9)
