"""The next class by the longest path to the locus."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import kernels, selection, zeroshot


def random_tree(rng, size):
    return np.array([-1, *(rng.integers(0, node) for node in range(1, size))], np.int32)


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_search_over_all_distances(weighted):
    rng = np.random.default_rng(0)
    choose = jax.jit(lambda *a: selection.next_class_by_locus(a[0], a[1], length=a[2], class_where=a[3]))
    for _ in range(30):
        parent, observed = random_tree(rng, 20), rng.random(20) < rng.choice([0.1, 0.4])
        observed[rng.integers(20)] = True
        length = rng.uniform(0.5, 2.0, 20).astype(np.float32) if weighted else np.ones(20, np.float32)
        allowed = rng.random(20) < 0.7
        distances = np.asarray(kernels.tree_distance(parent, length=length))
        locus = np.asarray(zeroshot.locus_mask(parent, observed))
        reach = np.where(allowed & ~locus, distances[:, locus].min(1), -1.0)
        chosen = int(choose(parent, observed, length, allowed))
        if reach.max() < 0:
            assert chosen == -1
        elif weighted:
            assert reach[chosen] == pytest.approx(reach.max(), rel=1e-5)
        else:
            assert chosen == reach.argmax()  # the lowest of equals


def test_no_class_enlarges_the_locus_more():
    rng = np.random.default_rng(1)
    size = jax.jit(lambda parent, observed: jnp.sum(zeroshot.locus_mask(parent, observed)))
    for _ in range(5):
        parent, observed = random_tree(rng, 25), np.zeros(25, bool)
        observed[rng.choice(25, 3, replace=False)] = True
        sizes = [int(size(parent, observed | (np.arange(25) == node))) for node in range(25)]
        assert sizes[int(selection.next_class_by_locus(parent, observed))] == max(sizes)


def test_until_everything_can_be_predicted():
    parent = jnp.array(random_tree(np.random.default_rng(2), 40))
    leaf = ~jnp.zeros(40, bool).at[parent[1:]].set(True)
    observed = jnp.zeros(40, bool).at[jnp.argmax(leaf)].set(True)
    step = jax.jit(lambda observed: selection.next_class_by_locus(parent, observed))
    count = 0
    while (chosen := int(step(observed))) >= 0:
        assert leaf[chosen] or chosen == 0  # the far end of a path
        observed, count = observed.at[chosen].set(True), count + 1
    assert zeroshot.locus_mask(parent, observed).all()
    assert count <= int(leaf.sum())


def test_nothing_to_choose():
    parent = jnp.array([-1, 0, 1])
    assert selection.next_class_by_locus(parent, jnp.array([True, False, True])) == -1  # all is between
    assert selection.next_class_by_locus(parent, jnp.zeros(3, bool)) == -1
    assert selection.next_class_by_locus(jnp.array([-1]), jnp.array([True])) == -1  # one class
    none = jnp.zeros(3, bool)
    assert selection.next_class_by_locus(parent, jnp.array([True, False, False]), class_where=none) == -1
    assert jax.jit(selection.next_class_by_locus)(jnp.array([1, 0, 0]), jnp.array([True, False, False])) == -1
    with pytest.raises(ValueError, match="2 roots"):
        selection.next_class_by_locus(jnp.array([0, 1, 0]), jnp.array([True, False, False]))
    with pytest.raises(TypeError, match="observed must be boolean"):
        selection.next_class_by_locus(parent, jnp.array([1, 0, 0]))
