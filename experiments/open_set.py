"""Which score sees the unknown class, and does it track closed-set accuracy?

A small network learns some of the classes. Test rows of these are known, test rows of the classes held out are unknown,
and uniform noise is far from everything; a score should be larger on what is known. Features brought by ``--data``
train the same network.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from experiments import plots
from experiments.assets.classifiers import train_classifier
from experiments.claims import difference
from experiments.networks import mlp
from experiments.open_set_networks import SCORES, hidden_layers, make_outliers, make_reciprocal, many_networks
from experiments.runner import Claim, Dataset, Measured, Method, Result, Run, UserError, over_seeds
from experiments.streams import stratified_split
from jaxlab import analytic, continual, detect, metrics, optim
from jaxlab.typing import Array, PyTree

DATASETS = ("digits", "mnist5k")
SEED_SCOPE = "classes held out, split into training, validation and test rows, network, noise"
KNOWN, UNKNOWN, NOISE = 0, 1, 2
SOFTMAX = ("max_softmax", "max_logit", "entropy", "energy", "virtual_outliers", "arpl", "many_networks")
PENULTIMATE = 1  # of the network's two hidden layers
# The published steps of the input pre-processing, as shares of the input's range.
STEPS = (0.0, 0.0005, 0.001, 0.0014, 0.002, 0.005, 0.01)


@dataclasses.dataclass(frozen=True)
class Config:
    """The science of this question."""

    unknown_share: float = 0.3
    """Share of the classes that is held out."""
    test_share: float = 0.3
    """Share of the rows to test on."""
    validation_share: float = 0.1
    """Share of the other rows on which steps and weights are chosen; they hold known classes only."""
    hidden: int = 128
    """Width of both hidden layers."""
    train_steps: int = 500
    """Steps of Adam, batches of 128."""
    covariance_ridge: float = 1e-4
    """Added to the covariance, relative to the mean squared feature."""
    attack: float = 0.05
    """Size of the gradient-sign attack that stands in for unknown inputs where something is chosen."""
    ensemble_ridge: float = 1.0
    """Ridge of the logistic regression on the layers' scores."""
    outlier_steps: int = 200
    """Steps by which the head goes on with invented outliers."""
    outlier_penalty: float = 0.1
    """Weight of the margin between their energies and those of known rows."""

    def __post_init__(self) -> None:
        for name in ("unknown_share", "test_share", "validation_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in (0, 1), got {getattr(self, name)}")


QUICK = {"train_steps": 150, "outlier_steps": 40}


class Rows(NamedTuple):
    """Inputs of one seed in [0, 1] with their labels, and which of them are real rows, not padding."""

    x: Array  # [N, D]
    y: Array  # [N]
    where: Array  # [N]


class Seed(NamedTuple):
    """What one seed works on. The rows to train and to validate on are of known classes."""

    classes: Array  # bool [C], True for the known classes
    params: PyTree
    train: Rows
    validation: Rows
    tests: Rows
    kind: Array  # [N], what the test rows are: KNOWN, UNKNOWN or NOISE
    key: Array


# From inputs [N, D] to how like a known class they are, [N], and their logits by class, [N, C].
Detector = Callable[[Array], tuple[Array, Array]]
MakeDetector = Callable[[Config, Seed], tuple[Detector, dict[str, Array]]]


def activations(params: PyTree, x: Array) -> list[Array]:
    """Both hidden layers of the network, then its logits."""
    layers = hidden_layers(params, x)
    return [*layers, layers[-1] @ params["head"]["kernel"] + params["head"]["bias"]]


def detector_row(make: MakeDetector, config: Config, seed: Seed) -> tuple[dict[str, Array], dict[str, Array]]:
    """What was chosen on the way, and the score and the predicted class of every test row."""
    detector, chosen = make(config, seed)
    score, logits = detector(seed.tests.x)
    return chosen, {"score": score, "predicted": jnp.argmax(logits, axis=-1)}


@jax.jit
@jax.vmap
def measures(score: Array, predicted: Array, labels: Array, kind: Array, where: Array) -> dict[str, Array]:
    """Known against unknown classes and against noise, and how well the known classes are told apart."""
    known = kind == KNOWN
    near, far = where & (kind != NOISE), where & (kind != UNKNOWN)
    return {
        "auroc": metrics.auroc(score, known, where=near),
        "auroc_far": metrics.auroc(score, known, where=far),
        "oscr": metrics.oscr(score, predicted == labels, known, where=near),
        # Unknown rows that are found where 5 % of the known ones are given up.
        "tnr_at_tpr95": metrics.tpr_at_fpr(-score, ~known, fpr=0.05, where=near),
        "closed_accuracy": metrics.accuracy(predicted, labels, where=where & known),
    }


