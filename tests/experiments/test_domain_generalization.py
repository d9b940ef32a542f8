"""The question of unseen domains: its shifts, its settings, and a quick run from end to end."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import adapted_domains, adapted_towers, coloured_domains, domain_generalization, rotated_domains
from experiments.assets import shifts
from experiments.command_line import answer
from experiments.streams import Split, split_by_seed


def test_images_turn():
    image = np.zeros((1, 8, 8), np.float32)
    image[0, 0] = 1.0
    turned = shifts.rotated(image, (0, 90, 15))
    np.testing.assert_array_equal(turned[0], image)
    line = turned[1, 0]
    assert {tuple(line[:, 0] > 0.5), tuple(line[:, -1] > 0.5)} == {(True,) * 8, (False,) * 8}  # now a column
    assert 0 < np.abs(turned[2] - image).sum() < np.abs(turned[1] - image).sum()


def test_colours_agree_as_often_as_asked():
    labels = np.random.default_rng(0).integers(0, 10, 20_000)
    for agreement in (0.9, 0.1):
        told, colour = shifts.misleading_colours(labels, agreement, np.random.default_rng(1))
        assert np.mean(told == colour) == pytest.approx(agreement, abs=0.01)
        assert np.mean(told == (labels >= 5)) == pytest.approx(0.75, abs=0.01)
    painted = coloured_domains.painted(np.ones((2, 3), np.float32), np.array([0, 1]))
    np.testing.assert_array_equal(painted, [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])


def test_domains_of_colours_share_no_digit():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 30))
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    seeds = coloured_domains.prepare(coloured_domains.Settings(), labels, keys)
    rows = [set(np.ravel(part[0])) for part in (seeds.rows[:, 0], seeds.rows[:, 1], seeds.test)]
    assert len(set.union(*rows)) == sum(map(len, rows))
    assert (np.asarray(seeds.test[0]) != np.asarray(seeds.test[1])).any()
    assert np.mean(seeds.colour == seeds.y) > 0.75 > 0.25 > np.mean(seeds.test_colour == seeds.truth)


def test_shots_are_of_every_class_and_from_training_rows():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(4), 40))
    splits = split_by_seed(labels, jax.vmap(jax.random.key)(jnp.arange(2)), test_fraction=0.5)
    shots = adapted_domains.draw(adapted_domains.Settings(shots=5), splits)
    np.testing.assert_array_equal(np.asarray(labels)[shots.rows], shots.labels)
    assert np.bincount(shots.labels[0]).tolist() == [5] * 4
    assert set(np.asarray(shots.rows[1])) <= set(np.asarray(splits.train[1]))


def test_accuracies_are_read_by_task():
    right = np.arange(2 * 7 * 6, dtype=float).reshape(2, 7, 6)
    values, curves = rotated_domains.read(right)
    np.testing.assert_array_equal(values["turned_75"], right[:, 0, 5])
    np.testing.assert_array_equal(curves["by_left_out"][1], [right[1, 2 + a, a] for a in range(5)])
    learned = [right[0, 2 + out, a] for out in range(5) for a in range(5) if a != out]
    assert values["learned"][0] == np.mean(learned)
    assert set(rotated_domains.read(right[:, :2])[0]) == {"turned_75", "from_0"}


def test_moments_of_equal_domains_are_equal():
    x = np.random.default_rng(0).normal(size=(3, 20, 4)).astype(np.float32)
    assert rotated_domains.moment_distance(np.repeat(x[:1], 3, axis=0)) < 1e-12
    means = x.mean(1)
    covariances = np.stack([np.cov(one.T) for one in x]).reshape(3, -1)
    wanted = sum(np.mean((v - v.mean(0)) ** 2) for v in (means, covariances))
    np.testing.assert_allclose(rotated_domains.moment_distance(x), wanted, rtol=1e-5)


def test_names_are_spelled():
    letters = adapted_towers.spelled().reshape(10, 5, 26)
    assert letters.sum((1, 2)).tolist() == [len(name) for name in adapted_towers.NAMES]
    assert "".join(chr(97 + place) for place in letters[7].argmax(-1)) == "seven"


@pytest.fixture
def plain_compiler():
    """Programs that run for a moment are compiled in less of one."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


ROWS = (
    "erm",
    "coral",
    "sam",
    "drm_certain",
    "drm_mixed",
    "hgp",
    "full_tuning",
    "lora",
    "pego",
    "towers_augmented",
    "glad",
)


def test_the_quick_run(quick_run, plain_compiler):
    found = quick_run(domain_generalization, "--dataset", "digits", "--methods", ",".join(ROWS))
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged", "not run"}
    rows, curves = found["rows"], found["curves"]
    assert set(rows["left_out"]) == set(rows["turned_75"]) == set(ROWS[:5])
    assert set(rows["colour_lies"]) == {"erm", "coral", "hgp"}
    assert set(rows["adapted_60"]) == {"full_tuning", "lora", "pego"}
    assert set(rows["novel"]) == {"towers_augmented", "glad"}
    by_angle = {json.dumps(curves["by_angle"][name]) for name in ROWS[:5]}
    assert len(by_angle) > 3  # rows are methods of their own
    assert curves["adapted_by_angle"]["lora"] != curves["adapted_by_angle"]["full_tuning"]
    assert np.mean(rows["learned"]["erm"]) > 0.4


def test_the_costly_rows_can_be_traced():
    config = domain_generalization.Config(**domain_generalization.QUICK)
    key = jax.random.key(0)
    split = Split(key, *(np.zeros(size, int) for size in (90, 90, 20, 20)))
    weights = rotated_domains.Weights(*np.zeros(3, np.float32))
    udim = functools.partial(rotated_domains.measure, config, num_classes=10, udim=True)
    x = np.zeros((len(rotated_domains.ANGLES), 120, 64), np.float32)
    assert jax.eval_shape(udim, split, x, weights)[1]["right"].shape == (3, 2, 6)
    seed = coloured_domains.Seed(key, *[np.zeros((2, 40), int)] * 3, *[np.zeros(20, int)] * 3)
    hutchinson = functools.partial(coloured_domains.measure, config, hutchinson=True)
    penalties = coloured_domains.Penalty(*np.zeros((3, 3), np.float32))
    assert jax.eval_shape(hutchinson, seed, x[0], penalties)[1]["colour_lies"].shape == (3,)


def test_bad_settings(tmp_path, capsys):
    with pytest.raises(ValueError, match="coloured_test_share must lie in"):
        domain_generalization.Config(coloured_test_share=1.0)
    np.savez(tmp_path / "features.npz", x=np.random.default_rng(0).random((60, 5)), y=np.arange(60) % 3)
    assert answer(domain_generalization, ["--data", str(tmp_path / "features.npz"), "--methods", "erm"]) == 2
    assert "bring images" in capsys.readouterr().err
