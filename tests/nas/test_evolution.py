"""The genetic search: what survives, what it costs, and that it is one program."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import nas

START = np.random.default_rng(0).integers(0, 5, (6, 4)).astype(np.int32)


def fitness(genes):
    return -jnp.sum((genes - 3.0) ** 2)


def mutate(key, genes):
    place, value = jax.random.split(key)
    return genes.at[jax.random.randint(place, (), 0, 4)].set(jax.random.randint(value, (), 0, 5))


search = jax.jit(functools.partial(nas.evolve, fitness_fn=fitness, mutate_fn=mutate, generations=60, num_parents=3))


def test_it_climbs_and_never_falls():
    found = search(jax.random.key(0), START)
    assert found.best.tolist() == [3, 3, 3, 3]
    assert float(found.fitness) == 0.0
    history = np.asarray(found.history)
    assert history.shape == (61,)
    assert history[0] == max(-((START - 3.0) ** 2).sum(1))
    assert (np.diff(history) >= 0).all()
    assert int(found.evaluations) == 6 + 60 * 3
    np.testing.assert_array_equal(found.population_fitness, -((np.asarray(found.population) - 3.0) ** 2).sum(1))
    assert (np.diff(found.population_fitness) <= 0).all()


def test_parents_stay_and_children_are_their_mutants():
    """With a mutation that marks, one generation holds the best three and marked copies of them."""
    genes = np.arange(6, dtype=np.int32)[:, None].repeat(2, 1)
    mark = lambda key, genes: genes.at[1].set(100)  # noqa: E731
    found = nas.evolve(
        jax.random.key(1), genes, lambda g: g[0].astype(jnp.float32), mark, generations=1, num_parents=3, block=2
    )
    last = np.asarray(found.population)
    old, children = last[last[:, 1] != 100], last[last[:, 1] == 100]
    assert sorted(old[:, 0].tolist()) == [3, 4, 5]
    assert len(children) == 3
    assert set(children[:, 0].tolist()) <= {3, 4, 5}


def test_crossover_mixes_two_parents():
    genes = np.array([[9, 0], [0, 9], [0, 0]], np.int32)
    swap = lambda key, a, b: jnp.stack([a[0], b[1]])  # noqa: E731
    keep = lambda key, genes: genes  # noqa: E731
    total = lambda genes: jnp.sum(genes).astype(jnp.float32)  # noqa: E731
    found = nas.evolve(jax.random.key(0), genes, total, keep, generations=12, num_parents=2, crossover_fn=swap)
    assert found.best.tolist() == [9, 9]


def test_nan_is_worst_and_forbidden_genes_lose():
    rule = lambda genes: jnp.where(genes[0] > 3, jnp.nan, jnp.where(genes[0] == 2, -jnp.inf, genes[0] * 1.0))  # noqa: E731
    genes = np.arange(5, dtype=np.int32)[:, None]
    found = nas.evolve(jax.random.key(0), genes, rule, lambda key, genes: genes, generations=0, num_parents=2)
    assert found.best.tolist() == [3]
    assert found.population_fitness.tolist() == [3.0, 1.0, 0.0, -np.inf, -np.inf]
    assert found.history.tolist() == [3.0]


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (TypeError, "population must hold integers", {"population": START * 1.0}),
        (ValueError, r"population must have shape \[P, G\]", {"population": START[0]}),
        (ValueError, "num_parents must be less than the population of 6", {"num_parents": 6}),
        (ValueError, "generations must be an integer of at least 0", {"generations": -1}),
        (ValueError, "block must be an integer of at least 1", {"block": 0}),
    ],
)
def test_bad_input(error, match, arguments):
    given = {"population": START, "generations": 1, "num_parents": 2} | arguments
    with pytest.raises(error, match=match):
        nas.evolve(jax.random.key(0), fitness_fn=fitness, mutate_fn=mutate, **given)
