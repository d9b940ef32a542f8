"""Mosaics, and pathways beside a frozen transformer: a quick run of their rows."""

import json

import numpy as np

from experiments import patch_pathways, rehearsal_free_finetuning
from experiments.assets import tiny_vit
from experiments.command_line import answer

DIGITS = np.arange(1, 41, dtype=np.float32)[:, None, None] * np.ones((40, 8, 8), np.float32)
LABELS = np.arange(40) % 10


def test_mosaics_show_what_their_targets_say():
    rows = np.flatnonzero(LABELS < 8)
    shown = tiny_vit.mosaics(
        np.random.default_rng(0), DIGITS, LABELS, rows, 50, num_classes=10, must_show=np.array([6])
    )
    cells = shown.x.reshape(50, 2, 8, 2, 8).swapaxes(2, 3).reshape(50, 4, 64)
    assert (cells == cells[..., :1]).all()
    number = cells[..., 0].astype(int) - 1  # a digit's grey is its row number; -1 is an empty cell
    for image, targets in zip(number, shown.targets, strict=True):
        assert set(LABELS[image[image >= 0]]) == set(np.flatnonzero(targets))
    assert shown.targets[:, 6].all()
    assert not shown.targets[:, 8:].any()
    assert 0.1 < np.mean(number < 0) < 0.3
    assert len(set(map(int, np.argmax(LABELS[number] == 6, axis=1)))) == 4  # it may lie in any cell


def test_quick_run(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    methods = ["pathways"]
    argv = ["--quick", "--seeds", "2", "--methods", ",".join(methods), "--out", str(tmp_path / "out")]
    assert answer(rehearsal_free_finetuning, argv) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["errors"] == {}
    rows = found["rows"]
    assert list(rows["mean_average_precision"]) == methods
    assert rows["logit_drift"]["pathways"] == rows["forgetting"]["pathways"] == [0, 0]
    chance = 0.4
    assert min(rows["mean_average_precision"]["pathways"]) > chance
    assert len(found["curves"]["seen_precision"]["pathways"][0]) == 1 + patch_pathways.QUICK.increments
