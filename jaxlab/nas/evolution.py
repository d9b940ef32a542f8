"""Genetic search over integer genes in one compiled loop."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxlab import checks
from jaxlab.numerics.norms import accumulation_dtype
from jaxlab.typing import Array, ArrayLike

__all__ = ["Evolution", "evolve"]


class Evolution(NamedTuple):
    """What a search found, and what it cost.

    Attributes:
      best: int [G], the fittest genes of all that were evaluated; the first of equals.
      fitness: float [], theirs.
      history: float [generations + 1], the best fitness so far, at the start and after every generation.
      population: int [P, G], the last generation, the fittest first.
      population_fitness: float [P].
      evaluations: int [], calls of the fitness.
    """

    best: Array
    fitness: Array
    history: Array
    population: Array
    population_fitness: Array
    evaluations: Array


def evolve(
    key: Array,
    population: ArrayLike,
    fitness_fn: Callable[[Array], ArrayLike],
    mutate_fn: Callable[[Array, Array], Array],
    *,
    generations: int,
    num_parents: int = 10,
    crossover_fn: Callable[[Array, Array, Array], Array] | None = None,
    block: int | None = None,
) -> Evolution:
    r"""Maximises a fitness over integer genes: the fittest stay, and their mutated copies replace the others.

    .. math:: P_{t+1} = \mathrm{top}_k(P_t) \cup \{\mathrm{mutate}(p_i)\}_{i=1}^{P-k},
              \quad p_i \sim \mathrm{uniform}(\mathrm{top}_k(P_t))

    Parents keep their fitness: it is computed once for every member of a generation, so it should not be random.

    Args:
      key: PRNG key.
      population: int [P, G], where the search begins.
      fitness_fn: ``fitness_fn(genes [G]) -> float []``, larger is fitter; NaN counts as -inf, and -inf marks genes that
        are not allowed. Pure: all members are evaluated by one compiled program.
      mutate_fn: ``mutate_fn(key, genes [G]) -> genes [G]``.
      generations: static, >= 0.
      num_parents: k, static, 1 <= k < P.
      crossover_fn: ``crossover_fn(key, genes, genes) -> genes`` of two parents, before the mutation; None copies one.
      block: members that are evaluated at a time, static; None is all of them.
    Returns:
      Evolution; P + generations * (P - k) evaluations.
    Raises:
      ValueError: population is not [P, G], or a static number is out of range.
      TypeError: population does not hold integers.

    >>> start = jnp.zeros((4, 3), jnp.int32)
    >>> up = lambda key, genes: genes.at[jax.random.randint(key, (), 0, 3)].add(1)
    >>> fitness = lambda genes: -jnp.sum((genes - 2.0) ** 2)
    >>> print(evolve(jax.random.key(0), start, fitness, up, generations=40, num_parents=2).best)
    [2 2 2]

    Reference: the search of Dong et al., "DisWOT: Student Architecture Search for Distillation WithOut Training"
    (2023), recalled: a population of 20, of which the better half stays.
    """
    genes = checks.rank(checks.integer(population, "population"), "population", 2, layout="[P, G]")
    size = genes.shape[0]
    generations = checks.size(generations, "generations", 0)
    if not 1 <= checks.size(num_parents, "num_parents") < size:
        raise ValueError(f"num_parents must be less than the population of {size}, got {num_parents}")
    block = size if block is None else checks.size(block, "block")

    def evaluate(genes: Array) -> Array:
        fitness = jax.lax.map(lambda one: jnp.asarray(fitness_fn(one)), genes, batch_size=min(block, genes.shape[0]))
        fitness = fitness.astype(accumulation_dtype(fitness))
        return jnp.where(jnp.isnan(fitness), -jnp.inf, fitness)

    def child(key: Array, parents: Array) -> Array:
        pick, cross, mutate = jax.random.split(key, 3)
        first, second = parents[jax.random.randint(pick, (2,), 0, num_parents)]
        start = first if crossover_fn is None else crossover_fn(cross, first, second)
        return mutate_fn(mutate, start).astype(genes.dtype)

    def generation(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Array]:
        genes, fitness = carry
        children = jax.vmap(lambda key: child(key, genes[:num_parents]))(jax.random.split(key, size - num_parents))
        genes = jnp.concatenate([genes[:num_parents], children])
        fitness = jnp.concatenate([fitness[:num_parents], evaluate(children)])
        carry = _sorted(genes, fitness)
        return carry, carry[1][0]

    start = _sorted(genes, evaluate(genes))
    (genes, fitness), best = jax.lax.scan(generation, start, jax.random.split(key, generations))
    history = jnp.concatenate([start[1][:1], best])
    evaluations = jnp.array(size + generations * (size - num_parents), jnp.int32)
    return Evolution(genes[0], fitness[0], history, genes, fitness, evaluations)


def _sorted(genes: Array, fitness: Array) -> tuple[Array, Array]:
    """The fittest first; stable, so that a child replaces nobody who is as fit."""
    order = jnp.argsort(-fitness, stable=True)
    return genes[order], fitness[order]
