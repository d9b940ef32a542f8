"""The stream without task boundaries: how it is made, and a quick run of its rows."""

import json

import numpy as np

from experiments import expert_streams, rehearsal_free_finetuning
from experiments.command_line import answer


def test_streams_hold_out_test_rows_and_shuffle_each_task_differently():
    labels = np.repeat(np.arange(4), 30)
    stream = expert_streams._prepare(expert_streams.QUICK, labels, 9, 0)
    assert not set(np.unique(stream.batches)) & set(np.asarray(stream.tests))
    assert stream.batches.shape == (5 * expert_streams.QUICK.batches, expert_streams.QUICK.batch_size)
    assert len({tuple(order) for order in np.asarray(stream.pixels)}) == 3
    assert (np.sort(stream.pixels, axis=1) == np.arange(9)).all()
    other = expert_streams._prepare(expert_streams.QUICK, labels, 9, 1)
    assert (other.pixels != stream.pixels).any()


def test_pruning_rises_to_its_target():
    shares = [float(expert_streams._sparsity(0.5, count, 100)) for count in (0, 10, 50, 100, 500)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-2], shares[-1]) == (0.0, 0.5, 0.5)


def test_quick_run(tmp_path):
    methods = [method.name for method in expert_streams.ROWS if method.name != "experts_dense"]
    argv = ["--quick", "--seeds", "2", "--methods", ",".join(methods), "--out", str(tmp_path)]
    assert answer(rehearsal_free_finetuning, argv) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["errors"] == {}
    rows = found["rows"]
    assert list(rows["final_accuracy"]) == methods
    # Phases this short leave experts that still learn, and an alarm may come late.
    assert min(rows["switch_errors"]["experts"]) == 0
    assert max(rows["switches"]["experts"]) <= 5
    left = rows["weights_left"]["experts"] + rows["selector_weights_left"]["experts"]
    assert 0.45 < min(left) <= max(left) < 0.75  # half of the kernels, and all biases
    assert np.mean(rows["final_accuracy"]["experts"]) > np.mean(rows["final_accuracy"]["one_network"])
    assert {claim["verdict"] for claim in found["claims"]} <= {"not judged", "not run"}
