"""Long tail: how rows are counted and masked, how heads are weighed, and a quick run from end to end."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import data, tail_training
from experiments import long_tail as question
from experiments.command_line import answer
from experiments.long_tail import PRIORS, Config


def test_rows_of_every_prior():
    config, digits = Config(), data.load("digits")
    run = types.SimpleNamespace(seeds=2, seed_keys=lambda: jax.vmap(jax.random.key)(jnp.arange(2)))
    seeds, _ = question.prepare(config, run, digits)
    for seed in range(2):
        labels, truth, place = (np.asarray(column[seed]) for column in (seeds.labels, seeds.truth, seeds.place))
        counts = np.bincount(labels, minlength=10)
        np.testing.assert_array_equal(counts, seeds.counts[seed])
        assert (counts[np.argsort(place)] == question.tail_sizes(100, 50, 10)).all()
        assert counts.max() == 50 * counts.min()
        np.testing.assert_array_equal(digits.y[np.asarray(seeds.train[seed])], labels)
        assert not set(np.asarray(seeds.train[seed])) & set(np.asarray(seeds.test[seed]))
        tests = [np.bincount(truth[np.asarray(seeds.where[seed, p])], minlength=10) for p in range(3)]
        by_prior = dict(zip(PRIORS, tests, strict=True))
        assert len(set(by_prior["uniform"])) == 1
        forward = by_prior["forward"][np.argsort(place)]
        assert (np.diff(forward) <= 0).all()
        np.testing.assert_allclose(forward[0] / forward[-1], 25, rtol=0.2)
        np.testing.assert_array_equal(by_prior["backward"][np.argsort(place)], forward[::-1])
    assert (seeds.place[0] != seeds.place[1]).any()


def test_what_is_measured():
    """Two replicas of four heads that each know some of the classes."""
    truth = jnp.repeat(jnp.arange(6), 4)
    knows = jnp.array([[True] * 2 + [False] * 4, [False] * 4 + [True] * 2, [True] * 6, [False] * 6])
    heads = 9.0 * jax.nn.one_hot(truth, 6) * knows[:, truth][..., None] + jax.nn.one_hot((truth + 1) % 6, 6)
    where = jnp.stack([truth < 2, truth < 6, truth >= 4])
    seed = question.Seed(None, None, None, None, truth, jnp.arange(6.0, 0.0, -1.0), jnp.arange(6), where)
    both = jnp.stack([heads, heads])
    weights = jnp.zeros((2, 3, 4)).at[:, 0, 0].set(1.0).at[:, 1, 2].set(1.0).at[:, 2, 0].set(1.0)
    found, curves = question.measure(seed, both, weights)
    wanted = {"forward": 1, "uniform": 1, "backward": 0, "many": 1, "medium": 1, "few": 1, "spread": 0}
    assert {name: pytest.approx(float(value), abs=1e-6) for name, value in found.items()} == wanted
    first = weights.at[:, 1].set(jnp.array([1.0, 0, 0, 0]))
    found, curves = question.measure(seed, both, first)
    np.testing.assert_array_equal(curves["by_place"], [1, 1, 0, 0, 0, 0])
    np.testing.assert_allclose([found[name] for name in ("many", "medium", "few", "uniform")], [1, 0, 0, 1 / 3])


def test_weights_go_to_the_expert_that_does_not_waver():
    rng = np.random.default_rng(0)
    first, second = (3 * rng.normal(size=(3, 40, 5)).astype(np.float32) for _ in range(2))
    second[2] = first[2]
    views = tail_training.Views(None, first, second)
    found = tail_training.learned_weights(Config(ascent_views=1), views, jnp.ones(40, bool))
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)
    assert found[3] == 0
    assert found[2] > 0.6
    assert found[:3].min() > 0.01  # it stops in time


def test_quick_run(quick_run):
    names = "ce,balanced,sade_first,sade_third,sade_mean,sade,contrastive,recovered,rcal"
    found = quick_run(question, "--dataset", "digits", "--methods", names)
    rows = found["rows"]
    assert set(rows["uniform"]) == set(names.split(","))
    assert np.mean(rows["few"]["balanced"]) > np.mean(rows["few"]["ce"]) - 0.05
    assert np.mean(rows["many"]["sade_first"]) > np.mean(rows["many"]["sade_third"])
    assert np.mean(rows["few"]["recovered"]) > np.mean(rows["few"]["contrastive"])
    assert rows["uniform"]["rcal"] != rows["uniform"]["recovered"]
    assert set(found["curves"]["weights"]) == {"sade"}
    assert set(found["curves"]["by_place"]) == set(names.split(","))


@pytest.mark.parametrize("loss", ["adjusted", "mdcs", "batch_former", "sla"])
def test_losses_fall_with_their_gradient(loss):
    """A step against the gradient of every loss lowers it, whatever its numbers are."""
    config, counts = Config(hidden=8, width=8), jnp.array([8.0, 3.0, 1.0])
    params = tail_training.network_init(config, jax.random.key(0), 64, 3)
    x = jax.random.uniform(jax.random.key(1), (12, 64))
    batch = tail_training.Batch(jnp.stack([x, 0.9 * x]), jnp.arange(12) % 3, jax.random.key(2), jnp.float32(1.0))
    plan = tail_training.Plan(margin=loss == "adjusted", weighted=True, consistent=True, confident=True, shared=False)
    fn = jax.jit(jax.value_and_grad(lambda p: tail_training.BRANCHES[loss](config, plan, counts, p, batch)))
    value, gradient = fn(params)
    moved = jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient)
    assert fn(moved)[0] < value


def test_what_cannot_be_asked(capsys, tmp_path, monkeypatch):
    for options, words in (
        ({"imbalance": 0.5}, "imbalance must lie in"),
        ({"test_imbalance": 0.5}, "test_imbalance must be"),
        ({"test_share": 1.0}, "test_share must lie in"),
        ({"replicas": 1}, "replicas must be at least 2"),
    ):
        with pytest.raises(ValueError, match=words):
            Config(**options)
    monkeypatch.chdir(tmp_path)
    np.savez("few.npz", x=np.random.default_rng(0).random((60, 5)), y=np.arange(60) % 3)
    assert answer(question, ["--data", "few.npz", "--methods", "ce"]) == 2
    assert "training rows" in capsys.readouterr().err
