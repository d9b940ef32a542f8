"""A question that runs in an empty folder beside a small data file, and the quick run of any other."""

import functools
import json
import types

import numpy as np
import pytest
from coin import GOOD, Config

from experiments.command_line import answer
from experiments.runner import over_seeds


@pytest.fixture
def question(tmp_path, monkeypatch):
    """A question module; ``question.calls`` lists the rows that were measured."""
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", x=np.eye(6, dtype=np.float32), y=np.arange(6) % 2)
    module = types.ModuleType("experiments.coin")
    module.__doc__ = "Which coin is best?\n\nAnd why."
    module.Config, module.QUICK, module.DATASETS = Config, {"width": 2}, ("digits",)
    module.METHODS, module.CLAIMS, module.SEED_SCOPE = GOOD, (), "the coin only"
    module.calls = []

    def run(config, run):
        run.progress("making the coins")
        assert run.data().num_classes >= 2

        def measure(method):
            module.calls.append(method.name)
            return over_seeds(functools.partial(method.fn, config), run.shard(run.seed_keys()))

        run.rows(module.METHODS, measure)

    module.run = run
    return module


@pytest.fixture
def quick_run(tmp_path):
    """``quick_run(question, *options)``: what a quick run of two seeds found; no row broke, and there is a figure."""

    def run(question, *options):
        out = tmp_path / "out"
        assert answer(question, ["--quick", *options, "--out", str(out)]) == 0
        found = json.loads((out / "results.json").read_text())
        assert found["errors"] == {}
        assert (out / "figure.png").stat().st_size > 10_000
        return found

    return run
