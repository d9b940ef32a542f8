"""Perceptrons with a choice of operators: a super-network whose space shrinks, and ensembles of two of its paths."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.supernet_networks import (
    ACTIVATIONS,
    OperatorSpace,
    adam,
    operator_ensemble,
    operator_init,
    operator_logits,
    tied,
)
from experiments.supernet_sizes import Split
from experiments.training import fit
from jaxlab import metrics, nas
from jaxlab.typing import Array, PyTree

__all__ = [
    "MEMBERS",
    "SHRINKING",
    "SPACE",
    "Flat",
    "Rule",
    "Settings",
    "decode",
    "evolved",
    "mean_depth",
    "num_weights",
    "random_genes",
    "rules",
    "shrunk_by_rule",
    "train_and_shrink",
    "trained_alone",
]

MEMBERS = 2
POPULATION = 32
SPACE = OperatorSpace()
SHRINKING = ("no_shrinking", "random_shrinking", "accuracy_shrinking", "diversity_shrinking")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How operators are dropped and ensembles found."""

    batch: int = 32
    """Rows of a step."""
    phase_steps: int = 100
    """Steps before each shrinking and after the last, four paths each."""
    shrinkings: int = 4
    """How often operators are dropped."""
    drop: int = 2
    """Operators dropped at a time, of sixteen."""
    sampled_paths: int = 64
    """Paths that operators are judged by."""
    diversity_weight: float = 1.0
    """Of the mean absolute difference of probabilities, against accuracy."""
    ensembles: int = 16
    """Ensembles that are trained alone to judge the ranking."""
    ensemble_steps: int = 200
    """Steps of an ensemble trained alone."""
    generations: int = 10
    """Of the search, 16 new ensembles each."""


class Flat(NamedTuple):
    """What the perceptrons see."""

    x: Split
    y: Split


class Rule(NamedTuple):
    """How a row drops operators, as numbers, so that one program serves all rows; [R] each."""

    shrinks: Any
    """Whether it drops any."""
    by_chance: Any
    """Whether it drops them at random."""
    weight: Any
    """Of diversity against accuracy."""


def rules(config: Settings) -> Rule:
    """Those of ``SHRINKING``, in order."""
    off, on = False, True
    return Rule(
        jnp.array([off, on, on, on]),
        jnp.array([off, on, off, off]),
        jnp.array([0.0, 0.0, 0.0, config.diversity_weight]),
    )


def _entropy(logits: Array, labels: Array) -> Array:
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels))


def sample_paths(key: Array, alive: Array, count: int) -> Array:
    """Operators of ``count`` paths [count, L], each living one equally likely."""
    return jax.random.categorical(key, jnp.where(alive, 0.0, -jnp.inf), shape=(count, alive.shape[0])).astype(jnp.int32)


