"""What can be learned in context, without a change of weights?

Small causal transformers see a sequence of labelled examples and predict each label. On Boolean functions (of 8 bits, a
class of functions per model) they stand beside exact learners: elimination, the nearest neighbour, a perceptron. On
tasks made from a data set by a random projection and renamed classes (4 classes in 8 dimensions), models differ in the
number of tasks that they were trained on, and face tasks they know and tasks they do not.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import plots
from experiments.asset import asset
from experiments.claims import difference
from experiments.in_context_models import (
    CLASSES,
    DIMS,
    KINDS,
    ModelConfig,
    Rows,
    Sequences,
    boolean_sequences,
    causal_logits,
    pick_model,
    projected_sequences,
    train_models,
)
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from jaxlab import metrics, nn
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "functions, tasks and sequences of the evaluation; trained models are shared unless runs is raised"
END = 6
"""Positions at the end of a sequence that count as its end."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    runs: int = 1
    """Trainings of every model; seed i meets run i modulo their number."""
    length: int = 30
    """Examples of a sequence."""
    width: int = 32
    """Width of the transformers."""
    layers: int = 2
    """Their layers."""
    steps: int = 1000
    """Steps of training, batches of 32 new sequences."""
    sequences: int = 256
    """Sequences of an evaluation, per seed and kind."""

    def __post_init__(self) -> None:
        if self.length < DIMS + 2 + END:
            raise ValueError(f"length must leave room behind a teaching sequence: at least {DIMS + 2 + END}")


QUICK = {"steps": 20, "sequences": 32, "width": 16}

# predict(config, params, sequences) -> guesses int [B, T]
Predict = Callable[[Any, PyTree, Sequences], Array]


def transformer(name: Any) -> Predict:
    """One of the trained models."""

    def predict(config: Config, params: PyTree, sequences: Sequences) -> Array:
        apply_fn = functools.partial(causal_logits, model_config(config, 0))
        return jnp.argmax(nn.in_context_logits(apply_fn, pick_model(params, name), sequences.tokens), axis=-1)

    return predict


def _signs(learner: Callable[[Array, Array], Array]) -> Predict:
    """A learner of +1 and -1; where it has no opinion it says -1."""

    def predict(config: Config, params: PyTree, sequences: Sequences) -> Array:
        scores = jax.vmap(learner)(sequences.tokens[..., :DIMS], 2.0 * sequences.labels - 1)
        return (scores > 0).astype(jnp.int32)

    return predict


def nearest(config: Config, params: PyTree, sequences: Sequences) -> Array:
    """The label of the nearest example before."""
    vote = functools.partial(nn.nearest_neighbor_icl, num_classes=CLASSES)
    return jnp.argmax(jax.vmap(vote)(sequences.tokens[..., :DIMS], sequences.labels), axis=-1)


def majority(config: Config, params: PyTree, sequences: Sequences) -> Array:
    """The most frequent label so far."""
    return jnp.argmax(jnp.cumsum(sequences.tokens[..., DIMS:], axis=-2), axis=-1)


def _boolean(by_kind: dict[str, Predict]) -> Callable[..., tuple[dict[str, Array], dict[str, Array]]]:
    """Accuracy at the end of sequences, by position, and behind teaching sequences."""

    def measure(config: Config, made: dict[str, Sequences], params: PyTree) -> Any:
        found, curves = {}, {}
        for kind in KINDS:
            right = (by_kind[kind](config, params, made[kind]) == made[kind].labels).astype(jnp.float32)
            found[f"{kind}_accuracy"] = jnp.mean(right[:, -END:])
            curves[kind] = jnp.mean(right, axis=0)
            if kind != "parity":
                # The same places in both kinds of sequence: the first behind where a teaching sequence ends, or would.
                begin = jnp.sum(jnp.abs(made[kind].w), axis=1).astype(jnp.int32) + 2
                place = jnp.arange(config.length) - begin[:, None]
                found[f"{kind}_behind"] = jnp.sum(jnp.where((place >= 0) & (place < 3), right, 0)) / (3 * len(right))
        return found, curves

    return measure


def _projected(predict: Predict, known: str | None) -> Callable[..., tuple[dict[str, Array], dict[str, Array]]]:
    """Accuracy at the end of sequences of known tasks (or None), of new ones, and of new ones on other classes."""

    def measure(config: Config, made: dict[str, Sequences], params: PyTree) -> Any:
        sources = ({} if known is None else {"known": known}) | {"new": "new", "other": "other"}
        right = {name: predict(config, params, made[one]) == made[one].labels for name, one in sources.items()}
        found = {f"{name}_accuracy": jnp.mean(values[:, -END:]) for name, values in right.items()}
        if known is not None:
            found["gap"] = found["known_accuracy"] - found["new_accuracy"]
        found["improvement"] = metrics.learning_improvement(right["new"])
        return found, {"new": jnp.mean(right["new"], axis=0)}

    return measure


def _both(*parts: Callable[..., Any]) -> Callable[..., Any]:
    def measure(*args: Any) -> Any:
        measured = [part(*args) for part in parts]
        return tuple(functools.reduce(lambda a, b: a | b, side) for side in zip(*measured, strict=True))

    return measure


