"""The question of unseen classes: its rows, its measures, and a quick run from end to end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_curve
from sklearn.neighbors import KNeighborsClassifier

from experiments import metric_learning
from experiments.command_line import answer
from experiments.data import load
from experiments.metric_measures import Coarse, Unseen, finer, unseen
from experiments.runner import Common, Run

CONFIG = metric_learning.Config()
RNG = np.random.default_rng(0)
KEYS = jax.random.split(jax.random.key(0), 1)


def test_unseen_classes_are_unseen():
    data = load("digits")
    run = Run(Common(seeds=2), None, [], data=data)
    setup = metric_learning.prepare(CONFIG, run, data)
    for train, labels, test, truth in zip(*(np.asarray(part) for part in setup.unseen[:4]), strict=True):
        assert set(data.y[train]) == set(labels) == set(range(5))
        assert set(data.y[test]) == set(range(5, 10))
        np.testing.assert_array_equal(data.y[test] - 5, truth)
        assert len(np.unique(test)) == metric_learning.MOST_TESTS
    assert (np.asarray(setup.unseen.train[0]) != np.asarray(setup.unseen.train[1])).any()
    for group in ({0, 6, 8}, {1, 7}, {2, 3, 5}, {4, 9}):
        assert len(np.unique(np.asarray(setup.coarse_labels)[np.isin(data.y, list(group))])) == 1
    assert len(np.unique(setup.coarse_labels)) == 4
    assert not set(np.asarray(setup.coarse.train[0])) & set(np.asarray(setup.coarse.test[0]))


def test_measures_equal_scikit_learn():
    labels = np.repeat(np.arange(3), 12)
    rows = RNG.normal(size=(60, 4)) + 2 * np.eye(4)[np.concatenate([labels, np.zeros(24, int)])]
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    test, train = np.arange(36), np.arange(36, 60)
    known = RNG.integers(0, 2, 24)
    seeds = Unseen(*(jnp.asarray(part)[None] for part in (train, known, test, labels)), KEYS)
    found, curves = unseen(jnp.asarray(rows)[None], seeds, num_classes=3, far=0.1, thresholds=(0.5, 1.0))
    distances = np.linalg.norm(rows[:36, None] - rows[:36], axis=-1)
    upper = np.triu_indices(36, 1)
    same = (labels[:, None] == labels)[upper]
    fpr, tpr, _ = roc_curve(same, -distances[upper], drop_intermediate=False)
    assert found["tar_at_far"][0] == pytest.approx(tpr[fpr <= 0.1].max(), abs=1e-5)
    nearest = np.argmin(distances + 9 * np.eye(36), axis=1)
    assert found["recall_at_1"][0] == pytest.approx(np.mean(labels[nearest] == labels), abs=1e-6)
    assert found["utilization_mixed"][0] <= found["utilization"][0]
    assert curves["accepted"].shape == (1, 3, 2)


def test_probes_equal_scikit_learn():
    fine, split = RNG.integers(0, 4, 80), np.arange(50)
    rows = (RNG.normal(size=(80, 5)) + 2 * np.eye(5)[fine]).astype(np.float32)
    parts = [part for own in (split, np.arange(50, 80)) for part in (own, fine[own], fine[own] // 2)]
    seeds = Coarse(*(jnp.asarray(part)[None] for part in parts))
    found = finer(jnp.asarray(rows)[None], seeds, num_classes=4, num_groups=2, ridge=1e-6)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    peer = KNeighborsClassifier(5).fit(unit[:50], fine[:50]).score(unit[50:], fine[50:])
    assert found["fine_neighbours"][0] == pytest.approx(peer, abs=0.05)  # ties
    design = np.c_[rows, np.ones(80)]
    weights = np.linalg.lstsq(design[:50], np.eye(4)[fine[:50]], rcond=None)[0]
    linear = np.mean(np.argmax(design[50:] @ weights, 1) == fine[50:])
    assert found["fine_linear"][0] == pytest.approx(linear, abs=0.04)


def test_rises_takes_the_smaller_change():
    ends = {"scale_first": 32.0, "scale_last": 64.0, "margin_first": 0.1, "margin_last": 0.3}
    rows = {name: {"mada_cos": np.array([value])} for name, value in ends.items()}
    np.testing.assert_allclose(metric_learning._rises(rows), 0.2)
    np.testing.assert_allclose(metric_learning._rises(rows | {"scale_last": {"mada_cos": np.array([30.0])}}), -1 / 16)


def test_quick_run(quick_run):
    """Half of the rows, of every kind: the time goes into compiling what each trains by."""
    names = ["pixels", "softmax", "contrastive", "contrastive_tcm", "mada_cos", "supervised_contrastive", "look"]
    found = quick_run(metric_learning, "--dataset", "digits", "--methods", ",".join(names))
    assert {claim["verdict"] for claim in found["claims"]} == {"not judged", "not run"}
    rows = found["rows"]
    for metric in ("recall_at_1", "mean_average_precision", "tar_at_far", "opis", "utilization"):
        assert list(rows[metric]) == names
    assert list(rows["fine_neighbours"]) == list(metric_learning.NAMED)
    assert list(rows["scale_last"]) == ["mada_cos"]
    assert min(map(min, rows["recall_at_1"].values())) > 0.5
    trained = [values for name, values in rows["recall_at_1"].items() if name != "pixels"]
    assert len({tuple(values) for values in trained}) > len(trained) // 2  # every objective trains its own network


def test_bad_input(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("three.npz", x=np.ones((9, 3)), y=np.arange(9) % 3)
    assert answer(metric_learning, ["--data", "three.npz"]) == 2
    assert "need at least 4 classes, three has 3" in capsys.readouterr().err
    with pytest.raises(ValueError, match="train_share must lie in"):
        dataclasses.replace(CONFIG, train_share=1.0)
