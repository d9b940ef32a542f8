"""The small copy of a run, and the one that is committed."""

import json
import pathlib

import pytest
from coin import BAD, GOOD, call, difference, results

import experiments.__main__ as main_module
from experiments.publish import publish
from experiments.runner import Claim

KNOWN = (("coin", "Which coin is best?"),)


@pytest.fixture
def asked(question):
    """A question with a row that breaks and a claim that holds, as it is to be run."""
    from matplotlib.figure import Figure

    question.METHODS = (*GOOD, BAD[0])
    question.CLAIMS = (Claim(70, "high | low", difference("high", "low"), ">", 0.3),)
    question.plot = lambda result: Figure(figsize=(20, 2))
    return question


def published(*argv):
    return publish(["--out", "out", "--to", "small", *argv], KNOWN)


def test_numbers_stay_and_curves_and_tracebacks_go(asked, capsys):
    from PIL import Image

    call(asked, "--seeds", "3")
    progress = {"options": {"seeds": 3}, "jobs": 2, "questions": {"coin": {"code": 1, "seconds": 90.0}}}
    pathlib.Path("out/progress.json").write_text(json.dumps(progress))
    assert published() == 0
    assert "1 answers: small/README.md" in capsys.readouterr().out
    before, after = results(), results("small/coin")
    assert after["rows"] == before["rows"]
    assert (before["curves"] != {}, "curves" in after) == (True, False)
    assert ("traceback" in before["errors"]["raises"], "traceback" in after["errors"]["raises"]) == (True, False)
    with Image.open("small/coin/figure.png") as image:
        assert max(image.size) == 1400
    text = pathlib.Path("small/README.md").read_text()
    assert "1 claims of 1 papers in 1 questions: 1 holds." in text
    assert "- `python -m experiments all --jobs 2 --seeds 3`" in text
    assert "| [coin](coin) | Which coin is best? | 3 | 1 | 1.5 |" in text
    assert "| [70] g_acil | high \\| low | 0.4 [0.4, 0.4] | > 0.3 | **holds** | [coin](coin) |" in text


def test_what_judges_nothing_is_not_published(asked, capsys):
    assert published() == 2
    assert "There are no results in out" in capsys.readouterr().err
    call(asked, "--seeds", "3", "--quick")
    assert published() == 2
    assert "Quick runs judge no claim and are not published: coin." in capsys.readouterr().err
    pathlib.Path("out/coin-mine/results.json").rename("kept.json")
    call(asked, "--seeds", "3")
    pathlib.Path("out/other").mkdir()
    pathlib.Path("out/other/results.json").write_text("{}")
    assert published() == 2
    assert "Damaged results: out/other. Run those questions again." in capsys.readouterr().err
    assert main_module.main(["publish", "--nothing"]) == 2
    assert not pathlib.Path("small").exists()
