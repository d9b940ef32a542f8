"""The question of incremental classes, from the command line to the figure, and its streams."""

import json

import numpy as np
import pytest

from experiments import class_incremental, streams
from experiments.command_line import answer

LABELS = np.repeat(np.arange(5), [20, 20, 10, 10, 40])


@pytest.fixture(scope="module")
def stream():
    return streams.class_stream(LABELS, seeds=3, base_classes=3, classes_per_task=1, blur=0.3, multiple=4)


def test_disjoint_tasks_hold_every_training_row_once(stream):
    for seed in range(3):
        tasks = stream.tasks.index[seed], stream.tasks.where[seed]
        rows = tasks[0][tasks[1]]
        assert sorted(rows) == list(np.flatnonzero(stream.train_rows[seed]))
        for task, classes in enumerate([{0, 1, 2}, {3}, {4}]):
            assert set(LABELS[tasks[0][task][tasks[1][task]]]) == classes
    assert stream.tasks.index.shape[2] % 4 == 0


def test_blurred_tasks_mix_classes_and_lose_no_row(stream):
    index, where = stream.blurred.index[0], stream.blurred.where[0]
    assert sorted(index[where]) == list(np.flatnonzero(stream.train_rows[0]))
    assert {0, 1, 2} & set(LABELS[index[2][where[2]]])  # classes of the first task return in the last


def test_tests_are_held_out_and_stratified(stream):
    index, where = stream.tests.index[1], stream.tests.where[1]
    held_out = index[where]
    assert not stream.train_rows[1][held_out].any()
    assert list(np.bincount(LABELS[held_out])) == [4, 4, 2, 2, 8]


def test_clients_share_classes_but_no_rows(stream):
    clients = streams.client_rows(LABELS, stream.train_rows, clients=4, share=0.6)
    rows = clients.index[0][clients.where[0]]
    assert sorted(rows) == list(np.flatnonzero(stream.train_rows[0]))
    held = [set(LABELS[index[where]]) for index, where in zip(clients.index[0], clients.where[0], strict=True)]
    assert all(len(classes) <= 4 for classes in held)
    assert sum(map(len, held)) > 5  # some class is with several clients


def test_quick_run(tmp_path):
    methods = "finetune,nmc,federated_prototypes,fetril,lda,g_acil,key_value_bottleneck,joint"
    argv = ["--dataset", "digits", "--quick", "--seeds", "2", "--methods", methods, "--out", str(tmp_path / "out")]
    assert answer(class_incremental, argv) == 0
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    final = {name: np.mean(values) for name, values in result["rows"]["final_accuracy"].items()}
    assert set(final) == set(methods.split(","))
    assert final["g_acil"] > final["nmc"] > final["finetune"]
    assert final["key_value_bottleneck"] > final["finetune"] + 0.2
    assert max(result["rows"]["distance_from_joint"]["g_acil"]) < 1e-6
    assert max(result["rows"]["distance_from_joint"]["federated_prototypes"]) < 1e-6
    assert {claim["verdict"] for claim in result["claims"]} == {"not judged", "not run"}
    assert (tmp_path / "out" / "figure.png").stat().st_size > 10_000


def test_too_few_classes_is_one_sentence(tmp_path, capsys):
    np.savez(tmp_path / "two.npz", x=np.random.default_rng(0).normal(size=(20, 3)), y=np.arange(20) % 2)
    argv = ["--data", str(tmp_path / "two.npz"), "--quick", "--seeds", "2", "--out", str(tmp_path / "out")]
    assert answer(class_incremental, argv) == 2
    assert "at least 3 classes" in capsys.readouterr().err
