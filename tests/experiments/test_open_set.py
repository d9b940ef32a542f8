"""The question of unknown classes: its splits, its detectors, and a quick run from end to end."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from experiments import open_set
from experiments.command_line import answer
from experiments.data import Dataset
from experiments.networks import mlp
from experiments.open_set_networks import hidden_layers, train_variant, variants

CONFIG = open_set.Config()
NETWORK = mlp((6, 5, 4, 4))
PARAMS = NETWORK.init(jax.random.key(0))
X = np.random.default_rng(0).uniform(size=(40, 6)).astype(np.float32)


def test_activations_are_those_of_the_network():
    _, hidden, logits = open_set.activations(PARAMS, X)
    np.testing.assert_allclose(hidden, NETWORK.features(PARAMS, X), rtol=1e-5)
    np.testing.assert_allclose(logits, NETWORK.logits(PARAMS, X), rtol=1e-5)


def test_split():
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 20))
    classes, groups = open_set._split(labels, CONFIG, 0)
    assert classes.sum() == 7
    assert {name: len(rows) for name, rows in groups.items()} == {
        "train": 7 * 13,
        "validation": 7,
        "known": 7 * 6,
        "unknown": 3 * 6,
    }
    assert len(np.unique(np.concatenate(list(groups.values())))) == sum(map(len, groups.values()))
    for name, rows in groups.items():
        assert (classes[labels[rows]] == (name != "unknown")).all()
    assert (open_set._split(labels, CONFIG, 1)[0] != classes).any()


def test_padding():
    index, where = open_set._padded([np.array([5, 6, 7]), np.array([8])], multiple=2)
    assert index.tolist() == [[5, 6, 7, 5], [8, 8, 8, 8]]
    assert where.tolist() == [[True, True, True, False], [True, False, False, False]]


@pytest.fixture(scope="module")
def scores():
    """Of ten rows, by both ways to estimate a covariance from 30 training rows; the last of four classes is unknown."""

    @jax.jit
    def both(y):
        rows = open_set.Rows(X[:30], y, jnp.ones(30, bool))
        seed = open_set.Seed(jnp.arange(4) < 3, PARAMS, rows, rows, rows, jnp.zeros(30, int), jax.random.key(0))
        return [make(CONFIG, seed)[0](X[30:])[0] for make in (open_set.make_mahalanobis, open_set.make_by_class)]

    return lambda *counts: [np.asarray(score) for score in both(np.repeat(np.arange(3), counts))]


def test_classes_added_one_by_one_weigh_the_same(scores):
    pooled, by_class = scores(10, 10, 10)
    np.testing.assert_allclose(by_class, pooled, rtol=1e-2)
    pooled, by_class = scores(20, 6, 4)
    assert np.max(np.abs(by_class / pooled - 1)) > 0.05


def test_invented_outliers_lower_the_score_of_what_is_not_known():
    """Features are the inputs; what is not known leaves the classes for directions that the head does not look at."""
    rng = np.random.default_rng(3)
    same = {"kernel": jnp.eye(6), "bias": jnp.zeros(6)}
    head = {"kernel": 5 * jnp.eye(6, 4), "bias": jnp.zeros(4)}
    y = jnp.arange(60) % 3
    x = jnp.asarray(np.maximum(np.eye(3, 6)[y] + 0.05 * rng.normal(size=(60, 6)), 0), jnp.float32)
    rows = open_set.Rows(x, y, jnp.arange(60) < 57)
    params = {"hidden": {"dense0": same, "dense1": same}, "head": head}
    seed = open_set.Seed(jnp.arange(4) < 3, params, rows, rows, rows, jnp.zeros(60, int), jax.random.key(0))

    @jax.jit
    def gap(penalty):
        config = types.SimpleNamespace(outlier_steps=300, outlier_penalty=penalty)
        detector, _ = open_set.make_outliers(config, seed)
        (known, logits), (other, _) = detector(x), detector(x.at[:, 3:].add(0.4))
        return jnp.mean(known) - jnp.mean(other), jnp.mean(jnp.argmax(logits, axis=-1) == y), logits[0, 3]

    plain, kept = gap(0.0), gap(0.1)
    assert plain[0] < 0.05
    assert kept[0] > 0.15
    assert kept[1] == plain[1] == 1
    assert kept[2] == -np.inf  # a class that is not among the known


def test_measures_equal_scikit_learn_and_ignore_padding():
    rng = np.random.default_rng(2)
    kind = np.repeat([open_set.KNOWN, open_set.UNKNOWN, open_set.NOISE], 40)
    score = (rng.normal(size=120) - kind).astype(np.float32)
    predicted, labels = rng.integers(2, size=(2, 120))
    where = np.arange(120) % 7 > 0
    dirty = np.where(where, score, np.nan)
    measured = open_set.measures(*(array[None] for array in (dirty, predicted, labels, kind, where)))
    measured = {name: float(value[0]) for name, value in measured.items()}
    for name, other in (("auroc", open_set.UNKNOWN), ("auroc_far", open_set.NOISE)):
        chosen = where & ((kind == open_set.KNOWN) | (kind == other))
        assert measured[name] == pytest.approx(roc_auc_score(kind[chosen] == open_set.KNOWN, score[chosen]), abs=1e-5)
    known, unknown = (score[where & (kind == group)] for group in (open_set.KNOWN, open_set.UNKNOWN))
    lowest_kept = np.sort(known)[int(0.05 * len(known))]  # at most 5 % of the known rows are given up
    assert measured["tnr_at_tpr95"] == pytest.approx(np.mean(unknown < lowest_kept))
    chosen = where & (kind == open_set.KNOWN)
    assert measured["closed_accuracy"] == pytest.approx(accuracy_score(labels[chosen], predicted[chosen]))


def test_quick_run(quick_run):
    found = quick_run(open_set, "--dataset", "digits")
    assert [claim["verdict"] for claim in found["claims"]] == ["not judged"] * 5
    names = [method.name for method in open_set.METHODS if method.name != "many_networks"]
    rows = found["rows"]
    for metric in ("auroc", "auroc_far", "oscr", "tnr_at_tpr95", "closed_accuracy"):
        assert list(rows[metric]) == names
    assert set(rows["chosen_step"]["mahalanobis_processed"]) <= set(np.float32(open_set.STEPS).astype(float))
    assert min(map(min, rows["auroc"].values())) > 0.7
    for name in names:
        assert np.all(np.array(rows["oscr"][name]) <= np.array(rows["closed_accuracy"][name]))
    for name in ("r_max_logit", "r_max_softmax"):
        assert set(rows[name]) == {"many_networks"}
        assert np.all(np.abs(rows[name]["many_networks"]) <= 1)
    assert min(map(min, rows["closed_accuracy"].values())) > 0.9
    assert min(rows["auroc_far"]["mahalanobis"]) > max(rows["auroc_far"]["max_softmax"])


@pytest.mark.parametrize(("kind", "expected"), [("images", [[0, 0.5], [0.25, 1]]), ("features", [[0, 0], [1, 1]])])
def test_inputs_lie_between_zero_and_one(kind, expected):
    x = np.float32([[0, 2], [1, 4]])
    data = Dataset(x[:, :, None] if kind == "images" else x, np.arange(2), kind, "", 2, np.arange(2), "")
    np.testing.assert_array_equal(open_set._unit_range(data), expected)
    assert (open_set._unit_range(dataclasses.replace(data, x=np.ones_like(data.x))) == 0).all()


def test_data_that_cannot_be_split(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("two.npz", x=np.ones((8, 3)), y=np.arange(8) % 2)
    np.savez("few.npz", x=np.ones((9, 3)), y=np.arange(9) % 3)
    for name, sentence in (("two", "need at least 3 classes, two has 2"), ("few", "few has one with 3")):
        assert answer(open_set, ["--data", f"{name}.npz"]) == 2
        assert sentence in capsys.readouterr().err
    assert answer(open_set, ["--data", "few.npz", "--unknown-share", "1.5"]) == 2
    assert "unknown_share must lie in (0, 1), got 1.5" in capsys.readouterr().err


def test_variants_differ_in_width_noise_and_steps():
    found = variants(64, 100)
    assert len({(int(u.sum()), float(n)) for u, n in zip(found.units, found.noise, strict=True)}) == 25
    assert sorted(set(np.asarray(found.units.sum(1)).tolist())) == [2, 4, 8, 16, 64]
    assert sorted(set(np.asarray(found.steps).tolist())) == [10, 20, 40, 70, 100]


def test_a_variant_stops_after_its_steps():
    x, y = jnp.asarray(X), jnp.arange(40) % 3
    classes, where = jnp.arange(4) < 3, jnp.ones(40, bool)
    plain = variants(5, 20)
    short = jax.tree.map(lambda leaf: leaf[0], plain)._replace(noise=jnp.zeros(()), steps=jnp.array(4))
    arguments = (x, y, where, classes, jax.random.key(0), short)
    stopped = train_variant(*arguments, dims=(6, 5, 5, 4), num_steps=20)
    longer = train_variant(*arguments, dims=(6, 5, 5, 4), num_steps=30)
    assert jax.tree.structure(stopped) == jax.tree.structure(longer)
    logits = [hidden_layers(params, x, short.units)[-1] for params in (stopped, longer)]
    assert np.all(np.isfinite(logits[0]))
    moved = train_variant(*arguments[:5], short._replace(steps=jnp.array(20)), dims=(6, 5, 5, 4), num_steps=20)
    assert np.abs(np.asarray(moved["head"]["kernel"]) - np.asarray(stopped["head"]["kernel"])).max() > 1e-3


def test_hidden_units_that_are_off_do_nothing():
    units = jnp.arange(4) < 2
    params = {"hidden": {"0": {"kernel": jnp.ones((6, 4)), "bias": jnp.zeros(4)}}}
    (layer,) = hidden_layers(params, X, units)
    assert np.all(np.asarray(layer)[:, :2] > 0)
    np.testing.assert_array_equal(np.asarray(layer)[:, 2:], 0)
