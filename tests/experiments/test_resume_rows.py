"""What ``--resume`` keeps, what it measures again, and what it refuses."""

import dataclasses
import pathlib

import numpy as np
import pytest
from coin import BAD, GOOD, call, results

from experiments.command_line import answer


def test_resume_after_an_interruption(question, capsys):
    whole = call(question), results("out/coin-mine")["rows"]
    assert whole[0] == 0

    def killed(config, key):
        raise KeyboardInterrupt

    question.METHODS = (GOOD[0], dataclasses.replace(GOOD[1], fn=killed))
    assert call(question) == 130
    assert "--resume" in capsys.readouterr().err
    assert list(results()["rows"]["accuracy"]) == ["high"]  # on disk, though the run never ended
    question.METHODS = GOOD
    assert call(question, "--resume") == 0
    assert question.calls == ["low"]
    assert results()["rows"] == whole[1]
    question.run = lambda config, run: pytest.fail("nothing is left to do")
    assert call(question, "--resume") == 0
    assert results()["rows"] == whole[1]


def test_resume_tries_broken_rows_again_and_adds_rows(question):
    question.METHODS = (*BAD, *GOOD)
    assert call(question, "--methods", "high,raises") == 1
    question.METHODS = (dataclasses.replace(BAD[0], fn=GOOD[0].fn), *GOOD)
    assert call(question, "--resume", "--methods", "raises,low") == 0
    assert question.calls == ["raises", "low"]
    assert results()["errors"] == {}
    assert list(results()["rows"]["accuracy"]) == ["raises", "high", "low"]  # the order of METHODS


def test_resume_in_a_new_folder_is_a_first_run(question):
    assert call(question, "--resume", "--out", "new/folder") == 0
    assert len(results("new/folder")["rows"]["accuracy"]) == 2


@pytest.mark.parametrize(
    ("argv", "difference"),
    [
        (["--seeds", "3"], "seeds = 5 where this run has 3"),
        (["--width", "4"], "width = 8 where this run has 4"),
        (["--quick"], "quick = false where this run has true"),
        (["--data", "other.npz"], "digest"),
    ],
)
def test_resume_of_another_configuration_is_refused(question, argv, difference, capsys):
    np.savez("other.npz", x=np.ones((4, 2)), y=np.arange(4))
    assert answer(question, ["--data", "mine.npz", "--out", "here"]) == 0
    before = results("here")
    data = [] if "--data" in argv else ["--data", "mine.npz"]
    assert answer(question, [*data, "--out", "here", "--resume", *argv]) == 2
    assert difference in capsys.readouterr().err
    assert results("here") == before
    assert answer(question, [*data, "--out", "here", *argv]) == 0  # without --resume it starts over


def test_damaged_results_are_refused_on_resume(question, capsys):
    assert call(question) == 0
    path = pathlib.Path("out/coin-mine/results.json")
    for text in ("", "[1]", "{}", path.read_text()[:200]):
        path.write_text(text)
        assert call(question, "--resume") == 2
        assert "damaged" in capsys.readouterr().err
    assert call(question) == 0
