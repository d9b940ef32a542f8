"""Two digits in one picture: one tells the class, the other agrees with it in every labelled picture.

A learner that looks at the easy digit alone fits all labels. Pictures without labels, in which the two digits agree
more or less often, let two hypotheses differ; what counts is the better one where the digits are independent.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.networks import mlp
from experiments.runner import Dataset, UserError
from experiments.streams import stratified_split
from experiments.training import cosine_adam, fit
from jaxlab import losses, metrics
from jaxlab.typing import Array, PyTree

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHOWN = 6


@dataclasses.dataclass(frozen=True)
class Settings:
    """Dominoes and the learners on them."""

    labelled: int = 500
    """Labelled pairs, in which both digits agree."""
    unlabelled: int = 1000
    """Pairs without labels."""
    domino_tests: int = 1000
    """Pairs to test on; the digits are independent."""
    domino_hidden: int = 128
    """Width of the hidden layer."""
    domino_steps: int = 600
    """Steps of Adam."""
    domino_rate: float = 1e-3
    """Of Adam."""
    divdis_weight: float = 10.0
    """Weight of the mutual information of two heads, and of the prior of their classes."""
    dbat_weight: float = 1.0
    """Weight of disagreeing with the first network."""
    queries: int = 16
    """Unlabelled pairs that are labelled in the end, to choose between two hypotheses."""


class Pairs(NamedTuple):
    """Pairs as row numbers of their two digits; label 1 is the last class of the data."""

    cue: Array
    core: Array
    label: Array


class Seed(NamedTuple):
    """What one seed works on."""

    key: Array
    labelled: Pairs  # [N]
    unlabelled: Pairs  # [R, U], one line per ratio
    tests: Pairs  # [T]


def _draw(rng: np.random.Generator, pools: list[np.ndarray], size: int, ratio: float) -> Pairs:
    """Pairs whose digits agree with probability ``ratio``; pools: rows of cue 0, cue 1, core 0, core 1."""
    label = rng.integers(0, 2, size)
    cue = np.where(rng.random(size) < ratio, label, 1 - label)
    pick = lambda pool: rng.choice(pool, size)  # noqa: E731
    cues = np.where(cue == 0, pick(pools[0]), pick(pools[1]))
    return Pairs(*map(jnp.asarray, (cues, np.where(label == 0, pick(pools[2]), pick(pools[3])), label)))


def prepare(config: Settings, data: Dataset, keys: Array) -> Seed:
    """Pairs of every seed; labelled, unlabelled and test pairs share no digit."""
    if data.num_classes < 4:
        raise UserError(f"Pairs need at least 4 classes, {data.name} has {data.num_classes}.")
    classes = (0, 1, data.num_classes - 2, data.num_classes - 1)
    seeds = []
    for key in keys:
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        rest, tests = stratified_split(data.y, test_fraction=0.3, rng=rng)
        train, free = (rest[part] for part in stratified_split(data.y[rest], test_fraction=0.4, rng=rng))
        pools = [[group[data.y[group] == c] for c in classes] for group in (train, free, tests)]
        lines = [_draw(rng, pools[1], config.unlabelled, ratio) for ratio in RATIOS]
        seeds.append(
            (
                _draw(rng, pools[0], config.labelled, 1.0),
                jax.tree.map(lambda *line: jnp.stack(line), *lines),
                _draw(rng, pools[2], config.domino_tests, 0.5),
            )
        )
    return Seed(keys, *jax.tree.map(lambda *one: jnp.stack(one), *seeds))


def pictures(x: Array, pairs: Pairs) -> Array:
    """Both digits of every pair side by side, [..., 2 D]."""
    return jnp.concatenate([x[pairs.cue], x[pairs.core]], axis=-1)


def _network(config: Settings, dim: int, outputs: int) -> Any:
    return mlp((2 * dim, config.domino_hidden, config.domino_hidden // 2, outputs))


def _train(
    config: Settings, loss_fn: Any, params: PyTree, labelled: tuple[Array, Array], extra: Array, key: Array
) -> PyTree:
    """``loss_fn`` also sees a batch of unlabelled pictures, drawn with its key from the state."""
    optimizer = cosine_adam(config.domino_rate, config.domino_steps)
    sizes = {"num_steps": config.domino_steps, "batch_size": min(128, len(labelled[1]))}
    return fit(loss_fn, params, extra, optimizer, dict(zip("xy", labelled, strict=True)), key, **sizes).params


def _some(pool: Array, key: Array) -> Array:
    return pool[jax.random.randint(key, (128,), 0, len(pool))]


def heads(config: Settings, seed: Seed, x: Array, extra: Array, weight: Array) -> Any:
    """Two heads on one body; weight 0 trains them on labels alone."""
    network = _network(config, x.shape[1], 4)
    init_key, key = jax.random.split(seed.key)

    def logits(params: PyTree, rows: Array) -> Array:
        """[2, B, 2]."""
        return jnp.moveaxis(network.logits(params, rows).reshape(-1, 2, 2), 1, 0)

    def loss_fn(params: PyTree, pool: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        both = (logits(params, batch["x"]), batch["y"], logits(params, _some(pool, key)))
        even = jnp.full(2, 0.5)
        return losses.divdis_objective(*both, diversity_weight=weight, prior_weight=weight, prior=even), pool

    labelled = (pictures(x, seed.labelled), seed.labelled.label)
    params = _train(config, loss_fn, network.init(init_key), labelled, extra, key)
    return functools.partial(logits, params)


def networks(config: Settings, seed: Seed, x: Array, extra: Array, weight: Array) -> Any:
    """One network by its labels, then another one that disagrees with it where there are none."""
    network = _network(config, x.shape[1], 2)
    keys = jax.random.split(seed.key, 4)
    labelled = (pictures(x, seed.labelled), seed.labelled.label)

    def fits(params: PyTree, batch: dict[str, Array]) -> Array:
        entropies = optax.losses.softmax_cross_entropy_with_integer_labels(
            network.logits(params, batch["x"]), batch["y"]
        )
        return jnp.mean(entropies)

    def alone(params: PyTree, pool: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        return fits(params, batch), pool

    first = _train(config, alone, network.init(keys[0]), labelled, extra, keys[1])

    def disagreeing(params: PyTree, pool: Array, batch: dict[str, Array], key: Array) -> tuple[Array, Array]:
        rows = _some(pool, key)
        agree = losses.dbat_disagreement(network.logits(params, rows), network.logits(first, rows)[None])
        return fits(params, batch) + weight * jnp.mean(agree), pool

    second = _train(config, disagreeing, network.init(keys[2]), labelled, extra, keys[3])
    return lambda rows: jnp.stack([network.logits(first, rows), network.logits(second, rows)])


def measure(
    config: Settings, seed: Seed, x: Array, weight: Array, *, learner: Any
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The better of two hypotheses, and the one that a few labels choose, for every ratio of the unlabelled pairs."""

    def at_ratio(pairs: Pairs) -> tuple[Array, Array]:
        rows = pictures(x, pairs)
        logits = learner(config, seed, x, rows, weight)
        right = jnp.mean(jnp.argmax(logits(pictures(x, seed.tests)), axis=-1) == seed.tests.label, axis=-1)
        outputs = logits(rows)
        apart = metrics.pairwise_disagreement(jax.nn.softmax(outputs), kind="l1", reduce=False).mean((0, 1))
        _, asked = jax.lax.top_k(apart, config.queries)
        known = jnp.argmax(outputs[:, asked], axis=-1) == pairs.label[asked]
        return jnp.max(right), right[jnp.argmax(jnp.mean(known, axis=-1))]

    best, chosen = jax.vmap(at_ratio)(seed.unlabelled)
    names = [f"{100 * ratio:.0f}" for ratio in RATIOS]
    found = {f"best_{name}": value for name, value in zip(names, best, strict=True)}
    return found | {"chosen_50": chosen[RATIOS.index(0.5)]}, {"best_by_ratio": best, "chosen_by_ratio": chosen}
