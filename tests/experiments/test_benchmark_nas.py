"""The race of training-free scores, in small: both ways give the same scores."""

import json

import numpy as np

from experiments.benchmarks import __main__ as command
from experiments.benchmarks import harness, nas


def test_nas_in_small(capsys):
    assert command.main(["nas", "--quick", "--json", "--candidates", "4", "--repeats", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    (race,) = found["races"]
    loop, together = race["rows"]
    assert race["apart"] < 0.05  # eigenvalues near zero are rounding
    assert min(loop["ms a candidate"], together["ms a candidate"]) > 0
    assert [target["verdict"] for target in found["targets"]] == ["not judged"]
    assert "2 candidates; its seconds are 2 times" in found["notes"][0]
    assert command.main(["nas", "--loop-candidates", "2000"]) == 2
    assert "--loop-candidates must lie in [1, candidates]" in capsys.readouterr().err


def test_nas_targets_are_judged_at_their_own_size_only():
    timings = [harness.Timing(name, 0.0, (seconds,), 1.0, None) for name, seconds in (("a", 100.0), ("b", 4.0))]
    (target,) = nas._targets(nas.Config(repeats=1, loop_candidates=2), timings)
    assert (target.value, harness.verdict(target)) == (25.0, "met")
    (target,) = nas._targets(nas.Config(candidates=500), timings)
    assert target.value is None


def test_candidates_are_those_of_every_run():
    first, again = (nas.make_space(nas.Config(candidates=30)) for _ in range(2))
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert set(first.widths.ravel()) <= {0, *range(8, 65, 8)}
    assert (first.widths[:, 0] > 0).all()
    assert ((first.widths[:, 1:] > 0) <= (first.widths[:, :-1] > 0)).all()  # missing at the end only
