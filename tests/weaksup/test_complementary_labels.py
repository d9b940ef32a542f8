"""Transition matrices, decoding, partners inside clusters, and refined correspondence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlab import weaksup

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
partners = jax.jit(weaksup.intra_cluster_partners)


@pytest.mark.parametrize("levels", [(0.75, 0.24, 0.01), (0.45, 0.30, 0.25)])
def test_biased_rows_are_shuffles_of_the_levels(levels):
    table = np.asarray(weaksup.transition_biased(KEY, 10, levels=levels))
    assert (np.diag(table) == 0).all()
    for c in range(10):
        np.testing.assert_allclose(np.sort(np.delete(table[c], c)), np.sort(np.array(levels * 3) / 3), rtol=1e-5)
    shapes = {tuple(np.argsort(np.delete(row, c))) for c, row in enumerate(table)}
    assert len(shapes) > 5
    assert not np.allclose(table, weaksup.transition_biased(jax.random.key(1), 10, levels=levels))


def test_levels_of_other_numbers_of_classes_are_shared_out():
    table = weaksup.transition_biased(KEY, 5, levels=jnp.array([3.0, 1.0, 0.0]))
    np.testing.assert_allclose(np.sort(table, axis=1)[:, 1:], [[0, 1 / 7, 3 / 7, 3 / 7]] * 5, rtol=1e-5)


def test_noise_puts_mass_on_the_diagonal():
    base = weaksup.transition_uniform(4)
    noisy = np.asarray(weaksup.transition_noisy(base, noise=0.2))
    np.testing.assert_allclose(np.diag(noisy), 0.05, rtol=1e-5)
    np.testing.assert_allclose(noisy.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(noisy, 0.8 * np.asarray(base) + 0.05, rtol=1e-5)


def test_transitions_are_estimated_from_counts():
    truth, told = RNG.integers(0, 3, 60), RNG.integers(0, 4, 60)
    where = RNG.random(60) < 0.7
    found = weaksup.estimate_transition(truth, told, num_classes=4, where=where)
    inside = where
    for c in range(3):
        expected = np.bincount(told[inside & (truth == c)], minlength=4)
        np.testing.assert_allclose(found[c], expected / expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(found[3], 0.25)  # nobody is of it
    outside = np.where(truth == 0, 9, truth)
    np.testing.assert_allclose(weaksup.estimate_transition(outside, told, num_classes=4)[0], 0.25)


def test_estimates_approach_the_matrix():
    table = weaksup.transition_biased(KEY, 4)
    truth = np.repeat(np.arange(4), 4000)
    told = weaksup.corrupt_labels(jax.random.key(5), truth, table)
    np.testing.assert_allclose(weaksup.estimate_transition(truth, told, num_classes=4), table, atol=0.03)


def test_decoding_finds_the_row():
    table = weaksup.transition_biased(KEY, 10)
    np.testing.assert_array_equal(weaksup.decode_complementary(table, table), np.arange(10))
    nearby = 0.9 * table + 0.1 * RNG.dirichlet(np.ones(10), 10)
    np.testing.assert_array_equal(weaksup.decode_complementary(nearby, table), np.arange(10))
    by_hand = [min(range(10), key=lambda y: np.abs(p - np.asarray(table)[y]).sum()) for p in np.asarray(table)[::-1]]
    np.testing.assert_array_equal(weaksup.decode_complementary(table[::-1], table), by_hand)


def test_partners_share_the_cluster_and_are_others():
    ids = RNG.integers(-1, 4, 50)
    for seed in range(5):
        found = np.asarray(partners(jax.random.key(seed), ids))
        np.testing.assert_array_equal(ids[found], ids)
        assert sorted(found) == list(range(50))
        assert (found != np.arange(50)).all()


def test_single_rows_stay_alone():
    np.testing.assert_array_equal(partners(KEY, np.arange(50)), np.arange(50))


def test_partners_are_uniform():
    ids = np.array([0, 1, 0, 0, 1, 0])
    keys = jax.random.split(KEY, 3000)
    drawn = np.asarray(jax.vmap(lambda key: weaksup.intra_cluster_partners(key, ids))(keys))
    share = np.bincount(drawn[:, 0], minlength=6) / 3000
    np.testing.assert_allclose(share, [0, 0, 1 / 3, 1 / 3, 0, 1 / 3], atol=0.04)
    assert (drawn[:, 1] == 4).all()


def test_hidden_rows_are_nobodys_partner():
    ids = np.zeros(50, int)
    where = np.arange(50) % 3 != 0
    found = np.asarray(partners(KEY, ids, where=where))
    np.testing.assert_array_equal(found[~where], np.arange(50)[~where])
    assert where[found[where]].all()
    assert (found[where] != np.arange(50)[where]).all()


def test_refined_correspondence():
    w, o, label, other = RNG.random((4, 7)).astype(np.float32)
    np.testing.assert_allclose(
        weaksup.refine_correspondence(w, o, label, other), w * label + (1 - w) * o * other, rtol=1e-5
    )
    np.testing.assert_allclose(weaksup.refine_correspondence(np.float32(1), o, label, other), label)
    np.testing.assert_allclose(
        weaksup.refine_correspondence(np.float32(0), np.ones(7, np.float32), label, other), other
    )


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: weaksup.transition_biased(KEY, 1), ValueError, "num_classes"),
        (lambda: weaksup.transition_biased(KEY, 3, levels=()), ValueError, r"levels must have shape \[L\]"),
        (lambda: weaksup.transition_biased(KEY, 3, levels=(1, 2)), TypeError, "levels must be floating point"),
        (lambda: weaksup.transition_noisy(np.ones((2, 3), np.float32), noise=0.1), ValueError, "base must have shape"),
        (lambda: weaksup.transition_noisy(np.eye(2, dtype=np.float32), noise=2.0), ValueError, "noise must lie in"),
        (
            lambda: weaksup.estimate_transition(np.ones(2, int), np.ones(3, int), num_classes=2),
            ValueError,
            "same shape",
        ),
        (
            lambda: weaksup.estimate_transition(np.ones(2), np.ones(2, int), num_classes=2),
            TypeError,
            "labels must hold",
        ),
        (
            lambda: weaksup.decode_complementary(np.ones(3, np.float32), np.eye(2, dtype=np.float32)),
            ValueError,
            "probs",
        ),
        (
            lambda: weaksup.decode_complementary(np.ones(3, int), np.eye(3, dtype=np.float32)),
            TypeError,
            "probs must be",
        ),
        (lambda: partners(KEY, np.ones((2, 2), int)), ValueError, "cluster_ids must have shape"),
        (lambda: partners(KEY, np.ones(2)), TypeError, "cluster_ids must hold integers"),
        (
            lambda: weaksup.refine_correspondence(*[np.ones(n, np.float32) for n in (2, 3, 1, 1)]),
            ValueError,
            "broadcast",
        ),
        (lambda: weaksup.refine_correspondence(1, 0.0, 0.0, 0.0), TypeError, "clean must be floating point"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("levels", [(0.5, -0.5, 1.0), (0.0, 0.0, 1.0)])
def test_levels_that_are_no_shares(levels):
    with pytest.raises(ValueError, match="levels must be >= 0 and not all 0"):
        weaksup.transition_biased(KEY, 3, levels=levels)
