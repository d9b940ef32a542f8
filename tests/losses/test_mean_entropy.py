"""Entropy of the mean prediction: the chain rule, the published terms, groups without mass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from jaxlab import losses

LOGITS = (np.random.default_rng(0).normal(size=(2, 8, 5)) * 2).astype(np.float32)
GROUPS = np.array([0, 0, 1, 0, 1], np.int32)

plain = jax.jit(losses.mean_entropy)
grouped = jax.jit(functools.partial(losses.mean_entropy, num_groups=2))


def mean_probs(logits, temperature=1.0):
    return special.softmax(np.asarray(logits, np.float64) / temperature, -1).reshape(-1, logits.shape[-1]).mean(0)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_equals_scipy(temperature):
    p = mean_probs(LOGITS, temperature)
    np.testing.assert_allclose(plain(LOGITS, temperature=temperature), stats.entropy(p), rtol=1e-5)
    found = grouped(LOGITS, group_ids=GROUPS, temperature=temperature)
    mass = np.array([p[g == GROUPS].sum() for g in (0, 1)])
    np.testing.assert_allclose(found.between, stats.entropy(mass), rtol=1e-5)
    np.testing.assert_allclose(found.within, [stats.entropy(p[g == GROUPS]) for g in (0, 1)], rtol=1e-5)
    assert 0 <= np.log(2) - found.between <= np.log(2)


def test_chain_rule():
    p = mean_probs(LOGITS)
    mass = np.array([p[g == GROUPS].sum() for g in (0, 1)])
    found = grouped(LOGITS, group_ids=GROUPS)
    np.testing.assert_allclose(found.between + mass @ found.within, plain(LOGITS), rtol=1e-5)
    # The three terms are another objective than the entropy: their weights are not the masses.
    assert abs(float(found.between + found.within.sum() - plain(LOGITS))) > 0.1


def test_between_is_largest_where_groups_balance():
    balanced = np.log(np.array([[1, 1, 2, 2, 2]], np.float32) / np.array([3, 3, 4, 3, 4], np.float32))
    balanced = balanced[:, [0, 1, 2, 3, 4]]
    p = special.softmax(balanced, -1)[0]
    adjusted = balanced - np.log([p[g == GROUPS].sum() for g in GROUPS])
    np.testing.assert_allclose(grouped(adjusted.astype(np.float32), group_ids=GROUPS).between, np.log(2), rtol=1e-6)


def test_within_does_not_see_the_mass_of_its_group():
    """Only the between term can move probability from one group to the other."""

    def of(shift, pick):
        moved = LOGITS[0, :1] + shift * (GROUPS == 0)
        return pick(losses.mean_entropy(moved, group_ids=GROUPS, num_groups=2))

    slopes = [jax.grad(of)(0.7, pick) for pick in (lambda e: e.between, lambda e: e.within[0], lambda e: e.within[1])]
    assert abs(slopes[0]) > 0.01
    np.testing.assert_allclose(slopes[1:], 0, atol=1e-6)


def test_a_group_that_has_lost_its_mass():
    """The published form is log 0 times 0 here; the gradient that could bring the group back must be finite."""
    lost = np.zeros((3, 5), np.float32) - 300 * (GROUPS == 1)
    found = grouped(lost, group_ids=GROUPS)
    np.testing.assert_allclose(found.between, 0, atol=1e-6)
    np.testing.assert_allclose(found.within, np.log([3, 2]), rtol=1e-5)  # shares inside are still known
    parts = lambda z: (lambda e: e.between + jnp.sum(e.within))(losses.mean_entropy(z, group_ids=GROUPS, num_groups=2))  # noqa: E731
    assert np.isfinite(jax.grad(parts)(lost)).all()


def test_groups_of_one_class_none_and_absent_classes():
    one = grouped(LOGITS, group_ids=np.array([0, 0, 0, 0, 1]))
    np.testing.assert_allclose(one.within[1], 0, atol=1e-6)
    empty = losses.mean_entropy(LOGITS, group_ids=np.zeros(5, int), num_groups=3)
    np.testing.assert_allclose(empty.within, [float(plain(LOGITS)), 0, 0], rtol=1e-5)
    np.testing.assert_allclose(empty.between, 0, atol=1e-6)
    p = mean_probs(LOGITS)
    partial = grouped(LOGITS, group_ids=np.array([0, 1, 1, 9, -1]))  # the last two belong to no group
    np.testing.assert_allclose(partial.between, stats.entropy([p[0], p[1] + p[2]]), rtol=1e-5)


def test_rows_that_do_not_count():
    where = np.arange(16).reshape(2, 8) % 3 > 0
    dirty = np.where(where[..., None], LOGITS, np.nan)
    np.testing.assert_allclose(plain(dirty, where=where), stats.entropy(mean_probs(LOGITS[where])), rtol=1e-5)
    assert plain(LOGITS, where=np.zeros((2, 8), bool)) == 0


def test_rows_split_over_a_mapped_axis():
    fn = functools.partial(losses.mean_entropy, axis_name="i")
    np.testing.assert_allclose(jax.vmap(fn, axis_name="i")(LOGITS), [float(plain(LOGITS))] * 2, rtol=1e-5)
    apart = np.mean([float(plain(half)) for half in LOGITS])
    assert abs(apart - float(plain(LOGITS))) > 1e-3  # the mean of two entropies is another number


@pytest.mark.parametrize(
    ("error", "match", "arguments"),
    [
        (ValueError, "at least one axis of rows", {"logits": LOGITS[0, 0]}),
        (ValueError, "belong together", {"group_ids": GROUPS}),
        (ValueError, "belong together", {"num_groups": 2}),
        (ValueError, r"group_ids must have shape \[5\]", {"group_ids": GROUPS[:2], "num_groups": 2}),
        (TypeError, "group_ids must hold integers", {"group_ids": np.ones(5), "num_groups": 2}),
        (ValueError, "num_groups must be an integer of at least 1", {"group_ids": GROUPS, "num_groups": 0}),
        (ValueError, "temperature must be > 0", {"temperature": 0.0}),
    ],
)
def test_bad_input(error, match, arguments):
    with pytest.raises(error, match=match):
        losses.mean_entropy(**{"logits": LOGITS} | arguments)
