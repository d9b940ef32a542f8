"""The stream of different tasks: its data, its costs, and a quick run of its rows."""

import json

import numpy as np
import pytest

from experiments import rehearsal_free_finetuning, task_transfer
from experiments.command_line import answer
from experiments.errors import UserError

SETTINGS = task_transfer.QUICK


def marked(count):
    """Images that carry their number, upright: its first pixel is the largest of the row."""
    x = np.zeros((count, 8, 8), np.float32)
    x[:, 0, 0] = np.arange(count) / count
    return x, np.arange(count) % 10


def test_tasks_share_no_rows():
    task = task_transfer._prepare(SETTINGS, [marked(600), marked(200)], 0)
    assert task.x.shape == (7, 120, 64)
    assert task.x_dev.shape == task.x_test.shape == (7, 40, 64)
    np.testing.assert_array_equal(task.where.sum(axis=1), [120, 120, 40, 40, 40, 40, 40])
    rows = [
        np.concatenate([task.x[number][task.where[number]], task.x_dev[number], task.x_test[number]])
        for number in range(7)
    ]
    seen = [rows[0][:, 0], rows[3].max(1), rows[4][:, 0], 1 - rows[5][:, 0]]
    numbers = np.round(np.concatenate(seen) * 600).astype(int)
    assert len(set(numbers)) == len(numbers) == 200 + 3 * 120
    assert set(np.unique(task.y[4])) == set(np.unique(task.y[1])) == {0, 1}
    with pytest.raises(UserError, match="needs 560 rows"):
        task_transfer._prepare(SETTINGS, [marked(500), marked(200)], 0)


def test_costs_hold_the_search_and_the_choice():
    alone, chosen = (task_transfer._flops(SETTINGS, 16, neighbours=flag) for flag in (False, True))
    assert alone.shape == (7, len(task_transfer.RATES) + 1)
    np.testing.assert_array_equal(alone[:, -1], 0)
    np.testing.assert_array_equal(chosen[:, :-1], alone[:, :-1])
    products = 9 * 16 * 16 + 9 * 16 * 32 * 4 + (4 * 32 + 10) * SETTINGS.hidden
    np.testing.assert_allclose(alone[0, 0], 2 * products * (3 * 32 * 16 + 40), rtol=1e-6)
    # Every task leaves one source more to look at: all rows through it, then all distances.
    look = 2 * products * (40 + 40) + 2 * 40 * 40 * SETTINGS.hidden
    np.testing.assert_allclose(chosen[2:, -1], look * np.arange(2, 7), rtol=1e-6)
    assert chosen[0, -1] == 0


def test_quick_run(tmp_path):
    methods = [method.name for method in task_transfer.ROWS]
    argv = ["--quick", "--seeds", "2", "--methods", ",".join(methods), "--out", str(tmp_path)]
    assert answer(rehearsal_free_finetuning, argv) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["errors"] == {}
    sources = np.array([found["curves"]["task_source"][name] for name in methods])
    np.testing.assert_array_equal(sources[0], 0)
    np.testing.assert_array_equal(sources[1], np.broadcast_to(np.arange(7), (2, 7)))
    assert (sources[2][:, 1:] > 0).all()
    assert (sources[2] <= np.arange(7)).all()
    accuracy = np.array(found["curves"]["stream_accuracy"]["independent"])
    assert (accuracy[:, -1] > accuracy[:, 0]).all()
    flops = {name: values[0] for name, values in found["rows"]["training_flops"].items()}
    assert flops["neighbours"] > flops["independent"] == flops["previous"]
