"""A run of all questions: what is kept, what is tried again, how it ends. A small script stands for the questions."""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

import experiments.__main__ as main_module
from experiments.all_questions import answer_all, load_progress

ROOT = pathlib.Path(__file__).parents[2]
NAMES = ("good", "broken", "crash", "later")
SCRIPT = """
import json, pathlib, sys, time
name, options = sys.argv[1], sys.argv[2:]
out = pathlib.Path(next(o for o in options if o.startswith("--out=")).removeprefix("--out="))
with open("calls.txt", "a") as file:
    print(name, *(o for o in options if not o.startswith("--out")), file=file)
print("hello from", name)
if pathlib.Path("slow").exists():
    pathlib.Path("started").touch()
    time.sleep(60)
if name == "crash" and not pathlib.Path("repaired").exists():
    sys.exit(3)
out.mkdir(parents=True, exist_ok=True)
(out / "config.json").write_text("{}")
errors = {"b": {}} if name == "broken" else {}
claims = [{"verdict": "holds"}, {"verdict": "fails"}]
(out / "results.json").write_text(json.dumps({"rows": {"x": {"a": [1], "b": [2]}}, "errors": errors, "claims": claims}))
sys.exit(1 if errors else 0)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("script.py").write_text(SCRIPT)


def run(*argv, names=NAMES):
    return answer_all(argv, names, (sys.executable, "script.py"))


def calls():
    path = pathlib.Path("calls.txt")
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.05)


def test_one_that_fails_costs_no_other(capsys):
    assert run() == 1
    assert calls() == list(NAMES)
    printed = capsys.readouterr().out
    assert "4 of 4 questions to answer, 1 at a time" in printed
    assert "[1/4] good: 2 rows, 1 holds, 1 fails" in printed
    assert "crash: FAILED with exit code 3, see out/all/logs/crash.txt" in printed
    assert {name: outcome.code for name, outcome in load_progress(pathlib.Path("out/all"))["questions"].items()} == {
        "good": 0,
        "broken": 1,
        "crash": 3,
        "later": 0,
    }
    assert pathlib.Path("out/all/logs/crash.txt").read_text() == "hello from crash\n"


def test_what_is_finished_is_not_run_again(capsys):
    run("--seeds", "2", "--first", "1")
    calls()
    pathlib.Path("repaired").touch()
    assert run("--seeds", "2", "--first", "1", "--resume") == 1  # a row is still broken
    assert calls() == ["broken --seeds=2 --first=1 --resume", "crash --seeds=2 --first=1"]
    assert "2 of 4 questions to answer" in capsys.readouterr().out
    assert run("--seeds", "2", "--first", "1") == 1  # begins again
    assert len(calls()) == 4


def test_a_whole_run_ends_well():
    assert run("--questions", "later, good", "--quick", "--jobs", "2") == 0
    assert sorted(calls()) == ["good --quick", "later --quick"]


def test_other_options_are_refused_on_resume(capsys):
    run("--questions", "good")
    assert run("--questions", "good", "--resume", "--seeds", "3") == 2
    assert "Cannot resume out/all: it was begun with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("--questions", "goood"), "Unknown question goood: choose from good, broken, crash, later."),
        (("--questions", ","), "--questions names no question"),
        (("--seeds", "0"), "--seeds must be at least 1, got 0."),
        (("--jobs", "-1"), "--jobs must be at least 1, got -1."),
        (("--out", "script.py"), "Cannot write results to script.py"),
    ],
)
def test_what_the_user_has_to_change(argv, sentence, capsys):
    assert run(*argv) == 2
    assert sentence in capsys.readouterr().err
    assert calls() == []


def test_a_killed_run_is_resumed_and_two_runs_do_not_meet(capsys):
    """The question outlives the run that was killed, and holds the folder until its end."""
    run("--questions", "good")
    pathlib.Path("slow").touch()
    program = (
        "import sys; from experiments.all_questions import answer_all; "
        f"answer_all(['--resume'], {NAMES!r}, (sys.executable, 'script.py'))"
    )
    first = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)})
    wait_until(pathlib.Path("started").exists)
    first.kill()
    first.wait()
    pathlib.Path("slow").unlink()
    assert run("--resume") == 2
    assert "Another run is at work in out/all" in capsys.readouterr().err
    (orphan,) = [int(p.name) for p in pathlib.Path("/proc").glob("[0-9]*") if _is_question(p, "broken")]
    os.kill(orphan, signal.SIGKILL)
    wait_until(_is_free)  # an ending process gives up its name first, its lock a moment later
    calls()
    assert run("--resume") == 1
    assert calls() == ["broken", "crash", "later"]


def _is_free():
    with open("out/all/run.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _is_question(process, name):
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        return b"script.py" in words and name.encode() in words and (process / "cwd").resolve() == pathlib.Path.cwd()
    except OSError:
        return False


def test_the_real_questions_are_run(capsys):
    argv = ["all", "--quick", "--first", "1", "--seeds", "2", "--questions", "exact_unlearning"]
    assert main_module.main(argv) == 0
    printed = capsys.readouterr().out
    assert "[1/1] exact_unlearning: 1 rows" in printed
    found = json.loads(pathlib.Path("out/all/exact_unlearning/results.json").read_text())
    assert found["seeds"] == 2
