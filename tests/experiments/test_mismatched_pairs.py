"""Mismatched pairs: which pairs are wrong, recall, the mixture that splits them, and a quick run of a few rows."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import mismatched_pairs as question
from experiments import pair_filters
from experiments.command_line import answer
from experiments.data import load


def test_the_quick_run(quick_run):
    names = "hinge,projection"
    found = quick_run(question, "--dataset", "digits", "--methods", names)
    for noise in ("0", "20", "40", "60"):
        assert set(found["rows"][f"recall_{noise}"]) == set(names.split(","))


def test_two_networks_tell_each_other(tmp_path):
    """One round of everything, on few pairs."""
    config = question.Config(**(question.QUICK | {"steps": 8, "rounds": 4, "batch_size": 16}))
    rng = np.random.default_rng(0)
    left, right = jnp.asarray(rng.random((2, 24, 6)), jnp.float32)
    run = jax.jit(lambda pseudo: pair_filters.co_train(config, jax.random.key(0), left, right, pseudo))
    plain, pseudo = run(jnp.asarray(0)), run(jnp.asarray(1))
    for found in (plain, pseudo):
        assert found.clean.shape == found.steady.shape == (24,)
        assert np.all((np.asarray(found.clean) >= 0) & (np.asarray(found.clean) <= 1))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found.params))
    # Without pseudo-classes their head is never touched.
    start, end = plain.params[0]["head"], pseudo.params[0]["head"]
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(start), jax.tree.leaves(end), strict=True))


def test_the_lower_of_two_gaussians():
    rng = np.random.default_rng(0)
    low, high = rng.normal(0.1, 0.02, 30), rng.normal(0.6, 0.05, 20)
    found = pair_filters.low_component(jnp.asarray(np.concatenate([low, high]), jnp.float32))
    assert np.all(found[:30] > 0.9)
    assert np.all(found[30:] < 0.1)


def test_shuffled_halves_are_of_others():
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    run = types.SimpleNamespace(seed_keys=lambda: keys)
    data = load("digits")
    seeds = question.prepare(question.Config(), run, data)
    number = seeds.left.shape[1]
    np.testing.assert_array_equal(seeds.wrong.sum(-1), [[round(noise * number) for noise in question.NOISE]] * 2)
    same = np.all(np.asarray(seeds.right) == np.asarray(seeds.right[:, :1]), axis=-1)
    assert same[np.asarray(~seeds.wrong)].all()
    assert same[np.asarray(seeds.wrong)].mean() < 0.05  # but for digits whose halves are equal


def test_recall_of_both_ways():
    scores = jnp.array([[3.0, 2.0, 1.0], [4.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    np.testing.assert_allclose(question.recall(scores), (2 / 3 + 1 / 3) / 2, rtol=1e-6)


def test_what_cannot_be_asked(capsys, tmp_path):
    path = tmp_path / "flat.npz"
    np.savez(path, x=np.eye(9), y=np.arange(9) % 3)
    assert answer(question, ["--data", str(path)]) == 2
    assert "images of even width" in capsys.readouterr().err
    assert answer(question, ["--dataset", "digits", "--test-pairs", "600"]) == 2
    assert "images: 2400 are needed" in capsys.readouterr().err
    with pytest.raises(ValueError, match="rounds must lie in"):
        question.Config(rounds=1)
