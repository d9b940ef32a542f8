"""Ensembles of two paths, found in a super-network of operators, under the attacks of ``spurious_attacks``."""

import dataclasses

import jax

from experiments import spurious_attacks
from experiments.streams import Split
from experiments.supernet_networks import operator_ensemble, operator_logits, tied
from experiments.supernet_operators import (
    POPULATION,
    Flat,
    Rule,
    decode,
    evolved,
    random_genes,
    train_and_shrink,
    trained_alone,
)
from experiments.supernet_operators import Settings as Search
from experiments.supernet_sizes import Split as Parts
from jaxlab.typing import Array, PyTree

__all__ = ["Settings", "measure", "search"]


@dataclasses.dataclass(frozen=True)
class Settings(spurious_attacks.Settings):
    """How ensembles are found; what is found then learns for as many steps as the others under attack."""

    phase_steps: int = 100
    """Steps of the super-network before each shrinking and after the last, four paths each."""
    shrinkings: int = 4
    """How often two of its sixteen operators are dropped."""
    generations: int = 10
    """Of the search, 16 new ensembles each."""


def search(config: Settings, seed: Split, x: Array, weight: Array, num_classes: int) -> tuple[PyTree, Array, Array]:
    """Weights [M, ...], paths [M, L] and the split of an ensemble; weight is that of disagreement in the shrinking."""
    sizes = {name: getattr(config, name) for name in ("phase_steps", "shrinkings", "generations")}
    settings = Search(batch=64, ensemble_steps=config.plain_steps + config.robust_steps, **sizes)
    held = len(seed.train) // 5
    choose, rest = seed.train[:held], seed.train[held:]
    every = Flat(Parts(x[seed.train], None, None), Parts(seed.labels, None, None))
    data = Flat(Parts(x[rest], x[choose], None), Parts(seed.labels[held:], seed.labels[:held], None))
    training, sampling, searching, alone = jax.random.split(jax.random.fold_in(seed.key, 2), 4)
    params, alive = train_and_shrink(settings, num_classes, Rule(True, False, weight), training, data)
    population = jax.vmap(lambda key: random_genes(key, alive))(jax.random.split(sampling, POPULATION))
    best = evolved(settings, params, alive, population, searching, data)
    return trained_alone(settings, num_classes, alone, best, every), *decode(best)


def measure(
    config: Settings, seed: Split, x: Array, weight: Array, *, num_classes: int
) -> tuple[dict[str, Array], dict[str, Array]]:
    """How far attacks carry between both paths, and what is left of the accuracy under attacks from outside."""
    params, paths, split = search(config, seed, x, weight, num_classes)
    _, theirs = spurious_attacks.started(config, seed, x, num_classes)
    mixed = lambda x: operator_ensemble(params, paths, split, x, own=True)  # noqa: E731
    found, curves = spurious_attacks.from_outside(config, seed, x, theirs, mixed)
    one = lambda member, x: operator_logits(*member, x)  # noqa: E731
    return found | spurious_attacks.carried(config, seed, x, tied(params, paths, split), one), curves
