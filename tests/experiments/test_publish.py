"""The small copy of a run, and the one that is committed."""

import json
import pathlib
import shutil

import pytest
from coin import BAD, GOOD, call, difference, results

import experiments.__main__ as main_module
from experiments.__main__ import questions
from experiments.benchmarks import __main__ as benchmarks_command
from experiments.page.collect import read_answers
from experiments.page.render import VERDICTS
from experiments.publish import TABLE, claims_table, publish
from experiments.runner import Claim
from jaxlab import papers

COMMITTED = pathlib.Path(__file__).parents[2] / "experiments" / "results"

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
    pathlib.Path("out/progress.json").write_text(json.dumps(progress | {"options": {"seeds": None}}))
    assert published() == 0
    assert "- `python -m experiments all --jobs 2`" in pathlib.Path("small/README.md").read_text()


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
    shutil.copy("kept.json", "out/other/results.json")
    shutil.copy("out/coin-mine/config.json", "out/other/config.json")
    assert published() == 2
    assert "More than one answer to coin in out: publish one data set of each question." in capsys.readouterr().err
    assert main_module.main(["publish", "--nothing"]) == 2
    assert not pathlib.Path("small").exists()


# --- what is committed


@pytest.fixture(scope="module")
def committed():
    return list(read_answers(COMMITTED)[0].values())


def test_every_paper_that_is_done_has_a_claim_in_the_table(committed):
    done = {paper.id for paper in papers.load() if paper.status == "done"}
    judged = {claim.paper for answer in committed for claim in answer.claims if claim.verdict in VERDICTS[:3]}
    assert not done - judged, f"done, but no claim of it was judged: {sorted(done - judged)}"


def test_every_question_was_answered_in_full(committed):
    asked = {question.name for question in questions()}
    assert {answer.name for answer in committed} == asked
    assert [answer.name for answer in committed if answer.quick or answer.seeds < 5] == []
    assert [(answer.name, row.name) for answer in committed for row in answer.rows if row.error] == []


def test_the_table_says_what_the_files_say():
    sentences = {question.name: question.question for question in questions()}
    assert (COMMITTED / TABLE).read_text(encoding="utf-8") == claims_table(COMMITTED, sentences)
    files = [path for path in COMMITTED.rglob("*") if path.is_file() and path.name != "index.html"]
    assert sum(path.stat().st_size for path in files) < 10e6
    assert all((path.parent / "figure.png").exists() for path in COMMITTED.glob("*/results.json"))


def test_every_race_was_run_against_every_peer(capsys):
    path = COMMITTED / "benchmarks.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["benchmarks"].keys() == benchmarks_command.names().keys()
    assert (found["quick"], found["peers missing"], found["broken"]) == (False, {}, {})
    versions = {name for report in found["benchmarks"].values() for name in report["versions"]}
    assert versions >= {"torch", "torchvision", "diffusers", "pytorch-metric-learning", "scikit-learn", "vendi-score"}
    assert benchmarks_command.main(["all", "--show", str(path)]) == 0
    assert "Versions: " in capsys.readouterr().out