def make_softmax(config: Config, seed: Seed, *, score: Callable[..., Array]) -> tuple[Detector, dict[str, Array]]:
    """A score of the network's own logits."""

    def detector(x: Array) -> tuple[Array, Array]:
        logits = activations(seed.params, x)[-1]
        return score(logits, class_where=seed.classes), jnp.where(seed.classes, logits, -jnp.inf)

    return detector, {}


def _statistics(config: Config, seed: Seed, layer: int, second: str = "shared") -> tuple[analytic.ClassStats, Array]:
    """Class statistics of a layer's features on the training rows, and the ridge of their covariance."""
    x, y, where = seed.train
    features = activations(seed.params, x)[layer]
    num_classes, dim = seed.classes.shape[0], features.shape[1]
    empty = analytic.class_stats_init(num_classes, dim, second=second, shift=features[0])
    mean_square = jnp.mean(features**2, where=where[:, None])
    return analytic.class_stats_update(empty, features, y, where=where), config.covariance_ridge * mean_square


def _on_features(seed: Seed, layer: int, stats: analytic.ClassStats, ridge: Array) -> Detector:
    def detector(x: Array) -> tuple[Array, Array]:
        features = activations(seed.params, x)[layer]
        score = detect.mahalanobis_score(stats, features, ridge=ridge)
        return score, analytic.mahalanobis(stats, features, ridge=ridge)

    return detector


def make_mahalanobis(config: Config, seed: Seed, *, layer: int = PENULTIMATE) -> tuple[Detector, dict[str, Array]]:
    """Distance to the nearest class in the features of one layer."""
    return _on_features(seed, layer, *_statistics(config, seed, layer)), {}


def make_by_class(config: Config, seed: Seed) -> tuple[Detector, dict[str, Array]]:
    """The same, with the classes added one after the other from their own means and covariances."""
    stats, ridge = _statistics(config, seed, PENULTIMATE, second="full")
    assert stats.full is not None
    count = jnp.maximum(stats.count, 1)[:, None]
    means = stats.sum / count  # relative to the shift, as everything below
    covariances = stats.full / count[:, :, None] - means[:, :, None] * means[:, None, :]

    def add(state: continual.MahalanobisState, label: Array) -> tuple[continual.MahalanobisState, None]:
        exists = jnp.where(stats.count[label] > 0, label, -1)  # -1 adds nothing
        return continual.mahalanobis_add_class(state, exists, means[label], covariances[label]), None

    start = jax.tree.map(jnp.zeros_like, continual.MahalanobisState(means, covariances[0], stats.count > 0))
    state, _ = jax.lax.scan(add, start, jnp.arange(means.shape[0]))
    # As statistics of one row per class, with the scatter that makes their covariance the one of the state.
    seen = state.seen.astype(jnp.int32)
    scatter = jnp.sum(seen) * state.covariance + jnp.matmul(state.mean.T, state.mean, precision="highest")
    equal = analytic.ClassStats(seen, state.mean, stats.shift, shared=scatter)
    return _on_features(seed, PENULTIMATE, equal, ridge), {}


def validation_pairs(config: Config, seed: Seed) -> tuple[Array, Array, Array]:
    """Validation inputs and, after them, the same under attack; which are as they were, and which count.

    The attack is a step of the gradient's sign away from the label: it stands in for the unknown, which nothing may be
    chosen by.
    """
    x, y, where = seed.validation

    def loss(x: Array) -> Array:
        logits = activations(seed.params, x)[-1]
        exists = jnp.broadcast_to(seed.classes, logits.shape)
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y, where=exists)

    size = config.attack
    attacked = optim.projected_gradient_attack(loss, x, eps=size, step=size, num_iters=1, bounds=(0.0, 1.0))
    return jnp.concatenate([x, attacked]), jnp.repeat(jnp.array([True, False]), len(x)), jnp.tile(where, 2)


def make_processed(config: Config, seed: Seed) -> tuple[Detector, dict[str, Array]]:
    """Every input goes one step up the score first, of the size that finds most attacked validation rows."""
    plain, _ = make_mahalanobis(config, seed)
    pairs, clean, where = validation_pairs(config, seed)

    def processed(x: Array, step: Array) -> tuple[Array, Array]:
        score = lambda x: plain(x)[0]  # noqa: E731
        return plain(optim.projected_gradient_attack(score, x, eps=step, step=step, num_iters=1))

    def found(step: Array) -> Array:
        return metrics.tpr_at_fpr(-processed(pairs, step)[0], ~clean, fpr=0.05, where=where)

    steps = jnp.array(STEPS)
    step = steps[jnp.argmax(jax.lax.map(found, steps))]
    return lambda x: processed(x, step), {"chosen_step": step}


