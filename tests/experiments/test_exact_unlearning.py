"""The question of forgetting by subtraction, end to end."""

import json

import numpy as np

from experiments import exact_unlearning
from experiments.command_line import answer


def test_quick_run(tmp_path):
    argv = ["--dataset", "digits", "--quick", "--seeds", "2", "--methods", "nmc,g_acil", "--width", "128"]
    assert answer(exact_unlearning, [*argv, "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    rows = result["rows"]
    for request in exact_unlearning.REQUESTS:
        assert max(rows[f"distance_{request}"]["nmc"]) < 1e-5
        assert max(rows[f"distance_{request}"]["g_acil"]) < 1e-6
    # The distance is not small by itself: a model that ignores the request is far from the refitted one.
    assert np.min(result["curves"]["ignored"]["g_acil"]) > 1e-3
    assert max(rows["accuracy_forgotten"]["g_acil"]) == 0.0
    assert min(rows["accuracy_retained"]["g_acil"]) > 0.9
    assert (tmp_path / "out" / "figure.png").exists()
