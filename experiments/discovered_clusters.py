"""Novel classes as clusters: of the pixels, of a graph's eigenvectors, of a space that known classes helped to shape.

What these methods have to choose (how much a space is for telling known classes apart, how far a graph reaches) is
chosen by hiding known classes and looking for them. The rows of novel classes take no part in that, nor their labels.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.claims import difference
from experiments.data import Dataset
from experiments.discovery_splits import Group, Split, inputs, num_known, split
from experiments.networks import mlp
from experiments.runner import Claim, Method, Run
from experiments.training import fit
from jaxlab import analytic, metrics, selection, weaksup
from jaxlab.numerics import normalize
from jaxlab.typing import Array, PyTree

__all__ = ["GROUP", "QUICK", "Settings"]

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
REACHES = (0.1, 0.5, 0.9)
OPTIMIZER = optax.adamw(1e-3, weight_decay=0.01)

Measurement = tuple[dict[str, Array], dict[str, Array]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the clusterings need to know."""

    hidden_classes: int = 2
    """Known classes that a fold hides."""
    hidden_folds: int = 4
    """Folds in which known classes are hidden."""
    cluster_restarts: int = 10
    """Starts of every k-means."""
    graph_rows: int = 150
    """Rows of every class that are in the graph (and judged there) at most: its time grows with their cube."""
    latent_size: int = 16
    """Width of the space in which known classes are told apart and all rows can be restored."""
    latent_steps: int = 600
    """Steps of its training, batches of 256."""
    largest_count: int = 10
    """Numbers of novel classes that are tried: 2 to this."""

    def check_clusters(self) -> None:
        """Raises ValueError where a number is out of range."""
        for name, low in (
            ("hidden_classes", 2),
            ("hidden_folds", 1),
            ("cluster_restarts", 1),
            ("graph_rows", 2),
            ("latent_size", 1),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.largest_count < 2:
            raise ValueError(f"largest_count must be at least 2, got {self.largest_count}")


QUICK = {"hidden_folds": 2, "cluster_restarts": 2, "graph_rows": 40, "latent_steps": 40, "largest_count": 4}


class Rows(NamedTuple):
    """The rows of one seed by class: with labels, and without (their classes are for judging alone)."""

    known: Array  # [K, n, D]
    novel: Array  # [M, n, D]

    def all(self) -> Array:
        """[(K + M) n, D], the known ones first."""
        return jnp.concatenate([self.known, self.novel]).reshape(-1, self.known.shape[-1])


def rows_of(config: Any, seed: Split, x: Array) -> Rows:
    """The training rows, every class as many."""
    known = num_known(config.novel_share, seed.train.shape[0])
    return Rows(x[seed.train[:known]], x[seed.train[known:]])


def flat(x: Array) -> tuple[Array, Array]:
    """Rows [K n, D] of [K, n, D], and their classes."""
    return x.reshape(-1, x.shape[-1]), jnp.repeat(jnp.arange(x.shape[0]), x.shape[1])


def cluster(config: Any, key: Array, known: Array, novel: Array) -> Array:
    """Clusters of novel rows [M n]; known [K, n, D] only says where the seeds should not be."""
    rows, _ = flat(novel)
    options = {"num_new": novel.shape[0], "num_restarts": config.cluster_restarts}
    return weaksup.ncd_kmeans(key, rows, jnp.mean(known, axis=1), **options).assignment


def judged(config: Any, key: Array, novel: Array, clusters: Array) -> dict[str, Array]:
    """Accuracy for the true number of classes, how many there seem to be, and the accuracy for that many."""
    rows, labels = flat(novel)
    count = weaksup.estimate_num_classes(
        key, rows, max_classes=config.largest_count, num_restarts=config.cluster_restarts
    )
    most = max(config.largest_count, novel.shape[0])
    return {
        "ncd_novel": metrics.clustering_accuracy(labels, clusters, num_clusters=novel.shape[0]),
        "ncd_count": count.num_classes.astype(jnp.float32),
        "ncd_novel_counted": metrics.clustering_accuracy(labels, count.assignment, num_clusters=most),
    }


def folds_of(config: Any, key: Array, num: int) -> tuple[Array, Array]:
    """Classes hidden [F, h] and left [F, K - h] in every fold."""
    folds = selection.hidden_class_folds(key, num, num_hidden=config.hidden_classes, num_folds=config.hidden_folds)
    order = jnp.argsort(~folds, axis=1, stable=True)
    return order[:, : config.hidden_classes], order[:, config.hidden_classes :]


def found_again(config: Any, key: Array, known: Array, hidden: Array, left: Array) -> Array:
    """Accuracy on the hidden ones of the known classes [K, n, D], as if they were novel."""
    _, labels = flat(known[hidden])
    clusters = cluster(config, key, known[left], known[hidden])
    return metrics.clustering_accuracy(labels, clusters, num_clusters=config.hidden_classes)


# The rows of the table


def on_pixels(config: Any, seed: Split, x: Array, known_matters: Array) -> dict[str, Array]:
    """Clusters of the pixels; known classes are unheard of, or seeds keep away from them."""
    known, novel = rows_of(config, seed, x)
    found = analytic.kmeans(seed.key, flat(novel)[0], k=novel.shape[0], num_restarts=config.cluster_restarts)
    either = jnp.stack([found.assignment, cluster(config, seed.key, known, novel)])
    return judged(config, seed.key, novel, either[known_matters])


def spectral_space(x: Array, min_dist: Array) -> Array:
    """Rows [K, n, D] in as many eigenvectors of their graph as there are classes."""
    space = weaksup.spectral_embedding(flat(x)[0], num_components=x.shape[0], min_dist=min_dist)
    return space.reshape(*x.shape[:2], -1)


def ncd_spectral(config: Any, seed: Split, x: Array) -> Measurement:
    """Clusters of the eigenvectors; how far the graph reaches is chosen by hiding known classes."""
    known, novel = (part[:, : config.graph_rows] for part in rows_of(config, seed, x))
    hidden, left = folds_of(config, seed.key, known.shape[0])

    def score(reach: Array) -> Array:
        space = spectral_space(known, reach)
        each = jax.vmap(functools.partial(found_again, config, seed.key, space))(hidden, left)
        return jnp.mean(each)

    scores = jax.lax.map(score, jnp.array(REACHES))
    reach = jnp.array(REACHES)[jnp.argmax(scores)]
    space = spectral_space(jnp.concatenate([known, novel]), reach)
    known, novel = space[: known.shape[0]], space[known.shape[0] :]
    measured = judged(config, seed.key, novel, cluster(config, seed.key, known, novel))
    return measured | {"ncd_reach": reach}, {}


# A space that is trained


class Projection(NamedTuple):
    """The three parts of the network as pure functions of their parameters."""

    init: Any
    encode: Any
    loss: Any


@functools.cache
def projection(dim: int, latent: int, num_classes: int) -> Projection:
    """Rows to unit vectors, and from there back to rows and on to classes; the decoder mirrors the encoder."""
    widths = (dim, max(1, 3 * dim // 4), max(1, dim // 2), latent)
    parts = {"encoder": mlp(widths), "decoder": mlp(widths[::-1]), "classifier": mlp((latent, num_classes))}

    def init(key: Array) -> PyTree:
        keys = jax.random.split(key, len(parts))
        return {name: part.init(one) for one, (name, part) in zip(keys, parts.items(), strict=True)}

    def encode(params: PyTree, x: Array) -> Array:
        return normalize(parts["encoder"].logits(params["encoder"], x))

    def loss(params: PyTree, state: tuple[Array, Array], batch: dict[str, Array], key: Array) -> Any:
        weight, labelled = state
        latent = encode(params, batch["x"])
        restored = parts["decoder"].logits(params["decoder"], latent)
        logits = parts["classifier"].logits(params["classifier"], latent)
        known = labelled[batch["y"]]
        value = weaksup.pbn_loss(restored, batch["x"], logits, batch["y"], weight=weight, known=known)
        return value, state

    return Projection(init, encode, loss)


def trained_space(config: Any, key: Array, x: Array, weight: Array, labelled: Array) -> Array:
    """Rows [C, n, D] in a space trained on them, for which only the classes ``labelled`` [C] have labels."""
    rows, labels = flat(x)
    network = projection(rows.shape[1], config.latent_size, x.shape[0])
    init_key, fit_key = jax.random.split(key)
    options = {"num_steps": config.latent_steps, "batch_size": min(256, rows.shape[0])}
    data, state = {"x": rows, "y": labels}, (weight, labelled)
    params = fit(network.loss, network.init(init_key), state, OPTIMIZER, data, fit_key, **options).params
    return network.encode(params, rows).reshape(*x.shape[:2], -1)


def novel_space(config: Any, seed: Split, rows: Rows, weight: Array) -> Rows:
    """All rows in a space for which the known ones have labels."""
    num = rows.known.shape[0]
    everything = jnp.concatenate([rows.known, rows.novel])
    space = trained_space(config, seed.key, everything, weight, jnp.arange(len(everything)) < num)
    return Rows(space[:num], space[num:])


def hidden_scores(config: Any, key: Array, known: Array) -> Array:
    """How well hidden classes are found again [W], for every weight; nothing but the known classes is looked at."""
    hidden, left = folds_of(config, key, known.shape[0])

    def score(weight: Array, hidden: Array, left: Array) -> Array:
        labelled = jnp.zeros(known.shape[0], bool).at[left].set(True)
        space = trained_space(config, key, known, weight, labelled)
        return found_again(config, key, space, hidden, left)

    by_fold = jax.vmap(score, in_axes=(None, 0, 0))
    return jnp.mean(jax.lax.map(lambda weight: by_fold(weight, hidden, left), jnp.array(WEIGHTS)), axis=1)


def projected(config: Any, seed: Split, x: Array, pick: Array) -> Measurement:
    """Clusters of a trained space: with the weight number ``pick``, or for -1 the one that hiding classes chooses."""
    rows = rows_of(config, seed, x)
    scores = hidden_scores(config, seed.key, rows.known)

    def outcome(weight: Array) -> tuple[Array, tuple[Array, Array]]:
        known, novel = novel_space(config, seed, rows, weight)
        clusters = cluster(config, seed.key, known, novel)
        accuracy = metrics.clustering_accuracy(flat(novel)[1], clusters, num_clusters=novel.shape[0])
        return accuracy, (novel, clusters)

    truth, found = jax.vmap(outcome)(jnp.array(WEIGHTS))
    chosen = jnp.where(pick < 0, jnp.argmax(scores), pick)
    novel, clusters = jax.tree.map(lambda leaf: leaf[chosen], found)
    measured = judged(config, seed.key, novel, clusters)
    measured |= {"ncd_weight": jnp.array(WEIGHTS)[chosen], "ncd_best_weight": jnp.max(truth)}
    return measured, {"ncd_hidden_by_weight": scores, "ncd_novel_by_weight": truth}


def prepare(config: Any, run: Run, data: Dataset) -> tuple[Split, tuple[Array, ...]]:
    """The split of every seed, and the data.

    Raises:
      ValueError: there are too few known classes to hide some.
    """
    known = num_known(config.novel_share, data.num_classes)
    if known <= config.hidden_classes:
        raise ValueError(f"hidden_classes must be below the {known} known classes, got {config.hidden_classes}")
    return split(data, run, test_share=config.test_share), (jnp.asarray(inputs(data)),)


_above = functools.partial(difference, "ncd_novel")

GROUP = Group(
    rows=(
        Method("k_means", None, on_pixels, note="pixels"),
        Method("ncd_k_means", 280, on_pixels, note="pixels, seeded away from known classes"),
        Method("ncd_spectral", 280, ncd_spectral, note="eigenvectors of the graph; its reach by hiding known classes"),
        Method("classifier_space", None, projected, note="cross entropy alone"),
        Method("autoencoder_space", None, projected, note="restoring rows alone"),
        Method("pbn", 280, projected, note="both, weighted by hiding known classes"),
    ),
    claims=(
        Claim(
            280,
            "Seeds away from known classes: NCD k-means ends above k-means",
            _above("ncd_k_means", "k_means"),
            ">",
            0.0,
        ),
        Claim(
            280,
            "Hiding known classes chooses a weight within .02 of the best one",
            lambda rows: rows["ncd_best_weight"]["pbn"] - rows["ncd_novel"]["pbn"],
            "<",
            0.02,
        ),
        Claim(
            280,
            "A space that also restores rows (PBN) beats the classifier's by .05",
            _above("pbn", "classifier_space"),
            ">",
            0.05,
        ),
    ),
    prepare=prepare,
    weights={
        "k_means": 0,
        "ncd_k_means": 1,
        "classifier_space": WEIGHTS.index(1.0),
        "autoencoder_space": WEIGHTS.index(0.0),
        "pbn": -1,
    },
    mode="map",
)