def make_ensemble(config: Config, seed: Seed) -> tuple[Detector, dict[str, Array]]:
    """Both layers' scores, weighted by a logistic regression of validation rows against attacked ones."""
    layers = [make_mahalanobis(config, seed, layer=layer)[0] for layer in range(PENULTIMATE + 1)]
    pairs, clean, where = validation_pairs(config, seed)

    def scores(x: Array) -> tuple[Array, Array]:
        """One column per layer, and the logits of the last."""
        each = [layer(x) for layer in layers]
        return jnp.stack([score for score, _ in each], axis=-1), each[-1][1]

    rows, _ = scores(pairs)
    center, spread = (of(rows, axis=0, where=where[:, None]) for of in (jnp.mean, jnp.std))
    targets = jax.nn.one_hot(clean.astype(jnp.int32), 2)  # column 1: as it was
    head = analytic.logistic_regression((rows - center) / spread, targets, ridge=config.ensemble_ridge, where=where)

    def detector(x: Array) -> tuple[Array, Array]:
        columns, logits = scores(x)
        against, known = jnp.moveaxis(analytic.head_logits(head, (columns - center) / spread), -1, 0)
        return known - against, logits

    return detector, {}


def _detector(make: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return functools.partial(detector_row, functools.partial(make, **options))


METHODS = (
    Method("max_softmax", None, _detector(make_softmax, score=detect.max_softmax), note="largest probability"),
    Method("max_logit", 289, _detector(make_softmax, score=detect.max_logit)),
    Method("entropy", None, _detector(make_softmax, score=detect.entropy_score), note="of the softmax, negated"),
    Method("energy", None, _detector(make_softmax, score=detect.energy), note="logsumexp of the logits"),
    Method("mahalanobis", 271, _detector(make_mahalanobis), note="last hidden layer"),
    Method("mahalanobis_first", 271, _detector(make_mahalanobis, layer=0), note="first hidden layer"),
    Method(
        "mahalanobis_by_class", 271, _detector(make_by_class), note="class after class, every class weighs the same"
    ),
    Method("mahalanobis_processed", 271, _detector(make_processed), note="one step up the score before it is read"),
    Method("mahalanobis_ensemble", 271, _detector(make_ensemble), note="both layers by logistic regression"),
    Method(
        "virtual_outliers", 20, _detector(make_outliers), note="energy; the head learned from invented outliers too"
    ),
    Method("arpl", 289, _detector(make_reciprocal), note="trained with reciprocal points"),
    Method("many_networks", 289, many_networks, note="25 networks of other widths, steps and label noise"),
)

CLAIMS = (
    Claim(
        289,
        "Over networks, the largest logit's AUROC goes with the accuracy on known classes (correlation)",
        lambda rows: rows["r_max_logit"]["many_networks"],
        ">",
        0.5,
    ),
    Claim(
        289,
        "The largest logit sees unknown classes better than the largest probability (AUROC)",
        difference("auroc", "max_logit", "max_softmax"),
        ">",
        0.0,
    ),
    Claim(
        271,
        "The Mahalanobis score sees unknown classes better than the largest probability, by .005 AUROC",
        difference("auroc", "mahalanobis", "max_softmax"),
        ">",
        0.005,
    ),
    Claim(
        271,
        "The Mahalanobis score sees uniform noise (AUROC)",
        lambda rows: rows["auroc_far"]["mahalanobis"],
        ">",
        0.99,
    ),
    Claim(
        271,
        "The generative classifier is as accurate on the known classes as the softmax",
        difference("closed_accuracy", "mahalanobis", "max_softmax"),
        "within",
        0.01,
    ),
)


def _unit_range(data: Dataset) -> np.ndarray:
    """Inputs [N, D] in [0, 1], so that steps, attacks and noise mean the same everywhere.

    Images are divided by the range of all their pixels, features each by its own.
    """
    x = data.x.reshape(len(data.x), -1)
    axis = None if data.kind == "images" else 0
    low, high = x.min(axis), x.max(axis)
    return (x - low) / np.where(high > low, high - low, 1)


def _split(labels: np.ndarray, config: Config, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The known classes, bool [C], and the row numbers of every group."""
    num_classes, rng = int(labels.max()) + 1, np.random.default_rng(seed)
    num_unknown = int(np.clip(round(config.unknown_share * num_classes), 1, num_classes - 2))
    classes = rng.permutation(num_classes) >= num_unknown
    rest, test = stratified_split(labels, test_fraction=config.test_share, rng=rng)
    train, validation = stratified_split(labels[rest], test_fraction=config.validation_share, rng=rng)
    groups = {"train": rest[train], "validation": rest[validation], "known": test}
    groups = {name: rows[classes[labels[rows]]] for name, rows in groups.items()}
    return classes, groups | {"unknown": test[~classes[labels[test]]]}


def _padded(groups: list[np.ndarray], multiple: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers [S, N] of a group for every seed, and which are real; the others repeat the seed's first row."""
    length = -(-max(map(len, groups)) // multiple) * multiple
    index = np.stack([np.concatenate([rows, np.full(length - len(rows), rows[0])]) for rows in groups])
    return index, np.arange(length) < np.array([[len(rows)] for rows in groups])


def prepare(config: Config, run: Run, data: Dataset) -> Seed:
    """Trained networks and the groups of rows, with a leading axis of seeds."""
    if data.num_classes < 3:
        raise UserError(f"Unknown classes need at least 3 classes, {data.name} has {data.num_classes}.")
    if (fewest := np.bincount(data.y).min()) < 4:
        raise UserError(f"Every class needs at least 4 rows, {data.name} has one with {fewest}.")
    classes, splits = zip(*(_split(data.y, config, seed) for seed in range(run.seeds)), strict=True)
    known, x, y = jnp.array(classes), jnp.asarray(_unit_range(data)), jnp.asarray(data.y)

    run.progress(f"training the networks on {int(known[0].sum())} of {data.num_classes} classes")
    network = mlp((x.shape[1], config.hidden, config.hidden, data.num_classes))
    train = functools.partial(
        train_classifier, network, x, y, num_classes=data.num_classes, num_steps=config.train_steps
    )
    learned = np.stack([np.isin(np.arange(len(y)), groups["train"]) for groups in splits])
    keys = run.seed_keys()
    params = jax.vmap(lambda key, classes, where: train(key, class_where=classes, where=where))(keys, known, learned)

    multiple = run.mesh.size if run.mesh else 1

    def padded(name: str) -> Rows:
        index, where = _padded([groups[name] for groups in splits], multiple)
        return Rows(x[index], y[index], jnp.asarray(where))

    tests = [padded("known"), padded("unknown")]
    draw = lambda key: jax.random.uniform(jax.random.fold_in(key, 1), tests[0].x.shape[1:])  # noqa: E731
    tests.append(tests[0]._replace(x=jax.vmap(draw)(keys)))
    kind = jnp.repeat(jnp.array([KNOWN, UNKNOWN, NOISE]), jnp.array([part.y.shape[1] for part in tests]))
    rows = (padded("train"), padded("validation"), jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *tests))
    return Seed(known, params, *run.shard((*rows, jnp.tile(kind, (run.seeds, 1))), axis=1), keys)


def run(config: Config, run: Run) -> None:
    """Measures the selected rows."""
    seeds = prepare(config, run, run.data())

    def measure(method: Method) -> Measured:
        # Batches of triangular systems that are solved at the same time can wait for each other for ever on a CPU with
        # few cores (jaxlib 0.10): one seed after the other has no batches.
        mode = "vmap" if method.name in SOFTMAX else "map"
        if method.name == "many_networks":
            return over_seeds(functools.partial(method.fn, config), seeds, mode=mode)
        chosen, scores, timings = over_seeds(functools.partial(method.fn, config), seeds, mode=mode)
        measured = measures(**scores, labels=seeds.tests.y, kind=seeds.kind, where=seeds.tests.where)
        return Measured({**measured, **chosen}, {}, timings)

    run.rows(METHODS, measure)


def plot(result: Result) -> Figure:
    """How often known rows score above unknown classes, and above noise; and that of many networks by accuracy."""
    figure, axes = plots.new_figure(columns=3, title=f"Unknown classes on {result.dataset}")
    names = [method.name for method in METHODS if method.name != "many_networks"]
    panels = (("auroc", "known against unknown classes"), ("auroc_far", "known classes against noise"))
    for ax, (metric, what) in zip(axes, panels, strict=False):
        values = result.rows[metric]
        plots.method_bars(ax, values, names, f"AUROC, {what} (0.5 is chance)")
        ax.set_ylim(bottom=min(0.5, *(min(seeds) - 0.02 for seeds in values.values())))
        ax.axhline(0.5, color="0.3", linewidth=0.8, linestyle="--")
    for name in SCORES:
        seen = result.curves.get(f"networks_{name}", {}).get("many_networks")
        if seen is not None:
            accuracy = result.curves["networks_accuracy"]["many_networks"]
            axes[2].scatter(np.ravel(accuracy), np.ravel(seen), s=12, alpha=0.6, label=name)
            axes[2].legend(frameon=False)
    axes[2].set_xlabel("accuracy on the known classes")
    axes[2].set_ylabel("AUROC, known against unknown classes")
    return figure