_EXACT = {kind: _signs(nn.parity_elimination if kind == "parity" else nn.conjunction_elimination) for kind in KINDS}
METHODS = (
    Method("majority", None, _both(_boolean(dict.fromkeys(KINDS, majority)), _projected(majority, "known_4"))),
    Method("nearest_neighbor", None, _both(_boolean(dict.fromkeys(KINDS, nearest)), _projected(nearest, "known_4"))),
    Method("perceptron", None, _boolean(dict.fromkeys(KINDS, _signs(nn.averaged_perceptron)))),
    Method("exact", None, _boolean(_EXACT), note="elimination of literals; of parities by equations"),
    Method(
        "transformer", 154, _boolean({kind: transformer(kind) for kind in KINDS}), note="a model per class of functions"
    ),
    Method("trained_on_4", 194, _projected(transformer(4), "known_4"), note="tasks in training: 4"),
    Method("trained_on_64", 194, _projected(transformer(64), "known_64"), note="tasks in training: 64"),
    Method("trained_on_new", 194, _projected(transformer(None), None), note="every training sequence a new task"),
)


CLAIMS = (
    Claim(
        154,
        "Conjunctions: the transformer ends within .05 of elimination",
        difference("conjunction_accuracy", "exact", "transformer"),
        "<",
        0.05,
    ),
    Claim(
        154,
        "Parities: the transformer stays at chance",
        lambda rows: rows["parity_accuracy"]["transformer"] - 0.5,
        "within",
        0.05,
    ),
    Claim(
        154,
        "Behind a teaching sequence it is more accurate than as far into random examples",
        lambda rows: rows["taught_conjunction_behind"]["transformer"] - rows["conjunction_behind"]["transformer"],
        ">",
        0.0,
    ),
    Claim(
        194,
        "The gap between known and new tasks is smaller after training on 64 tasks than on 4",
        difference("gap", "trained_on_4", "trained_on_64"),
        ">",
        0.0,
    ),
    Claim(
        194,
        "On new tasks it learns more within a sequence after training on new tasks alone than on 4",
        difference("improvement", "trained_on_new", "trained_on_4"),
        ">",
        0.0,
    ),
    Claim(
        194,
        "Trained on new tasks alone it learns within a sequence: accuracy on new tasks rises by .1",
        lambda rows: rows["improvement"]["trained_on_new"],
        ">",
        0.1,
    ),
)


def model_config(config: Config, run: int) -> ModelConfig:
    """Of the models of one run of training."""
    return ModelConfig(run, config.length, config.width, config.layers, steps=config.steps)


def projected_rows(data: Dataset) -> dict[str, Rows]:
    """The first principal components of rows: of four classes to train on, of those to test on, of four others."""
    pixels = data.x.reshape(len(data.x), -1)
    train, test = stratified_split(data.y, test_fraction=0.3, rng=np.random.default_rng(0))
    mean = pixels[train].mean(0)
    _, scales, axes = np.linalg.svd(pixels[train] - mean, full_matrices=False)
    components = (pixels - mean) @ axes[:DIMS].T / (scales[:DIMS] / np.sqrt(len(train)))
    parts = {"train": (train, 0), "same": (test, 0), "other": (test, CLASSES)}
    found = {}
    for name, (rows, first) in parts.items():
        chosen = rows[(data.y[rows] >= first) & (data.y[rows] < first + CLASSES)]
        found[name] = Rows(jnp.asarray(components[chosen], jnp.float32), jnp.asarray(data.y[chosen] - first))
    return found


def evaluation(config: Config, key: Array, rows: dict[str, Rows]) -> dict[str, Sequences]:
    """Sequences that every row meets."""
    count, length = config.sequences, config.length
    keys = jax.random.split(key, len(KINDS) + 4)
    made = {kind: boolean_sequences(one, kind, count, length) for kind, one in zip(KINDS, keys, strict=False)}
    projected = {"known_4": ("same", 4), "known_64": ("same", 64), "new": ("same", None), "other": ("other", None)}
    for one, (name, (some, tasks)) in zip(keys[len(KINDS) :], projected.items(), strict=True):
        made[name] = projected_sequences(one, rows[some], count, length, tasks)
    return made


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    data = run.data()
    if data.num_classes < 2 * CLASSES or np.prod(data.x.shape[1:]) < DIMS:
        raise UserError(f"Projected tasks need {2 * CLASSES} classes in {DIMS} dimensions, {data.name} has fewer.")
    rows = projected_rows(data)
    models = []
    for i in range(min(config.runs, run.seeds)):
        run.progress(f"training the models of run {i + 1}")
        build = functools.partial(train_models, rows=rows["train"])
        models.append(asset(model_config(config, i), build, run.asset_root, data_digest=data.digest))
    params = jax.tree.map(lambda *leaves: jnp.stack([leaves[i % len(leaves)] for i in range(run.seeds)]), *models)
    run.progress("making the sequences of the evaluation")
    make = jax.jit(jax.vmap(functools.partial(evaluation, config), in_axes=(0, None)))
    made = make(run.seed_keys(), {name: rows[name] for name in ("same", "other")})

    def measure(method: Method) -> Measured:
        return over_seeds(functools.partial(method.fn, config), made, params)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """Accuracy by position in the sequence, for every class of functions and for new tasks."""
    figure, axes = plots.new_figure(
        columns=2, rows=2, title=f"Learning in context: Boolean functions, and tasks from {result.dataset}"
    )
    names = [method.name for method in METHODS]
    titles = {
        "conjunction": "conjunctions",
        "taught_conjunction": "conjunctions, a teaching sequence first",
        "parity": "parities",
        "new": "new tasks made from the data",
    }
    lines: dict[str, Any] = {}
    for ax, (curve, title) in zip(axes, titles.items(), strict=True):
        found = {name: np.asarray(values) for name, values in result.curves.get(curve, {}).items()}
        plots.curves_over_tasks(ax, found, names, ylabel="accuracy", xlabel="position in the sequence")
        for line in ax.get_lines():
            line.set(markersize=3, linewidth=1.5)
        ax.set_title(title, fontsize=11)
        if legend := ax.get_legend():
            legend.remove()
        handles, labels = ax.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, frameon=False)
    return figure