def _paths_loss(params: PyTree, alive: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
    paths = sample_paths(key, alive, 4)
    return jnp.mean(
        jax.vmap(lambda path: _entropy(operator_logits(params, path, batch["x"]), batch["y"]))(paths)
    ), alive


def _members_loss(params: PyTree, state: PyTree, batch: dict[str, Array], key: Array) -> tuple[Array, PyTree]:
    """Every member learns by itself; the state is the paths and where they split."""
    weights, paths = tied(params, *state)
    logits = jax.vmap(operator_logits, in_axes=(0, 0, None))(weights, paths, batch["x"])
    return jnp.mean(jax.vmap(_entropy, in_axes=(0, None))(logits, batch["y"])), state


def decode(genes: Array) -> tuple[Array, Array]:
    """Paths [MEMBERS, L] and the layer of the split, from integers."""
    return genes[:-1].reshape(MEMBERS, SPACE.layers), genes[-1]


def random_genes(key: Array, alive: Array) -> Array:
    """An ensemble of living operators that shares at least its first layer and not its last."""
    path_key, split_key = jax.random.split(key)
    split = jax.random.randint(split_key, (1,), 1, SPACE.layers)
    return jnp.concatenate([sample_paths(path_key, alive, MEMBERS).reshape(-1), split])


def trained_alone(config: Settings, num_classes: int, key: Array, genes: Array, data: Flat) -> PyTree:
    """New weights of an ensemble [MEMBERS, ...], trained; ``tied`` makes them those of its members."""
    init, fitting = jax.random.split(key)
    size = {"inputs": data.x.train.shape[-1], "num_classes": num_classes}
    params = jax.vmap(lambda one: operator_init(one, SPACE, **size))(jax.random.split(init, MEMBERS))
    steps, rows = config.ensemble_steps, {"x": data.x.train, "y": data.y.train}
    batches = {"num_steps": steps, "batch_size": config.batch}
    return fit(_members_loss, params, decode(genes), adam(3e-3, steps), rows, fitting, **batches).params


def _alone(config: Settings, num_classes: int, key: Array, genes: Array, data: Flat) -> tuple[Array, Array]:
    """Test accuracy of an ensemble trained from new weights, and how often its members disagree."""
    params = trained_alone(config, num_classes, key, genes, data)
    paths, split = decode(genes)
    accuracy = metrics.accuracy(operator_ensemble(params, paths, split, data.x.test, own=True), data.y.test)
    logits = jax.vmap(operator_logits, in_axes=(0, 0, None))(*tied(params, paths, split), data.x.test)
    return accuracy, metrics.pairwise_disagreement(jax.nn.softmax(logits), kind="argmax")[0, 1]


def train_and_shrink(config: Settings, num_classes: int, rule: Rule, key: Array, data: Flat) -> tuple[Any, Array]:
    """The super-network's weights, and the operators that are left."""
    init, key = jax.random.split(key)
    params = operator_init(init, SPACE, inputs=data.x.train.shape[-1], num_classes=num_classes)
    alive = jnp.ones((SPACE.layers, SPACE.num_ops), bool)
    steps, rows = config.phase_steps, {"x": data.x.train, "y": data.y.train}
    batches = {"num_steps": steps, "batch_size": config.batch}

    def phase(carry: tuple[PyTree, Array], key: Array) -> tuple[tuple[PyTree, Array], None]:
        params, alive = carry
        fitting, sampling, judging = jax.random.split(key, 3)
        params = fit(_paths_loss, params, alive, adam(3e-3, steps), rows, fitting, **batches).params
        paths = sample_paths(sampling, alive, config.sampled_paths)
        logits = jax.lax.map(lambda path: operator_logits(params, path, data.x.validation), paths, batch_size=16)
        values = jax.vmap(lambda one: metrics.accuracy(one, data.y.validation))(logits)
        apart = metrics.pairwise_disagreement(jax.nn.softmax(logits), kind="l1")
        scores = nas.operator_scores(paths, values, apart, num_ops=SPACE.num_ops, weight=rule.weight)
        scores = jnp.where(rule.by_chance, jax.random.uniform(judging, scores.shape), scores)
        left = nas.shrink(scores, alive, drop=config.drop)
        return (params, jnp.where(rule.shrinks, left, alive)), None

    *shrinkings, last = jax.random.split(key, config.shrinkings + 1)
    (params, alive), _ = jax.lax.scan(phase, (params, alive), jnp.stack(shrinkings))
    params = fit(_paths_loss, params, alive, adam(3e-3, steps), rows, last, **batches).params
    return params, alive


def _promise(params: PyTree, genes: Array, data: Flat) -> Array:
    """Accuracy of an ensemble with the super-network's weights."""
    return metrics.accuracy(operator_ensemble(params, *decode(genes), data.x.validation), data.y.validation)


def evolved(config: Settings, params: PyTree, alive: Array, population: Array, key: Array, data: Flat) -> Array:
    """Genes of the ensemble of most promise, from a population [P, G] of living operators."""

    def mutate(key: Array, genes: Array) -> Array:
        where_key, new_key = jax.random.split(key)
        changed = jax.random.bernoulli(where_key, 0.25, genes.shape)
        return jnp.where(changed, random_genes(new_key, alive), genes)

    sizes = {"generations": config.generations, "num_parents": len(population) // 2}
    return nas.evolve(key, population, lambda genes: _promise(params, genes, data), mutate, **sizes).best


def _searched(config: Settings, num_classes: int, rule: Rule, key: Array, data: Flat) -> tuple[dict[str, Array], Any]:
    """Trains, shrinks, searches, and trains alone what was found; also a sample of ensembles and their accuracies."""
    training, sampling, searching, alone = jax.random.split(key, 4)
    params, alive = train_and_shrink(config, num_classes, rule, training, data)

    genes = jax.vmap(lambda key: random_genes(key, alive))(jax.random.split(sampling, POPULATION + config.ensembles))
    best = evolved(config, params, alive, genes[:POPULATION], searching, data)
    genes = genes[POPULATION:]
    # The one that was found is trained beside the sample.
    keys = jax.random.split(alone, config.ensembles + 1)
    every = jnp.concatenate([genes, best[None].astype(genes.dtype)])
    truth, apart = jax.vmap(lambda key, one: _alone(config, num_classes, key, one, data))(keys, every)
    scores = jax.lax.map(lambda one: _promise(params, one, data), genes, batch_size=8)
    found = {
        "ensemble_accuracy": truth[-1],
        "ensemble_tau": metrics.kendall_tau(scores, truth[:-1]),
        "sampled_accuracy": jnp.mean(truth[:-1]),
        "disagreement": apart[-1],
        "sampled_disagreement": jnp.mean(apart[:-1]),
    }
    return found, (genes, truth[:-1])


def shrunk_by_rule(config: Settings, num_classes: int, key: Array, data: Flat) -> dict[str, dict[str, Array]]:
    """Every way to shrink, and baselines that rank the ensembles of the whole space by their operators alone."""
    search = jax.vmap(lambda rule: _searched(config, num_classes, rule, key, data))
    found, (genes, truth) = search(rules(config))
    rows = {name: jax.tree.map(lambda leaf, i=i: leaf[i], found) for i, name in enumerate(SHRINKING)}
    for name, score in (("num_params", num_weights), ("depth", mean_depth)):
        scores = jax.vmap(lambda one, score=score: score(*decode(one)).astype(jnp.float32))(genes[0])
        rows[name] = {"ensemble_tau": metrics.kendall_tau(scores, truth[0])}
    return rows


def num_weights(paths: Array, split: Array) -> Array:
    """Layers with weights, a shared one counted once."""
    own = (jnp.arange(SPACE.layers) >= split) | (jnp.arange(MEMBERS)[:, None] == 0)
    return jnp.sum(own & (paths < ACTIVATIONS))


def mean_depth(paths: Array, split: Array) -> Array:
    """Layers with weights of a member, on average."""
    used = jnp.where(jnp.arange(SPACE.layers) < split, paths[:1], paths)
    return jnp.mean(jnp.sum(used < ACTIVATIONS, axis=1))
